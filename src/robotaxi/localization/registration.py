"""Scan matching: the pose at which a sweep fits a `PointMap` best, and how firmly it is held there.

Gauss-Newton on point-to-plane distances where the map is flat and point-to-point distances where it is
not, with the robust Geman-McClure kernel of KISS-ICP. One thread, fixed order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.localization.point_map import LINE, PLANE, UNKNOWN, IntArray, PointMap, find_plane, nearest
from robotaxi.types import FloatArray


@dataclass(frozen=True, slots=True)
class Match:
    """``T_map_lidar`` (4x4). ``information`` (6x6): inverse covariance of the error (translation in map axes,
    rotation vector in map axes about the sensor) for unit-variance residuals scaled by ``sigma``.

    ``overlap``: share of the points that found a partner; ``sigma``: RMS of the inliers' plane distances (m).
    """

    T_map_lidar: FloatArray
    information: FloatArray
    overlap: float
    sigma: float
    iterations: int
    converged: bool


def match(
    points: FloatArray,
    target: PointMap,
    T_guess: FloatArray,
    max_distance: float,
    kernel: float,
    max_iterations: int = 30,
    tolerance: float = 1e-4,
    scatter_weight: float = 0.1,
) -> Match:
    """Fit ``points`` (N, 3; sensor frame) to ``target`` (map) from ``T_guess`` on.

    ``max_distance``: partners farther away are none; ``kernel``: scale (m) at which a residual loses weight;
    ``scatter_weight``: weight of point-to-point pairs against point-to-plane pairs.
    """
    a = target.arrays
    pose, information, stats = _match(
        np.ascontiguousarray(points, np.float64), np.array(T_guess, np.float64), max_distance, kernel, max_iterations,
        tolerance, scatter_weight, target.voxel_size, target.plane_radius,
        a.table_key, a.table_slot, a.count, a.points, a.plane, a.kind,
    )  # fmt: skip
    return Match(pose, information, float(stats[0]), float(stats[1]), int(stats[2]), bool(stats[3] > 0.5))


@njit(cache=True, nogil=True)
def _match(
    points: FloatArray, pose: FloatArray, max_distance: float, kernel: float, max_iterations: int, tolerance: float,
    scatter_weight: float, voxel_size: float, plane_radius: float, table_key: IntArray, table_slot: IntArray,
    count: NDArray[np.int32], map_points: FloatArray, plane: FloatArray, kind: NDArray[np.int8],
) -> tuple[FloatArray, FloatArray, FloatArray]:  # fmt: skip
    hessian = np.zeros((6, 6))
    gradient = np.zeros(6)
    row = np.zeros(6)
    stats = np.zeros(4)
    partner = np.full((len(points), 2), -1, np.int64)  # of each point, from the iteration before
    square_kernel = kernel * kernel
    for iteration in range(max_iterations):
        hessian[:] = 0.0
        gradient[:] = 0.0
        pairs, plane_weight, plane_square = 0, 0.0, 0.0
        for i in range(len(points)):
            px, py, pz = points[i, 0], points[i, 1], points[i, 2]
            # offset from the sensor in map axes: rotations turn about the sensor
            rx = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * pz
            ry = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * pz
            rz = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * pz
            x, y, z = rx + pose[0, 3], ry + pose[1, 3], rz + pose[2, 3]
            slot, k, square = nearest(
                x,
                y,
                z,
                max_distance,
                partner[i, 0],
                partner[i, 1],
                voxel_size,
                table_key,
                table_slot,
                count,
                map_points,
            )
            partner[i, 0], partner[i, 1] = slot, k
            if slot < 0:
                continue
            pairs += 1
            if kind[slot, k] == UNKNOWN:
                find_plane(slot, k, voxel_size, plane_radius, table_key, table_slot, count, map_points, plane, kind)
            if kind[slot, k] == LINE:
                continue
            if kind[slot, k] == PLANE:
                nx, ny, nz = plane[slot, k, 0], plane[slot, k, 1], plane[slot, k, 2]
                e = nx * x + ny * y + nz * z - plane[slot, k, 3]
                root = square_kernel / (square_kernel + e * e)
                w = root * root
                row[0], row[1], row[2] = nx, ny, nz
                row[3], row[4], row[5] = ry * nz - rz * ny, rz * nx - rx * nz, rx * ny - ry * nx
                _add(hessian, gradient, row, e, w)
                plane_weight += w
                plane_square += w * e * e
            else:
                root = square_kernel / (square_kernel + square)
                w = root * root * scatter_weight
                ex, ey, ez = x - map_points[slot, k, 0], y - map_points[slot, k, 1], z - map_points[slot, k, 2]
                row[0], row[1], row[2], row[3], row[4], row[5] = 1.0, 0.0, 0.0, 0.0, rz, -ry
                _add(hessian, gradient, row, ex, w)
                row[0], row[1], row[2], row[3], row[4], row[5] = 0.0, 1.0, 0.0, -rz, 0.0, rx
                _add(hessian, gradient, row, ey, w)
                row[0], row[1], row[2], row[3], row[4], row[5] = 0.0, 0.0, 1.0, ry, -rx, 0.0
                _add(hessian, gradient, row, ez, w)
        for i in range(6):
            for j in range(i):
                hessian[i, j] = hessian[j, i]
        stats[0] = pairs / max(len(points), 1)
        stats[1] = math.sqrt(plane_square / plane_weight) if plane_weight > 0.0 else 0.0
        stats[2] = iteration + 1
        if pairs < 20:
            break
        step = _solve(hessian, gradient)
        _turn(pose, step)
        moved = math.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        turned = math.sqrt(step[3] ** 2 + step[4] ** 2 + step[5] ** 2)
        if moved < tolerance and turned < 0.1 * tolerance:
            stats[3] = 1.0
            break
    _orthonormalise(pose)
    return pose, hessian, stats


@njit(cache=True, nogil=True, inline="always")
def _add(hessian: FloatArray, gradient: FloatArray, row: FloatArray, e: float, w: float) -> None:
    for i in range(6):
        wi = w * row[i]
        gradient[i] += wi * e
        for j in range(i, 6):
            hessian[i, j] += wi * row[j]


@njit(cache=True, nogil=True)
def _solve(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """-hessian^-1 gradient by Cholesky, damped so slightly that only directions without any hold stay put."""
    n = 6
    low = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = hessian[i, j]
            if i == j:
                total += 1e-3
            for k in range(j):
                total -= low[i, k] * low[j, k]
            low[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / low[j, j]
    out = np.zeros(n)
    for i in range(n):
        total = -gradient[i]
        for k in range(i):
            total -= low[i, k] * out[k]
        out[i] = total / low[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n):
            total -= low[k, i] * out[k]
        out[i] = total / low[i, i]
    return out


@njit(cache=True, nogil=True)
def _orthonormalise(pose: FloatArray) -> None:
    """Undo rounding: products of poses would let it grow."""
    for j in range(2):
        for k in range(j):
            dot = pose[0, j] * pose[0, k] + pose[1, j] * pose[1, k] + pose[2, j] * pose[2, k]
            for i in range(3):
                pose[i, j] -= dot * pose[i, k]
        norm = math.sqrt(pose[0, j] ** 2 + pose[1, j] ** 2 + pose[2, j] ** 2)
        for i in range(3):
            pose[i, j] /= norm
    pose[0, 2] = pose[1, 0] * pose[2, 1] - pose[2, 0] * pose[1, 1]
    pose[1, 2] = pose[2, 0] * pose[0, 1] - pose[0, 0] * pose[2, 1]
    pose[2, 2] = pose[0, 0] * pose[1, 1] - pose[1, 0] * pose[0, 1]


@njit(cache=True, nogil=True)
def _turn(pose: FloatArray, step: FloatArray) -> None:
    """Apply a translation and a rotation vector, both in map axes, in place."""
    angle = math.sqrt(step[3] ** 2 + step[4] ** 2 + step[5] ** 2)
    a = 1.0 - angle * angle / 6.0 if angle < 1e-4 else math.sin(angle) / angle
    b = 0.5 - angle * angle / 24.0 if angle < 1e-4 else (1.0 - math.cos(angle)) / (angle * angle)
    wx, wy, wz = step[3], step[4], step[5]
    r = np.empty((3, 3))
    r[0, 0] = 1.0 - b * (wy * wy + wz * wz)
    r[1, 1] = 1.0 - b * (wx * wx + wz * wz)
    r[2, 2] = 1.0 - b * (wx * wx + wy * wy)
    r[0, 1], r[1, 0] = b * wx * wy - a * wz, b * wx * wy + a * wz
    r[0, 2], r[2, 0] = b * wx * wz + a * wy, b * wx * wz - a * wy
    r[1, 2], r[2, 1] = b * wy * wz - a * wx, b * wy * wz + a * wx
    for j in range(3):
        c0, c1, c2 = pose[0, j], pose[1, j], pose[2, j]
        for i in range(3):
            pose[i, j] = r[i, 0] * c0 + r[i, 1] * c1 + r[i, 2] * c2
    for i in range(3):
        pose[i, 3] += step[i]
