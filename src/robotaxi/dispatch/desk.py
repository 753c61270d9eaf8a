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
from dataclasses import dataclass
from typing import Any

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch.book import CREATED, EXPIRED, FINAL, OrderBook
from robotaxi.dispatch.desk_requests import (
    AnswerRequest,
    CancelRequest,
    CommandRequest,
    DeskError,
    OrderRequest,
    Places,
)
from robotaxi.dispatch.fleet_log import SCHEMA, FleetLog
from robotaxi.dispatch.link import Link, Outgoing, Session
from robotaxi.dispatch.matching import Candidate, best_car, eta_s
from robotaxi.dispatch.messages import (
    Ack,
    AssistAnswer,
    AssistRequest,
    Body,
    Command,
    Connection,
    Event,
    Factsheet,
    Order,
    OrderEvent,
    Place,
    Receipt,
    State,
)
from robotaxi.dispatch.protocol import ProtocolError, Sender, Signing
from robotaxi.params import param

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
BATCH = 500  # messages booked in one transaction
RECEIPT_IDS = 200  # in one receipt
LOOK_S = 0.05  # how often what is due is looked for
FLUSH_S = 1.0
LATENCIES = 20_000
WITHDRAW_AFTER_S = 2.0  # beyond the deadline: the answer may be on its way


@dataclass(frozen=True)
class DeskConfig:
    operator: str = param("demo", doc="operator whose cars this desk sees")
    accept_within: float = param(120.0, lo=1.0, hi=3600.0, unit="s", doc="deadline for a car's answer to an offer")
    patience: float = param(1800.0, lo=1.0, hi=86400.0, unit="s", doc="an order without a car is given up after")
    offer_again: float = param(2.0, lo=0.1, hi=60.0, unit="s", doc="what has no answer is sent again after; grows")
    offer_again_max: float = param(15.0, lo=0.1, hi=600.0, unit="s", doc="longest pause between repetitions")
    stale_after: float = param(15.0, lo=1.0, hi=600.0, unit="s", doc="a car whose state is older gets no new order")


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
        self._sender = Sender(
            "",
            secrets.token_hex(8),
            lambda: secrets.token_hex(16),
            time.time_ns,
            operator=config.operator,
            signing=signing,
        )
        self._inbound: queue.Queue[tuple[str, bytes] | None] = queue.Queue(maxsize=100_000)
        self._wake = ("", b"")
        self._sent: dict[str, tuple[float, float]] = {}  # message id -> (last sending, pause until the next)
        self._due_s = self._flush_s = 0.0
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)
        self._count = 0
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._link.start(
            Session(
                subscribe=(protocol.topic(self.config.operator, "+", "up", "+"),),
                on_message=self._arrived,
                birth=self._hello,
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
            self._inbound.put(self._wake)
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
        self._inbound.put(self._wake)
        return self.order(order_id)

    def _send_cancel(self, order_id: str, vehicle: str, by: str, reason: str) -> str:
        body = Command(command="cancel", order_id=order_id, by=by, reason=reason)  # type: ignore[arg-type]
        identity = self._queue_down(vehicle, body, order_id, 0)
        self.book.cancelling(order_id, identity)
        return identity

    def command(self, vehicle: str, request: CommandRequest) -> dict[str, Any]:
        """Ask a car for something else than a ride; the answer comes into the returned command's status."""
        body = self.places.command(request)
        until = time.time_ns() + round(request.within_s * SECOND_NS)
        with self.book.change():
            identity = self._queue_down(vehicle, body, body.order_id, until)
            found = self.fleet.command_of(identity)
        self._inbound.put(self._wake)
        assert found is not None
        return found

    def answer(self, vehicle: str, request: AnswerRequest) -> dict[str, Any]:
        """A person's answer to a car's question."""
        with self.book.change():
            question = self.fleet.question_of(vehicle, request.question_id)
            if question is None:
                raise DeskError(f"{vehicle} has not asked {request.question_id[:80]!r}", 404)
            if question["settled"]:
                raise DeskError(f"the question is settled: {question['settled']} ({question['reason']})", 409)
            body = AssistAnswer(question_id=request.question_id, option_id=request.option_id, by=request.by)
            identity = self._queue_down(vehicle, body, "", int(question["deadline_ns"]))
            found = self.fleet.command_of(identity)
        self._inbound.put(self._wake)
        assert found is not None
        return found

    def _queue_down(self, vehicle: str, body: Body, order_id: str, until_ns: int) -> str:
        identity, name = secrets.token_hex(16), protocol.body_name(body)
        text = msgspec.json.encode(body).decode()
        self.fleet.command(identity, vehicle, order_id, name, text, time.time_ns(), until_ns)
        return identity

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
        return {
            "link": self.link_detail,
            "vehicles": self.vehicles(),
            "orders": orders,
            "questions": questions,
            "events": events,
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
                self._look(bool(len(items)))
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
                        vehicle, identity = self._handle(topic, payload)
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
                self._send(vehicle, Receipt(ids=tuple(ids[start : start + RECEIPT_IDS])))

    def _handle(self, topic: str, payload: bytes) -> tuple[str, str]:
        """(vehicle, id that gets a receipt or "")."""
        parts = protocol.parse_topic(topic)
        if parts.operator != self.config.operator or parts.direction != "up":
            raise ProtocolError(f"topic {topic[:200]!r} is not from a car of {self.config.operator}")
        vehicle, now = parts.vehicle, time.time_ns()
        try:
            message = protocol.decode(payload, parts.name, vehicle)
        except ProtocolError as error:
            log.warning("message on %s: %s", topic, error)
            if error.message_id:  # sending it again would not help
                self.book.seen(vehicle, error.message_id, now)
            return vehicle, error.message_id
        body, envelope = message.body, message.envelope
        identity = envelope.id
        if isinstance(body, State):
            text = protocol.body_as_json(payload, message)
            self.fleet.state(vehicle, envelope.boot_id, envelope.seq, envelope.t_src_ns, body, text, now)
            return vehicle, "" if body.live else identity
        if isinstance(body, Connection):
            self._connection(vehicle, envelope.boot_id, body)
            return vehicle, ""
        if isinstance(body, Factsheet):
            live = self.fleet.vehicle(vehicle)
            live.factsheet, live.dirty = protocol.body_as_json(payload, message), True
            return vehicle, ""
        if isinstance(body, OrderEvent):
            self.book.event(vehicle, identity, msgspec.to_builtins(body), now)
        elif self.book.seen(vehicle, identity, now):
            if isinstance(body, Ack):
                self._acked(vehicle, body, now)
            elif isinstance(body, Event):
                self.fleet.report(vehicle, identity, body, protocol.body_as_json(payload, message), now)
            elif isinstance(body, AssistRequest):
                self.fleet.question(vehicle, body, now)
        return vehicle, identity

    def _connection(self, vehicle: str, boot_id: str, body: Connection) -> None:
        live = self.fleet.vehicle(vehicle)
        live.connection, live.dirty = body.state, True
        if body.state != "online":
            return
        for order in self.book.open_orders():  # offer at once what it may not have
            if order["vehicle"] == vehicle:
                self._sent.pop(order["message_id"], None)
        live.boots = [*[boot for boot in live.boots if boot != boot_id][-3:], boot_id]
        self._inbound.put(self._wake)

    def _acked(self, vehicle: str, ack: Ack, now: int) -> None:
        if ack.status == "reordered":  # it goes again, with a new sequence number
            self._sent.pop(ack.message_id, None)
            return
        order = self.book.order(ack.order_id) if ack.order_id else None
        if order is not None and order["vehicle"] == vehicle and ack.message_id == order["message_id"]:
            if ack.status in ("received", "accepted", "duplicate"):
                self.book.delivered(ack.order_id, now)
            return
        if ack.status not in ("received", "expired"):
            self.fleet.answered(vehicle, ack.message_id, ack.status, ack.reason)
            self._sent.pop(ack.message_id, None)

    # ------------------------------------------------------------------ what is due

    def _look(self, something_came: bool) -> None:
        now = time.monotonic()
        if now < self._due_s and not something_came:
            return
        self._due_s = now + LOOK_S
        now_ns = time.time_ns()
        orders = self.book.open_orders()
        self._match([order for order in orders if not order["vehicle"]], orders, now_ns)
        for order in self.book.open_orders():
            if order["vehicle"] and order["state"] == CREATED:
                self._offer(order, now_ns)
        self._send_commands(now_ns)
        if len(self._sent) > 100_000:
            self._sent.clear()

    def _match(self, waiting: list[dict[str, Any]], orders: list[dict[str, Any]], now_ns: int) -> None:
        """Give each order that has no car the nearest one that is able; the oldest order first."""
        busy = {order["vehicle"] for order in orders if order["vehicle"]}
        cars: list[Candidate] | None = None
        for order in waiting:
            order_id, vehicle = order["order_id"], order["wanted"]
            if now_ns > order["until_ns"]:
                self.book.give_up(order_id, EXPIRED, f"no car took it within {self.config.patience:g} s")
                continue
            if not vehicle:
                if cars is None:
                    cars = self._able(busy, now_ns)
                if not cars:
                    continue
                found = best_car(cars, order["request"]["pickup"]["position"], self.book.refused_by(order_id))
                if found is None:
                    continue
                vehicle = found.vehicle
                cars.remove(found)
            expires = now_ns + round(self.config.accept_within * SECOND_NS)
            self.book.assign(order_id, vehicle, secrets.token_hex(16), now_ns, expires)

    def _able(self, busy: set[str], now_ns: int) -> list[Candidate]:
        with self.book.db.lock:
            return [
                Candidate(live.vehicle, live.position)
                for name, live in sorted(self.fleet.vehicles.items())
                if live.connection == "online"
                and live.able
                and name not in busy
                and now_ns - live.received_ns <= self.config.stale_after * SECOND_NS
            ]

    def _offer(self, order: dict[str, Any], now_ns: int) -> None:
        """Until the car's answer. When its deadline has passed the offer is taken back, which the car answers."""
        if now_ns > order["expires_ns"] + WITHDRAW_AFTER_S * SECOND_NS:
            why = f"no answer from {order['vehicle']} within {self.config.accept_within:g} s"
            with self.book.change():
                body = Command(command="cancel", order_id=order["order_id"], by="platform", reason=why)
                identity = self._queue_down(order["vehicle"], body, order["order_id"], 0)
                self.book.withdraw(order["order_id"], identity, why)
        elif now_ns <= order["expires_ns"]:
            body_ = msgspec.convert({"order_id": order["order_id"], **order["request"]}, Order)
            self._repeat(order["message_id"], order["vehicle"], body_, order["expires_ns"])

    def _send_commands(self, now_ns: int) -> None:
        for row in self.fleet.open_commands():
            identity, until = row["message_id"], row["until_ns"]
            if until and now_ns > until:
                with self.book.change():
                    self.fleet.answered(row["vehicle"], identity, "expired", "no answer in time")
                continue
            if row["kind"] == "command" and row["order_id"] and '"cancel"' in row["body"]:
                order = self.book.order(row["order_id"])
                if order is not None and order["final"]:
                    with self.book.change():
                        self.fleet.answered(row["vehicle"], identity, "refused", f"order is {order['state']}")
                    continue
            body: Body = msgspec.json.decode(row["body"], type=Command if row["kind"] == "command" else AssistAnswer)
            self._repeat(identity, row["vehicle"], body, until or now_ns + 120 * SECOND_NS)

    def _hello(self) -> list[Outgoing]:
        """To each known car: the desk is here again, send what has no receipt."""
        self._sent.clear()
        with self.book.db.lock:
            names = list(self.fleet.vehicles)
        return [self._outgoing(name, Receipt(ids=())) for name in names]

    def _repeat(self, message_id: str, vehicle: str, body: Body, expires_ns: int) -> None:
        """Send it unless it has been sent a short while ago; each pause is longer than the one before."""
        now = time.monotonic()
        at, pause = self._sent.get(message_id, (-1e9, 0.0))
        if now - at < pause:
            return
        if self._send(vehicle, body, message_id, expires_ns):
            longer = min(max(pause * 1.5, self.config.offer_again), self.config.offer_again_max)
            self._sent[message_id] = (now, longer)

    def _send(self, vehicle: str, body: Body, message_id: str = "", expires_ns: int = 0) -> bool:
        return self._link.publish(self._outgoing(vehicle, body, message_id, expires_ns))

    def _outgoing(self, vehicle: str, body: Body, message_id: str = "", expires_ns: int = 0) -> Outgoing:
        _, payload = self._sender.wrap(body, vehicle=vehicle, exp_ns=expires_ns, message_id=message_id)
        name = protocol.body_name(body)
        return Outgoing(protocol.topic(self.config.operator, vehicle, "down", name), payload)


def protocol_id(text: str, what: str) -> str:
    from robotaxi.dispatch.messages import check_id

    return check_id(text, what)


__all__ = ["FINAL", "Desk", "DeskConfig", "DeskError"]
