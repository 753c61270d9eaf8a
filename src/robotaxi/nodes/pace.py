"""When a node's next activation, or its next message of a slower topic, is due."""

from __future__ import annotations

from robotaxi.nodes.let import is_scheduled

_NEVER = -(1 << 62)
_EARLY = 0.1  # of a period by which a message may come before its time


class Pace:
    """Once every ``period_ns`` of stamps that arrive one after another.

    Under lock step stamps are exact and the schedule is that of the interface table. On a car they jitter: one
    that is late leaves the next its time, so a late stamp costs no activation, and of a source that is faster than
    the period only as many stamps count as there are periods. What a pause has left out is not made up for.
    """

    def __init__(self, period_ns: int, phase_ns: int, lockstep: bool) -> None:
        self._period_ns, self._phase_ns, self._lockstep = period_ns, phase_ns, lockstep
        self._due_ns = self.last_ns = _NEVER

    def due(self, stamp_ns: int) -> bool:
        """Whether ``stamp_ns`` is one of them. One that was overtaken is not; time that has gone back begins anew."""
        if self._lockstep:
            return is_scheduled(stamp_ns, self._period_ns, self._phase_ns)
        if stamp_ns < self.last_ns - self._period_ns:
            self._due_ns = _NEVER
        elif stamp_ns < max(self.last_ns, self._due_ns - _EARLY * self._period_ns):
            return False
        self.last_ns = stamp_ns
        waited_ns = stamp_ns - self._due_ns
        self._due_ns = (stamp_ns if waited_ns > 2 * self._period_ns else self._due_ns) + self._period_ns
        return True
