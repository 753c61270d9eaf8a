"""The cabin: riders board and alight, and door, seat and belt tell so. Deterministic, timed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from robotaxi.sim.world_config import WorldConfig


@dataclass(frozen=True)
class RiderPlan:
    """Where one rider gets in and out (map, m) and how long each takes (s)."""

    pickup: tuple[float, float]
    dropoff: tuple[float, float]
    boarding_time: float = 6.0
    alighting_time: float = 5.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.pickup, *self.dropoff)):
            raise ValueError(f"rider: pick-up {self.pickup} or drop-off {self.dropoff} is not finite")
        for name in ("boarding_time", "alighting_time"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"rider: {name} is {value}, expected seconds above 0")


class Phase(IntEnum):
    WAITING = 0
    BOARDING = 1
    RIDING = 2
    ALIGHTING = 3


# Moments of boarding and alighting as shares of the time they take.
_SEATED, _BELTED = 0.4, 0.8
_UNBELTED, _LEFT_SEAT = 0.2, 0.7


@dataclass
class Cabin:
    """One rider after the other. ``elapsed`` counts standing time, then time in the timed phase."""

    riders: tuple[RiderPlan, ...]
    current: int = 0
    phase: Phase = Phase.WAITING
    elapsed: float = 0.0
    door_open: bool = False
    seat_occupied: bool = False
    belt_fastened: bool = False

    def step(self, x: float, y: float, speed: float, dt: float, config: WorldConfig) -> None:
        """Advance by ``dt`` with the ego's body centre at ``x, y`` (map) and its speed."""
        if self.current >= len(self.riders):
            return
        rider = self.riders[self.current]
        if self.phase in (Phase.WAITING, Phase.RIDING):
            place = rider.pickup if self.phase is Phase.WAITING else rider.dropoff
            near = math.hypot(x - place[0], y - place[1]) <= config.cabin_radius
            standing = abs(speed) < config.cabin_standing_speed
            self.elapsed = self.elapsed + dt if near and standing else 0.0
            if near and standing and self.elapsed >= config.cabin_standing_time:
                self.phase = Phase.BOARDING if self.phase is Phase.WAITING else Phase.ALIGHTING
                self.elapsed = 0.0
                self.door_open = True
            return
        self.elapsed += dt
        if self.phase is Phase.BOARDING:
            share = self.elapsed / rider.boarding_time
            self.seat_occupied = share >= _SEATED
            self.belt_fastened = share >= _BELTED
            if share >= 1.0:
                self._close(Phase.RIDING)
        else:
            share = self.elapsed / rider.alighting_time
            self.belt_fastened = share < _UNBELTED
            self.seat_occupied = share < _LEFT_SEAT
            if share >= 1.0:
                self._close(Phase.WAITING)
                self.current += 1

    def ask_doors(self, wanted_open: bool, speed: float, config: WorldConfig) -> bool:
        """A request from outside; false while the car moves or a rider gets in or out."""
        if abs(speed) >= config.cabin_standing_speed or self.phase in (Phase.BOARDING, Phase.ALIGHTING):
            return False
        self.door_open = wanted_open
        return True

    def _close(self, following: Phase) -> None:
        self.door_open = False
        self.phase = following
        self.elapsed = 0.0
