"""Lidar odometry: each sweep against a local map of the sweeps before it.

The loop is that of KISS-ICP (Vizzo et al., RA-L 2023): predict by the last motion, match within a distance
that adapts to how wrong predictions were, insert. What differs is the matching (planes, see `registration`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization.point_map import PointMap
from robotaxi.localization.registration import Match, match
from robotaxi.localization.scan import deskew, thin, within
from robotaxi.params import param
from robotaxi.types import FloatArray


@dataclass(frozen=True)
class OdometryConfig:
    """Distances in metres."""

    range_min: float = param(1.5, lo=0.0, hi=10.0, unit="m", doc="nearer points are the car's own")
    range_max: float = param(100.0, lo=10.0, hi=300.0, unit="m", doc="farther points are left out")
    voxel_size: float = param(1.0, lo=0.2, hi=5.0, unit="m", doc="cells of the local map")
    points_per_voxel: int = param(20, lo=1, hi=100, doc="most points kept in a cell")
    map_thinning: float = param(0.5, lo=0.05, hi=5.0, unit="m", doc="one point a cube of this size goes to the map")
    match_thinning: float = param(1.2, lo=0.1, hi=5.0, unit="m", doc="one point a cube of this size is matched")
    plane_radius: float = param(0.8, lo=0.1, hi=5.0, unit="m", doc="neighbours that make a plane")
    scatter_weight: float = param(1.0, lo=0.0, hi=1.0, doc="weight of pairs without a plane")
    first_distance: float = param(2.0, lo=0.1, hi=10.0, unit="m", doc="error of the first prediction")
    least_distance: float = param(0.1, lo=0.01, hi=2.0, unit="m", doc="smallest error of a prediction believed")
    max_iterations: int = param(30, lo=1, hi=500, doc="of one match")
    tolerance: float = param(5e-4, lo=1e-6, hi=1e-2, unit="m", doc="a step smaller than this ends a match")


class LidarOdometry:
    """``pose``: 4x4, the lidar in its first frame."""

    def __init__(self, config: OdometryConfig) -> None:
        self._config = config
        self._map = PointMap(
            config.voxel_size, config.points_per_voxel, config.voxel_size / math.sqrt(config.points_per_voxel),
            config.plane_radius,
        )  # fmt: skip
        self.pose: FloatArray = np.eye(4)
        self.motion: FloatArray = np.eye(4)  # last sweep to this one
        self._motion_before: FloatArray = np.eye(4)
        self._error_square, self._error_count = config.first_distance**2, 1
        self._started = False

    @property
    def local_map(self) -> PointMap:
        return self._map

    def step(
        self, points: FloatArray, time: FloatArray | None = None, period: float = 0.1, guess: FloatArray | None = None
    ) -> Match | None:
        """Take the next sweep (N, 3); ``time`` (N,) seconds since its stamp where the points tell.

        ``period``: seconds since the sweep before. ``guess``: 4x4 motion since then where another sensor knows
        it. Returns the match, None for the first sweep or for one too poor to be matched (the last motion is
        assumed then).
        """
        c = self._config
        # Points put right by the last motion alone make a motion that is off to the other side, and so on and on; by
        # the mean of the last two it settles.
        pace = 0.5 * (self.motion + self._motion_before) if guess is None else guess
        if guess is not None:
            self.motion = guess
        keep = within(points, c.range_min, c.range_max)
        points = points[keep]
        if time is not None:
            points = deskew(points, time[keep], twist_of(pace, period))
        dense = thin(points, c.map_thinning)
        predicted = self.pose @ self.motion
        result = None
        if not self._started:
            predicted = self.pose
            self._started = len(dense) > 0
        else:
            sigma = math.sqrt(self._error_square / self._error_count)
            result = match(
                thin(dense, c.match_thinning), self._map, predicted, 3.0 * sigma, sigma / 3.0, c.max_iterations,
                c.tolerance, c.scatter_weight,
            )  # fmt: skip
            if result.overlap < 0.1:
                result = None
        pose = predicted if result is None else result.T_map_lidar
        self._learn(inverse(predicted) @ pose)
        before = self.pose
        self._motion_before, self.motion, self.pose = self.motion, inverse(before) @ pose, pose
        self._map.insert(apply(pose, dense))
        self._map.keep_near(pose[:3, 3], c.range_max)
        return result

    def _learn(self, error: FloatArray) -> None:
        """How far a point at the edge of view was off under the prediction."""
        angle = math.acos(min(1.0, max(-1.0, 0.5 * (float(np.trace(error[:3, :3])) - 1.0))))
        distance = float(np.linalg.norm(error[:3, 3])) + 2.0 * self._config.range_max * math.sin(0.5 * angle)
        if distance > self._config.least_distance:
            self._error_square += distance**2
            self._error_count += 1


def twist_of(motion: FloatArray, period: float) -> FloatArray:
    """(6,) mean velocity and angular rate of a 4x4 motion over ``period`` seconds, in the sensor's axes."""
    r = motion[:3, :3]
    angle = math.acos(min(1.0, max(-1.0, 0.5 * (float(np.trace(r)) - 1.0))))
    axis = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    scale = 0.5 if angle < 1e-6 else 0.5 * angle / math.sin(angle)
    return np.concatenate([motion[:3, 3], axis * scale]) / period
