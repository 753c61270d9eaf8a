"""What must not be lost: messages until their receipt, and the record of each trip. SQLite in WAL.

Used from one thread. ``synchronous=NORMAL``: a killed process loses nothing; a power failure may lose
the last moments, never the order or the integrity of the rest.

A file that is not a sound database is set aside beside itself and a new one begun; a full disk keeps
messages in memory. Both are told by `problem`, neither raises.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from robotaxi.params import param

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 1.0
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS trip (
    order_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    active INTEGER NOT NULL,
    events INTEGER NOT NULL,
    record BLOB NOT NULL,
    no INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS trip_no ON trip (no);
CREATE INDEX IF NOT EXISTS trip_active ON trip (active) WHERE active = 1;
"""


@dataclass(frozen=True)
class OutboxConfig:
    """How much is kept."""

    quota: int = param(10_000_000, lo=1_000, hi=10_000_000_000, unit="bytes", doc="payload bytes that may wait")
    trips_kept: int = param(10_000, lo=10, hi=10_000_000, doc="finished trips that are remembered")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """``no`` grows with each message; ``name`` is the last part of its topic."""

    no: int
    id: str
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class TripRecord:
    """One order as the car knows it. ``record``: what the bridge needs to go on with it."""

    order_id: str
    state: str
    active: bool
    events: int
    record: bytes


class Outbox:
    """Open or begin the file at ``path``; ":memory:" keeps nothing."""

    def __init__(self, path: str | Path, config: OutboxConfig | None = None) -> None:
        self._path = str(path)
        self._config = config or OutboxConfig()
        self.problem = ""
        self._fallback = False
        self._held: list[tuple[list[StoredMessage], list[TripRecord], list[str]]] = []
        self._db = self._open()
        self._bytes = int(self._one("SELECT coalesce(sum(length(payload)), 0) FROM message"))
        self._next = int(self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'message'")) + 1
        self._waiting: dict[str, StoredMessage] = {
            row[1]: StoredMessage(*row)
            for row in self._db.execute("SELECT no, id, name, payload FROM message ORDER BY no")
        }

    # ------------------------------------------------------------------ messages

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def durable(self) -> bool:
        """Whether all that was recorded is where it was asked to be, and not just in memory."""
        return not self._held and not self._fallback

    def pending(self, count: int | None = None) -> list[StoredMessage]:
        """Those that wait for a receipt (the first ``count`` of them), oldest first."""
        return list(islice(self._waiting.values(), count))

    def record(self, messages: Sequence[tuple[str, str, bytes]], trips: Sequence[TripRecord] = ()) -> bool:
        """Store messages (id, name, payload) and trip records together, before anything is sent.

        False when they are not on disk (full, unwritable): they are then kept in memory and tried
        again with each later call. Over the quota the oldest messages go, which `problem` tells.
        """
        stored = []
        for identity, name, payload in messages:
            if identity in self._waiting:
                continue
            message = StoredMessage(self._next, identity, name, payload)
            self._next += 1
            self._bytes += len(payload)
            self._waiting[identity] = message
            stored.append(message)
        return self._commit(stored, list(trips), self._over_quota())

    def delete(self, ids: Sequence[str]) -> None:
        """Forget messages whose receipt has come. Unknown ids are ignored."""
        known = [identity for identity in dict.fromkeys(ids) if identity in self._waiting]
        for identity in known:
            self._bytes -= len(self._waiting.pop(identity).payload)
        if known:
            self._commit([], [], known)

    def _over_quota(self) -> list[str]:
        dropped = []
        while self._bytes > self._config.quota and self._waiting:
            oldest = next(iter(self._waiting.values()))
            self._bytes -= len(self._waiting.pop(oldest.id).payload)
            dropped.append(oldest.id)
        if dropped:
            self._tell(f"outbox is full: {len(dropped)} oldest messages were dropped")
        return dropped

    # ------------------------------------------------------------------ trips

    def trip(self, order_id: str) -> TripRecord | None:
        """The record of an order, or None if it was never seen (or is long forgotten)."""
        for _, trips, _ in reversed(self._held):
            for record in reversed(trips):
                if record.order_id == order_id:
                    return record
        return self._trip("order_id = ?", order_id)

    def active_trip(self) -> TripRecord | None:
        """The order that was under way when the last process ended."""
        return self._trip("active = 1 ORDER BY no DESC LIMIT 1")

    def _trip(self, where: str, *values: str) -> TripRecord | None:
        try:
            row = self._db.execute(
                f"SELECT order_id, state, active, events, record FROM trip WHERE {where}", values
            ).fetchone()
        except sqlite3.Error as error:
            self._tell(f"outbox {self._path} cannot be read: {error}")
            return None
        return TripRecord(row[0], row[1], bool(row[2]), row[3], row[4]) if row else None

    # ------------------------------------------------------------------ file

    def close(self) -> None:
        self._commit([], [], [])
        self._db.close()

    def _commit(self, messages: list[StoredMessage], trips: list[TripRecord], deleted: list[str]) -> bool:
        self._held.append((messages, trips, deleted))
        if not any(any(part) for part in self._held):
            self._held.clear()
            return True
        try:
            with self._db:
                for held_messages, held_trips, held_deleted in self._held:
                    self._db.executemany(
                        "INSERT OR IGNORE INTO message (no, id, name, payload) VALUES (?, ?, ?, ?)",
                        [(m.no, m.id, m.name, m.payload) for m in held_messages],
                    )
                    for trip in held_trips:
                        self._save(trip)
                    self._db.executemany("DELETE FROM message WHERE id = ?", [(i,) for i in held_deleted])
        except sqlite3.Error as error:
            self._tell(f"outbox {self._path} cannot be written, kept in memory: {error}")
            return False
        if self.problem and len(self._held) > 1:
            self.problem = ""  # what had been held back is on disk now
        self._held.clear()
        return True

    def _save(self, trip: TripRecord) -> None:
        no = self._db.execute("SELECT coalesce(max(no), 0) + 1 FROM trip").fetchone()[0]
        self._db.execute(
            "INSERT INTO trip (order_id, state, active, events, record, no) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, active = excluded.active, "
            "events = excluded.events, record = excluded.record",
            (trip.order_id, trip.state, int(trip.active), trip.events, trip.record, no),
        )
        if no > self._config.trips_kept:
            self._db.execute("DELETE FROM trip WHERE active = 0 AND no <= ?", (no - self._config.trips_kept,))

    def _open(self) -> sqlite3.Connection:
        try:
            if self._path != ":memory:":
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            return self._connect(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                return self._in_memory(error)
            aside = self._set_aside()
            self._tell(f"outbox {self._path} was not readable ({error}): set aside as {aside}, a new one begun")
        except OSError as error:
            return self._in_memory(error)
        try:
            return self._connect(self._path)
        except sqlite3.Error as error:
            return self._in_memory(error)

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        self._tell(f"outbox {self._path} cannot be used ({error}): messages are kept in memory only")
        self._fallback = True
        return self._connect(":memory:")

    def _connect(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            found = db.execute("PRAGMA quick_check").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError(f"schema version {version}, this program writes {SCHEMA_VERSION}")
            with db:
                db.executescript(SCHEMA)
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%S")
        aside = f"{self._path}.corrupt-{stamp}"
        for suffix in ("", "-wal", "-shm"):
            source = Path(self._path + suffix)
            if source.exists():
                source.replace(aside + suffix)
        return aside

    def _one(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.error(problem)
        self.problem = problem
