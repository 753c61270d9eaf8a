"""What the desk has to send: orders matched and offered, commands repeated until they are answered, receipts."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch.book import CREATED, EXPIRED, OrderBook
from robotaxi.dispatch.fleet_log import FleetLog
from robotaxi.dispatch.link import Link, Outgoing
from robotaxi.dispatch.matching import Candidate, best_car
from robotaxi.dispatch.messages import AssistAnswer, Body, Command, Order, Receipt
from robotaxi.dispatch.protocol import Sender
from robotaxi.params import param

SECOND_NS = 1_000_000_000
LOOK_S = 0.05  # how often what is due is looked for
WITHDRAW_AFTER_S = 2.0  # beyond the deadline: the answer may be on its way


@dataclass(frozen=True)
class DeskConfig:
    operator: str = param("demo", doc="operator whose cars this desk sees")
    accept_within: float = param(120.0, lo=1.0, hi=3600.0, unit="s", doc="deadline for a car's answer to an offer")
    patience: float = param(1800.0, lo=1.0, hi=86400.0, unit="s", doc="an order without a car is given up after")
    offer_again: float = param(2.0, lo=0.1, hi=60.0, unit="s", doc="what has no answer is sent again after; grows")
    offer_again_max: float = param(15.0, lo=0.1, hi=600.0, unit="s", doc="longest pause between repetitions")
    stale_after: float = param(15.0, lo=1.0, hi=600.0, unit="s", doc="a car whose state is older gets no new order")


class Outbound:
    """Used from the desk's thread only, but `hello` and `queue` (inside `book.change`)."""

    def __init__(self, config: DeskConfig, link: Link, book: OrderBook, fleet: FleetLog, sender: Sender) -> None:
        self.config, self._link, self.book, self.fleet, self._sender = config, link, book, fleet, sender
        self._sent: dict[str, tuple[float, float]] = {}  # message id -> (last sending, pause until the next)
        self._due_s = 0.0

    def forget(self, message_id: str) -> None:
        """Send it at the next look, as if it had never been sent."""
        self._sent.pop(message_id, None)

    def queue(self, vehicle: str, body: Body, order_id: str, until_ns: int) -> str:
        identity, name = secrets.token_hex(16), protocol.body_name(body)
        text = msgspec.json.encode(body).decode()
        self.fleet.command(identity, vehicle, order_id, name, text, time.time_ns(), until_ns)
        return identity

    def look(self, something_came: bool) -> None:
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
                identity = self.queue(order["vehicle"], body, order["order_id"], 0)
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

    def hello(self) -> list[Outgoing]:
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
        if self.send(vehicle, body, message_id, expires_ns):
            longer = min(max(pause * 1.5, self.config.offer_again), self.config.offer_again_max)
            self._sent[message_id] = (now, longer)

    def send(self, vehicle: str, body: Body, message_id: str = "", expires_ns: int = 0) -> bool:
        return self._link.publish(self._outgoing(vehicle, body, message_id, expires_ns))

    def _outgoing(self, vehicle: str, body: Body, message_id: str = "", expires_ns: int = 0) -> Outgoing:
        order_id = body.order_id if isinstance(body, Order | Command) else ""
        trace = protocol.trace_of(order_id, message_id) if order_id else ""
        _, payload = self._sender.wrap(body, vehicle=vehicle, exp_ns=expires_ns, message_id=message_id, trace=trace)
        name = protocol.body_name(body)
        return Outgoing(protocol.topic(self.config.operator, vehicle, "down", name), payload)
