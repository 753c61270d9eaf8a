"""A lateral offset over arc length, and the reference path moved by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from robotaxi.planning.reference import CURVATURE_SMOOTHING, SPACING, LaneChange, Reference

FloatArray = NDArray[np.floating[Any]]


def blend(s: FloatArray, a: float, b: float, start: tuple[float, float, float], end: float) -> FloatArray:
    """Quintic from offset, slope and bend ``start`` at ``a`` to ``end`` at rest at ``b``; constant outside."""
    length = max(b - a, 1e-3)
    t = np.clip((s - a) / length, 0.0, 1.0)
    d0, v0, w0 = start[0], start[1] * length, start[2] * length * length
    rise = end - d0
    c3 = 10.0 * rise - 6.0 * v0 - 1.5 * w0
    c4 = -15.0 * rise + 8.0 * v0 + 1.5 * w0
    c5 = 6.0 * rise - 3.0 * v0 - 0.5 * w0
    return d0 + t * (v0 + t * (0.5 * w0 + t * (c3 + t * (c4 + t * c5))))


def state_at(profile: FloatArray, s: float) -> tuple[float, float, float]:
    """Offset, slope and bend of a profile (sampled every 0.5 m from 0) at ``s``."""
    k = int(np.clip(round(s / SPACING), 1, profile.size - 2))
    before, here, after = (float(profile[k + j]) for j in (-1, 0, 1))
    slope = (after - before) / (2.0 * SPACING)
    return here + slope * (s - k * SPACING), slope, (after - 2.0 * here + before) / SPACING**2


def bearable(
    distance: FloatArray, curvature: FloatArray, speed: float, lateral_most: float, deceleration: float
) -> bool:
    """Whether a car that brakes with ``deceleration`` from ``speed`` (m/s) on takes every bend gently enough.

    ``distance`` (n,): metres from the car along the path; ``lateral_most``: m/s^2.
    """
    left = np.maximum(speed * speed - 2.0 * deceleration * np.maximum(distance, 0.0), 0.0)
    return bool((np.abs(curvature) * left <= lateral_most).all())


def shifted_points(base: Reference, profile: FloatArray, lo: int, hi: int) -> tuple[FloatArray, ...]:
    """x, y, yaw, arc length from ``lo`` and curvature of the samples ``lo:hi`` of the path moved aside."""
    d, yaw = profile[lo:hi], base.yaw[lo:hi]
    x, y = base.x[lo:hi] - np.sin(yaw) * d, base.y[lo:hi] + np.cos(yaw) * d
    step = np.hypot(np.diff(x), np.diff(y))
    s = np.concatenate([[0.0], np.cumsum(step)])
    heading = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    curvature = np.gradient(heading, np.maximum(s, np.arange(s.size) * 1e-6))
    return x, y, heading, s, curvature


def shifted(base: Reference, profile: FloatArray) -> tuple[Reference, FloatArray]:
    """``base`` moved left by ``profile`` (P,), and the arc length (P,) of each of its samples on the new path.

    Up to the first sample that is moved both paths are the same.
    """
    if not np.any(profile):
        return base, base.s
    first = max(int(np.flatnonzero(profile)[0]) - 1, 0)
    x, y = base.x - np.sin(base.yaw) * profile, base.y + np.cos(base.yaw) * profile
    arc = base.s.astype(float).copy()
    arc[first + 1 :] = arc[first] + np.cumsum(np.hypot(np.diff(x[first:]), np.diff(y[first:])))
    s = np.arange(0.0, arc[-1], SPACING)
    nearest = np.clip(np.round(np.interp(s, arc, np.arange(arc.size))).astype(np.int64), 0, arc.size - 1)
    new_x, new_y = np.interp(s, arc, x), np.interp(s, arc, y)
    yaw = np.unwrap(np.arctan2(np.gradient(new_y), np.gradient(new_x)))
    yaw += 2.0 * np.pi * np.round((base.yaw[0] - yaw[0]) / (2.0 * np.pi))
    curvature = gaussian_filter1d(np.gradient(yaw, SPACING), CURVATURE_SMOOTHING / SPACING, mode="nearest")

    def moved(at: float) -> float:
        return float(np.interp(at, base.s, arc))

    new = replace(
        base,
        s=s,
        x=np.ascontiguousarray(new_x),
        y=np.ascontiguousarray(new_y),
        z=np.interp(s, arc, base.z),
        yaw=yaw,
        curvature=curvature,
        lane=base.lane[nearest],
        speed_limit=base.speed_limit[nearest],
        offset=np.interp(s, arc, base.offset + profile),
        start_s=moved(base.start_s),
        goal_s=moved(base.goal_s),
        pull_out_s=moved(base.pull_out_s),
        changes=tuple(LaneChange(c.from_lane, c.to_lane, moved(c.start_s), moved(c.end_s)) for c in base.changes),
    )
    return new, arc
