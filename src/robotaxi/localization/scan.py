"""Sweeps made ready for matching: cleaned, freed from the car's own motion, thinned out."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.localization.point_map import IntArray, home, voxel_key
from robotaxi.types import FloatArray, RecordArray


def cartesian(points: RecordArray) -> FloatArray:
    """(N, 3) float64 of a sweep's records."""
    return np.stack([points["x"], points["y"], points["z"]], axis=1).astype(np.float64)


def within(points: FloatArray, range_min: float, range_max: float) -> NDArray[np.bool_]:
    """(N,) which points (N, 3) are finite and in range."""
    square = np.einsum("ij,ij->i", points, points)
    return (square > range_min**2) & (square < range_max**2)  # comparisons with NaN are false


def deskew(points: FloatArray, time: FloatArray, twist: FloatArray) -> FloatArray:
    """Points as if all were measured at time 0, for a sensor that moves with ``twist`` (6,).

    ``time``: (N,) seconds since the sweep's stamp; ``twist``: velocity (m/s) and angular rate (rad/s) in
    the sensor's own axes, constant over the sweep.
    """
    return _deskew(points, np.asarray(time, np.float64), np.asarray(twist, np.float64))


def thin(points: FloatArray, size: float) -> FloatArray:
    """The first point of every cube of ``size`` metres, in order."""
    return points[_first_of_voxel(points, size)]


def thin_sweep(records: RecordArray, range_min: float, range_max: float, size: float) -> FloatArray:
    """`cartesian`, `within` and `thin` in one pass over a sweep's records: (M, 3)."""
    # copies: the kernel sees one array type only, whatever the layout of the cloud
    x, y, z = (np.array(records[name], np.float32) for name in "xyz")
    return _thin_sweep(x, y, z, range_min, range_max, size)


@njit(cache=True, nogil=True)
def _thin_sweep(
    xs: NDArray[np.float32], ys: NDArray[np.float32], zs: NDArray[np.float32], range_min: float, range_max: float,
    size: float,
) -> FloatArray:  # fmt: skip
    capacity = 1
    while capacity < len(xs) + 2:
        capacity *= 2
    table = np.full(capacity, -1, np.int64)
    out = np.empty((len(xs), 3))
    mask, n = capacity - 1, 0
    low, high = range_min * range_min, range_max * range_max
    for i in range(len(xs)):
        x, y, z = float(xs[i]), float(ys[i]), float(zs[i])
        square = x * x + y * y + z * z
        if not (low < square < high):  # not a number is in no range
            continue
        key = voxel_key(math.floor(x / size), math.floor(y / size), math.floor(z / size))
        at = home(key, mask)
        while table[at] != -1 and table[at] != key:
            at = (at + 1) & mask
        if table[at] == -1:
            table[at] = key
            out[n, 0], out[n, 1], out[n, 2] = x, y, z
            n += 1
    return out[:n].copy()


@njit(cache=True, nogil=True)
def _deskew(points: FloatArray, time: FloatArray, twist: FloatArray) -> FloatArray:
    out = np.empty_like(points)
    for i in range(len(points)):
        t = time[i]
        wx, wy, wz = twist[3] * t, twist[4] * t, twist[5] * t
        angle = math.sqrt(wx * wx + wy * wy + wz * wz)
        a = 1.0 - angle * angle / 6.0 if angle < 1e-4 else math.sin(angle) / angle
        b = 0.5 - angle * angle / 24.0 if angle < 1e-4 else (1.0 - math.cos(angle)) / (angle * angle)
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        # Rodrigues: p + a w x p + b w x (w x p)
        cx, cy, cz = wy * z - wz * y, wz * x - wx * z, wx * y - wy * x
        out[i, 0] = x + a * cx + b * (wy * cz - wz * cy) + twist[0] * t
        out[i, 1] = y + a * cy + b * (wz * cx - wx * cz) + twist[1] * t
        out[i, 2] = z + a * cz + b * (wx * cy - wy * cx) + twist[2] * t
    return out


@njit(cache=True, nogil=True)
def _first_of_voxel(points: FloatArray, size: float) -> IntArray:
    capacity = 1
    while capacity < 2 * len(points) + 2:
        capacity *= 2
    table = np.full(capacity, -1, np.int64)
    out = np.empty(len(points), np.int64)
    mask, n = capacity - 1, 0
    for i in range(len(points)):
        key = voxel_key(
            math.floor(points[i, 0] / size),
            math.floor(points[i, 1] / size),
            math.floor(points[i, 2] / size),
        )
        at = home(key, mask)
        while table[at] != -1 and table[at] != key:
            at = (at + 1) & mask
        if table[at] == -1:
            table[at] = key
            out[n] = i
            n += 1
    return out[:n]
