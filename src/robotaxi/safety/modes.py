"""The modes of the car as a table: where from, on what, where to. The first row that fits is taken.

Every mode but MANUAL has a row to a standstill that needs nothing to work: `tests/unit/test_safety_modes.py`
walks the whole table and proves it. MANUAL ends in a stop as soon as the person's commands cease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from robotaxi.safety.config import GateConfig
from robotaxi.types import Permit, Request, SystemMode

_M = SystemMode
_MOVING = frozenset({_M.AUTONOMOUS, _M.PULL_OVER, _M.COMFORTABLE_STOP})
_STOPPING = frozenset({_M.COMFORTABLE_STOP, _M.STOP_IN_LANE})
_ALL = frozenset(_M)


@dataclass(frozen=True)
class Observation:
    """What one step saw. ``fault``: a sentence, empty when all inputs are good; ``threat`` likewise.

    ``path_known``: the car is on its last good trajectory. ``manual_ok``: fresh commands of a person
    are here. ``permit`` and ``permit_reason``: the health monitor's.
    """

    stamp_ns: int
    fault: str
    threat: str
    standing: bool
    clear: bool
    path_known: bool = True
    permit: Permit = Permit.DRIVE
    permit_reason: str = ""
    request: Request = Request.AUTONOMOUS
    request_reason: str = ""
    manual_ok: bool = False


@dataclass(frozen=True)
class _Seen:
    """An observation and what it amounts to with what was before."""

    now: Observation
    recovered: bool  # inputs and permit good for long enough
    released: bool  # standing and clear for long enough
    timed_out: bool  # the mode has lasted longer than it may

    @property
    def trouble(self) -> str:
        """Why it must not drive by itself."""
        return (self.now.permit_reason if self.now.permit is Permit.STOP else "") or self.now.fault


@dataclass(frozen=True)
class Transition:
    """``why`` gives the sentence of the new mode; empty keeps the one that led here."""

    sources: frozenset[SystemMode]
    when: str
    target: SystemMode
    holds: Callable[[_Seen], bool]
    why: Callable[[_Seen], str]


def _row(
    sources: frozenset[SystemMode] | SystemMode,
    when: str,
    target: SystemMode,
    holds: Callable[[_Seen], bool],
    why: Callable[[_Seen], str] = lambda seen: "",
) -> Transition:
    return Transition(frozenset({sources}) if isinstance(sources, _M) else sources, when, target, holds, why)


def _asked(request: Request) -> Callable[[_Seen], bool]:
    return lambda seen: seen.now.request is request


_DRIVING = "Driving: all inputs are good."
_STARTING = "Standing: it drives when everything has worked for a moment."

TRANSITIONS: tuple[Transition, ...] = (
    _row(_ALL, "a threat", _M.EMERGENCY_STOP, lambda s: bool(s.now.threat), lambda s: s.now.threat),
    _row(_M.EMERGENCY_STOP, "standing and clear for long enough", _M.STOP, lambda s: s.released,
         lambda s: s.trouble),
    # a person in the car takes over at once, and only while the commands come
    _row(_ALL - {_M.EMERGENCY_STOP, _M.MANUAL}, "a person in the car takes over", _M.MANUAL,
         lambda s: s.now.request is Request.MANUAL and s.now.manual_ok,
         lambda s: s.now.request_reason or "Manual: a person drives."),
    _row(_M.MANUAL, "the person's commands end, standing", _M.STOP,
         lambda s: (s.now.request is not Request.MANUAL or not s.now.manual_ok) and s.now.standing,
         lambda s: s.now.request_reason or "The manual commands have ended."),
    _row(_M.MANUAL, "the person's commands end", _M.STOP_IN_LANE,
         lambda s: s.now.request is not Request.MANUAL or not s.now.manual_ok,
         lambda s: "The manual commands have ended."),
    # what is lost
    _row(_MOVING, "an input or capability lost, standing", _M.STOP,
         lambda s: bool(s.trouble) and s.now.standing, lambda s: s.trouble),
    _row(_MOVING, "an input or capability lost, the way ahead unknown", _M.STOP_IN_LANE,
         lambda s: bool(s.trouble) and not s.now.path_known, lambda s: s.trouble),
    _row(frozenset({_M.AUTONOMOUS, _M.PULL_OVER}), "an input or capability lost", _M.COMFORTABLE_STOP,
         lambda s: bool(s.trouble), lambda s: s.trouble),
    # what people ask for
    _row(frozenset({_M.AUTONOMOUS, _M.PULL_OVER}), "asked to stop", _M.COMFORTABLE_STOP,
         lambda s: s.now.request is not Request.AUTONOMOUS, lambda s: s.now.request_reason or "Asked to stop."),
    _row(_M.STOP, "help from afar asked for", _M.REMOTE_ASSIST, _asked(Request.REMOTE_ASSIST),
         lambda s: s.now.request_reason or "Waiting for advice."),
    _row(_M.REMOTE_ASSIST, "no longer asked for", _M.STOP, lambda s: s.now.request is not Request.REMOTE_ASSIST,
         lambda s: s.now.request_reason or "The advice has been given."),
    # pull over
    _row(_M.AUTONOMOUS, "a capability is impaired", _M.PULL_OVER, lambda s: s.now.permit is Permit.PULL_OVER,
         lambda s: s.now.permit_reason),
    _row(_M.PULL_OVER, "well again", _M.AUTONOMOUS, lambda s: s.recovered, lambda s: _DRIVING),
    _row(_M.PULL_OVER, "standing", _M.STOP, lambda s: s.now.standing and s.timed_out),
    _row(_M.PULL_OVER, "no place to stand found in time", _M.COMFORTABLE_STOP, lambda s: s.timed_out),
    # the way back
    _row(_STOPPING | {_M.STOP}, "all good for long enough", _M.AUTONOMOUS,
         lambda s: s.recovered and s.now.request is Request.AUTONOMOUS, lambda s: _DRIVING),
    _row(_STOPPING, "standing", _M.STOP, lambda s: s.now.standing),
)  # fmt: skip


class ModeMachine:
    """Starts in STOP. `step` takes the first row of `TRANSITIONS` that fits, at most one row a step."""

    def __init__(self, config: GateConfig) -> None:
        self._recovery_ns = round(config.recovery_time * 1e9)
        self._clear_ns = round(config.emergency_clear_time * 1e9)
        self._pull_over_ns = round(config.pull_over_time * 1e9)
        self._good_since: int | None = None
        self._clear_since: int | None = None
        self._entered_ns: int | None = None
        self._cause = _STARTING
        self.mode = SystemMode.STOP

    def step(self, now: Observation) -> tuple[SystemMode, str]:
        """The mode from now on and the sentence that gives its reason."""
        seen = self._assess(now)
        for row in _BY_SOURCE[self.mode]:
            if row.holds(seen):
                if row.target is not self.mode:
                    self._entered_ns = now.stamp_ns
                self.mode, self._cause = row.target, row.why(seen) or self._cause
                break
        else:
            if seen.trouble and self.mode in _STOPPING | {SystemMode.STOP}:
                self._cause = seen.trouble
        return self.mode, self._cause

    def _assess(self, now: Observation) -> _Seen:
        good = not now.fault and now.permit is Permit.DRIVE
        self._good_since = _since(self._good_since, now.stamp_ns) if good else None
        resting = now.standing and now.clear and not now.threat
        self._clear_since = _since(self._clear_since, now.stamp_ns) if resting else None
        self._entered_ns = _since(self._entered_ns, now.stamp_ns)
        return _Seen(
            now,
            recovered=self._good_since is not None and now.stamp_ns - self._good_since >= self._recovery_ns,
            released=self._clear_since is not None and now.stamp_ns - self._clear_since >= self._clear_ns,
            timed_out=now.stamp_ns - self._entered_ns >= self._pull_over_ns,
        )


_BY_SOURCE = {mode: tuple(row for row in TRANSITIONS if mode in row.sources) for mode in SystemMode}


def _since(before: int | None, now: int) -> int:
    """Start of a condition that holds now; a clock that jumped back starts it again."""
    return now if before is None or before > now else before


def table_markdown() -> str:
    """The table as Markdown, in the order in which rows are tried."""
    rows = ["| From | When | To |", "|---|---|---|"]
    for row in TRANSITIONS:
        sources = "any" if row.sources == _ALL else ", ".join(mode.name for mode in sorted(row.sources))
        rows.append(f"| {sources} | {row.when} | {row.target.name} |")
    return "\n".join(rows)
