"""What the controller learns of its car: the single-track model in steady turns, and the delay of the steering."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robotaxi.control import ControlConfig
from robotaxi.control.actuation import bicycle_curvature
from robotaxi.control.lateral_dynamics import lateral_step
from robotaxi.control.steering_delay import SteeringDelay

WHEELBASE, CG, INERTIA, UNDERSTEER, REAR_SLIP = 2.8, 0.48, 0.85, 0.0011, 0.0068


@pytest.mark.parametrize("speed", [4.0, 10.0, 20.0])
def test_a_steady_turn_is_the_bicycle_with_its_gradients(speed: float) -> None:
    beta = kappa = 0.0
    for _ in range(500):
        beta, kappa = lateral_step(
            beta, kappa, math.tan(0.02), speed, WHEELBASE, CG, INERTIA, UNDERSTEER, REAR_SLIP, 0.02
        )
    assert kappa == pytest.approx(bicycle_curvature(0.02, speed, WHEELBASE, UNDERSTEER), rel=1e-6)
    rear = beta - CG * WHEELBASE * kappa
    assert rear == pytest.approx(-REAR_SLIP * speed * speed * kappa, rel=1e-6)


def test_yaw_follows_later_the_faster_the_car() -> None:
    share = []
    for speed in (5.0, 20.0):
        beta = kappa = 0.0
        for _ in range(5):
            beta, kappa = lateral_step(
                beta, kappa, math.tan(0.02), speed, WHEELBASE, CG, INERTIA, UNDERSTEER, REAR_SLIP, 0.02
            )
        share.append(kappa / bicycle_curvature(0.02, speed, WHEELBASE, UNDERSTEER))
    assert share[0] > 0.9 > share[1] > 0.2


@pytest.mark.parametrize("late", [-0.03, 0.0, 0.04])
def test_the_shift_of_the_steering_is_found_beside_a_crooked_sensor(late: float) -> None:
    rng = np.random.default_rng(4)
    delay = SteeringDelay(ControlConfig())
    for k in range(1500):
        t = 0.02 * k
        angle, rate = 0.02 * math.sin(0.7 * t), 0.014 * math.cos(0.7 * t)
        seen = 0.02 * math.sin(0.7 * (t - late)) + 0.004 + 0.001 * rng.normal()
        delay.see(rate, seen - angle, 0.02)
    assert delay.shift == pytest.approx(late, abs=0.012)


def test_without_steering_nothing_is_learned() -> None:
    rng = np.random.default_rng(4)
    delay = SteeringDelay(ControlConfig())
    for _ in range(1000):
        delay.see(0.0, 0.001 * rng.normal(), 0.02)
    assert abs(delay.shift) < 1e-6
