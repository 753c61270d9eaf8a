"""The car's decisions on what the cloud asks for. Pure: what is known in, a decision out.

The cloud requests, the car decides: every request can be refused with a reason, and none of them moves the car
otherwise than a goal, a hold or a place to keep out of would.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from robotaxi.dispatch import trip as trips
from robotaxi.dispatch.messages import COMMANDS, Area, Command, Place
from robotaxi.dispatch.protocol import clip
from robotaxi.dispatch.report import BridgeInput, Earth
from robotaxi.dispatch.trip import Ride, Trip, TripInput
from robotaxi.types import EgoState, Goal, TripState

STANDSTILL_SPEED = 0.1  # m/s
MAX_AREAS = 50

Reachable = Callable[[Goal, Goal, EgoState], "str | None"]
"""(from, to, where the car is) -> why they cannot be driven to, or None."""


@dataclass(frozen=True, slots=True)
class Zone:
    """An area to keep out of, in map, until ``until_ns`` (UTC)."""

    area_id: str
    x: float
    y: float
    radius: float
    until_ns: int

    @property
    def circle(self) -> tuple[float, float, float]:
        """As the planner takes it."""
        return self.x, self.y, self.radius

    def holds(self, x: float, y: float) -> bool:
        return math.hypot(x - self.x, y - self.y) <= self.radius


@dataclass(frozen=True, slots=True)
class Decision:
    """``refusal`` "" means yes; then the rest has effect. ``doors``: "open", "close" or ""; ``note``: said with yes."""

    refusal: str = ""
    now: TripInput | None = None
    zone: Zone | None = None
    doors: str = ""
    note: str = ""


@dataclass(frozen=True)
class Situation:
    """What a decision rests on. ``service_radius``: m around the map's origin."""

    trip: Trip
    inputs: BridgeInput
    earth: Earth
    zones: tuple[Zone, ...]
    service_radius: float
    reachable: Reachable

    # ------------------------------------------------------------------ orders

    def goal(self, goal_id: str, place: Place) -> Goal:
        x, y = self.earth.to_map(place.position)
        yaw = math.radians(90.0 - place.heading_deg) if place.heading_deg is not None else 0.0
        return Goal(goal_id, x, y, math.remainder(yaw, math.tau))

    def outside(self, goals: tuple[tuple[str, Goal], ...]) -> str:
        """Why one of the (name, goal) cannot be served, or ""."""
        for name, goal in goals:
            distance = math.hypot(goal.x, goal.y)
            if not distance <= self.service_radius:
                return f"outside area: {name} is {distance / 1000.0:.1f} km from the centre of the area"
            for zone in self.zones:
                if zone.holds(goal.x, goal.y):
                    return f"outside area: {name} is in {zone.area_id}, which is closed"
        return ""

    def unreachable(self, ride: Ride) -> str:
        """Why the ride cannot be driven from here, or ""."""
        state = self.inputs.state
        if state is None:
            return ""
        here = Goal("", state.x, state.y, state.yaw)
        for start, goal in itertools.pairwise((here, ride.pickup, *ride.stops, ride.dropoff)):
            if reason := self.way(start, goal, state):
                return reason
        return ""

    def way(self, start: Goal, goal: Goal, state: EgoState) -> str:
        try:
            closed = tuple(zone.circle for zone in self.zones)
            reason = self.reachable(start, replace(goal, avoid=closed), state)
        except ValueError as error:  # a map or route error is a reason, not an end of the bridge
            reason = str(error)
        return f"unreachable: {reason}" if reason else ""

    # ------------------------------------------------------------------ commands

    def decide(self, command: Command, now: TripInput, known_state: str, now_utc_ns: int) -> Decision:
        """``known_state``: of the order that the command names, "" where it is unknown."""
        if command.command not in COMMANDS:
            return Decision(f"command {command.command[:40]!r} is unknown; known are {', '.join(COMMANDS)}")
        if command.command == "avoid_area":
            return self._avoid(command.area, now_utc_ns)
        if command.order_id and command.order_id != self.trip.order_id:
            state = f"order is {known_state} already" if known_state else "order is unknown"
            return Decision(state)
        decide = {
            "cancel": self._cancel,
            "change_destination": self._change,
            "add_stop": self._change,
            "pull_over": self._pause,
            "resume": self._pause,
            "reroute": self._reroute,
            "open_doors": self._doors,
            "close_doors": self._doors,
        }[command.command]
        return decide(command, now)

    def _cancel(self, command: Command, now: TripInput) -> Decision:
        if not command.order_id:
            return Decision("cancel names no order")
        if refusal := trips.may_cancel(self.trip):
            return Decision(refusal)
        return Decision(now=replace(now, cancel_order_id=command.order_id, cancel_reason=_reason(command)))

    def _change(self, command: Command, now: TripInput) -> Decision:
        ride, place, name = self.trip.ride, command.place, command.command
        if ride is None or self.trip.state not in trips.CHANGEABLE:
            return Decision(f"{name}: no ride is under way that could be changed")
        if place is None:
            return Decision(f"{name} names no place")
        revision = ride.revision + 1
        kind = "dropoff" if name == "change_destination" else "stop"
        goal = self.goal(f"{ride.order_id}/{kind}.{revision}", place)
        if refusal := self.outside(((kind, goal),)):
            return Decision(refusal)
        if name == "change_destination":
            changed = replace(ride, dropoff=goal, revision=revision)
            start = ride.stops[-1] if ride.stops else None
        else:
            if self.trip.state is TripState.AT_STOP:  # the first of its stops is where it stands
                changed = replace(ride, stops=(ride.stops[0], goal, *ride.stops[1:]), revision=revision)
            else:
                changed = replace(ride, stops=(goal, *ride.stops), revision=revision)
            start = None
        state = self.inputs.state
        if state is not None:
            before_pickup = self.trip.state in trips.CANCELLABLE
            here = start or (ride.pickup if before_pickup else Goal("", state.x, state.y, state.yaw))
            if refusal := self.way(here, goal, state):
                return Decision(refusal)
        words = "destination changed" if kind == "dropoff" else "stop added"
        return Decision(now=replace(now, change=changed, change_reason=clip(f"{words} {_reason(command)}")))

    def _pause(self, command: Command, now: TripInput) -> Decision:
        wanted = command.command == "pull_over"
        if not self.trip.active:
            return Decision(f"{command.command}: no trip is under way")
        if wanted == self.trip.paused:
            return Decision("the car is held already" if wanted else "the car is not held")
        if not wanted and self.inputs.report is not None and self.inputs.report.door_open:
            return Decision("resume: a door is open")
        return Decision(now=replace(now, pause=wanted))

    def _reroute(self, command: Command, now: TripInput) -> Decision:
        if self.trip.state not in trips.DRIVING:
            return Decision("reroute: the car is not driving to a goal")
        ride = self.trip.ride
        assert ride is not None
        revision = ride.revision + 1
        goal = trips.goal_of(self.trip)
        assert goal is not None
        again = replace(goal, goal_id=f"{goal.goal_id.rsplit('~', 1)[0]}~{revision}", hold=False)
        changed = replace(ride, revision=revision)
        if self.trip.state is TripState.EN_ROUTE_TO_PICKUP:
            changed = replace(changed, pickup=again)
        elif ride.stops:
            changed = replace(changed, stops=(again, *ride.stops[1:]))
        else:
            changed = replace(changed, dropoff=again)
        return Decision(now=replace(now, change=changed, change_reason=clip(f"new route {_reason(command)}")))

    def _doors(self, command: Command, now: TripInput) -> Decision:
        report = self.inputs.report
        if report is None or not abs(report.speed) < STANDSTILL_SPEED:
            return Decision("doors move at standstill only")
        if self.trip.state in trips.DRIVING and not self.trip.paused:
            return Decision("doors stay shut while the car is under way; ask it to pull over first")
        return Decision(doors="open" if command.command == "open_doors" else "close")

    def _avoid(self, area: Area | None, now_utc_ns: int) -> Decision:
        if area is None:
            return Decision("avoid_area names no area")
        if area.until_ns <= now_utc_ns:
            return Decision(zone=Zone(area.area_id, 0.0, 0.0, 0.0, area.until_ns))  # lifts it
        if len(self.zones) >= MAX_AREAS and all(zone.area_id != area.area_id for zone in self.zones):
            return Decision(f"{MAX_AREAS} areas are in force already")
        x, y = self.earth.to_map(area.center)
        zone = Zone(area.area_id, x, y, area.radius, area.until_ns)
        ride, state = self.trip.ride, self.inputs.state
        inside = (
            [f"the car is in it, at {state.x:.0f}, {state.y:.0f}"] if state and zone.holds(state.x, state.y) else []
        )
        if ride is not None and self.trip.active:
            stops = [(f"stop {number}", stop) for number, stop in enumerate(ride.stops, 1)]
            pickup = [("the pick-up", ride.pickup)] if self.trip.state in trips.CANCELLABLE else []
            for name, goal in (*pickup, *stops, ("the drop-off", ride.dropoff)):
                if zone.holds(goal.x, goal.y):
                    inside.append(f"{name} of {ride.order_id} lies in it")
        return Decision(zone=zone, note=clip("; ".join(inside)))


def _reason(command: Command) -> str:
    return clip(f"by {command.by}" + (f": {command.reason}" if command.reason else ""))
