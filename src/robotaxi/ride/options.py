"""What one ride is asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class RideError(RuntimeError):
    """A ride that cannot begin or go on; the message says what to do."""


@dataclass(frozen=True)
class RideOptions:
    """Arguments of `robotaxi ride`.

    ``carla``: host:port of a CARLA server in mode carla, empty to start one of our own on ``map``;
    ``carla_traffic``: cars that TrafficManager drives there.
    ``rate``: sim seconds per wall second, 0 as fast as the stack can. ``record``: profile of the bag.
    """

    map: str = "town"
    vehicle: str = "robotaxi"
    sensors: str = "robotaxi"
    odd: str = "robotaxi"
    seed: int = 1
    mode: str = "sim"
    carla: str = ""
    carla_traffic: int = 10
    composed: bool = False
    camera: bool = True
    rate: float = 0.0
    record: str = "drive"
    params_file: str = ""
    runs: Path = Path("runs")
    max_duration: float = 900.0
    inject: tuple[str, ...] = ()  # rows of `nodes.inject`
    localization_map: str = ""
    events: str = ""  # name in config/events, or a path
