"""Where the car is in a recording without poses: by this stack's own lidar odometry, sweep by sweep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.localization.lidar_odometry import LidarOdometry, OdometryConfig
from robotaxi.types import EgoState, FloatArray

_FEWEST_POINTS = 100  # a sweep of fewer says nothing


class OwnOdometry:
    """Call `step` for each sweep in order. The first place of base_link is the map's origin."""

    def __init__(self, T_base_lidar: FloatArray) -> None:
        self._odometry = LidarOdometry(OdometryConfig())
        self._T_base_lidar, self._T_lidar_base = T_base_lidar, np.linalg.inv(T_base_lidar)
        self._last: EgoState | None = None

    def step(self, xyz: NDArray[np.floating], stamp_ns: int) -> EgoState:
        """State of the car at ``stamp_ns`` from the sweep's finite points (N, 3) in the lidar's frame."""
        last = self._last
        period = (stamp_ns - last.stamp_ns) * 1e-9 if last is not None else 0.1
        if len(xyz) >= _FEWEST_POINTS:
            self._odometry.step(np.asarray(xyz, np.float64), None, period)
        T = self._T_base_lidar @ self._odometry.pose @ self._T_lidar_base
        x, y, yaw = float(T[0, 3]), float(T[1, 3]), float(np.arctan2(T[1, 0], T[0, 0]))
        speed = yaw_rate = 0.0
        if last is not None and period > 0.0:
            speed = (np.cos(yaw) * (x - last.x) + np.sin(yaw) * (y - last.y)) / period
            yaw_rate = ((yaw - last.yaw + np.pi) % (2.0 * np.pi) - np.pi) / period
        self._last = EgoState(stamp_ns, x, y, yaw, float(speed), yaw_rate=float(yaw_rate), z=float(T[2, 3]))
        return self._last
