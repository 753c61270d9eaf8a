"""The controller on roads with cars that lag: tracking, stops, comfort and bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from control_track import TICK_NS, VEHICLE, Drive, LaggedCar, Road, SimCar, drive

from robotaxi.control import ControlConfig, Controller
from robotaxi.safety.command_limits import CommandLimits
from robotaxi.safety.config import GateConfig
from robotaxi.types import TRAJECTORY_DTYPE, EgoState, Trajectory, VehicleReport

KINEMATIC = replace(ControlConfig(), understeer_gradient=0.0, rear_slip_gradient=0.0)
SLOW_VEHICLE = replace(VEHICLE, steering_lag=0.27, steering_delay=0.24, drive_lag=0.4, drive_delay=0.2)

TOWN = Road([(20, 0), (25, 0.08), (20, 0), (25, -0.1), (30, 0)], speed=5.0)
ROUNDABOUT = Road([(30, 0), (12, -0.05), (30, 0.06), (12, -0.05), (30, 0)], speed=9.0)
FAST = Road([(120, 0), (120, 0.005), (100, -0.006), (180, 0)], speed=17.0)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def check_tracking(log: Drive, lateral_rms: float = 0.03, lateral_max: float = 0.10) -> None:
    assert rms(log.lateral) < lateral_rms
    assert np.abs(log.lateral).max() < lateral_max
    assert abs(log.stop_error) < 0.10
    assert log.speed[-1] == 0.0
    assert np.abs(log.jerk).max() < 4.13  # nuPlan's comfort limit
    assert log.acceleration.max() < 2.4
    assert log.outputs[-1].status == "holding"


@pytest.mark.parametrize("road", [TOWN, ROUNDABOUT, FAST], ids=["town", "roundabout", "fast"])
def test_lagged_car_keeps_to_the_path_and_stops_on_the_point(road: Road) -> None:
    log = drive(road, LaggedCar(VEHICLE), config=KINEMATIC)
    check_tracking(log)
    assert log.speed.max() > 0.95 * road.profile[1].max()
    assert log.steering_rate_rms < 0.1


@pytest.mark.parametrize("road", [ROUNDABOUT, FAST], ids=["roundabout", "fast"])
def test_simulated_car_with_tyre_slip_keeps_to_the_path(road: Road) -> None:
    check_tracking(drive(road, SimCar(VEHICLE)))


@pytest.mark.parametrize(("speed", "beside"), [(12.0, 1.6), (8.0, 1.9), (16.0, 1.0), (12.0, -3.0)])
def test_behind_the_gate_a_path_beside_the_car_is_settled_on(speed: float, beside: float) -> None:
    """A controller that asked for more than the gate lets through went on swinging from side to side."""
    car, controller, gate = SimCar(VEHICLE), Controller(ControlConfig(), VEHICLE), CommandLimits(GateConfig(), VEHICLE)
    points = np.zeros(60, TRAJECTORY_DTYPE)
    points["t"], points["speed"], points["y"] = np.arange(60) * 0.1, speed, beside
    points["s"] = points["x"] = points["t"] * speed
    car.ego.motion.vector[3] = speed
    car._read()
    lateral, limited = [], 0
    for tick in range(400):
        now, t = tick * TICK_NS, car.truth
        if tick % 5 == 0:
            trajectory = Trajectory(now, points.copy())
            trajectory.points["x"] += t.x
        state = EgoState(now, t.x, t.y, t.yaw, t.speed, t.acceleration, t.yaw_rate, t.steering)
        wanted = controller.step(state, trajectory, VehicleReport(now, t.speed, t.steering)).command
        steering, acceleration, _ = gate.apply(wanted.steering, wanted.acceleration, t.speed, 0.02)
        limited += abs(steering - wanted.steering) > 1e-6
        car.step(replace(wanted, steering=steering, acceleration=acceleration))
        lateral.append((t.y - beside) * math.copysign(1.0, beside))
    assert max(lateral) < 0.25 * abs(beside)  # one overshoot
    assert np.abs(lateral[200:]).max() < 0.05
    assert limited == 0


def test_long_dead_time_and_lag_are_compensated() -> None:
    check_tracking(drive(ROUNDABOUT, LaggedCar(SLOW_VEHICLE), SLOW_VEHICLE, KINEMATIC))


def test_dead_time_that_is_not_compensated_costs_most_of_the_accuracy() -> None:
    believed = replace(SLOW_VEHICLE, steering_lag=0.01, steering_delay=0.0)
    log = drive(ROUNDABOUT, LaggedCar(SLOW_VEHICLE), believed, KINEMATIC)
    assert rms(log.lateral) > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_unknown_actuation_biases_and_noise(seed: int) -> None:
    rng = np.random.default_rng([seed, 17])
    real = replace(
        VEHICLE,
        steering_lag=rng.uniform(0.1, 0.25), steering_delay=rng.uniform(0.04, 0.12),
        drive_lag=rng.uniform(0.1, 0.4), drive_delay=round(rng.uniform(0.1, 0.3), 2),
    )  # fmt: skip
    believed = replace(VEHICLE, drive_delay=0.2, drive_lag=0.25)
    car = LaggedCar(real, steering_bias=rng.uniform(-0.01, 0.01), grade=rng.uniform(-0.4, 0.4))
    log = drive(ROUNDABOUT, car, believed, KINEMATIC, noise=0.01, seed=seed)
    assert rms(log.lateral) < 0.06
    assert np.abs(log.lateral).max() < 0.2
    assert abs(log.stop_error) < 0.15
    assert log.steering_rate_rms < 0.2


def test_final_stop_tapers_and_then_holds() -> None:
    log = drive(TOWN, LaggedCar(VEHICLE), config=KINEMATIC)
    last_moving = int(np.nonzero(log.speed > 0.02)[0][-1])
    assert -0.7 < log.acceleration[last_moving] < 0.0
    assert (log.commands[1][last_moving + 30 :] <= -0.5).all()
    assert (np.diff(log.speed[last_moving - 50 :]) <= 1e-9).all()  # no creeping after the stop


@pytest.mark.parametrize("length", [0.6, 0.9, 1.15])
def test_a_leg_shorter_than_the_final_stop_is_driven(length: float) -> None:
    """From standstill a tapered stop right away is no start: the car stood there for ever."""
    log = drive(Road([(length + 1.0, 0)], speed=1.0), LaggedCar(VEHICLE), config=KINEMATIC)
    assert abs(log.stop_error) < 0.15
    assert log.speed[-1] == 0.0


def test_same_input_gives_the_same_commands_to_the_bit() -> None:
    first, second = (drive(TOWN, LaggedCar(VEHICLE), noise=0.02, seed=3, seconds=6.0) for _ in range(2))
    assert first.commands.tobytes() == second.commands.tobytes()


def test_large_offset_is_driven_back_by_pure_pursuit_without_leaving_the_limits() -> None:
    car = LaggedCar(VEHICLE)
    car.truth.y = 3.0
    road = Road([(150, 0)], speed=6.0)
    log = drive(road, car, config=KINEMATIC)
    assert any(output.status.startswith("Pure pursuit") for output in log.outputs)
    assert abs(log.lateral[-1]) < 0.1
    assert np.abs(np.diff(log.commands[0])).max() <= VEHICLE.max_steering_rate * 0.02 + 1e-9


def state(stamp_ns: int = 0, **changes: float) -> EgoState:
    values = {"x": 0.0, "y": 0.0, "yaw": 0.0, "speed": 5.0} | changes
    return EgoState(stamp_ns, **values)


def straight(stamp_ns: int = 0, **changes: float) -> Trajectory:
    points = np.zeros(40, TRAJECTORY_DTYPE)
    points["t"] = np.arange(40) * 0.1
    points["x"] = points["s"] = points["t"] * 5.0
    points["speed"] = 5.0
    for name, value in changes.items():
        points[name][3] = value
    return Trajectory(stamp_ns, points)


def test_without_a_trajectory_it_brakes_and_says_so() -> None:
    controller = Controller(ControlConfig(), VEHICLE)
    accelerations = []
    for i in range(60):
        output = controller.step(state(i * TICK_NS, steering=0.1), None, None)
        accelerations.append(output.command.acceleration)
    assert output.status == "Waiting for a trajectory."
    assert output.command.steering == pytest.approx(0.1)
    assert accelerations[-1] == pytest.approx(-2.0)
    assert math.isnan(output.lateral_error)


@pytest.mark.parametrize("field", ["x", "yaw", "t", "s", "speed", "curvature"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_trajectory_that_is_not_finite_is_not_followed(field: str, value: float) -> None:
    output = Controller(ControlConfig(), VEHICLE).step(state(), straight(**{field: value}), None)
    assert field in output.status and output.status.startswith("Braking")
    assert output.command.acceleration < 0.0


def test_trajectory_out_of_order_or_empty_is_not_followed() -> None:
    controller = Controller(ControlConfig(), VEHICLE)
    for points in (straight(t=9.0).points, straight(s=99.0).points, np.zeros(0, TRAJECTORY_DTYPE)):
        output = controller.step(state(), Trajectory(0, points), None)
        assert output.status.startswith("Braking: trajectory")


def test_state_that_is_not_finite_gives_a_finite_braking_command() -> None:
    controller = Controller(ControlConfig(), VEHICLE)
    controller.step(state(), straight(), None)
    output = controller.step(state(TICK_NS, x=math.nan), straight(), VehicleReport(TICK_NS, math.nan, math.nan))
    assert "not finite" in output.status
    assert math.isfinite(output.command.steering) and math.isfinite(output.command.acceleration)


def test_old_trajectory_is_steered_along_while_braking() -> None:
    controller = Controller(ControlConfig(), VEHICLE)
    for i in range(100):
        output = controller.step(state(i * TICK_NS, x=0.1 * i), straight(), None)
    assert output.status.startswith("Braking: the trajectory is 2.0 s old")
    assert output.command.acceleration == pytest.approx(-2.0)


def test_one_point_trajectory_holds_the_car() -> None:
    output = Controller(ControlConfig(), VEHICLE).step(
        state(speed=0.0), Trajectory(0, np.zeros(1, TRAJECTORY_DTYPE)), None
    )
    assert output.status == "holding"
    assert output.command.acceleration < 0.0


def test_clock_that_jumps_back_starts_afresh() -> None:
    controller = Controller(ControlConfig(), VEHICLE)
    controller.step(state(50 * TICK_NS), straight(50 * TICK_NS), None)
    output = controller.step(state(0), straight(0), None)
    assert output.status == "tracking"
