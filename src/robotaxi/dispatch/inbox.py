"""What comes from the cloud, checked in the link's thread and kept until the next step."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from robotaxi.dispatch import protocol
from robotaxi.dispatch.protocol import Ack, Command, Message, Order, ProtocolError, Receipt

CAPACITY = 256  # messages between two steps; more is a flood and is refused


@dataclass(frozen=True, slots=True)
class Answer:
    """An ack that is due at once."""

    ack: Ack
    corr: str


class Inbox:
    """``now_ns``: UTC clock, for expiry only. ``answer``: sends an ack without delay.

    Order offers that have expired are kept, marked, because the car answers them with a rejection.
    """

    def __init__(
        self, operator: str, vehicle: str, now_ns: Callable[[], int], answer: Callable[[Answer], None]
    ) -> None:
        self._operator = operator
        self._vehicle = vehicle
        self._now_ns = now_ns
        self._answer = answer
        self._queue: deque[tuple[Message, bool]] = deque()
        self._lock = threading.Lock()
        self._order_here = threading.Event()
        self._something_here = threading.Event()

    def receive(self, topic: str, payload: bytes) -> None:
        """Called from the link's thread. Whatever is wrong with the message is answered, never raised."""
        try:
            parts = protocol.parse_topic(topic)
            if (parts.operator, parts.vehicle, parts.direction) != (self._operator, self._vehicle, "down"):
                raise ProtocolError(f"topic {topic[:200]!r} is not for {self._operator}/{self._vehicle}")
            message = protocol.decode(payload, parts.name, self._vehicle)
            if not isinstance(message.body, Order | Command | Receipt):
                raise ProtocolError(f"{parts.name} is not sent to a vehicle", message_id=message.envelope.id)
        except ProtocolError as error:
            reason = protocol.clip(str(error))
            ack = Ack(message_id=error.message_id, status=error.kind, reason=reason)  # type: ignore[arg-type]
            self._answer(Answer(ack, error.message_id))
            return
        self._accept(message)

    def _accept(self, message: Message) -> None:
        envelope, body = message.envelope, message.body
        expired = 0 < envelope.exp_ns < self._now_ns()
        if isinstance(body, Receipt):
            self._push(message, expired=False)
            return
        assert isinstance(body, Order | Command)
        status, reason = "received", ""
        if expired and isinstance(body, Command):
            status, reason = "expired", "expired on the way"
        elif not self._push(message, expired):
            status, reason = "refused", f"more than {CAPACITY} messages at once"
        elif isinstance(body, Order):
            self._order_here.set()
        ack = Ack(message_id=envelope.id, status=status, reason=reason, order_id=body.order_id)  # type: ignore[arg-type]
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
