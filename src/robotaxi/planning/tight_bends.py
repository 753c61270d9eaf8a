"""Bends drawn tighter than the car can drive are eased, where and as far as that is needed.

The eased path is the smoothing spline of the drawn one: least squared second difference against least squared
distance (Whittaker, "On a new method of graduation", 1923). It cuts the bend and swings wide before and after.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from robotaxi.types import VehicleParams

FloatArray = NDArray[np.floating[Any]]

STEER_SHARE = 0.85  # of the largest tyre angle that a path may need: the rest is the controller's
REACH = 12.0  # m before and behind a bend that may move
MOST_MOVED = 1.5  # m
FIRST_STIFFNESS = 1.0
STIFFER, STEPS = 1.4, 80  # per step at most, and steps
AIM = 0.97  # of the limit that stiffening aims at
FIXED = 1e9  # weight of the points that stay


def tightest_bend(vehicle: VehicleParams) -> float:
    """Largest curvature (1/m) that a path for this vehicle may have."""
    return math.tan(STEER_SHARE * vehicle.max_steering) / vehicle.wheelbase


def eased(points: FloatArray, spacing: float, limit: float, first: int = 0) -> FloatArray:
    """``points`` (N, 3), about ``spacing`` m apart, with every bend at most ``limit`` (1/m) where that moves no
    point by more than `MOST_MOVED`, otherwise as near to it as that allows. Points up to ``first`` stay."""
    tight = np.flatnonzero(bends(points) > limit)
    tight = tight[tight > first]
    if not tight.size:
        return points
    out = np.array(points, np.float64)
    reach = round(REACH / spacing)
    for group in np.split(tight, np.flatnonzero(np.diff(tight) > 2 * reach) + 1):
        lo, hi = max(int(group[0]) - reach, first), min(int(group[-1]) + reach + 1, len(out))
        out[lo:hi] = _ease(out[lo:hi], limit)
    return out


def bends(points: FloatArray) -> FloatArray:
    """|curvature| (N,) of points (N, >= 2): of the circle through each point and its neighbours, 0 at both ends."""
    if len(points) < 3:
        return np.zeros(len(points))
    a, b = np.diff(points[:-1, :2], axis=0), np.diff(points[1:, :2], axis=0)
    cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    sides = np.hypot(*a.T) * np.hypot(*b.T) * np.hypot(*(a + b).T)
    return np.concatenate([[0.0], 2.0 * np.abs(cross) / np.maximum(sides, 1e-9), [0.0]])


def _ease(points: FloatArray, limit: float) -> FloatArray:
    """Stiffer wherever it is still too tight, until it nowhere is: the bend becomes nearly a circle of the limit."""
    best: FloatArray = points
    stiffness: FloatArray = np.full(len(points) - 2, FIRST_STIFFNESS)
    for _ in range(STEPS):
        tried = _spline(points, stiffness)
        if np.hypot(*(tried - points)[:, :2].T).max() > MOST_MOVED:
            break
        if bends(tried).max() < bends(best).max():
            best = tried
        if bends(best).max() <= limit:
            break
        stiffness = stiffness * np.clip((bends(tried)[1:-1] / (AIM * limit)) ** 4, 1.0, STIFFER)
    return best


def _spline(points: FloatArray, stiffness: FloatArray) -> FloatArray:
    """The smoothing spline through both ends with the direction they have. ``stiffness`` (N - 2,)."""
    n = len(points)
    weight = np.ones(n)
    weight[[0, 1, -2, -1]] = FIXED
    bands = np.zeros((3, n))  # upper form: the last row is the diagonal
    bands[2] = weight
    bands[2, :-2] += stiffness
    bands[2, 1:-1] += 4.0 * stiffness
    bands[2, 2:] += stiffness
    bands[1, 1:-1] -= 2.0 * stiffness
    bands[1, 2:] -= 2.0 * stiffness
    bands[0, 2:] = stiffness
    out = solveh_banded(bands, weight[:, None] * points)
    out[[0, 1, -2, -1]] = points[[0, 1, -2, -1]]
    return np.asarray(out)
