"""Traffic light states over time: what restricts counts at once, green must be seen again, darkness must last."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.hdmap.lane_map import Signal
from robotaxi.types import LightShape, LightState

_SHAPE_FRAMES = 3  # in a row that show the same shape
_FADING = 0.8  # confidence left after each frame in which the lamp is not seen


@dataclass
class _Memory:
    state: LightState
    confidence: float
    seen_ns: int  # when the state was last confirmed
    green_frames: int
    dark_since_ns: int | None = None


class LightFilter:
    """Memory of each signal by id."""

    def __init__(self, green_frames: int, hold_green: float, hold_restrictive: float, dark_time: float = 2.0) -> None:
        self._green_frames, self._dark_ns = green_frames, int(dark_time * 1e9)
        self._hold_ns = {
            LightState.GREEN: int(hold_green * 1e9),
            LightState.RED: int(hold_restrictive * 1e9),
            LightState.AMBER: int(hold_restrictive * 1e9),
            LightState.OFF: int(hold_restrictive * 1e9),
        }
        self._memory: dict[int, _Memory] = {}

    def update(self, signal_id: int, seen: LightState, confidence: float, stamp_ns: int) -> tuple[LightState, float]:
        """The state to believe and its confidence, given what one image shows (UNKNOWN: nothing; OFF: a dark head)."""
        memory = self._memory.get(signal_id)
        if memory is None or stamp_ns < memory.seen_ns:
            memory = self._memory[signal_id] = _Memory(LightState.UNKNOWN, 0.0, stamp_ns, 0)
        memory.green_frames = memory.green_frames + 1 if seen == LightState.GREEN else 0
        waiting = seen == LightState.GREEN != memory.state and memory.green_frames < self._green_frames
        if seen != LightState.OFF:
            memory.dark_since_ns = None
        elif memory.dark_since_ns is None:
            memory.dark_since_ns = stamp_ns
        if memory.dark_since_ns is not None and stamp_ns - memory.dark_since_ns < self._dark_ns:
            waiting = True  # lamps of diodes flicker, and some lights blink
        if seen != LightState.UNKNOWN and not waiting:
            memory.state, memory.confidence, memory.seen_ns = seen, confidence, stamp_ns
        elif stamp_ns - memory.seen_ns > self._hold_ns.get(memory.state, 0):
            memory.state, memory.confidence = LightState.UNKNOWN, 0.0
        else:
            memory.confidence *= _FADING
        return memory.state, memory.confidence


class ShapeMemory:
    """What the lamps of each head look like: as the map says, but an arrow that is seen again and again is one."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[LightShape, int]] = {}
        self._known: dict[int, LightShape] = {}

    def update(self, signal: Signal, seen: LightShape) -> LightShape:
        """The shape to believe, given what one image shows (UNKNOWN: nothing)."""
        if seen != LightShape.UNKNOWN:
            before, count = self._seen.get(signal.id, (seen, 0))
            count = count + 1 if before == seen else 1
            self._seen[signal.id] = seen, count
            if count >= _SHAPE_FRAMES:
                self._known[signal.id] = seen
        if signal.shape > LightShape.CIRCLE:
            return signal.shape
        return self._known.get(signal.id, signal.shape)
