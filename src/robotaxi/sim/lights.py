"""Traffic lights: fixed-time phases per junction, one phase per axis of approaches.

Approaches whose headings lie on one axis (either way) are green together, so a left turn meets
oncoming traffic and gives way to it by `Lane.yield_to`. Axes never share a green: amber, then all red.
The plan is a pure function of time, so it needs no state and can be asked about the future.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import LightState

_SAME_AXIS = math.radians(40.0)  # headings closer than this, modulo a half turn, form one phase


@dataclass(frozen=True)
class SignalPlan:
    """Green of one signal: from ``start`` for ``green`` seconds in every ``cycle``, then amber."""

    start: float
    green: float
    amber: float
    cycle: float

    def state(self, t: float) -> LightState:
        into = (t - self.start) % self.cycle
        if into < self.green:
            return LightState.GREEN
        return LightState.AMBER if into < self.green + self.amber else LightState.RED

    def red_for(self, t: float) -> float:
        """Seconds this signal stays red from ``t`` on; 0 when it is not red."""
        into = (t - self.start) % self.cycle
        return self.cycle - into if into >= self.green + self.amber else 0.0


class Lights:
    """The plans of all signals of a map; phases and offsets drawn from ``seed`` per junction."""

    def __init__(self, lane_map: LaneMap, config: WorldConfig, rng: np.random.Generator) -> None:
        self.plans: dict[int, SignalPlan] = {}
        for signals in _by_junction(lane_map).values():
            phases = _phases(signals)
            greens = [float(rng.uniform(config.light_green_min, config.light_green_max)) for _ in phases]
            lost = config.light_amber + config.light_all_red
            # a lone approach (a signalled crosswalk) still needs a red: an empty second phase
            pause = float(rng.uniform(config.light_green_min, config.light_green_max)) if len(phases) == 1 else 0.0
            cycle = sum(greens) + lost * len(phases) + pause
            start = float(rng.uniform(0.0, cycle))
            for members, green in zip(phases, greens, strict=True):
                for signal_id in members:
                    self.plans[signal_id] = SignalPlan(start, green, config.light_amber, cycle)
                start += green + lost
        self.plans = dict(sorted(self.plans.items()))

    def states(self, t: float) -> dict[int, LightState]:
        """State of every signal at ``t`` seconds, by signal id in ascending order."""
        return {signal_id: plan.state(t) for signal_id, plan in self.plans.items()}

    def red_for(self, signal_ids: tuple[int, ...], t: float) -> float:
        """Seconds for which all of ``signal_ids`` stay red from ``t`` on; infinite for none."""
        return min((self.plans[i].red_for(t) for i in signal_ids if i in self.plans), default=math.inf)


def group_signals(lane_map: LaneMap) -> list[list[list[int]]]:
    """Signal ids by junction and phase, junctions in ascending order."""
    return [_phases(signals) for signals in _by_junction(lane_map).values()]


def worst(states: dict[int, LightState], signal_ids: tuple[int, ...]) -> LightState:
    """What a stop line shows: the most restrictive of its signals; UNKNOWN without any."""
    shown = [states[i] for i in signal_ids if i in states]
    for state in (LightState.RED, LightState.AMBER, LightState.GREEN, LightState.OFF):
        if state in shown:
            return state
    return LightState.UNKNOWN


def _by_junction(lane_map: LaneMap) -> dict[int, list[tuple[int, float]]]:
    """(signal id, heading of its traffic) by junction, both in ascending order of id."""
    groups: dict[int, list[tuple[int, float]]] = {}
    for signal_id in sorted(lane_map.signals):
        signal = lane_map.signals[signal_id]
        stop_line = lane_map.stop_lines.get(signal.stop_line_id)
        lanes = [lane_map.lanes[i] for i in (stop_line.lane_ids if stop_line else ()) if i in lane_map.lanes]
        heading = signal.yaw + math.pi
        junction = signal.junction_id
        if lanes:
            ahead = lanes[0].centerline[-1] - lanes[0].centerline[-2]
            heading = math.atan2(float(ahead[1]), float(ahead[0]))
            for successor in lanes[0].successors:
                if junction is None and successor in lane_map.lanes:
                    junction = lane_map.lanes[successor].junction_id
        # a signal outside any junction is a group of its own, told apart by its stop line
        groups.setdefault(-signal.stop_line_id if junction is None else junction, []).append((signal_id, heading))
    return dict(sorted(groups.items()))


def _phases(signals: list[tuple[int, float]]) -> list[list[int]]:
    axes: list[tuple[float, list[int]]] = []
    for signal_id, heading in signals:
        for axis, members in axes:
            turn = abs((heading - axis + math.pi / 2) % math.pi - math.pi / 2)
            if turn < _SAME_AXIS:
                members.append(signal_id)
                break
        else:
            axes.append((heading, [signal_id]))
    return [members for _, members in axes]
