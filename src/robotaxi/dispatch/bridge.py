"""The dispatch bridge: trip machine, outbox and link, stepped every 100 ms.

`Bridge.step` never waits for the network: messages from the cloud lie in the `Inbox` until a step
takes them; messages to the cloud are stored, then handed to the link, and sent again until their
receipt comes. Goals and events are a function of the step's inputs and of which order had arrived:
nothing in them comes from the wall clock or a random id.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch import trip as trips
from robotaxi.dispatch.inbox import Answer, Inbox
from robotaxi.dispatch.link import Link, Outgoing, Session
from robotaxi.dispatch.outbox import Outbox, TripRecord
from robotaxi.dispatch.protocol import (
    Ack,
    Body,
    Command,
    Connection,
    Envelope,
    Order,
    OrderEvent,
    Place,
    Receipt,
    Sender,
    clip,
)
from robotaxi.dispatch.report import BridgeInput, position_of, state_of
from robotaxi.dispatch.trip import Ride, Trip, TripConfig, TripInput
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.params import param
from robotaxi.types import MINIMAL_RISK, EgoState, Goal, TripEvent, TripState

SECOND_NS = 1_000_000_000
CLOSE_POLL_S = 0.02

Reachable = Callable[[Goal, Goal, EgoState], "str | None"]
"""(pick-up, drop-off, where the car is) -> why they cannot be driven to, or None."""


@dataclass(frozen=True)
class BridgeConfig(TripConfig):
    """Who the car is, how it reports, and the timers of a trip."""

    operator: str = param("demo", doc="operator in the topics and the certificate")
    vehicle: str = param("car1", doc="vehicle id: topics, certificate, MQTT client id")
    state_period: float = param(1.0, lo=0.1, hi=60.0, unit="s", doc="between two states without a change")
    service_radius: float = param(
        30_000.0, lo=100.0, hi=1e6, unit="m", doc="orders farther from the map's origin are outside the area"
    )
    resend_after: float = param(5.0, lo=0.5, hi=600.0, unit="s", doc="without a receipt a message is sent again")
    send_window: int = param(32, lo=1, hi=1000, doc="messages without a receipt at one time")


@dataclass(frozen=True, slots=True)
class BridgeOutput:
    """``goal`` None: no wish. ``events``: what happened in this step, in order."""

    goal: Goal | None
    events: tuple[TripEvent, ...]
    trip_state: TripState
    order_id: str


class Bridge:
    """``origin``: latitude (deg), longitude (deg), altitude (m) of map (0, 0, 0).

    Starts the link. An order that was under way in ``outbox`` is taken up again.
    """

    def __init__(
        self,
        config: BridgeConfig,
        origin: tuple[float, float, float],
        link: Link,
        outbox: Outbox,
        reachable: Reachable,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._frame = LocalFrame(*origin)
        self._link = link
        self._outbox = outbox
        self._reachable = reachable
        self._monotonic_s = monotonic_s
        self._sender = Sender(config.vehicle, secrets.token_hex(8), lambda: secrets.token_hex(16), now_ns)
        self._inbox = Inbox(config.operator, config.vehicle, now_ns, self._answer_now)
        self._trip, self._event_no = self._resume()
        self._acks: list[tuple[str, str, bytes]] = []  # (id, topic name, payload) that this step answers
        self._sent: dict[str, float] = {}  # message id -> monotonic time of its last sending
        self._session = 0
        self._state_due_ns: int | None = None
        self._shown: tuple[object, ...] = ()
        link.start(
            Session(
                subscribe=(self._topic("down", "+"),),
                on_message=self._inbox.receive,
                birth=lambda: [self._connection("online")],
                will=self._connection("lost", "the connection broke off"),
            )
        )

    @property
    def link_detail(self) -> str:
        """How the connection to the broker stands, in words."""
        return self._link.status().detail

    @property
    def problem(self) -> str:
        """What is wrong with the outbox, or ""."""
        return self._outbox.problem

    def wait_for_order(self, timeout_s: float) -> bool:
        """Wait until an order has arrived, so that the first step is certain to see it."""
        return self._trip.active or self._inbox.wait_for_order(timeout_s)

    # ------------------------------------------------------------------ step

    def step(self, inputs: BridgeInput) -> BridgeOutput:
        """One step; below 0.5 ms but for the steps that store an event. Never raises for bad inputs."""
        self._link_session()
        events: list[TripEvent] = []
        goal: Goal | None = None
        stepped = False
        for message, late in self._inbox.take():
            body = message.body
            if isinstance(body, Receipt):
                self._received(body)
                continue
            now = self._trip_input(inputs)
            if isinstance(body, Order):
                now = self._offer(now, inputs, message.envelope, body, late)
            elif isinstance(body, Command):
                now = self._command(now, message.envelope, body)
            more, goal = self._advance(now, inputs)
            events += more
            stepped = True
        if not stepped:
            more, goal = self._advance(self._trip_input(inputs), inputs)
            events += more
        self._report_state(inputs, changed=bool(events))
        self._pump()
        return BridgeOutput(goal, tuple(events), self._trip.state, self._trip.order_id)

    def _trip_input(self, inputs: BridgeInput) -> TripInput:
        return TripInput(
            stamp_ns=inputs.stamp_ns,
            not_ready=_not_ready(inputs),
            mission=inputs.mission,
            report=inputs.report,
            mode=inputs.mode,
            mode_reason=inputs.mode_reason,
        )

    def _advance(self, now: TripInput, inputs: BridgeInput) -> tuple[tuple[TripEvent, ...], Goal | None]:
        now = self._check_route(now, inputs)
        self._trip, events, goal = trips.step(self._trip, now, self._config)
        if events or self._acks:
            self._store(events, inputs)
        return events, goal

    def _check_route(self, now: TripInput, inputs: BridgeInput) -> TripInput:
        """Ask for the route at the moment when the offer would be accepted."""
        ride = now.offer if now.offer is not None and not self._trip.active else None
        if ride is None and self._trip.state is TripState.OFFERED:
            ride = self._trip.ride
        if ride is None or now.refusal or now.not_ready or inputs.state is None:
            return now
        try:
            reason = self._reachable(ride.pickup, ride.dropoff, inputs.state)
        except ValueError as error:  # a map or route error is a reason, not an end of the bridge
            reason = str(error)
        return replace(now, refusal=f"unreachable: {reason}") if reason else now

    # ------------------------------------------------------------------ from the cloud

    def _offer(self, now: TripInput, inputs: BridgeInput, envelope: Envelope, order: Order, late: bool) -> TripInput:
        known = self._outbox.trip(order.order_id)
        if known is not None:
            status_reason = f"order is {known.state} already"
            self._queue_ack(envelope.id, "duplicate", status_reason, order.order_id, known.state)
            return now
        ride = Ride(
            order.order_id,
            self._goal(f"{order.order_id}/pickup", order.pickup),
            self._goal(f"{order.order_id}/dropoff", order.dropoff),
        )
        if self._trip.active:
            return replace(now, offer=ride)  # busy says it all
        refusal = "deadline passed" if late else self._outside(ride)
        if not refusal and not self._outbox.durable:
            refusal = f"not ready: {self._outbox.problem}"
        return replace(now, offer=ride, refusal=refusal)

    def _outside(self, ride: Ride) -> str:
        for name, goal in (("pick-up", ride.pickup), ("drop-off", ride.dropoff)):
            distance = math.hypot(goal.x, goal.y)
            if not distance <= self._config.service_radius:
                return f"outside area: {name} is {distance / 1000.0:.1f} km from the centre of the area"
        return ""

    def _command(self, now: TripInput, envelope: Envelope, command: Command) -> TripInput:
        known = self._outbox.trip(command.order_id)
        state = known.state if known else ""
        refusal = ""
        if command.command != "cancel":
            refusal = f"command {command.command[:40]!r} is unknown; 'cancel' is known"
        elif known is None:
            refusal = "order is unknown"
        elif command.order_id != self._trip.order_id:
            refusal = f"order is {known.state} already"
        else:
            refusal = trips.may_cancel(self._trip)
        if refusal:
            self._queue_ack(envelope.id, "refused", refusal, command.order_id, state)
            return now
        self._queue_ack(envelope.id, "accepted", "", command.order_id, state)
        reason = f"by {command.by}" + (f": {command.reason}" if command.reason else "")
        return replace(now, cancel_order_id=command.order_id, cancel_reason=clip(reason))

    def _received(self, receipt: Receipt) -> None:
        if not receipt.ids:
            self._sent.clear()
        self._outbox.delete(receipt.ids)
        for identity in receipt.ids:
            self._sent.pop(identity, None)

    # ------------------------------------------------------------------ to the cloud

    def _store(self, events: tuple[TripEvent, ...], inputs: BridgeInput) -> None:
        """Put answers, events and the trip's record on disk together, before the goal leaves this step."""
        messages, self._acks = self._acks, []
        records: dict[str, TripRecord] = {}
        position = position_of(inputs.state, self._frame)
        for event in events:
            mine = event.order_id == self._trip.order_id
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
            )
            identity, payload = self._sender.wrap(body)
            messages.append((identity, "order_event", payload))
            ride = msgspec.json.encode(self._trip.ride) if mine else b""
            active = mine and self._trip.active
            records[event.order_id] = TripRecord(event.order_id, event.state.name, active, number, ride)
        self._outbox.record(messages, list(records.values()))

    def _queue_ack(self, message_id: str, status: str, reason: str, order_id: str, state: str = "") -> None:
        ack = Ack(message_id=message_id, status=status, reason=reason, order_id=order_id, state=state)  # type: ignore
        identity, payload = self._sender.wrap(ack, corr=message_id)
        self._acks.append((identity, "ack", payload))

    def _answer_now(self, answer: Answer) -> None:
        """From the link's thread: an answer that need not survive."""
        self._publish("ack", answer.ack, qos=1, corr=answer.corr)

    def _report_state(self, inputs: BridgeInput, changed: bool) -> None:
        report = inputs.report
        shown = (inputs.mode, report and (report.door_open, report.seat_occupied, report.belt_fastened))
        due = self._state_due_ns is None or inputs.stamp_ns >= self._state_due_ns
        if not due and not changed and shown == self._shown:
            return
        self._shown = shown
        self._state_due_ns = inputs.stamp_ns + round(self._config.state_period * SECOND_NS)
        if self._link.status().connected:
            backlog, problem = len(self._outbox), self._outbox.problem
            self._publish("state", state_of(inputs, self._trip, self._frame, backlog, problem), qos=0)

    def _link_session(self) -> None:
        """A new connection: what has no receipt yet is sent again."""
        session = self._link.status().session
        if session != self._session:
            self._session = session
            self._sent.clear()
            self._state_due_ns = None

    def _pump(self) -> None:
        if not len(self._outbox) or not self._link.status().connected:
            return
        now = self._monotonic_s()
        for message in self._outbox.pending(self._config.send_window):
            sent = self._sent.get(message.id)
            if sent is not None and now - sent < self._config.resend_after:
                continue
            if not self._link.publish(Outgoing(self._topic("up", message.name), message.payload)):
                return
            self._sent[message.id] = now

    def close(self, timeout_s: float = 2.0) -> int:
        """Send what waits for up to ``timeout_s``, say goodbye, close. Returns how many still wait."""
        end = self._monotonic_s() + timeout_s
        while len(self._outbox) and self._link.status().connected and self._monotonic_s() < end:
            for message, _ in self._inbox.take():
                if isinstance(message.body, Receipt):
                    self._received(message.body)
            self._link_session()
            self._pump()
            self._inbox.wait(CLOSE_POLL_S)
        left = len(self._outbox)
        self._link.close(self._connection("offline", "the vehicle signed off"))
        self._outbox.close()
        return left

    # ------------------------------------------------------------------ small things

    def _topic(self, direction: protocol.Direction, name: str) -> str:
        return protocol.topic(self._config.operator, self._config.vehicle, direction, name)

    def _publish(self, name: str, body: Body, qos: int, corr: str = "") -> None:
        _, payload = self._sender.wrap(body, corr=corr)
        self._link.publish(Outgoing(self._topic("up", name), payload, qos))

    def _connection(self, state: str, reason: str = "") -> Outgoing:
        _, payload = self._sender.wrap(Connection(state=state, reason=reason))  # type: ignore[arg-type]
        return Outgoing(self._topic("up", "connection"), payload, retain=True)

    def _goal(self, goal_id: str, place: Place) -> Goal:
        x, y, _ = self._frame.to_map(place.position.lat, place.position.lon, self._frame.origin[2])
        yaw = math.radians(90.0 - place.heading_deg) if place.heading_deg is not None else 0.0
        return Goal(goal_id, x, y, math.remainder(yaw, math.tau))

    def _resume(self) -> tuple[Trip, int]:
        record = self._outbox.active_trip()
        if record is None:
            return Trip(), 0
        ride = msgspec.json.decode(record.record, type=Ride)
        return Trip(TripState[record.state], ride, since_ns=-1), record.events


def _not_ready(inputs: BridgeInput) -> str:
    """Why the car cannot drive now, or ""."""
    state = inputs.state
    if state is None or not all(map(math.isfinite, (state.x, state.y, state.yaw))):
        return "position unknown"
    if inputs.mode in MINIMAL_RISK:
        return f"{inputs.mode.name}: {inputs.mode_reason or 'no reason given'}"
    return ""
