"""Is every input there, fresh, finite and in agreement with the others?"""

from __future__ import annotations

import math
import zlib
from collections import deque
from dataclasses import dataclass

import numpy as np

from robotaxi.interfaces import INTERFACES
from robotaxi.safety.config import GateConfig
from robotaxi.safety.plausible import implausible
from robotaxi.types import Command, EgoState, Health, LidarSweep, Request, Trajectory, VehicleReport

_RESTARTED_NS = 10_000_000_000  # a stamp that far back is a clock that was set anew, not a message out of order
_FARTHEST_POINT = 300.0  # m
_PRINT_STEP = 16  # every so many points make the fingerprint of a sweep
_MIN_STEERING_CHECK_SPEED = 1.0  # m/s; power steering may rest while standing


@dataclass(frozen=True, slots=True)
class GateInput:
    """What the gate sees at one step; each field the newest that counts by ``stamp_ns``.

    ``sweep`` is passed once, in the step at which it arrives, else None. ``inputs_lost``: topics
    that the host reports dead. ``health`` None: this vehicle has no health monitor. ``manual``: what
    a person in the car commands. ``alarms``: sentences of the host that forbid to drive.
    """

    stamp_ns: int
    report: VehicleReport
    command: Command | None
    state: EgoState | None
    trajectory: Trajectory | None
    sweep: LidarSweep | None
    inputs_lost: tuple[str, ...] = ()
    health: Health | None = None
    manual: Command | None = None
    request: Request = Request.AUTONOMOUS
    request_reason: str = ""
    alarms: tuple[str, ...] = ()


class InputMonitor:
    """Remembers what has been seen and for how long things have disagreed."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._seen: set[str] = set()
        self._sweep_stamp_ns: int | None = None
        self._sent: deque[tuple[int, float]] = deque()
        self._disagree_since: dict[str, int] = {}
        self._last_command: Command | None = None
        self._sweep_print = 0

    def report_fault(self, inputs: GateInput) -> str:
        """Why the vehicle's report cannot be used; empty if it can."""
        report = inputs.report
        fault = implausible("vehicle/status", report)
        if fault:
            return f"the vehicle report {fault}"
        return self._age_fault("vehicle report", inputs.stamp_ns, report.stamp_ns, self._config.max_report_age)

    def state_fault(self, inputs: GateInput) -> str:
        """Why the state cannot be used."""
        state = inputs.state
        if state is None:
            return self._missing("localization")
        fault = implausible("localization/kinematic_state", state)
        if fault:
            return f"localization {fault}"
        return self._age_fault("localization", inputs.stamp_ns, state.stamp_ns, self._config.max_state_age)

    def command_fault(self, inputs: GateInput) -> str:
        """Why the command cannot be used. Stamps are its sequence: they never go back, and one stamp is one command."""
        command, last = inputs.command, self._last_command
        if command is None:
            return self._missing("control command")
        if not (math.isfinite(command.steering) and math.isfinite(command.acceleration)):
            return "the control command is not finite"
        fault = self._age_fault("control command", inputs.stamp_ns, command.stamp_ns, self._config.max_command_age)
        if fault:
            return fault
        self._last_command = command
        if last is not None and 0 < last.stamp_ns - command.stamp_ns < _RESTARTED_NS:
            return f"the control command went back by {(last.stamp_ns - command.stamp_ns) * 1e-9:.2f} s"
        if last is not None and last.stamp_ns == command.stamp_ns and _differ(last, command):
            return "two control commands with one stamp differ"
        return ""

    def manual_ok(self, inputs: GateInput) -> bool:
        """Whether a person's commands are here, fresh and finite."""
        command = inputs.manual
        if command is None or not (math.isfinite(command.steering) and math.isfinite(command.acceleration)):
            return False
        age = (inputs.stamp_ns - command.stamp_ns) * 1e-9
        return -self._config.max_future - 1e-6 <= age <= self._config.max_manual_age + 1e-6

    def health_fault(self, inputs: GateInput) -> str:
        """Why the health monitor cannot be relied on."""
        if inputs.health is None:
            return ""
        return self._age_fault("health report", inputs.stamp_ns, inputs.health.stamp_ns, self._config.max_health_age)

    def trajectory_fault(self, inputs: GateInput) -> str:
        """Why the trajectory cannot be used."""
        trajectory = inputs.trajectory
        if trajectory is None:
            return self._missing("trajectory")
        fault = implausible("planning/trajectory", trajectory)
        if fault:
            return f"the trajectory {fault}"
        return self._age_fault("trajectory", inputs.stamp_ns, trajectory.stamp_ns, self._config.max_trajectory_age)

    def take_sweep(self, sweep: LidarSweep) -> bool:
        """Whether the sweep can be used: not when it is nearly empty (the lidar is blind) or the last one again."""
        x, y = (np.abs(sweep.points[name]) for name in ("x", "y"))
        if int(((x < _FARTHEST_POINT) & (y < _FARTHEST_POINT)).sum()) < self._config.min_sweep_points:
            return False  # what is not finite is no point
        print_of_this = zlib.crc32(np.ascontiguousarray(x[::_PRINT_STEP]).tobytes())
        if print_of_this == self._sweep_print:
            return False
        self._sweep_print = print_of_this
        self._sweep_stamp_ns = sweep.stamp_ns
        return True

    def sweep_fault(self, stamp_ns: int) -> str:
        """Why there is no lidar to rely on."""
        if self._sweep_stamp_ns is None:
            return "waiting for lidar sweep"
        return self._age_fault("lidar sweep", stamp_ns, self._sweep_stamp_ns, self._config.max_sweep_age)

    def sent(self, stamp_ns: int, steering: float) -> None:
        """Remember a tyre angle asked for."""
        self._sent.append((stamp_ns, steering))
        while self._sent and stamp_ns - self._sent[0][0] > self._config.actuation_memory * 1e9:
            self._sent.popleft()

    def contradiction(self, inputs: GateInput) -> str:
        """Where the vehicle's report contradicts localization or what it was told, for too long."""
        config, report, state = self._config, inputs.report, inputs.state
        if state is not None:
            wrong = abs(report.speed - state.speed) > config.max_speed_contradiction
            if self._lasts("speed", wrong, inputs.stamp_ns):
                return f"wheels report {report.speed:.1f} m/s and localization {state.speed:.1f} m/s"
        if self._sent:
            angles = [angle for _, angle in self._sent]
            low, high = min(angles), max(angles)
            tolerance = config.max_steering_contradiction
            wrong = not low - tolerance <= report.steering <= high + tolerance
            wrong = wrong and abs(report.speed) > _MIN_STEERING_CHECK_SPEED
            if self._lasts("steering", wrong, inputs.stamp_ns):
                return f"the tyres are at {report.steering:.2f} rad, asked for were {low:.2f} to {high:.2f} rad"
        return ""

    def _lasts(self, name: str, wrong: bool, now_ns: int) -> bool:
        if not wrong:
            self._disagree_since.pop(name, None)
            return False
        since = self._disagree_since.setdefault(name, now_ns)
        return now_ns - since >= self._config.contradiction_time * 1e9

    def _missing(self, name: str) -> str:
        return f"{name} has gone" if name in self._seen else f"waiting for {name}"

    def _age_fault(self, name: str, now_ns: int, stamp_ns: int, allowed: float) -> str:
        age = (now_ns - stamp_ns) * 1e-9
        if age < -self._config.max_future - 1e-6:
            return f"{name} is stamped {-age:.2f} s ahead of now"
        if age > allowed + 1e-6:
            return f"{name} is {age:.2f} s old, allowed is {allowed:.2f} s"
        self._seen.add(name)
        return ""


def _differ(a: Command, b: Command) -> bool:
    return a.steering != b.steering or a.acceleration != b.acceleration or a.reverse is not b.reverse


def dead_topic(topic: str) -> str:
    """What is said of a topic that the host reports dead: its name and whose it is."""
    item = INTERFACES.get(topic)
    return f"topic {topic} is dead" + (f": no word from {item.producer}" if item is not None and item.producer else "")


def sentence(faults: list[str]) -> str:
    """One sentence of all faults, what is waited for first; empty without any."""
    waiting = [fault.removeprefix("waiting for ") for fault in faults if fault.startswith("waiting for ")]
    others = [fault for fault in faults if not fault.startswith("waiting for ")]
    parts = [f"waiting for {', '.join(waiting)}"] if waiting else []
    text = "; ".join(parts + others)
    return text[:1].upper() + text[1:] + "." if text else ""
