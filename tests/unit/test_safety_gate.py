"""The gate: limits for any command, a stop for any lost input, and the way back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from control_track import TICK_NS, VEHICLE
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_bench import Bench, arc, ground, steer_on, sweep_of

from robotaxi.safety import CommandGate, GateConfig, GateInput, GateOutput
from robotaxi.safety.modes import ModeMachine, Observation
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    Health,
    Permit,
    SystemMode,
    Trajectory,
    VehicleReport,
    said_by_car,
)

CONFIG = GateConfig()
CLEAR = sweep_of(0, ground(np.random.default_rng(0)))
EDGE = 1e-6


def inputs_at(tick: int, speed: float = 0.0, steering: float = 0.0, acceleration: float = 0.0) -> GateInput:
    """Everything good, on a straight road."""
    now = tick * TICK_NS
    return GateInput(
        now, VehicleReport(now, speed, 0.0), Command(now, steering, acceleration, 5.0),
        EgoState(now, now * 1e-9 * speed, 0.0, 0.0, speed), arc(now, 0.0, 0.0, 0.0, 5.0),
        replace(CLEAR, stamp_ns=now, points=np.roll(CLEAR.points, tick)) if tick % 5 == 0 else None,
    )  # fmt: skip


def started(speed: float = 0.0) -> tuple[CommandGate, int]:
    """A gate in AUTONOMOUS and the next tick."""
    gate = CommandGate(CONFIG, VEHICLE)
    for tick in range(30):
        output = gate.step(inputs_at(tick, speed))
    assert output.mode is SystemMode.AUTONOMOUS
    return gate, 30


def test_at_start_it_holds_the_brake_and_names_what_it_waits_for() -> None:
    gate = CommandGate(CONFIG, VEHICLE)
    output = gate.step(GateInput(0, VehicleReport(0, 0.0, 0.1), None, None, None, None))
    assert output.mode is SystemMode.STOP
    assert output.reason == "Waiting for localization, trajectory, control command, lidar sweep."
    assert output.command.acceleration == -CONFIG.hold_deceleration
    assert output.command.steering == pytest.approx(0.1)
    output = gate.step(replace(inputs_at(1), trajectory=None, sweep=CLEAR))
    assert output.reason == "Waiting for trajectory."


def test_good_inputs_for_half_a_second_start_it() -> None:
    gate = CommandGate(CONFIG, VEHICLE)
    modes = [gate.step(inputs_at(tick)).mode for tick in range(40)]
    assert modes.count(SystemMode.STOP) == 25
    assert modes[-1] is SystemMode.AUTONOMOUS


def test_a_gate_that_takes_over_from_a_dead_one_says_so_while_the_car_rolls() -> None:
    gate = CommandGate(CONFIG, VEHICLE)
    outputs = [gate.step(inputs_at(tick, speed=8.0)) for tick in range(40)]
    assert outputs[0].reason == "The command_gate was started while the car drove: it stops until all inputs are good."
    assert outputs[0].mode is SystemMode.STOP and outputs[0].command.acceleration < 0.0
    assert outputs[-1].mode is SystemMode.AUTONOMOUS


def test_a_good_command_passes_unchanged() -> None:
    gate, tick = started(speed=5.0)
    for i in range(20):  # from the held brake up
        gate.step(inputs_at(tick + i, 5.0))
    tick += 20
    for i in range(20):
        wanted = inputs_at(tick + i, 5.0, steering=0.002 * i, acceleration=0.02 * i)
        output = gate.step(wanted)
        assert output.command == wanted.command and not output.limited


floats = st.floats(allow_nan=True, allow_infinity=True)
hostile = st.tuples(floats, floats, floats, st.floats(-1.0, 40.0), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(hostile, min_size=1, max_size=25))
def test_whatever_is_commanded_the_output_is_finite_and_within_limits(commands: list[tuple]) -> None:
    gate, tick = started()
    last_steering, last_acceleration = 0.0, -2.0
    for i, (steering, acceleration, aim, speed, silent) in enumerate(commands):
        inputs = inputs_at(tick + i, speed)
        command = None if silent else Command(inputs.stamp_ns, steering, acceleration, aim)
        output = gate.step(replace(inputs, command=command))
        out = output.command
        assert all(math.isfinite(v) for v in (out.steering, out.acceleration, out.speed))
        assert -CONFIG.max_deceleration - EDGE <= out.acceleration <= CONFIG.max_acceleration + EDGE
        assert abs(out.steering) <= VEHICLE.max_steering + EDGE
        assert abs(out.steering - last_steering) <= VEHICLE.max_steering_rate * 0.02 + EDGE
        lateral = speed**2 * math.tan(abs(out.steering)) / VEHICLE.wheelbase
        assert lateral <= CONFIG.max_lateral_acceleration + EDGE or abs(out.steering) < abs(last_steering) + EDGE
        if last_acceleration >= 0.0:
            assert out.acceleration - last_acceleration <= CONFIG.jerk_up * 0.02 + EDGE
        if output.mode is not SystemMode.EMERGENCY_STOP and abs(speed) > CONFIG.standing_speed:
            assert out.acceleration - last_acceleration >= -CONFIG.jerk_down * 0.02 - EDGE
        assert output.reason.endswith(".")
        last_steering, last_acceleration = out.steering, out.acceleration


def test_limits_are_reported() -> None:
    gate, tick = started(speed=12.0)
    for i in range(40):
        output = gate.step(inputs_at(tick + i, 12.0, steering=0.5))
    assert output.limited and output.reason == "Driving: the command was limited."
    assert 12.0**2 * math.tan(output.command.steering) / VEHICLE.wheelbase == pytest.approx(4.5)


def test_who_may_drive_slowly_only_brakes_and_says_so_in_one_sentence() -> None:
    gate, tick = started(speed=9.0)
    for i in range(40):
        health = Health((tick + i) * TICK_NS, part="lidar_perception", sentence="The lidar sees 12 m.", speed_cap=5.0)
        output = gate.step(replace(inputs_at(tick + i, 9.0, acceleration=1.0), health=health))
    assert output.command.acceleration < -1.0
    assert output.reason == "Driving at 18 km/h at most: The lidar sees 12 m."
    assert said_by_car(output.mode, output.reason, health, "Driving at 32 km/h.") == output.reason
    assert said_by_car(output.mode, output.reason, Health(0), "Driving at 32 km/h.") == "Driving at 32 km/h."


def test_too_fast_only_brakes() -> None:
    gate, tick = started(speed=21.0)
    for i in range(20):
        output = gate.step(inputs_at(tick + i, 21.0, acceleration=1.0))
    assert output.command.acceleration == -CONFIG.overspeed_deceleration


def spoil(name: str, from_ns: int):
    """A function that lets one input go silent, or bad, from a time on."""

    def alter(inputs: GateInput) -> GateInput:
        if inputs.stamp_ns < from_ns:
            spoil.last[name] = getattr(inputs, name, None)
            return inputs
        if name == "sweep":
            return replace(inputs, sweep=None)
        if name == "blind lidar":
            blind = inputs.sweep and replace(inputs.sweep, points=inputs.sweep.points[:20])
            return replace(inputs, sweep=blind)
        if name == "nan command":
            return replace(inputs, command=Command(inputs.stamp_ns, math.nan, 0.0))
        if name == "nan state":
            return replace(inputs, state=replace(inputs.state, x=math.nan))
        if name == "nan trajectory":
            bad = inputs.trajectory.points.copy()
            bad["yaw"][5] = math.nan
            return replace(inputs, trajectory=Trajectory(inputs.stamp_ns, bad))
        if name == "inputs_lost":
            return replace(inputs, inputs_lost=("control/command_raw",))
        return replace(inputs, **{name: spoil.last[name]})

    return alter


spoil.last = {}


@pytest.mark.parametrize(
    ("name", "says", "within"),
    [
        ("command", "Control command is 0.08 s old, allowed is 0.06 s.", 0.08),
        ("state", "Localization is 0.12 s old, allowed is 0.10 s.", 0.12),
        ("trajectory", "Trajectory is 0.42 s old, allowed is 0.40 s.", 0.42),
        ("sweep", "Lidar sweep is 0.32 s old, allowed is 0.30 s.", 0.32),
        ("blind lidar", "Lidar sweep is 0.32 s old, allowed is 0.30 s.", 0.32),
        ("nan command", "The control command is not finite.", 0.0),
        ("nan state", "Localization has x that is not finite.", 0.0),
        ("nan trajectory", "The trajectory has yaw that is not finite.", 0.0),
        ("inputs_lost", "Topic control/command_raw is dead: no word from controller.", 0.0),
    ],
)
def test_each_lost_input_gives_a_comfortable_stop_along_the_path(name: str, says: str, within: float) -> None:
    curvature = 1 / 25.0
    bench = Bench(speed=8.0, curvature=curvature, command=lambda t, car: (steer_on(curvature), 0.0))
    bench.alter = spoil(name, 1_000_000_000)
    before = bench.run(1.0)
    assert {o.mode for o in before} == {SystemMode.AUTONOMOUS}
    stopping = bench.run(7.0)
    first = next(i for i, o in enumerate(stopping) if o.mode is SystemMode.COMFORTABLE_STOP)
    assert first * 0.02 <= within + 0.021
    assert stopping[first].reason == says
    assert stopping[-1].mode is SystemMode.STOP and bench.car.truth.speed == 0.0
    assert -2.3 < min(bench.accelerations) < -1.8
    assert np.abs(np.diff(np.convolve(bench.accelerations, np.ones(10) / 10, mode="valid"))).max() / 0.02 < 5.0
    t = bench.car.truth
    off_the_arc = math.hypot(t.x, t.y - 1 / curvature) - 1 / curvature
    assert abs(off_the_arc) < 0.5


def test_recovers_when_inputs_are_good_for_half_a_second() -> None:
    bench = Bench(speed=10.0, alter=lambda i: replace(i, command=None) if 50 <= i.stamp_ns // TICK_NS < 80 else i)
    outputs = bench.run(3.0)
    modes = [o.mode for o in outputs]
    assert modes.index(SystemMode.COMFORTABLE_STOP) == 50
    assert modes.count(SystemMode.COMFORTABLE_STOP) == 30 + 25
    assert outputs[-1].mode is SystemMode.AUTONOMOUS and outputs[-1].reason == "Driving: all inputs are good."
    assert outputs[60].reason == "Control command has gone."


def test_brakes_harder_where_the_trajectory_ended_sooner() -> None:
    bench = Bench(speed=10.0, alter=lambda i: replace(i, command=None) if i.stamp_ns >= 10**9 else i)
    ending = bench.road.points[:32].copy()  # 10 m of driving, then 15 m to rest
    ending["speed"][-1] = 0.0
    bench.road = Trajectory(0, ending)
    bench.run(6.0)
    assert bench.car.truth.speed == 0.0
    assert bench.car.truth.x < float(ending["x"][-1]) + 1.0
    assert min(bench.accelerations) < -2.1


def test_wheels_that_contradict_localization_stop_the_car() -> None:
    def alter(inputs: GateInput) -> GateInput:
        return replace(inputs, state=replace(inputs.state, speed=inputs.state.speed + 4.0))

    bench = Bench(speed=8.0, alter=alter)
    bench.run(1.0)
    assert bench.outputs[20].mode is SystemMode.AUTONOMOUS
    assert bench.outputs[-1].mode is SystemMode.COMFORTABLE_STOP
    assert bench.outputs[26].reason == "Wheels report 8.0 m/s and localization 12.0 m/s."


def test_a_stop_with_wheels_that_turn_too_fast_does_not_cut_the_curve() -> None:
    def alter(inputs: GateInput) -> GateInput:
        turned = 1.6 if inputs.stamp_ns >= 500_000_000 else 1.0
        return replace(inputs, report=replace(inputs.report, speed=inputs.report.speed * turned))

    way = np.zeros(400, TRAJECTORY_DTYPE)
    bends = np.clip((np.arange(400) * 0.25 - 15.0) / 4.0, 0.0, 1.0) / 12.0  # straight on, then round 12 m
    way["yaw"], way["speed"] = np.cumsum(bends * 0.25), 8.0
    way["x"], way["y"] = np.cumsum(np.cos(way["yaw"]) * 0.25), np.cumsum(np.sin(way["yaw"]) * 0.25)
    bench = Bench(speed=8.0, alter=alter)
    bench.road, bench.command = Trajectory(0, way), lambda t, car: (0.0, -1.0)
    off = []
    for _ in range(80):
        bench.run(0.1)
        off.append(float(np.hypot(way["x"] - bench.car.truth.x, way["y"] - bench.car.truth.y).min()))
    assert bench.car.truth.speed == 0.0 and bench.car.truth.y > 1.0
    assert max(off) < 0.4


def test_steering_that_does_not_answer_stops_the_car() -> None:
    bench = Bench(speed=8.0, alter=lambda i: replace(i, report=replace(i.report, steering=0.2)))
    bench.command = lambda t, car: (0.0, 0.0)
    bench.run(2.5)
    assert any(o.reason.startswith("The tyres are at 0.20 rad") for o in bench.outputs)


def test_localization_that_jumps_is_not_believed_until_the_car_stands() -> None:
    def alter(inputs: GateInput) -> GateInput:
        jumped = inputs.stamp_ns >= 10**9
        return replace(inputs, state=replace(inputs.state, y=inputs.state.y + 3.0)) if jumped else inputs

    bench = Bench(speed=8.0, alter=alter)
    outputs = bench.run(1.6)
    assert outputs[50].reason == "Localization jumped by more than 1.0 m."
    while bench.car.truth.speed >= CONFIG.standing_speed:
        assert bench.run(0.02)[0].mode is SystemMode.COMFORTABLE_STOP
    assert bench.run(1.0)[-1].mode is SystemMode.AUTONOMOUS


def test_who_gets_sweeps_again_has_a_moment_before_it_is_to_blame() -> None:
    late = Health(0, Permit.STOP, "lidar_perception", "lidar_perception: perception/objects is 0.50 s old.")

    def alter(inputs: GateInput) -> GateInput:
        tick = inputs.stamp_ns // TICK_NS
        blind, late_still = 50 <= tick < 80, 60 <= tick < 125
        health = replace(late, stamp_ns=inputs.stamp_ns) if late_still else Health(inputs.stamp_ns)
        return replace(inputs, sweep=None if blind else inputs.sweep, health=health)

    reasons = [output.reason for output in Bench(speed=8.0, alter=alter).run(2.6)]
    assert reasons[78].startswith("Lidar sweep is 0.") and reasons[95].startswith("Lidar sweep is 0.")
    assert reasons[122] == late.sentence


def test_the_last_word_of_a_dead_health_monitor_is_not_repeated() -> None:
    late = Health(0, Permit.STOP, "planner", "planner: planning/trajectory is silent.")

    def alter(inputs: GateInput) -> GateInput:
        last_ns = min(inputs.stamp_ns, 60 * TICK_NS)
        return replace(inputs, health=replace(late, stamp_ns=last_ns) if last_ns >= 50 * TICK_NS else Health(last_ns))

    outputs = Bench(speed=8.0, alter=alter).run(6.0)
    assert outputs[70].reason == late.sentence
    assert outputs[120].reason.startswith("Health report is") and outputs[-1].reason.startswith("Health report is")
    assert outputs[-1].mode is SystemMode.STOP  # what it forbade last stays forbidden


def test_a_place_of_a_second_ago_under_a_new_stamp_is_not_believed() -> None:
    """A clock that leaps by a second: first nothing that counts comes, then what was true when the silence began."""
    seen: list[EgoState] = []

    def alter(inputs: GateInput) -> GateInput:
        seen.append(inputs.state)
        now = len(seen) - 1
        if 50 <= now < 100:
            return replace(inputs, state=seen[49])
        if 100 <= now < 150:
            old = seen[now - 50]
            return replace(inputs, state=replace(old, stamp_ns=inputs.stamp_ns))
        return inputs

    bench = Bench(speed=12.0, alter=alter)
    modes = [output.mode for output in bench.run(4.0)]
    assert set(modes[60:150]) == {SystemMode.COMFORTABLE_STOP}
    assert modes[-1] is SystemMode.AUTONOMOUS and bench.car.truth.speed > 1.0  # true again before the car stood


def test_report_that_is_not_finite_brakes_and_stays_finite() -> None:
    gate, tick = started(speed=6.0)
    for i in range(300):
        bad = VehicleReport((tick + i) * TICK_NS, math.nan, math.inf)
        output = gate.step(replace(inputs_at(tick + i, 6.0), report=bad))
        assert math.isfinite(output.command.acceleration) and math.isfinite(output.command.steering)
    assert output.mode is SystemMode.STOP  # its own reckoning says it stands
    assert output.command.acceleration == -CONFIG.hold_deceleration


@pytest.mark.parametrize("at", [0.8, 1.6])
def test_blind_and_without_wheels_it_brakes_along_its_way_as_far_as_it_knows_itself(at: float) -> None:
    def alter(inputs: GateInput) -> GateInput:
        if inputs.stamp_ns < at * 1e9:
            return inputs
        return replace(inputs, report=replace(inputs.report, speed=math.nan, steering=math.nan), state=None)

    bench, way = Bench(speed=8.0, alter=alter), np.zeros(400, TRAJECTORY_DTYPE)
    u = np.clip(np.arange(400) * 0.02 - 0.2, 0.0, 1.0)  # 3 m to the left over 25 m, from x = 5 m on
    way["x"], way["y"] = np.arange(400) * 0.5, 3.0 * (10 * u**3 - 15 * u**4 + 6 * u**5)
    way["yaw"], way["speed"] = np.arctan(np.gradient(way["y"], 0.5)), 8.0
    bench.road = Trajectory(0, way)
    bends = np.gradient(way["yaw"], 0.5)
    bench.command = lambda t, car: (steer_on(float(np.interp(car.truth.x + 2.0, way["x"], bends))), 0.0)
    bench.run(6.0)
    assert SystemMode.STOP_IN_LANE in bench.modes and bench.car.truth.speed == 0.0
    assert abs(bench.car.truth.y - float(np.interp(bench.car.truth.x, way["x"], way["y"]))) < 0.2


@pytest.mark.parametrize("offset_deg", [0.0, 0.4, -0.4])
def test_a_blind_stop_knows_by_how_much_the_steering_sensor_is_off(offset_deg: float) -> None:
    def alter(inputs: GateInput) -> GateInput:
        report = replace(inputs.report, steering=inputs.report.steering + math.radians(offset_deg))
        return replace(inputs, report=report, state=inputs.state if inputs.stamp_ns < 8e9 else None)

    bench = Bench(speed=12.0, alter=alter)
    bench.run(16.0)
    assert bench.car.truth.speed == 0.0 and bench.car.truth.x > 120.0
    assert abs(bench.car.truth.y) < 0.15


def test_a_stop_steers_back_to_the_way_that_a_wrong_command_has_left() -> None:
    def alter(inputs: GateInput) -> GateInput:
        gone = inputs.stamp_ns >= 1_600_000_000
        return replace(inputs, command=None) if gone else inputs

    bench = Bench(speed=8.0, alter=alter)
    bench.command = lambda t, car: (0.08 if t >= 0.3 else 0.0, 0.0)
    bench.run(1.6)
    assert bench.car.truth.y > 0.5 and bench.car.truth.yaw > 0.1
    bench.run(8.0)
    assert SystemMode.STOP_IN_LANE in bench.modes  # farther off than a way that is known
    assert bench.car.truth.speed == 0.0 and bench.car.truth.y < 2.0 and bench.car.truth.yaw < 0.0  # not 5 m


def test_a_frozen_localization_is_not_believed_and_the_stop_goes_by_the_wheels() -> None:
    frozen: dict[str, EgoState] = {}

    def alter(inputs: GateInput) -> GateInput:
        if inputs.stamp_ns < 1_000_000_000:
            return inputs
        state = frozen.setdefault("state", inputs.state)
        return replace(inputs, state=replace(state, stamp_ns=inputs.stamp_ns))

    curvature = 1 / 25.0
    bench = Bench(speed=8.0, curvature=curvature, alter=alter, command=lambda t, car: (0.0 if t > 1.0 else 0.1155, 0.0))
    outputs = bench.run(7.0)
    first = next(i for i, output in enumerate(outputs) if output.mode is SystemMode.COMFORTABLE_STOP)
    assert 50 < first <= 54
    assert outputs[first].reason == "Localization is frozen: it stays where it was while the wheels turn."
    t = bench.car.truth
    assert t.speed == 0.0 and abs(math.hypot(t.x, t.y - 1 / curvature) - 1 / curvature) < 0.5


def test_stamps_from_the_future_are_refused() -> None:
    gate, tick = started(speed=5.0)
    inputs = inputs_at(tick, 5.0)
    ahead = replace(inputs.command, stamp_ns=inputs.stamp_ns + 10**9)
    assert gate.step(replace(inputs, command=ahead)).reason == "Control command is stamped 1.00 s ahead of now."


def test_same_input_gives_the_same_output() -> None:
    def outputs() -> list[GateOutput]:
        return Bench(speed=8.0, alter=lambda i: replace(i, command=None) if i.stamp_ns > 10**9 else i, seed=5).run(2.0)

    assert outputs() == outputs()


observations = st.lists(
    st.tuples(st.sampled_from(["", "Lost."]), st.sampled_from(["", "", "Near."]), st.booleans(), st.booleans()),
    max_size=200,
)


@settings(max_examples=200, deadline=None)
@given(observations)
def test_mode_machine_never_drives_on_a_fault_or_threat(steps: list[tuple[str, str, bool, bool]]) -> None:
    machine = ModeMachine(CONFIG)
    good = clear = 0
    for i, (fault, threat, standing, is_clear) in enumerate(steps):
        before = machine.mode
        mode, reason = machine.step(Observation(i * TICK_NS, fault, threat, standing, is_clear))
        good = 0 if fault else good + 1
        clear = clear + 1 if standing and is_clear and not threat else 0
        if threat:
            assert mode is SystemMode.EMERGENCY_STOP and reason == threat
        if fault:
            assert mode is not SystemMode.AUTONOMOUS
        if mode is SystemMode.AUTONOMOUS and before is not SystemMode.AUTONOMOUS:
            assert good * 0.02 > CONFIG.recovery_time
        if before is SystemMode.EMERGENCY_STOP and mode is not before:
            assert clear * 0.02 > CONFIG.emergency_clear_time
