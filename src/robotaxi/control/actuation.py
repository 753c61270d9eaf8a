"""What the car does with commands already sent: dead time, lag, and what the model leaves out.

Commands act ``command_latency`` plus the actuator's dead time after their stamp, through a
first-order lag. The prediction runs the single-track model forward over that time with the commands
sent meanwhile, so that the controllers act on the state their command will meet. The same model,
run beside the car, smooths the measured pose and learns what it leaves out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.control.config import ControlConfig
from robotaxi.control.lateral_dynamics import lateral_step, slip_share, steering_after
from robotaxi.control.learning import CurvatureLearner, SlipLearner
from robotaxi.control.steering_delay import SteeringDelay
from robotaxi.geometry.se2 import wrap_angle
from robotaxi.types import EgoState, FloatArray, VehicleParams, VehicleReport

IntArray = NDArray[np.int64]
_SUBSTEP = 0.01  # s, of the forward prediction
_HISTORY = 64  # commands kept; 1.28 s at 20 ms
_DEAD_TIME, _LEARNED = 1, slice(6, 11)  # of the prediction's parameters: what changes while driving


class PredictedState(NamedTuple):
    """State of ``base_link`` in ``map`` at the time the next command takes effect."""

    x: float
    y: float
    yaw: float
    speed: float
    steering: float  # tyre angle
    acceleration: float
    beta: float = 0.0  # side slip of the centre of mass, rad
    kappa: float = 0.0  # yaw rate over speed, 1/m


@dataclass(frozen=True)
class Disturbance:
    """What the kinematic model leaves out, as observed."""

    curvature: float = 0.0  # 1/m at walking pace: tangent of the steering offset over the wheelbase
    slip: float = 0.0  # rad, course of the rear axle minus yaw
    understeer: float = 0.0  # rad s^2/m, on top of the configured gradient
    rear_slip: float = 0.0  # rad s^2/m, on top of the configured gradient
    acceleration: float = 0.0  # m/s^2, grade and brake bias


class _Sent:
    """The newest `_HISTORY` commands, as arrays that need not be made for each prediction."""

    def __init__(self) -> None:
        self._begin = self._end = 0
        self._stamps = np.zeros(4 * _HISTORY, np.int64)
        self._values = np.zeros((2, 4 * _HISTORY))

    def __len__(self) -> int:
        return self._end - self._begin

    def add(self, stamp_ns: int, steering: float, acceleration: float) -> None:
        if self._end == len(self._stamps):
            kept = slice(self._begin, self._end)
            self._begin, self._end = 0, len(self)
            self._stamps[: self._end] = self._stamps[kept]
            self._values[:, : self._end] = self._values[:, kept]
        self._stamps[self._end] = stamp_ns
        self._values[:, self._end] = steering, acceleration
        self._end += 1
        self._begin = max(self._begin, self._end - _HISTORY)

    def columns(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """Stamps (ns), tyre angles and accelerations, oldest first."""
        kept = slice(self._begin, self._end)
        return self._stamps[kept], self._values[0, kept], self._values[1, kept]


class ActuationModel:
    """Keeps the commands sent, follows the actuators, observes the disturbance."""

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        self._config = config
        self._vehicle = vehicle
        self._calibrated_dead_time = config.command_latency + vehicle.steering_delay
        self.drive_dead_time = config.command_latency + vehicle.drive_delay
        self._parameters = np.array(
            [
                vehicle.wheelbase,
                0.0,  # `_DEAD_TIME`
                max(vehicle.steering_lag, 1e-3),
                vehicle.max_steering_rate,
                self.drive_dead_time,
                max(vehicle.drive_lag, 1e-3),
                *(0.0, 0.0, 0.0, 0.0, 0.0),  # `_LEARNED`
                config.cg_fraction,
                config.inertia_ratio,
            ]
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first command."""
        self._sent = _Sent()
        self._last: EgoState | None = None
        self._pose = (0.0, 0.0, 0.0)
        self._beta = self._kappa = 0.0
        self._tyre_angle = self._modelled_angle = 0.0
        self._delay = SteeringDelay(self._config)
        self._curvature, self._slip = CurvatureLearner(self._config), SlipLearner(self._config)
        self._drive = 0.0
        self._observed_speed = 0.0
        self.disturbance = Disturbance()

    def sent(self, stamp_ns: int, steering: float, acceleration: float) -> None:
        """Record a command given to the car."""
        self._sent.add(stamp_ns, steering, acceleration)

    @property
    def steering_dead_time(self) -> float:
        """Calibrated and learned, from the stamp of a command until the tyres begin to follow; seconds."""
        return max(self._calibrated_dead_time + self._delay.shift, 0.0)

    def update(self, state: EgoState, report: VehicleReport | None) -> None:
        """Take a new measured state: follow the actuators, the pose and the disturbance up to it."""
        seen = report is not None and math.isfinite(report.steering)
        angle = report.steering if report is not None and seen else state.steering
        seen_ns = report.stamp_ns if report is not None and seen else state.stamp_ns
        last = self._last
        self._last = state
        if last is None:
            self._tyre_angle = self._modelled_angle = angle
            self._observed_speed, self._pose = state.speed, (state.x, state.y, state.yaw)
            return
        dt = (state.stamp_ns - last.stamp_ns) * 1e-9
        if dt <= 0.0:
            return
        before = self._predict(last, dt)  # the same model, now checked against what really happened
        self._follow_angle(before, angle, (state.stamp_ns - seen_ns) * 1e-9, last, dt)
        self._drive = before.acceleration - self.disturbance.acceleration
        self._beta, self._kappa = before.beta, before.kappa
        self._observe_curvature(state, dt)
        self._follow_pose(state, before, dt)
        self.disturbance = Disturbance(
            self._curvature.offset, self._slip.offset, self._curvature.gradient, self._slip.gradient,
            self._observe_grade(state, dt),
        )  # fmt: skip

    def at_steering_effect(self, state: EgoState) -> PredictedState:
        """State when a steering command stamped now takes effect."""
        return self._predict(state, self.steering_dead_time)

    def at_drive_effect(self, state: EgoState) -> PredictedState:
        """State when an acceleration command stamped now takes effect."""
        return self._predict(state, self.drive_dead_time)

    @property
    def understeer_gradient(self) -> float:
        """Configured and learned, rad s^2/m."""
        return self._config.understeer_gradient + self.disturbance.understeer

    @property
    def rear_slip_gradient(self) -> float:
        """Configured and learned, rad s^2/m."""
        return self._config.rear_slip_gradient + self.disturbance.rear_slip

    def _follow_angle(self, before: PredictedState, angle: float, age: float, last: EgoState, dt: float) -> None:
        """Tyre angle from model and report, and how late the tyres are against the calibrated model."""
        rate = (before.steering - self._tyre_angle) / dt
        age = min(max(age, 0.0), 0.1)
        gain = self._config.steering_measurement_gain
        self._tyre_angle = before.steering + gain * (angle + rate * age - before.steering)
        if not self._sent:
            self._modelled_angle = angle
            return
        stamps, steering, _ = self._sent.columns()
        modelled = steering_after(
            self._modelled_angle, stamps, last.stamp_ns, steering, self._calibrated_dead_time,
            max(self._vehicle.steering_lag, 1e-3), self._vehicle.max_steering_rate, dt,
        )  # fmt: skip
        rate = (modelled - self._modelled_angle) / dt
        self._modelled_angle = modelled
        self._delay.see(rate, angle - (modelled - rate * age), dt)

    def _observe_curvature(self, state: EgoState, dt: float) -> None:
        """Learn offset and understeer gradient from the yaw rate."""
        if state.speed < self._config.min_observer_speed:
            return
        wheelbase = self._vehicle.wheelbase
        length = wheelbase + self.understeer_gradient * state.speed**2
        error = state.yaw_rate / state.speed - self._kappa
        self._curvature.see(error, self._kappa, state.speed, length, wheelbase, dt)

    def _follow_pose(self, state: EgoState, before: PredictedState, dt: float) -> None:
        """Pose between model and measurement, and the rear axle's side slip. Along the car the measurement counts."""
        config = self._config
        dx, dy, turned = state.x - before.x, state.y - before.y, wrap_angle(state.yaw - before.yaw)
        c, s = math.cos(before.yaw), math.sin(before.yaw)
        along, across = c * dx + s * dy, c * dy - s * dx
        jumped = abs(across) > config.pose_jump or abs(along) > 4.0 * config.pose_jump or abs(turned) > 0.1
        if jumped or state.speed < config.min_observer_speed:
            self._pose = (state.x, state.y, state.yaw)
            return
        left = across - self._slip.see(across, state.speed**2 * self._kappa, state.speed, dt)
        keep = 1.0 - min(config.yaw_filter_rate * dt, 1.0)
        self._pose = (state.x + s * left, state.y - c * left, state.yaw - keep * turned)

    def _observe_grade(self, state: EgoState, dt: float) -> float:
        config, value = self._config, self.disturbance.acceleration
        if abs(state.speed) < 2.0 * config.hold_speed:  # the brakes hold: nothing to see
            self._observed_speed = state.speed
            return value
        self._observed_speed += (self._drive + value) * dt
        error = state.speed - self._observed_speed
        self._observed_speed += min(2.0 * config.grade_observer_rate * dt, 1.0) * error
        value += config.grade_observer_rate**2 * dt * error
        return min(max(value, -config.max_grade_acceleration), config.max_grade_acceleration)

    def _predict(self, state: EgoState, horizon: float) -> PredictedState:
        columns = self._sent.columns() if self._sent else self._as_if_sent(state)
        learned = self.disturbance
        self._parameters[_DEAD_TIME] = self.steering_dead_time
        self._parameters[_LEARNED] = (
            learned.curvature, learned.slip, learned.acceleration, self.understeer_gradient, self.rear_slip_gradient,
        )  # fmt: skip
        x, y, yaw, speed, angle, drive, beta, kappa = _roll(
            np.array([*self._pose, state.speed, self._tyre_angle, self._drive, self._beta, self._kappa]),
            *columns,
            state.stamp_ns,
            horizon,
            self._parameters,
        )
        return PredictedState(x, y, yaw, speed, angle, drive + self.disturbance.acceleration, beta, kappa)

    def _as_if_sent(self, state: EgoState) -> tuple[IntArray, FloatArray, FloatArray]:
        """Before the first command: as if the tyres had been told to stay."""
        return np.array([state.stamp_ns]), np.array([self._tyre_angle]), np.zeros(1)


@njit(cache=True)
def bicycle_curvature(steering: float, speed: float, wheelbase: float, understeer: float) -> float:
    """Curvature of the rear axle's path at a tyre angle; ``understeer`` in rad per m/s^2."""
    return math.tan(steering) / (wheelbase + understeer * speed * speed)


@njit(cache=True)
def _roll(
    start: FloatArray,
    stamps: IntArray,
    steering: FloatArray,
    acceleration: FloatArray,
    now_ns: int,
    horizon: float,
    p: FloatArray,
) -> tuple[float, float, float, float, float, float, float, float]:
    x, y, yaw, v = start[0], start[1], start[2], start[3]
    angle, drive, beta, kappa = start[4], start[5], start[6], start[7]
    wheelbase, steer_dead, steer_lag, steer_rate, drive_dead, drive_lag = p[0], p[1], p[2], p[3], p[4], p[5]
    n = len(stamps)
    steps = max(math.ceil(horizon / _SUBSTEP - 1e-9), 1)
    h = horizon / steps
    if h <= 0.0:
        return x, y, yaw, v, angle, drive + 0.0, beta, kappa
    keep_steer, keep_drive = math.exp(-h / steer_lag), math.exp(-h / drive_lag)
    to_rear = p[11] * wheelbase
    i_steer = i_drive = 0
    for k in range(steps):
        middle = (k + 0.5) * h
        while i_steer + 1 < n and (stamps[i_steer + 1] - now_ns) * 1e-9 + steer_dead <= middle:
            i_steer += 1
        while i_drive + 1 < n and (stamps[i_drive + 1] - now_ns) * 1e-9 + drive_dead <= middle:
            i_drive += 1
        turn = (steering[i_steer] - angle) * (1.0 - keep_steer)
        turn = min(max(turn, -steer_rate * h), steer_rate * h)
        angle_mid = angle + 0.5 * turn
        angle += turn
        drive += (acceleration[i_drive] - drive) * (1.0 - keep_drive)
        v_new = v + (drive + p[8]) * h
        if v >= 0.0 and v_new < 0.0:  # brakes stop the car, they do not push it back
            v_new = 0.0
        v_mid = 0.5 * (v + v_new)
        beta_new, kappa_new = lateral_step(
            beta, kappa, math.tan(angle_mid) + wheelbase * p[6], v_mid, wheelbase, p[11], p[12], p[9], p[10], h
        )
        kappa_mid = 0.5 * (kappa + kappa_new)
        slip = (0.5 * (beta + beta_new) - to_rear * kappa_mid) * slip_share(v_mid)
        beta, kappa = beta_new, kappa_new
        course = yaw + 0.5 * kappa_mid * v_mid * h + p[7] + slip
        x += v_mid * h * math.cos(course)
        y += v_mid * h * math.sin(course)
        yaw += kappa_mid * v_mid * h
        v = v_new
    return x, y, yaw, v, angle, drive, beta, kappa
