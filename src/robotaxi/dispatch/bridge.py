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
from dataclasses import dataclass, field, replace

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch import trip as trips
from robotaxi.dispatch.assist import Permission, Question
from robotaxi.dispatch.clock import cached
from robotaxi.dispatch.decisions import Reachable, Situation
from robotaxi.dispatch.inbox import Answer, Inbox, Trust
from robotaxi.dispatch.ledger import Ledger
from robotaxi.dispatch.link import Link, Outgoing, Session
from robotaxi.dispatch.mailer import Mailer, MailerConfig, goodbye
from robotaxi.dispatch.messages import (
    GCJ02,
    WGS84,
    Ack,
    AssistAnswer,
    Clock,
    Command,
    Connection,
    Event,
    Factsheet,
    Order,
    Receipt,
)
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.protocol import JSON, MSGPACK, Envelope, Sender, clip
from robotaxi.dispatch.remote_help import AssistConfig, RemoteHelp
from robotaxi.dispatch.report import BridgeInput, Earth, position_of, state_of
from robotaxi.dispatch.trip import Ride, TripConfig, TripInput
from robotaxi.dispatch.zones import Zones
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.params import param
from robotaxi.types import MINIMAL_RISK, Goal, MissionState, TripEvent, TripState

SECOND_NS = 1_000_000_000
CLOSE_POLL_S = 0.02

__all__ = ["Bridge", "BridgeConfig", "BridgeInput", "BridgeOutput", "Reachable"]


@dataclass(frozen=True)
class BridgeConfig(TripConfig, MailerConfig, AssistConfig):
    """Who the car is, how it reports, and the timers of a trip."""

    operator: str = param("demo", doc="operator in the topics and the certificate")
    vehicle: str = param("car1", doc="vehicle id: topics, certificate, MQTT client id")
    state_period: float = param(1.0, lo=0.1, hi=60.0, unit="s", doc="between two states without a change")
    service_radius: float = param(
        30_000.0, lo=100.0, hi=1e6, unit="m", doc="orders farther from the map's origin are outside the area"
    )
    datum: str = param("WGS84", doc="datum of positions to the platform: WGS84 or GCJ02; both are understood")
    compact: bool = param(False, doc="send MessagePack instead of JSON")
    odd: str = param("urban roads of the map, up to 60 km/h", doc="operational design domain, for the factsheet")
    full_range: float = param(300_000.0, lo=1_000.0, hi=2e6, unit="m", doc="range with a full battery")


@dataclass(frozen=True, slots=True)
class BridgeOutput:
    """``goal`` None: no wish. ``events``: what happened in this step, in order.

    ``doors``: "open" or "close" where that was asked for and is safe. ``permission``: what a person allowed.
    """

    goal: Goal | None
    events: tuple[TripEvent, ...]
    trip_state: TripState
    order_id: str
    doors: str = ""
    permission: Permission | None = None


@dataclass
class _Step:
    """What one step gathers."""

    events: list[TripEvent] = field(default_factory=list)
    goal: Goal | None = None
    doors: str = ""
    permission: Permission | None = None


class Bridge:
    """``origin``: latitude (deg), longitude (deg), altitude (m) of map (0, 0, 0).

    ``trust``: whose signature is obeyed. ``clock``: how good UTC is. Starts the link. An order that was
    under way in ``outbox`` is taken up again.
    """

    def __init__(
        self,
        config: BridgeConfig,
        origin: tuple[float, float, float],
        link: Link,
        outbox: Outbox,
        reachable: Reachable,
        trust: Trust,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
        clock: Callable[[], Clock] | None = None,
        factsheet: Factsheet | None = None,
    ) -> None:
        self._config = config
        self._earth = Earth(LocalFrame(*origin), GCJ02 if config.datum == GCJ02 else WGS84)
        self._link = link
        self._outbox = outbox
        self._reachable = reachable
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._clock = clock or cached()
        boot = secrets.token_hex(8)
        self._sender = self._make_sender(boot, MSGPACK if config.compact else JSON)
        self._mail = Mailer(
            config,
            link,
            outbox,
            self._sender,
            self._make_sender(f"{boot}-h", MSGPACK),
            lambda name: self._topic("up", name),
            now_ns,
            monotonic_s,
        )
        self._inbox = Inbox(config.operator, config.vehicle, now_ns, self._answer_now, trust, self._clock)
        self._ledger = Ledger(self._mail, outbox)
        self._trip = self._ledger.resume()
        self._zones = Zones(outbox, now_ns)
        self._help = RemoteHelp(config, self._mail, outbox, self._earth, now_ns)
        self._state_due_ns: int | None = None
        self._shown: tuple[object, ...] = ()
        self._alarms: dict[str, bool] = {}  # kinds of event that hold now
        sheet = factsheet or Factsheet(software="robotaxi")
        sheet = msgspec.structs.replace(
            sheet,
            datum=self._earth.datum,
            service_center=self._earth.position(0.0, 0.0),
            service_radius=config.service_radius,
        )
        link.start(
            Session(
                subscribe=(self._topic("down", "+"),),
                on_message=self._inbox.receive,
                birth=lambda: [self._retained(Connection(state="online")), self._retained(sheet)],
                will=self._retained(Connection(state="lost", reason="the connection broke off")),
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

    @property
    def backlog(self) -> int:
        """Messages that wait for a receipt."""
        return len(self._outbox)

    def wait_for_order(self, timeout_s: float) -> bool:
        """Wait until an order has arrived, so that the first step is certain to see it."""
        return self._trip.active or self._inbox.wait_for_order(timeout_s)

    def wait_for_message(self, timeout_s: float) -> bool:
        """Wait until something from the cloud waits for the next step."""
        return self._inbox.wait(timeout_s)

    def report(self, event: Event) -> None:
        """Tell the dispatcher, whenever that will be."""
        self._mail.event(event)

    def ask(self, question: Question, inputs: BridgeInput) -> bool:
        """Ask a person; false while another question is open. The answer comes as a step's permission."""
        return self._help.ask(question, inputs)

    # ------------------------------------------------------------------ step

    def step(self, inputs: BridgeInput) -> BridgeOutput:
        """One step; below 0.5 ms but for the steps that store an event. Never raises for bad inputs."""
        if self._mail.new_session():
            self._state_due_ns = None
        step = _Step()
        stepped = False
        for message, late in self._inbox.take():
            body, envelope = message.body, message.envelope
            if isinstance(body, Receipt):
                self._mail.received(body)
                continue
            if self._known(envelope, body):
                continue
            now = self._trip_input(inputs)
            if isinstance(body, Order):
                now = self._offer(now, inputs, envelope, body, late)
            elif isinstance(body, Command):
                now = self._command(now, inputs, envelope, body, step)
            elif isinstance(body, AssistAnswer):
                refusal, permission = self._help.answer(body, inputs)
                step.permission = permission or step.permission
                self._ledger.answer(envelope, "refused" if refusal else "accepted", refusal)
            self._advance(now, inputs, step)
            stepped = True
        if not stepped:
            self._advance(self._trip_input(inputs), inputs, step)
        driving = self._trip.state in trips.DRIVING and not self._trip.paused
        step.permission = self._help.step(inputs, self._trip.order_id, driving) or step.permission
        self._watch_events(inputs)
        self._report_state(inputs, changed=bool(step.events))
        self._mail.pump()
        goal = self._help.allow(self._zones.around(step.goal), step.permission)
        return BridgeOutput(
            goal, tuple(step.events), self._trip.state, self._trip.order_id, step.doors, step.permission
        )

    def _trip_input(self, inputs: BridgeInput) -> TripInput:
        return TripInput(
            stamp_ns=inputs.stamp_ns,
            not_ready=_not_ready(inputs),
            mission=inputs.mission,
            report=inputs.report,
            mode=inputs.mode,
            mode_reason=inputs.mode_reason,
            code_shown=inputs.code_shown,
        )

    def _advance(self, now: TripInput, inputs: BridgeInput, step: _Step) -> None:
        now = self._check_route(now, inputs)
        before = self._trip
        self._trip, events, step.goal = trips.step(self._trip, now, self._config)
        events += self._ledger.withdrawn(now.stamp_ns)
        step.events += events
        if events or self._ledger.waits or before.paused != self._trip.paused:
            self._ledger.store(events, self._trip, position_of(inputs.state, self._earth))

    def _check_route(self, now: TripInput, inputs: BridgeInput) -> TripInput:
        """Ask for the route at the moment when the offer would be accepted."""
        ride = now.offer if now.offer is not None and not self._trip.active else None
        if ride is None and self._trip.state is TripState.OFFERED:
            ride = self._trip.ride
        if ride is None or now.refusal or now.not_ready:
            return now
        reason = self._situation(inputs).unreachable(ride)
        return replace(now, refusal=reason) if reason else now

    def _situation(self, inputs: BridgeInput) -> Situation:
        zones, radius = self._zones.all, self._config.service_radius
        return Situation(self._trip, inputs, self._earth, zones, radius, self._reachable)

    # ------------------------------------------------------------------ from the cloud

    def _known(self, envelope: Envelope, body: object) -> bool:
        """Answers a message that had its effect already, or that a newer one has overtaken."""
        order_id = body.order_id if isinstance(body, Order | Command) else ""
        before = self._outbox.answered(envelope.id)
        if before is not None:
            record = self._outbox.trip(before.order_id) if before.order_id else None
            reason = f"{before.status} already" + (f": {before.reason}" if before.reason else "")
            state = record.state if record else before.state
            self._mail.publish(
                "ack",
                Ack(message_id=envelope.id, status="duplicate", reason=reason, order_id=order_id, state=state),
                corr=envelope.id,
            )
            return True
        if envelope.seq <= self._outbox.last_seq(envelope.boot_id):
            reason = "a message that was made later has had its effect; send it again with a new seq"
            ack = Ack(message_id=envelope.id, status="reordered", reason=reason, order_id=order_id)
            self._mail.publish("ack", ack, corr=envelope.id)
            return True
        return False

    def _offer(self, now: TripInput, inputs: BridgeInput, envelope: Envelope, order: Order, late: bool) -> TripInput:
        known = self._outbox.trip(order.order_id)
        if known is not None:
            self._ledger.answer(envelope, "duplicate", f"order is {known.state} already", order.order_id, known.state)
            return now
        self._ledger.answer(envelope, "accepted", "the decision comes as order_event", order.order_id, "OFFERED")
        situation = self._situation(inputs)
        ride = Ride(
            order.order_id,
            situation.goal(f"{order.order_id}/pickup", order.pickup),
            situation.goal(f"{order.order_id}/dropoff", order.dropoff),
            tuple(situation.goal(f"{order.order_id}/stop{i}", stop) for i, stop in enumerate(order.stops, 1)),
            ready_within=max((envelope.exp_ns - self._now_ns()) / SECOND_NS, 0.0),
            rider_code=order.rider_code,
            trace=protocol.passed_on(envelope.trace),
        )
        if self._trip.active:
            return replace(now, offer=ride)  # busy says it all
        stops = tuple((f"stop {i}", stop) for i, stop in enumerate(ride.stops, 1))
        places = (("pick-up", ride.pickup), *stops, ("drop-off", ride.dropoff))
        refusal = "deadline passed" if late else situation.outside(places)
        if not refusal and not self._outbox.durable:
            refusal = f"not ready: {self._outbox.problem}"
        return replace(now, offer=ride, refusal=refusal)

    def _command(
        self, now: TripInput, inputs: BridgeInput, envelope: Envelope, command: Command, step: _Step
    ) -> TripInput:
        known = self._outbox.trip(command.order_id) if command.order_id else None
        state = known.state if known else ""
        if command.command == "cancel" and command.order_id and known is None:
            # overtook its order, or the offer never came: the order is over before it has begun
            reason = clip(f"by {command.by}" + (f": {command.reason}" if command.reason else "") + ", before it came")
            self._ledger.withdraw(command.order_id, reason)
            self._ledger.answer(envelope, "accepted", "", command.order_id, TripState.CANCELLED.name)
            return now
        decision = self._situation(inputs).decide(command, now, state, self._now_ns())
        if decision.refusal:
            self._ledger.answer(envelope, "refused", decision.refusal, command.order_id, state)
            return now
        self._ledger.answer(envelope, "accepted", decision.note, command.order_id, state)
        step.doors = decision.doors or step.doors
        if decision.zone is not None:
            self._zones.put(decision.zone)
        return decision.now or now

    def _watch_events(self, inputs: BridgeInput) -> None:
        """A minimal risk manoeuvre, or a goal that cannot be reached, is an event: once, when it begins."""
        mission = inputs.mission
        lost = mission is not None and mission.state is MissionState.UNREACHABLE and self._trip.active
        found = (
            ("minimal_risk", inputs.mode in MINIMAL_RISK, f"{inputs.mode.name}: {inputs.mode_reason or 'no reason'}"),
            ("unreachable", lost, mission.reason if mission is not None else ""),
        )
        for kind, holds, text in found:
            if holds and not self._alarms.get(kind):
                self.report(
                    Event(
                        stamp_ns=inputs.stamp_ns,
                        kind=kind,
                        severity="alarm",
                        text=clip(text),
                        order_id=self._trip.order_id,
                        position=position_of(inputs.state, self._earth),
                    )
                )
            self._alarms[kind] = holds

    # ------------------------------------------------------------------ to the cloud

    def _answer_now(self, answer: Answer) -> None:
        """From the link's thread: an answer that need not survive."""
        self._mail.publish("ack", answer.ack, qos=1, corr=answer.corr)

    def _report_state(self, inputs: BridgeInput, changed: bool) -> None:
        report = inputs.report
        cabin = report and (report.door_open, report.seat_occupied, report.belt_fastened)
        shown = (inputs.mode, cabin, self._trip.paused, self._zones.ids)
        due = self._state_due_ns is None or inputs.stamp_ns >= self._state_due_ns
        if not due and not changed and shown == self._shown:
            return
        self._shown = shown
        self._state_due_ns = inputs.stamp_ns + round(self._config.state_period * SECOND_NS)
        self._mail.state(
            state_of(
                inputs,
                self._trip,
                self._earth,
                backlog=len(self._outbox),
                problem=self._outbox.problem,
                avoided=self._zones.ids,
            )
        )

    def close(self, timeout_s: float = 2.0) -> int:
        """Send what waits for up to ``timeout_s``, say goodbye, close. Returns how many still wait."""
        end = self._monotonic_s() + timeout_s
        while len(self._outbox) and self._mail.connected and self._monotonic_s() < end:
            for message, _ in self._inbox.take():
                if isinstance(message.body, Receipt):
                    self._mail.received(message.body)
            self._mail.new_session()
            self._mail.pump()
            self._inbox.wait(CLOSE_POLL_S)
        left = len(self._outbox)
        self._link.close(self._retained(Connection(state="offline", reason="the vehicle signed off")))
        self._outbox.close()
        return left

    # ------------------------------------------------------------------ small things

    def _make_sender(self, boot: str, encoding: str) -> Sender:
        vehicle, clock = self._config.vehicle, self._clock
        return Sender(vehicle, boot, lambda: secrets.token_hex(16), self._now_ns, clock=clock, encoding=encoding)

    def _topic(self, direction: protocol.Direction, name: str) -> str:
        return protocol.topic(self._config.operator, self._config.vehicle, direction, name)

    def _retained(self, body: Connection | Factsheet) -> Outgoing:
        return goodbye(lambda name: self._topic("up", name), self._sender, body)


def _not_ready(inputs: BridgeInput) -> str:
    """Why the car cannot drive now, or ""."""
    state = inputs.state
    if state is None or not all(map(math.isfinite, (state.x, state.y, state.yaw))):
        return "position unknown"
    if inputs.mode in MINIMAL_RISK:
        return f"{inputs.mode.name}: {inputs.mode_reason or 'no reason given'}"
    return ""
