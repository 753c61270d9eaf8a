"""What must not be lost: messages until their receipt, the record of each trip, and which messages had an effect.

SQLite in WAL, used from one thread. With ``synchronous=FULL`` a commit is on the disk before it returns: neither a
killed process nor a power failure takes it back.

A file that is not a sound database is set aside beside itself and a new one begun; a full disk keeps
messages in memory. Both are told by `problem`, neither raises. Messages given up because of the quota or their
time-to-live leave a gap record that says how many and from when to when.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robotaxi.params import param

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 1.0
EXPIRE_PERIOD_NS = 10_000_000_000
ISSUERS_KEPT = 1000
SCHEMA_VERSION = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    payload BLOB NOT NULL,
    priority INTEGER NOT NULL,
    stamp_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS message_order ON message (priority, no);
CREATE INDEX IF NOT EXISTS message_expiry ON message (expires_ns) WHERE expires_ns > 0;
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
CREATE TABLE IF NOT EXISTS answered (
    id TEXT PRIMARY KEY, until_ns INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    order_id TEXT NOT NULL, state TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS answered_until ON answered (until_ns);
CREATE TABLE IF NOT EXISTS issuer (boot_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, no INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS value (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS gap (
    name TEXT PRIMARY KEY, count INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL,
    reason TEXT NOT NULL
);
"""

URGENT, NORMAL, BACKFILL = 0, 1, 2
"""Priorities: trips and answers; events; history of states."""


@dataclass(frozen=True)
class OutboxConfig:
    """How much is kept."""

    quota: int = param(200_000_000, lo=1_000, hi=100_000_000_000, unit="bytes", doc="payload bytes that may wait")
    trips_kept: int = param(10_000, lo=10, hi=10_000_000, doc="finished trips that are remembered")
    power_safe: bool = param(True, doc="wait for the disk at each commit: what was stored survives a power failure")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """``name`` is the last part of its topic. ``no`` grows with each message, 0 before it is stored.
    ``expires_ns``: UTC after which it is given up, 0 for never."""

    id: str
    name: str
    payload: bytes
    priority: int = URGENT
    stamp_ns: int = 0
    expires_ns: int = 0
    no: int = 0


@dataclass(frozen=True, slots=True)
class TripRecord:
    """One order as the car knows it. ``record``: what the bridge needs to go on with it."""

    order_id: str
    state: str
    active: bool
    events: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A message from the cloud that had its effect, and the answer; remembered until ``until_ns`` (UTC)."""

    id: str
    until_ns: int
    status: str
    reason: str = ""
    order_id: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that were given up."""

    name: str
    count: int
    first_ns: int
    last_ns: int
    reason: str


@dataclass
class Change:
    """What is stored together or not at all. ``issuers``: boot id and sequence number acted upon."""

    messages: list[StoredMessage] = field(default_factory=list)
    trips: list[TripRecord] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    issuers: list[tuple[str, int]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    gaps_told: list[str] = field(default_factory=list)
    values: list[tuple[str, bytes]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.messages, self.trips, self.answered, self.issuers, self.deleted, self.gaps_told, self.values))


class Outbox:
    """Open or begin the file at ``path``; ":memory:" keeps nothing. ``now_ns``: UTC, for times-to-live."""

    def __init__(
        self, path: str | Path, config: OutboxConfig | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._path = str(path)
        self._config = config or OutboxConfig()
        self._now_ns = now_ns
        self.problem = ""
        self._fallback = False
        self._held: list[Change] = []
        self._db = self._open()
        self._bytes, self._count = self._db.execute(
            "SELECT coalesce(sum(length(payload)), 0), count(*) FROM message"
        ).fetchone()
        self._expire_due_ns = 0
        self._may_have_gaps = True

    # ------------------------------------------------------------------ messages

    def __len__(self) -> int:
        return int(self._count)

    @property
    def durable(self) -> bool:
        """Whether all that was recorded is where it was asked to be, and not just in memory."""
        return not self._held and not self._fallback

    def pending(self, count: int = 1_000_000_000) -> list[StoredMessage]:
        """The first ``count`` that wait for a receipt: the urgent first, the oldest of them first."""
        deleted = {identity for held in self._held for identity in held.deleted}
        rows = self._read(
            "SELECT id, name, payload, priority, stamp_ns, expires_ns, no FROM message ORDER BY priority, no LIMIT ?",
            count + len(deleted),
        )
        waiting = [StoredMessage(*row) for row in rows]
        if self._held:
            waiting += [message for held in self._held for message in held.messages]
            waiting = sorted((m for m in waiting if m.id not in deleted), key=lambda m: (m.priority, m.no or 1 << 62))
        return waiting[:count]

    def record(
        self,
        messages: Sequence[StoredMessage] = (),
        trips: Sequence[TripRecord] = (),
        answered: Sequence[Answered] = (),
        issuers: Sequence[tuple[str, int]] = (),
        gaps_told: Sequence[str] = (),
        values: Sequence[tuple[str, bytes]] = (),
    ) -> bool:
        """Store all of this together, before anything is sent or done.

        False when it is not on disk (full, unwritable): it is then kept in memory and tried again with each
        later call. Over the quota the least urgent, oldest messages go and leave a gap record.
        """
        return self._commit(
            Change(
                list(messages),
                list(trips),
                list(answered),
                list(issuers),
                gaps_told=list(gaps_told),
                values=list(values),
            )
        )

    def delete(self, ids: Sequence[str]) -> None:
        """Forget messages whose receipt has come. Unknown ids are ignored."""
        if ids and self._count:
            self._commit(Change(deleted=list(dict.fromkeys(ids))))

    def gaps(self) -> list[Gap]:
        """What was given up and not told yet."""
        if not self._may_have_gaps:
            return []
        self._may_have_gaps = False
        return [Gap(*row) for row in self._read("SELECT name, count, first_ns, last_ns, reason FROM gap ORDER BY name")]

    # ------------------------------------------------------------------ what had its effect

    def answered(self, message_id: str) -> Answered | None:
        """The answer to a message from the cloud that had its effect already."""
        for held in reversed(self._held):
            for answer in held.answered:
                if answer.id == message_id:
                    return answer
        rows = self._read("SELECT id, until_ns, status, reason, order_id, state FROM answered WHERE id = ?", message_id)
        return Answered(*rows[0]) if rows else None

    def last_seq(self, boot_id: str) -> int:
        """The newest sequence number of this issuer that had an effect; 0 for none."""
        held = [seq for change in self._held for boot, seq in change.issuers if boot == boot_id]
        rows = self._read("SELECT seq FROM issuer WHERE boot_id = ?", boot_id)
        return max([*held, *(row[0] for row in rows)], default=0)

    def value(self, key: str) -> bytes | None:
        """Something else that must survive."""
        for held in reversed(self._held):
            for name, value in reversed(held.values):
                if name == key:
                    return value
        rows = self._read("SELECT value FROM value WHERE key = ?", key)
        return bytes(rows[0][0]) if rows else None

    # ------------------------------------------------------------------ trips

    def trip(self, order_id: str) -> TripRecord | None:
        """The record of an order, or None if it was never seen (or is long forgotten)."""
        for held in reversed(self._held):
            for record in reversed(held.trips):
                if record.order_id == order_id:
                    return record
        return self._trip("order_id = ?", order_id)

    def trips(self) -> list[TripRecord]:
        """Every order that is remembered, the oldest first."""
        rows = self._read("SELECT order_id, state, active, events, record FROM trip ORDER BY no")
        return [TripRecord(row[0], row[1], bool(row[2]), row[3], row[4]) for row in rows]

    def active_trip(self) -> TripRecord | None:
        """The order that was under way when the last process ended."""
        return self._trip("active = 1 ORDER BY no DESC LIMIT 1")

    def _trip(self, where: str, *values: str) -> TripRecord | None:
        rows = self._read(f"SELECT order_id, state, active, events, record FROM trip WHERE {where}", *values)
        return TripRecord(rows[0][0], rows[0][1], bool(rows[0][2]), rows[0][3], rows[0][4]) if rows else None

    # ------------------------------------------------------------------ file

    def close(self) -> None:
        self._commit(Change())
        self._db.close()

    def _read(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._tell(f"outbox {self._path} cannot be read: {error}")
            return []

    def _commit(self, change: Change) -> bool:
        if not change and not self._held:
            return True
        self._held.append(change)
        size, count = self._bytes, self._count
        try:
            with self._db:
                for held in self._held:
                    self._apply(held)
                self._make_room()
        except sqlite3.Error as error:
            self._bytes = size
            self._count = count + len(change.messages)
            self._tell(f"outbox {self._path} cannot be written, kept in memory: {error}")
            return False
        if len(self._held) > 1:
            self.problem = ""  # what had been held back is on disk now
            self._bytes, self._count = self._db.execute(
                "SELECT coalesce(sum(length(payload)), 0), count(*) FROM message"
            ).fetchone()
        self._held.clear()
        return True

    def _apply(self, change: Change) -> None:
        for m in change.messages:
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO message (id, name, payload, priority, stamp_ns, expires_ns) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (m.id, m.name, m.payload, m.priority, m.stamp_ns, m.expires_ns),
            )
            if cursor.rowcount == 1:
                self._bytes += len(m.payload)
                self._count += 1
        for trip in change.trips:
            self._save(trip)
        self._db.executemany(
            "INSERT OR REPLACE INTO answered (id, until_ns, status, reason, order_id, state) VALUES (?, ?, ?, ?, ?, ?)",
            [(a.id, a.until_ns, a.status, a.reason, a.order_id, a.state) for a in change.answered],
        )
        for boot_id, seq in change.issuers:
            self._db.execute(
                "INSERT INTO issuer (boot_id, seq, no) VALUES (?, ?, (SELECT coalesce(max(no), 0) + 1 FROM issuer)) "
                "ON CONFLICT (boot_id) DO UPDATE SET seq = max(seq, excluded.seq)",
                (boot_id, seq),
            )
            self._db.execute(
                "DELETE FROM issuer WHERE no <= (SELECT max(no) FROM issuer) - ?",
                (ISSUERS_KEPT,),
            )
        for identity in change.deleted:
            row = self._db.execute("SELECT length(payload) FROM message WHERE id = ?", (identity,)).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM message WHERE id = ?", (identity,))
                self._bytes -= row[0]
                self._count -= 1
        self._db.executemany("DELETE FROM gap WHERE name = ?", [(name,) for name in change.gaps_told])
        self._db.executemany("INSERT OR REPLACE INTO value (key, value) VALUES (?, ?)", change.values)

    def _make_room(self) -> None:
        """Inside a transaction: give up what is too old or too much."""
        now = self._now_ns()
        if now >= self._expire_due_ns:
            self._expire_due_ns = now + EXPIRE_PERIOD_NS
            self._db.execute("DELETE FROM answered WHERE until_ns < ?", (now,))
            self._give_up("expires_ns > 0 AND expires_ns < ? ORDER BY no LIMIT 10000", (now,), "time-to-live")
        while self._bytes > self._config.quota and self._count:
            dropped = self._give_up("1 = 1 ORDER BY priority DESC, no LIMIT 1", (), "quota")
            if not dropped:
                break
            self._tell("outbox is full: the least urgent, oldest messages are dropped")

    def _give_up(self, where: str, values: tuple[object, ...], reason: str) -> int:
        rows = self._db.execute(
            f"SELECT no, name, stamp_ns, length(payload) FROM message WHERE {where}", values
        ).fetchall()
        for no, name, stamp_ns, size in rows:
            self._db.execute("DELETE FROM message WHERE no = ?", (no,))
            self._bytes -= size
            self._count -= 1
            self._may_have_gaps = True
            self._db.execute(
                "INSERT INTO gap (name, count, first_ns, last_ns, reason) VALUES (?, 1, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET count = count + 1, first_ns = min(first_ns, excluded.first_ns), "
                "last_ns = max(last_ns, excluded.last_ns), reason = excluded.reason",
                (name, stamp_ns, stamp_ns, reason),
            )
        return len(rows)

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
            db.execute(f"PRAGMA synchronous={'FULL' if self._config.power_safe else 'NORMAL'}")
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

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.error(problem)
        self.problem = problem
