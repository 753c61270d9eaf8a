"""One topic of a twin: messages on their way, late, lost, twice, out of order or bent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robotaxi.faults.catalog import MESSAGE_KINDS, Fault
from robotaxi.interfaces import Interface
from robotaxi.nodes.let import InputBuffer
from robotaxi.types import Command, LidarSweep, Trajectory

_HUGE = 1e6


class Wire:
    """Between one publisher and all subscribers, as the middleware of a car on the wall clock."""

    def __init__(self, interface: Interface, faults: Sequence[Fault] = ()) -> None:
        self.interface = interface
        self.faults: list[Fault] = list(faults)
        self._on_way: list[tuple[int, int, int, Any]] = []  # arrives, number, stamp, content
        self._buffer = InputBuffer(interface, lambda content: content, lockstep=False)
        self._sent = 0
        self._last: Any = None

    def send(self, now_ns: int, content: Any, latency_ns: int) -> None:
        """Publish ``content`` stamped ``now_ns``; it arrives ``latency_ns`` later."""
        arrives, stamp_ns, copies = now_ns + latency_ns, now_ns, 1
        for fault in self.faults:
            if not fault.active(now_ns) or fault.target != self.interface.topic or fault.kind not in MESSAGE_KINDS:
                continue
            match fault.kind:
                case "drop":
                    copies = 0
                case "delay":
                    arrives += round(fault.value * 1e9)
                case "duplicate":
                    copies = 2
                case "freeze":
                    content = restamped(self._last, now_ns)
                case "reorder":
                    arrives += round(1.5 * self.interface.period_ns) if self._sent % 2 else 0
                case "corrupt_nan":
                    content = corrupted(content, math.nan)
                case "corrupt_huge":
                    content = corrupted(content, _HUGE)
                case "clock_jump":
                    stamp_ns += round(fault.value * 1e9)
                    content = restamped(content, stamp_ns)
        if not any(fault.kind == "freeze" and fault.active(now_ns) for fault in self.faults):
            self._last = content
        for _ in range(copies):
            self._sent += 1
            self._on_way.append((arrives, self._sent, stamp_ns, content))

    def replace_last(self, content: Any) -> None:
        """Other content in the message that was sent last."""
        if self._on_way:
            arrives, number, stamp_ns, _ = self._on_way[-1]
            self._on_way[-1] = (arrives, number, stamp_ns, content)

    def newest(self, now_ns: int) -> tuple[int, Any] | None:
        """(stamp, content) that a subscriber has at ``now_ns``."""
        here = [row for row in self._on_way if row[0] <= now_ns]
        if here:
            self._on_way = [row for row in self._on_way if row[0] > now_ns]
            for _, _, stamp_ns, content in sorted(here, key=lambda row: row[:2]):
                self._buffer.push(stamp_ns, content)
        return self._buffer.get(now_ns)


def restamped(content: Any, stamp_ns: int) -> Any:
    """The same content with another stamp inside, where it carries one."""
    if dataclasses.is_dataclass(content) and hasattr(content, "stamp_ns"):
        return dataclasses.replace(content, stamp_ns=stamp_ns)  # type: ignore[type-var]
    return content


def corrupted(content: Any, value: float) -> Any:
    """The content with one of its numbers replaced, as a flipped bit or a broken driver does."""
    if isinstance(content, Trajectory):
        return Trajectory(content.stamp_ns, corrupted(content.points, value))
    if isinstance(content, LidarSweep):
        return dataclasses.replace(content, points=corrupted(content.points, value))
    if isinstance(content, np.ndarray) and content.dtype.names:
        if not len(content):
            return None  # what is broken in a list without rows is the message around it
        broken = content.copy()
        name = next((key for key in ("speed", "vx", "x") if key in content.dtype.names), content.dtype.names[0])
        broken[name] = value
        return broken
    if dataclasses.is_dataclass(content):
        if isinstance(content, Command):
            return dataclasses.replace(content, steering=value)
        for name in ("speed", "steering", "x", "acceleration", "latitude_deg"):
            if hasattr(content, name):
                old = getattr(content, name)
                new = np.full_like(old, value) if isinstance(old, np.ndarray) else value
                return dataclasses.replace(content, **{name: new})  # type: ignore[type-var]
    return None
