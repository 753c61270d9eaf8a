"""What the cars say, put in the desk's books: one message at a time, inside the caller's transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.fleet_log import FleetLog
from robotaxi.dispatch.messages import Ack, AssistRequest, Connection, Event, Factsheet, OrderEvent, State
from robotaxi.dispatch.protocol import ProtocolError

log = logging.getLogger(__name__)


class Intake:
    """``forget``: a message that is to be sent again at once; ``wake``: something may be due now."""

    def __init__(
        self,
        operator: str,
        book: OrderBook,
        fleet: FleetLog,
        forget: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._operator, self.book, self.fleet, self._forget, self._wake = operator, book, fleet, forget, wake

    def handle(self, topic: str, payload: bytes) -> tuple[str, str]:
        """(vehicle, id that gets a receipt or "")."""
        parts = protocol.parse_topic(topic)
        if parts.operator != self._operator or parts.direction != "up":
            raise ProtocolError(f"topic {topic[:200]!r} is not from a car of {self._operator}")
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
                self._forget(order["message_id"])
        live.boots = [*[boot for boot in live.boots if boot != boot_id][-3:], boot_id]
        self._wake()

    def _acked(self, vehicle: str, ack: Ack, now: int) -> None:
        if ack.status == "reordered":  # it goes again, with a new sequence number
            self._forget(ack.message_id)
            return
        order = self.book.order(ack.order_id) if ack.order_id else None
        if order is not None and order["vehicle"] == vehicle and ack.message_id == order["message_id"]:
            if ack.status in ("received", "accepted", "duplicate"):
                self.book.delivered(ack.order_id, now)
            return
        if ack.status not in ("received", "expired"):
            self.fleet.answered(vehicle, ack.message_id, ack.status, ack.reason)
            self._forget(ack.message_id)
