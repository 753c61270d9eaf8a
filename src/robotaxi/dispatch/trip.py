"""The trip state machine: one table of transitions, one pure step.

`TRANSITIONS` says from where to where and on which trigger; `_CONDITIONS` says when a trigger
fires. The table is drawn into docs/dispatch-protocol.md by `table_markdown`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from robotaxi.params import param
from robotaxi.types import Goal, MissionState, MissionStatus, SystemMode, TripEvent, TripState, VehicleReport

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class TripConfig:
    """Timers of a trip."""

    ready_timeout: float = param(60.0, lo=0.0, hi=600.0, unit="s", doc="an offer waits so long for a car not ready")
    rider_wait: float = param(300.0, lo=1.0, hi=3600.0, unit="s", doc="waiting at the pick-up before a no-show")
    boarding_timeout: float = param(300.0, lo=1.0, hi=3600.0, unit="s", doc="from door open to belt fastened")
    stop_time: float = param(20.0, lo=0.0, hi=3600.0, unit="s", doc="shortest stay at an extra stop")
    stop_timeout: float = param(300.0, lo=1.0, hi=3600.0, unit="s", doc="longest stay at an extra stop")
    alighting_timeout: float = param(900.0, lo=1.0, hi=7200.0, unit="s", doc="from arrival to an empty, closed car")
    stop_persists: float = param(60.0, lo=1.0, hi=600.0, unit="s", doc="a safety stop so long under way ends the trip")
    unreachable_patience: float = param(
        20.0, lo=0.0, hi=600.0, unit="s", doc="no way to the goal for so long ends the trip; another goal saves it"
    )
    drive_timeout: float = param(14400.0, lo=60.0, hi=86400.0, unit="s", doc="longest drive to one goal")


@dataclass(frozen=True, slots=True)
class Ride:
    """What was ordered, in map. ``stops``: still to come. ``revision`` counts changes since the order.

    ``ready_within``: seconds that the offer may wait for the car. ``rider_code``: what the rider shows.
    ``trace``: the order's trace context, for its events.
    """

    order_id: str
    pickup: Goal
    dropoff: Goal
    stops: tuple[Goal, ...] = ()
    revision: int = 0
    ready_within: float = 1e9
    rider_code: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Trip:
    """``since_ns``: entry into the state. ``stop_since_ns``: first sight of a safety stop, -1 for none;
    ``stuck_since_ns``: of a goal without a way to it.

    ``since_ns`` -1 (after a restart): counts from the next step. ``paused``: asked to stand still.
    """

    state: TripState = TripState.IDLE
    ride: Ride | None = None
    since_ns: int = 0
    stop_since_ns: int = -1
    reason: str = ""
    paused: bool = False
    stuck_since_ns: int = -1

    @property
    def order_id(self) -> str:
        return self.ride.order_id if self.ride else ""

    @property
    def active(self) -> bool:
        return self.state not in TERMINAL


@dataclass(frozen=True, slots=True)
class TripInput:
    """What is known at ``stamp_ns``.

    ``offer`` with ``refusal`` "" is acceptable, else the refusal is the reason. ``not_ready``: why the
    car cannot drive now, "" when it can; asked only while an offer waits. ``cancel``: who cancelled
    which order and why. ``change``: the ride with other places, and why; ``pause``: stand still or go on, None for
    no word. ``code_shown``: what the rider showed, None where the car cannot ask.
    """

    stamp_ns: int
    offer: Ride | None = None
    refusal: str = ""
    not_ready: str = ""
    cancel_order_id: str = ""
    cancel_reason: str = ""
    mission: MissionStatus | None = None
    report: VehicleReport | None = None
    mode: SystemMode = SystemMode.AUTONOMOUS
    mode_reason: str = ""
    change: Ride | None = None
    change_reason: str = ""
    pause: bool | None = None
    code_shown: str | None = None


TERMINAL = frozenset(
    {
        TripState.IDLE,
        TripState.REJECTED,
        TripState.COMPLETED,
        TripState.CANCELLED,
        TripState.ABORTED,
        TripState.NO_SHOW,
    }
)
CANCELLABLE = (
    TripState.OFFERED,
    TripState.ACCEPTED,
    TripState.EN_ROUTE_TO_PICKUP,
    TripState.WAITING_FOR_RIDER,
    TripState.BOARDING,
)
CHANGEABLE = (*CANCELLABLE, TripState.EN_ROUTE, TripState.AT_STOP)
DRIVING = (TripState.EN_ROUTE_TO_PICKUP, TripState.EN_ROUTE)
PROGRESS = (
    TripState.IDLE,
    TripState.OFFERED,
    TripState.ACCEPTED,
    TripState.EN_ROUTE_TO_PICKUP,
    TripState.WAITING_FOR_RIDER,
    TripState.BOARDING,
    TripState.EN_ROUTE,
    TripState.AT_STOP,
    TripState.ARRIVED,
    TripState.ALIGHTED,
    TripState.COMPLETED,
)
"""The order of a ride that goes as planned; only between EN_ROUTE and AT_STOP does it go to and fro."""


class Trigger(Enum):
    """Value: the sentence that the documentation shows."""

    CANCELLED = "the platform or the rider cancels"
    REFUSED = "busy, outside the area, unreachable or deadline passed"
    NEVER_READY = "the car is not ready within its time"
    READY = "the car can drive"
    GO = "at once"
    AT_GOAL = "mission arrived at the goal of this state"
    UNREACHABLE = "mission finds no way to the goal for a while"
    STOP_PERSISTS = "a safety stop persists"
    DRIVE_TIMEOUT = "the drive takes too long"
    DOOR_OPENS = "door open"
    NO_RIDER = "the door stays shut until the timer ends"
    ABOARD = "seat occupied, belt fastened, door closed; the rider's code shown where one is asked for"
    NOT_ABOARD = "seat empty when the boarding timer ends"
    NO_BELT = "seat occupied, but belt or door open or code wrong when the boarding timer ends"
    AT_STOP = "mission arrived at a stop on the way"
    GO_ON = "the shortest stay is over; seat occupied, belt fastened, door closed"
    LEFT_AT_STOP = "seat empty, door closed when the longest stay ends"
    NOT_GOING_ON = "belt or door open when the longest stay ends"
    ALIGHTED = "seat empty, door closed"
    NOT_ALIGHTED = "seat occupied or door open when the alighting timer ends"


@dataclass(frozen=True, slots=True)
class Transition:
    source: TripState
    trigger: Trigger
    target: TripState


_S, _T = TripState, Trigger

TRANSITIONS: tuple[Transition, ...] = (
    *(Transition(state, _T.CANCELLED, _S.CANCELLED) for state in CANCELLABLE),
    Transition(_S.OFFERED, _T.REFUSED, _S.REJECTED),
    Transition(_S.OFFERED, _T.READY, _S.ACCEPTED),
    Transition(_S.OFFERED, _T.NEVER_READY, _S.REJECTED),
    Transition(_S.ACCEPTED, _T.GO, _S.EN_ROUTE_TO_PICKUP),
    Transition(_S.EN_ROUTE_TO_PICKUP, _T.AT_GOAL, _S.WAITING_FOR_RIDER),
    Transition(_S.EN_ROUTE_TO_PICKUP, _T.UNREACHABLE, _S.ABORTED),
    Transition(_S.EN_ROUTE_TO_PICKUP, _T.STOP_PERSISTS, _S.ABORTED),
    Transition(_S.EN_ROUTE_TO_PICKUP, _T.DRIVE_TIMEOUT, _S.ABORTED),
    Transition(_S.WAITING_FOR_RIDER, _T.DOOR_OPENS, _S.BOARDING),
    Transition(_S.WAITING_FOR_RIDER, _T.NO_RIDER, _S.NO_SHOW),
    Transition(_S.BOARDING, _T.ABOARD, _S.EN_ROUTE),
    Transition(_S.BOARDING, _T.NOT_ABOARD, _S.NO_SHOW),
    Transition(_S.BOARDING, _T.NO_BELT, _S.ABORTED),
    Transition(_S.EN_ROUTE, _T.AT_STOP, _S.AT_STOP),
    Transition(_S.EN_ROUTE, _T.AT_GOAL, _S.ARRIVED),
    Transition(_S.EN_ROUTE, _T.UNREACHABLE, _S.ABORTED),
    Transition(_S.EN_ROUTE, _T.STOP_PERSISTS, _S.ABORTED),
    Transition(_S.EN_ROUTE, _T.DRIVE_TIMEOUT, _S.ABORTED),
    Transition(_S.AT_STOP, _T.GO_ON, _S.EN_ROUTE),
    Transition(_S.AT_STOP, _T.LEFT_AT_STOP, _S.COMPLETED),
    Transition(_S.AT_STOP, _T.NOT_GOING_ON, _S.ABORTED),
    Transition(_S.ARRIVED, _T.ALIGHTED, _S.ALIGHTED),
    Transition(_S.ALIGHTED, _T.GO, _S.COMPLETED),
    Transition(_S.ARRIVED, _T.NOT_ALIGHTED, _S.ABORTED),
)
"""In the order in which they are tried within a state: the first that fires is taken."""

_BY_SOURCE: dict[TripState, tuple[Transition, ...]] = {
    state: tuple(t for t in TRANSITIONS if t.source is state) for state in TripState
}


# ---------------------------------------------------------------------------- conditions

Condition = Callable[[Trip, TripInput, TripConfig], "str | None"]
"""None: does not fire. Otherwise the reason, "" where the state says it all."""


def _elapsed(trip: Trip, now: TripInput, seconds: float) -> bool:
    return now.stamp_ns - trip.since_ns >= round(seconds * SECOND_NS)


def _cancelled(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return (now.cancel_reason or "cancelled") if now.cancel_order_id == trip.order_id else None


def _refused(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return now.refusal or None


def _never_ready(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    within = min(config.ready_timeout, trip.ride.ready_within if trip.ride else 1e9)
    return f"not ready: {now.not_ready}" if _elapsed(trip, now, within) else None


def _ready(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return None if now.not_ready else ""


def _at_once(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return ""


def _mission(trip: Trip, now: TripInput, state: MissionState) -> MissionStatus | None:
    """The mission's status if it concerns the goal of this state."""
    goal = goal_of(trip)
    if now.mission is None or goal is None or now.mission.goal_id != goal.goal_id:
        return None
    return now.mission if now.mission.state == state else None


def _at_stop(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    stops = trip.ride.stops if trip.ride else ()
    return "" if stops and _mission(trip, now, MissionState.ARRIVED) else None


def _at_goal(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return "" if _mission(trip, now, MissionState.ARRIVED) else None


def _unreachable(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    mission = _mission(trip, now, MissionState.UNREACHABLE)
    if mission is None or now.stamp_ns - trip.stuck_since_ns < round(config.unreachable_patience * SECOND_NS):
        return None
    return f"unreachable: {mission.reason or 'no route to the goal'}"


def _stop_persists(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    if trip.stop_since_ns < 0 or now.stamp_ns - trip.stop_since_ns < round(config.stop_persists * SECOND_NS):
        return None
    why = now.mode_reason or "no reason given"
    return f"safety stop ({now.mode.name}) for {config.stop_persists:g} s: {why}"


def _drive_timeout(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    late = _elapsed(trip, now, config.drive_timeout)
    return f"the goal was not reached within {config.drive_timeout:g} s" if late else None


def _door_opens(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return "" if now.report is not None and now.report.door_open else None


def _no_rider(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return f"no rider within {config.rider_wait:g} s" if _elapsed(trip, now, config.rider_wait) else None


def _seated(now: TripInput) -> bool:
    cabin = now.report
    return cabin is not None and cabin.seat_occupied and cabin.belt_fastened and not cabin.door_open


def _aboard(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return "" if _known(trip, now) and _seated(now) else None


def _known(trip: Trip, now: TripInput) -> bool:
    """Whether it is the rider of this order, as far as the car can ask."""
    wanted = trip.ride.rider_code if trip.ride else ""
    return not wanted or now.code_shown in (None, wanted)


def _not_aboard(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    if not _elapsed(trip, now, config.boarding_timeout) or (now.report is not None and now.report.seat_occupied):
        return None
    return f"nobody on the seat {config.boarding_timeout:g} s after the door opened"


def _no_belt(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    if not _elapsed(trip, now, config.boarding_timeout):
        return None
    what = "belt not fastened or door not closed" if _known(trip, now) else "the rider's code was not shown"
    return f"{what} within {config.boarding_timeout:g} s"


def _go_on(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    return "" if _elapsed(trip, now, config.stop_time) and _seated(now) else None


def _left_at_stop(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    cabin = now.report
    gone = cabin is not None and not cabin.seat_occupied and not cabin.door_open
    return "the rider left at the stop" if gone and _elapsed(trip, now, config.stop_timeout) else None


def _not_going_on(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    late = _elapsed(trip, now, config.stop_timeout)
    return f"belt not fastened or door open after {config.stop_timeout:g} s at the stop" if late else None


def _alighted(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    cabin = now.report
    return "" if cabin is not None and not cabin.seat_occupied and not cabin.door_open else None


def _not_alighted(trip: Trip, now: TripInput, config: TripConfig) -> str | None:
    late = _elapsed(trip, now, config.alighting_timeout)
    return f"seat occupied or door open {config.alighting_timeout:g} s after arrival" if late else None


_CONDITIONS: dict[Trigger, Condition] = {
    _T.CANCELLED: _cancelled,
    _T.REFUSED: _refused,
    _T.NEVER_READY: _never_ready,
    _T.READY: _ready,
    _T.GO: _at_once,
    _T.AT_GOAL: _at_goal,
    _T.UNREACHABLE: _unreachable,
    _T.STOP_PERSISTS: _stop_persists,
    _T.DRIVE_TIMEOUT: _drive_timeout,
    _T.DOOR_OPENS: _door_opens,
    _T.NO_RIDER: _no_rider,
    _T.ABOARD: _aboard,
    _T.NOT_ABOARD: _not_aboard,
    _T.NO_BELT: _no_belt,
    _T.AT_STOP: _at_stop,
    _T.GO_ON: _go_on,
    _T.LEFT_AT_STOP: _left_at_stop,
    _T.NOT_GOING_ON: _not_going_on,
    _T.ALIGHTED: _alighted,
    _T.NOT_ALIGHTED: _not_alighted,
}


# ---------------------------------------------------------------------------- step


def step(trip: Trip, now: TripInput, config: TripConfig) -> tuple[Trip, tuple[TripEvent, ...], Goal | None]:
    """One step. Returns the trip, what happened in order, and where the car shall stop or hold.

    An offer of the same order again has no effect. An offer of another order during a trip is
    rejected as busy and leaves the trip alone.
    """
    events: list[TripEvent] = []
    if trip.since_ns < 0:
        trip = replace(trip, since_ns=now.stamp_ns)
    offer = now.offer
    if offer is not None and offer.order_id != trip.order_id:
        events.append(TripEvent(now.stamp_ns, offer.order_id, TripState.OFFERED))
        if trip.active:
            reason = f"busy: on order {trip.order_id}"
            events.append(TripEvent(now.stamp_ns, offer.order_id, TripState.REJECTED, reason))
        else:
            trip = Trip(TripState.OFFERED, offer, now.stamp_ns)
    change = now.change
    if change is not None and change.order_id == trip.order_id and trip.state in CHANGEABLE:
        trip = replace(trip, ride=change)
        events.append(TripEvent(now.stamp_ns, trip.order_id, trip.state, now.change_reason))
    if now.pause is not None and trip.active:
        trip = replace(trip, paused=now.pause)
    trip = _watch(trip, now)
    while (taken := _first(trip, now, config)) is not None:
        state, reason = taken
        ride = trip.ride
        if trip.state is TripState.AT_STOP and ride is not None:
            ride = replace(ride, stops=ride.stops[1:])
        since = now.stamp_ns
        trip = replace(trip, state=state, ride=ride, since_ns=since, stop_since_ns=-1, stuck_since_ns=-1, reason=reason)
        if not trip.active:
            trip = replace(trip, paused=False)
        events.append(TripEvent(now.stamp_ns, trip.order_id, state, reason))
    trip = _watch(trip, now)
    return trip, tuple(events), goal_of(trip)


def _first(trip: Trip, now: TripInput, config: TripConfig) -> tuple[TripState, str] | None:
    for transition in _BY_SOURCE[trip.state]:
        reason = _CONDITIONS[transition.trigger](trip, now, config)
        if reason is not None:
            return transition.target, reason
    return None


def _watch(trip: Trip, now: TripInput) -> Trip:
    """Note since when the car has been held by the safety system, or has known no way, while it should drive."""
    driving = trip.state in DRIVING
    held = driving and now.mode != SystemMode.AUTONOMOUS
    stuck = driving and _mission(trip, now, MissionState.UNREACHABLE) is not None
    return replace(
        trip,
        stop_since_ns=_since(held, trip.stop_since_ns, now.stamp_ns),
        stuck_since_ns=_since(stuck, trip.stuck_since_ns, now.stamp_ns),
    )


def _since(holds: bool, since_ns: int, now_ns: int) -> int:
    if not holds:
        return -1
    return since_ns if since_ns >= 0 else now_ns


def goal_of(trip: Trip) -> Goal | None:
    """Where the car shall go, or hold, in this state; None: no wish."""
    goal = _place_of(trip)
    if goal is None or not trip.paused or goal.hold:
        return goal
    return replace(goal, goal_id=f"{trip.order_id}/held", hold=True)  # not at the pick-up: where it happens to be


def _place_of(trip: Trip) -> Goal | None:
    if trip.ride is None:
        return None
    match trip.state:
        case TripState.EN_ROUTE_TO_PICKUP:
            return trip.ride.pickup
        case TripState.WAITING_FOR_RIDER | TripState.BOARDING:
            return replace(trip.ride.pickup, hold=True)
        case TripState.EN_ROUTE:
            return trip.ride.stops[0] if trip.ride.stops else trip.ride.dropoff
        case TripState.AT_STOP if trip.ride.stops:
            return replace(trip.ride.stops[0], hold=True)
        case TripState.ARRIVED | TripState.ALIGHTED:
            return replace(trip.ride.dropoff, hold=True)
        case TripState.CANCELLED | TripState.ABORTED | TripState.NO_SHOW:
            return Goal("", 0.0, 0.0, hold=True)
        case _:
            return None


def may_cancel(trip: Trip) -> str:
    """Why the trip cannot be cancelled now, or ""."""
    if trip.state in CANCELLABLE:
        return ""
    if trip.state in (TripState.EN_ROUTE, TripState.AT_STOP):
        return "rider on board: the car drives on to the drop-off"
    return f"order is {trip.state.name} already"


# ---------------------------------------------------------------------------- drawing


def table_markdown() -> str:
    """The table as Markdown."""
    rows = ["| From | When | To |", "|---|---|---|"]
    rows += [f"| {t.source.name} | {t.trigger.value} | {t.target.name} |" for t in TRANSITIONS]
    return "\n".join(rows)


def diagram_mermaid() -> str:
    """The table as a Mermaid state diagram; the cancellations are drawn as one note."""
    lines = ["stateDiagram-v2", "    [*] --> OFFERED: an order arrives"]
    for t in TRANSITIONS:
        if t.trigger is not Trigger.CANCELLED:
            lines.append(f"    {t.source.name} --> {t.target.name}: {t.trigger.value}")
    lines += [f"    {s.name} --> [*]" for s in TripState if s in TERMINAL and s is not TripState.IDLE]
    cancellable = ", ".join(s.name for s in CANCELLABLE)
    lines += ["    note right of CANCELLED", f"        from {cancellable}", "    end note"]
    return "\n".join(lines)
