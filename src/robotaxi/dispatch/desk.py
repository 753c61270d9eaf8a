"""The reference dispatch desk: takes orders, offers them to cars, keeps the books, sends receipts.

A small real program for development, demonstrations and tests; it is not the platform. It speaks the
protocol of docs/dispatch-protocol.md with its own certificate, and HTTP on localhost (`desk_http`).
"""

from __future__ import annotations

import logging
import math
import queue
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch.book import CREATED, FINAL, OrderBook
from robotaxi.dispatch.link import Link, Outgoing, Session
from robotaxi.dispatch.protocol import (
    DATUM,
    Ack,
    Body,
    Command,
    Connection,
    Order,
    OrderEvent,
    Place,
    Position,
    ProtocolError,
    Receipt,
    Sender,
    State,
)
from robotaxi.params import param

log = logging.getLogger(__name__)

SECOND_NS = 1_000_000_000
EARTH_RADIUS = 6371008.8  # m, mean; good enough to tell which car is nearer


@dataclass(frozen=True)
class DeskConfig:
    operator: str = param("demo", doc="operator whose cars this desk sees")
    accept_within: float = param(120.0, lo=1.0, hi=3600.0, unit="s", doc="deadline for a car's answer to an offer")
    offer_again: float = param(2.0, lo=0.1, hi=60.0, unit="s", doc="an offer without an answer is repeated after")


class DeskError(ValueError):
    """A request that cannot be served. ``status``: HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class PlaceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A place by name, or by position. ``heading_deg`` clockwise from north."""

    name: str = ""
    lat: float | None = None
    lon: float | None = None
    heading_deg: float | None = None


class OrderRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /orders. A place may also be just its name."""

    pickup: PlaceRequest | str
    dropoff: PlaceRequest | str
    vehicle: str = ""
    order_id: str = ""


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /orders/{id}/cancel."""

    by: str = "platform"
    reason: str = ""


class Desk:
    """``places``: named places that an order may use. Runs its own thread from `start` to `close`."""

    def __init__(
        self, config: DeskConfig, link: Link, book: OrderBook, places: Mapping[str, Place] | None = None
    ) -> None:
        self._config = config
        self._link = link
        self.book = book
        self.places = dict(places or {})
        self._sender = Sender("", secrets.token_hex(8), lambda: secrets.token_hex(16), time.time_ns)
        self._inbound: queue.Queue[tuple[str, bytes] | None] = queue.Queue(maxsize=10_000)
        self._offered: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._link.start(
            Session(
                subscribe=(protocol.topic(self._config.operator, "+", "up", "+"),),
                on_message=lambda topic, payload: self._inbound.put((topic, payload)),
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

    # ------------------------------------------------------------------ requests (any thread)

    def place_order(self, request: OrderRequest) -> dict[str, Any]:
        """Enter and offer an order. The same order id with the same ride again: the order as it is."""
        pickup, dropoff = self._place(request.pickup, "pickup"), self._place(request.dropoff, "dropoff")
        try:
            order_id = protocol.check_id(request.order_id or f"order-{secrets.token_hex(6)}", "order_id")
        except ValueError as error:
            raise DeskError(str(error)) from error
        ride = {"pickup": msgspec.to_builtins(pickup), "dropoff": msgspec.to_builtins(dropoff)}
        known = self.book.order(order_id)
        if known is None:
            vehicle = self._vehicle(request.vehicle, pickup)
            now = time.time_ns()
            expires = now + round(self._config.accept_within * SECOND_NS)
            self.book.create(order_id, vehicle, ride, now, expires, secrets.token_hex(16))
            self._offer_due()
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
        self.book.cancel(order_id, {"message_id": secrets.token_hex(16), "by": request.by, "reason": reason})
        self._offer_due()
        return self.order(order_id)

    def _place(self, request: PlaceRequest | str, what: str) -> Place:
        if isinstance(request, str):
            request = PlaceRequest(name=request)
        if request.lat is None or request.lon is None:
            known = self.places.get(request.name)
            if known is None:
                names = ", ".join(sorted(self.places)) or "none"
                raise DeskError(
                    f"{what}: place {request.name[:80]!r} is unknown; known places: {names}; or give lat and lon"
                )
            return known
        try:
            position = Position(datum=DATUM, lat=request.lat, lon=request.lon)
        except ValueError as error:
            raise DeskError(f"{what}: {error}") from error
        return Place(position=position, heading_deg=request.heading_deg, name=request.name)

    def _vehicle(self, wanted: str, pickup: Place) -> str:
        if wanted:
            try:
                return protocol.check_id(wanted, "vehicle")
            except ValueError as error:
                raise DeskError(str(error)) from error
        busy = self.book.busy()
        able = [v for v in self.book.vehicles() if v["connection"] == "online" and v["vehicle"] not in busy]
        if not able:
            raise DeskError("no car is online and free; name one with 'vehicle' to offer it as soon as it is", 503)
        return str(min(able, key=lambda v: (_distance(v["state"], pickup.position), v["vehicle"]))["vehicle"])

    # ------------------------------------------------------------------ the desk's thread

    def _run(self) -> None:
        while True:
            try:
                item = self._inbound.get(timeout=self._config.offer_again / 2.0)
            except queue.Empty:
                self._offer_due()
                continue
            if item is None:
                return
            try:
                self._handle(*item)
            except ProtocolError as error:
                log.warning("message on %s: %s", item[0], error)
            except Exception:
                log.exception("a message on %s could not be booked", item[0])

    def _handle(self, topic: str, payload: bytes) -> None:
        parts = protocol.parse_topic(topic)
        if parts.operator != self._config.operator or parts.direction != "up":
            raise ProtocolError(f"topic {topic[:200]!r} is not from a car of {self._config.operator}")
        vehicle, now = parts.vehicle, time.time_ns()
        try:
            message = protocol.decode(payload, parts.name, vehicle)
        except ProtocolError as error:
            if error.message_id:  # sending it again would not help
                self.book.seen(vehicle, error.message_id, now)
                self._receipt(vehicle, error.message_id)
            raise
        body, identity = message.body, message.envelope.id
        if isinstance(body, State):
            self.book.state(vehicle, msgspec.json.encode(body).decode(), now)
        elif isinstance(body, Connection):
            self.book.connection(vehicle, body.state, now)
            if body.state == "online":
                self._offered.clear()
                self._offer_due()
        elif isinstance(body, OrderEvent):
            self.book.event(vehicle, identity, msgspec.to_builtins(body), now)
            self._receipt(vehicle, identity)
        elif isinstance(body, Ack):
            self._acked(vehicle, body, now)
            self.book.seen(vehicle, identity, now)
            self._receipt(vehicle, identity)

    def _acked(self, vehicle: str, ack: Ack, now: int) -> None:
        order = self.book.order(ack.order_id) if ack.order_id else None
        if order is None or order["vehicle"] != vehicle:
            return
        if ack.message_id == order["message_id"] and ack.status in ("received", "duplicate"):
            self.book.delivered(ack.order_id, now)
        cancel = order["cancel"]
        if cancel and ack.message_id == cancel["message_id"] and ack.status != "received":
            self.book.cancel(ack.order_id, None)

    def _receipt(self, vehicle: str, message_id: str) -> None:
        self._send(vehicle, Receipt(ids=(message_id,)))

    def _offer_due(self) -> None:
        """Offer what is unanswered, repeat cancellations, expire what nobody answered in time."""
        now = time.time_ns()
        for order in self.book.unanswered():
            order_id = order["order_id"]
            if order["state"] == CREATED:
                if now > order["expires_ns"]:
                    self.book.expire(
                        order_id, f"no answer from {order['vehicle']} within {self._config.accept_within:g} s"
                    )
                elif not (order["delivered"] and order["message_id"] in self._offered):
                    self._repeat(order["message_id"], order["vehicle"], _order_body(order), order["expires_ns"])
            cancel = order["cancel"]
            if cancel and order["state"] in FINAL:
                self.book.cancel(order_id, None)
            elif cancel:
                command = Command(command="cancel", order_id=order_id, by=cancel["by"], reason=cancel["reason"])
                self._repeat(cancel["message_id"], order["vehicle"], command, 0)

    def _hello(self) -> list[Outgoing]:
        """To each known car: the desk is here again, send what has no receipt."""
        return [self._outgoing(vehicle["vehicle"], Receipt(ids=())) for vehicle in self.book.vehicles()]

    def _repeat(self, message_id: str, vehicle: str, body: Body, expires_ns: int) -> None:
        now = time.monotonic()
        last = self._offered.get(message_id)
        if last is not None and now - last < self._config.offer_again:
            return
        if self._send(vehicle, body, message_id, expires_ns):
            self._offered[message_id] = now

    def _send(self, vehicle: str, body: Body, message_id: str = "", expires_ns: int = 0) -> bool:
        return self._link.publish(self._outgoing(vehicle, body, message_id, expires_ns))

    def _outgoing(self, vehicle: str, body: Body, message_id: str = "", expires_ns: int = 0) -> Outgoing:
        _, payload = self._sender.wrap(body, vehicle=vehicle, exp_ns=expires_ns, message_id=message_id)
        name = protocol.body_name(body)
        return Outgoing(protocol.topic(self._config.operator, vehicle, "down", name), payload)


def _order_body(order: dict[str, Any]) -> Order:
    return msgspec.convert({"order_id": order["order_id"], **order["request"]}, Order)


def _distance(state: dict[str, Any] | None, place: Position) -> float:
    """Metres as the crow flies; infinite where the car's position is unknown."""
    position = (state or {}).get("position")
    if not position:
        return math.inf
    north = math.radians(position["lat"] - place.lat)
    east = math.radians(position["lon"] - place.lon) * math.cos(math.radians(place.lat))
    return EARTH_RADIUS * math.hypot(north, east)
