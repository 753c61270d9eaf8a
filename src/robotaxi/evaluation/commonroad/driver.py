"""Our motion planner behind the interface that fiss-planner's closed loop drives."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from robotaxi.evaluation.commonroad import scene
from robotaxi.evaluation.commonroad.goals import Way, best_way, middle, point_of
from robotaxi.evaluation.commonroad.others import Crowd
from robotaxi.planning.motion.ground import Ground
from robotaxi.planning.motion.proposals import Limits, Motion, PathState, Target, continued, propose
from robotaxi.planning.path_math import project
from robotaxi.prediction import LaneGraph

MAX_HORIZON = 6.0  # s
NO_GOAL_TIME = 6.0  # s, where the goal has no end
FAR_AWAY = 60.0  # s; a goal that ends later has no end
LATERAL = 7.0  # m/s^2, of the tyres; comfort is a cost
UNKNOWN_WAY = 150.0  # m of path that are looked at where the goal has no place
MAX_STEPS = 600  # of the closed loop
CHECK_STEP = 0.1  # s between two looks at the others, or the scenario's own step where it is longer


class Driver:
    """Drives one planning problem. ``prediction``: ground_truth, lane_following or constant_velocity."""

    def __init__(self, scenario: Any, problem: Any, vehicle: Any, prediction: str) -> None:
        self._dt = float(scenario.dt)
        self._stride = max(round(CHECK_STEP / self._dt), 1)
        state = problem.initial_state
        first = round(middle(getattr(state, "time_step", 0)))
        lane_map = scene.lane_map_of(scenario.lanelet_network, middle(state.velocity))
        self._limits = Limits(
            float(vehicle.length), float(vehicle.width), float(vehicle.max_accel), float(vehicle.max_decel),
            math.tan(float(vehicle.max_steer)) / float(vehicle.wheelbase), LATERAL,
        )  # fmt: skip
        way = best_way(lane_map, problem, first, self._dt)
        self._ground = scene.ground_of(scenario, lane_map, way.path)
        self._way = _eased(way, self._ground, vehicle, point_of(state.position))
        end = min(self._way.steps[1], first + MAX_STEPS)
        last = int(end) + math.ceil(MAX_HORIZON / self._dt) + 2
        self._crowd = Crowd(scenario.obstacles, last, self._dt, LaneGraph(lane_map), prediction)
        self._state: PathState | None = None
        self._kept: np.ndarray | None = None  # what is left of the motion that is driven
        self.times_ms: list[float] = []
        self.config = SimpleNamespace(planner=SimpleNamespace(sampling=SimpleNamespace(max_t=MAX_HORIZON)))

    def set_map(self, road: Any, route: Any) -> None:
        """The loop's own map; ours came with the scenario."""

    def set_stop_line_active(self, line: int, active: bool) -> None:
        """Stop lines are no part of what is scored."""

    def step(self, t: float, ego: Any, obstacles: Any, desired: float) -> Any:
        """One planning cycle of the loop."""
        begin = time.thread_time()
        now = round(t / self._dt)
        state = self._state or self._locate(ego)
        target = self._target(now, state)
        step = self._stride * self._dt
        horizon = max(min(target.t_out, MAX_HORIZON), 2.0 * step)
        others = self._crowd.ahead(now, round(horizon / step) + 1, self._stride, (ego.x, ego.y, max(ego.v, 0.0)))
        motion = propose(
            self._way.path, state, target, self._limits, others, self._ground, step, horizon, self._dt, self._kept
        )
        columns = (motion.s, motion.along, motion.along_acceleration, motion.d, motion.slope, motion.bend)
        self._state = PathState(*(float(column[1]) for column in columns))
        self._kept = continued(motion.row, self._state, state.s, self._dt)
        self.times_ms.append((time.thread_time() - begin) * 1e3)
        return _output(motion, self.times_ms[-1])

    def _locate(self, ego: Any) -> PathState:
        path = self._way.path
        k, along, d = project(path.x, path.y, path.yaw, 0, path.x.size, ego.x, ego.y)
        theta = float(path.yaw[k]) + along * float(path.curvature[k])
        stretch = max(1.0 - float(path.curvature[k]) * d, 0.2)
        slope = math.tan(float(np.clip(math.remainder(ego.yaw - theta, math.tau), -1.2, 1.2))) * stretch
        scale = math.hypot(stretch, slope)
        speed = max(ego.v, 0.0) / scale
        return PathState(k * path.spacing + along, speed, ego.a / scale, float(d), slope, 0.0)

    def _target(self, now: int, state: PathState) -> Target:
        way = self._way
        t_in = max(way.steps[0] - now, 0.0) * self._dt
        t_out = max(way.steps[1] - now, 0.0) * self._dt
        if t_out > FAR_AWAY:
            t_in, t_out = NO_GOAL_TIME, max(NO_GOAL_TIME, 2.0 * MAX_HORIZON)
        wishes = (t_in, t_out, *_inside(way.speed, 0.2), *_inside(way.yaw, 0.02))
        if way.extent is None:
            return Target(math.nan, math.nan, math.nan, math.nan, *wishes, state.speed)
        s_in, s_out, d_lo, d_hi = way.extent
        return Target(*_inside((s_in, s_out), 0.3), *_inside((d_lo, d_hi), 0.15), *wishes, math.nan)


def _eased(way: Way, ground: Ground, vehicle: Any, start: tuple[float, float]) -> Way:
    """The same way, its path as it can be driven."""
    k, along, _ = project(way.path.x, way.path.y, way.path.yaw, 0, way.path.x.size, *start)
    first = k * way.path.spacing + along
    last = way.extent[1] if way.extent is not None else first + UNKNOWN_WAY
    path = scene.eased_path(way.path, ground, scene.body_of(vehicle), first, last)
    if way.region is None or way.extent is None:
        return replace(way, path=path)
    extent = scene.goal_extent(path, way.region)
    return replace(way, path=path, extent=extent) if extent is not None else way


def _inside(ends: tuple[float, float], by: float) -> tuple[float, float]:
    """The interval without its margins; NaN stays NaN."""
    inset = min(by, 0.25 * (ends[1] - ends[0]))
    return ends[0] + inset, ends[1] - inset


class _Path:
    """What the loop asks of a trajectory."""

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self.x, self.y = motion.x.tolist(), motion.y.tolist()

    def __len__(self) -> int:
        return len(self.x)

    def sample(self, dt: float) -> Any:
        m = self._motion
        import fiss_planner

        return fiss_planner.EgoState(*(float(v[1]) for v in (m.x, m.y, m.yaw, m.speed, m.acceleration, m.curvature)))


def _output(motion: Motion, ms: float) -> Any:
    lead = SimpleNamespace(id=-1, gap=math.inf, time_headway=math.inf, ttc=math.inf)
    stats = SimpleNamespace(
        time_ms=ms, num_generated=motion.proposals, num_validated=motion.checked,
        num_collision_checks=motion.checked, lead=lead, blocking_id=-1,
    )  # fmt: skip
    return SimpleNamespace(
        success=False, trajectory=_Path(motion), stats=stats, fallback=0, emergency=0, degraded=0, smoothed=0,
        candidates=[], start=SimpleNamespace(s=0.0, d_d=0.0),
    )  # fmt: skip
