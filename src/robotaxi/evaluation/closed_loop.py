"""The one closed loop of planner and controller without sensors and without ROS.

Rides through a town and scenarios differ in what surrounds the car, not in how it is driven: messages come
at the periods, phases and delays of the interface table, as on a ride.
"""

from __future__ import annotations

import time
from typing import Protocol

from robotaxi.control import Controller
from robotaxi.interfaces import INTERFACES, TICK_NS
from robotaxi.planning import Planner, PlanningInput, PlanningOutput
from robotaxi.types import Command, EgoState, Explanation, Goal, RecordArray, VehicleReport

_OBJECTS, _LIGHTS = INTERFACES["perception/objects"], INTERFACES["perception/traffic_lights"]
_PLAN = INTERFACES["planning/trajectory"]

TICK_S = TICK_NS * 1e-9


class Surroundings(Protocol):
    """What the car drives in. It holds the truth; objects and lights are what perfect perception makes of it."""

    @property
    def stamp_ns(self) -> int: ...

    def state(self) -> EgoState: ...

    def report(self) -> VehicleReport: ...

    def objects(self) -> RecordArray: ...

    def lights(self) -> RecordArray: ...

    def goal(self) -> Goal | None: ...

    def step(self, command: Command) -> None:
        """Move everybody on by one tick."""
        ...


class _Line:
    """Messages on their way: each counts ``let_ns`` after its stamp."""

    def __init__(self, period_ns: int, phase_ns: int, let_ns: int) -> None:
        self._period_ns, self._phase_ns, self._let_ns = period_ns, phase_ns, let_ns
        self._sent: list[tuple[int, RecordArray]] = []
        self.stamp_ns: int = 0
        self.records: RecordArray | None = None

    def due(self, now: int) -> bool:
        return now % self._period_ns == self._phase_ns % self._period_ns

    def send(self, now: int, records: RecordArray) -> None:
        self._sent.append((now, records))

    def receive(self, now: int) -> None:
        while self._sent and self._sent[0][0] + self._let_ns <= now:
            self.stamp_ns, self.records = self._sent.pop(0)


class ClosedLoop:
    """Call `tick` until it has gone far enough.

    ``plan_ms``: processor time of each planning cycle; ``said``: (seconds, explanation), one for each change of
    cause or subject; ``active``: the plan that is driven.
    """

    def __init__(self, planner: Planner, controller: Controller, surroundings: Surroundings) -> None:
        self.planner, self.controller, self.around = planner, controller, surroundings
        self.plan_ms: list[float] = []
        self.said: list[tuple[float, Explanation]] = []
        self.active: PlanningOutput | None = None
        self._waiting: tuple[int, PlanningOutput] | None = None
        self._objects = _Line(_OBJECTS.period_ns, _OBJECTS.phase_ns, _OBJECTS.let_ns)
        self._lights = _Line(_LIGHTS.period_ns, _LIGHTS.phase_ns, _LIGHTS.let_ns)

    def tick(self) -> PlanningOutput | None:
        """One tick of 20 ms; what was planned in it, None where nothing was."""
        around, now = self.around, self.around.stamp_ns
        state = around.state()
        if self._objects.due(now):
            self._objects.send(now, around.objects())
        if self._lights.due(now) or now == 0:
            self._lights.send(now, around.lights())
        planned = self._plan(now, state) if now % _PLAN.period_ns == _PLAN.phase_ns else None
        if planned is not None:
            self._waiting = (now + _PLAN.let_ns, planned)
        if self._waiting is not None and self._waiting[0] <= now:
            self.active, self._waiting = self._waiting[1], None
        trajectory = self.active.trajectory if self.active is not None else None
        around.step(self.controller.step(state, trajectory, around.report()).command)
        return planned

    def _plan(self, now: int, state: EgoState) -> PlanningOutput:
        objects, lights = self._objects, self._lights
        objects.receive(now)
        lights.receive(now)
        inputs = PlanningInput(
            now, state, objects.records, objects.stamp_ns, lights.records, lights.stamp_ns, self.around.goal()
        )
        begin = time.thread_time()
        output = self.planner.step(inputs)
        self.plan_ms.append((time.thread_time() - begin) * 1e3)
        explanation = output.explanation
        last = self.said[-1][1] if self.said else None
        if last is None or _told(last) != _told(explanation):
            self.said.append((now * 1e-9, explanation))
        return output


def _told(explanation: Explanation) -> tuple[int, int, str]:
    return int(explanation.cause), explanation.subject_id, explanation.sentence.split(" ")[0]
