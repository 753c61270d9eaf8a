"""A million hostile inputs against the command gate, judged by limits written down a second time.

What is hostile: commands of any bit pattern, out of order, from the future, twice with one stamp,
missing; in the wrong gear; reports, states, trajectories and health records that lie; clocks that jump.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from robotaxi.interfaces import TICK_NS
from robotaxi.safety import CommandGate, GateConfig, GateInput, GateOutput
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    Health,
    LidarSweep,
    Permit,
    Request,
    SystemMode,
    Trajectory,
    VehicleParams,
    VehicleReport,
)

_BLOCK = 2000  # steps with one gate; then a new one, so that every mode is met many times
_EDGE = 1e-6
_NASTY = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 5e-324, 1e-9, 1.0, -1.0, 0.61, -0.61, 9.0, -9.0)
_DRIVING = (SystemMode.AUTONOMOUS, SystemMode.PULL_OVER, SystemMode.MANUAL)


@dataclass
class HostileResult:
    """``violations``: sentences, at most 20 kept; ``step_us``: (N,) time of each step in microseconds."""

    commands: int = 0
    violation_count: int = 0
    violations: list[str] = field(default_factory=list)
    modes: dict[str, int] = field(default_factory=dict)
    step_us: list[float] = field(default_factory=list)


def blocks(count: int, per_block: int = _BLOCK) -> list[tuple[int, int]]:
    """(number, commands) of each block of an attack with ``count`` commands."""
    return [(i, min(per_block, count - first)) for i, first in enumerate(range(0, count, per_block))]


def attack(config: GateConfig, vehicle: VehicleParams, parts: Iterable[tuple[int, int]], seed: int) -> HostileResult:
    """Drive a new gate with hostile commands for each of some `blocks`; a block is the same whoever runs it."""
    result = HostileResult()
    for number, commands in parts:
        _block(config, vehicle, commands, np.random.default_rng([seed, number]), result, number * _BLOCK)
    return result


def _block(
    config: GateConfig, vehicle: VehicleParams, steps: int, rng: np.random.Generator, out: HostileResult, first: int
) -> None:
    gate = CommandGate(config, vehicle)
    judge = _Judge(config, vehicle)
    world = _Liar(rng, vehicle)
    for number in range(first, first + steps):
        inputs = world.inputs()
        begin = time.perf_counter()
        output = gate.step(inputs)
        out.step_us.append((time.perf_counter() - begin) * 1e6)
        out.modes[output.mode.name] = out.modes.get(output.mode.name, 0) + 1
        fault = judge.fault(inputs, output)
        if fault:
            out.violation_count += 1
            if len(out.violations) < 20:
                out.violations.append(f"command {number}: {fault}")
        world.obey(output)
        out.commands += 1


class _Liar:
    """A car that moves as told, and inputs about it that are true, bent or broken."""

    def __init__(self, rng: np.random.Generator, vehicle: VehicleParams) -> None:
        self._rng, self._vehicle = rng, vehicle
        self._now, self._x, self._speed, self._steering = 0, 0.0, float(rng.uniform(0.0, 22.0)), 0.0
        # shares of steps whose other inputs are good, and of commands that are broken rather than wild: where
        # both are mild the gate keeps driving, and what is wild has to be cut
        self._calm = float(rng.choice([0.5, 0.98, 0.999, 1.0], p=[0.1, 0.2, 0.3, 0.4]))
        self._broken = float(rng.choice([0.0, 0.002, 0.02, 0.4]))
        self._points = np.zeros(40, TRAJECTORY_DTYPE)
        self._points["x"] = np.arange(40) * 2.0
        self._points["speed"] = 8.0
        # in one block in four the way leads backwards, and commands come in both gears
        self._leads_back = bool(rng.random() < 0.25)
        if self._leads_back:
            self._speed = 0.0
            self._points["x"], self._points["speed"] = -np.arange(40) * 0.2, -1.2
        self._reverse = False
        self._last: Command | None = None
        self._request = Request.AUTONOMOUS
        self._trajectory: Trajectory | None = None
        cloud = np.zeros(200, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
        cloud["x"], cloud["y"] = rng.uniform(-40.0, 40.0, 200), rng.uniform(-40.0, 40.0, 200)
        self._cloud, self._T = cloud, np.eye(4)

    def _any(self, scale: float) -> float:
        rng = self._rng
        if rng.random() < 0.3:
            return float(_NASTY[rng.integers(len(_NASTY))])
        if rng.random() < 0.1:
            return float(np.frombuffer(rng.bytes(8), np.float64)[0])
        return float(rng.uniform(-scale, scale))

    def _stamp(self) -> int:
        if self._rng.random() >= 0.5 * self._broken:
            return self._now
        return self._now + int(self._rng.integers(-400, 100)) * 1_000_000

    def _command(self) -> Command | None:
        rng = self._rng
        if rng.random() < 0.1 * self._broken:
            return None
        if rng.random() < self._broken and self._last is not None:
            return self._last
        finite = rng.random() >= self._broken
        steering = float(rng.uniform(-1.0, 1.0)) if finite else self._any(2.0)
        drive = float(rng.uniform(-12.0, 6.0)) if finite else self._any(20.0)
        self._last = Command(self._stamp(), steering, drive, self._any(30.0), self._gear())
        return self._last

    def _gear(self) -> bool:
        """Kept for a second or so: who changes it in each step never drives."""
        if self._rng.random() < 0.02:
            self._reverse = bool(self._rng.random() < (0.6 if self._leads_back else 0.1))
        return self._reverse

    def inputs(self) -> GateInput:
        rng, now = self._rng, self._now
        calm = rng.random() < self._calm
        speed, steering = (self._speed, self._steering) if calm else (self._any(40.0), self._any(0.7))
        state = EgoState(now, self._x, 0.0, 0.0, self._speed)
        if not calm and rng.random() < 0.5:
            state = EgoState(self._stamp(), self._any(1e3), self._any(1e3), self._any(4.0), self._any(40.0))
        if self._trajectory is None or now % (5 * TICK_NS) == 0:
            points = self._points
            if not calm and rng.random() < 0.2:
                points = points.copy()
                name = ("x", "y", "yaw", "speed")[int(rng.integers(4))]
                with np.errstate(over="ignore"):
                    points[name][int(rng.integers(40))] = self._any(1e3)
            self._trajectory = Trajectory(now // (5 * TICK_NS) * 5 * TICK_NS, points)
        sweep = None
        if now % (5 * TICK_NS) == 0 and (calm or rng.random() < 0.8):
            cloud = np.roll(self._cloud, now // TICK_NS)  # no two sweeps are the same, or they count as frozen
            if not calm:
                cloud["x"][:20], cloud["y"][:20], cloud["z"][:20] = rng.uniform(3.0, 20.0), rng.normal(0.0, 0.3), 1.0
            sweep = LidarSweep(now, cloud, self._T)
        if rng.random() < 0.003:  # people change their minds rarely
            self._request = Request.AUTONOMOUS if rng.random() < 0.8 else Request(int(rng.integers(4)))
        permit = Permit.DRIVE if calm or rng.random() < 0.9 else Permit(int(rng.integers(3)))
        manual = self._command() if rng.random() < 0.5 else None
        return GateInput(
            now,
            VehicleReport(now if calm else self._stamp(), speed, steering),
            self._command(),
            None if not calm and rng.random() < 0.05 else state,
            self._trajectory,
            sweep,
            health=Health(now, permit, "x", "Hostile.", speed_cap=self._any(20.0) if not calm else math.inf),
            manual=manual,
            request=self._request,
        )

    def obey(self, output: GateOutput) -> None:
        dt = TICK_NS * 1e-9
        change = output.command.acceleration * dt
        if output.command.reverse:
            self._speed = max(min(self._speed - change, 0.0), -40.0)
        else:
            self._speed = min(max(self._speed + change, 0.0), 40.0)
        self._steering = output.command.steering
        self._x += self._speed * dt
        jump = int(self._rng.integers(-150, 150)) * TICK_NS if self._rng.random() < 5e-4 else 0
        self._now += TICK_NS + jump


class _Judge:
    """The limits, said again: finite, in range, no faster than steering and jerk allow, no gas without leave."""

    def __init__(self, config: GateConfig, vehicle: VehicleParams) -> None:
        self._config, self._vehicle = config, vehicle
        self._last: Command | None = None
        self._last_ns: int | None = None
        self._reported = False
        self._speed = 0.0

    def fault(self, inputs: GateInput, output: GateOutput) -> str:
        config, vehicle, out, last = self._config, self._vehicle, output.command, self._last
        elapsed = 0.0 if self._last_ns is None else (inputs.stamp_ns - self._last_ns) * 1e-9
        dt = min(elapsed, 0.1) if elapsed > 0.0 else 0.02
        self._last, self._last_ns = out, inputs.stamp_ns
        if not all(map(math.isfinite, (out.steering, out.acceleration, out.speed))):
            return f"not finite: {out}"
        if out.stamp_ns != inputs.stamp_ns:
            return "stamped at another time"
        if not -config.max_deceleration - _EDGE <= out.acceleration <= config.max_acceleration + _EDGE:
            return f"acceleration {out.acceleration}"
        if abs(out.steering) > vehicle.max_steering + _EDGE:
            return f"steering {out.steering}"
        if not -_EDGE <= (-out.speed if out.reverse else out.speed) <= config.max_speed + _EDGE:
            return f"aims at {out.speed} m/s"
        if out.speed < -config.max_reverse_speed - _EDGE:
            return f"aims at {out.speed} m/s"
        falling = output.mode is not SystemMode.STOP and last is not None and out.acceleration < last.acceleration
        if output.mode not in _DRIVING and out.acceleration > _EDGE and not falling:
            return f"gas in {output.mode.name}: {out.acceleration}"
        good = abs(inputs.report.speed) <= 70.0 and abs(inputs.report.steering) <= math.pi / 2.0
        late = (inputs.stamp_ns - inputs.report.stamp_ns) * 1e-9
        if not good or not -config.max_future - _EDGE <= late <= config.max_report_age + _EDGE:
            return ""  # the gate reckons its own speed; the speed-dependent limits are judged where it is known
        v = inputs.report.speed
        shifted = last is not None and last.reverse is not out.reverse
        if shifted and self._reported and abs(v) >= config.standing_speed:
            return f"another gear at {v:.2f} m/s"
        if out.reverse:
            v = -v
            if v > config.max_reverse_speed and out.acceleration > max(_EDGE, last.acceleration if last else 0.0):
                return f"gas at {v:.1f} m/s backwards"
        if last is not None and self._reported:
            turned = abs(out.steering - last.steering)
            if turned > vehicle.max_steering_rate * dt + _EDGE:
                return f"tyres turned by {turned:.4f} rad in {dt:.3f} s"
            lateral_jerk = v * v * turned / (vehicle.wheelbase * math.cos(last.steering) ** 2 * dt)
            if lateral_jerk > config.max_lateral_jerk * 1.02 + 1e-3:
                return f"lateral jerk {lateral_jerk:.1f} m/s^3 at {v:.1f} m/s"
            lateral = v * v * abs(math.tan(out.steering)) / vehicle.wheelbase
            if lateral > config.max_lateral_acceleration + 1e-3 and abs(out.steering) > abs(last.steering) + _EDGE:
                return f"lateral acceleration {lateral:.1f} m/s^2 and rising"
            rise = (out.acceleration - last.acceleration) / dt
            if last.acceleration >= 0.0 and rise > config.jerk_up + 1e-3:
                return f"jerk {rise:.1f} m/s^3 upwards"
            standing = abs(v) < config.standing_speed
            if output.mode is not SystemMode.EMERGENCY_STOP and not standing and rise < -config.jerk_down - 1e-3:
                return f"jerk {rise:.1f} m/s^3 downwards"
        if v > config.max_speed and out.acceleration > _EDGE and (last is None or out.acceleration > last.acceleration):
            return f"gas at {v:.1f} m/s"
        self._reported = True
        return ""
