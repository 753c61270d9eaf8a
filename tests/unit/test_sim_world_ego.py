"""The ego's motion: limits, delay, standstill, tyres."""

import math

import numpy as np
import pytest

from robotaxi.interfaces import TICK_NS
from robotaxi.sim.ego import EgoVehicle
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, Pose2
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
DT = TICK_NS * 1e-9


def car(**config: float) -> EgoVehicle:
    return EgoVehicle(CAR, WorldConfig(**config), Pose2(0.0, 0.0, 0.0))


def drive(ego: EgoVehicle, seconds: float, steering: float = 0.0, acceleration: float = 0.0) -> None:
    for _ in range(round(seconds / DT)):
        ego.step(Command(0, steering, acceleration))


def test_brakes_hold_before_the_first_command() -> None:
    ego = car()
    for _ in range(100):
        ego.step(None)
    assert ego.rear_axle() == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_acceleration_is_net_and_arrives_late() -> None:
    ego = car()
    drive(ego, 2.0, acceleration=0.0)
    drive(ego, CAR.drive_delay, acceleration=2.0)
    assert ego.rear_axle()[3] == 0.0
    drive(ego, 5.0 - CAR.drive_delay, acceleration=2.0)
    # a first-order lag after a dead time costs their sum in time
    assert ego.rear_axle()[3] == pytest.approx(2.0 * (5.0 - CAR.drive_delay - CAR.drive_lag), abs=0.02)


def test_braking_ends_at_standstill_and_does_not_creep() -> None:
    ego = car()
    drive(ego, 4.0, acceleration=2.0)
    drive(ego, 3.0, acceleration=-4.0)
    at_rest = ego.rear_axle()
    assert at_rest[3] == 0.0
    drive(ego, 10.0, steering=0.3, acceleration=0.0)
    assert ego.rear_axle() == at_rest


@pytest.mark.parametrize("speed", [1.5, 3.0, 8.0])
def test_turns_on_the_circle_of_its_tyre_angle(speed: float) -> None:
    ego = car()
    drive(ego, speed / 2.0 + CAR.drive_lag, acceleration=2.0)
    drive(ego, 4.0, steering=0.1)
    _, _, yaw, v, _ = ego.rear_axle()
    drive(ego, 1.0, steering=0.1)
    turned = (ego.rear_axle()[2] - yaw + math.pi) % (2 * math.pi) - math.pi
    # slip widens the circle a little as speed grows
    assert turned == pytest.approx(v * math.tan(0.1) / CAR.wheelbase, rel=0.03)


def test_steering_keeps_rate_and_end_stop() -> None:
    ego = car()
    drive(ego, CAR.steering_delay, steering=2.0)
    drive(ego, 0.5, steering=2.0)
    assert ego.steering == pytest.approx(0.5 * CAR.max_steering_rate, abs=0.02)
    drive(ego, 3.0, steering=2.0)
    assert ego.steering == pytest.approx(CAR.max_steering, abs=1e-3)


@pytest.mark.parametrize("friction", [0.9, 0.3])
def test_lateral_acceleration_stays_within_friction(friction: float) -> None:
    ego = car(ego_friction=friction)
    drive(ego, 8.0, acceleration=2.0)
    worst = 0.0
    for _ in range(150):
        ego.step(Command(0, 0.3, 0.0))
        worst = max(worst, abs(ego.rear_accelerations()[1]))
    assert worst < friction * 9.81 * 1.25  # the rear axle moves about the centre of mass
    assert np.isfinite(ego.motion.vector).all()


def test_a_command_that_is_not_finite_is_not_followed() -> None:
    ego = car()
    drive(ego, 2.0, acceleration=1.0)
    speed = ego.rear_axle()[3]
    ego.step(Command(0, math.nan, math.inf))
    assert ego.motion.rejected_commands == 1
    assert ego.rear_axle()[3] > speed
    assert np.isfinite(ego.motion.vector).all()


def test_a_start_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="start pose"):
        EgoVehicle(CAR, WorldConfig(), Pose2(math.nan, 0.0, 0.0))
