"""The operational design domain (ODD): where, in what weather and light, how fast and on which map the car may drive
itself, and the watch that says when it is left. Terms as in SAE J3016 and ISO 34503."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from robotaxi.geometry.polyline import points_in_polygon
from robotaxi.params import param
from robotaxi.types import CameraView, EgoState, FloatArray, Sight

_SPEED_SLACK = 0.5  # m/s, what a controller may overshoot
_MPS_KMPH = 3.6
_OUTSIDE = "Outside the operational design domain"


@dataclass(frozen=True)
class OddLimits:
    """What can be said in one number each."""

    lane_distance: float = param(15.0, lo=1.0, hi=1e4, unit="m", doc="from the nearest lane of the map")
    maximum_speed: float = param(20.0, lo=1.0, hi=70.0, unit="m/s", doc="faster is outside")
    minimum_brightness: float = param(0.0, lo=0.0, hi=1.0, doc="mean of the camera's picture, 0 black to 1 white")
    minimum_road_range: float = param(8.0, lo=0.0, hi=200.0, unit="m", doc="that the lidar sees of the road")
    maximum_drops: float = param(0.05, lo=0.0, hi=1.0, doc="share of the lidar's returns from rain or fog")
    patience: float = param(2.0, lo=0.0, hi=60.0, unit="s", doc="outside before it counts, inside before it is over")


@dataclass(frozen=True)
class OperationalDesignDomain:
    """``area`` (N, 2): corners in the map frame, m; none: everywhere near a lane. ``map_sha256``: how the checksums of
    released maps begin; none: any."""

    name: str
    limits: OddLimits = field(default_factory=OddLimits)
    area: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    map_sha256: tuple[str, ...] = ()


@dataclass(frozen=True)
class Departure:
    """That the domain has been left, as a sentence begins. ``final``: no drive at all, wherever the car goes."""

    words: str
    final: bool = False


class OddWatch:
    """`step` every 100 ms. ``lanes`` (M, 2): points of the map's lanes, none further than 10 m from the next;
    ``map_checksum``: sha256 of the map's file."""

    def __init__(self, domain: OperationalDesignDomain, lanes: FloatArray, map_checksum: str) -> None:
        self._domain = domain
        self._lanes = np.ascontiguousarray(lanes[:, :2], dtype=np.float64)
        self._wrong_map = _wrong_map(domain, map_checksum)
        self._since_ns: int | None = None  # of the present condition, outside or inside
        self._outside = self._told = False
        self._words = ""

    def step(
        self, now_ns: int, state: EgoState | None, sight: Sight | None, view: CameraView | None
    ) -> Departure | None:
        """None within the domain. What is not known (None) is somebody else's trouble, and leaves nothing."""
        if self._wrong_map:
            return Departure(self._wrong_map, final=True)
        words = next(self._beyond(state, sight, view), "")
        if self._since_ns is None or bool(words) != self._outside or now_ns < self._since_ns:
            self._outside, self._since_ns = bool(words), now_ns
        if (now_ns - self._since_ns) * 1e-9 >= self._domain.limits.patience:
            self._told = self._outside
        self._words = words or self._words
        return Departure(f"{_OUTSIDE} '{self._domain.name}': {self._words}") if self._told else None

    def _beyond(self, state: EgoState | None, sight: Sight | None, view: CameraView | None) -> Iterator[str]:
        limits = self._domain.limits
        if state is not None and math.isfinite(state.x) and math.isfinite(state.y):
            place = np.array([[state.x, state.y]])
            if len(self._domain.area) and not points_in_polygon(place, self._domain.area).all():
                yield "the car has left the area"
            if len(self._lanes):
                away = float(np.sqrt(np.square(self._lanes - place).sum(axis=1).min()))
                if away > limits.lane_distance:
                    yield f"no lane of the map within {limits.lane_distance:.0f} m"
        if state is not None and state.speed > limits.maximum_speed + _SPEED_SLACK:
            yield f"faster than {limits.maximum_speed * _MPS_KMPH:.0f} km/h"
        if sight is not None and sight.road_range < limits.minimum_road_range:
            yield f"the road is seen for less than {limits.minimum_road_range:.0f} m"
        if sight is not None and sight.drops > limits.maximum_drops * max(sight.points, 1):
            yield f"more than {100.0 * limits.maximum_drops:.0f} % of the lidar's returns are rain or fog"
        if view is not None and view.brightness < limits.minimum_brightness:
            yield f"the camera's picture is darker than {limits.minimum_brightness:.2f}"


def _wrong_map(domain: OperationalDesignDomain, checksum: str) -> str:
    if not domain.map_sha256 or any(checksum.startswith(start) for start in domain.map_sha256):
        return ""
    return f"{_OUTSIDE} '{domain.name}': the map ({checksum[:12] or 'no checksum'}) is not released for it"
