"""From IMU, wheels and satellite positions to the pose that everything else relies on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.geometry.se3 import transform
from robotaxi.localization import integrity
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, compile_kernels
from robotaxi.localization.map_match import PoseFix
from robotaxi.localization.readings import NS, fix_sigma, map_position, usable_fix, usable_imu, usable_report
from robotaxi.localization.relocalizer import RoughPose
from robotaxi.localization.replay import compile_update
from robotaxi.localization.start import Starter
from robotaxi.localization.tracker import Localization, Tracker
from robotaxi.types import FloatArray, GnssFix, ImuSample, VehicleReport

__all__ = ["Localization", "Localizer"]


_MATCH_SIGMA, _MATCH_YAW_SIGMA = 0.1, 0.02  # m and rad, of a pose carried over from a scan match
_GIVEN_SIGMA, _GIVEN_YAW_SIGMA = 0.3, 0.1  # m and rad, nobody points more exactly


class Localizer:
    """Error-state Kalman filter with integrity monitoring; see `eskf`, `tracker` and `integrity`.

    ``origin``: latitude and longitude in degrees and altitude in metres of map (0, 0, 0).
    ``gnss_lever_arm``: (3,) antenna in base_link. ``wheelbase`` (m): where it is known, a silent or broken inertial
    sensor is bridged by the way the tyres point, else by its last sample.
    """

    def __init__(
        self, config: LocalizationConfig, origin: tuple[float, float, float], gnss_lever_arm: FloatArray,
        wheelbase: float | None = None,
    ) -> None:  # fmt: skip
        arm = np.asarray(gnss_lever_arm, dtype=np.float64)
        if arm.shape != (3,) or not np.all(np.isfinite(arm)):
            raise ValueError(f"gnss_lever_arm must be three finite numbers, is {gnss_lever_arm!r}")
        self._config = config
        self._frame = LocalFrame(*origin)
        self._lever_arm = arm
        self._wheelbase = wheelbase
        self._tracker: Tracker | None = None
        self._starter = Starter(config, arm)
        self._note = ""
        self._given = False  # by hand, and nothing has confirmed it
        compile_kernels(config)
        compile_update()

    def pose_at(self, stamp_ns: int) -> FloatArray | None:
        """T_map_base (4x4) at a moment of the last `match_max_delay`; None where it is not known."""
        return None if self._tracker is None else self._tracker.pose_at(stamp_ns)

    def step(
        self,
        imu: ImuSample,
        report: VehicleReport | None,
        fixes: Sequence[GnssFix],
        matches: Sequence[PoseFix] = (),
        given: RoughPose | None = None,
    ) -> Localization:
        """Advance to ``imu.stamp_ns``, every 20 ms, with all fixes and scan matches since the last step, and the pose
        that a person gave since then.

        Never raises on bad readings: they are left out and the status names them.
        """
        usable = usable_imu(self._config, imu)
        report = usable_report(self._config, report, imu.stamp_ns)
        good_fixes = [fix for fix in fixes if usable_fix(fix)]
        if self._tracker is None:
            self._starter.moved(imu, report)
        if given is not None and usable:
            started = self._start_at_pose(given, imu, report)
            if started is not None:
                return started
        if self._tracker is None:
            return self._start(imu, usable, report, good_fixes, matches)
        dt = (imu.stamp_ns - self._tracker.stamp_ns) / NS
        if -self._config.out_of_order <= dt <= 0.0:
            return self._tracker.result
        if dt < 0.0 or dt > self._config.max_gap:
            what = f"time jumped back by {-dt:.2f} s" if dt < 0.0 else f"inertial sensor was silent for {dt:.2f} s"
            self._restart(what)
            return self._start(imu, usable, report, good_fixes, matches)
        result = self._tracker.step(imu, usable, report, good_fixes, matches)
        elsewhere = self._tracker.found_elsewhere() if matches else None
        if elsewhere is not None and usable and report is not None:
            moved = float(np.linalg.norm((elsewhere - self._tracker.pose_now())[:2, 3]))
            self._restart(f"moved by {moved:.1f} m to where the map finds the car")
            return self._follow(elsewhere, imu.stamp_ns, imu, report, _MATCH_SIGMA, _MATCH_YAW_SIGMA) or result
        if self._given and self._tracker.fixes_refused >= self._config.contradiction_fixes:
            self._restart("the pose that was given contradicts GNSS")
        elif self._tracker.wants_restart():
            self._restart(f"started over after: {result.reason}")
        return result

    def _restart(self, note: str) -> None:
        self._tracker = None
        self._starter = Starter(self._config, self._lever_arm)
        self._note = note
        self._given = False

    def _start_at_pose(self, given: RoughPose, imu: ImuSample, report: VehicleReport | None) -> Localization | None:
        numbers = (given.x, given.y, given.yaw, given.sigma, given.yaw_sigma)
        if report is None or not all(map(math.isfinite, numbers)) or given.sigma < 0.0 or given.yaw_sigma < 0.0:
            return None
        height = 0.0 if self._tracker is None else float(self._tracker.pose_now()[2, 3])
        self._restart("a pose was given")
        T = transform(given.x, given.y, height, yaw=given.yaw)
        sigma = max(given.sigma, _GIVEN_SIGMA), max(given.yaw_sigma, _GIVEN_YAW_SIGMA)
        result = self._follow(T, imu.stamp_ns, imu, report, *sigma, confirmed=False)
        self._given = result is not None
        return result

    def _follow(
        self, T_map_base: FloatArray, stamp_ns: int, imu: ImuSample, report: VehicleReport | None, sigma: float,
        yaw_sigma: float, confirmed: bool = True,
    ) -> Localization | None:  # fmt: skip
        """Start at a pose known at ``stamp_ns``."""
        kalman = self._starter.at_pose(T_map_base, stamp_ns, imu, report, sigma, yaw_sigma)
        if kalman is None or report is None:
            return None
        result = self._track(kalman, imu, report, confirmed).result
        note, self._note = self._note, ""
        return dataclasses.replace(result, reason="; ".join(filter(None, (note, result.reason))))

    def _start(
        self, imu: ImuSample, usable: bool, report: VehicleReport | None, fixes: list[GnssFix],
        matches: Sequence[PoseFix],
    ) -> Localization:  # fmt: skip
        # without a known motion a fix cannot be carried along: only a fresh one will do
        fresh = [fix for fix in fixes if abs(imu.stamp_ns - fix.stamp_ns) <= self._config.out_of_order * NS]
        newest = max(fresh, key=lambda fix: fix.stamp_ns, default=None)
        position = None if newest is None else (map_position(self._frame, newest), fix_sigma(self._config, newest))
        kalman = self._starter.offer(imu, report, position) if usable else None
        found = next((m for m in matches if m.accepted and m.frame == "map" and not len(m.open)), None)
        if kalman is None and found is not None and usable:
            started = self._follow(found.T_map_base, found.stamp_ns, imu, report, _MATCH_SIGMA, _MATCH_YAW_SIGMA)
            if started is not None:
                return started
        if kalman is None or report is None:
            why = self._starter.reason if usable else "no usable inertial sample"
            reason = f"{self._note}; {why}" if self._note else why
            return Localization(None, integrity.INITIALISING, reason, math.inf)
        self._note = ""
        return self._track(kalman, imu, report).result

    def _track(
        self, kalman: ErrorStateFilter, imu: ImuSample, report: VehicleReport, confirmed: bool = True
    ) -> Tracker:
        self._tracker = Tracker(
            self._config, self._frame, self._lever_arm, kalman, imu, report, confirmed, self._wheelbase
        )
        return self._tracker
