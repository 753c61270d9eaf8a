"""How long a planning cycle and a control step take among many road users: a town ride made crowded."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from robotaxi.control import ControlConfig, Controller, ControlOutput
from robotaxi.evaluation.closed_loop import ClosedLoop
from robotaxi.evaluation.errand import Errand
from robotaxi.evaluation.perfect import Blur, Perceiver
from robotaxi.evaluation.town_ride import Town
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning import Planner, PlannerConfig
from robotaxi.planning.warm_up import warm_up
from robotaxi.sim.ride_plan import plan_ride
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.parking import place_parked
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import OBJECT_DTYPE, EgoState, ObjectClass, RecordArray, Trajectory, VehicleParams, VehicleReport

FIRST_ID = 1 << 28
SPACING = 7.0  # m between two of the added cars on a lane
PACE = 0.5  # of the limit at which they drive
REACH = 150.0  # m around the car within which they are
KEPT_FREE = 6.0  # m around the lanes of the route
SKIPPED = 5  # cycles at the start


class Crowd:
    """Cars on the lanes that the ride does not use, moving along them, for ever."""

    def __init__(self, lane_map: LaneMap, seed: int) -> None:
        self._map, rng = lane_map, np.random.default_rng([seed, zlib.crc32(b"planning_cycle")])
        self._cars = [
            (lane.id, float(at + rng.uniform(0.0, 0.5 * SPACING)), PACE * lane.speed_limit)
            for _, lane in sorted(lane_map.lanes.items())
            for at in np.arange(0.0, max(lane.length - SPACING, 0.1), SPACING)
        ]

    def around(self, x: float, y: float, seconds: float, avoid: np.ndarray, count: int) -> RecordArray:
        """The ``count`` nearest (OBJECT_DTYPE), none near the points ``avoid`` (M, 2)."""
        cars: list[tuple[float, int, float, float, float, float]] = []  # metres away, number, x, y, yaw, speed
        for key, (lane_id, start, speed) in enumerate(self._cars):
            lane = self._map.lanes[lane_id]
            s = (start + speed * seconds) % lane.length
            px, py = (float(v) for v in self._map.lane_point(lane_id, s)[:2])
            away = math.hypot(px - x, py - y)
            if away > REACH or (avoid.size and np.hypot(avoid[:, 0] - px, avoid[:, 1] - py).min() < KEPT_FREE):
                continue
            yaw = self._map.lane_yaw(lane_id, s)
            cars.append((away, key, px, py, yaw, speed))
        out: RecordArray = np.zeros(min(max(count, 0), len(cars)), OBJECT_DTYPE)
        for row, (_, key, px, py, yaw, speed) in zip(out, sorted(cars), strict=False):
            row["x"], row["y"], row["yaw"] = px, py, yaw
            row["vx"], row["vy"] = speed * math.cos(yaw), speed * math.sin(yaw)
            row["id"] = FIRST_ID + key
        out["length"], out["width"], out["height"] = 4.5, 1.8, 1.5
        out["existence"], out["p_car"], out["label"] = 1.0, 1.0, int(ObjectClass.CAR)
        return out


class CrowdedTown(Town):
    """A town in which perception always has ``count`` objects or more."""

    def __init__(self, world: World, errand: Errand, perceiver: Perceiver, lane_map: LaneMap, crowd: Crowd) -> None:
        super().__init__(world, errand, perceiver, lane_map)
        self._crowd, self.count = crowd, 0
        self.way: np.ndarray = np.zeros((0, 2))
        self.seen: list[int] = []

    def objects(self) -> RecordArray:
        real = super().objects()
        ego = self.view.ego
        more = self._crowd.around(ego.x, ego.y, self.stamp_ns * 1e-9, self.way, self.count - real.size)
        self.seen.append(real.size + more.size)
        return np.concatenate([real, more])


class TimedController(Controller):
    """The controller, and the processor time (ms) of each of its steps."""

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        super().__init__(config, vehicle)
        self.times_ms: list[float] = []

    def step(self, state: EgoState, trajectory: Trajectory | None, report: VehicleReport | None) -> ControlOutput:
        begin = time.thread_time()
        out = super().step(state, trajectory, report)
        self.times_ms.append((time.thread_time() - begin) * 1e3)
        return out


def measure(
    lane_map: LaneMap,
    vehicle: VehicleParams,
    seed: int,
    count: int,
    seconds: float,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:
    """Figures of ``seconds`` of a ride among ``count`` objects. Raises RouteError where the map offers no ride."""
    plan = plan_ride(lane_map, seed)
    parked, _ = place_parked(lane_map, SceneryConfig())
    world = World(lane_map, vehicle, WorldConfig(), seed, plan.start, parked=parked)
    town = CrowdedTown(world, Errand(plan), Perceiver(parked, seed, Blur()), lane_map, Crowd(lane_map, seed))
    town.count = count
    warm_up(Planner(PlannerConfig(), lane_map, vehicle), lane_map)
    controller = TimedController(ControlConfig(), vehicle)
    controller.warm_up()
    controller.times_ms.clear()
    loop = ClosedLoop(Planner(PlannerConfig(), lane_map, vehicle), controller, town)
    begin = time.process_time()
    while town.stamp_ns < seconds * 1e9 and not town.errand.done and not town.errand.failed:
        planned = loop.tick()
        if planned is not None:
            mission = planned.mission
            town.errand.update(mission.state, mission.goal_id, town.stamp_ns, mission.reason)
            if planned.route is not None:
                town.way = np.concatenate([lane_map.lanes[i].centerline[::2, :2] for i in planned.route.lane_ids])
            progress(town.stamp_ns * 1e-9)
    cpu = time.process_time() - begin
    return {
        "seed": seed, "map": lane_map.name, "simulated_s": round(town.stamp_ns * 1e-9, 2), "cpu_s": round(cpu, 2),
        "objects": {"least": min(town.seen, default=0), "mean": round(float(np.mean(town.seen)), 1)},
        "planning_ms": _shares(loop.plan_ms[SKIPPED:]), "control_ms": _shares(controller.times_ms[SKIPPED:]),
    }  # fmt: skip


def _shares(values: list[float]) -> dict[str, float]:
    if not values:
        return {"cycles": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99 = (round(float(v), 3) for v in np.percentile(values, (50, 99)))
    return {"cycles": len(values), "p50": p50, "p99": p99, "max": round(max(values), 3)}
