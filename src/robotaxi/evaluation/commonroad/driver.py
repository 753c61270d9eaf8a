"""Our motion planner behind the interface that fiss-planner's closed loop drives."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.evaluation.commonroad import scene
from robotaxi.hdmap.lane_map import RouteError
from robotaxi.planning.motion.proposals import Limits, Motion, Others, PathArrays, PathState, Target, propose
from robotaxi.planning.path_math import project
from robotaxi.prediction import LaneGraph, PredictionConfig, predict
from robotaxi.types import OBJECT_DTYPE, ObjectClass, Pose2

FloatArray = NDArray[np.floating[Any]]

MAX_HORIZON = 6.0  # s
NO_GOAL_TIME = 6.0  # s, where the goal has no end
MARGIN = 0.15  # m around others whose future is known
MARGIN_GROWTH, MARGIN_MAX = 0.12, 0.5  # m/s and m, where it is predicted
LIKELY = 0.25  # probability from which a predicted path counts
LATERAL = 7.0  # m/s^2, of the tyres; comfort is a cost


class Track:
    """One obstacle: its box over the scenario's time steps."""

    def __init__(self, obstacle: Any, last_step: int) -> None:
        self.length, self.width, self.dx, self.dy, self.dyaw = footprint(obstacle.obstacle_shape)
        self.rows = np.full((last_step + 1, 4), np.nan)  # x, y, yaw, speed
        static = not hasattr(obstacle, "prediction") or obstacle.prediction is None
        self.vehicle = "pedestrian" not in str(obstacle.obstacle_type).lower()
        for k in range(last_step + 1):
            state = obstacle.initial_state if static else obstacle.state_at_time(k)
            if state is None:
                continue
            yaw = _middle(getattr(state, "orientation", 0.0))
            x, y = _middle_point(state.position)
            c, s = math.cos(yaw), math.sin(yaw)
            speed = 0.0 if static else _middle(getattr(state, "velocity", 0.0))
            self.rows[k] = x + c * self.dx - s * self.dy, y + s * self.dx + c * self.dy, yaw + self.dyaw, speed


def footprint(shape: Any) -> tuple[float, float, float, float, float]:
    """Length, width and place of the box that covers a shape, in the obstacle's frame."""
    if hasattr(shape, "radius"):
        return 2.0 * shape.radius, 2.0 * shape.radius, float(shape.center[0]), float(shape.center[1]), 0.0
    if hasattr(shape, "length") and hasattr(shape, "width"):
        cx, cy = (float(v) for v in shape.center)
        return float(shape.length), float(shape.width), cx, cy, float(shape.orientation)
    x0, y0, x1, y1 = shape.shapely_object.bounds
    return x1 - x0, y1 - y0, 0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.0


class Driver:
    """Drives one planning problem. ``prediction``: ground_truth, lane_following or constant_velocity."""

    def __init__(self, scenario: Any, problem: Any, vehicle: Any, prediction: str) -> None:
        self._dt = float(scenario.dt)
        self._prediction = prediction
        state = problem.initial_state
        speed = _middle(state.velocity)
        self._lane_map = scene.lane_map_of(scenario.lanelet_network, speed)
        self._graph = LaneGraph(self._lane_map)
        self._limits = Limits(
            float(vehicle.length), float(vehicle.width), float(vehicle.max_accel), float(vehicle.max_decel),
            math.tan(float(vehicle.max_steer)) / float(vehicle.wheelbase), LATERAL,
        )  # fmt: skip
        self._goal = problem.goal.state_list[0]
        self._steps = _interval(self._goal, "time_step", 0.0, math.inf)
        last = self._steps[1] if math.isfinite(self._steps[1]) and self._steps[1] < 1000 else 300
        self._tracks = [Track(item, int(last) + round(MAX_HORIZON / self._dt) + 2) for item in scenario.obstacles]
        self._region = _region(self._goal)
        self._lay(Pose2(*_middle_point(state.position), _middle(state.orientation)), speed)
        self._state: PathState | None = None
        self.config = SimpleNamespace(planner=SimpleNamespace(sampling=SimpleNamespace(max_t=MAX_HORIZON)))

    def set_map(self, road: Any, route: Any) -> None:
        """The loop's own map; ours came with the scenario."""

    def set_stop_line_active(self, line: int, active: bool) -> None:
        """Stop lines are no part of what is scored."""

    def _lay(self, start: Pose2, speed: float) -> None:
        centre = None
        if self._region is not None:
            point = self._region.representative_point()
            inside = self._region.centroid if self._region.contains(self._region.centroid) else point
            centre = (float(inside.x), float(inside.y))
        time_left = min(self._steps[1], 300) * self._dt
        try:
            reference = scene.find_path(self._lane_map, start, centre, max(30.0, 1.3 * speed * time_left))
            self._path = scene.arrays_of(reference)
        except (RouteError, ValueError, IndexError):
            self._path = _straight(start)
        self._extent = scene.goal_extent(self._path, self._region) if self._region is not None else None
        if self._region is not None and self._extent is None:
            straight = _straight(start)
            found = scene.goal_extent(straight, self._region)
            if found is not None:
                self._path, self._extent = straight, found
        self._ground = scene.ground_of(self._lane_map, self._path)

    def _locate(self, ego: Any) -> PathState:
        path = self._path
        k, along, d = project(path.x, path.y, path.yaw, 0, path.x.size, ego.x, ego.y)
        theta = float(path.yaw[k]) + along * float(path.curvature[k])
        stretch = max(1.0 - float(path.curvature[k]) * d, 0.2)
        slope = math.tan(float(np.clip(math.remainder(ego.yaw - theta, math.tau), -1.2, 1.2))) * stretch
        scale = math.hypot(stretch, slope)
        return PathState(k * path.spacing + along, ego.v / scale, ego.a / scale, float(d), slope, 0.0)

    def step(self, t: float, ego: Any, obstacles: Any, desired: float) -> Any:
        """One planning cycle of the loop."""
        begin = time.thread_time()
        now = round(t / self._dt)
        state = self._state or self._locate(ego)
        target = self._target(now, state)
        horizon = min(target.t_out, MAX_HORIZON) if math.isfinite(target.t_out) else MAX_HORIZON
        horizon = max(horizon, 2.0 * self._dt)
        others = self._others(now, round(horizon / self._dt) + 1, ego)
        motion = propose(self._path, state, target, self._limits, others, self._ground, self._dt, horizon)
        columns = (motion.s, motion.along, motion.along_acceleration, motion.d, motion.slope, motion.bend)
        self._state = PathState(*(float(column[1]) for column in columns))
        return _output(motion, (time.thread_time() - begin) * 1e3)

    def _target(self, now: int, state: PathState) -> Target:
        t_in = max(self._steps[0] - now, 0.0) * self._dt
        t_out = (self._steps[1] - now) * self._dt if math.isfinite(self._steps[1]) else math.inf
        if t_out > 60.0:
            t_in, t_out = NO_GOAL_TIME, max(NO_GOAL_TIME, 2.0 * MAX_HORIZON)
        v_lo, v_hi = _interval(self._goal, "velocity", math.nan, math.nan)
        yaw_lo, yaw_hi = _interval(self._goal, "orientation", math.nan, math.nan)
        if self._extent is None:
            return Target(math.nan, math.nan, math.nan, math.nan, t_in, t_out, v_lo, v_hi, yaw_lo, yaw_hi, state.speed)
        s_in, s_out, d_lo, d_hi = self._extent
        inset = min(0.3, 0.25 * (s_out - s_in))
        aside = min(0.15, 0.25 * (d_hi - d_lo))
        return Target(
            s_in + inset, s_out - inset, d_lo + aside, d_hi - aside, t_in, t_out, v_lo, v_hi, yaw_lo, yaw_hi, math.nan
        )

    def _others(self, now: int, steps: int, ego: Any) -> Others:
        present = [item for item in self._tracks if not math.isnan(item.rows[min(now, len(item.rows) - 1), 0])]
        known = self._prediction == "ground_truth"
        if known:
            cut = [_cut(item.rows, now, steps) for item in present]
            later = [item for item in self._tracks if item not in present]
            late = [(item, _cut(item.rows, now, steps)) for item in later]
            cut += [rows for _, rows in late if not np.isnan(rows[:, 0]).all()]
            present = present + [item for item, rows in late if not np.isnan(rows[:, 0]).all()]
            stacked = np.array(cut).reshape(len(cut), steps, 4)
            x, y, yaw = (np.ascontiguousarray(stacked[:, :, i]) for i in range(3))
            margin = np.full(steps, MARGIN)
            sizes = [(item.length, item.width) for item in present]
        else:
            x, y, yaw, sizes = self._predicted(present, now, steps)
            margin = np.minimum(MARGIN + MARGIN_GROWTH * np.arange(steps) * self._dt, MARGIN_MAX)
        length = np.array([item[0] for item in sizes], float)
        width = np.array([item[1] for item in sizes], float)
        return Others(x, y, yaw, length, width, margin)

    def _predicted(
        self, present: list[Track], now: int, steps: int
    ) -> tuple[FloatArray, FloatArray, FloatArray, list[tuple[float, float]]]:
        objects = np.zeros(len(present), OBJECT_DTYPE)
        for i, item in enumerate(present):
            x, y, yaw, v = item.rows[min(now, len(item.rows) - 1)]
            objects[i]["x"], objects[i]["y"], objects[i]["yaw"] = x, y, yaw
            objects[i]["vx"], objects[i]["vy"] = v * math.cos(yaw), v * math.sin(yaw)
            objects[i]["length"], objects[i]["width"], objects[i]["existence"] = item.length, item.width, 1.0
            objects[i]["label"] = int(ObjectClass.CAR if item.vehicle else ObjectClass.PEDESTRIAN)
        if self._prediction == "constant_velocity":
            objects["label"] = int(ObjectClass.PEDESTRIAN)  # no lanes: straight on
        config = PredictionConfig(horizon=float(np.clip((steps - 1) * self._dt + 0.01, 1.0, 10.0)), step=self._dt)
        found = predict(objects, self._graph, config)
        keep = np.flatnonzero(found.probability >= LIKELY)
        who = found.owner[keep]

        def fit(values: FloatArray) -> FloatArray:
            values = values[keep][:, :steps]
            missing = steps - values.shape[1]
            return np.ascontiguousarray(np.pad(values, ((0, 0), (0, max(missing, 0))), mode="edge"))

        sizes = [(present[int(i)].length, present[int(i)].width) for i in who]
        return fit(found.x), fit(found.y), fit(found.yaw), sizes


def _cut(rows: FloatArray, now: int, steps: int) -> FloatArray:
    part = rows[now : now + steps]
    return np.concatenate([part, np.full((steps - len(part), 4), np.nan)]) if len(part) < steps else part


def _middle(value: Any) -> float:
    """A number, or the middle of an interval (uncertain states)."""
    if value is None:
        return 0.0
    if hasattr(value, "start"):
        return 0.5 * (float(value.start) + float(value.end))
    return float(value)


def _middle_point(value: Any) -> tuple[float, float]:
    """A point, or the centre of a shape."""
    x, y = value.center if hasattr(value, "center") else value
    return float(x), float(y)


def _interval(state: Any, name: str, low: float, high: float) -> tuple[float, float]:
    if not state.has_value(name):
        return low, high
    value = getattr(state, name)
    return float(getattr(value, "start", value)), float(getattr(value, "end", value))


def _region(state: Any) -> Any:
    if not state.has_value("position"):
        return None
    shape = state.position
    if hasattr(shape, "shapes"):
        from shapely.ops import unary_union

        return unary_union([item.shapely_object.buffer(0.01) for item in shape.shapes])
    return shape.shapely_object


def _straight(start: Pose2) -> PathArrays:
    s = np.arange(-20.0, 200.0, 0.5)
    return PathArrays(
        0.5, start.x + math.cos(start.yaw) * s, start.y + math.sin(start.yaw) * s, np.full(s.size, start.yaw), 0.0 * s
    )


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
