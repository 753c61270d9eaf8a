"""Traffic light states over time: what restricts counts at once, green must be seen again."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.types import LightState

_FADING = 0.8  # confidence left after each frame in which the lamp is not seen


@dataclass
class _Memory:
    state: LightState
    confidence: float
    seen_ns: int  # when the state was last confirmed
    green_frames: int


class LightFilter:
    """Memory of each signal by id."""

    def __init__(self, green_frames: int, hold_green: float, hold_restrictive: float) -> None:
        self._green_frames = green_frames
        self._hold_ns = {
            LightState.GREEN: int(hold_green * 1e9),
            LightState.RED: int(hold_restrictive * 1e9),
            LightState.AMBER: int(hold_restrictive * 1e9),
        }
        self._memory: dict[int, _Memory] = {}

    def update(self, signal_id: int, seen: LightState, confidence: float, stamp_ns: int) -> tuple[LightState, float]:
        """The state to believe and its confidence, given what one image shows (UNKNOWN: nothing)."""
        memory = self._memory.get(signal_id)
        if memory is None or stamp_ns < memory.seen_ns:
            memory = self._memory[signal_id] = _Memory(LightState.UNKNOWN, 0.0, stamp_ns, 0)
        memory.green_frames = memory.green_frames + 1 if seen == LightState.GREEN else 0
        waiting = seen == LightState.GREEN != memory.state and memory.green_frames < self._green_frames
        if seen != LightState.UNKNOWN and not waiting:
            memory.state, memory.confidence, memory.seen_ns = seen, confidence, stamp_ns
        elif stamp_ns - memory.seen_ns > self._hold_ns.get(memory.state, 0):
            memory.state, memory.confidence = LightState.UNKNOWN, 0.0
        else:
            memory.confidence *= _FADING
        return memory.state, memory.confidence
