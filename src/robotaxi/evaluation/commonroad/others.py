"""Everybody else in a CommonRoad scenario: boxes over time as recorded, and as predicted from what was seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.evaluation.commonroad.goals import middle, point_of
from robotaxi.planning.motion.proposals import Others
from robotaxi.prediction import LaneGraph, PredictionConfig, predict
from robotaxi.types import OBJECT_DTYPE, ObjectClass

FloatArray = NDArray[np.floating[Any]]

MARGIN = 0.15  # m around others whose future is known
MARGIN_GROWTH, MARGIN_MAX = 0.12, 0.5  # m/s and m, where it is predicted
LIKELY = 0.25  # probability from which a predicted path counts
ACCELERATION_TIME = 1.2  # s after which today's acceleration of somebody else has decayed
MAX_ACCELERATION = 4.0  # m/s^2 believed
SURE, SURE_BRAKING = 3.0, 6.0  # s and m/s^2: predictions count for 3 s, and for 1 s more than stopping takes
BASE = 30.0  # m beyond what both can drive, out of which nobody is predicted


class Track:
    """One obstacle: its box over the scenario's time steps, NaN where it is not there."""

    def __init__(self, obstacle: Any, last_step: int) -> None:
        self.rows = np.full((last_step + 1, 4), np.nan)  # x, y, yaw, speed
        kind = str(getattr(obstacle, "obstacle_type", "")).lower()
        self.vehicle = "pedestrian" not in kind
        self.length, self.width, dx, dy, dyaw = footprint(obstacle.obstacle_shape)
        prediction = getattr(obstacle, "prediction", None)
        self.static = not hasattr(obstacle, "prediction")
        if self.static:
            self.rows[:] = _row(obstacle.initial_state, dx, dy, dyaw)
            return
        states = [obstacle.initial_state]
        trajectory = getattr(prediction, "trajectory", None)
        if trajectory is not None:
            states += list(trajectory.state_list)
        elif prediction is not None:
            self._areas(prediction, dyaw)
        for state in states:
            step = round(middle(state.time_step))
            if 0 <= step <= last_step and getattr(state, "position", None) is not None:
                self.rows[step] = _row(state, dx, dy, dyaw)

    def _areas(self, prediction: Any, dyaw: float) -> None:
        """Reachable areas instead of states: the box around each."""
        for item in prediction.occupancy_set:
            step = round(middle(item.time_step))
            if not 0 <= step < len(self.rows):
                continue
            length, width, x, y, yaw = footprint(item.shape)
            self.rows[step] = x, y, yaw, 0.0
            self.length, self.width = max(self.length, length), max(self.width, width)

    def acceleration(self, now: int, dt: float) -> float:
        """From the speeds of this step and the one before, 0 where it was not there."""
        if not 0 < now < len(self.rows):
            return 0.0
        change = float(self.rows[now, 3] - self.rows[now - 1, 3]) / dt
        return float(np.clip(change, -MAX_ACCELERATION, MAX_ACCELERATION)) if math.isfinite(change) else 0.0


def _row(state: Any, dx: float, dy: float, dyaw: float) -> tuple[float, float, float, float]:
    yaw = middle(getattr(state, "orientation", 0.0))
    x, y = point_of(state.position)
    c, s = math.cos(yaw), math.sin(yaw)
    return x + c * dx - s * dy, y + s * dx + c * dy, yaw + dyaw, middle(getattr(state, "velocity", 0.0))


def footprint(shape: Any) -> tuple[float, float, float, float, float]:
    """Length, width, place and yaw of the box that covers a shape, in the shape's frame."""
    if hasattr(shape, "radius"):
        return 2.0 * shape.radius, 2.0 * shape.radius, float(shape.center[0]), float(shape.center[1]), 0.0
    if hasattr(shape, "length") and hasattr(shape, "width"):
        cx, cy = (float(v) for v in shape.center)
        return float(shape.length), float(shape.width), cx, cy, float(shape.orientation)
    from shapely.ops import unary_union

    parts = [item.shapely_object for item in shape.shapes] if hasattr(shape, "shapes") else [shape.shapely_object]
    corners = np.asarray(unary_union(parts).minimum_rotated_rectangle.exterior.coords)[:4]
    one, other = corners[1] - corners[0], corners[2] - corners[1]
    long, short = (one, other) if np.hypot(*one) >= np.hypot(*other) else (other, one)
    centre = corners.mean(axis=0)
    yaw = math.atan2(long[1], long[0])
    return float(np.hypot(*long)), float(np.hypot(*short)), float(centre[0]), float(centre[1]), yaw


class Crowd:
    """All obstacles; ``prediction``: ground_truth, lane_following or constant_velocity."""

    def __init__(self, obstacles: Any, last_step: int, dt: float, graph: LaneGraph, prediction: str) -> None:
        # roles that the official collision check leaves out (environment, phantom) have no shape or no state
        kinds = [item for item in obstacles if hasattr(item, "obstacle_shape") and hasattr(item, "initial_state")]
        self._tracks = [Track(item, last_step) for item in kinds if item.initial_state is not None]
        self._dt, self._graph, self._prediction = dt, graph, prediction
        self._rows = np.array([item.rows for item in self._tracks]).reshape(-1, last_step + 1, 4)
        self._length = np.array([item.length for item in self._tracks])
        self._width = np.array([item.width for item in self._tracks])

    def ahead(self, now: int, steps: int, stride: int, ego: tuple[float, float, float]) -> Others:
        """Boxes at ``now``, ``now + stride`` ... (``steps`` of them); ``ego``: its position and speed."""
        if self._prediction == "ground_truth":
            at = np.minimum(now + np.arange(steps) * stride, self._rows.shape[1] - 1)
            part = self._rows[:, at]
            there = np.flatnonzero(np.isfinite(part[:, :, 0]).any(axis=1))
            x, y, yaw = (np.ascontiguousarray(part[there, :, i]) for i in range(3))
            return Others(x, y, yaw, self._length[there], self._width[there], np.full(steps, MARGIN))
        return self._predicted(now, steps, stride, ego)

    def _predicted(self, now: int, steps: int, stride: int, ego: tuple[float, float, float]) -> Others:
        step = self._dt * stride
        horizon = (steps - 1) * step
        margin = np.minimum(MARGIN + MARGIN_GROWTH * np.arange(steps) * step, MARGIN_MAX)
        rows = self._rows[:, min(now, self._rows.shape[1] - 1)]
        reach = (np.abs(rows[:, 3]) + ego[2] + 2.0 * horizon) * horizon + BASE
        near = np.hypot(rows[:, 0] - ego[0], rows[:, 1] - ego[1]) < reach  # NaN: False
        who = np.flatnonzero(near)
        if who.size == 0:
            none = np.zeros((0, steps))
            return Others(none, none, none, np.zeros(0), np.zeros(0), margin)
        objects = np.zeros(who.size, OBJECT_DTYPE)
        x, y, yaw, v = rows[who].T
        objects["x"], objects["y"], objects["yaw"] = x, y, yaw
        objects["vx"], objects["vy"] = v * np.cos(yaw), v * np.sin(yaw)
        objects["length"], objects["width"], objects["existence"] = self._length[who], self._width[who], 1.0
        lanes = self._prediction == "lane_following"
        objects["label"] = [
            int(ObjectClass.CAR if lanes and self._tracks[i].vehicle else ObjectClass.PEDESTRIAN) for i in who
        ]
        objects["static"] = [self._tracks[i].static for i in who]
        far = float(np.clip(horizon + 0.01, 1.0, 12.0))
        config = PredictionConfig(horizon=far, step=float(np.clip(step, 0.1, 1.0)))
        found = predict(objects, self._graph, config)
        keep = np.flatnonzero(found.probability >= LIKELY)
        owner = found.owner[keep]
        accelerations = np.array([self._tracks[i].acceleration(now, self._dt) for i in who])
        times = _paced(np.arange(steps) * step, np.abs(v)[owner], accelerations[owner]) / config.step
        last = found.times.size - 1
        low = np.clip(times.astype(np.int64), 0, last - 1)
        w = np.clip(times - low, 0.0, 1.0)
        at = np.arange(keep.size)[:, None]

        def fit(values: FloatArray) -> FloatArray:
            values = values[keep]
            return np.ascontiguousarray(values[at, low] * (1.0 - w) + values[at, low + 1] * w)

        px = fit(found.x)
        px[:, np.arange(steps) * step > max(SURE, 1.0 + ego[2] / SURE_BRAKING)] = np.nan
        return Others(
            px, fit(found.y), fit(np.unwrap(found.yaw, axis=1)), self._length[who][owner],
            self._width[who][owner], margin,
        )  # fmt: skip


def _paced(t: FloatArray, speed: FloatArray, acceleration: FloatArray) -> FloatArray:
    """At which time somebody at constant speed is where one is at ``t`` whose acceleration decays: (N, K)."""
    tau = ACCELERATION_TIME
    gained = acceleration[:, None] * tau * (t - tau * (1.0 - np.exp(-t / tau)))[None, :]
    paced = t[None, :] + gained / np.maximum(speed, 0.5)[:, None]
    return np.asarray(np.maximum.accumulate(np.maximum(paced, 0.0), axis=1))
