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
from robotaxi.types import FloatArray, LidarSweep, VehicleParams, point_times

Column = NDArray[np.float32]
_MAX_HITS = 20_000  # points in the corridor that are looked at; a wall has no more to say
_MAX_OBSTACLES = 8
_WINDOW = 0.1, 0.15  # m beside, and above and below a point, within which beams are taken for its neighbours
_THICK = 0.9  # m before and behind it that belong to what it is of
_STEEP = 0.06  # tangent of the angle below the horizon from which on a beam that passes meets the road
_LOOKED_AT = 8  # points of one obstacle
_NEAREST = 0.5  # m ahead of the lidar
_SOLID = 0.25  # share of the beams that end there; a thing stops nearly all, drops in the air one in eight


def obstacles(
    config: GateConfig,
    vehicle: VehicleParams,
    sweep: LidarSweep,
    way: FloatArray,
    motion: tuple[float, float] = (0.0, 0.0),
) -> FloatArray:
    """Rows (K, 2) of what stands in the swept corridor: contact distance (m), ascending, and when it was seen (s since
    the sweep's stamp).

    ``way``: poses (N, 3) of base_link ahead in the base_link frame of the sweep, ``PATH_STEP`` apart. ``motion``: speed
    (m/s) and yaw rate (rad/s) of the car, by which points that carry their time are moved to the stamp
    (``motion_compensation``).
    An obstacle is at least ``min_points`` points within ``neighbourhood`` of each other that most beams do not
    pass between: fog, spray and falling leaves are seen through. A metre free of such points along the way begins
    the next one.
    """
    points = sweep.points
    columns = [np.array(points[name], dtype=np.float32, order="C") for name in ("x", "y", "z")]
    pose = np.ascontiguousarray(sweep.T_base_lidar, dtype=np.float64)
    told = point_times(points)
    when = np.zeros(len(points), np.float32) if told is None else told.astype(np.float32)
    if told is not None and config.motion_compensation:
        _move_to_stamp(columns[0], columns[1], columns[2], when, pose, motion[0], motion[1])
    hits = _contacts(
        columns[0],
        columns[1],
        columns[2],
        when,
        pose,
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
    if len(hits) < config.min_points:
        return np.zeros((0, 2))
    fan = _beams(hits, columns[0], columns[1], columns[2], pose)
    return _grouped(hits, config.neighbourhood, config.min_points, fan)


@njit(cache=True)
def _move_to_stamp(
    xs: Column, ys: Column, zs: Column, times: Column, pose: FloatArray, speed: float, yaw_rate: float
) -> None:
    """Points of the lidar's frame, in place, as seen from where the car is at the stamp: it drives an arc."""
    for k in range(len(xs)):
        if times[k] == 0.0:
            continue
        px, py, pz = xs[k], ys[k], zs[k]
        x = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * pz + pose[0, 3]
        y = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * pz + pose[1, 3]
        z = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * pz
        turn, way = yaw_rate * times[k], speed * times[k]
        c, s = np.cos(turn), np.sin(turn)
        dx = c * x - s * y + way - pose[0, 3]
        dy = s * x + c * y + 0.5 * way * turn - pose[1, 3]
        xs[k] = pose[0, 0] * dx + pose[1, 0] * dy + pose[2, 0] * z
        ys[k] = pose[0, 1] * dx + pose[1, 1] * dy + pose[2, 1] * z
        zs[k] = pose[0, 2] * dx + pose[1, 2] * dy + pose[2, 2] * z


@njit(cache=True)
def _contacts(
    xs: Column, ys: Column, zs: Column, times: Column, pose: FloatArray, way: FloatArray, p: FloatArray
) -> FloatArray:
    """Rows (contact distance, x, y; from the lidar: bearing, metres ahead, metres away, fall; time) of the points in
    the corridor, as `_beams` has them."""
    rear, front, half, margin, low, slope, high = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    wide = half + margin
    reach = np.hypot(front, wide)
    x_min, x_max = way[:, 0].min() - reach, way[:, 0].max() + reach
    y_min, y_max = way[:, 1].min() - reach, way[:, 1].max() + reach
    n = len(way)
    cos, sin = np.cos(way[:, 2]), np.sin(way[:, 2])
    out = np.empty((_MAX_HITS, 8))
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
                ahead, left = x - pose[0, 3], y - pose[1, 3]
                away = max(np.hypot(ahead, left), 1e-6)
                out[count, 0], out[count, 1], out[count, 2] = max(contact, 0.0), x, y
                out[count, 3], out[count, 4] = left / max(ahead, 1e-6), ahead
                out[count, 5], out[count, 6] = away, (pose[2, 3] - z) / away
                out[count, 7] = times[k]
                count += 1
                break
            i += 1
        if count == _MAX_HITS:
            break
    return out[:count]


@njit(cache=True)
def _grouped(hits: FloatArray, radius: float, min_points: int, fan: FloatArray) -> FloatArray:
    """Nearest contact distance of each obstacle, and its time; ``hits`` ascending by contact distance, ``fan``: see
    `_beams`."""
    n = len(hits)
    found = np.empty((_MAX_OBSTACLES, 2))
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
            if _seen_through(hits, i, radius, fan):
                continue
            if count == _MAX_OBSTACLES:
                break
            found[count, 0], found[count, 1] = hits[i, 0], hits[i, 7]
            count += 1
        free_from = hits[i, 0]
    return found[:count]


@njit(cache=True)
def _beams(hits: FloatArray, xs: Column, ys: Column, zs: Column, pose: FloatArray) -> FloatArray:
    """Rows (bearing, fall, range), by bearing, of the beams that look where the hits are: tangents of the angles left
    of straight ahead and below the horizon, and metres in the plane, all from the lidar."""
    left, right = -np.inf, np.inf
    for k in range(len(hits)):
        ahead = hits[k, 1] - pose[0, 3]
        if ahead > _NEAREST:
            bearing, wide = (hits[k, 2] - pose[1, 3]) / ahead, _WINDOW[0] / ahead
            left, right = max(left, bearing + wide), min(right, bearing - wide)
    out = np.empty((len(xs), 3))
    count = 0
    for k in range(len(xs)):
        px, py, pz = xs[k], ys[k], zs[k]
        x = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * pz
        if not x > _NEAREST:
            continue
        y = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * pz
        if right <= y / x <= left:
            away = np.hypot(x, y)
            out[count, 0], out[count, 2] = y / x, away
            out[count, 1] = -(pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * pz) / away
            count += 1
    return out[:count][np.argsort(out[:count, 0])]


@njit(cache=True)
def _seen_through(hits: FloatArray, i: int, radius: float, fan: FloatArray) -> bool:
    """Whether most beams pass where ``hits[i]`` and those around it returned one: drops in the air, not a thing.

    Told by beams that look down steeply enough to meet the road behind; without any, what is seen counts as solid.
    After the idea of dynamic radius outlier removal (Charron et al., CRV 2018): what is dense stops the beams.
    """
    ended = passed = looked = 0
    for step in (1, -1):
        j = i if step == 1 else i - 1
        while 0 <= j < len(hits) and abs(hits[j, 0] - hits[i, 0]) < 3.0 * radius and looked < _LOOKED_AT:
            ahead, away, fall = hits[j, 4], hits[j, 5], hits[j, 6]
            beside = abs(hits[j, 1] - hits[i, 1]) < radius and abs(hits[j, 2] - hits[i, 2]) < radius
            if beside and ahead > _NEAREST and fall > _STEEP:
                looked += 1
                bearing, wide, high = hits[j, 3], _WINDOW[0] / ahead, _WINDOW[1] / away
                first = np.searchsorted(fan[:, 0], bearing - wide)
                for k in range(first, len(fan)):
                    if fan[k, 0] > bearing + wide:
                        break
                    if abs(fan[k, 1] - fall) <= high and fan[k, 2] > away - _THICK:
                        if fan[k, 2] <= away + _THICK:
                            ended += 1
                        else:
                            passed += 1
            j += step
    ended -= looked  # themselves
    return looked > 0 and ended < _SOLID * (ended + passed)
