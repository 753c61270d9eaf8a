"""From IMU, wheels and satellite positions to the pose that everything else relies on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.localization import integrity
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import ErrorStateFilter, initial_filter
from robotaxi.localization.integrity import IntegrityMonitor, Verdict
from robotaxi.localization.smoothing import CorrectionLimiter, MotionBuffer, low_pass
from robotaxi.localization.start import Starter, heading_sigma
from robotaxi.types import EgoState, FloatArray, GnssFix, ImuSample, VehicleReport

_S = 1_000_000_000
_GUESS_INFLATION = 400.0  # noise variance of a bridged inertial sample: twenty times the sigma


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


class Localizer:
    """Error-state Kalman filter with integrity monitoring; see `eskf` and `integrity`.

    ``origin``: latitude and longitude in degrees and altitude in metres of map (0, 0, 0).
    ``gnss_lever_arm``: (3,) antenna in base_link.
    """

    def __init__(
        self, config: LocalizationConfig, origin: tuple[float, float, float], gnss_lever_arm: FloatArray
    ) -> None:
        arm = np.asarray(gnss_lever_arm, dtype=np.float64)
        if arm.shape != (3,) or not np.all(np.isfinite(arm)):
            raise ValueError(f"gnss_lever_arm must be three finite numbers, is {gnss_lever_arm!r}")
        self._config = config
        self._frame = LocalFrame(*origin)
        self._lever_arm = arm
        self._note = ""
        self._compile()
        self._restart("")

    def step(self, imu: ImuSample, report: VehicleReport | None, fixes: Sequence[GnssFix]) -> Localization:
        """Advance to ``imu.stamp_ns`` with all fixes that arrived since the last step.

        Never raises on bad readings: they are left out and the status names them.
        """
        c = self._config
        usable = self._usable(imu)
        report = self._current(report, imu.stamp_ns)
        self._pending.extend(f for f in fixes if f.valid and self._plausible(f))
        if self._filter is None or self._last is None:
            return self._start(imu, usable, report)
        dt = (imu.stamp_ns - self._stamp_ns) / _S
        if dt <= 0.0 and -dt <= c.out_of_order:
            return self._last
        if dt <= 0.0:
            self._restart(f"time jumped back by {-dt:.2f} s")
            return self._start(imu, usable, report)
        if dt > c.max_gap:
            self._restart(f"inertial sensor was silent for {dt:.2f} s")
            return self._start(imu, usable, report)
        self._predict(imu, usable, dt)
        before = self._pose()
        self._update(imu, usable, report)
        self._limiter.apply(self._pose() - before, dt)
        result = self._result(imu.stamp_ns, report, dt)
        if self._monitor.wants_restart(imu.stamp_ns, result.status, self._standing):
            self._restart(f"started over after: {result.reason}")
        self._last = result
        return result

    # ------------------------------------------------------------------------ life cycle

    def _restart(self, note: str) -> None:
        c = self._config
        self._note = note
        self._filter: ErrorStateFilter | None = None
        self._starter = Starter(c, self._lever_arm)
        self._pending: list[GnssFix] = []
        self._last: Localization | None = None
        self._stamp_ns = 0
        self._force = np.zeros(3)
        self._rate = np.zeros(3)
        self._wheel_stamp_ns = -1
        self._steering = 0.0
        self._still_since_ns: int | None = None
        self._standing = False
        self._acceleration = 0.0
        self._yaw_rate = 0.0

    def _start(self, imu: ImuSample, usable: bool, report: VehicleReport | None) -> Localization:
        fix = None
        for candidate in self._pending:
            # at a start there is no motion to carry a fix along: only a fresh one will do
            if abs(imu.stamp_ns - candidate.stamp_ns) <= self._config.out_of_order * _S:
                fix = (self._map_position(candidate), self._sigma(candidate))
        self._pending = []
        started = self._starter.offer(imu, report, fix) if usable else None
        if started is None or report is None:
            why = self._starter.reason if usable else "no usable inertial sample"
            reason = f"{self._note}; {why}" if self._note else why
            return Localization(None, integrity.INITIALISING, reason, math.inf)
        self._filter = started
        self._stamp_ns = imu.stamp_ns
        self._force, self._rate = imu.acceleration, imu.angular_rate
        self._steering = report.steering
        self._wheel_stamp_ns = report.stamp_ns
        self._monitor = IntegrityMonitor(self._config, imu.stamp_ns)
        self._limiter = CorrectionLimiter(self._config.correction_speed, self._config.correction_rate)
        self._motion = MotionBuffer(round(self._config.gnss_max_delay * _S))
        self._motion.append(imu.stamp_ns, np.zeros(3), started.rotation() @ self._lever_arm)
        if math.isfinite(imu.heading):
            self._monitor.saw_heading(imu.stamp_ns, True)
        self._note = ""
        self._last = self._result(imu.stamp_ns, report, 0.0)
        return self._last

    def _compile(self) -> None:
        """Run every kernel once, so that the first real step is as quick as the others."""
        scratch = initial_filter(self._config, np.zeros(3), 0.0, 0.0, np.ones(3), 1.0, np.array([0.0, 0.0, self._config.gravity]))
        scratch.predict(np.zeros(3), np.zeros(3), 0.02)
        scratch.update_position(np.zeros(3), np.zeros(3), np.ones(3))
        scratch.update_body_velocity(0.0, 0.0, 1.0)
        scratch.update_heading(0.0, 1.0)
        scratch.update_standstill(np.zeros(3))

    # ------------------------------------------------------------------------ prediction and updates

    def _predict(self, imu: ImuSample, usable: bool, dt: float) -> None:
        assert self._filter is not None
        start = self._filter.position.copy()
        if usable:
            # readings are instantaneous: the mean of both ends is the interval's
            force, rate = 0.5 * (self._force + imu.acceleration), 0.5 * (self._rate + imu.angular_rate)
            self._force, self._rate = imu.acceleration, imu.angular_rate
            self._monitor.saw_imu(imu.stamp_ns)
        else:
            force, rate = self._force, self._rate
        self._filter.predict(force, rate, dt, 1.0 if usable else _GUESS_INFLATION)
        self._motion.append(imu.stamp_ns, self._filter.position - start, self._filter.rotation() @ self._lever_arm)
        self._stamp_ns = imu.stamp_ns

    def _update(self, imu: ImuSample, usable: bool, report: VehicleReport | None) -> None:
        self._standing = self._detect_standstill(imu, usable, report)
        self._update_wheels(report)
        if usable and math.isfinite(imu.heading):
            assert self._filter is not None
            accepted = self._filter.update_heading(imu.heading, heading_sigma(self._config, imu))
            self._monitor.saw_heading(imu.stamp_ns, accepted)
        self._update_fixes(imu.stamp_ns)

    def _update_wheels(self, report: VehicleReport | None) -> None:
        assert self._filter is not None
        c = self._config
        if self._standing:
            self._filter.update_standstill(self._rate)
        wheel = math.nan
        if report is not None:
            self._steering = report.steering
            wheel = report.speed
        speed = float(np.linalg.norm(self._filter.state[3:5]))
        lateral_acceleration = speed * float(self._rate[2] - self._filter.state[12])
        # a turning car slides outwards at the rear by its tyres' slip angle
        slip = -c.rear_slip_angle * lateral_acceleration * speed
        accepted, _ = self._filter.update_body_velocity(
            wheel, slip, c.lateral_speed_sigma + c.rear_slip_spread * abs(slip)
        )
        if report is not None:
            self._monitor.saw_wheel(self._stamp_ns, accepted)

    def _update_fixes(self, stamp_ns: int) -> None:
        assert self._filter is not None
        waiting = []
        for fix in sorted(self._pending, key=lambda f: f.stamp_ns):
            if fix.stamp_ns > stamp_ns:
                # its moment has not come; a clock far ahead never does
                if fix.stamp_ns - stamp_ns <= self._config.gnss_max_delay * _S:
                    waiting.append(fix)
                continue
            past = self._motion.at(fix.stamp_ns)
            if past is None:
                continue
            travelled, arm = past
            offset = self._map_position(fix) - (self._filter.position - travelled + arm)
            self._monitor.saw_fix(stamp_ns, self._filter.update_position(offset, arm, self._sigma(fix)))
        self._pending = waiting

    def _detect_standstill(self, imu: ImuSample, usable: bool, report: VehicleReport | None) -> bool:
        assert self._filter is not None
        c = self._config
        still = (
            usable
            and report is not None
            and abs(report.speed) <= c.standstill_speed
            and abs(float(imu.angular_rate[2] - self._filter.state[12])) <= c.standstill_rate
        )
        if not still:
            self._still_since_ns = None
            return False
        if self._still_since_ns is None:
            self._still_since_ns = imu.stamp_ns
        return imu.stamp_ns - self._still_since_ns >= c.standstill_time * _S

    # ------------------------------------------------------------------------ output

    def _pose(self) -> FloatArray:
        """(x, y, yaw) of the filter."""
        assert self._filter is not None
        x, y = self._filter.state[:2].tolist()
        return np.array([x, y, self._filter.yaw])

    def _result(self, stamp_ns: int, report: VehicleReport | None, dt: float) -> Localization:
        assert self._filter is not None
        c = self._config
        kalman = self._filter
        rot = kalman.rotation()
        if self._standing:
            self._acceleration = low_pass(self._acceleration, 0.0, dt, c.acceleration_time)
            self._yaw_rate = low_pass(self._yaw_rate, 0.0, dt, c.yaw_rate_time)
        else:
            forward = float(self._force[0] - kalman.state[13] - rot[2, 0] * c.gravity)
            turning = float(rot[2] @ (self._rate - kalman.state[10:13]))
            self._acceleration = low_pass(self._acceleration, forward, dt, c.acceleration_time)
            self._yaw_rate = low_pass(self._yaw_rate, turning, dt, c.yaw_rate_time)
        offset = self._limiter.offset
        x, y, yaw = (self._pose() + offset).tolist()
        rows = [0, 1, 8]
        covariance = kalman.covariance[np.ix_(rows, rows)] + np.outer(offset, offset)
        contradiction = self._monitor.contradiction()
        covariance[:2, :2] += np.outer(contradiction, contradiction)
        sideways = np.array([-math.sin(yaw), math.cos(yaw)])
        lateral = c.protection_sigmas * math.sqrt(max(0.0, float(sideways @ covariance[:2, :2] @ sideways)))
        yaw_sigma = math.sqrt(max(0.0, float(covariance[2, 2])))
        verdict: Verdict = self._monitor.judge(stamp_ns, lateral, yaw_sigma)
        state = EgoState(
            stamp_ns=stamp_ns,
            x=x,
            y=y,
            z=float(kalman.state[2]),
            yaw=math.remainder(yaw, 2.0 * math.pi),
            speed=float(rot[:, 0] @ kalman.state[3:6]),
            acceleration=self._acceleration,
            yaw_rate=self._yaw_rate,
            steering=self._steering,
            covariance=covariance,
        )
        protection_yaw = c.protection_sigmas * yaw_sigma
        return Localization(state, verdict.status, verdict.reason, lateral, protection_yaw, self._standing)

    # ------------------------------------------------------------------------ readings

    def _usable(self, imu: ImuSample) -> bool:
        force, rate = np.asarray(imu.acceleration), np.asarray(imu.angular_rate)
        if force.shape != (3,) or rate.shape != (3,):
            return False
        # comparisons with NaN are false, so this refuses NaN and infinity as well
        return bool(
            np.abs(force).max() <= self._config.max_specific_force and np.abs(rate).max() <= self._config.max_angular_rate
        )

    def _current(self, report: VehicleReport | None, stamp_ns: int) -> VehicleReport | None:
        """The report if it is fresh, finite and not used before."""
        if report is None or not math.isfinite(report.speed) or not math.isfinite(report.steering):
            return None
        if report.stamp_ns == self._wheel_stamp_ns or abs(stamp_ns - report.stamp_ns) > self._config.wheel_timeout * _S:
            return None
        if self._filter is not None:
            self._wheel_stamp_ns = report.stamp_ns
        return report

    @staticmethod
    def _plausible(fix: GnssFix) -> bool:
        numbers = (fix.latitude_deg, fix.longitude_deg, fix.altitude, *np.asarray(fix.sigma).ravel().tolist())
        return (
            len(numbers) == 6
            and all(map(math.isfinite, numbers))
            and abs(fix.latitude_deg) <= 90.0
            and abs(fix.longitude_deg) <= 180.0
            and min(numbers[3:]) >= 0.0
        )

    def _sigma(self, fix: GnssFix) -> FloatArray:
        return np.maximum(np.asarray(fix.sigma, dtype=np.float64), self._config.gnss_sigma_floor)

    def _map_position(self, fix: GnssFix) -> FloatArray:
        return np.array(self._frame.to_map(fix.latitude_deg, fix.longitude_deg, fix.altitude))
