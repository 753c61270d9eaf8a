"""Event files: a list of what shall happen on a ride, from the catalogue or made of actors, weather and faults."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotaxi.params import load_yaml, with_line
from robotaxi.resources import config_dir
from robotaxi.sim.events.actors import Actor, ActorError, Range, only, read_actor, read_range, rows_of
from robotaxi.sim.events.conditions import NIGHT_LIGHT, Conditions

_EVENT = ("event", "description", "at", "needs", "actors", "weather", "fault")
_NEEDS = ("before", "ahead", "oncoming", "neighbour", "junction")
_WEATHER = ("visibility", "rain", "night", "light", "no_satellites", "length", "from", "until")
_FAULT = ("kind", "from", "until", "value")
_ONE_NUMBER = ("before", "ahead")


@dataclass(frozen=True)
class Needs:
    """Of the place: metres of lane ``before`` and ``ahead`` outside junctions and crosswalks, an ``oncoming`` lane or
    none, a ``neighbour`` of the same direction or none (None: either), or a ``junction`` with lights to come."""

    before: float = 0.0
    ahead: float = 40.0
    oncoming: bool | None = None
    neighbour: bool | None = None
    junction: bool = False


@dataclass(frozen=True)
class Weather:
    """``conditions`` from ``start`` to ``end``: seconds of the ride, or with ``along`` metres of its way."""

    conditions: Conditions
    start: Range
    end: Range
    along: bool


@dataclass(frozen=True)
class SensorFault:
    """A row of `nodes.inject` to be: ``kind`` of `SENSOR_FAULTS`, between two seconds of the ride."""

    kind: str
    start: Range
    end: Range
    value: float


@dataclass(frozen=True)
class Event:
    """``at``: metres along the ride's way from which on the place is looked for."""

    name: str
    source: str
    at: Range
    needs: Needs
    actors: tuple[Actor, ...]
    weather: Weather | None
    fault: SensorFault | None


LIDAR, CAMERA = "sensing/lidar/top/pointcloud", "sensing/camera/front/image_raw"
GNSS, IMU, WHEELS = "sensing/gnss/fix", "sensing/imu/data", "vehicle/status"
SENSOR_FAULTS: Mapping[str, tuple[str, str, float]] = {
    # name: (kind of an injection, topic, value unless given)
    "camera_frozen": ("freeze", CAMERA, 0.0),
    "camera_black": ("camera_black", CAMERA, 0.0),
    "camera_dropped": ("drop", CAMERA, 0.0),
    "camera_shifted": ("camera_shifted", CAMERA, 12.0),  # pixels to the right
    "camera_dirty": ("camera_dirty", CAMERA, 0.3),  # share of the lens
    "lidar_frozen": ("freeze", LIDAR, 0.0),
    "lidar_blind": ("lidar_blind", LIDAR, 0.0),
    "lidar_dropped": ("drop", LIDAR, 0.0),
    "lidar_sector": ("lidar_sector", LIDAR, 60.0),  # degrees lost, to the front left
    "lidar_tilted": ("lidar_tilted", LIDAR, 1.0),  # degrees that the mounting has given way
    "gnss_lost": ("gnss_lost", GNSS, 0.0),
    "gnss_jump": ("gnss_jump", GNSS, 8.0),  # m to the east
    "gnss_drift": ("gnss_drift", GNSS, 0.5),  # m/s to the east
    "gnss_frozen": ("freeze", GNSS, 0.0),
    "imu_bias": ("imu_bias", IMU, 0.3),  # m/s^2 forward and a tenth of it in rad/s about the vertical
    "imu_frozen": ("freeze", IMU, 0.0),
    "wheel_slip": ("wheel_scaled", WHEELS, 1.3),  # times the true speed
    "wheel_stuck": ("wheel_stuck", WHEELS, 0.0),
}


def load_events(name_or_path: str) -> tuple[Event, ...]:
    """The events of a file, or of ``config/events/<name>.yaml``. Raises ActorError, FileNotFoundError."""
    path = Path(name_or_path)
    if not path.suffix:
        path = config_dir() / "events" / f"{name_or_path}.yaml"
        if not path.is_file():
            known = sorted(item.stem for item in (config_dir() / "events").glob("*.yaml"))
            raise ActorError(f"unknown events '{name_or_path}'; known are: {', '.join(known)}, or a path to a .yaml")
    rows = load_yaml(path)
    if not isinstance(rows, list):
        raise ActorError(f"{path.name} line 1: expected a list of events, found {type(rows).__name__}")
    try:
        return tuple(_event(row, f"{path.name}[{k}]") for k, row in enumerate(rows))
    except ActorError as error:
        raise ActorError(with_line(path, str(error))) from error


@functools.cache
def catalogue() -> Mapping[str, Any]:
    """What each named event is made of: ``config/events/catalogue.yaml``."""
    rows = load_yaml(config_dir() / "events" / "catalogue.yaml")
    return {str(row["event"]): row for row in rows}


def _event(row: Any, source: str) -> Event:
    if not isinstance(row, Mapping):
        raise ActorError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    only(row, _EVENT, source)
    if "event" not in row:
        raise ActorError(f"{source}: field 'event' is missing")
    name = str(row["event"])
    known = catalogue()
    own = any(key in row for key in ("actors", "weather", "fault"))
    if name not in known and not own:
        raise ActorError(f"{source}: event is '{name}', allowed are {', '.join(known)}, or one with actors of its own")
    source = f"{source} ({name})"
    merged = {**known.get(name, {}), **row}
    for part in ("needs", "weather", "fault"):
        if part in row and isinstance(known.get(name, {}).get(part), Mapping) and isinstance(row[part], Mapping):
            merged[part] = {**known[name][part], **row[part]}
    return Event(
        name,
        source,
        read_range(merged.get("at", 100.0), f"{source}: at"),
        _needs(merged.get("needs") or {}, f"{source}: needs"),
        tuple(read_actor(item, f"{source}: actors[{k}]") for k, item in enumerate(rows_of(merged, "actors", source))),
        _weather(merged, source) if merged.get("weather") else None,
        _fault(merged["fault"], f"{source}: fault") if merged.get("fault") else None,
    )


def _needs(row: Any, source: str) -> Needs:
    only(row, _NEEDS, source)
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key in _ONE_NUMBER:
            values[key] = read_range(value, f"{source}: {key}")[0]
        elif not isinstance(value, bool):
            raise ActorError(f"{source}: {key} is {value!r}, allowed are true and false")
        else:
            values[key] = value
    return Needs(**values)


def _weather(row: Mapping[str, Any], source: str) -> Weather:
    fields, where = row["weather"], f"{source}: weather"
    only(fields, _WEATHER, where)

    def one(name: str, default: float, low: float, high: float) -> float:
        value = read_range(fields.get(name, default), f"{where}: {name}")[0]
        if not low <= value <= high:
            raise ActorError(f"{where}: {name} is {value:g}, allowed is {low:g} to {high:g}")
        return value

    for key in ("night", "no_satellites"):
        if not isinstance(fields.get(key, False), bool):
            raise ActorError(f"{where}: {key} is {fields[key]!r}, allowed are true and false")
    conditions = Conditions(
        one("visibility", math.inf, 5.0, math.inf),
        one("rain", 0.0, 0.0, 200.0),
        one("light", NIGHT_LIGHT if fields.get("night") else 1.0, 0.0, 1.0),
        not fields.get("no_satellites", False),
    )
    if "length" in fields:
        start = read_range(row.get("at", 100.0), f"{source}: at")
        return Weather(conditions, start, read_range(fields["length"], f"{where}: length"), True)
    return Weather(conditions, *_span(fields, where), False)


def _fault(row: Any, source: str) -> SensorFault:
    only(row, _FAULT, source)
    kind = str(row.get("kind", ""))
    if kind not in SENSOR_FAULTS:
        raise ActorError(f"{source}: kind is '{kind}', allowed are {', '.join(SENSOR_FAULTS)}")
    value = read_range(row.get("value", SENSOR_FAULTS[kind][2]), f"{source}: value")[0]
    start, end = _span(row, source)
    if math.isinf(end[1]):
        end = (1e6, 1e6)
    return SensorFault(kind, start, end, value)


def _span(row: Mapping[str, Any], source: str) -> tuple[Range, Range]:
    start, end = (
        read_range(row.get("from", 0.0), f"{source}: from"),
        read_range(row.get("until", math.inf), f"{source}: until"),
    )
    if start[0] < 0.0 or end[0] < start[1]:
        raise ActorError(f"{source}: from {start[0]:g} until {end[0]:g} is no span of the ride's seconds")
    return start, end
