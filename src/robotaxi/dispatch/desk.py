"""The reference dispatch desk: takes orders, offers them to cars, keeps the books, sends receipts.

A small real service for development, demonstrations and conformance; it is not the platform. It speaks the
protocol of docs/dispatch-protocol.md with its own certificate and key, and HTTP on localhost (`desk_http`).

One thread does all the writing: it takes what has come, books it in one transaction, and only then sends the
receipts. So a receipt is a promise that a kill or a power failure cannot break.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from robotaxi.dispatch import protocol
from robotaxi.dispatch.book import FINAL, OrderBook
from robotaxi.dispatch.desk_areas import MAX_WITHIN_S, areas_in_force
from robotaxi.dispatch.desk_intake import Intake
from robotaxi.dispatch.desk_outbound import LOOK_S, DeskConfig, Outbound
from robotaxi.dispatch.desk_requests import (
    AnswerRequest,
    AreaRequest,
    CancelRequest,
    CommandRequest,
    DeskError,
    OrderRequest,
    Places,
)
from robotaxi.dispatch.fleet_log import SCHEMA, FleetLog
from robotaxi.dispatch.link import Link, Session
from robotaxi.dispatch.matching import eta_s
from robotaxi.dispatch.messages import (
    AssistAnswer,
    Command,
    Place,
    Receipt,
)
from robotaxi.dispatch.protocol import ProtocolError, Sender, Signing

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
BATCH = 500  # messages booked in one transaction
RECEIPT_IDS = 200  # in one receipt
FLUSH_S = 1.0
LATENCIES = 20_000


class Desk:
    """``places``: named places that an order may use. Runs its own thread from `start` to `close`."""

    def __init__(
        self,
        config: DeskConfig,
        link: Link,
        book: OrderBook,
        signing: Signing,
        places: Mapping[str, Place] | None = None,
        lane_map: dict[str, Any] | None = None,
    ) -> None:
        self.config = config
        self._link = link
        self.book = book
        self.places = Places(dict(places or {}))
        self.map = lane_map or {"lanes": [], "places": []}
        for statement in SCHEMA:
            book.db.execute(statement)
        self.fleet = FleetLog(book.db)
        sender = Sender(
            "",
            secrets.token_hex(8),
            lambda: secrets.token_hex(16),
            time.time_ns,
            operator=config.operator,
            signing=signing,
        )
        self._inbound: queue.Queue[tuple[str, bytes] | None] = queue.Queue(maxsize=100_000)
        self._wake = ("", b"")
        self._outbound = Outbound(config, link, book, self.fleet, sender)
        self._intake = Intake(config.operator, book, self.fleet, self._outbound.forget, self._look_soon)
        self._flush_s = 0.0
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)
        self._count = 0
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._link.start(
            Session(
                subscribe=(protocol.topic(self.config.operator, "+", "up", "+"),),
                on_message=self._arrived,
                birth=self._outbound.hello,
            )
        )

    def close(self) -> None:
        self._link.close()
        self._inbound.put(None)
        self._thread.join(timeout=5.0)
        self.book.close()

    @property
    def link_detail(self) -> str:
        return self._link.status().detail

    @property
    def connected(self) -> bool:
        return self._link.status().connected

    def metrics(self) -> dict[str, Any]:
        """Messages so far, how long live states took from their car (ms), processor time used (s)."""
        latency = sorted(self._latency_ms)
        share = {q: latency[min(int(len(latency) * q / 100), len(latency) - 1)] for q in (50, 99)} if latency else {}
        return {
            "messages": self._count,
            "waiting": self._inbound.qsize(),
            "latency_p50_ms": share.get(50),
            "latency_p99_ms": share.get(99),
            "latency_max_ms": latency[-1] if latency else None,
            "latency_count": len(latency),
            "cpu_s": time.process_time(),
        }

    def reset_metrics(self) -> None:
        self._latency_ms.clear()

    # ------------------------------------------------------------------ requests (any thread)

    def place_order(self, request: OrderRequest) -> dict[str, Any]:
        """Enter an order. The same order id with the same ride again: the order as it is."""
        try:
            order_id = protocol_id(request.order_id or f"order-{secrets.token_hex(6)}", "order_id")
            wanted = protocol_id(request.vehicle, "vehicle") if request.vehicle else ""
        except ValueError as error:
            raise DeskError(str(error)) from error
        ride = self.places.ride(request)
        known = self.book.order(order_id)
        if known is None:
            now = time.time_ns()
            self.book.create(order_id, wanted, ride, now, now + round(self.config.patience * SECOND_NS))
            self._look_soon()
        elif known["request"] != ride:
            raise DeskError(f"order {order_id} exists with another ride", 409)
        return self.order(order_id)

    def order(self, order_id: str) -> dict[str, Any]:
        order = self.book.order(order_id)
        if order is None:
            raise DeskError(f"order {order_id[:80]!r} is unknown", 404)
        return order

    def wait_order(self, order_id: str, events: int, delivered: bool, timeout_s: float) -> dict[str, Any]:
        """The order once it has more than ``events`` events (or is delivered, or final), or after a while."""

        def moved() -> bool:
            order = self.order(order_id)
            return len(order["events"]) > events or order["final"] or (delivered and order["delivered"])

        with self.book.changed:
            self.book.changed.wait_for(moved, timeout_s)
            return self.order(order_id)

    def wait_change(self, revision: int, timeout_s: float) -> int:
        """The book's revision, once it is above ``revision`` or after a while."""
        with self.book.changed:
            self.book.changed.wait_for(lambda: self.book.revision > revision, timeout_s)
            return self.book.revision

    def cancel(self, order_id: str, request: CancelRequest) -> dict[str, Any]:
        order = self.order(order_id)
        if request.by not in ("platform", "rider"):
            raise DeskError(f"by is {request.by!r}, allowed is platform or rider")
        if order["final"]:
            raise DeskError(f"order {order_id} is {order['state']} already", 409)
        reason = protocol.clip(request.reason)
        with self.book.change():
            row = self.book.db.row("SELECT vehicle FROM orders WHERE order_id = ?", order_id)
            if row is not None and not row["vehicle"]:
                self.book.give_up(order_id, "CANCELLED", f"by {request.by}" + (f": {reason}" if reason else ""))
                return self.order(order_id)
            self._send_cancel(order_id, order["vehicle"], request.by, reason)  # type: ignore[arg-type]
        self._look_soon()
        return self.order(order_id)

    def _send_cancel(self, order_id: str, vehicle: str, by: str, reason: str) -> str:
        body = Command(command="cancel", order_id=order_id, by=by, reason=reason)  # type: ignore[arg-type]
        identity = self._outbound.queue(vehicle, body, order_id, 0)
        self.book.cancelling(order_id, identity)
        return identity

    def command(self, vehicle: str, request: CommandRequest) -> dict[str, Any]:
        """Ask a car for something else than a ride; the answer comes into the returned command's status."""
        body = self.places.command(request)
        until = time.time_ns() + round(request.within_s * SECOND_NS)
        with self.book.change():
            identity = self._outbound.queue(vehicle, body, body.order_id, until)
            found = self.fleet.command_of(identity)
        self._look_soon()
        assert found is not None
        return found

    def close_area(self, request: AreaRequest) -> dict[str, Any]:
        """Ask every known car to keep out of an area, or with ``minutes`` 0 to forget it; they answer one by one."""
        within_s = min(request.minutes * 60.0, MAX_WITHIN_S) if request.minutes > 0.0 else MAX_WITHIN_S
        body = self.places.command(CommandRequest(command="avoid_area", area=request))
        until = time.time_ns() + round(within_s * SECOND_NS)
        with self.book.change():
            names = sorted(self.fleet.vehicles)
            for name in names:
                self._outbound.queue(name, body, "", until)
        self._look_soon()
        return {"area_id": request.area_id, "asked": len(names)}

    def answer(self, vehicle: str, request: AnswerRequest) -> dict[str, Any]:
        """A person's answer to a car's question."""
        with self.book.change():
            question = self.fleet.question_of(vehicle, request.question_id)
            if question is None:
                raise DeskError(f"{vehicle} has not asked {request.question_id[:80]!r}", 404)
            if question["settled"]:
                raise DeskError(f"the question is settled: {question['settled']} ({question['reason']})", 409)
            body = AssistAnswer(question_id=request.question_id, option_id=request.option_id, by=request.by)
            identity = self._outbound.queue(vehicle, body, "", int(question["deadline_ns"]))
            found = self.fleet.command_of(identity)
        self._look_soon()
        assert found is not None
        return found

    def vehicles(self) -> list[dict[str, Any]]:
        now = time.time_ns()
        with self.book.db.lock:
            return [self.fleet.vehicles[name].as_dict(now) for name in sorted(self.fleet.vehicles)]

    def snapshot(self) -> dict[str, Any]:
        """What the page shows; an order whose car is on its way has ``eta_s``."""
        orders = self.book.orders(30)
        with self.book.db.lock:
            for order in orders:
                live = self.fleet.vehicles.get(order["vehicle"])
                if live is not None and not order["final"]:
                    pickup = order["request"]["pickup"]["position"]
                    order["eta_s"] = live.eta_s or eta_s(live.position, (pickup["lat"], pickup["lon"]))
            questions, events = self.fleet.questions(), self.fleet.reports()
            areas = areas_in_force(self.fleet.area_commands(), time.time_ns())
        return {
            "operator": self.config.operator,
            "link": self.link_detail,
            "vehicles": self.vehicles(),
            "orders": orders,
            "questions": questions,
            "events": events,
            "areas": areas,
        }

    # ------------------------------------------------------------------ the desk's thread

    def _arrived(self, topic: str, payload: bytes) -> None:
        """From the link's thread."""
        if topic.endswith("/state"):
            self._note_latency(payload)
        self._inbound.put((topic, payload))

    def _note_latency(self, payload: bytes) -> None:
        head = payload.find(b'"t_src_ns":')
        if head >= 0 and b'"live":false' not in payload:
            end = head + 11
            digits = payload[end : end + 20].split(b",")[0]
            if digits.isdigit():
                self._latency_ms.append((time.time_ns() - int(digits)) * 1e-6)

    def _run(self) -> None:
        while True:
            items = self._take()
            if items is None:
                self._book([])
                return
            self._book([item for item in items if item is not self._wake])
            try:
                self._outbound.look(bool(len(items)))
            except Exception:
                log.exception("what is due could not be done")

    def _take(self) -> list[tuple[str, bytes]] | None:
        """What has come, or nothing after a while; None at the end."""
        items: list[tuple[str, bytes]] = []
        try:
            item = self._inbound.get(timeout=LOOK_S)
            while item is not None:
                items.append(item)
                if len(items) >= BATCH:
                    return items
                item = self._inbound.get_nowait()
        except queue.Empty:
            return items
        return None

    def _look_soon(self) -> None:
        self._inbound.put(self._wake)

    def _book(self, items: list[tuple[str, bytes]]) -> None:
        """All of it in one transaction, then the receipts."""
        receipts: dict[str, list[str]] = {}
        now = time.monotonic()
        if not items and now - self._flush_s < FLUSH_S:
            return
        try:
            with self.book.change():
                for topic, payload in items:
                    self._count += 1
                    try:
                        vehicle, identity = self._intake.handle(topic, payload)
                    except ProtocolError as error:
                        log.warning("message on %s: %s", topic, error)
                        continue
                    if identity:
                        receipts.setdefault(vehicle, []).append(identity)
                if now - self._flush_s >= FLUSH_S:
                    self._flush_s = now
                    self.fleet.flush()
        except Exception:
            log.exception("%d messages could not be booked; their cars send them again", len(items))
            return
        for vehicle, ids in receipts.items():
            for start in range(0, len(ids), RECEIPT_IDS):
                self._outbound.send(vehicle, Receipt(ids=tuple(ids[start : start + RECEIPT_IDS])))


def protocol_id(text: str, what: str) -> str:
    from robotaxi.dispatch.messages import check_id

    return check_id(text, what)


__all__ = ["FINAL", "Desk", "DeskConfig", "DeskError"]
