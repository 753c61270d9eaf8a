"""Where the centre of a tracked box is, by the edges that the lidar can see.

The visible part of a car grows and shrinks as it is passed, so the middle of the visible part moves
even when the car is parked. The edge nearest to the sensor stays where it is: along each axis of
the box the centre is measured from that edge. Where the sensor is alongside, neither end is near,
and the centre is only bounded by what is visible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from robotaxi.types import FloatArray, RecordArray


@dataclass(frozen=True)
class BoxMeasurement:
    """Of a detection against a track, in the axes of the track's box. All arrays broadcast alike.

    ``offset`` (..., 2): measured minus predicted centre, m. ``slack`` (..., 2): half the span in
    which the centre cannot be told. ``extent`` (..., 2): visible extent. ``away`` (..., 2): +1 or -1,
    the direction from the sensor into the box, 0 where the sensor is alongside. ``eye`` (..., 2): the
    sensor as seen from the centre.
    """

    offset: FloatArray
    slack: FloatArray
    extent: FloatArray
    away: FloatArray
    eye: FloatArray


def corners(boxes: RecordArray) -> FloatArray:
    """Corners (N, 4, 2) of boxes with fields x, y, yaw, length, width."""
    x, y, yaw, length, width = (_packed(boxes[name]) for name in ("x", "y", "yaw", "length", "width"))
    return _corners(x, y, yaw, length, width)


def measure(
    center: FloatArray, yaw: FloatArray, size: FloatArray, box_corners: FloatArray, sensor: FloatArray
) -> BoxMeasurement:
    """Compare detections with tracks.

    ``center`` (..., 2), ``yaw`` (...), ``size`` (..., 2) of the tracks; ``box_corners`` (..., 4, 2) of
    the detections; ``sensor`` (2,); all in map. Leading dimensions broadcast.
    """
    if yaw.shape == size.shape[:1] == center.shape[:1] == box_corners.shape[:1]:
        dense = _measure(_packed(center), _packed(yaw), _packed(size), _packed(box_corners), _packed(sensor))
        return BoxMeasurement(*dense)
    shape = np.broadcast_shapes(center.shape[:-1], np.shape(yaw), size.shape[:-1], box_corners.shape[:-2])
    count = int(np.prod(shape))
    rows = _measure(
        _packed(np.broadcast_to(center, (*shape, 2)).reshape(count, 2)),
        _packed(np.broadcast_to(yaw, shape).reshape(count)),
        _packed(np.broadcast_to(size, (*shape, 2)).reshape(count, 2)),
        _packed(np.broadcast_to(box_corners, (*shape, 4, 2)).reshape(count, 4, 2)),
        _packed(sensor),
    )
    return BoxMeasurement(*(rows[k].reshape(*shape, 2) for k in range(5)))


def _packed(values: FloatArray) -> FloatArray:
    """A dense copy, so that the compiled kernels see one array type only."""
    return np.array(values, np.float64, order="C")


@njit(cache=True)
def _corners(x, y, yaw, length, width):  # type: ignore[no-untyped-def]
    out = np.empty((x.size, 4, 2))
    for i in range(x.size):
        cos, sin = math.cos(yaw[i]), math.sin(yaw[i])
        for k in range(4):
            a = 0.5 * length[i] * (1.0 if k < 2 else -1.0)
            b = 0.5 * width[i] * (1.0 if k == 0 or k == 3 else -1.0)
            out[i, k, 0], out[i, k, 1] = x[i] + cos * a - sin * b, y[i] + sin * a + cos * b
    return out


@njit(cache=True)
def _measure(center, yaw, size, box_corners, sensor):  # type: ignore[no-untyped-def]
    n = center.shape[0]
    out = np.empty((5, n, 2))
    for i in range(n):
        measure_one(center[i, 0], center[i, 1], yaw[i], size[i, 0], size[i, 1], box_corners[i], sensor, out[:, i])
    return out


@njit(cache=True)
def measure_one(x, y, yaw, length, width, box_corners, sensor, out):  # type: ignore[no-untyped-def]
    """One pair into ``out`` (5, 2): offset, slack, extent, away, eye."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    for axis in range(2):
        ax, ay = (cos, sin) if axis == 0 else (-sin, cos)
        low, high = np.inf, -np.inf
        for k in range(4):
            u = ax * (box_corners[k, 0] - x) + ay * (box_corners[k, 1] - y)
            low, high = min(low, u), max(high, u)
        eye = ax * (sensor[0] - x) + ay * (sensor[1] - y)
        half = 0.5 * (length if axis == 0 else width)
        earliest, latest = high - half, low + half  # the box must cover what is visible
        away, slack = 0.0, 0.0
        if eye > half:
            away, offset = -1.0, earliest
        elif eye < -half:
            away, offset = 1.0, latest
        else:
            offset = 0.5 * (earliest + latest) if earliest > latest else min(max(0.0, earliest), latest)
            slack = max(0.5 * (latest - earliest), 0.0)
        out[0, axis], out[1, axis], out[2, axis], out[3, axis], out[4, axis] = offset, slack, high - low, away, eye


def to_map(vectors: FloatArray, yaw: FloatArray) -> FloatArray:
    """Rotate vectors (..., 2) from box axes to map."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([cos * vectors[..., 0] - sin * vectors[..., 1], sin * vectors[..., 0] + cos * vectors[..., 1]], -1)
