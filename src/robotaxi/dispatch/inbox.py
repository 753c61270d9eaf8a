"""What comes from the cloud, checked in the link's thread and kept until the next step."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from robotaxi.dispatch import protocol
from robotaxi.dispatch.messages import TIME_CRITICAL, Ack, AssistAnswer, Clock, Command, Order, Receipt
from robotaxi.dispatch.protocol import Envelope, Message, ProtocolError

log = logging.getLogger(__name__)

CAPACITY = 256  # messages between two steps; more is a flood and is refused
LOGGED = 1000  # refused messages that are logged one by one; then every thousandth


@dataclass(frozen=True, slots=True)
class Answer:
    """An ack that is due at once."""

    ack: Ack
    corr: str


class Trust(Protocol):
    """Who is obeyed; `robotaxi.dispatch.signing.Verifier` is one."""

    def check(self, operator: str, envelope: Envelope) -> None:
        """ProtocolError of kind "unsigned" when the signature is missing or wrong."""


class Inbox:
    """``now_ns``: UTC clock, for expiry only. ``answer``: sends an ack without delay.

    Order offers that have expired are kept, marked, because the car answers them with a rejection.
    """

    def __init__(
        self,
        operator: str,
        vehicle: str,
        now_ns: Callable[[], int],
        answer: Callable[[Answer], None],
        trust: Trust,
        clock: Callable[[], Clock],
    ) -> None:
        self._operator = operator
        self._vehicle = vehicle
        self._now_ns = now_ns
        self._answer = answer
        self._trust = trust
        self._clock = clock
        self._queue: deque[tuple[Message, bool]] = deque()
        self._lock = threading.Lock()
        self._order_here = threading.Event()
        self._something_here = threading.Event()
        self.refused = 0

    def receive(self, topic: str, payload: bytes) -> None:
        """Called from the link's thread. Whatever is wrong with the message is answered, never raised."""
        try:
            message = self._read(topic, payload)
        except ProtocolError as error:
            self._refuse(error, topic)
            return
        self._accept(message)

    def _read(self, topic: str, payload: bytes) -> Message:
        parts = protocol.parse_topic(topic)
        if (parts.operator, parts.vehicle, parts.direction) != (self._operator, self._vehicle, "down"):
            raise ProtocolError(f"topic {topic[:200]!r} is not for {self._operator}/{self._vehicle}")
        message = protocol.decode(payload, parts.name, self._vehicle)
        envelope, body = message.envelope, message.body
        if not isinstance(body, Order | Command | AssistAnswer | Receipt):
            raise ProtocolError(f"{parts.name} is not sent to a vehicle", message_id=envelope.id)
        self._trust.check(self._operator, envelope)
        if isinstance(body, Receipt):
            return message
        if envelope.exp_ns <= 0:
            raise ProtocolError(f"{parts.name} without exp_ns", message_id=envelope.id)
        if isinstance(body, Command) and body.command in TIME_CRITICAL and not self._clock().synced:
            raise ProtocolError(
                f"{body.command} is time-critical and the car's clock is not synchronised", "refused", envelope.id
            )
        return message

    def _refuse(self, error: ProtocolError, topic: str) -> None:
        self.refused += 1
        if self.refused <= LOGGED or self.refused % 1000 == 0:
            log.warning("message %s on %s has no effect: %s", error.message_id or "?", topic[:200], error)
        ack = Ack(message_id=error.message_id, status=error.kind, reason=protocol.clip(str(error)))  # type: ignore[arg-type]
        self._answer(Answer(ack, error.message_id))

    def _accept(self, message: Message) -> None:
        envelope, body = message.envelope, message.body
        expired = 0 < envelope.exp_ns < self._now_ns()
        if isinstance(body, Receipt):
            self._push(message, expired=False)
            return
        order_id = body.order_id if isinstance(body, Order | Command) else ""
        status, reason = "received", ""
        if expired and not isinstance(body, Order):
            status, reason = "expired", "expired on the way"
        elif not self._push(message, expired):
            status, reason = "refused", f"more than {CAPACITY} messages at once"
        elif isinstance(body, Order):
            self._order_here.set()
        ack = Ack(message_id=envelope.id, status=status, reason=reason, order_id=order_id)  # type: ignore[arg-type]
        self._answer(Answer(ack, envelope.id))

    def _push(self, message: Message, expired: bool) -> bool:
        with self._lock:
            if len(self._queue) >= CAPACITY:
                return False
            self._queue.append((message, expired))
            self._something_here.set()
            return True

    def take(self) -> list[tuple[Message, bool]]:
        """All that waits, in order of arrival, with whether it came too late."""
        with self._lock:
            taken = list(self._queue)
            self._queue.clear()
            self._something_here.clear()
            return taken

    def wait(self, timeout_s: float) -> bool:
        """Wait until something waits to be taken."""
        return self._something_here.wait(timeout_s)

    def wait_for_order(self, timeout_s: float) -> bool:
        """Wait until an order has arrived, taken or not."""
        return self._order_here.wait(timeout_s)
