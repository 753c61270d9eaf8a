"""Which small objects are only the visible rest of something behind another object."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.perception.lidar.anchor import corners
from robotaxi.types import FloatArray, ObjectClass, RecordArray

_SECTORS = 720  # of half a degree: a little more than the column spacing of common lidars
_BEHIND = 1.0  # m, what begins this much nearer hides what is behind it
_SMALL = (int(ObjectClass.PEDESTRIAN), int(ObjectClass.BICYCLE))


def doubt_cut_off(detections: RecordArray, obstacles: RecordArray, sensor: FloatArray) -> None:
    """Make pedestrians and bicycles UNKNOWN, in place, where something nearer borders on them.

    A slice of a car beside the car that hides it has the size of a person. ``detections`` and
    ``obstacles`` (OBSTACLE_DTYPE) in base_link, ``sensor`` (2,) the lidar's place in it.
    """
    small = np.flatnonzero(np.isin(detections["label"], _SMALL))
    if len(small) == 0:
        return
    nearest = _nearest(np.ascontiguousarray(obstacles), np.asarray(sensor, np.float64))
    to_corners = corners(detections[small]) - sensor
    begins = np.hypot(to_corners[..., 0], to_corners[..., 1]).min(axis=1)
    middle = to_corners.mean(axis=1)
    bearing = np.arctan2(middle[:, 1], middle[:, 0])
    turn = np.arctan2(to_corners[..., 1], to_corners[..., 0]) - bearing[:, None]
    turn = (turn + np.pi) % (2.0 * np.pi) - np.pi
    hidden = np.zeros(len(small), bool)
    for edge, side in ((turn.min(axis=1), -1), (turn.max(axis=1), 1)):
        at = np.floor((bearing + edge) / (2.0 * np.pi) * _SECTORS).astype(np.intp)
        for step in (1, 2):
            hidden |= nearest[(at + side * step) % _SECTORS] < begins - _BEHIND
    detections["label"][small[hidden]] = ObjectClass.UNKNOWN


@njit(cache=True)
def _nearest(obstacles, sensor):  # type: ignore[no-untyped-def]
    """Range of the nearest obstacle in each sector, inf where there is none."""
    out = np.full(_SECTORS, np.inf)
    for i in range(obstacles.size):
        x, y = obstacles[i].x - sensor[0], obstacles[i].y - sensor[1]
        sector = math.floor(math.atan2(y, x) / (2.0 * math.pi) * _SECTORS) % _SECTORS
        out[sector] = min(out[sector], math.hypot(x, y))
    return out
