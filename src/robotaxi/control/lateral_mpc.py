"""Steering by model predictive control on the path error, with the steering lag as a state.

Error model along the path (Kong et al., "Kinematic and dynamic vehicle models for autonomous
driving control design", IV 2015, with the rear axle as reference point): lateral error ``e``,
heading error ``h``, side slip and curvature of the single-track model (see `lateral_dynamics`), tyre
angle ``d`` behind a first-order lag of the command ``u``::

    e' = v (h + slip(beta, kappa))      h' = v (kappa - curvature_path)
    (beta, kappa)' = F (beta, kappa) + G tan(d)      d' = (u - d) / lag

The states are eliminated, so the quadratic program has the commands alone as variables: one dense
problem of fixed size with exact bounds on angle and rate (see `steering_limits`). Where its minimum without
the bounds keeps to them, as it nearly always does, that is the answer; else PIQP solves it (Schwan et al., 2023).
Dead time is not in the model: the state given is the one at the end of it.
"""

from __future__ import annotations

import math

import numpy as np
import piqp
from numba import njit

from robotaxi.control.config import ControlConfig
from robotaxi.control.lateral_dynamics import lateral_matrices, slip_share
from robotaxi.control.steering_limits import SteeringLimits
from robotaxi.types import FloatArray, VehicleParams

_LEARNED = slice(3, 7)  # of the parameters: what `LateralMpc.solve` is told anew each time


class LateralMpc:
    """Built once for one vehicle; `solve` is called at each control step."""

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        n = config.mpc_steps
        self._difference = np.asfortranarray(np.eye(n) - np.eye(n, k=-1))  # rows: u[k] - u[k-1]
        self._limits = SteeringLimits(config, vehicle)
        self._times = np.full(n, config.mpc_step_time)
        self._times[0] = config.period
        self._parameters = np.array(
            [
                config.mpc_step_time,
                vehicle.wheelbase,
                max(vehicle.steering_lag, 1e-3),
                *(0.0, 0.0, 0.0, 0.0),  # `_LEARNED`
                config.lateral_weight,
                config.heading_weight,
                config.terminal_weight,
                config.steering_rate_weight,
                config.lateral_jerk_weight,
                config.cg_fraction,
                config.inertia_ratio,
            ]
        )
        self._solver = self._new_solver()
        self._ready = False

    def _new_solver(self) -> piqp.DenseSolver:
        solver = piqp.DenseSolver()
        solver.settings.eps_abs = 1e-7
        solver.settings.eps_rel = 1e-7
        solver.settings.max_iter = 40
        return solver

    def solve(
        self,
        lateral: float,
        heading: float,
        steering: float,
        beta: float,
        kappa: float,
        speeds: FloatArray,
        curvatures: FloatArray,
        last_command: float,
        curvature_bias: float,
        slip_bias: float,
        understeer: float,
        rear_slip: float,
    ) -> float | None:
        """Tyre angle to command now, or None when the solver does not converge.

        ``speeds``, ``curvatures``: (mpc_steps,) along the horizon; errors and ``steering`` are those
        at the time the command takes effect; ``last_command`` is the one sent before; ``understeer`` and
        ``rear_slip``: rad per m/s^2 of lateral acceleration.
        """
        self._parameters[_LEARNED] = understeer, rear_slip, curvature_bias, slip_bias
        hessian, gradient = _condense(
            np.array([lateral, heading, steering, beta, kappa]),
            speeds,
            curvatures,
            last_command,
            self._parameters,
        )
        angles, steps = self._limits.over(speeds, last_command, self._times)
        free = _unbounded(hessian, gradient, last_command, angles, steps)
        if math.isfinite(free):
            return free
        hessian += np.tril(hessian, -1).T
        low, high = -steps, steps.copy()
        low[0] += last_command
        high[0] += last_command
        if self._ready:
            self._solver.update(P=hessian, c=gradient, h_l=low, h_u=high, x_l=-angles, x_u=angles)
        else:
            self._solver.setup(hessian, gradient, None, None, self._difference, low, high, -angles, angles)
            self._ready = True
        if self._solver.solve() != piqp.PIQP_SOLVED:
            self._solver, self._ready = self._new_solver(), False
            return None
        command = float(self._solver.result.x[0])
        return command if math.isfinite(command) else None


@njit(cache=True)
def _condense(
    start: FloatArray, speeds: FloatArray, curvatures: FloatArray, last_command: float, p: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Hessian (n, n), its lower half, and gradient (n,) of the cost over the commands."""
    dt, wheelbase, lag, understeer, rear_slip, curvature_bias, slip_bias = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    q_lateral, q_heading, q_end, r_rate, r_jerk = p[7], p[8], p[9], p[10], p[11]
    n = len(speeds)
    keep = math.exp(-dt / lag)
    mean_keep = lag / dt * (1.0 - keep)  # share of the old angle in the mean over one step
    # each state as: free response + row vector over the commands
    e, h, d, beta, kappa = start[0], start[1], start[2], start[3], start[4]
    ge, gh, gd, gb, gk = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    hessian = np.zeros((n, n))
    gradient = np.zeros(n)
    to_rear = p[12] * wheelbase
    for k in range(n):
        v = speeds[k]
        length = wheelbase + understeer * v * v
        # linearise the tangent about the tyre angle that follows the path
        follow = math.atan(length * curvatures[k] - wheelbase * curvature_bias)
        slope = 1.0 + math.tan(follow) ** 2
        offset = math.tan(follow) - slope * follow + wheelbase * curvature_bias
        a11, a12, a21, a22, b1, b2 = lateral_matrices(v, wheelbase, p[12], p[13], understeer, rear_slip, dt)
        share = slip_share(v)
        tangent = slope * mean_keep * d + offset
        beta_new, kappa_new = a11 * beta + a12 * kappa + b1 * tangent, a21 * beta + a22 * kappa + b2 * tangent
        kappa_mid = 0.5 * (kappa + kappa_new)
        turn = v * dt * (kappa_mid - curvatures[k])
        drift = share * (0.5 * (beta + beta_new) - to_rear * kappa_mid) + slip_bias
        e, h = e + v * dt * (h + 0.5 * turn + drift), h + turn
        beta, kappa, d = beta_new, kappa_new, keep * d
        slip = slip_bias - rear_slip * v * v * curvatures[k]
        for j in range(k + 1):
            direct = 1.0 - mean_keep if j == k else 0.0
            tangent_j = slope * (mean_keep * gd[j] + direct)
            beta_j = a11 * gb[j] + a12 * gk[j] + b1 * tangent_j
            kappa_j = a21 * gb[j] + a22 * gk[j] + b2 * tangent_j
            mid_j = 0.5 * (gk[j] + kappa_j)
            turn_j = v * dt * mid_j
            ge[j] += v * dt * (gh[j] + 0.5 * turn_j + share * (0.5 * (gb[j] + beta_j) - to_rear * mid_j))
            gh[j] += turn_j
            gb[j], gk[j] = beta_j, kappa_j
            gd[j] = keep * gd[j] + (1.0 - keep if j == k else 0.0)
        scale = q_end if k == n - 1 else 1.0
        target_heading = -slip  # crabbing along the path has no lateral drift
        for j in range(k + 1):
            by_e, by_h = scale * q_lateral * ge[j], scale * q_heading * gh[j]
            for i in range(j + 1):
                hessian[j, i] += by_e * ge[i] + by_h * gh[i]
            gradient[j] += scale * (q_lateral * e * ge[j] + q_heading * (h - target_heading) * gh[j])
    for k in range(n):
        jerk_per_rate = speeds[k] * speeds[k] / wheelbase
        weight = (r_rate + r_jerk * jerk_per_rate * jerk_per_rate) / (dt * dt)
        hessian[k, k] += weight
        if k == 0:
            gradient[0] -= weight * last_command
        else:
            hessian[k - 1, k - 1] += weight
            hessian[k, k - 1] -= weight
    return hessian, gradient


@njit(cache=True)
def _unbounded(
    hessian: FloatArray, gradient: FloatArray, last_command: float, most: FloatArray, steps: FloatArray
) -> float:
    """First command at the minimum without bounds, NaN where that breaks one. By Cholesky's factors L L'."""
    n = len(gradient)
    factor, x = np.empty((n, n)), np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            total = hessian[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = total / factor[j, j]
            elif total > 0.0:
                factor[i, i] = math.sqrt(total)
            else:
                return math.nan
        total = -gradient[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]
    before = last_command
    for i in range(n):
        if not (abs(x[i]) <= most[i] and abs(x[i] - before) <= steps[i]):
            return math.nan
        before = x[i]
    return float(x[0])
