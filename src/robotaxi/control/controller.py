"""The controller: one step every 20 ms from state and trajectory to a command."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from robotaxi.control.actuation import ActuationModel, PredictedState
from robotaxi.control.config import ControlConfig
from robotaxi.control.lateral_mpc import LateralMpc
from robotaxi.control.longitudinal import SpeedController, SpeedTask
from robotaxi.control.pure_pursuit import pursue
from robotaxi.control.reference import Projection, Reference, TrajectoryError
from robotaxi.control.steering_limits import SteeringLimits
from robotaxi.geometry.turned import turned_report, turned_state, turned_trajectory
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    Trajectory,
    VehicleParams,
    VehicleReport,
)

_SEARCH_WINDOW = 15.0  # m of path before and after the expected place that projection looks at
_DEPARTURE_WINDOW = 1.0  # s; a trajectory that moves within it drives off
_MAX_GAP_NS = 500_000_000  # a longer gap between states, or one back in time, starts afresh


@dataclass(frozen=True)
class ControlOutput:
    """One command and how well the last ones did.

    Errors are those of the measured state: ``lateral_error`` left of the path positive (m),
    ``heading_error`` (rad), ``speed_error`` measured minus wanted (m/s). NaN without a trajectory.
    ``status``: "tracking", "holding", or a sentence.
    """

    command: Command
    lateral_error: float
    heading_error: float
    speed_error: float
    status: str


class Controller:
    """Delay-compensated path and speed tracking. Deterministic; keeps the commands it gave.

    Backwards drives a second one that sees the car turned round (`geometry.turned`); who drives changes at standstill.
    """

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        self._config = config
        self._vehicle = vehicle
        self._actuation = ActuationModel(config, vehicle)
        self._mpc = LateralMpc(config, vehicle)
        self._speed = SpeedController(config, vehicle)
        self._trajectory: Trajectory | None = None
        self._limits = SteeringLimits(config, vehicle)
        self._reference: Reference | None = None
        self._reference_fault = ""
        self._steering: float | None = None
        self._last_stamp_ns: int | None = None
        self._backwards: Controller | None = None  # while it drives
        self._seen: Trajectory | None = None
        self._turned: Trajectory | None = None
        self._leads_back: bool | None = None  # where the trajectory leads, None where it stays
        # the middle of each step of the horizon, and what is then left of a difference in speed
        self._times = np.asarray((np.arange(config.mpc_steps) + 0.5) * config.mpc_step_time, np.float64)
        self._decay = np.asarray(np.exp(-self._times / config.speed_error_time), np.float64)

    def warm_up(self) -> None:
        """Compile the hot loops before the first step, so that it is as fast as the others."""
        scratch = Controller(self._config, self._vehicle)
        points = np.zeros(8, TRAJECTORY_DTYPE)
        points["t"] = points["s"] = points["x"] = np.arange(8)
        points["speed"] = 5.0  # fast enough for everything that is learned while driving
        for stamp_ns in (0, 20_000_000, 40_000_000):
            scratch.step(EgoState(stamp_ns, 5e-9 * stamp_ns, 0.0, 0.0, 5.0), Trajectory(0, points), None)

    def step(self, state: EgoState, trajectory: Trajectory | None, report: VehicleReport | None) -> ControlOutput:
        """Command for the state's stamp; call once every ``period``.

        Never raises on bad input: a state that is not finite, or a trajectory that is missing or not
        usable, gives a braking command with the steering kept and a status that says why.
        """
        if not _finite(state):
            if self._backwards is not None:
                return self._turn_back(self._backwards.step(state, trajectory, report))
            return self._without_reference(state.stamp_ns, 0.0, "State is not finite: braking.")
        if self._drives_back(state, trajectory):
            return self._step_back(state, report)
        if self._leads_back:
            self._follow(state, report)
            return self._without_reference(state.stamp_ns, state.speed, "Braking: the trajectory leads the other way.")
        self._follow(state, report)
        self._take(trajectory)
        if self._reference is None:
            return self._without_reference(state.stamp_ns, state.speed, self._reference_fault)
        return self._track(state, self._reference)

    def _drives_back(self, state: EgoState, trajectory: Trajectory | None) -> bool:
        """Whether the one for backwards drives in this step: the change is made at standstill."""
        if trajectory is not self._seen:
            self._seen = trajectory
            self._leads_back, self._turned = None, None
            if trajectory is not None and len(trajectory.points):
                self._leads_back = trajectory.backwards if trajectory.moves else None
        if abs(state.speed) < self._config.hold_speed:
            if self._leads_back and self._backwards is None:
                self._backwards = Controller(self._config, self._vehicle)
                self._backwards._steering = -self._steering if self._steering is not None else None
            elif self._leads_back is False and self._backwards is not None:
                last = self._backwards._steering
                self._steering = -last if last is not None else self._steering
                self._backwards = None
                self._speed = SpeedController(self._config, self._vehicle)
        return self._backwards is not None

    def _step_back(self, state: EgoState, report: VehicleReport | None) -> ControlOutput:
        assert self._backwards is not None
        if self._turned is None and self._seen is not None:
            self._turned = turned_trajectory(self._seen)
        turned = turned_report(report) if report is not None else None
        return self._turn_back(self._backwards.step(turned_state(state), self._turned, turned))

    @staticmethod
    def _turn_back(output: ControlOutput) -> ControlOutput:
        """What the one for backwards says, of the car as it is."""
        command = replace(output.command, steering=-output.command.steering, speed=-output.command.speed, reverse=True)
        return replace(
            output, command=command, lateral_error=-output.lateral_error, speed_error=-output.speed_error
        )  # fmt: skip

    def _follow(self, state: EgoState, report: VehicleReport | None) -> None:
        last = self._last_stamp_ns
        if last is not None and not 0 <= state.stamp_ns - last <= _MAX_GAP_NS:
            self._actuation.reset()
        self._last_stamp_ns = state.stamp_ns
        self._actuation.update(state, report)
        if self._steering is None:
            measured = report.steering if report is not None and math.isfinite(report.steering) else state.steering
            self._steering = min(max(measured, -self._vehicle.max_steering), self._vehicle.max_steering)

    def _take(self, trajectory: Trajectory | None) -> None:
        if trajectory is self._trajectory and (trajectory is not None or self._reference_fault):
            return
        self._trajectory = trajectory
        if trajectory is None:
            self._reference, self._reference_fault = None, "Waiting for a trajectory."
            return
        try:
            self._reference = Reference(trajectory)
        except TrajectoryError as error:
            self._reference, self._reference_fault = None, f"Braking: {error}."

    def _without_reference(self, stamp_ns: int, speed: float, status: str) -> ControlOutput:
        steering = self._steering if self._steering is not None else 0.0
        command = self._send(stamp_ns, steering, self._speed.brake(speed), 0.0)
        return ControlOutput(command, math.nan, math.nan, math.nan, status)

    def _track(self, state: EgoState, reference: Reference) -> ControlOutput:
        now = (state.stamp_ns - reference.stamp_ns) * 1e-9
        wanted_now = reference.at_time(now)
        measured = reference.project(state.x, state.y, state.yaw, wanted_now.s, _SEARCH_WINDOW)
        steering, lateral_status = self._steer(reference, self._actuation.at_steering_effect(state), measured.s)
        if now > self._config.max_trajectory_age:
            acceleration = self._speed.brake(state.speed)
            aim, status = 0.0, f"Braking: the trajectory is {now:.1f} s old."
        else:
            acceleration, aim = self._drive(reference, self._actuation.at_drive_effect(state), state.speed, now)
            status = lateral_status or ("holding" if self._speed.holding else "tracking")
        command = self._send(state.stamp_ns, steering, acceleration, aim)
        return ControlOutput(command, measured.lateral, measured.heading, state.speed - wanted_now.speed, status)

    def _steer(self, reference: Reference, predicted: PredictedState, near_s: float) -> tuple[float, str]:
        config, last = self._config, self._steering or 0.0
        at = reference.project(predicted.x, predicted.y, predicted.yaw, near_s, _SEARCH_WINDOW)
        angle: float | None = None
        status = ""
        if abs(at.lateral) > config.max_lateral_error or abs(at.heading) > config.max_heading_error:
            status = f"Pure pursuit: {at.lateral:.1f} m and {at.heading:.2f} rad off the path."
        else:
            angle = self._solve(reference, predicted, at, last)
            if angle is None:
                status = "Pure pursuit: the steering optimisation did not converge."
        if angle is None:
            standing = predicted.speed < config.hold_speed
            angle = last if standing else pursue(config, self._vehicle, reference, predicted, at.s)
        return self._limits.clamp(angle, last, predicted.speed, config.period), status

    def _solve(self, reference: Reference, predicted: PredictedState, at: Projection, last: float) -> float | None:
        speeds, curvatures = reference.along(
            at.s, predicted.speed, self._times, self._decay, self._config.mpc_step_time
        )
        disturbance = self._actuation.disturbance
        return self._mpc.solve(
            at.lateral,
            at.heading,
            predicted.steering,
            predicted.beta,
            predicted.kappa,
            speeds,
            curvatures,
            last,
            disturbance.curvature,
            disturbance.slip,
            self._actuation.understeer_gradient,
            self._actuation.rear_slip_gradient,
        )

    def _drive(
        self, reference: Reference, predicted: PredictedState, measured_speed: float, now: float
    ) -> tuple[float, float]:
        effect = now + self._actuation.drive_dead_time
        wanted = reference.at_time(effect)
        at = reference.project(predicted.x, predicted.y, predicted.yaw, wanted.s, _SEARCH_WINDOW)
        task = SpeedTask(
            wanted_speed=wanted.speed,
            wanted_acceleration=reference.at_time(effect + self._vehicle.drive_lag).acceleration,
            station_error=wanted.s - at.s,
            predicted_speed=predicted.speed,
            grade=self._actuation.disturbance.acceleration,
            measured_speed=measured_speed,
            distance_to_stop=reference.end_s - at.s if reference.ends_at_rest else math.inf,
            departing=reference.max_speed_between(now, effect + _DEPARTURE_WINDOW) > self._config.departure_speed,
        )
        return self._speed.step(task), wanted.speed

    def _send(self, stamp_ns: int, steering: float, acceleration: float, aim: float) -> Command:
        self._steering = steering
        self._actuation.sent(stamp_ns, steering, acceleration)
        return Command(stamp_ns, steering, acceleration, aim)


def _finite(state: EgoState) -> bool:
    values = (state.x, state.y, state.yaw, state.speed, state.yaw_rate, state.steering)
    return all(math.isfinite(value) for value in values)
