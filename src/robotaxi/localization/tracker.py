"""The running estimate: predict by the inertial sensor, correct by all others, judge, hand out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.geometry.se3 import inverse
from robotaxi.localization import kernels
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, Motion
from robotaxi.localization.integrity import IntegrityMonitor
from robotaxi.localization.map_match import PoseFix
from robotaxi.localization.readings import NS, fix_sigma, heading_sigma, map_position
from robotaxi.localization.replay import ReplayFilter
from robotaxi.localization.smoothing import CorrectionLimiter, MotionBuffer, low_pass
from robotaxi.types import EgoState, FloatArray, GnssFix, ImuSample, VehicleReport

_SAME_PLACE = 0.5  # m
_UNCONFIRMED = (3.0, 3.0)  # m, so that nobody drives on it


@dataclass(frozen=True, slots=True)
class Localization:
    """``state`` is None while initialising. ``protection_lateral``: sideways error (m) not exceeded
    but once in 1e5, as far as the sensors tell; it covers contradictions between them as well.

    ``status``: 'initialising', 'good', 'degraded' (drive on with care), 'lost' (come to a stop).
    ``reason`` names what is wrong, empty when good.
    """

    state: EgoState | None
    status: str
    reason: str
    protection_lateral: float
    protection_yaw: float = math.inf
    standing: bool = False
    protection_longitudinal: float = math.inf


class Tracker:
    """One run of the filter from a start to a restart. ``kalman`` is the state at ``imu``."""

    def __init__(
        self,
        config: LocalizationConfig,
        frame: LocalFrame,
        lever_arm: FloatArray,
        kalman: ErrorStateFilter,
        imu: ImuSample,
        report: VehicleReport,
        confirmed: bool = True,
        wheelbase: float | None = None,
    ) -> None:
        self._config = config
        self._wheelbase = wheelbase
        self._frame = frame
        self._kalman = ReplayFilter(config, kalman, lever_arm, imu.stamp_ns, round(config.match_max_delay * NS))
        self.stamp_ns = imu.stamp_ns
        self._force, self._rate = imu.acceleration, imu.angular_rate
        self._steering = report.steering
        self._report_ns = report.stamp_ns
        self._pending: list[GnssFix] = []
        self._still_since_ns: int | None = None
        self._standing = False
        self._at_rest = False  # as wheels and gyroscope say, whatever the estimate is
        self._matched = False  # a scan match was used since the start
        self._confirmed = confirmed  # by a sensor; what a person says is not enough to drive on
        self._refused: tuple[PoseFix, FloatArray] | None = None
        self._refused_count = 0
        self._odometry_frame = ""
        self._acceleration = 0.0
        self._yaw_rate = 0.0
        self._monitor = IntegrityMonitor(config, imu.stamp_ns)
        self._limiter = CorrectionLimiter(config.correction_speed, config.correction_rate)
        self._motion = MotionBuffer(round(config.gnss_max_delay * NS))
        self._motion.append(imu.stamp_ns, (0.0, 0.0, 0.0), (kalman.rotation() @ lever_arm).tolist())
        if math.isfinite(imu.heading):
            self._monitor.saw_heading(imu.stamp_ns, True)
        self.result = self._read_out(0.0)

    def pose_now(self) -> FloatArray:
        """T_map_base (4x4) of the last step, as the filter sees it."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self._kalman.rotation(), self._kalman.position
        return out

    def pose_at(self, stamp_ns: int) -> FloatArray | None:
        """T_map_base (4x4) as the filter sees it; None where its memory does not reach."""
        return self._kalman.pose_at(stamp_ns)

    def step(
        self,
        imu: ImuSample,
        usable: bool,
        report: VehicleReport | None,
        fixes: list[GnssFix],
        matches: Sequence[PoseFix] = (),
    ) -> Localization:
        """Advance to ``imu.stamp_ns``; ``usable`` false: the sample is not, go on by the tyres."""
        dt = (imu.stamp_ns - self.stamp_ns) / NS
        if report is not None and report.stamp_ns == self._report_ns:
            report = None
        before, after = self._advance(imu, usable, report, dt)
        others = bool(fixes or self._pending or matches)
        if fixes or self._pending:
            self._update_fixes(fixes)
        self._kalman.commit(imu.stamp_ns)
        for fix in matches:
            self._update_match(fix)
        self._limiter.apply(before, self._kalman.pose() if others else after, dt)
        self.result = self._read_out(dt)
        return self.result

    def wants_restart(self) -> bool:
        return self._monitor.wants_restart(self.stamp_ns, self.result.status, self._at_rest)

    def _advance(
        self, imu: ImuSample, usable: bool, report: VehicleReport | None, dt: float
    ) -> tuple[list[float], list[float]]:
        """Predict and update by the car's own sensors; returns x, y, yaw as predicted and as updated."""
        monitor, stamp = self._monitor, imu.stamp_ns
        force_before, rate_before = self._force, self._rate
        heading = math.nan
        if usable:
            self._force, self._rate, heading = imu.acceleration, imu.angular_rate, imu.heading
            monitor.saw_imu(stamp)
        elif self._wheelbase is not None:
            self._force, self._rate = self._kalman.inertial_by(self._steering, self._wheelbase)
        self.stamp_ns = stamp
        wheel = math.nan
        if report is not None:
            self._steering, self._report_ns, wheel = report.steering, report.stamp_ns, report.speed
        since = self._still_since_ns
        stood = since is not None and stamp - since >= self._config.standstill_time * NS
        sensed = math.isfinite(heading)
        sigma = heading_sigma(self._config, imu) if sensed else 1.0
        out = self._kalman.advance(
            Motion(force_before, self._force, rate_before, self._rate, dt, usable, stood, wheel, heading, sigma)
        )
        self._motion.append(stamp, out[0:3], out[3:6])
        still, standing, wheel_ok, heading_ok = out[kernels.STILL :]
        self._standing = standing > 0.0
        c = self._config
        self._at_rest = usable and abs(wheel) <= c.standstill_speed and abs(self._rate[2]) <= c.standstill_rate
        if still == 0.0:
            self._still_since_ns = None
        elif since is None:
            self._still_since_ns = stamp
        if report is not None:
            monitor.saw_wheel(stamp, wheel_ok > 0.0)
        if sensed:
            monitor.saw_heading(stamp, heading_ok > 0.0)
        return out[6:9], out[9:12]

    def _update_fixes(self, fixes: list[GnssFix]) -> None:
        waiting = []
        for fix in sorted([*self._pending, *fixes], key=lambda f: f.stamp_ns):
            if fix.stamp_ns > self.stamp_ns:
                # its moment has not come; that of a clock far ahead never does
                if fix.stamp_ns - self.stamp_ns <= self._config.gnss_max_delay * NS:
                    waiting.append(fix)
                continue
            past = self._motion.at(fix.stamp_ns)
            if past is None:
                continue
            travelled, arm = past
            offset = map_position(self._frame, fix) - (self._kalman.position - travelled + arm)
            outcome = self._kalman.update_position(offset, arm, fix_sigma(self._config, fix))
            self._monitor.saw_fix(self.stamp_ns, outcome)
            self._confirmed = self._confirmed or outcome.accepted
        self._pending = waiting

    def _update_odometry(self, fix: PoseFix) -> None:
        """Motion by lidar odometry: takes the place of nothing, holds what is known for longer."""
        if not fix.accepted or not self._kalman.reaches(fix.stamp_ns):
            return
        self._monitor.saw_odometry()
        begins = fix.frame != self._odometry_frame
        self._odometry_frame = fix.frame
        if not self._kalman.update_odometry(fix, begins):
            self._odometry_frame = ""  # it has slipped: the next one begins a new frame

    def _update_match(self, fix: PoseFix) -> None:
        if fix.frame != "map":
            self._update_odometry(fix)
            return
        if not fix.accepted:
            self._refused, self._refused_count = None, 0
            self._monitor.saw_match(self.stamp_ns, False, fix.reason, len(fix.open))
        elif self._kalman.reaches(fix.stamp_ns):
            accepted = self._kalman.update_pose(fix)
            self._matched = self._matched or accepted
            self._confirmed = self._confirmed or accepted
            self._remember_refused(fix, accepted)
            offset = fix.T_map_base[:3, 3] - self._kalman.position
            why = "" if accepted else f"the scan match contradicts the estimate by {np.hypot(*offset[:2]):.1f} m"
            self._monitor.saw_match(self.stamp_ns, accepted, why, len(fix.open))

    def _remember_refused(self, fix: PoseFix, accepted: bool) -> None:
        """Count matches in a row that contradict the estimate while they agree with each other."""
        now = self._kalman.pose_at(fix.stamp_ns)
        if accepted or len(fix.open) or now is None:
            self._refused, self._refused_count = None, 0
            return
        offset = fix.T_map_base @ inverse(now)  # the same for all if the estimate is wrong by one constant
        before, self._refused = self._refused, (fix, offset)
        there = None if before is None else before[1] @ now
        agree = there is not None and float(np.linalg.norm((there - fix.T_map_base)[:2, 3])) < _SAME_PLACE
        self._refused_count = self._refused_count + 1 if agree else 1

    def found_elsewhere(self) -> FloatArray | None:
        """T_map_base of now where the map puts the car, if it has done so long enough and no GNSS speaks for the
        estimate; else None."""
        if self._refused is None or self._refused_count < self._config.match_restart:
            return None
        if self._monitor.held_by_gnss(self.stamp_ns):
            return None
        fix, _ = self._refused
        then = self._kalman.pose_at(fix.stamp_ns)
        return None if then is None else fix.T_map_base @ inverse(then) @ self.pose_now()

    @property
    def fixes_refused(self) -> int:
        """Fixes in a row that contradict the pose of the start."""
        return self._monitor.fixes_refused

    def _read_out(self, dt: float) -> Localization:
        c = self._config
        doubt = self._monitor.contradiction(self.stamp_ns) if self._confirmed else _UNCONFIRMED
        values, covariance = self._kalman.readout(self._limiter.offset, doubt, self._force, self._rate, self._matched)
        x, y, z, yaw, speed, acceleration, yaw_rate, lateral_sigma, yaw_sigma, along_sigma = values
        if self._standing:
            acceleration = yaw_rate = 0.0
        self._acceleration = low_pass(self._acceleration, acceleration, dt, c.acceleration_time)
        self._yaw_rate = low_pass(self._yaw_rate, yaw_rate, dt, c.yaw_rate_time)
        state = EgoState(
            stamp_ns=self.stamp_ns,
            x=x,
            y=y,
            z=z,
            yaw=math.remainder(yaw, 2.0 * math.pi),
            speed=speed,
            acceleration=self._acceleration,
            yaw_rate=self._yaw_rate,
            steering=self._steering,
            covariance=covariance,
        )
        lateral = c.protection_sigmas * lateral_sigma
        verdict = self._monitor.judge(self.stamp_ns, lateral, yaw_sigma)
        return Localization(
            state, verdict.status, verdict.reason, lateral, c.protection_sigmas * yaw_sigma, self._standing,
            c.protection_sigmas * along_sigma,
        )  # fmt: skip
