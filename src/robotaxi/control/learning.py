"""Kalman filters for what the controller learns of its car: steering offset, side slip and both slip gradients.

Each keeps how unsure it is of its parameters together, so that a first curve to one side is laid to an offset or
to soft tyres by how likely either is, and the next curve to the other side tells them apart.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from robotaxi.control.config import ControlConfig
from robotaxi.types import FloatArray


class CurvatureLearner:
    """Steering offset as a curvature (1/m at walking pace) and understeer gradient (rad s^2/m on top)."""

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        self.offset = self.gradient = 0.0
        self._p = np.diag([config.curvature_bias_sigma**2, config.gradient_sigma**2])

    def see(self, error: float, kappa: float, speed: float, length: float, wheelbase: float, dt: float) -> None:
        """``error``: measured minus modelled curvature; ``length``: wheelbase with the understeer at this speed."""
        config = self._config
        h = np.array([wheelbase / length, -kappa * speed * speed / length])
        drift = np.array([config.curvature_bias_drift, config.gradient_drift])
        dx = _learn(self._p, h, error, drift, config.curvature_noise, dt)
        limit, most = config.max_curvature_bias, config.max_gradient_change
        self.offset = min(max(self.offset + float(dx[0]), -limit), limit)
        self.gradient = min(max(self.gradient + float(dx[1]), -most), most)


class SlipLearner:
    """Side slip of the rear axle (rad) and its gradient (rad s^2/m on top), and the pose across the car."""

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        self.offset = self.gradient = 0.0
        self._p = np.diag([config.pose_drift**2, config.slip_bias_sigma**2, config.gradient_sigma**2])

    def see(self, across: float, lateral: float, speed: float, dt: float) -> float:
        """``across``: measured minus modelled position to the left (m); ``lateral``: acceleration (m/s^2).

        Returns how much of ``across`` is believed.
        """
        config = self._config
        drift = np.array([config.pose_drift, config.slip_bias_drift, config.gradient_drift])
        dx = _follow(self._p, speed * dt, lateral, across, drift, config.pose_noise, dt)
        limit, most = config.max_slip_bias, config.max_gradient_change
        self.offset = min(max(self.offset + float(dx[1]), -limit), limit)
        self.gradient = min(max(self.gradient + float(dx[2]), -most), most)
        return float(dx[0])


@njit(cache=True)
def _learn(p: FloatArray, h: FloatArray, error: float, drift: FloatArray, noise: float, dt: float) -> FloatArray:
    """Correction of two parameters from one error ``h . x``; ``p`` (2, 2) is brought up to date."""
    p[0, 0] += drift[0] * drift[0] * dt
    p[1, 1] += drift[1] * drift[1] * dt
    ph0, ph1 = p[0, 0] * h[0] + p[0, 1] * h[1], p[1, 0] * h[0] + p[1, 1] * h[1]
    s = h[0] * ph0 + h[1] * ph1 + noise * noise / dt
    k0, k1 = ph0 / s, ph1 / s
    p[0, 0] -= k0 * ph0
    p[0, 1] -= k0 * ph1
    p[1, 0] = p[0, 1]
    p[1, 1] -= k1 * ph1
    return np.array([k0 * error, k1 * error])


@njit(cache=True)
def _follow(
    p: FloatArray, moved: float, lateral: float, across: float, drift: FloatArray, noise: float, dt: float
) -> FloatArray:
    """Corrections of position, slip and gradient; the position moved by ``moved (slip - lateral gradient)``."""
    f = np.eye(3)
    f[0, 1], f[0, 2] = moved, -moved * lateral
    new = f @ p @ f.T
    for i in range(3):
        new[i, i] += drift[i] * drift[i] * dt
    s = new[0, 0] + noise * noise / dt
    k = new[:, 0] / s
    for i in range(3):
        for j in range(3):
            p[i, j] = new[i, j] - k[i] * new[0, j]
    return k * across
