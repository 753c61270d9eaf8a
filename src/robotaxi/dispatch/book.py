"""The desk's order book: SQLite, one row an order, one row an event, every message once."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

from robotaxi.types import TripState

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    order_id TEXT PRIMARY KEY,
    vehicle TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    event_no INTEGER NOT NULL DEFAULT 0,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    delivered_ns INTEGER NOT NULL DEFAULT 0,
    message_id TEXT NOT NULL,
    cancel TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS events (
    order_id TEXT NOT NULL,
    event_no INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    stamp_ns INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    PRIMARY KEY (order_id, event_no)
);
CREATE TABLE IF NOT EXISTS seen (message_id TEXT PRIMARY KEY, vehicle TEXT NOT NULL, received_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS vehicles (
    vehicle TEXT PRIMARY KEY,
    connection TEXT NOT NULL DEFAULT 'unknown',
    state TEXT NOT NULL DEFAULT '{}',
    received_ns INTEGER NOT NULL DEFAULT 0
);
"""

CREATED = "CREATED"
EXPIRED = "EXPIRED"
UNDECIDED = (CREATED, TripState.OFFERED.name)
FINAL = (
    EXPIRED,
    *(
        s.name
        for s in (TripState.REJECTED, TripState.COMPLETED, TripState.CANCELLED, TripState.ABORTED, TripState.NO_SHOW)
    ),
)


class BookError(RuntimeError):
    """The book's file cannot be used; the message names it."""


class OrderBook:
    """Thread-safe. `changed` is notified after each change, for those who wait for one."""

    def __init__(self, path: str | Path) -> None:
        self.changed = threading.Condition(threading.RLock())
        try:
            if str(path) != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(str(path), check_same_thread=False, timeout=5.0)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise BookError(f"order book {path} cannot be used: {error}") from error

    def close(self) -> None:
        with self.changed:
            self._db.close()

    # ------------------------------------------------------------------ orders

    def create(
        self, order_id: str, vehicle: str, request: dict[str, Any], now_ns: int, expires_ns: int, message_id: str
    ) -> bool:
        """Enter a new order; False when the id exists."""
        with self.changed, self._db:
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO orders (order_id, vehicle, request, state, created_ns, expires_ns, message_id) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (order_id, vehicle, json.dumps(request), CREATED, now_ns, expires_ns, message_id),
            )
            self.changed.notify_all()
            return cursor.rowcount == 1

    def delivered(self, order_id: str, now_ns: int) -> None:
        """The car has the offer in hand."""
        with self.changed, self._db:
            self._db.execute(
                "UPDATE orders SET delivered_ns = ? WHERE order_id = ? AND delivered_ns = 0", (now_ns, order_id)
            )
            self.changed.notify_all()

    def expire(self, order_id: str, reason: str) -> None:
        """No answer came in time. The car's word, should it come after all, overrules this."""
        with self.changed, self._db:
            self._db.execute(
                "UPDATE orders SET state = ?, reason = ? WHERE order_id = ? AND state = ?",
                (EXPIRED, reason, order_id, CREATED),
            )
            self.changed.notify_all()

    def cancel(self, order_id: str, command: dict[str, Any] | None) -> None:
        """Note the command to be sent until it is answered; None once it is."""
        with self.changed, self._db:
            text = json.dumps(command) if command else ""
            self._db.execute("UPDATE orders SET cancel = ? WHERE order_id = ?", (text, order_id))
            self.changed.notify_all()

    def event(self, vehicle: str, message_id: str, event: dict[str, Any], now_ns: int) -> bool:
        """Enter a car's event; False when it was known. An order of another car's is not touched; an event
        of an order that this book does not have is kept."""
        with self.changed, self._db:
            if not self._first_time(message_id, vehicle, now_ns):
                return False
            owner = self._db.execute("SELECT vehicle FROM orders WHERE order_id = ?", (event["order_id"],)).fetchone()
            if owner is not None and owner["vehicle"] != vehicle:
                return False
            self._db.execute(
                "INSERT OR IGNORE INTO events (order_id, event_no, state, reason, stamp_ns, received_ns) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (event["order_id"], event["event_no"], event["state"], event["reason"], event["stamp_ns"], now_ns),
            )
            self._db.execute(
                "UPDATE orders SET state = ?, reason = ?, event_no = ? WHERE order_id = ? AND event_no < ?",
                (event["state"], event["reason"], event["event_no"], event["order_id"], event["event_no"]),
            )
            self.changed.notify_all()
            return True

    def seen(self, vehicle: str, message_id: str, now_ns: int) -> bool:
        """Note any other message that gets a receipt; False when it was known."""
        with self.changed, self._db:
            return self._first_time(message_id, vehicle, now_ns)

    def _first_time(self, message_id: str, vehicle: str, now_ns: int) -> bool:
        cursor = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (message_id, vehicle, now_ns))
        return cursor.rowcount == 1

    def order(self, order_id: str) -> dict[str, Any] | None:
        with self.changed:
            row = self._db.execute("SELECT * FROM orders WHERE order_id = ?", (order_id,)).fetchone()
            return self._order(row) if row else None

    def orders(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest first."""
        with self.changed:
            rows = self._db.execute("SELECT * FROM orders ORDER BY created_ns DESC, rowid DESC LIMIT ?", (limit,))
            return [self._order(row) for row in rows.fetchall()]

    def unanswered(self) -> list[dict[str, Any]]:
        """Orders without a word from their car, and those with a cancellation still to be answered."""
        with self.changed:
            rows = self._db.execute("SELECT * FROM orders WHERE state = ? OR cancel != ''", (CREATED,))
            return [self._order(row) for row in rows.fetchall()]

    def busy(self) -> set[str]:
        """Vehicles with an order that is not over."""
        marks = ",".join("?" * len(FINAL))
        with self.changed:
            rows = self._db.execute(f"SELECT DISTINCT vehicle FROM orders WHERE state NOT IN ({marks})", FINAL)
            return {row["vehicle"] for row in rows.fetchall()}

    def _order(self, row: sqlite3.Row) -> dict[str, Any]:
        events = self._db.execute(
            "SELECT event_no, state, reason, stamp_ns, received_ns FROM events WHERE order_id = ? ORDER BY event_no",
            (row["order_id"],),
        ).fetchall()
        order = dict(row)
        order["request"] = json.loads(order["request"])
        order["cancel"] = json.loads(order["cancel"]) if order["cancel"] else None
        order["delivered"] = order["delivered_ns"] > 0
        order["final"] = order["state"] in FINAL
        order["events"] = [dict(event) for event in events]
        return order

    # ------------------------------------------------------------------ vehicles

    def connection(self, vehicle: str, connection: str, now_ns: int) -> None:
        self._vehicle(vehicle, "connection", connection, now_ns)

    def state(self, vehicle: str, state_json: str, now_ns: int) -> None:
        self._vehicle(vehicle, "state", state_json, now_ns)

    def _vehicle(self, vehicle: str, column: str, value: str, now_ns: int) -> None:
        with self.changed, self._db:
            self._db.execute(
                f"INSERT INTO vehicles (vehicle, {column}, received_ns) VALUES (?, ?, ?) "
                f"ON CONFLICT (vehicle) DO UPDATE SET {column} = excluded.{column}, received_ns = excluded.received_ns",
                (vehicle, value, now_ns),
            )
            self.changed.notify_all()

    def vehicles(self) -> list[dict[str, Any]]:
        with self.changed:
            rows = self._db.execute("SELECT * FROM vehicles ORDER BY vehicle").fetchall()
        return [{**dict(row), "state": json.loads(row["state"]) or None} for row in rows]
