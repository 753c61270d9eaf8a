"""One scenario with one seed: ego, planner and controller in one process, others as the scenario says.

Perception and localization are perfect twins here: the planner sees every actor within its range, with
the delays that the interfaces have. A failure is then one of prediction, planning or control.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from robotaxi.control import ControlConfig, Controller
from robotaxi.evaluation.planner_loop import (
    LIGHT_RANGE,
    OBJECTS_LET_NS,
    PLAN_LET_NS,
    PLAN_PERIOD_NS,
    PLAN_PHASE_NS,
)
from robotaxi.evaluation.scenarios.model import HEADINGS, KINDS, Actor, Scenario, ScenarioError
from robotaxi.geometry.boxes import distance
from robotaxi.hdmap.lane_map import Lane, LaneMap, RouteError
from robotaxi.interfaces import TICK_NS
from robotaxi.planning import Planner, PlannerConfig, PlanningInput, PlanningOutput
from robotaxi.planning.reference import Reference, build_reference
from robotaxi.sim.ego import DRIVE, VX, EgoVehicle
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import (
    LIGHT_DTYPE,
    OBJECT_DTYPE,
    Command,
    EgoState,
    Goal,
    LightState,
    MissionState,
    Pose2,
    RecordArray,
    VehicleParams,
    VehicleReport,
)


class _Mover:
    """One actor: stands, then drives straight on along the path it was put on."""

    def __init__(self, actor: Actor, path: Any, start_s: float, key: int, rng: np.random.Generator) -> None:
        self.actor, self._path, self.key = actor, path, key
        self._s = start_s + float(rng.uniform(*actor.s))
        self._offset = float(rng.uniform(*actor.offset))
        self._wanted = float(rng.uniform(*actor.speed))
        self.speed = self._wanted if math.isinf(actor.trigger) else 0.0
        self._since: float | None = 0.0 if math.isinf(actor.trigger) else None
        self._turn = HEADINGS[actor.heading]
        self.moved = self.speed > 0.3
        self._place()

    def _place(self) -> None:
        k = int(np.clip(round(self._s / 0.5), 0, self._path.s.size - 1))
        theta = float(self._path.yaw[k])
        self.x = float(self._path.x[k]) - math.sin(theta) * self._offset
        self.y = float(self._path.y[k]) + math.cos(theta) * self._offset
        self.yaw = theta + self._turn

    def step(self, dt: float, ego_x: float, ego_y: float) -> None:
        if self._since is None:
            if math.hypot(ego_x - self.x, ego_y - self.y) > self.actor.trigger:
                return
            self._since = 0.0
        self._since += dt
        wanted = 0.0 if self._since > self.actor.stop_after else self._wanted
        change = self.actor.acceleration * dt
        self.speed += min(max(wanted - self.speed, -change), change)
        self.moved = self.moved or self.speed > 0.3
        along, across = math.cos(self._turn) * self.speed * dt, math.sin(self._turn) * self.speed * dt
        self._s += along
        self._offset += across
        self._place()

    def record(self) -> tuple[Any, ...]:
        label, length, width, height = KINDS[self.actor.kind]
        vx, vy = self.speed * math.cos(self.yaw), self.speed * math.sin(self.yaw)
        return (self.x, self.y, 0.0, self.yaw, length, width, height, vx, vy, 1.0, self.key, label, int(not self.moved))


def find_place(scenario: Scenario, lane_map: LaneMap, rng: np.random.Generator) -> tuple[Lane, Pose2]:
    """A lane that has what the scenario asks for, and the ego's start on it. Raises ScenarioError."""
    want = scenario.place
    fitting = []
    for key in sorted(lane_map.lanes):
        lane = lane_map.lanes[key]
        line = lane_map.stop_lines.get(lane.stop_line_id) if lane.stop_line_id is not None else None
        if lane.junction_id is not None or lane.length < float(want.get("min_length", 60.0)):
            continue
        if not float(want.get("min_limit", 0.0)) <= lane.speed_limit <= float(want.get("max_limit", 99.0)):
            continue
        if "ends_with" in want and (line.kind if line else "none") != want["ends_with"]:
            continue
        if "neighbour" in want and bool(want["neighbour"]) != bool(lane.left_neighbour or lane.right_neighbour):
            continue
        if "crosswalk" in want and bool(want["crosswalk"]) != any(
            key in item.lane_ids for item in lane_map.crosswalks.values()
        ):
            continue
        if "oncoming" in want and bool(want["oncoming"]) != _has_oncoming(lane_map, lane):
            continue
        fitting.append(lane)
    if not fitting:
        raise ScenarioError(f"{scenario.name}: map '{lane_map.name}' has no lane with {dict(want)}")
    lane = fitting[int(rng.integers(len(fitting)))]
    at = float(rng.uniform(*scenario.start))
    s = max(lane.length - at, 1.0) if want.get("from_end") else min(at, lane.length - 5.0)
    point = lane_map.lane_point(lane.id, s)
    return lane, Pose2(float(point[0]), float(point[1]), lane_map.lane_yaw(lane.id, s))


def _has_oncoming(lane_map: LaneMap, lane: Lane) -> bool:
    k = len(lane.s) // 2
    left = lane.left[k] + (lane.left[k] - lane.centerline[k])
    yaw = lane_map.lane_yaw(lane.id, float(lane.s[k]))
    return bool(lane_map.nearest_lanes(float(left[0]), float(left[1]), yaw + math.pi, 0.8))


def _goal(lane_map: LaneMap, lane: Lane, start: Pose2, distance: float) -> Goal:
    """A place ``distance`` ahead, straight on where there is a choice, outside junctions."""
    match = lane_map.nearest_lanes(start.x, start.y, start.yaw, 3.0)[0]
    here, s = lane_map.lanes[match.lane_id], match.s + distance
    for _ in range(30):
        if s <= here.length - 2.0 and here.junction_id is None:
            break
        if not here.successors:
            s = here.length - 3.0
            break
        s = max(s - here.length, 5.0)
        heading = lane_map.lane_yaw(here.id, here.length)

        def bend(i: int, heading: float = heading) -> tuple[float, int]:
            turn = lane_map.lane_yaw(i, lane_map.lanes[i].length) - heading
            return abs(math.remainder(turn, math.tau)), i

        here = lane_map.lanes[min(here.successors, key=bend)]
        if here.junction_id is not None and s <= here.length:
            s = here.length + 12.0
    point = lane_map.lane_point(here.id, s)
    return Goal("goal", float(point[0]), float(point[1]), lane_map.lane_yaw(here.id, s))


def drive(scenario: Scenario, seed: int, lane_map: LaneMap, vehicle: VehicleParams) -> Loop:
    """Run it. The same arguments give the same outcome. Raises ScenarioError where the map has no such place."""
    rng = np.random.default_rng([seed, zlib.crc32(scenario.name.encode())])
    lane, start = find_place(scenario, lane_map, rng)
    goal = _goal(lane_map, lane, start, float(rng.uniform(*scenario.goal)))
    config = PlannerConfig()
    planner, controller = Planner(config, lane_map, vehicle), Controller(ControlConfig(), vehicle)
    try:
        route = lane_map.route(start, Pose2(goal.x, goal.y, goal.yaw))
        path = build_reference(lane_map, route, start, config)
    except RouteError as error:
        raise ScenarioError(f"{scenario.name}: {error}") from error
    movers = [_Mover(actor, path, path.start_s, 100 + k, rng) for k, actor in enumerate(scenario.actors)]
    car = EgoVehicle(vehicle, WorldConfig(), start)
    speed = float(rng.uniform(*scenario.speed))
    if speed > 0.0:
        car.motion.vector[VX], car.motion.vector[DRIVE] = speed, 0.0
        car.motion.drive_line[:] = 0.0
    loop = Loop(scenario, lane_map, vehicle, car, movers, goal, planner, controller, path)
    loop.run()
    return loop


class Loop:
    """The closed loop, and what it leaves for the checks."""

    def __init__(
        self, scenario: Scenario, lane_map: LaneMap, vehicle: VehicleParams, car: EgoVehicle, movers: list[_Mover],
        goal: Goal, planner: Planner, controller: Controller, path: Reference,
    ) -> None:  # fmt: skip
        self.scenario, self.lane_map, self.vehicle = scenario, lane_map, vehicle
        self.car, self.movers, self.goal = car, movers, goal
        self.planner, self.controller, self.path = planner, controller, path
        self.trace: list[tuple[float, ...]] = []
        self.said: list[tuple[float, str, str]] = []
        self.clearance, self.hit = math.inf, ""
        self.arrived = False
        self.over_red: list[float] = []
        self._front_before: tuple[float, float] | None = None

    def run(self) -> None:
        objects: list[tuple[int, RecordArray]] = []
        waiting: tuple[int, PlanningOutput] | None = None
        active: PlanningOutput | None = None
        now = 0
        while now < self.scenario.duration * 1e9 and not self.arrived and not self.hit:
            x, y, yaw, speed, _ = self.car.rear_axle()
            acceleration = self.car.rear_accelerations()
            vector = self.car.motion.vector
            state = EgoState(now, x, y, yaw, speed, acceleration[0], float(vector[5]), self.car.steering)
            if now % PLAN_PERIOD_NS == 0:
                objects = [*objects[-2:], (now, self._objects(x, y))]
            if now % PLAN_PERIOD_NS == PLAN_PHASE_NS:
                seen = [item for item in objects if item[0] + OBJECTS_LET_NS <= now]
                stamp, records = seen[-1] if seen else (0, None)
                lights = self._lights(x, y, now)
                output = self.planner.step(PlanningInput(now, state, records, stamp, lights, now, self.goal))
                waiting = (now + PLAN_LET_NS, output)
                self.arrived = output.mission.state == MissionState.ARRIVED
                entry = (output.explanation.cause.name, output.explanation.sentence)
                if not self.said or self.said[-1][1] != entry[0]:
                    self.said.append((now * 1e-9, *entry))
            if waiting is not None and waiting[0] <= now:
                active, waiting = waiting[1], None
            report = VehicleReport(now, speed, self.car.steering)
            command: Command = self.controller.step(state, active.trajectory if active else None, report).command
            self.car.step(command)
            for mover in self.movers:
                mover.step(TICK_NS * 1e-9, x, y)
            self.trace.append((now * 1e-9, x, y, yaw, speed, acceleration[0], acceleration[1]))
            self._watch(now)
            now += TICK_NS

    def light_at(self, t: float) -> LightState:
        colour = "green"
        for since, name in sorted(self.scenario.light):
            if t >= since:
                colour = name
        return LightState[colour.upper()]

    def _objects(self, x: float, y: float) -> RecordArray:
        rows = [m.record() for m in self.movers if math.hypot(m.x - x, m.y - y) < m.actor.seen]
        return np.array(rows, OBJECT_DTYPE) if rows else np.zeros(0, OBJECT_DTYPE)

    def _lights(self, x: float, y: float, now: int) -> RecordArray:
        state = int(self.light_at(now * 1e-9))
        rows = [
            (*signal.position, key, state, 1.0)
            for key, signal in sorted(self.lane_map.signals.items())
            if math.hypot(signal.position[0] - x, signal.position[1] - y) < LIGHT_RANGE
        ]
        return np.array(rows, LIGHT_DTYPE)

    def _watch(self, now: int) -> None:
        """Contact, clearance and lines crossed at red."""
        x, y, yaw, _, _ = self.car.rear_axle()
        offset = self.vehicle.center_offset
        own = np.array(
            [x + offset * math.cos(yaw), y + offset * math.sin(yaw), yaw, self.vehicle.length, self.vehicle.width]
        )
        for mover in self.movers:
            if math.hypot(mover.x - x, mover.y - y) > 15.0:
                continue
            _, length, width, _ = KINDS[mover.actor.kind]
            gap = distance(own, np.array([mover.x, mover.y, mover.yaw, length, width]))
            self.clearance = min(self.clearance, gap)
            if gap <= 0.0:
                self.hit = f"touched {mover.actor.kind} {mover.key} at {now * 1e-9:.1f} s"
        front = (x + self.vehicle.front * math.cos(yaw), y + self.vehicle.front * math.sin(yaw))
        before, self._front_before = self._front_before, front
        if before is None or self.light_at(now * 1e-9) != LightState.RED:
            return
        for line in self.lane_map.stop_lines.values():
            if line.kind == "signal" and _crosses(before, front, line.points):
                self.over_red.append(now * 1e-9)


def _crosses(a: tuple[float, float], b: tuple[float, float], line: np.ndarray) -> bool:
    p, q = line[0, :2], line[1, :2]

    def side(u: Any, v: Any, w: Any) -> float:
        return float((v[0] - u[0]) * (w[1] - u[1]) - (v[1] - u[1]) * (w[0] - u[0]))

    return side(p, q, a) * side(p, q, b) < 0.0 and side(a, b, p) * side(a, b, q) < 0.0
