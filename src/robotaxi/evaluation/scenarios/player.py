"""Acts a `Story` out: triggers looked at each tick, events begun and ended."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from robotaxi.evaluation.scenarios.measures import Body, measure, meets
from robotaxi.evaluation.scenarios.story import (
    Act,
    Action,
    After,
    Always,
    Condition,
    Event,
    Measured,
    Reached,
    Story,
    Trigger,
)
from robotaxi.evaluation.scenarios.story_mover import StoryMover
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.types import VehicleParams


@dataclass
class _Playing:
    """An event while it runs."""

    event: Event
    count: int = 0
    running: list[tuple[str, StoryMover, Action]] = field(default_factory=list)
    state: str = "standby"


class StoryPlayer:
    """`step` before the movers' step, each tick. ``over``: the story's stop trigger has fired; ``arrived``: because the
    ego is where that asks it to be."""

    def __init__(self, story: Story, lane_map: LaneMap, vehicle: VehicleParams, first_key: int = 100) -> None:
        self.story, self._vehicle = story, vehicle
        self.movers = [StoryMover(item, lane_map, first_key + k) for k, item in enumerate(story.performers)]
        self._by_name = {mover.performer.name: mover for mover in self.movers}
        self.over = self.arrived = False
        self._t = 0.0
        self._ego = Body(story.start.x, story.start.y, story.start.yaw, story.speed, vehicle.length, vehicle.width,
                         vehicle.center_offset)  # fmt: skip
        self._bodies: dict[str, Body] = {}
        self._reached: set[tuple[str, str]] = set()
        self._before: dict[int, bool] = {}
        self._late: dict[int, deque[tuple[float, bool]]] = {}
        self._acts: dict[str, str] = {act.name: "standby" for act in story.acts}
        self._events = {id(event): _Playing(event) for act in story.acts for g in act.groups for event in g.events}

    def step(self, t: float, dt: float, x: float, y: float, yaw: float, speed: float) -> None:
        """``x, y, yaw, speed``: of the ego's rear axle at ``t`` seconds."""
        self._t = t
        ego = self._ego
        stood = ego.stood + dt if speed < 0.01 else 0.0
        travelled = ego.travelled + math.hypot(x - ego.x, y - ego.y)
        vehicle = self._vehicle
        self._ego = Body(x, y, yaw, speed, vehicle.length, vehicle.width, vehicle.center_offset, travelled, stood)
        self._bodies = {self.story.ego: self._ego, **{name: mover.body() for name, mover in self._by_name.items()}}
        if self._fires(self.story.stop):
            self.over, self.arrived = True, self.arrived or self._is_there()
        for act in self.story.acts:
            self._step_act(act)

    def _is_there(self) -> bool:
        tests = [condition.test for group in self.story.stop for condition in group]
        places = [
            item for item in tests if isinstance(item, Measured) and item.place and self.story.ego in item.entities
        ]
        return any(self._measured(item) for item in places)

    def _step_act(self, act: Act) -> None:
        if self._acts[act.name] == "standby" and (act.start is None or self._fires(act.start)):
            self._begin(act.name)
            self._acts[act.name] = "running"
            for group in act.groups:
                self._begin(group.name)
        if self._acts[act.name] != "running":
            return
        playing = [(group, self._events[id(event)]) for group in act.groups for event in group.events]
        stopped = self._fires(act.stop)
        for group, item in playing:
            if stopped:
                self._cut(item)
            elif item.state == "standby" and (item.event.start is None or self._fires(item.event.start)):
                self._start(item, [other for g, other in playing if g is group], group.performers)
            if item.state == "running":
                self._go_on(item)
        self._complete(act, stopped)

    def _start(self, item: _Playing, siblings: list[_Playing], performers: tuple[str, ...]) -> None:
        event = item.event
        if event.overrides:
            for other in siblings:
                if other is not item and other.event.maneuver == event.maneuver and other.state == "running":
                    self._cut(other)
        item.state, item.count = "running", item.count + 1
        self._begin(event.maneuver, event.name)
        movers = [self._by_name[name] for name in performers if name in self._by_name]
        for name, action in event.actions:
            self._begin(name)
            for mover in movers:
                mover.begin(action, self._bodies)
                item.running.append((name, mover, action))

    def _go_on(self, item: _Playing) -> None:
        going = [(name, mover, action) for name, mover, action in item.running if not mover.done(action)]
        for name, _, _ in item.running:
            if all(name != other for other, _, _ in going):
                self._end(name)
        item.running = going
        if not going:
            self._end(item.event.name)
            item.state = "standby" if item.count < item.event.times else "complete"

    def _cut(self, item: _Playing) -> None:
        for name, mover, action in item.running:
            mover.stop(action)
            self._end(name)
        if item.state == "running":
            self._end(item.event.name)
        item.running, item.state = [], "complete"

    def _complete(self, act: Act, stopped: bool) -> None:
        """Groups, maneuvers and the act end with their last event."""
        open_groups = False
        for group in act.groups:
            states = {event.maneuver: True for event in group.events}
            for event in group.events:
                states[event.maneuver] &= self._events[id(event)].state == "complete"
            for maneuver, complete in states.items():
                if complete:
                    self._end(maneuver)
            if all(states.values()):
                self._end(group.name)
            else:
                open_groups = True
        if stopped or not open_groups:
            self._acts[act.name] = "complete"
            self._end(act.name)

    def _begin(self, *names: str) -> None:
        self._reached.update((name, "running") for name in names)

    def _end(self, *names: str) -> None:
        self._reached.update((name, "complete") for name in names)

    # ------------------------------------------------------------------ triggers

    def _fires(self, trigger: Trigger) -> bool:
        """Every condition is looked at each tick: their edges and delays need that."""
        groups = [[self._holds(condition) for condition in group] for group in trigger]
        return any(all(group) for group in groups)

    def _holds(self, condition: Condition) -> bool:
        now, key = self._now(condition), id(condition)
        before = self._before.get(key)
        self._before[key] = now
        if condition.edge == "rising":
            holds = now and before is False
        elif condition.edge == "falling":
            holds = not now and before is True
        elif condition.edge == "risingOrFalling":
            holds = before is not None and now != before
        else:
            holds = now
        if condition.delay <= 0.0:
            return holds
        line = self._late.setdefault(key, deque())
        line.append((self._t, holds))
        out = False
        while line and line[0][0] <= self._t - condition.delay + 1e-9:
            out = line.popleft()[1] or out
        return out

    def _now(self, condition: Condition) -> bool:
        test = condition.test
        if isinstance(test, Always):
            return test.holds
        if isinstance(test, After):
            rule = "greaterOrEqual" if test.rule == "equalTo" else test.rule
            return meets(self._t, rule, test.value)
        if isinstance(test, Reached):
            return (test.element, test.state) in self._reached
        return self._measured(test)

    def _measured(self, test: Measured) -> bool:
        other = self._bodies.get(test.other) if test.other else None
        if test.other and other is None:
            return False  # it was never placed
        who = [self._bodies[name] for name in test.entities if name in self._bodies]
        results = [meets(measure(test, body, other), test.rule, test.value) for body in who]
        return bool(results) and (all(results) if test.every else any(results))
