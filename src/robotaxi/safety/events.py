"""What makes the last minute and a half worth keeping: hard braking, minimal risk, a blow, a takeover, a mark.

Pure: one `EventDetector` hears modes, wheel reports, inertial samples and marks in the order of their stamps and
returns the event that each begins, if any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from robotaxi.params import param
from robotaxi.types import MINIMAL_RISK, ImuSample, SystemMode, VehicleReport

_BY_ITSELF = MINIMAL_RISK | {SystemMode.AUTONOMOUS}


class EventKind(Enum):
    HARD_BRAKE = "hard_brake"
    MINIMAL_RISK = "minimal_risk"
    COLLISION = "collision"
    TAKEOVER = "takeover"
    MARK = "mark"


@dataclass(frozen=True)
class EventConfig:
    """What counts as an event, and how much around it is kept."""

    before: float = param(90.0, lo=1.0, hi=600.0, unit="s", doc="kept from before an event")
    after: float = param(30.0, lo=0.0, hi=120.0, unit="s", doc="kept from after it")
    segment: float = param(10.0, lo=1.0, hi=60.0, unit="s", doc="the ring is dropped in pieces of this length")
    hard_brake: float = param(4.5, lo=1.0, hi=10.0, unit="m/s^2", doc="deceleration at the wheels")
    hard_brake_time: float = param(0.2, lo=0.0, hi=2.0, unit="s", doc="that lasts this long")
    collision: float = param(20.0, lo=5.0, hi=200.0, unit="m/s^2", doc="along the road: a blow, no tyre does that")
    quiet: float = param(30.0, lo=0.0, hi=600.0, unit="s", doc="an event of the same kind sooner is the same event")
    image_period: float = param(1.0, lo=0.0, hi=10.0, unit="s", doc="of raw images, one is kept; 0: every one")


@dataclass(frozen=True)
class Event:
    stamp_ns: int
    kind: EventKind
    sentence: str


class EventDetector:
    """See the module."""

    def __init__(self, config: EventConfig) -> None:
        self._config = config
        self._last: dict[EventKind, int] = {}
        self._mode: SystemMode | None = None
        self._braking_since: int | None = None

    def on_mode(self, stamp_ns: int, mode: SystemMode, reason: str) -> Event | None:
        """The gate's mode, whenever it says so."""
        before, self._mode = self._mode, mode
        if before is None or mode is before:
            return None
        if mode is SystemMode.MANUAL and before in _BY_ITSELF:
            return self._event(stamp_ns, EventKind.TAKEOVER, f"A person took over: {reason}")
        if mode in MINIMAL_RISK and before not in MINIMAL_RISK:
            return self._event(stamp_ns, EventKind.MINIMAL_RISK, f"{mode.name}: {reason}")
        return None

    def on_report(self, report: VehicleReport) -> Event | None:
        """The wheels' own deceleration."""
        config = self._config
        if not report.acceleration <= -config.hard_brake:
            self._braking_since = None
            return None
        if self._braking_since is None:
            self._braking_since = report.stamp_ns
        if report.stamp_ns - self._braking_since < config.hard_brake_time * 1e9:
            return None
        sentence = f"Braked with {-report.acceleration:.1f} m/s^2 at {report.speed:.1f} m/s."
        return self._event(report.stamp_ns, EventKind.HARD_BRAKE, sentence)

    def on_imu(self, sample: ImuSample) -> Event | None:
        """A blow: more force along the road than tyres can give."""
        force = math.hypot(float(sample.acceleration[0]), float(sample.acceleration[1]))
        if not (math.isfinite(force) and force >= self._config.collision):
            return None
        return self._event(sample.stamp_ns, EventKind.COLLISION, f"A blow of {force:.0f} m/s^2.")

    def on_mark(self, stamp_ns: int, text: str) -> Event:
        """A person says that this is worth keeping: always an event of its own."""
        return Event(stamp_ns, EventKind.MARK, text or "Marked.")

    def _event(self, stamp_ns: int, kind: EventKind, sentence: str) -> Event | None:
        last = self._last.get(kind)
        self._last[kind] = stamp_ns
        if last is not None and 0 <= stamp_ns - last < self._config.quiet * 1e9:
            return None
        return Event(stamp_ns, kind, sentence)
