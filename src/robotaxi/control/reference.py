"""The trajectory as a reference: projection on its path, interpolation along path and time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from robotaxi.geometry.interpolate import interpolate, interpolate_all
from robotaxi.geometry.se2 import wrap_angle
from robotaxi.types import FloatArray, Trajectory

_ARC_BEYOND = 2.0  # m; the car may be this far off an end before the arc there is no longer trusted
_COLUMNS = ("x", "y", "yaw", "t", "s", "speed", "acceleration", "curvature")
_MIN_SEGMENT = 1e-3  # m; shorter segments carry no direction (the car stands)


class TrajectoryError(ValueError):
    """A trajectory that cannot be followed; the message says why."""


class Projection(NamedTuple):
    """A pose seen from the path.

    ``s``: arc length of the nearest path point (beyond the last point it goes on along the tangent);
    ``lateral``: offset of the pose, left positive; ``heading``: pose yaw minus path yaw.
    """

    s: float
    lateral: float
    heading: float


class TimedPoint(NamedTuple):
    """Where the trajectory wants the car at one time. ``s`` in its own arc length."""

    s: float
    speed: float
    acceleration: float


class Reference:
    """One trajectory, checked once, as float64 columns (N,) in frame ``map``.

    Raises TrajectoryError when it is empty, not finite, or not ordered in time and arc length.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        points = trajectory.points
        if len(points) == 0:
            raise TrajectoryError("trajectory has no points")
        self.stamp_ns = trajectory.stamp_ns
        columns = np.empty((len(_COLUMNS), len(points)))
        for row, name in zip(columns, _COLUMNS, strict=True):
            row[:] = points[name]
        finite = np.isfinite(columns)
        if not finite.all():
            raise TrajectoryError(f"trajectory field '{_COLUMNS[int(np.argmin(finite.all(axis=1)))]}' is not finite")
        self.x, self.y, yaw, self.t, self.s, self.speed, self.acceleration, self.curvature = columns
        steps = columns[:, 1:] - columns[:, :-1]
        turning = bool((np.abs(steps[2]) >= math.pi).any())
        self.yaw = np.asarray(np.unwrap(yaw), np.float64) if turning else yaw
        if (steps[3] < 0.0).any():
            raise TrajectoryError("trajectory times do not increase")
        if (steps[4] < 0.0).any():
            raise TrajectoryError("trajectory arc length does not increase")

    @property
    def ends_at_rest(self) -> bool:
        """The last point stands still."""
        return bool(abs(self.speed[-1]) < 0.05)

    @property
    def end_s(self) -> float:
        return float(self.s[-1])

    def project(self, x: float, y: float, yaw: float, near_s: float, window: float) -> Projection:
        """Nearest point of the path with arc length within ``window`` of ``near_s``."""
        s, lateral, path_yaw = _project(self.x, self.y, self.yaw, self.s, self.curvature, x, y, near_s, window)
        return Projection(s, lateral, wrap_angle(yaw - path_yaw))

    def at_time(self, t: float) -> TimedPoint:
        """State wanted ``t`` seconds after the stamp; before and after, the ends go on at their speed."""
        return TimedPoint(*_at_time(t, self.t, self.s, self.speed, self.acceleration))

    def max_speed_between(self, t0: float, t1: float) -> float:
        """Highest wanted speed from ``t0`` to ``t1`` seconds after the stamp."""
        return _max_speed(t0, t1, self.t, self.speed)

    def point_at(self, s: float) -> tuple[float, float, float]:
        """Position and yaw at arc length ``s``; straight on beyond the ends."""
        inside = min(max(s, float(self.s[0])), float(self.s[-1]))
        yaw = interpolate(inside, self.s, self.yaw)
        x = interpolate(inside, self.s, self.x) + (s - inside) * math.cos(yaw)
        y = interpolate(inside, self.s, self.y) + (s - inside) * math.sin(yaw)
        return x, y, yaw

    def curvature_along(self, s: FloatArray) -> FloatArray:
        """Curvature (N,) at arc lengths (N,)."""
        return interpolate_all(s, self.s, self.curvature)  # type: ignore[no-any-return]

    def along(
        self, s: float, speed: float, times: FloatArray, decay: FloatArray, dt: float
    ) -> tuple[FloatArray, FloatArray]:
        """Speeds and path curvatures (N,) expected at ``times`` (N,) from ``s`` on, steps ``dt`` long.

        ``decay``: (N,) what is left then of the difference between ``speed`` and the one wanted at ``s``.
        """
        return _along(s, speed, times, decay, dt, self.t, self.s, self.speed, self.curvature)


@njit(cache=True)
def _at_time(
    t: float, ts: FloatArray, ss: FloatArray, speeds: FloatArray, accelerations: FloatArray
) -> tuple[float, float, float]:
    first, last = ts[0], ts[-1]
    inside = min(max(t, first), last)
    s, speed = interpolate(inside, ts, ss), interpolate(inside, ts, speeds)
    if t > last:
        return s + speed * (t - last), speed, 0.0
    if t < first:
        return s - speed * (first - t), speed, 0.0
    return s, speed, interpolate(t, ts, accelerations)


@njit(cache=True)
def _max_speed(t0: float, t1: float, ts: FloatArray, speeds: FloatArray) -> float:
    out = max(interpolate(t0, ts, speeds), interpolate(t1, ts, speeds))
    inside, found = 0.0, False
    for i in range(len(ts)):
        if t0 <= ts[i] <= t1:
            inside = max(inside, speeds[i]) if found else speeds[i]
            found = True
    return max(out, inside)


@njit(cache=True)
def _along(
    s: float,
    speed: float,
    times: FloatArray,
    decay: FloatArray,
    dt: float,
    ts: FloatArray,
    ss: FloatArray,
    wanted: FloatArray,
    curvatures: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    start = interpolate(s, ss, ts)
    error = speed - interpolate(start, ts, wanted)
    speeds, bends = np.empty(len(times)), np.empty(len(times))
    way = 0.0
    for i in range(len(times)):
        speeds[i] = max(interpolate(start + times[i], ts, wanted) + error * decay[i], 0.0)
        way += speeds[i]
        bends[i] = interpolate(s + way * dt - 0.5 * dt * speeds[i], ss, curvatures)
    return speeds, bends


@njit(cache=True)
def _project(
    xs: FloatArray,
    ys: FloatArray,
    yaws: FloatArray,
    ss: FloatArray,
    curvatures: FloatArray,
    x: float,
    y: float,
    near_s: float,
    window: float,
) -> tuple[float, float, float]:
    best = np.inf
    best_s, best_lateral, best_yaw = ss[0], 0.0, yaws[0]
    found = False
    n = len(xs)
    for i in range(n - 1):
        dx, dy = xs[i + 1] - xs[i], ys[i + 1] - ys[i]
        length = math.sqrt(dx * dx + dy * dy)
        if length < _MIN_SEGMENT or ss[i + 1] < near_s - window or ss[i] > near_s + window:
            continue
        ux, uy = dx / length, dy / length
        along = (x - xs[i]) * ux + (y - ys[i]) * uy
        f = min(max(along / length, 0.0), 1.0)
        rx, ry = x - xs[i] - f * dx, y - ys[i] - f * dy
        distance = rx * rx + ry * ry
        if distance < best:
            best = distance
            found = True
            # the path is an arc over its chord: it bulges to the outside of the turn
            bulge = -0.5 * (curvatures[i] + f * (curvatures[i + 1] - curvatures[i])) * length * length * f * (1.0 - f)
            best_s = ss[i] + f * (ss[i + 1] - ss[i])
            best_lateral = (ys[i] + f * dy - y) * ux - (xs[i] + f * dx - x) * uy
            best_lateral = -best_lateral - bulge
            best_yaw = yaws[i] + f * (yaws[i + 1] - yaws[i])
    if found and ss[0] < best_s < ss[n - 1]:
        return best_s, best_lateral, best_yaw
    # off an end, or a path of one place: the arc goes on for a little, then its tangent
    end = n - 1 if found and best_s >= ss[n - 1] else 0
    c, s = math.cos(yaws[end]), math.sin(yaws[end])
    dx, dy = x - xs[end], y - ys[end]
    along, across = c * dx + s * dy, c * dy - s * dx
    bend = min(max(along, -_ARC_BEYOND), _ARC_BEYOND) * curvatures[end]
    return ss[end] + along, across - 0.5 * bend * along, yaws[end] + bend
