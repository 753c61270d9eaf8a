"""Named checks: what a scenario asks of the drive, each with a sentence when it does not hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.evaluation.closed_loop import TICK_S
from robotaxi.evaluation.scenarios.model import Scenario
from robotaxi.evaluation.scenarios.run import Loop
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.types import VehicleParams

SETTLE = 1.0  # s at the start that comfort does not count: the car is put there at speed
EDGE = 0.05  # m that a wheel may stand outside


@dataclass(frozen=True)
class Outcome:
    """``failed``: check name -> why; ``trace`` (N, 7): t, x, y, yaw, speed, both accelerations every 20 ms."""

    scenario: str
    seed: int
    failed: dict[str, str]
    duration: float
    clearance: float
    trace: np.ndarray
    said: tuple[tuple[float, str, str], ...]

    def row(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario, "seed": self.seed, "passed": not self.failed, "failed": self.failed,
            "duration_s": round(self.duration, 2),
            "clearance_m": None if np.isinf(self.clearance) else round(self.clearance, 3),
            "mean_speed": round(float(np.abs(self.trace[:, 4]).mean()), 2),
            "explanations": [[round(t, 1), cause, sentence] for t, cause, sentence in self.said],
        }  # fmt: skip


def judge(scenario: Scenario, seed: int, lane_map: LaneMap, vehicle: VehicleParams, loop: Loop) -> Outcome:
    """Every check of the scenario on what happened."""
    trace = np.array(loop.trace)
    failed = {}
    for name, wanted in scenario.checks.items():
        fault = _check(name, wanted, lane_map, vehicle, loop, trace)
        if fault:
            failed[name] = fault
    return Outcome(scenario.name, seed, failed, float(trace[-1, 0]), loop.clearance, trace, tuple(loop.said))


def _check(name: str, wanted: Any, lane_map: LaneMap, vehicle: VehicleParams, loop: Loop, trace: np.ndarray) -> str:
    later = trace[trace[:, 0] >= SETTLE]
    if name == "reaches_goal":
        last = loop.said[-1][2] if loop.said else "nothing said"
        return "" if loop.arrived == bool(wanted) else f"not there after {trace[-1, 0]:.0f} s: {last}"
    if name == "no_collision":
        return loop.hit
    if name == "clearance":
        return "" if loop.clearance >= float(wanted) else f"passed with {loop.clearance:.2f} m"
    if name == "max_deceleration":
        worst = -float(later[:, 5].min())
        return "" if worst <= float(wanted) else f"braked with {worst:.1f} m/s^2"
    if name == "max_lateral_acceleration":
        worst = float(np.abs(later[:, 6]).max())
        return "" if worst <= float(wanted) else f"{worst:.1f} m/s^2 sideways"
    if name == "min_speed":  # until it slows down for the goal
        on_the_way = later[later[:, 0] < loop.said[-1][0]] if loop.said and loop.said[-1][1] == "GOAL" else later
        slowest = float(on_the_way[:, 4].min(initial=math.inf))
        return "" if slowest >= float(wanted) else f"slowed to {slowest:.1f} m/s"
    if name == "max_speed":
        return "" if trace[:, 4].max() <= float(wanted) else f"drove {trace[:, 4].max():.1f} m/s"
    if name == "distance":
        driven = float(np.abs(trace[:, 4]).sum()) * TICK_S
        return "" if driven >= float(wanted) else f"drove {driven:.0f} m only"
    if name == "reverses":
        back = -float(trace[trace[:, 4] < 0.0, 4].sum()) * TICK_S
        return "" if back >= float(wanted) else f"drove {back:.1f} m backwards only"
    if name == "cause":
        causes = {item[1] for item in loop.said}
        return "" if str(wanted) in causes else f"{wanted} was never the reason, but {', '.join(sorted(causes))}"
    if name == "no_red_light":
        return f"over the line at red at {loop.over_red[0]:.1f} s" if loop.over_red else ""
    if name == "stands_before":
        return _stands(float(wanted), loop, trace)
    wheels = _wheels(trace[::5], vehicle)
    if name == "on_road":
        off = ~lane_map.drivable(wheels, EDGE)
        return f"{off.sum()} wheel positions off the road" if off.any() else ""
    return _in_lane(loop, trace)


def _stands(seconds: float, loop: Loop, trace: np.ndarray) -> str:
    """A standstill of that many seconds before the end."""
    longest = run = 0
    for standing in np.abs(trace[:, 4]) < 0.1:
        run = run + 1 if standing else 0
        longest = max(longest, run)
    return "" if longest * TICK_S >= seconds else f"stood for {longest * TICK_S:.1f} s only"


def _in_lane(loop: Loop, trace: np.ndarray) -> str:
    reference = loop.path
    worst = 0.0
    near = None
    for x, y in trace[::10, 1:3]:
        near, offset, _ = reference.locate(float(x), float(y), near)
        worst = max(worst, abs(offset))
    return "" if worst < 0.8 else f"{worst:.1f} m beside the path"


def _wheels(trace: np.ndarray, vehicle: VehicleParams) -> np.ndarray:
    half = 0.42 * vehicle.width
    c, s = np.cos(trace[:, 3]), np.sin(trace[:, 3])
    out = [
        np.column_stack([trace[:, 1] + c * along - s * aside, trace[:, 2] + s * along + c * aside])
        for along in (0.0, vehicle.wheelbase)
        for aside in (-half, half)
    ]
    return np.concatenate(out)
