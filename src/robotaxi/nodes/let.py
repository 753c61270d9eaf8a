"""Logical execution time: which message a consumer at time ``u`` uses, whenever messages arrive.

Pure bookkeeping, no ROS and no clock. See the docstring of `robotaxi.interfaces`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from robotaxi.interfaces import Interface

_OUT_OF_ORDER_NS = 1_000_000_000  # messages that overtake each other differ by less
_SURELY_BEHIND = 3  # a single old message is somebody else's mistake


def expected_stamp(interface: Interface, at_ns: int, let_ns: int | None = None) -> int | None:
    """Stamp of the newest message that counts at ``at_ns``; None before the first or if aperiodic."""
    if interface.period_ns == 0:
        return None
    since_first = at_ns - (interface.let_ns if let_ns is None else let_ns) - interface.phase_ns
    if since_first < 0:
        return None
    return interface.phase_ns + since_first // interface.period_ns * interface.period_ns


def is_scheduled(at_ns: int, period_ns: int, phase_ns: int) -> bool:
    """Whether a node with this period and phase runs at ``at_ns``."""
    return at_ns >= phase_ns and (at_ns - phase_ns) % period_ns == 0


@dataclass
class InputBuffer:
    """Messages of one interface by stamp, decoded when first used.

    ``let_ns``: the interface's, but 0 for the message that starts an activation: it is the activation.
    ``lockstep``: wait for the exact stamp that counts. Otherwise (wall clock) the newest that has
    arrived is taken. ``late`` is set by the owner when a wait has outrun its bound, and cleared by
    the next message that is recent again: from then on it is waited for as before. ``gaps``: sorted
    spans [first, last] of stamps that are known not to come (a replay knows its bag): not waited for.
    """

    interface: Interface
    decode: Callable[[Any], Any]
    lockstep: bool
    let_ns: int = 0
    late: bool = False
    gaps: Sequence[tuple[int, int]] = ()
    _messages: dict[int, Any] = field(default_factory=dict)
    _decoded: dict[int, Any] = field(default_factory=dict)
    _newest: int = -1
    _awaited: int = -1
    _behind: int = 0  # messages in a row that are older than the newest by far

    def push(self, stamp_ns: int, message: Any) -> int:
        """Keep the message. Returns by how much time has gone back, in ns, once that is sure: a clock was set back, and
        what was measured before would else count as the newest until that time comes again."""
        back_ns = self._newest - stamp_ns
        self._behind = 0 if self.lockstep or back_ns <= _OUT_OF_ORDER_NS else self._behind + 1
        if self._behind < _SURELY_BEHIND:
            back_ns = 0
        else:
            self._messages.clear()
            self._decoded.clear()
            self._newest, self._behind = -1, 0
        if stamp_ns > self._newest:
            self._newest = stamp_ns
        self._messages[stamp_ns] = message
        self._decoded.pop(stamp_ns, None)  # aperiodic ones may come twice with one stamp, or with none
        if stamp_ns >= self._awaited:
            self.late = False
        return back_ns

    @property
    def newest_ns(self) -> int:
        """Newest stamp that has arrived, whether it counts yet or not; -1 before the first."""
        return self._newest

    def ready(self, at_ns: int) -> bool:
        """Whether what counts at ``at_ns`` is here, or is not to be waited for."""
        expected = expected_stamp(self.interface, at_ns, self.let_ns)
        if not self.lockstep or self.late or expected is None or self._in_gap(expected):
            return True
        self._awaited = expected
        return self._newest >= expected

    def _in_gap(self, stamp_ns: int) -> bool:
        at = bisect_right(self.gaps, (stamp_ns, 1 << 63)) - 1
        return at >= 0 and stamp_ns <= self.gaps[at][1]

    def get(self, at_ns: int) -> tuple[int, Any] | None:
        """(stamp, decoded message) that counts at ``at_ns``; None if there is none. Forgets older ones."""
        limit = at_ns - self.let_ns if self.lockstep else self._newest
        stamps = [stamp for stamp in self._messages if stamp <= limit]
        if not stamps:
            return None
        stamp = max(stamps)
        for old in stamps:
            if old < stamp:
                del self._messages[old]
                self._decoded.pop(old, None)
        if stamp not in self._decoded:
            self._decoded[stamp] = self.decode(self._messages[stamp])
        return stamp, self._decoded[stamp]
