"""What a step decided, put on disk in one transaction before anything of it leaves the car."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from robotaxi.dispatch.mailer import Mailer
from robotaxi.dispatch.messages import Ack, OrderEvent, Position
from robotaxi.dispatch.outbox import Answered, Outbox, StoredMessage, TripRecord
from robotaxi.dispatch.protocol import Envelope, clip, passed_on
from robotaxi.dispatch.trip import Trip
from robotaxi.types import TripEvent, TripState

REMEMBERED_NS = 3_600_000_000_000  # beyond its expiry a message from the cloud is still known


class Ledger:
    """Answers and withdrawn orders are gathered, `store` writes them with the events and the trip's record."""

    def __init__(self, mail: Mailer, outbox: Outbox) -> None:
        self._mail, self._outbox = mail, outbox
        self._answers: list[tuple[StoredMessage, Answered, tuple[str, int]]] = []
        self._withdrawn: list[tuple[str, str]] = []  # orders cancelled before they came: (order id, reason)
        self._event_no = 0

    def resume(self) -> Trip:
        """The trip that was under way when the last process ended."""
        record = self._outbox.active_trip()
        if record is None:
            return Trip()
        self._event_no = record.events
        return msgspec.json.decode(record.record, type=Trip)

    @property
    def waits(self) -> bool:
        """Whether something must be stored even without an event."""
        return bool(self._answers)

    def answer(self, envelope: Envelope, status: str, reason: str, order_id: str = "", state: str = "") -> None:
        """An answer that is stored together with the effect of the message."""
        ack = Ack(message_id=envelope.id, status=status, reason=clip(reason), order_id=order_id, state=state)  # type: ignore[arg-type]
        stored = self._mail.stored("ack", ack, corr=envelope.id, trace=passed_on(envelope.trace))
        answered = Answered(envelope.id, envelope.exp_ns + REMEMBERED_NS, status, clip(reason), order_id, state)
        self._answers.append((stored, answered, (envelope.boot_id, envelope.seq)))

    def withdraw(self, order_id: str, reason: str) -> None:
        """A cancellation that overtook its order, or whose offer never came: over before it has begun."""
        self._withdrawn.append((order_id, reason))

    def withdrawn(self, stamp_ns: int) -> tuple[TripEvent, ...]:
        """The events of the orders withdrawn since the last `store`."""
        return tuple(TripEvent(stamp_ns, order_id, TripState.CANCELLED, reason) for order_id, reason in self._withdrawn)

    def store(self, events: tuple[TripEvent, ...], trip: Trip, position: Position | None) -> None:
        """Put answers, events and the trip's record on disk together, before the goal leaves this step."""
        answers, self._answers, self._withdrawn = self._answers, [], []
        messages = [message for message, _, _ in answers]
        records: dict[str, TripRecord] = {}
        for event in events:
            mine = event.order_id == trip.order_id
            before = records.get(event.order_id)
            if mine:
                self._event_no = 1 if event.state is TripState.OFFERED else self._event_no + 1
                number = self._event_no
            else:
                number = before.events + 1 if before else 1
            body = OrderEvent(
                stamp_ns=event.stamp_ns,
                order_id=event.order_id,
                event_no=number,
                state=event.state.name,
                reason=clip(event.reason),
                position=position,
                revision=trip.ride.revision if mine and trip.ride else 0,
            )
            messages.append(self._mail.stored("order_event", body, trace=trip.ride.trace if mine and trip.ride else ""))
            records[event.order_id] = TripRecord(event.order_id, event.state.name, False, number, b"")
        if trip.order_id and (trip.active or trip.order_id in records):
            records[trip.order_id] = TripRecord(
                trip.order_id,
                trip.state.name,
                trip.active,
                self._event_no,
                msgspec.json.encode(replace(trip, since_ns=-1, stop_since_ns=-1, stuck_since_ns=-1)),
            )
        self._outbox.record(
            messages, list(records.values()), [answer for _, answer, _ in answers], [seq for _, _, seq in answers]
        )
