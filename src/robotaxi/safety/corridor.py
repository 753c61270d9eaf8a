"""How far the body can go along a way before it touches what the lidar sees.

The body's rectangle is carried along the poses ahead; a point's contact distance is the way driven
when the rectangle first holds it. No ground model, no clusters, no tracks: a second opinion must not
share the mistakes of the first.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.safety.config import GateConfig
from robotaxi.safety.motion import PATH_STEP
from robotaxi.types import FloatArray, LidarSweep, VehicleParams

Column = NDArray[np.float32]
_MAX_HITS = 20_000  # points in the corridor that are looked at; a wall has no more to say
_MAX_OBSTACLES = 8


def obstacles(config: GateConfig, vehicle: VehicleParams, sweep: LidarSweep, way: FloatArray) -> FloatArray:
    """Contact distances (K,) in metres, ascending, of what stands in the swept corridor.

    ``way``: poses (N, 3) of base_link ahead in the base_link frame of the sweep, ``PATH_STEP`` apart.
    An obstacle is at least ``min_points`` points within ``neighbourhood`` of each other; a metre free
    of such points along the way begins the next one.
    """
    points = sweep.points
    columns = [np.ascontiguousarray(points[name], dtype=np.float32) for name in ("x", "y", "z")]
    hits = _contacts(
        columns[0],
        columns[1],
        columns[2],
        np.ascontiguousarray(sweep.T_base_lidar, dtype=np.float64),
        np.ascontiguousarray(way),
        np.array(
            [
                vehicle.rear_overhang,
                vehicle.front,
                0.5 * vehicle.width,
                config.corridor_margin,
                config.min_height,
                config.ground_slope,
                max(config.max_height, vehicle.height),
            ]
        ),
    )
    hits = hits[np.argsort(hits[:, 0], kind="stable")]
    return _grouped(hits, config.neighbourhood, config.min_points)


@njit(cache=True)
def _contacts(xs: Column, ys: Column, zs: Column, pose: FloatArray, way: FloatArray, p: FloatArray) -> FloatArray:
    """Rows (contact distance, x, y) of the points in the corridor."""
    rear, front, half, margin, low, slope, high = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    wide = half + margin
    reach = np.hypot(front, wide)
    x_min, x_max = way[:, 0].min() - reach, way[:, 0].max() + reach
    y_min, y_max = way[:, 1].min() - reach, way[:, 1].max() + reach
    n = len(way)
    cos, sin = np.cos(way[:, 2]), np.sin(way[:, 2])
    out = np.empty((_MAX_HITS, 3))
    count = 0
    for k in range(len(xs)):
        px, py, pz = xs[k], ys[k], zs[k]
        x = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * pz + pose[0, 3]
        y = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * pz + pose[1, 3]
        if not (x_min < x < x_max and y_min < y < y_max):
            continue
        z = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * pz + pose[2, 3]
        if not (low + slope * np.hypot(x, y) < z < high):
            continue
        if -rear - margin < x < front and -wide < y < wide:
            continue  # the car itself, or what it already slides past
        i = 0
        while i < n:
            dx, dy = x - way[i, 0], y - way[i, 1]
            gap = np.hypot(dx, dy) - reach
            if gap > PATH_STEP:  # the body cannot get there in fewer steps
                i += int(gap / PATH_STEP)
                continue
            along, across = cos[i] * dx + sin[i] * dy, -sin[i] * dx + cos[i] * dy
            if -rear < along < front and -wide < across < wide:
                contact = i * PATH_STEP - min(front - along, PATH_STEP)
                out[count, 0], out[count, 1], out[count, 2] = max(contact, 0.0), x, y
                count += 1
                break
            i += 1
        if count == _MAX_HITS:
            break
    return out[:count]


@njit(cache=True)
def _grouped(hits: FloatArray, radius: float, min_points: int) -> FloatArray:
    """Nearest contact distance of each obstacle; ``hits`` ascending by contact distance."""
    n = len(hits)
    found = np.empty(_MAX_OBSTACLES)
    count = 0
    free_from = -np.inf  # solid points up to here belong to the obstacle found last
    for i in range(n):
        near = 1
        # neighbours in the plane are neighbours along the way: look outwards from here
        for step in (1, -1):
            j = i + step
            while near < min_points and 0 <= j < n and abs(hits[j, 0] - hits[i, 0]) < 3.0 * radius:
                if abs(hits[j, 1] - hits[i, 1]) < radius and abs(hits[j, 2] - hits[i, 2]) < radius:
                    near += 1
                j += step
        if near < min_points:
            continue
        if hits[i, 0] > free_from + 1.0:
            if count == _MAX_OBSTACLES:
                break
            found[count] = hits[i, 0]
            count += 1
        free_from = hits[i, 0]
    return found[:count]
