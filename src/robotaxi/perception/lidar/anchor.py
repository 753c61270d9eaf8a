"""Where the centre of a tracked box is, by the edges that the lidar can see.

The visible part of a car grows and shrinks as it is passed, so the middle of the visible part moves
even when the car is parked. The edge nearest to the sensor stays where it is: along each axis of
the box the centre is measured from that edge. Where the sensor is alongside, neither end is near,
and the centre is only bounded by what is visible.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.types import FloatArray, RecordArray

OFFSET, SLACK, EXTENT, AWAY, EYE = range(5)
"""Rows of a measurement (5, 2) in the axes of a track's box: measured minus predicted centre, m; half the span in
which the centre cannot be told, m; visible extent, m; +1 or -1, the direction from the sensor into the box, 0 where the
sensor is alongside; the sensor as seen from the centre, m."""


def corners(boxes: RecordArray) -> FloatArray:
    """Corners (N, 4, 2) of boxes with fields x, y, yaw, length, width."""
    result: FloatArray = _corners(np.ascontiguousarray(boxes))
    return result


@njit(cache=True)
def _corners(boxes):  # type: ignore[no-untyped-def]
    out = np.empty((boxes.size, 4, 2))
    for i in range(boxes.size):
        box = boxes[i]
        cos, sin = math.cos(box.yaw), math.sin(box.yaw)
        for k in range(4):
            a = 0.5 * box.length * (1.0 if k < 2 else -1.0)
            b = 0.5 * box.width * (1.0 if k == 0 or k == 3 else -1.0)
            out[i, k, 0], out[i, k, 1] = box.x + cos * a - sin * b, box.y + sin * a + cos * b
    return out


@njit(cache=True)
def measure(x, y, yaw, length, width, box_corners, sensor, out):  # type: ignore[no-untyped-def]
    """Compare a detection's corners (4, 2) with a track's box; ``sensor`` (2,), all in map. Writes ``out`` (5, 2)."""
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
        out[OFFSET, axis], out[SLACK, axis], out[EXTENT, axis] = offset, slack, high - low
        out[AWAY, axis], out[EYE, axis] = away, eye


@njit(cache=True)
def to_map(along, across, yaw):  # type: ignore[no-untyped-def]
    """Rotate a vector from box axes to map."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return cos * along - sin * across, sin * along + cos * across
