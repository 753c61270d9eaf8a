"""Planner and controller in closed loop with the simulated world, without sensors.

The planner sees the true objects and lights within range, delayed as the interfaces say and, if
wanted, blurred like real perception. Rides from place to place show quickly whether it drives
well; the referee of the world counts what went wrong.

    python -m robotaxi.evaluation.planner_loop --seeds 0-19
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robotaxi.control import ControlConfig, Controller
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import INTERFACES, TICK_NS
from robotaxi.planning import Planner, PlannerConfig, PlanningInput, PlanningOutput
from robotaxi.sim.ride_plan import RidePlan, plan_ride
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.parking import place_parked
from robotaxi.sim.view import WorldView
from robotaxi.sim.world import Infraction, World
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
)
from robotaxi.vehicle import load_vehicle

_TRAJECTORY, _LIGHTS = INTERFACES["planning/trajectory"], INTERFACES["perception/traffic_lights"]
PLAN_PERIOD_NS, PLAN_PHASE_NS, PLAN_LET_NS = _TRAJECTORY.period_ns, _TRAJECTORY.phase_ns, _TRAJECTORY.let_ns
OBJECTS_LET_NS = INTERFACES["perception/objects"].let_ns
LIGHTS_PERIOD_NS, LIGHTS_PHASE_NS = _LIGHTS.period_ns, _LIGHTS.phase_ns
BOARDING_NS = 4_000_000_000
RANGE = 60.0  # m
LIGHT_RANGE = 70.0  # m
LIGHT_ANGLE = 1.0  # rad off the car's heading
STUCK = 90.0  # s without motion that count as a deadlock


@dataclass(frozen=True)
class Blur:
    """How far the seen objects are from the true ones; zeros are perfect perception."""

    position: float = 0.0  # m, sigma
    yaw: float = 0.0  # rad
    speed: float = 0.0  # m/s
    shrink: float = 0.0  # largest share of the length that is not seen
    drop: float = 0.0  # probability that an object is missing from one message
    clutter: int = 0  # false objects beside the road in each message


ROUGH = Blur(position=0.15, yaw=0.06, speed=0.35, shrink=0.4, drop=0.05, clutter=3)


@dataclass
class LoopResult:
    """One ride.

    ``trace`` (N, 9): t, x, y, speed, acceleration, lateral acceleration, planned speed and
    acceleration, cause; every 100 ms. ``sentences``: (t, sentence), one for each change of cause.
    """

    seed: int
    completed: bool
    reason: str
    duration: float
    distance: float
    infractions: list[Infraction]
    plan_ms: np.ndarray
    trace: np.ndarray
    sentences: list[tuple[float, str]] = field(default_factory=list)


class Perceiver:
    """True world to messages, with memory for 'has not moved since first seen'."""

    def __init__(self, parked: RecordArray, seed: int, blur: Blur) -> None:
        self._parked, self._blur = parked, blur
        self._rng = np.random.default_rng([seed, 77])
        self._moved: set[int] = set()

    def objects(self, view: WorldView) -> RecordArray:
        agents = np.concatenate([view.agents, self._parked])
        near = agents[np.hypot(agents["x"] - view.ego.x, agents["y"] - view.ego.y) < RANGE]
        self._moved |= {int(k) for k in near["id"][np.hypot(near["vx"], near["vy"]) > 0.5]}
        blur, rng = self._blur, self._rng
        out: RecordArray = np.zeros(near.size, OBJECT_DTYPE)
        for name in ("x", "y", "z", "yaw", "length", "width", "height", "vx", "vy", "id", "label"):
            out[name] = near[name]
        out["existence"] = 1.0
        out["static"] = [int(k) not in self._moved for k in near["id"]]
        moving = np.hypot(out["vx"], out["vy"]) > 0.3
        n = out.size
        out["x"] += rng.normal(0.0, 1.0, n) * blur.position
        out["y"] += rng.normal(0.0, 1.0, n) * blur.position
        out["yaw"] += rng.normal(0.0, 1.0, n) * blur.yaw
        out["vx"] += rng.normal(0.0, 1.0, n) * blur.speed * moving
        out["vy"] += rng.normal(0.0, 1.0, n) * blur.speed * moving
        out["length"] *= 1.0 - rng.uniform(0.0, 1.0, n) * blur.shrink
        out = out[rng.uniform(0.0, 1.0, n) >= blur.drop]
        return np.concatenate([out, self._clutter(view)])

    def _clutter(self, view: WorldView) -> RecordArray:
        out = np.zeros(self._blur.clutter, OBJECT_DTYPE)
        along = self._rng.uniform(5.0, 40.0, out.size)
        aside = self._rng.choice([-1.0, 1.0], out.size) * self._rng.uniform(9.0, 14.0, out.size)
        c, s = math.cos(view.ego.yaw), math.sin(view.ego.yaw)
        out["x"], out["y"] = view.ego.x + c * along - s * aside, view.ego.y + s * along + c * aside
        out["length"], out["width"], out["height"], out["existence"] = 1.0, 0.8, 1.2, 0.6
        out["id"] = self._rng.integers(1 << 20, 1 << 24, out.size)
        out["static"] = 1
        return out

    def lights(self, view: WorldView, lane_map: LaneMap) -> RecordArray:
        rows = []
        for key, signal in sorted(lane_map.signals.items()):
            dx, dy = signal.position[0] - view.ego.x, signal.position[1] - view.ego.y
            off = (math.atan2(dy, dx) - view.ego.yaw + math.pi) % (2.0 * math.pi) - math.pi
            if math.hypot(dx, dy) < LIGHT_RANGE and abs(off) < LIGHT_ANGLE:
                state = int(view.lights.get(key, LightState.UNKNOWN))
                rows.append((*signal.position, key, state, 1.0))
        return np.array(rows, LIGHT_DTYPE)


def drive(
    lane_map: LaneMap,
    vehicle: VehicleParams,
    seed: int,
    blur: Blur | None = None,
    planner_config: PlannerConfig | None = None,
    plan: RidePlan | None = None,
    parked: RecordArray | None = None,
    verbose: bool = False,
    longest_s: float | None = None,
    world: World | None = None,
) -> LoopResult:
    """One ride: start, pick-up, boarding, drop-off; ended after ``longest_s`` if given.

    ``world``: what to drive in, or anything that steps as it does; without it one is made of the seed.
    """
    blur = blur or Blur()
    plan = plan or plan_ride(lane_map, seed)
    if parked is None:
        parked, _ = place_parked(lane_map, SceneryConfig())
    world = world or World(lane_map, vehicle, WorldConfig(), seed, plan.start, parked=parked)
    planner = Planner(planner_config or PlannerConfig(), lane_map, vehicle)
    controller = Controller(ControlConfig(), vehicle)
    controller.warm_up()
    perceiver = Perceiver(parked, seed, blur)
    ride = _Ride(plan)
    objects: list[tuple[int, RecordArray]] = []
    lights: tuple[int, RecordArray] | None = None
    next_lights: tuple[int, RecordArray] = (0, np.zeros(0, LIGHT_DTYPE))
    waiting: tuple[int, PlanningOutput] | None = None
    active: PlanningOutput | None = None
    command: Command | None = None
    plan_ms: list[float] = []
    trace: list[tuple[float, ...]] = []
    sentences: list[tuple[float, str]] = []
    before: object = None
    limit = 90.0 + plan.length / 2.0 if longest_s is None else longest_s
    reason, still_since, distance = "", 0, 0.0
    while not ride.done and not reason:
        view, now = world.view(), world.stamp_ns
        state = _state(view)
        if now % PLAN_PERIOD_NS == 0:
            objects = [*objects[-2:], (now, perceiver.objects(view))]
        if now % LIGHTS_PERIOD_NS == LIGHTS_PHASE_NS:
            fresh = (now, perceiver.lights(view, lane_map))
            lights = fresh if lights is None else lights
            next_lights = fresh
        if now % PLAN_PERIOD_NS == PLAN_PHASE_NS:
            seen = [item for item in objects if item[0] + OBJECTS_LET_NS <= now]
            if lights is not None and next_lights[0] + OBJECTS_LET_NS <= now:
                lights = next_lights
            stamp, records = seen[-1] if seen else (0, None)
            light_stamp, light_records = lights if lights is not None else (0, None)
            inputs = PlanningInput(now, state, records, stamp, light_records, light_stamp, ride.goal(now))
            begin = time.thread_time()
            output = planner.step(inputs)
            plan_ms.append((time.thread_time() - begin) * 1e3)
            waiting = (now + PLAN_LET_NS, output)
            ride.update(output, now)
            said = (output.explanation.cause, output.explanation.subject_id, output.explanation.sentence.split(" ")[0])
            if said != before:
                before = said
                sentences.append((now * 1e-9, output.explanation.sentence))
                if verbose:
                    print(f"{now * 1e-9:7.1f} s  {state.speed:5.1f} m/s  {output.explanation.sentence}", flush=True)
        if waiting is not None and waiting[0] <= now:
            active, waiting = waiting[1], None
        command = controller.step(state, active.trajectory if active else None, world.report()).command
        if active is not None and active.trajectory is not None and now % PLAN_PERIOD_NS == 0:
            head = active.trajectory.points[0]
            row = (state.x, state.y, state.speed, view.ego.acceleration, view.ego.lateral_acceleration)
            trace.append((now * 1e-9, *row, head["speed"], head["acceleration"], int(active.explanation.cause)))
        world.step(command)
        distance += abs(state.speed) * TICK_NS * 1e-9
        still_since = now if state.speed > 0.1 or ride.boarding else still_since
        if (now - still_since) * 1e-9 > STUCK:
            reason = f"stuck at ({state.x:.0f}, {state.y:.0f}): {sentences[-1][1]}"
        elif now * 1e-9 > limit:
            reason = f"slow: {limit:.0f} s passed, last: {sentences[-1][1]}"
        elif ride.failed:
            reason = ride.failed
    return LoopResult(
        seed, ride.done, reason, world.stamp_ns * 1e-9, distance, world.infractions,
        np.array(plan_ms), np.array(trace), sentences,
    )  # fmt: skip


@dataclass
class _Ride:
    """Goals in order: pick-up, boarding, drop-off."""

    plan: RidePlan
    leg: int = 0
    board_until: int = 0
    done: bool = False
    failed: str = ""

    @property
    def boarding(self) -> bool:
        return self.leg == 1

    def goal(self, now: int) -> Goal:
        if self.leg == 1 and now >= self.board_until:
            self.leg = 2
        if self.leg == 1:
            return Goal("", 0.0, 0.0, hold=True)
        place = self.plan.pickup if self.leg == 0 else self.plan.dropoff
        return _goal("pickup" if self.leg == 0 else "dropoff", place)

    def update(self, output: PlanningOutput, now: int) -> None:
        if output.mission.state == MissionState.UNREACHABLE:
            self.failed = f"unreachable: {output.mission.reason}"
        if output.mission.state == MissionState.ARRIVED and output.mission.goal_id == "pickup" and self.leg == 0:
            self.leg, self.board_until = 1, now + BOARDING_NS
        if output.mission.state == MissionState.ARRIVED and output.mission.goal_id == "dropoff":
            self.done = True


def _goal(name: str, place: Pose2) -> Goal:
    return Goal(name, place.x, place.y, place.yaw)


def _state(view: WorldView) -> EgoState:
    ego = view.ego
    return EgoState(ego.stamp_ns, ego.x, ego.y, ego.yaw, ego.speed, ego.acceleration, ego.yaw_rate, ego.steering, ego.z)


def plot(result: LoopResult, path: Path) -> None:
    """Speed and accelerations over time, coloured by cause."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(14, 8), sharex=True)
    t = result.trace[:, 0]
    top.plot(t, result.trace[:, 3], label="speed")
    top.plot(t, result.trace[:, 6], lw=0.7, label="plan")
    top.scatter(t, np.zeros(t.size), c=result.trace[:, 8], s=4, cmap="tab20")
    bottom.plot(t, result.trace[:, 4], label="longitudinal")
    bottom.plot(t, result.trace[:, 7], lw=0.7, label="plan")
    bottom.plot(t, result.trace[:, 5], lw=0.7, label="lateral")
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
        axis.legend()
    top.set_ylabel("m/s")
    bottom.set_ylabel("m/s²")
    bottom.set_xlabel("s")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", default="0-4", help="e.g. 3 or 0-19")
    parser.add_argument("--map", default="town")
    parser.add_argument("--rough", action="store_true", help="blur what the planner sees")
    parser.add_argument("--plots", type=Path, help="folder for one picture a ride")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    first, _, last = args.seeds.partition("-")
    lane_map, vehicle = load_map(args.map), load_vehicle("robotaxi")
    parked, _ = place_parked(lane_map, SceneryConfig())
    figures, good = [], 0
    for seed in range(int(first), int(last or first) + 1):
        result = drive(lane_map, vehicle, seed, ROUGH if args.rough else Blur(), parked=parked, verbose=args.verbose)
        kinds = Counter(item.kind for item in result.infractions)
        fine = result.completed and not kinds
        good += fine
        ms = result.plan_ms[5:]
        print(
            f"seed {seed}: {'ok' if fine else 'NOT OK'} {result.distance:.0f} m in {result.duration:.0f} s, "
            f"accel {result.trace[:, 4].min():.1f}..{result.trace[:, 4].max():.1f}, "
            f"lateral {abs(result.trace[:, 5]).max():.1f}, plan CPU p50 {np.median(ms):.1f} "
            f"p99 {np.percentile(ms, 99):.1f} ms {dict(kinds)} {result.reason}",
            flush=True,
        )
        for item in result.infractions:
            where = f"at ({item.x:.0f}, {item.y:.0f})"
            print(f"    {item.stamp_ns * 1e-9:.1f} s {item.kind} fault={item.at_fault} {where} {item.detail}")
        if args.plots:
            args.plots.mkdir(parents=True, exist_ok=True)
            plot(result, args.plots / f"seed_{seed}.png")
        figures.append(
            {"seed": seed, "completed": result.completed, "reason": result.reason, "infractions": dict(kinds)}
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    print(f"{good} of {len(figures)} rides without fault")
    return 0 if good == len(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
