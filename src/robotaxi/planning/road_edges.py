"""Bends in which a corner of the body would leave the road are driven further to the other side.

The rear axle on the middle of a narrow bend takes the outer front corner over its edge: what a car sweeps there is
wider than the car. People turn later and keep the axle inside; so does the path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from robotaxi.planning.tight_bends import bends, tightest_bend
from robotaxi.types import VehicleParams

FloatArray = NDArray[np.floating[Any]]
OnRoad = Callable[[FloatArray], NDArray[np.bool_]]

CLEARANCE = 0.1  # m that the body keeps from the edge
BEND = 0.03  # 1/m, gentler bends stay as they are
AROUND = 6.0  # m before and behind a bend that are looked at too
STEP, STEPS = 0.1, 8  # m to the side at a time, and how often
BEFORE, SMOOTHING = 3.0, 1.5  # m: a shift reaches full size before it is needed, and how it begins
BLEND = 8.0  # m from the path's fixed ends over which it may grow
BEND_RESERVE = 1.1  # of the tightest bend, which leaves more of the steering to the controller than that


def kept_on_road(
    points: FloatArray, spacing: float, body: VehicleParams, on_road: OnRoad, first: int, last: int
) -> FloatArray:
    """``points`` (N, 3) of the rear axle, about ``spacing`` m apart, moved to the side in bends until the body stays
    on the road, or as near to that as `STEP` times `STEPS` and its steering allow. Points up to ``first`` and from
    ``last`` on stay.

    ``on_road``: mask (M,) of points (M, 2).
    """
    bend = bends(points)
    index = np.arange(len(points))
    free = np.clip(np.minimum(index - first, last - index) * spacing / BLEND, 0.0, 1.0)
    looked_at = maximum_filter1d(bend > BEND, 2 * round(AROUND / spacing) + 1) & (free > 0.0)
    where = np.flatnonzero(looked_at)
    if not where.size:
        return points
    out = np.array(points, np.float64)
    margin = round((BEFORE + 4.0 * SMOOTHING) / spacing)
    for group in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1):
        part = slice(max(int(group[0]) - margin, 0), int(group[-1]) + margin + 1)
        tightest = BEND_RESERVE * max(tightest_bend(body), float(bend[part].max()))
        out[part] = _bend_on_road(out[part], spacing, body, on_road, free[part], looked_at[part], tightest)
    return out


def _bend_on_road(
    points: FloatArray,
    spacing: float,
    body: VehicleParams,
    on_road: OnRoad,
    free: FloatArray,
    looked_at: NDArray[np.bool_],
    tightest: float,
) -> FloatArray:
    """One bend: the first of ever larger shifts with the fewest places where a corner is outside."""
    side = _normals(points)
    wanted = np.zeros(len(points))
    best, fewest = points, len(points) + 1
    for _ in range(STEPS + 1):
        moved = np.array(points, np.float64)
        moved[:, :2] += side * (free * _profile(wanted, spacing))[:, None]
        left, right = _corners_outside(moved, body, on_road, looked_at)
        outside = int((left | right).sum())
        if outside < fewest and bends(moved).max() <= tightest:
            best, fewest = moved, outside
        if not outside:
            break
        wanted += STEP * (right & ~left) - STEP * (left & ~right)
    return best


def _profile(wanted: FloatArray, spacing: float) -> FloatArray:
    """Offsets (N,), left positive, that are at least as far out as ``wanted`` and begin and end smoothly."""
    size = 2 * round(BEFORE / spacing) + 1
    left = maximum_filter1d(np.maximum(wanted, 0.0), size)
    right = maximum_filter1d(np.maximum(-wanted, 0.0), size)
    return np.asarray(gaussian_filter1d(left - right, SMOOTHING / spacing, mode="nearest"))


def _corners_outside(
    points: FloatArray, body: VehicleParams, on_road: OnRoad, looked_at: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks (N,): a left, a right corner of the body is outside where the rear axle is at each point."""
    at = points[looked_at, :2]
    left = _normals(points)[looked_at]
    ahead = np.stack([left[:, 1], -left[:, 0]], axis=1)
    half, front, rear = body.width / 2.0 + CLEARANCE, body.front + CLEARANCE, body.rear_overhang + CLEARANCE
    out = []
    for sign in (1.0, -1.0):
        corners = np.concatenate([at + front * ahead + sign * half * left, at - rear * ahead + sign * half * left])
        mask = np.zeros(len(points), np.bool_)
        mask[looked_at] = ~on_road(corners).reshape(2, -1).all(axis=0)
        out.append(mask)
    return out[0], out[1]


def _normals(points: FloatArray) -> FloatArray:
    """Unit vectors (N, 2) to the left of the path."""
    along = np.gradient(points[:, :2], axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    return np.stack([-along[:, 1], along[:, 0]], axis=1)
