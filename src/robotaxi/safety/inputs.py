"""Is every input there, fresh, finite and in agreement with the others?"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from robotaxi.safety.config import GateConfig
from robotaxi.safety.motion import GoodTrajectory
from robotaxi.types import Command, EgoState, LidarSweep, Trajectory, VehicleReport

_MIN_STEERING_CHECK_SPEED = 1.0  # m/s; power steering may rest while standing


@dataclass(frozen=True, slots=True)
class GateInput:
    """What the gate sees at one step; each field the newest that counts by ``stamp_ns``.

    ``sweep`` is passed once, in the step at which it arrives, else None. ``inputs_lost``: topics
    that the host reports dead.
    """

    stamp_ns: int
    report: VehicleReport
    command: Command | None
    state: EgoState | None
    trajectory: Trajectory | None
    sweep: LidarSweep | None
    inputs_lost: tuple[str, ...] = ()


class InputMonitor:
    """Remembers what has been seen and for how long things have disagreed."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._seen: set[str] = set()
        self._sweep_stamp_ns: int | None = None
        self._sent: deque[tuple[int, float]] = deque()
        self._disagree_since: dict[str, int] = {}

    def report_fault(self, inputs: GateInput) -> str:
        """Why the vehicle's report cannot be used; empty if it can."""
        report = inputs.report
        if not (math.isfinite(report.speed) and math.isfinite(report.steering)):
            return "the vehicle reports values that are not finite"
        return self._age_fault("vehicle report", inputs.stamp_ns, report.stamp_ns, self._config.max_report_age)

    def state_fault(self, inputs: GateInput) -> str:
        """Why the state cannot be used."""
        state = inputs.state
        if state is None:
            return self._missing("localization")
        values = (state.x, state.y, state.yaw, state.speed, state.yaw_rate)
        if not all(math.isfinite(value) for value in values):
            return "localization is not finite"
        return self._age_fault("localization", inputs.stamp_ns, state.stamp_ns, self._config.max_state_age)

    def command_fault(self, inputs: GateInput) -> str:
        """Why the command cannot be used."""
        command = inputs.command
        if command is None:
            return self._missing("control command")
        if not (math.isfinite(command.steering) and math.isfinite(command.acceleration)):
            return "the control command is not finite"
        return self._age_fault("control command", inputs.stamp_ns, command.stamp_ns, self._config.max_command_age)

    def trajectory_fault(self, inputs: GateInput) -> str:
        """Why the trajectory cannot be used."""
        trajectory = inputs.trajectory
        if trajectory is None:
            return self._missing("trajectory")
        fault = GoodTrajectory.fault(trajectory)
        if fault:
            return f"the trajectory {fault}"
        return self._age_fault("trajectory", inputs.stamp_ns, trajectory.stamp_ns, self._config.max_trajectory_age)

    def take_sweep(self, sweep: LidarSweep) -> bool:
        """Whether the sweep can be used; a nearly empty one cannot: the lidar is blind."""
        if len(sweep.points) < self._config.min_sweep_points:
            return False
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


def sentence(faults: list[str]) -> str:
    """One sentence of all faults, what is waited for first; empty without any."""
    waiting = [fault.removeprefix("waiting for ") for fault in faults if fault.startswith("waiting for ")]
    others = [fault for fault in faults if not fault.startswith("waiting for ")]
    parts = [f"waiting for {', '.join(waiting)}"] if waiting else []
    text = "; ".join(parts + others)
    return text[:1].upper() + text[1:] + "." if text else ""
