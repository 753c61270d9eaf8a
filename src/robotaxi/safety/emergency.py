"""The emergency envelope: is the car about to touch something that full braking only just avoids?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robotaxi.safety.config import GateConfig
from robotaxi.types import FloatArray, VehicleParams

_HISTORY = 5  # sweeps that the obstacle's speed rests on
_STANDS = 0.3  # m, what places may scatter around those of one thing
_BRAKES = 2.5  # m/s^2, slowing that is more than noise
_STATIC_GATE = 0.8  # m, an obstacle seen again may lie this far from where it should be
_SLOWEST, _FASTEST = -15.0, 25.0  # m/s along the way, what may drive there


@dataclass
class _Track:
    """One obstacle over sweeps: times (s) and places along the driven way (m)."""

    times: list[float] = field(default_factory=list)
    places: list[float] = field(default_factory=list)

    def speed(self) -> float:
        """Along the way, least squares over the last sweeps; 0 after only one."""
        if len(self.times) < 2:
            return 0.0
        t, p = np.array(self.times), np.array(self.places)
        t -= t.mean()
        return float((t * (p - p.mean())).sum() / (t * t).sum())

    def steady(self) -> bool:
        """Whether its motion is known: it stands, or moves as one thing does. What slides in from the
        side shows ever other parts first, which looks like motion along the way."""
        n = len(self.times)
        if n == _HISTORY or max(self.places) - min(self.places) < _STANDS:
            return True
        t, p = np.array(self.times), np.array(self.places)
        residual = p - p.mean() - self.speed() * (t - t.mean())
        return n > 2 and float(np.abs(residual).max()) < _STANDS

    def slows(self) -> bool:
        """Whether it has been seen to brake: markedly slower over the last sweeps than over the first."""
        if len(self.times) < _HISTORY:
            return False
        before, after = ((self.places[i + 2] - self.places[i]) / (self.times[i + 2] - self.times[i]) for i in (0, 2))
        return before - after > _BRAKES * (self.times[3] - self.times[1])

    def span(self) -> float:
        return self.times[-1] - self.times[0]

    def accepts(self, time: float, place: float) -> bool:
        dt = time - self.times[-1]
        moved = place - self.places[-1]
        if len(self.times) == 1:
            return _SLOWEST * dt - _STATIC_GATE <= moved <= _FASTEST * dt + _STATIC_GATE
        return abs(moved - self.speed() * dt) <= 2.0 * _STATIC_GATE

    def add(self, time: float, place: float) -> None:
        self.times = [*self.times[1 - _HISTORY :], time]
        self.places = [*self.places[1 - _HISTORY :], place]


@dataclass(frozen=True)
class Threat:
    """The obstacle that is inside the envelope: gap to the bumper now (m), speed along the way."""

    distance: float
    speed: float


class EmergencyMonitor:
    """Follows what stands in the corridor from sweep to sweep and compares it with the envelope."""

    def __init__(self, config: GateConfig, vehicle: VehicleParams) -> None:
        self._config = config
        self._reaction = config.reaction_time + vehicle.drive_delay + vehicle.drive_lag
        self._tracks: list[_Track] = []

    def needed(self, closing: float) -> float:
        """Gap (m) that full braking needs to end a closing speed, margin included."""
        closing = max(closing, 0.0)
        config = self._config
        return (
            closing * self._reaction + closing * closing / (2.0 * config.envelope_deceleration) + config.envelope_margin
        )

    def gap_to(self, speed: float, away: float) -> float:
        """Gap (m) to keep to something that itself drives away at ``away`` m/s and may brake as hard as it can:
        the longitudinal distance of RSS (Shalev-Shwartz et al. 2017), and never less than `needed`."""
        config = self._config
        if away <= 0.0:
            return self.needed(speed - away)
        own = speed * self._reaction + speed * speed / (2.0 * config.envelope_deceleration)
        theirs = away * away / (2.0 * config.lead_deceleration)
        return max(own - theirs + config.envelope_margin, self.needed(speed - away))

    def sweep(self, stamp: float, seen: FloatArray, odometer: float) -> None:
        """Take the rows (contact distance, s since the ``stamp``) of one sweep; what it does not show is forgotten."""
        old = list(self._tracks)
        self._tracks = []
        for distance, since in seen.tolist():
            place, time = distance + odometer, stamp + since
            match = min(
                (track for track in old if track.accepts(time, place)),
                key=lambda track: abs(place - track.places[-1] - track.speed() * (time - track.times[-1])),
                default=None,
            )
            if match is None:
                match = _Track()
            else:
                old.remove(match)
            match.add(time, place)
            self._tracks.append(match)

    def threat(self, time: float, odometer: float, speed: float) -> Threat | None:
        """The nearest confirmed obstacle inside the envelope at this time."""
        if speed < self._config.min_emergency_speed:
            return None
        for track in self._tracks:
            if len(track.times) < self._config.min_sweeps or not track.steady():
                continue
            away = self._proven_speed(track)
            gap = track.places[-1] + away * (time - track.times[-1]) - odometer
            if gap < (self.gap_to(speed, away) if track.slows() else self.needed(speed - away)):
                return Threat(max(gap, 0.0), away)
        return None

    def nearest(self, odometer: float) -> float:
        """Gap (m) to the nearest thing seen in the corridor, infinite when there is none."""
        return min((track.places[-1] - odometer for track in self._tracks), default=float("inf"))

    def _proven_speed(self, track: _Track) -> float:
        """Speed less what noise can feign: nothing moves until it has been seen to."""
        speed = track.speed()
        doubt = self._config.motion_tolerance / max(track.span(), 1e-3)
        return max(speed - doubt, 0.0) if speed > 0.0 else min(speed + doubt, 0.0)
