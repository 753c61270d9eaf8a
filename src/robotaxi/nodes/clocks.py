"""The clock that nodes watch with."""

from __future__ import annotations

from typing import Any


def steady_clock() -> Any:
    """Wall time that never jumps: for watching, not for driving (a node's own clock may be simulated)."""
    from rclpy.clock import Clock
    from rclpy.clock_type import ClockType

    return Clock(clock_type=ClockType.STEADY_TIME)
