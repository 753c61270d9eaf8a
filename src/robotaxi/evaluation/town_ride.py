"""Whole rides through the simulated world with perfect perception and localization: prediction, planning and
control alone, many times faster than real time. The referee of the world counts what went wrong."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.control import ControlConfig, Controller
from robotaxi.evaluation.closed_loop import TICK_S, ClosedLoop
from robotaxi.evaluation.errand import Errand
from robotaxi.evaluation.metrics import summarise, verdict
from robotaxi.evaluation.perfect import Blur, Perceiver
from robotaxi.evaluation.ride_log import EgoSeries, ExplanationEntry, InfractionEntry, RideLog, TripEntry
from robotaxi.hdmap.lane_map import LaneMap, RouteError
from robotaxi.planning import Planner, PlannerConfig
from robotaxi.sim.ride_plan import RidePlan, plan_ride
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.parking import place_parked
from robotaxi.sim.view import WorldView
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, EgoState, Explanation, Goal, RecordArray, Trajectory, VehicleParams, VehicleReport

STUCK = 120.0  # s without motion that count as a deadlock
SLOWEST = 2.0  # m/s on average; a ride that takes longer has failed
BOARDING_AND_LIGHTS = 120.0  # s on top of that


class Town:
    """The simulated world around the car, as `closed_loop.Surroundings`."""

    def __init__(self, world: World, errand: Errand, perceiver: Perceiver, lane_map: LaneMap) -> None:
        self.world, self.errand, self._perceiver, self._map = world, errand, perceiver, lane_map
        self._view = world.view()
        self.truth: list[tuple[float, ...]] = []

    @property
    def stamp_ns(self) -> int:
        return self.world.stamp_ns

    @property
    def view(self) -> WorldView:
        return self._view

    def state(self) -> EgoState:
        e = self._view.ego
        return EgoState(e.stamp_ns, e.x, e.y, e.yaw, e.speed, e.acceleration, e.yaw_rate, e.steering, e.z)

    def report(self) -> VehicleReport:
        return self.world.report()

    def objects(self) -> RecordArray:
        return self._perceiver.objects(self._view)

    def lights(self) -> RecordArray:
        return self._perceiver.lights(self._view, self._map)

    def goal(self) -> Goal:
        return self.errand.goal(self.stamp_ns)

    def step(self, command: Command) -> None:
        e = self._view.ego
        accelerations = e.acceleration, e.lateral_acceleration
        self.truth.append((e.stamp_ns * 1e-9, e.x, e.y, e.yaw, e.speed, *accelerations, e.yaw_rate, e.steering))
        self.world.step(command)
        self._view = self.world.view()


@dataclass
class TownRide:
    """One ride. ``truth`` (N, 9): t, x, y, yaw, speed, accelerations, yaw rate, steering every 20 ms;
    ``reason``: why it was given up, '' where it was not."""

    plan: RidePlan
    completed: bool
    reason: str
    truth: np.ndarray
    world: World
    plan_ms: np.ndarray
    said: list[tuple[float, Explanation]]
    trajectories: list[Trajectory]
    cpu_s: float

    @property
    def duration(self) -> float:
        return float(self.truth[-1, 0]) if len(self.truth) else 0.0


def drive(
    lane_map: LaneMap,
    vehicle: VehicleParams,
    seed: int,
    blur: Blur | None = None,
    planner_config: PlannerConfig | None = None,
    parked: RecordArray | None = None,
    longest_s: float | None = None,
    plan: RidePlan | None = None,
    world: World | None = None,
) -> TownRide:
    """Start, pick-up, boarding, drop-off; ended after ``longest_s`` if given. Same arguments, same ride.

    ``world``: what to drive in, or anything that steps as it does; without it one is made of the seed.
    Raises RouteError where the map offers no ride.
    """
    plan = plan or plan_ride(lane_map, seed)
    if parked is None:
        parked, _ = place_parked(lane_map, SceneryConfig())
    world = world or World(lane_map, vehicle, WorldConfig(), seed, plan.start, parked=parked)
    controller = Controller(ControlConfig(), vehicle)
    controller.warm_up()
    errand = Errand(plan)
    town = Town(world, errand, Perceiver(parked, seed, blur or Blur()), lane_map)
    loop = ClosedLoop(Planner(planner_config or PlannerConfig(), lane_map, vehicle), controller, town)
    limit = BOARDING_AND_LIGHTS + plan.length / SLOWEST if longest_s is None else longest_s
    reason, still, trajectories = "", 0.0, []
    begin = time.process_time()
    while not errand.done and not reason:
        planned = loop.tick()
        if planned is not None:
            errand.update(planned.mission.state, planned.mission.goal_id, town.stamp_ns, planned.mission.reason)
            if planned.trajectory is not None:
                trajectories.append(planned.trajectory)
        e = town.view.ego
        still = 0.0 if e.speed > 0.1 or errand.boarding else still + TICK_S
        if still > STUCK:
            reason = f"stuck at ({e.x:.0f}, {e.y:.0f}): {loop.said[-1][1].sentence}"
        elif town.stamp_ns * 1e-9 > limit:
            reason = f"not there after {limit:.0f} s: {loop.said[-1][1].sentence}"
        elif errand.failed:
            reason = errand.failed
    return TownRide(
        plan, errand.done, reason, np.array(town.truth), world, np.array(loop.plan_ms), loop.said, trajectories,
        time.process_time() - begin,
    )  # fmt: skip


def log_of(ride: TownRide, lane_map: LaneMap, seed: int) -> RideLog:
    """The ride as the log that metrics and reports work on."""
    way = [
        lane_map.route_path(lane_map.route(a, b)).points
        for a, b in ((ride.plan.start, ride.plan.pickup), (ride.plan.pickup, ride.plan.dropoff))
    ]
    truth = EgoSeries.make(*ride.truth.T)
    infractions = tuple(
        InfractionEntry(i.stamp_ns, i.kind, i.at_fault, i.detail, i.value, i.x, i.y) for i in ride.world.infractions
    )
    said = tuple(
        ExplanationEntry(t, e.cause.name, e.sentence, e.slowing, e.subject_id, e.distance) for t, e in ride.said
    )
    state = "COMPLETED" if ride.completed else "ABORTED"
    return RideLog(
        0, truth, truth, trajectories=tuple(ride.trajectories), explanations=said,
        trip=(TripEntry(ride.duration, state, ride.reason),), infractions=infractions, route=np.concatenate(way),
        pickup=(ride.plan.pickup.x, ride.plan.pickup.y), dropoff=(ride.plan.dropoff.x, ride.plan.dropoff.y),
        map_name=lane_map.name, seed=seed, wall_duration=ride.cpu_s,
    )  # fmt: skip


def row_of(ride: TownRide, lane_map: LaneMap, seed: int) -> dict[str, Any]:
    """The figures of `robotaxi ride --json` that a ride without sensors has, and the planner's times."""
    summary = summarise(log_of(ride, lane_map, seed))
    problems = verdict(summary)[1]
    ms = ride.plan_ms[5:] if ride.plan_ms.size > 5 else ride.plan_ms
    return {
        "seed": seed, "map": lane_map.name, **summary,
        "problems": [*problems, *([ride.reason] if ride.reason else [])],
        "exit_status": 1 if problems else 0,
        "infractions": [
            {"t": round(i.stamp_ns * 1e-9, 2), "kind": i.kind, "at_fault": i.at_fault, "detail": i.detail,
             "x": round(i.x, 1), "y": round(i.y, 1)} for i in ride.world.infractions
        ],
        "plan_ms": {"p50": _percentile(ms, 50), "p99": _percentile(ms, 99)},
        "cpu_s": round(ride.cpu_s, 2),
        "trace_sha256": hashlib.sha256(np.ascontiguousarray(ride.truth).tobytes()).hexdigest(),
    }  # fmt: skip


def _percentile(values: np.ndarray, q: float) -> float:
    return round(float(np.percentile(values, q)), 2) if values.size else 0.0


def run(lane_map: LaneMap, vehicle: VehicleParams, seed: int, parked: RecordArray | None = None) -> dict[str, Any]:
    """One ride as a row; a map that offers none is a row with its reason."""
    try:
        return row_of(drive(lane_map, vehicle, seed, parked=parked), lane_map, seed)
    except RouteError as error:
        return {"seed": seed, "map": lane_map.name, "exit_status": 1, "problems": [str(error)], "error": str(error)}
