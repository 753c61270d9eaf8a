"""What lies between the filter and those who steer by it: memory of the way, and no jumps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from robotaxi.types import FloatArray

_Vector = tuple[float, float, float]


class MotionBuffer:
    """The last metres by dead reckoning, so that a late fix can be compared with where the car was.

    Holds, per stamp, the predicted displacement summed up so far and the lever arm in map axes.
    Corrections of the filter are not part of the displacement: they apply to the past as well.
    """

    def __init__(self, duration_ns: int) -> None:
        self._duration_ns = duration_ns
        self._entries: deque[tuple[int, _Vector, _Vector]] = deque()
        self._travelled: _Vector = (0.0, 0.0, 0.0)

    def append(self, stamp_ns: int, displacement: Sequence[float], arm: Sequence[float]) -> None:
        """Both three numbers, map axes."""
        (x, y, z), (dx, dy, dz), (ax, ay, az) = self._travelled, displacement, arm
        self._travelled = travelled = x + dx, y + dy, z + dz
        entries = self._entries
        entries.append((stamp_ns, travelled, (ax, ay, az)))
        while entries[0][0] < stamp_ns - self._duration_ns:
            entries.popleft()

    def at(self, stamp_ns: int) -> tuple[FloatArray, FloatArray] | None:
        """Displacement from ``stamp_ns`` until the newest entry and the lever arm then, each (3,).

        None where the buffer does not reach.
        """
        if not self._entries or not self._entries[0][0] <= stamp_ns <= self._entries[-1][0]:
            return None
        newer = self._entries[-1]
        for older in reversed(self._entries):
            if older[0] <= stamp_ns:
                break
            newer = older
        span = newer[0] - older[0]
        weight = (stamp_ns - older[0]) / span if span else 0.0
        (way, arm), (way_after, arm_after) = np.array(older[1:]), np.array(newer[1:])
        return self._travelled - (way + weight * (way_after - way)), arm + weight * (arm_after - arm)


class CorrectionLimiter:
    """Spreads corrections over time: the output moves with the car and catches up at a limited speed.

    ``offset`` (x, y, yaw) is output minus filter.
    """

    def __init__(self, speed: float, rate: float) -> None:
        self._speed = speed
        self._rate = rate
        self.offset: _Vector = (0.0, 0.0, 0.0)

    def apply(self, before: Sequence[float], after: Sequence[float], dt: float) -> None:
        """Take this step's correction of the filter, x, y, yaw ``before`` and ``after`` it."""
        x, y, yaw = self.offset
        x, y = x + before[0] - after[0], y + before[1] - after[1]
        yaw = math.remainder(yaw + before[2] - after[2], 2.0 * math.pi)
        distance = math.hypot(x, y)
        keep = max(0.0, distance - self._speed * dt) / distance if distance > 0.0 else 0.0
        yaw = math.copysign(max(0.0, abs(yaw) - self._rate * dt), yaw)
        self.offset = x * keep, y * keep, yaw


def low_pass(previous: float, value: float, dt: float, time_constant: float) -> float:
    """First-order low-pass; a time constant of 0 passes everything."""
    if time_constant <= 0.0:
        return value
    return previous + (value - previous) * (1.0 - math.exp(-dt / time_constant))
