"""What the lights of a map show, as records of the wire."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robotaxi.hdmap.lane_map import Signal
from robotaxi.types import LIGHT_DTYPE, LightShape, LightState, LightStatus, RecordArray

_STATUS = {LightState.UNKNOWN: LightStatus.UNKNOWN, LightState.OFF: LightStatus.OFF}


def light_records(shown: Iterable[tuple[Signal, LightState, float]]) -> RecordArray:
    """LIGHT_DTYPE (N,), one element a head, from heads, their states and how sure they are (0 to 1)."""
    rows = [light_record(*item) for item in shown]
    return np.array(rows, LIGHT_DTYPE) if rows else np.zeros(0, LIGHT_DTYPE)


def light_record(
    signal: Signal, state: LightState, confidence: float = 1.0, shape: LightShape | None = None
) -> tuple[float, float, float, int, int, float, int, int]:
    """One row; ``shape``: as seen, else the map's."""
    x, y, z = (float(value) for value in signal.position)
    status = _STATUS.get(state, LightStatus.ON)
    return x, y, z, signal.id, int(state), confidence, int(signal.shape if shape is None else shape), int(status)
