"""Which car for which order: the nearest able one, as the crow flies."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EARTH_RADIUS = 6371008.8  # m, mean; good enough to tell which car is nearer
DETOUR = 1.4  # driven over beeline in a town, for an estimate of the time of arrival
TOWN_SPEED = 6.0  # m/s with its stops


@dataclass(frozen=True, slots=True)
class Candidate:
    """A free car and its latitude and longitude (degrees), None where that is unknown."""

    vehicle: str
    position: tuple[float, float] | None


def best_car(cars: Sequence[Candidate], pickup: Mapping[str, Any], refused: Collection[str]) -> Candidate | None:
    """The nearest to ``pickup`` (with lat, lon) of those that have not refused; ties go by name."""
    able = [car for car in cars if car.vehicle not in refused]
    if not able:
        return None
    return min(able, key=lambda car: (distance(car.position, (pickup["lat"], pickup["lon"])), car.vehicle))


def distance(a: tuple[float, float] | None, b: tuple[float, float]) -> float:
    """Metres between two latitudes and longitudes (degrees); infinite where one is unknown."""
    if a is None:
        return math.inf
    north = math.radians(a[0] - b[0])
    east = math.radians(a[1] - b[1]) * math.cos(math.radians(b[0]))
    return EARTH_RADIUS * math.hypot(north, east)


def eta_s(a: tuple[float, float] | None, b: tuple[float, float]) -> float | None:
    """Seconds until a car at ``a`` is at ``b``, before there is a route."""
    metres = distance(a, b)
    return round(metres * DETOUR / TOWN_SPEED, 1) if math.isfinite(metres) else None
