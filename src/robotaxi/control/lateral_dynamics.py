"""The single-track model per unit of mass, as side slip and curvature over the tyre angle.

Riekert and Schunck (1940); Rajamani, "Vehicle Dynamics and Control", chapter 2. Tyre stiffness over mass follows
from the slip that each axle takes per lateral acceleration, which the controller learns while it drives, so no
weight need be known. ``beta`` is the side slip of the centre of mass (rad), ``kappa`` the yaw rate over the
speed (1/m).
"""

from __future__ import annotations

import math

from numba import njit

SLOWEST = 3.0  # m/s: below, the lags are those of this speed, and slip fades out with the speed squared
LEAST_GRADIENT = 5e-4  # rad s^2/m, slip per lateral acceleration of the stiffest axle believed


@njit(cache=True)
def lateral_step(
    beta: float,
    kappa: float,
    tangent: float,
    speed: float,
    wheelbase: float,
    cg_fraction: float,
    inertia_ratio: float,
    understeer: float,
    rear_slip: float,
    dt: float,
) -> tuple[float, float]:
    """``beta`` and ``kappa`` after ``dt`` at a constant ``tangent`` of the tyre angle (trapezoidal rule).

    ``cg_fraction``: from the rear axle to the centre of mass, share of the wheelbase; ``inertia_ratio``: squared
    radius of gyration over the product of the distances to both axles; the gradients in rad s^2/m.
    """
    a11, a12, a21, a22, b1, b2 = lateral_matrices(
        speed, wheelbase, cg_fraction, inertia_ratio, understeer, rear_slip, dt
    )
    return a11 * beta + a12 * kappa + b1 * tangent, a21 * beta + a22 * kappa + b2 * tangent


@njit(cache=True)
def lateral_matrices(
    speed: float,
    wheelbase: float,
    cg_fraction: float,
    inertia_ratio: float,
    understeer: float,
    rear_slip: float,
    dt: float,
) -> tuple[float, float, float, float, float, float]:
    """Discrete (a11, a12, a21, a22, b1, b2) of `lateral_step`."""
    v = max(speed, SLOWEST)
    to_rear = cg_fraction * wheelbase
    to_front = wheelbase - to_rear
    rear = to_front / (wheelbase * max(rear_slip, LEAST_GRADIENT))
    front = to_rear / (wheelbase * max(understeer + rear_slip, LEAST_GRADIENT))
    squared = inertia_ratio * to_front * to_rear
    turn = rear * to_rear - front * to_front
    # d/dt (beta, kappa) = (f11 f12; f21 f22) (beta, kappa) + (g1, g2) tangent
    f11, f12, g1 = -(front + rear) / v, turn / v - v, front / v
    f21 = turn / (squared * v)
    f22 = -(front * to_front * to_front + rear * to_rear * to_rear) / (squared * v)
    g2 = front * to_front / (squared * v)
    h = 0.5 * dt
    m11, m12, m21, m22 = 1.0 - h * f11, -h * f12, -h * f21, 1.0 - h * f22
    scale = 1.0 / (m11 * m22 - m12 * m21)
    i11, i12, i21, i22 = m22 * scale, -m12 * scale, -m21 * scale, m11 * scale
    p11, p12, p21, p22 = 1.0 + h * f11, h * f12, h * f21, 1.0 + h * f22
    return (
        i11 * p11 + i12 * p21, i11 * p12 + i12 * p22, i21 * p11 + i22 * p21, i21 * p12 + i22 * p22,
        (i11 * g1 + i12 * g2) * dt, (i21 * g1 + i22 * g2) * dt,
    )  # fmt: skip


@njit(cache=True)
def slip_share(speed: float) -> float:
    """How much of the modelled rear slip counts: all above `SLOWEST`, below as slip grows with the speed squared."""
    return min(speed / SLOWEST, 1.0) ** 2


@njit(cache=True)
def steering_after(
    angle: float,
    stamps_ns: object,
    now_ns: int,
    steering: object,
    dead_time: float,
    lag: float,
    max_rate: float,
    dt: float,
) -> float:
    """Tyre angle ``dt`` after ``now_ns`` under the commands ``steering`` of the times ``stamps_ns``."""
    n = len(stamps_ns)  # type: ignore[arg-type]
    steps = max(math.ceil(dt / 0.01 - 1e-9), 1)
    h = dt / steps
    keep = math.exp(-h / lag)
    i = 0
    for k in range(steps):
        middle = (k + 0.5) * h
        while i + 1 < n and (stamps_ns[i + 1] - now_ns) * 1e-9 + dead_time <= middle:  # type: ignore[index]
            i += 1
        turn = (steering[i] - angle) * (1.0 - keep)  # type: ignore[index]
        angle += min(max(turn, -max_rate * h), max_rate * h)
    return angle
