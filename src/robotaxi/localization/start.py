"""The first pose: from a fix and a heading at once, or from the way the car drives."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, initial_filter
from robotaxi.localization.readings import heading_sigma
from robotaxi.types import FloatArray, ImuSample, VehicleReport

_FORWARD_SPEED = 0.5  # m/s; slower, the course over ground is no heading
_SHARPEST_COURSE_RATE = 0.02  # rad/s; faster turns make the chord differ from the heading


class Starter:
    """Collects what a start needs; `reason` says what is still missing."""

    def __init__(self, config: LocalizationConfig, lever_arm: FloatArray) -> None:
        self._config = config
        self._lever_arm = lever_arm
        self._anchor: FloatArray | None = None  # first fix of a straight drive
        self.reason = "waiting for a GNSS fix"

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
