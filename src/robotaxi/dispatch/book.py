"""The desk's order book: one row an order, one row an offer, one row an event; every message once.

An order is with one car at a time. It goes to another one only on the word of the first that it will not drive it:
rejected, or cancelled after the desk withdrew an offer that nobody answered in time. So it is never driven twice.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robotaxi.dispatch.database import Database, DatabaseError
from robotaxi.dispatch.datum import told_in_wgs84
from robotaxi.types import TripState

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS orders (
        order_id TEXT PRIMARY KEY, wanted TEXT NOT NULL, vehicle TEXT NOT NULL, request TEXT NOT NULL,
        state TEXT NOT NULL, final BIGINT NOT NULL, reason TEXT NOT NULL, event_no BIGINT NOT NULL,
        attempt BIGINT NOT NULL, created_ns BIGINT NOT NULL, until_ns BIGINT NOT NULL, expires_ns BIGINT NOT NULL,
        delivered_ns BIGINT NOT NULL, message_id TEXT NOT NULL, withdrawn BIGINT NOT NULL, cancel_id TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS orders_open ON orders (created_ns) WHERE final = 0",
    "CREATE INDEX IF NOT EXISTS orders_created ON orders (created_ns)",
    """CREATE TABLE IF NOT EXISTS offers (
        order_id TEXT NOT NULL, vehicle TEXT NOT NULL, attempt BIGINT NOT NULL, message_id TEXT NOT NULL,
        made_ns BIGINT NOT NULL, PRIMARY KEY (order_id, vehicle))""",
    """CREATE TABLE IF NOT EXISTS events (
        order_id TEXT NOT NULL, vehicle TEXT NOT NULL, event_no BIGINT NOT NULL, state TEXT NOT NULL,
        reason TEXT NOT NULL, stamp_ns BIGINT NOT NULL, received_ns BIGINT NOT NULL, lat TEXT NOT NULL,
        lon TEXT NOT NULL, PRIMARY KEY (order_id, vehicle, event_no))""",
    "CREATE TABLE IF NOT EXISTS seen (message_id TEXT PRIMARY KEY, vehicle TEXT NOT NULL, received_ns BIGINT NOT NULL)",
)

CREATED = "CREATED"  # not answered by a car yet, or not even offered
UNANSWERED = "UNANSWERED"  # its deadline passed without a word; withdrawn, waits for the car's word on that
EXPIRED = "EXPIRED"  # no car took it in time
FINAL = (
    EXPIRED,
    *(
        s.name
        for s in (TripState.REJECTED, TripState.COMPLETED, TripState.CANCELLED, TripState.ABORTED, TripState.NO_SHOW)
    ),
)
BookError = DatabaseError


class OrderBook:
    """Thread-safe. `changed` is notified after each change, for those who wait for one."""

    def __init__(self, path: str | Path | Database, schema: str = "public") -> None:
        """``schema``: of a PostgreSQL database, which several operators share."""
        self.db = path if isinstance(path, Database) else Database(path, SCHEMA, schema)
        self.changed = threading.Condition(self.db.lock)
        self.revision = 0  # counts the changes since the start

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction, then those who wait are told."""
        with self.changed:
            with self.db.transaction():
                yield
            self.revision += 1
            self.changed.notify_all()

    # ------------------------------------------------------------------ orders

    def create(self, order_id: str, wanted: str, request: dict[str, Any], now_ns: int, until_ns: int) -> bool:
        """Enter a new order, for the car ``wanted`` or any ("") until ``until_ns``; False when the id exists."""
        with self.change():
            return (
                self.db.execute(
                    "INSERT INTO orders VALUES (?, ?, '', ?, ?, 0, '', 0, 0, ?, ?, 0, 0, '', 0, '') "
                    "ON CONFLICT DO NOTHING",
                    order_id,
                    wanted,
                    json.dumps(request),
                    CREATED,
                    now_ns,
                    until_ns,
                )
                == 1
            )

    def assign(self, order_id: str, vehicle: str, message_id: str, now_ns: int, expires_ns: int) -> None:
        """Offer it to this car; the deadline for its answer is ``expires_ns``."""
        with self.change():
            self.db.execute(
                "UPDATE orders SET vehicle = ?, message_id = ?, expires_ns = ?, event_no = 0, delivered_ns = 0, "
                "withdrawn = 0, cancel_id = '', attempt = attempt + 1 "
                "WHERE order_id = ? AND vehicle = '' AND final = 0",
                vehicle,
                message_id,
                expires_ns,
                order_id,
            )
            self.db.execute(
                "INSERT INTO offers SELECT order_id, vehicle, attempt, message_id, ? FROM orders WHERE order_id = ? "
                "ON CONFLICT DO NOTHING",
                now_ns,
                order_id,
            )

    def delivered(self, order_id: str, now_ns: int) -> None:
        """The car has the offer in hand."""
        with self.change():
            self.db.execute(
                "UPDATE orders SET delivered_ns = ? WHERE order_id = ? AND delivered_ns = 0", now_ns, order_id
            )

    def withdraw(self, order_id: str, cancel_id: str, reason: str) -> None:
        """No answer came in time: the offer is taken back by a command; the car's word on that decides."""
        with self.change():
            self.db.execute(
                "UPDATE orders SET state = ?, reason = ?, withdrawn = 1, cancel_id = ? "
                "WHERE order_id = ? AND state = ? AND vehicle != '' AND final = 0",
                UNANSWERED,
                reason,
                cancel_id,
                order_id,
                CREATED,
            )

    def give_up(self, order_id: str, state: str, reason: str) -> None:
        """An order that no car has is over."""
        with self.change():
            self.db.execute(
                "UPDATE orders SET state = ?, reason = ?, final = 1 WHERE order_id = ? AND vehicle = '' AND final = 0",
                state,
                reason,
                order_id,
            )

    def cancelling(self, order_id: str, cancel_id: str) -> None:
        """A cancellation that somebody asked for is on its way: the order goes to no other car."""
        with self.change():
            self.db.execute(
                "UPDATE orders SET cancel_id = ?, withdrawn = 0, until_ns = 0 WHERE order_id = ?", cancel_id, order_id
            )

    def event(self, vehicle: str, message_id: str, event: dict[str, Any], now_ns: int) -> bool:
        """Enter a car's event; False when it was known. Events of orders that this car was never offered are
        ignored, older ones than the newest known change nothing but the list."""
        with self.change():
            if not self.seen(vehicle, message_id, now_ns):
                return False
            order_id, number, state = event["order_id"], event["event_no"], event["state"]
            if self.db.row("SELECT 1 AS x FROM offers WHERE order_id = ? AND vehicle = ?", order_id, vehicle) is None:
                return False
            position = told_in_wgs84(event.get("position")) or {}
            self.db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                order_id,
                vehicle,
                number,
                state,
                event["reason"],
                event["stamp_ns"],
                now_ns,
                str(position.get("lat", "")),
                str(position.get("lon", "")),
            )
            self.db.execute(
                "UPDATE orders SET state = ?, reason = ?, event_no = ?, final = ? "
                "WHERE order_id = ? AND vehicle = ? AND event_no < ?",
                state,
                event["reason"],
                number,
                int(state in FINAL),
                order_id,
                vehicle,
                number,
            )
            self._to_another(order_id, vehicle, state, now_ns)
            return True

    def _to_another(self, order_id: str, vehicle: str, state: str, now_ns: int) -> None:
        """An order for any car whose car will not drive it waits for another one."""
        withdrawn = " AND withdrawn = 1" if state == TripState.CANCELLED.name else ""
        if state in (TripState.REJECTED.name, TripState.CANCELLED.name):
            self.db.execute(
                "UPDATE orders SET state = ?, final = 0, vehicle = '', event_no = 0, withdrawn = 0, cancel_id = '' "
                f"WHERE order_id = ? AND vehicle = ? AND wanted = '' AND until_ns > ? AND state = ?{withdrawn}",
                CREATED,
                order_id,
                vehicle,
                now_ns,
                state,
            )

    def seen(self, vehicle: str, message_id: str, now_ns: int) -> bool:
        """Note a message that gets a receipt; False when it was known."""
        with self.db.transaction():
            return (
                self.db.execute("INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO NOTHING", message_id, vehicle, now_ns)
                == 1
            )

    # ------------------------------------------------------------------ reading

    def order(self, order_id: str) -> dict[str, Any] | None:
        with self.db.lock:
            row = self.db.row("SELECT * FROM orders WHERE order_id = ?", order_id)
            return self._order(row) if row else None

    def orders(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest first."""
        with self.db.lock:
            rows = self.db.rows("SELECT * FROM orders ORDER BY created_ns DESC, order_id DESC LIMIT ?", limit)
            return [self._order(row) for row in rows]

    def open_orders(self) -> list[dict[str, Any]]:
        """Those that are not over, the oldest first, without their events."""
        rows = self.db.rows("SELECT * FROM orders WHERE final = 0 ORDER BY created_ns")
        for row in rows:
            row["request"] = json.loads(row["request"])
        return rows

    def refused_by(self, order_id: str) -> set[str]:
        """Cars that were offered this order."""
        return {row["vehicle"] for row in self.db.rows("SELECT vehicle FROM offers WHERE order_id = ?", order_id)}

    def _order(self, row: dict[str, Any]) -> dict[str, Any]:
        events = self.db.rows(
            "SELECT vehicle, event_no, state, reason, stamp_ns, received_ns FROM events "
            "WHERE order_id = ? ORDER BY received_ns, event_no",
            row["order_id"],
        )
        order = dict(row)
        order["request"] = json.loads(order["request"])
        order["vehicle"] = order["vehicle"] or order["wanted"]
        order["delivered"] = order["delivered_ns"] > 0
        order["final"] = bool(order["final"])
        order["events"] = sorted(
            (event for event in events if event["vehicle"] == order["vehicle"]), key=lambda e: e["event_no"]
        )
        order["earlier"] = [event for event in events if event["vehicle"] != order["vehicle"]]
        return order
