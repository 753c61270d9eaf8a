"""What the sensors of the simulator look at: the world at one instant, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robotaxi.sim.events.conditions import Conditions
from robotaxi.types import LightState, RecordArray

REMEMBERED_NS = 200_000_000  # what a view knows of the past: the longest turn of a lidar
AGENT_DTYPE = np.dtype(
    [
        ("id", "<u4"),
        ("label", "u1"),  # ObjectClass
        ("color", "u1"),  # index into the palette of the camera
        ("x", "<f8"),  # box centre on the ground, map
        ("y", "<f8"),
        ("z", "<f8"),
        ("yaw", "<f8"),
        ("length", "<f8"),
        ("width", "<f8"),
        ("height", "<f8"),
        ("vx", "<f8"),
        ("vy", "<f8"),
        ("yaw_rate", "<f8"),
    ]
)
"""One road user per record: moving ones and parked ones alike."""


@dataclass(frozen=True, slots=True)
class EgoTruth:
    """True state of the ego's base_link in map; never leaves the simulator but under ``sim/``."""

    stamp_ns: int
    x: float
    y: float
    z: float
    yaw: float
    speed: float  # longitudinal, rear axle
    lateral_speed: float
    acceleration: float
    lateral_acceleration: float
    yaw_rate: float
    steering: float  # tyre angle


@dataclass(frozen=True, slots=True)
class Moment:
    """Where everybody was: x, y, z, yaw of base_link in map, and ``agents`` (AGENT_DTYPE). Not to be changed."""

    stamp_ns: int
    ego: tuple[float, float, float, float]
    agents: RecordArray


@dataclass(frozen=True, slots=True)
class WorldView:
    """``agents``: moving road users (AGENT_DTYPE), the ego not among them. ``lights``: by signal id.
    ``conditions``: None on a clear day. ``past``: the moments before, as long ago as a sweep takes, oldest first."""

    stamp_ns: int
    ego: EgoTruth
    agents: RecordArray
    lights: dict[int, LightState]
    conditions: Conditions | None = None
    past: tuple[Moment, ...] = ()
