"""One scenario with one seed: ego, planner and controller in one process, others as the scenario says.

Perception and localization are perfect twins here: the planner sees every actor within its range, with
the delays that the interfaces have. A failure is then one of prediction, planning or control.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robotaxi.control import ControlConfig, Controller
from robotaxi.evaluation.closed_loop import TICK_S, ClosedLoop
from robotaxi.evaluation.perfect import LIGHT_RANGE
from robotaxi.evaluation.scenarios.model import Scenario, ScenarioError
from robotaxi.evaluation.scenarios.player import StoryPlayer
from robotaxi.evaluation.scenarios.story import Story
from robotaxi.evaluation.scenarios.story_mover import StoryMover
from robotaxi.geometry.boxes import distance
from robotaxi.hdmap.lane_map import Lane, LaneMap, RouteError
from robotaxi.hdmap.light_records import light_records
from robotaxi.interfaces import TICK_NS
from robotaxi.planning import Planner, PlannerConfig
from robotaxi.planning.reference import Reference, build_reference
from robotaxi.sim.ego import DRIVE, VX, YAW_RATE, EgoVehicle
from robotaxi.sim.events.movers import SPACING, Mover, Way, bend_over, ways_of
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import (
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

_NO_SIGNAL = -1
BEFORE = 80.0  # m of way behind a car at the end of a lane
AHEAD = 200.0  # m to the goal of a story that names none


def find_place(scenario: Scenario, lane_map: LaneMap, rng: np.random.Generator) -> tuple[Lane, Pose2, Lane | None]:
    """A lane that has what the scenario asks for, the ego's start on it, and the junction lane that it drives
    next. Raises ScenarioError."""
    want = scenario.place
    fitting = []
    for key in sorted(lane_map.lanes):
        lane = lane_map.lanes[key]
        if lane.junction_id is not None or lane.length < float(want.get("min_length", 60.0)):
            continue
        if not _has(lane_map, lane, want):
            continue
        crossing = _junction_lane(lane_map, lane, scenario.turn)
        if scenario.turn and crossing is None:
            continue
        sides = [actor for actor in scenario.actors if actor.comes_from]
        if sides and (crossing is None or ways_of(lane_map, _NOWHERE, crossing, tuple(sides)) is None):
            continue
        fitting.append((lane, crossing))
    if not fitting:
        raise ScenarioError(f"{scenario.name}: map '{lane_map.name}' has no lane with {dict(want)}")
    lane, crossing = fitting[int(rng.integers(len(fitting)))]
    at = float(rng.uniform(*scenario.start))
    s = max(lane.length - at, 1.0) if want.get("from_end") else min(at, lane.length - 5.0)
    point = lane_map.lane_point(lane.id, s)
    return lane, Pose2(float(point[0]), float(point[1]), lane_map.lane_yaw(lane.id, s)), crossing


def _has(lane_map: LaneMap, lane: Lane, want: Mapping[str, Any]) -> bool:
    if "lane" in want and lane.id not in (want["lane"] if isinstance(want["lane"], list) else [want["lane"]]):
        return False
    line = lane_map.stop_lines.get(lane.stop_line_id) if lane.stop_line_id is not None else None
    if not float(want.get("min_limit", 0.0)) <= lane.speed_limit <= float(want.get("max_limit", 99.0)):
        return False
    if "ends_with" in want and (line.kind if line else "none") != want["ends_with"]:
        return False
    if "neighbour" in want and bool(want["neighbour"]) != bool(lane.left_neighbour or lane.right_neighbour):
        return False
    crossed = any(lane.id in item.lane_ids for item in lane_map.crosswalks.values())
    if "crosswalk" in want and bool(want["crosswalk"]) != crossed:
        return False
    return not (
        "oncoming" in want and bool(want["oncoming"]) != lane_map.has_oncoming(lane.id, float(lane.s[len(lane.s) // 2]))
    )


def _junction_lane(lane_map: LaneMap, lane: Lane, turn: str) -> Lane | None:
    """The lane through the junction at the end of ``lane``: with that turn, or the straightest."""
    inside = [lane_map.lanes[i] for i in lane.successors if lane_map.lanes[i].junction_id is not None]
    if turn:
        inside = [item for item in inside if item.turn_direction == turn]
    heading = lane_map.lane_yaw(lane.id, lane.length)

    def bend(item: Lane) -> tuple[float, int]:
        return abs(math.remainder(lane_map.lane_yaw(item.id, item.length) - heading, math.tau)), item.id

    return min(inside, key=bend) if inside else None


_NOWHERE = Way(np.zeros(1), np.zeros(1), np.zeros(1), 0.0)


def _goal(lane_map: LaneMap, start: Pose2, distance: float, crossing: Lane | None) -> Goal:
    """A place ``distance`` ahead: through ``crossing``, else straight on where there is a choice; no junction."""
    match = lane_map.nearest_lanes(start.x, start.y, start.yaw, 3.0)[0]
    here, s = lane_map.lanes[match.lane_id], match.s + distance
    for _ in range(30):
        if s <= here.length - 2.0 and here.junction_id is None:
            break
        if not here.successors:
            s = here.length - 3.0
            break
        s = max(s - here.length, 5.0)
        if crossing is not None and crossing.id in here.successors:
            here = crossing
        else:
            last = here
            here = lane_map.lanes[min(last.successors, key=lambda i: bend_over(lane_map, last.id, i))]
        if here.junction_id is not None and s <= here.length:
            s = here.length + 12.0
    point = lane_map.lane_point(here.id, s)
    return Goal("goal", float(point[0]), float(point[1]), lane_map.lane_yaw(here.id, s))


def _goal_on(scenario: Scenario, lane_map: LaneMap, s: float) -> Goal | None:
    """The place on the lane that the scenario names, None where it names none."""
    if scenario.goal_lane is None:
        return None
    lane = lane_map.lanes.get(scenario.goal_lane)
    if lane is None or not 0.0 <= s <= lane.length:
        where = "has no lane" if lane is None else f"has no {s:.0f} m of lane"
        raise ScenarioError(f"{scenario.name}: map '{lane_map.name}' {where} {scenario.goal_lane}")
    point = lane_map.lane_point(lane.id, s)
    return Goal("goal", float(point[0]), float(point[1]), lane_map.lane_yaw(lane.id, s))


def _longer(way: Way, start_s: float) -> Way:
    """With a straight stretch before it, for those who are behind the car."""
    back = np.arange(-BEFORE, 0.0, SPACING)
    yaw = float(way.yaw[0])
    x, y = (np.concatenate([v[0] + f * back, v]) for v, f in ((way.x, math.cos(yaw)), (way.y, math.sin(yaw))))
    return Way(x, y, np.concatenate([np.full(back.size, yaw), way.yaw]), start_s + BEFORE)


def drive(scenario: Scenario, seed: int, lane_map: LaneMap, vehicle: VehicleParams) -> Loop:
    """Run it. The same arguments give the same outcome. Raises ScenarioError where the map has no such place."""
    if scenario.story is not None:
        return _play(scenario, scenario.story, lane_map, vehicle)
    rng = np.random.default_rng([seed, zlib.crc32(scenario.name.encode())])
    _, start, crossing = find_place(scenario, lane_map, rng)
    far = float(rng.uniform(*scenario.goal))
    goal = _goal_on(scenario, lane_map, far) or _goal(lane_map, start, far, crossing)
    path = _path(scenario, lane_map, start, goal)
    own = Way(path.x, path.y, path.yaw, path.start_s)
    if scenario.goal_lane is not None:
        own = _longer(own, path.locate(start.x, start.y)[0])
    ways = ways_of(lane_map, own, crossing, scenario.actors)
    if ways is None:
        raise ScenarioError(f"{scenario.name}: nobody can come through the junction as the actors should")
    movers = [Mover(actor, ways[k], 100 + k, rng) for k, actor in enumerate(scenario.actors)]
    car = _put(vehicle, start, float(rng.uniform(*scenario.speed)))
    return _run(Loop(scenario, lane_map, vehicle, car, movers, goal, path))


def _play(scenario: Scenario, story: Story, lane_map: LaneMap, vehicle: VehicleParams) -> Loop:
    """A scenario with a story: no seed changes it."""
    start = story.start
    goal = Goal("goal", story.goal.x, story.goal.y, story.goal.yaw) if story.goal is not None else None
    if goal is None:
        if not lane_map.nearest_lanes(start.x, start.y, start.yaw, 3.0):
            raise ScenarioError(f"{scenario.name}: {story.ego} starts on no lane of map '{lane_map.name}'")
        goal = _goal(lane_map, start, AHEAD, None)
    path = _path(scenario, lane_map, start, goal)
    player = StoryPlayer(story, lane_map, vehicle)
    return _run(Loop(scenario, lane_map, vehicle, _put(vehicle, start, story.speed), player.movers, goal, path, player))


def _path(scenario: Scenario, lane_map: LaneMap, start: Pose2, goal: Goal) -> Reference:
    here = lane_map.nearest_lanes(start.x, start.y, start.yaw, 3.0)
    lane = lane_map.lanes[here[0].lane_id] if here else None
    if scenario.goal_lane is not None and lane is not None and not lane.successors:
        end = lane_map.lane_point(lane.id, lane.length)  # no lane leads on: actors stand along the one of the start
        goal = Goal("end", float(end[0]), float(end[1]), lane_map.lane_yaw(lane.id, lane.length))
        x, y = lane.centerline[0, :2].tolist()
        start = Pose2(x, y, lane_map.lane_yaw(lane.id, 0.0))
    try:
        route = lane_map.route(start, Pose2(goal.x, goal.y, goal.yaw))
        return build_reference(lane_map, route, start, PlannerConfig())
    except RouteError as error:
        raise ScenarioError(f"{scenario.name}: {error}") from error


def _put(vehicle: VehicleParams, start: Pose2, speed: float) -> EgoVehicle:
    car = EgoVehicle(vehicle, WorldConfig(), start)
    if speed > 0.0:
        car.motion.vector[VX], car.motion.vector[DRIVE] = speed, 0.0
        car.motion.drive_line[:] = 0.0
    return car


def _run(loop: Loop) -> Loop:
    config = PlannerConfig()
    loop.run(Planner(config, loop.lane_map, loop.vehicle), Controller(ControlConfig(), loop.vehicle))
    return loop


class Loop:
    """The drive as `closed_loop.Surroundings`, and what it leaves for the checks."""

    def __init__(
        self, scenario: Scenario, lane_map: LaneMap, vehicle: VehicleParams, car: EgoVehicle,
        movers: Sequence[Mover | StoryMover], goal: Goal, path: Reference, player: StoryPlayer | None = None,
    ) -> None:  # fmt: skip
        self.scenario, self.lane_map, self.vehicle = scenario, lane_map, vehicle
        self.car, self.movers, self.path, self._player = car, movers, path, player
        self._goal = goal
        self.stamp_ns = 0
        self.trace: list[tuple[float, ...]] = []
        self.said: list[tuple[float, str, str]] = []
        self.clearance, self.hit = math.inf, ""
        self.arrived = False
        self.over_red: list[float] = []
        self._front_before: tuple[float, float] | None = None
        story = scenario.story
        self._programs = {item.signal_id: item for item in (story.lights if story is not None else ())}
        colours = {colour for _, colour in scenario.light} | {c for p in self._programs.values() for c in p.colours}
        self._sometimes_red = "red" in colours

    def run(self, planner: Planner, controller: Controller) -> None:
        """Drive until it is there, has hit something, the time or the story is over."""
        loop = ClosedLoop(planner, controller, self)
        while self.stamp_ns < self.scenario.duration * 1e9 and not (self.arrived or self.hit or self._is_told):
            planned = loop.tick()
            if planned is not None:
                self.arrived = planned.mission.state == MissionState.ARRIVED
                entry = (planned.explanation.cause.name, planned.explanation.sentence)
                if not self.said or self.said[-1][1] != entry[0]:
                    self.said.append((self.stamp_ns * 1e-9, *entry))
        self.arrived = self.arrived or (self._player is not None and self._player.arrived)

    @property
    def _is_told(self) -> bool:
        return self._player is not None and self._player.over

    # ------------------------------------------------------------------ what surrounds the car

    def state(self) -> EgoState:
        x, y, yaw, speed, _ = self.car.rear_axle()
        acceleration = self.car.rear_accelerations()[0]
        return EgoState(
            self.stamp_ns, x, y, yaw, speed, acceleration, float(self.car.motion.vector[YAW_RATE]), self.car.steering
        )

    def report(self) -> VehicleReport:
        return VehicleReport(self.stamp_ns, self.car.rear_axle()[3], self.car.steering)

    def objects(self) -> RecordArray:
        x, y, _, _, _ = self.car.rear_axle()
        rows = [m.record() for m in self.movers if not m.gone and math.hypot(m.x - x, m.y - y) < m.actor.seen]
        return np.array(rows, OBJECT_DTYPE) if rows else np.zeros(0, OBJECT_DTYPE)

    def lights(self) -> RecordArray:
        x, y, _, _, _ = self.car.rear_axle()
        return light_records(
            (signal, self.light_at(self.stamp_ns * 1e-9, key), 1.0)
            for key, signal in sorted(self.lane_map.signals.items())
            if math.hypot(signal.position[0] - x, signal.position[1] - y) < LIGHT_RANGE
        )

    def goal(self) -> Goal:
        return self._goal

    def step(self, command: Command) -> None:
        x, y, yaw, speed, _ = self.car.rear_axle()
        forward, sideways = self.car.rear_accelerations()[:2]
        self.car.step(command)
        if self._player is not None:
            self._player.step(self.stamp_ns * 1e-9, TICK_S, x, y, yaw, speed)
        for mover in self.movers:
            mover.step(TICK_S, x, y, speed)
        self.trace.append((self.stamp_ns * 1e-9, x, y, yaw, speed, forward, sideways))
        self._watch(self.stamp_ns)
        self.stamp_ns += TICK_NS

    # ------------------------------------------------------------------ what went wrong

    def light_at(self, t: float, signal_id: int) -> LightState:
        if signal_id in self._programs:
            return LightState[self._programs[signal_id].at(t).upper()]
        colour = "green"
        for since, name in sorted(self.scenario.light):
            if t >= since:
                colour = name
        return LightState[colour.upper()]

    def _watch(self, now: int) -> None:
        """Contact, clearance and lines crossed at red."""
        x, y, yaw, _, _ = self.car.rear_axle()
        offset = self.vehicle.center_offset
        own = np.array(
            [x + offset * math.cos(yaw), y + offset * math.sin(yaw), yaw, self.vehicle.length, self.vehicle.width]
        )
        for mover in self.movers:
            if mover.gone or math.hypot(mover.x - x, mover.y - y) > 20.0:
                continue
            _, length, width, _ = mover.shape
            gap = distance(own, np.array([mover.x, mover.y, mover.yaw, length, width]))
            self.clearance = min(self.clearance, gap)
            if gap <= 0.0:
                self.hit = f"touched {mover.actor.kind} {mover.key} at {now * 1e-9:.1f} s"
        front = (x + self.vehicle.front * math.cos(yaw), y + self.vehicle.front * math.sin(yaw))
        before, self._front_before = self._front_before, front
        if before is None or not self._sometimes_red:
            return
        for line in self.lane_map.stop_lines.values():
            if line.kind != "signal" or not _crosses(before, front, line.points):
                continue
            if any(self.light_at(now * 1e-9, key) == LightState.RED for key in line.signal_ids or (_NO_SIGNAL,)):
                self.over_red.append(now * 1e-9)


def _crosses(a: tuple[float, float], b: tuple[float, float], line: np.ndarray) -> bool:
    p, q = line[0, :2], line[1, :2]

    def side(u: Any, v: Any, w: Any) -> float:
        return float((v[0] - u[0]) * (w[1] - u[1]) - (v[1] - u[1]) * (w[0] - u[0]))

    return side(p, q, a) * side(p, q, b) < 0.0 and side(a, b, p) * side(a, b, q) < 0.0
