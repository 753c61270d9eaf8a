"""A z-buffer rasteriser: which triangle each image sample sees, and how far away.

Frames are optical (x right, y down, z forward); image coordinates have pixel centres at integers. One
thread, no fast-math: the same scene gives the same bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEAR = 0.1  # m, nearer geometry is clipped
NOTHING = -1  # triangle index of the sky


@njit(cache=True, error_model="numpy", nogil=True)
def rasterise(
    triangles: NDArray[np.float32],  # (T, 3, 3) map
    starts: NDArray[np.int64],  # (K,) ranges of triangles, nearest first
    ends: NDArray[np.int64],
    position: NDArray[np.float64],  # (3,) of the camera, map
    rotation: NDArray[np.float64],  # (3, 3) optical from map
    intrinsics: NDArray[np.float64],  # (4,) fx, fy, cx, cy in samples
    inverse_depth: NDArray[np.float32],  # (H, W), 0 where nothing was drawn yet; changed in place
    owner: NDArray[np.int32],  # (H, W) triangle index; changed in place
) -> None:
    """Draw the triangles of all ranges that face the camera."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    height, width = inverse_depth.shape
    slope_left, slope_right = (-0.5 - cx) / fx, (width - 0.5 - cx) / fx
    slope_top, slope_bottom = (-0.5 - cy) / fy, (height - 0.5 - cy) / fy
    corner = np.empty((3, 3))
    clipped = np.empty((4, 3))
    for k in range(len(starts)):
        for t in range(starts[k], ends[k]):
            behind = left = right = above = below = 0
            for v in range(3):
                dx = triangles[t, v, 0] - position[0]
                dy = triangles[t, v, 1] - position[1]
                dz = triangles[t, v, 2] - position[2]
                x = rotation[0, 0] * dx + rotation[0, 1] * dy + rotation[0, 2] * dz
                y = rotation[1, 0] * dx + rotation[1, 1] * dy + rotation[1, 2] * dz
                z = rotation[2, 0] * dx + rotation[2, 1] * dy + rotation[2, 2] * dz
                corner[v, 0], corner[v, 1], corner[v, 2] = x, y, z
                behind += z < NEAR
                left += x < slope_left * z
                right += x > slope_right * z
                above += y < slope_top * z
                below += y > slope_bottom * z
            if behind == 3 or left == 3 or right == 3 or above == 3 or below == 3:
                continue
            facing = (
                corner[0, 0] * (corner[1, 1] * corner[2, 2] - corner[1, 2] * corner[2, 1])
                - corner[0, 1] * (corner[1, 0] * corner[2, 2] - corner[1, 2] * corner[2, 0])
                + corner[0, 2] * (corner[1, 0] * corner[2, 1] - corner[1, 1] * corner[2, 0])
            )
            if facing >= 0.0:
                continue
            count = 3
            if behind > 0:
                count = _clip_near(corner, clipped)
            else:
                clipped[:3] = corner
            for v in range(count):
                inv = 1.0 / clipped[v, 2]
                clipped[v, 0] = fx * clipped[v, 0] * inv + cx
                clipped[v, 1] = fy * clipped[v, 1] * inv + cy
                clipped[v, 2] = inv
            for v in range(1, count - 1):
                _fill(clipped, v, v + 1, t, inverse_depth, owner)


@njit(cache=True, error_model="numpy", nogil=True)
def _clip_near(corner: NDArray[np.float64], out: NDArray[np.float64]) -> int:
    """Cut a triangle at the near plane (Sutherland-Hodgman); returns its new number of corners, 3 or 4."""
    count = 0
    for v in range(3):
        w = (v + 1) % 3
        inside, next_inside = corner[v, 2] >= NEAR, corner[w, 2] >= NEAR
        if inside:
            out[count] = corner[v]
            count += 1
        if inside != next_inside:
            share = (NEAR - corner[v, 2]) / (corner[w, 2] - corner[v, 2])
            for axis in range(3):
                out[count, axis] = corner[v, axis] + share * (corner[w, axis] - corner[v, axis])
            out[count, 2] = NEAR
            count += 1
    return count


@njit(cache=True, error_model="numpy", nogil=True)
def _fill(
    p: NDArray[np.float64],  # (4, 3) image x, image y, inverse depth
    i: int,
    j: int,
    index: int,
    inverse_depth: NDArray[np.float32],
    owner: NDArray[np.int32],
) -> None:
    """Scan triangle (0, i, j) row by row; inverse depth is linear over the image."""
    height, width = inverse_depth.shape
    x0, y0, q0 = p[0, 0], p[0, 1], p[0, 2]
    x1, y1, q1 = p[i, 0], p[i, 1], p[i, 2]
    x2, y2, q2 = p[j, 0], p[j, 1], p[j, 2]
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if abs(area) < 1e-12:
        return
    slope_x = ((q1 - q0) * (y2 - y0) - (q2 - q0) * (y1 - y0)) / area
    slope_y = ((x1 - x0) * (q2 - q0) - (x2 - x0) * (q1 - q0)) / area
    q_max = max(q0, q1, q2)
    q_min = min(q0, q1, q2)
    if y1 < y0:
        x0, y0, q0, x1, y1, q1 = x1, y1, q1, x0, y0, q0
    if y2 < y0:
        x0, y0, q0, x2, y2, q2 = x2, y2, q2, x0, y0, q0
    if y2 < y1:
        x1, y1, x2, y2 = x2, y2, x1, y1
    first, last = max(math.ceil(y0), 0), min(math.ceil(y2) - 1, height - 1)
    for row in range(first, last + 1):
        long_x = x0 + (row - y0) * (x2 - x0) / (y2 - y0)
        upper = row < y1
        short_x = x0 + (row - y0) * (x1 - x0) / (y1 - y0) if upper else x1 + (row - y1) * (x2 - x1) / (y2 - y1)
        begin = max(math.ceil(min(long_x, short_x)), 0)
        end = min(math.ceil(max(long_x, short_x)), width)
        q_row = q0 + (row - y0) * slope_y - x0 * slope_x
        for column in range(begin, end):
            q = min(max(q_row + column * slope_x, q_min), q_max)
            if q > inverse_depth[row, column]:
                inverse_depth[row, column] = q
                owner[row, column] = index
