"""What a sweep tells the filter: where the car is on the map, or, where no map holds it, how it has moved."""

from __future__ import annotations

import numpy as np

from robotaxi.geometry.se3 import inverse
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.lidar_odometry import twist_of
from robotaxi.localization.map_match import MapMatcher, MatchConfig, PoseFix
from robotaxi.localization.odometry_fix import OdometryTracker
from robotaxi.localization.relocalizer import RoughPose
from robotaxi.localization.scan import cartesian, deskew, within
from robotaxi.localization.tiles import MapInfo
from robotaxi.types import FloatArray, LidarSweep, point_times

_LONGEST = 0.5  # s between two sweeps whose motion still tells of the next
_HELD = 3  # matches in a row after which lidar odometry rests


class SweepMatcher:
    """Map first; lidar odometry while there is no map (``info`` None) or it does not fit."""

    def __init__(
        self, config: MatchConfig, info: MapInfo | None, filter_config: LocalizationConfig | None = None
    ) -> None:
        self._config = config
        self._map = None if info is None else MapMatcher(config, info)
        self._odometry = OdometryTracker(filter_config)
        self._matched = 0
        self._guess: FloatArray | None = None
        self._stamp_ns = 0
        self.note = ""  # what the map matcher waits for while odometry speaks

    @property
    def faults(self) -> list[str]:
        """Tiles that could not be read."""
        return [] if self._map is None else self._map.faults

    def look_near(self, pose: RoughPose) -> None:
        """A person says where the car is: look there first."""
        if self._map is not None:
            self._map.look_near(pose)

    def step(self, sweep: LidarSweep, T_guess: FloatArray | None) -> PoseFix:
        """The next sweep, with the filter's T_map_base (4x4) at its stamp or None while it has none."""
        before, self._guess = self._guess, T_guess
        period, self._stamp_ns = (sweep.stamp_ns - self._stamp_ns) * 1e-9, sweep.stamp_ns
        motion = None if before is None or T_guess is None else inverse(before) @ T_guess
        if self._config.motion_compensation:
            before_that = np.eye(4) if self._map is None else self._map.motion  # where nobody knows better
            sweep = compensated(sweep, before_that if motion is None else motion, period)
        fix = None if self._map is None else self._map.step(sweep, T_guess)
        self.note = "" if fix is None else fix.reason
        if fix is not None and fix.accepted:
            self._matched += 1
            if self._matched >= _HELD:
                self._odometry.stop()
            return fix
        self._matched = 0
        if T_guess is None:
            self._odometry.stop()
            return fix or self._odometry.waiting(sweep.stamp_ns)
        found = self._odometry.step(sweep, lambda: self._points(sweep), motion)
        return found if fix is None or found.accepted else fix

    def _points(self, sweep: LidarSweep) -> FloatArray:
        points = cartesian(sweep.points)
        kept: FloatArray = points[within(points, self._config.range_min, self._config.range_max)]
        return kept


def compensated(sweep: LidarSweep, motion: FloatArray, period: float) -> LidarSweep:
    """The sweep as if measured at its stamp. ``motion`` (4x4) of base_link over the ``period`` seconds before it, which
    goes on. As it is where its points carry no times, and after a gap."""
    time = point_times(sweep.points)
    if time is None or not 0.0 < period < _LONGEST:
        return sweep
    T = inverse(sweep.T_base_lidar) @ motion @ sweep.T_base_lidar
    moved = deskew(cartesian(sweep.points), time, twist_of(T, period))
    records = sweep.points.copy()
    for k, name in enumerate("xyz"):
        records[name] = moved[:, k]
    return LidarSweep(sweep.stamp_ns, records, sweep.T_base_lidar)
