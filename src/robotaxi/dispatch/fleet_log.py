"""What the desk knows of its cars besides orders: the newest state, history, events, questions, commands."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from robotaxi.dispatch.database import Database
from robotaxi.dispatch.datum import as_wgs84, told_in_wgs84
from robotaxi.dispatch.messages import AssistRequest, Event, State

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS vehicles (
        vehicle TEXT PRIMARY KEY, connection TEXT NOT NULL, state TEXT NOT NULL, received_ns BIGINT NOT NULL,
        factsheet TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS history (
        vehicle TEXT NOT NULL, boot_id TEXT NOT NULL, stamp_ns BIGINT NOT NULL, sent_ns BIGINT NOT NULL,
        received_ns BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (vehicle, boot_id, stamp_ns))""",
    """CREATE TABLE IF NOT EXISTS reports (
        message_id TEXT PRIMARY KEY, vehicle TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL,
        text TEXT NOT NULL, order_id TEXT NOT NULL, stamp_ns BIGINT NOT NULL, received_ns BIGINT NOT NULL,
        body TEXT NOT NULL, acknowledged BIGINT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS questions (
        question_id TEXT NOT NULL, vehicle TEXT NOT NULL, body TEXT NOT NULL, deadline_ns BIGINT NOT NULL,
        received_ns BIGINT NOT NULL, settled TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (vehicle, question_id))""",
    """CREATE TABLE IF NOT EXISTS commands (
        message_id TEXT PRIMARY KEY, vehicle TEXT NOT NULL, order_id TEXT NOT NULL, kind TEXT NOT NULL,
        body TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, created_ns BIGINT NOT NULL,
        until_ns BIGINT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS commands_open ON commands (created_ns) WHERE status = ''",
)


@dataclass
class LiveVehicle:
    """The newest word of one car. ``latency_ns``: from its clock to ours."""

    vehicle: str
    connection: str = "unknown"
    state: str = "{}"
    received_ns: int = 0
    factsheet: str = "{}"
    boot_id: str = ""
    seq: int = 0
    sent_ns: int = 0
    boots: list[str] = field(default_factory=list)
    dirty: bool = False
    position: tuple[float, float] | None = None
    able: bool = False
    eta_s: float = 0.0

    def as_dict(self, now_ns: int) -> dict[str, Any]:
        """``age_s``: how old the newest state is, whatever the connection says of itself. Positions in WGS 84."""
        return {
            "vehicle": self.vehicle,
            "connection": self.connection,
            "state": told_in_wgs84(json.loads(self.state)) or None,
            "received_ns": self.received_ns,
            "age_s": round((now_ns - self.received_ns) * 1e-9, 3) if self.received_ns else None,
            "factsheet": json.loads(self.factsheet) or None,
        }


class FleetLog:
    """Used under the book's lock. States are kept in memory and written once a second by `flush`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.vehicles: dict[str, LiveVehicle] = {}
        self._rows: list[tuple[str, str, int, int, int, str]] = []
        with db.lock:
            for row in db.rows("SELECT * FROM vehicles"):
                self.vehicles[row["vehicle"]] = LiveVehicle(**row)

    # ------------------------------------------------------------------ states

    def vehicle(self, vehicle: str) -> LiveVehicle:
        return self.vehicles.setdefault(vehicle, LiveVehicle(vehicle))

    def state(self, vehicle: str, boot_id: str, seq: int, sent_ns: int, state: State, text: str, now_ns: int) -> None:
        """A live state counts if it is newer than the one known; every state is history."""
        boot_id = boot_id.removesuffix("-h")
        self._rows.append((vehicle, boot_id, state.stamp_ns, sent_ns, now_ns, text))
        live = self.vehicle(vehicle)
        older = seq <= live.seq if boot_id == live.boot_id else sent_ns <= live.sent_ns
        if not state.live or older:
            return
        live.boot_id, live.seq, live.sent_ns = boot_id, seq, sent_ns
        live.state, live.received_ns, live.dirty = text, now_ns, True
        position = as_wgs84(state.position) if state.position else None
        live.position = (position.lat, position.lon) if position else None
        live.eta_s = max(state.trip.eta_s, 0.0) if state.trip else 0.0
        live.able = not state.minimal_risk and not state.problem

    def flush(self) -> None:
        """Write what came since the last time; inside a transaction."""
        dirty = [live for live in self.vehicles.values() if live.dirty]
        for live in dirty:
            live.dirty = False
        rows, self._rows = self._rows, []
        self._db.many(
            "INSERT INTO vehicles VALUES (?, ?, ?, ?, ?) ON CONFLICT (vehicle) DO UPDATE SET "
            "connection = excluded.connection, state = excluded.state, received_ns = excluded.received_ns, "
            "factsheet = excluded.factsheet",
            [(v.vehicle, v.connection, v.state, v.received_ns, v.factsheet) for v in dirty],
        )
        self._db.many("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def history(self, vehicle: str, since_ns: int = 0, limit: int = 100_000) -> list[dict[str, Any]]:
        return self._db.rows(
            "SELECT * FROM history WHERE vehicle = ? AND sent_ns >= ? ORDER BY sent_ns LIMIT ?",
            vehicle,
            since_ns,
            limit,
        )

    # ------------------------------------------------------------------ events and questions

    def report(self, vehicle: str, message_id: str, event: Event, text: str, now_ns: int) -> None:
        self._db.execute(
            "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
            message_id,
            vehicle,
            event.kind,
            event.severity,
            event.text,
            event.order_id,
            event.stamp_ns,
            now_ns,
            text,
        )

    def reports(self, limit: int = 50) -> list[dict[str, Any]]:
        return self._db.rows("SELECT * FROM reports ORDER BY received_ns DESC LIMIT ?", limit)

    def acknowledge(self, message_id: str) -> bool:
        return self._db.execute("UPDATE reports SET acknowledged = 1 WHERE message_id = ?", message_id) == 1

    def question(self, vehicle: str, request: AssistRequest, now_ns: int) -> None:
        """A question, or the word that it is settled; in whichever order they come."""
        self._db.execute(
            "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (vehicle, question_id) DO UPDATE SET "
            "settled = CASE WHEN excluded.settled = '' THEN questions.settled ELSE excluded.settled END, "
            "reason = CASE WHEN excluded.settled = '' THEN questions.reason ELSE excluded.reason END",
            request.question_id,
            vehicle,
            msgspec.json.encode(request).decode(),
            request.deadline_ns,
            now_ns,
            request.settled,
            request.reason,
        )

    def questions(self, limit: int = 50) -> list[dict[str, Any]]:
        """Those that wait for an answer first."""
        rows = self._db.rows(
            "SELECT * FROM questions ORDER BY CASE WHEN settled = '' THEN 0 ELSE 1 END, received_ns DESC LIMIT ?", limit
        )
        for row in rows:
            row["body"] = json.loads(row["body"])
        return rows

    def question_of(self, vehicle: str, question_id: str) -> dict[str, Any] | None:
        return self._db.row("SELECT * FROM questions WHERE vehicle = ? AND question_id = ?", vehicle, question_id)

    # ------------------------------------------------------------------ commands

    def command(
        self, message_id: str, vehicle: str, order_id: str, kind: str, body: str, now_ns: int, until_ns: int
    ) -> None:
        """To be sent until it is answered, or until ``until_ns`` (0: for ever). ``kind``: topic name."""
        self._db.execute(
            "INSERT INTO commands VALUES (?, ?, ?, ?, ?, '', '', ?, ?) ON CONFLICT DO NOTHING",
            message_id,
            vehicle,
            order_id,
            kind,
            body,
            now_ns,
            until_ns,
        )

    def answered(self, vehicle: str, message_id: str, status: str, reason: str) -> bool:
        return (
            self._db.execute(
                "UPDATE commands SET status = ?, reason = ? WHERE message_id = ? AND vehicle = ? AND status = ''",
                status,
                reason,
                message_id,
                vehicle,
            )
            == 1
        )

    def open_commands(self) -> list[dict[str, Any]]:
        return self._db.rows("SELECT * FROM commands WHERE status = '' ORDER BY created_ns")

    def commands(self, limit: int = 50) -> list[dict[str, Any]]:
        return self._db.rows("SELECT * FROM commands ORDER BY created_ns DESC LIMIT ?", limit)

    def area_commands(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest that closed or opened an area, the oldest of them first."""
        rows = self._db.rows(
            "SELECT vehicle, body, status FROM commands WHERE kind = 'command' AND body LIKE ? "
            "ORDER BY created_ns DESC LIMIT ?",
            '%"command":"avoid_area"%',
            limit,
        )
        return rows[::-1]

    def command_of(self, message_id: str) -> dict[str, Any] | None:
        return self._db.row("SELECT * FROM commands WHERE message_id = ?", message_id)
