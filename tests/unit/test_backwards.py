"""Driving backwards: the car, its control, and what the gate lets through and looks at."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safety_bench import Thing, see

from robotaxi.control import ControlConfig, Controller
from robotaxi.interfaces import TICK_NS
from robotaxi.planning.freespace.reeds_shepp import go
from robotaxi.safety import CommandGate, GateConfig, GateInput, GateOutput
from robotaxi.sim.ego import YAW_RATE, EgoVehicle
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    Pose2,
    SystemMode,
    Trajectory,
    VehicleReport,
)
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
DT = TICK_NS * 1e-9
CONFIG = GateConfig()
BACK, FORWARD = True, False


def drive(ego: EgoVehicle, seconds: float, acceleration: float, reverse: bool, steering: float = 0.0) -> None:
    for _ in range(round(seconds / DT)):
        ego.step(Command(0, steering, acceleration, 0.0, reverse))


def state_of(ego: EgoVehicle, now: int) -> EgoState:
    x, y, yaw, speed, _ = ego.rear_axle()
    rate = float(ego.motion.vector[YAW_RATE])
    return EgoState(now, x, y, yaw, speed, ego.rear_accelerations()[0], rate, ego.steering)


# ---------------------------------------------------------------------------- the simulated car


def test_reverse_drives_backwards_and_brakes_to_rest_without_creeping() -> None:
    ego = EgoVehicle(CAR, WorldConfig(), Pose2(0.0, 0.0, 0.0))
    drive(ego, 2.0, 0.0, BACK)
    drive(ego, 2.0, 1.0, BACK)
    x, _, _, speed, _ = ego.rear_axle()
    assert x < -1.0 and speed == pytest.approx(-(2.0 - CAR.drive_delay - CAR.drive_lag), abs=0.05)
    drive(ego, 3.0, -2.0, BACK)
    at_rest = ego.rear_axle()
    assert at_rest[3] == 0.0
    drive(ego, 3.0, 0.0, BACK, steering=0.3)
    assert ego.rear_axle() == at_rest


def test_backwards_it_turns_on_the_circle_of_its_tyre_angle() -> None:
    ego = EgoVehicle(CAR, WorldConfig(), Pose2(0.0, 0.0, 0.0))
    drive(ego, 2.0, 0.0, BACK, steering=0.3)
    drive(ego, 4.0, 0.4, BACK, steering=0.3)
    x, y, yaw, _, _ = ego.rear_axle()
    radius = CAR.wheelbase / math.tan(0.3)
    assert math.hypot(x, y - radius) == pytest.approx(radius, rel=0.02) and yaw < -0.2


def test_the_other_gear_is_engaged_at_standstill_only() -> None:
    ego = EgoVehicle(CAR, WorldConfig(), Pose2(0.0, 0.0, 0.0))
    drive(ego, 3.0, 1.0, FORWARD)
    speeds = []
    for _ in range(round(4.0 / DT)):
        ego.step(Command(0, 0.0, 1.0, 0.0, BACK))
        speeds.append(ego.rear_axle()[3])
    stood = speeds.index(0.0)
    assert (np.diff(speeds[10:stood]) < 0.0).all()  # it brakes
    assert speeds[-1] < -0.5 and ego.motion.reverse


# ---------------------------------------------------------------------------- control


def backwards_along(bend: float, way: float, now: int, begins: float = 1.0) -> Trajectory:
    """From the origin at 0 s, backwards at 1.2 m/s with ramps of 3 s, as it is seen at ``now``."""
    t = now * 1e-9 + np.arange(0.0, 8.05, 0.1)
    ramp, top = 3.0, 1.2
    cruise = (way - top * ramp) / top
    nodes = begins + np.array([0.0, ramp, ramp + cruise, 2.0 * ramp + cruise])
    v = np.interp(t, nodes, [0.0, top, top, 0.0])
    fine = np.arange(0.0, 60.0, 0.01)
    s = np.interp(t, fine, np.cumsum(np.interp(fine, nodes, [0.0, top, top, 0.0])) * 0.01)
    points = np.zeros(t.size, TRAJECTORY_DTYPE)
    for k in range(t.size):
        points["x"][k], points["y"][k], points["yaw"][k] = go(0.0, 0.0, 0.0, bend, -s[k])
    points["t"], points["s"], points["speed"] = t - t[0], s - s[0], -v
    points["acceleration"], points["curvature"] = -np.gradient(v, 0.1), bend
    return Trajectory(now, points)


@pytest.mark.parametrize("bend", [0.0, 0.12, -0.2])
def test_control_follows_a_bend_backwards_and_stops_at_its_end(bend: float) -> None:
    ego, controller = EgoVehicle(CAR, WorldConfig(), Pose2(0.0, 0.0, 0.0)), Controller(ControlConfig(), CAR)
    off = []
    for tick in range(round(15.0 / DT)):
        now = tick * TICK_NS
        if tick % 5 == 0:
            trajectory = backwards_along(bend, 8.0, now)
        state = state_of(ego, now)
        output = controller.step(state, trajectory, VehicleReport(now, state.speed, state.steering))
        assert output.command.reverse and output.command.speed <= 0.0
        off.append(output.lateral_error)
        ego.step(output.command)
    x, y, yaw, speed, _ = ego.rear_axle()
    assert speed == 0.0 and np.abs(off).max() < 0.05
    assert (x, y, yaw) == pytest.approx(go(0.0, 0.0, 0.0, bend, -8.0), abs=0.12)


def test_control_brakes_first_where_the_trajectory_leads_the_other_way() -> None:
    ego, controller = EgoVehicle(CAR, WorldConfig(), Pose2(0.0, 0.0, 0.0)), Controller(ControlConfig(), CAR)
    drive(ego, 2.0, 1.0, FORWARD)
    gears, trajectory = [], None
    for tick in range(round(6.0 / DT)):
        now = tick * TICK_NS
        state = state_of(ego, now)
        trajectory = backwards_along(0.0, 8.0, now, begins=0.0) if tick % 5 == 0 else trajectory
        output = controller.step(state, trajectory, None)
        if not output.command.reverse and state.speed > 0.1:
            assert output.command.acceleration <= 0.0 or tick < 40
            assert output.status == "Braking: the trajectory leads the other way."
        gears.append((state.speed, output.command.reverse))
        ego.step(output.command)
    assert all(speed < 0.05 for speed, reverse in gears if reverse) and gears[-1][1]


# ---------------------------------------------------------------------------- the gate


class Yard:
    """A car, its gate and things that stand around, backwards along a straight."""

    def __init__(self, things: list[Thing]) -> None:
        self.ego = EgoVehicle(CAR, WorldConfig(), Pose2(0.0, 0.0, 0.0))
        self.gate = CommandGate(CONFIG, CAR)
        self.things, self.tick = things, 0
        self.rng = np.random.default_rng(3)
        self.outputs: list[GateOutput] = []

    def run(self, seconds: float, command: Command, leads_back: bool = True) -> None:
        for _ in range(round(seconds / DT)):
            now = self.tick * TICK_NS
            state = state_of(self.ego, now)
            points = np.zeros(60, TRAJECTORY_DTYPE)
            way = -1.0 if leads_back else 1.0
            points["t"] = np.arange(60) * 0.1
            points["s"] = 1.2 * points["t"]
            points["x"] = state.x + way * points["s"]
            points["speed"] = way * 1.2
            car = SimpleNamespace(truth=SimpleNamespace(x=state.x, y=state.y, yaw=state.yaw))
            output = self.gate.step(
                GateInput(
                    now, VehicleReport(now, state.speed, state.steering), replace(command, stamp_ns=now), state,
                    Trajectory(now, points), see(car, now, self.things, self.rng) if self.tick % 5 == 0 else None,
                )
            )  # fmt: skip
            self.outputs.append(output)
            self.ego.step(output.command)
            self.tick += 1

    @property
    def speed(self) -> float:
        return self.ego.rear_axle()[3]

    @property
    def rear(self) -> float:
        return self.ego.rear_axle()[0] - CAR.rear_overhang


BACKING = Command(0, 0.0, 0.6, -1.2, BACK)


def test_gate_lets_a_command_backwards_through_no_faster_than_it_allows() -> None:
    yard = Yard([])
    yard.run(8.0, Command(0, 0.0, 1.5, -9.0, BACK))
    last = yard.outputs[-1]
    assert last.mode is SystemMode.AUTONOMOUS and last.command.reverse
    assert -CONFIG.max_reverse_speed - 0.3 < yard.speed < -1.5
    assert last.command.speed == -CONFIG.max_reverse_speed


def test_gate_engages_reverse_only_for_a_trajectory_that_leads_backwards() -> None:
    yard = Yard([])
    yard.run(3.0, BACKING, leads_back=False)
    assert yard.speed == 0.0 and not any(output.command.reverse for output in yard.outputs)
    assert yard.outputs[-1].command.acceleration < 0.0


def test_gate_engages_no_gear_while_it_rolls() -> None:
    yard = Yard([])
    yard.run(4.0, BACKING)
    assert yard.speed < -0.8
    before = len(yard.outputs)
    yard.run(4.0, Command(0, 0.0, 1.0, 3.0, FORWARD), leads_back=False)
    shifted = next(k for k, out in enumerate(yard.outputs[before:]) if not out.command.reverse)
    assert all(out.command.acceleration <= 0.3 for out in yard.outputs[before + 20 : before + shifted])
    assert yard.speed > 0.5  # and then it goes


@pytest.mark.parametrize("y", [0.0, 0.9, -0.9])
def test_gate_brakes_for_what_stands_behind(y: float) -> None:
    yard = Yard([Thing(-8.0, y, length=0.5, width=0.5, height=1.7)])
    yard.run(10.0, BACKING)
    assert any(output.mode is SystemMode.EMERGENCY_STOP for output in yard.outputs)
    reason = next(output.reason for output in yard.outputs if output.mode is SystemMode.EMERGENCY_STOP)
    assert "behind the car" in reason
    assert yard.speed == 0.0 and yard.rear > -8.0 + 0.25


def test_gate_does_not_brake_for_what_is_beside_or_ahead() -> None:
    yard = Yard([Thing(-8.0, 1.8, length=0.5, width=0.5), Thing(5.2, 0.0, length=1.0, width=1.8)])
    yard.run(8.0, BACKING)
    assert all(output.mode is not SystemMode.EMERGENCY_STOP for output in yard.outputs) and yard.rear < -9.0
