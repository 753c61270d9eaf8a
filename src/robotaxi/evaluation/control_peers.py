"""Other people's steering laws behind our controller's interface, each with the same delay compensation.

Every peer gets the state predicted to the time when its command takes effect, the same path, the same
limits on angle and rate, and the same speed control. Their gains were tuned on the bench's own cars.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_are

from robotaxi.control import ControlConfig, Controller
from robotaxi.control.actuation import PredictedState, bicycle_curvature
from robotaxi.control.pure_pursuit import pursue
from robotaxi.control.reference import Projection, Reference
from robotaxi.types import VehicleParams

FloatArray = NDArray[np.floating[Any]]


class PurePursuit(Controller):
    """Pure pursuit (Coulter 1992) from the compensated pose."""

    def _solve(self, reference: Reference, predicted: PredictedState, at: Projection, last: float) -> float | None:
        return pursue(self._config, self._vehicle, reference, predicted, at.s)


class Stanley(Controller):
    """Stanley (Hoffmann et al., "Autonomous automobile trajectory tracking", ACC 2007) at the front axle."""

    GAIN = 2.2  # 1/s
    SOFTENING = 1.0  # m/s

    def _solve(self, reference: Reference, predicted: PredictedState, at: Projection, last: float) -> float | None:
        ahead = max(predicted.speed, 0.0) * self._vehicle.steering_lag
        turn = bicycle_curvature(predicted.steering, predicted.speed, self._vehicle.wheelbase, 0.0) * ahead
        course = predicted.yaw + 0.5 * turn
        x = predicted.x + ahead * math.cos(course) + self._vehicle.wheelbase * math.cos(predicted.yaw + turn)
        y = predicted.y + ahead * math.sin(course) + self._vehicle.wheelbase * math.sin(predicted.yaw + turn)
        front = reference.project(x, y, predicted.yaw + turn, at.s + ahead + self._vehicle.wheelbase, 15.0)
        return -front.heading - math.atan2(self.GAIN * front.lateral, self.SOFTENING + max(predicted.speed, 0.0))


class Lqr(Controller):
    """Discrete LQR on lateral error, heading error and tyre angle, with curvature feedforward."""

    WEIGHTS = (1.0, 2.0, 0.0)
    INPUT_WEIGHT = 3.0
    STEP = 0.02  # s

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        super().__init__(config, vehicle)
        self._gains: dict[int, FloatArray] = {}

    def _solve(self, reference: Reference, predicted: PredictedState, at: Projection, last: float) -> float | None:
        speed = max(predicted.speed, 1.0)
        wheelbase, lag = self._vehicle.wheelbase, max(self._vehicle.steering_lag, 1e-3)
        key = round(speed * 2.0)
        if key not in self._gains:
            v, dt = key / 2.0, self.STEP
            keep = math.exp(-dt / lag)
            a = np.array([[1.0, v * dt, 0.0], [0.0, 1.0, v * dt / wheelbase], [0.0, 0.0, keep]])
            b = np.array([[0.0], [0.0], [1.0 - keep]])
            r = np.array([[self.INPUT_WEIGHT]])
            p = solve_discrete_are(a, b, np.diag(self.WEIGHTS), r)
            self._gains[key] = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)[0]
        understeer = self._config.understeer_gradient
        ahead = reference.curvature_along(np.array([at.s, at.s + speed * lag]))
        now, soon = (math.atan((wheelbase + understeer * speed * speed) * float(k)) for k in ahead)
        error = np.array([at.lateral, at.heading, predicted.steering - now])
        return soon - float(self._gains[key] @ error)


class AutowareMpc(Controller):
    """The cost of Autoware's mpc_lateral_controller with its default weights, on a kinematic model with lag.

    Error, heading and input weights grow with the square of the speed as there; 50 steps of 0.1 s.
    """

    STEPS, STEP = 50, 0.1

    def _solve(self, reference: Reference, predicted: PredictedState, at: Projection, last: float) -> float | None:
        start = float(np.interp(at.s, reference.s, reference.t))
        times = np.arange(self.STEPS) * self.STEP
        speeds = np.maximum(np.interp(start + times, reference.t, reference.speed), 0.3)
        arc = at.s + np.concatenate([[0.0], np.cumsum(speeds[:-1] * self.STEP)])
        hessian, gradient = _autoware_problem(
            np.array([at.lateral, at.heading, predicted.steering]), speeds, reference.curvature_along(arc), last,
            self._vehicle.wheelbase, max(self._vehicle.steering_lag, 1e-3), self.STEP,
        )  # fmt: skip
        return float(np.linalg.solve(hessian, -gradient)[0])


@njit(cache=True)
def _autoware_problem(start, speeds, curvatures, last, wheelbase, lag, dt):  # type: ignore[no-untyped-def]
    lateral_weight, heading_speed2_weight = 1.0, 0.3
    input_weight, input_speed2_weight, jerk_weight = 1.0, 0.25, 0.1
    rate_weight, acceleration_weight = 0.0, 1e-6
    end_lateral, end_heading = 1.0, 0.1
    n = speeds.shape[0]
    e, h, d = start[0], start[1], start[2]
    ge, gh, gd = np.zeros(n), np.zeros(n), np.zeros(n)
    hessian, gradient = np.zeros((n, n)), np.zeros(n)
    for k in range(n):
        v = speeds[k]
        follow = math.atan(wheelbase * curvatures[k])
        cos2 = math.cos(follow) ** 2
        offset = math.tan(follow) / wheelbase - follow / (wheelbase * cos2) - curvatures[k]
        e_new = e + dt * v * h
        h_new = h + dt * v * (d / (wheelbase * cos2) + offset)
        d_new = d - dt / lag * d
        for j in range(n):
            a, b, c = ge[j], gh[j], gd[j]
            ge[j] = a + dt * v * b
            gh[j] = b + dt * v * c / (wheelbase * cos2)
            gd[j] = c - dt / lag * c
        gd[k] += dt / lag
        e, h, d = e_new, h_new, d_new
        q_e = lateral_weight if k < n - 1 else end_lateral
        q_h = heading_speed2_weight * v * v if k < n - 1 else end_heading
        for j in range(n):
            gradient[j] += q_e * e * ge[j] + q_h * h * gh[j]
            for i in range(n):
                hessian[i, j] += q_e * ge[i] * ge[j] + q_h * gh[i] * gh[j]
        r = input_weight + input_speed2_weight * v * v
        hessian[k, k] += r
        gradient[k] -= r * follow
        rate = (rate_weight + jerk_weight * v * v) / (dt * dt)
        if k == 0:
            hessian[0, 0] += rate
            gradient[0] -= rate * last
        else:
            hessian[k, k] += rate
            hessian[k - 1, k - 1] += rate
            hessian[k, k - 1] -= rate
            hessian[k - 1, k] -= rate
        if k >= 2:
            w = acceleration_weight / dt**4
            for i, fi in ((k, 1.0), (k - 1, -2.0), (k - 2, 1.0)):
                for j, fj in ((k, 1.0), (k - 1, -2.0), (k - 2, 1.0)):
                    hessian[i, j] += w * fi * fj
    return hessian, gradient


PEERS: dict[str, type[Controller]] = {
    "pure_pursuit": PurePursuit,
    "stanley": Stanley,
    "lqr": Lqr,
    "autoware_mpc_cost": AutowareMpc,
}
