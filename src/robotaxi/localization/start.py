"""The first pose: from a fix and a heading at once, or from the way the car drives."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, initial_filter
from robotaxi.localization.readings import NS, heading_sigma
from robotaxi.types import FloatArray, ImuSample, VehicleReport

_FORWARD_SPEED = 0.5  # m/s; slower, the course over ground is no heading
_SHARPEST_COURSE_RATE = 0.02  # rad/s; faster turns make the chord differ from the heading


class Starter:
    """Collects what a start needs; `reason` says what is still missing."""

    def __init__(self, config: LocalizationConfig, lever_arm: FloatArray) -> None:
        self._config = config
        self._lever_arm = lever_arm
        self._anchor: FloatArray | None = None  # first fix of a straight drive
        self.reason = "waiting for a GNSS fix, a place found on the map, or a pose given by hand"
        self._way: deque[tuple[int, float, float]] = deque()  # stamp, speed, yaw rate of the last second

    def moved(self, imu: ImuSample, report: VehicleReport | None) -> None:
        """Remember how the car moves, so that a match of the past can be carried to now."""
        if report is not None:
            self._way.append((imu.stamp_ns, report.speed, float(imu.angular_rate[2])))
        while self._way and self._way[0][0] < imu.stamp_ns - NS:
            self._way.popleft()

    def at_pose(self, T_map_base: FloatArray, stamp_ns: int, imu: ImuSample, report: VehicleReport | None,
                sigma: float, yaw_sigma: float) -> ErrorStateFilter | None:  # fmt: skip
        """A filter at a pose known at ``stamp_ns`` within the last second; None without wheel speed since then."""
        if report is None or not np.isfinite(T_map_base).all():
            self.reason = "waiting for wheel speed"
            return None
        x, y, z = (float(v) for v in T_map_base[:3, 3])
        yaw = math.atan2(T_map_base[1, 0], T_map_base[0, 0])
        before = stamp_ns
        for stamp, speed, rate in self._way:
            if stamp > before:
                dt = (stamp - before) / NS
                x, y = (
                    x + speed * dt * math.cos(yaw + 0.5 * rate * dt),
                    y + speed * dt * math.sin(yaw + 0.5 * rate * dt),
                )
                yaw, before = yaw + rate * dt, stamp
        force = imu.acceleration if abs(report.speed) <= self._config.standstill_speed else None
        sigmas = np.array([sigma, sigma, max(sigma, 0.3)])
        return initial_filter(
            self._config, np.array([x, y, z]), yaw, report.speed, sigmas, yaw_sigma, force, sensed=False
        )

    def offer(
        self,
        imu: ImuSample,
        report: VehicleReport | None,
        fix: tuple[FloatArray, FloatArray] | None,
    ) -> ErrorStateFilter | None:
        """``fix``: newest usable antenna position and its sigma (3,), map. None until all is known."""
        if fix is None:
            return None
        antenna, sigma = fix
        if max(sigma[0], sigma[1]) > self._config.gnss_initial_sigma:
            self.reason = f"GNSS too coarse to start: sigma {max(sigma[0], sigma[1]):.1f} m"
            return None
        if report is None:
            self.reason = "waiting for wheel speed"
            return None
        heading = self._heading(imu, report, antenna, sigma)
        if heading is None:
            self.reason = "waiting for a heading: none is sensed, drive straight on"
            return None
        yaw, yaw_sigma = heading
        standing = abs(report.speed) <= self._config.standstill_speed
        cos, sin = math.cos(yaw), math.sin(yaw)
        arm = np.array(
            [
                cos * self._lever_arm[0] - sin * self._lever_arm[1],
                sin * self._lever_arm[0] + cos * self._lever_arm[1],
                self._lever_arm[2],
            ]
        )
        force = imu.acceleration if standing else None
        return initial_filter(self._config, antenna - arm, yaw, report.speed, sigma, yaw_sigma, force)

    def _heading(
        self, imu: ImuSample, report: VehicleReport, antenna: FloatArray, sigma: FloatArray
    ) -> tuple[float, float] | None:
        if math.isfinite(imu.heading):
            return imu.heading, heading_sigma(self._config, imu)
        straight = report.speed > _FORWARD_SPEED and abs(imu.angular_rate[2]) < _SHARPEST_COURSE_RATE
        if not straight or self._anchor is None:
            self._anchor = antenna if straight else None
            return None
        way = antenna - self._anchor
        length = math.hypot(way[0], way[1])
        if length < self._config.course_distance:
            return None
        return math.atan2(way[1], way[0]), math.atan2(2.0 * float(max(sigma[0], sigma[1])), length)
