"""Everything that is known of one ride, as plain arrays: what metrics and report work on.

All times ``t`` are seconds of ride time: measurement stamp minus `RideLog.start_ns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from robotaxi.types import FloatArray, Trajectory

NS = 1_000_000_000


class RideLogError(ValueError):
    """A log that cannot be evaluated; the message names the part and what is wrong with it."""


@dataclass(frozen=True)
class EgoSeries:
    """Motion of base_link in map over time, each array (N,).

    ``acceleration``, ``lateral_acceleration`` and ``yaw_rate`` are body quantities; where a source
    does not carry them, leave them out: they are NaN and metrics derive them from the motion.
    """

    t: FloatArray
    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    speed: FloatArray
    acceleration: FloatArray
    lateral_acceleration: FloatArray
    yaw_rate: FloatArray
    steering: FloatArray

    @staticmethod
    def make(
        t: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        yaw: ArrayLike,
        speed: ArrayLike,
        acceleration: ArrayLike | None = None,
        lateral_acceleration: ArrayLike | None = None,
        yaw_rate: ArrayLike | None = None,
        steering: ArrayLike | None = None,
    ) -> EgoSeries:
        """From anything array-like; RideLogError unless all have the same length and time increases."""
        names = ("t", "x", "y", "yaw", "speed", "acceleration", "lateral_acceleration", "yaw_rate", "steering")
        given = (t, x, y, yaw, speed, acceleration, lateral_acceleration, yaw_rate, steering)
        size = np.size(t)
        columns = {
            name: np.full(size, np.nan) if value is None else np.asarray(value, dtype=np.float64).ravel()
            for name, value in zip(names, given, strict=True)
        }
        for name, column in columns.items():
            if column.size != size:
                raise RideLogError(f"ego series: '{name}' has {column.size} values, 't' has {size}")
            if name in names[:5] and not np.all(np.isfinite(column)):
                raise RideLogError(f"ego series: '{name}' holds values that are not finite")
        if np.any(np.diff(columns["t"]) <= 0.0):
            raise RideLogError("ego series: time does not increase")
        return EgoSeries(**columns)

    def __len__(self) -> int:
        return self.t.size


def no_motion() -> EgoSeries:
    """A series without samples."""
    return EgoSeries.make([], [], [], [], [])


@dataclass(frozen=True)
class CommandSeries:
    """Commands over time, each array (N,): tyre angle (rad), acceleration (m/s^2), speed aimed at (m/s)."""

    t: FloatArray
    steering: FloatArray
    acceleration: FloatArray
    speed: FloatArray


@dataclass(frozen=True, slots=True)
class ExplanationEntry:
    """One explanation of the planner. ``cause`` is the name of a `robotaxi.types.Cause`."""

    t: float
    cause: str
    sentence: str
    slowing: bool
    subject_id: int = 0
    distance: float = 0.0


@dataclass(frozen=True, slots=True)
class TripEntry:
    """One transition of the trip. ``state`` is the name of a `robotaxi.types.TripState`."""

    t: float
    state: str
    reason: str = ""
    order_id: str = ""


@dataclass(frozen=True, slots=True)
class ModeEntry:
    """One change of mode (name of a `robotaxi.types.SystemMode`) or of localization status."""

    t: float
    mode: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InfractionEntry:
    """``kind``: collision_pedestrian, collision_vehicle, collision_static, red_light, stop_line, off_road, ...

    ``value``: metres driven off the road, or closing speed (m/s) of a collision. ``x, y``: map.
    """

    stamp_ns: int
    kind: str
    at_fault: bool
    detail: str = ""
    value: float = 0.0
    x: float = float("nan")
    y: float = float("nan")


@dataclass(frozen=True)
class RideLog:
    """One ride. ``truth`` and ``start_ns`` are required; what is left out is missing from the report.

    ``trajectories``: as published, in order of their stamps; ``trajectory_let_ns``: how long after its
    stamp one counts. ``route``: (N, 2) or (N, 3) way that the car was to take, both legs joined, map.
    ``latency_ms``: by node name, stamp of the input to output. ``parameters``: shown as they are.
    """

    start_ns: int
    truth: EgoSeries
    estimate: EgoSeries = field(default_factory=no_motion)
    commands: CommandSeries | None = None
    trajectories: tuple[Trajectory, ...] = ()
    trajectory_let_ns: int = 40_000_000
    explanations: tuple[ExplanationEntry, ...] = ()
    trip: tuple[TripEntry, ...] = ()
    infractions: tuple[InfractionEntry, ...] = ()
    modes: tuple[ModeEntry, ...] = ()
    localization_status: tuple[ModeEntry, ...] = ()
    latency_ms: Mapping[str, FloatArray] = field(default_factory=dict)
    sensor_to_command_ms: FloatArray = field(default_factory=lambda: np.zeros(0))
    route: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    pickup: tuple[float, float] | None = None
    dropoff: tuple[float, float] | None = None
    map_name: str = ""
    seed: int | None = None
    wall_duration: float = float("nan")  # s
    command_line: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.route.ndim != 2 or self.route.shape[1] not in (2, 3):
            raise RideLogError(f"route must have shape (N, 2) or (N, 3), has {self.route.shape}")
        if not np.all(np.isfinite(self.route)):
            raise RideLogError("route holds points that are not finite")

    @property
    def duration(self) -> float:
        """Seconds of ride time that the truth covers."""
        return float(self.truth.t[-1] - self.truth.t[0]) if len(self.truth) else 0.0

    def seconds(self, stamp_ns: int) -> float:
        """Ride time of a stamp."""
        return (stamp_ns - self.start_ns) / NS
