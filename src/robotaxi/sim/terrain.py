"""Ground that one can drive over, whatever heights a map gives its lanes."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from robotaxi.types import FloatArray

STOREY = 3.0  # m between roads that pass over each other, at least
FLAT = 0.5  # m, a map with less height difference counts as flat
_REACH, _DEVIATION = 8.0, 3.0  # m around a point that its height is averaged over, and the weights' deviation
_SEVERAL = 64  # points at most that an average is taken of


def ground_heights(points: FloatArray) -> FloatArray:
    """Heights (N,) of the ground at the points (N, 3) of all lanes: their own, evened out with their neighbours'.

    Maps let lanes cross at different heights (up to 0.7 m within a junction of CARLA's Town07), which would be a step
    in the road. Points more than `STOREY` above or below are another road's. Flat maps stay as they are.
    """
    z = np.asarray(points[:, 2], np.float64)
    if not len(z) or np.ptp(z) < FLAT:
        return z
    several = min(_SEVERAL, len(z))
    distance, index = cKDTree(points[:, :2]).query(points[:, :2], k=several, distance_upper_bound=_REACH)
    distance, index = distance.reshape(len(z), several), index.reshape(len(z), several)
    height = np.append(z, 0.0)[index]
    weight = np.exp(-0.5 * np.square(distance / _DEVIATION)) * (np.abs(height - z[:, None]) < STOREY)
    weight[~np.isfinite(distance)] = 0.0
    return np.asarray((weight * height).sum(axis=1) / weight.sum(axis=1))
