"""Scenario files read and checked; every fault is named with file, field, value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.params import ParameterError, load_yaml
from robotaxi.resources import config_dir

KINDS = {  # name: (ObjectClass, length, width, height)
    "car": (1, 4.5, 1.8, 1.5),
    "truck": (2, 8.0, 2.5, 3.2),
    "bicycle": (3, 1.8, 0.6, 1.7),
    "pedestrian": (4, 0.6, 0.6, 1.7),
    "box": (0, 1.0, 1.0, 0.8),
    "cone": (0, 0.4, 0.4, 0.8),
    "barrier": (0, 0.6, 2.4, 1.0),
    "bus": (2, 12.0, 2.55, 3.2),
    "motorcycle": (3, 2.2, 0.8, 1.5),
}
SIDES = ("left", "right", "ahead")
TURNS = ("straight", "left", "right")
HEADINGS = {"same": 0.0, "oncoming": 3.141592653589793, "left": 1.5707963267948966, "right": -1.5707963267948966}
CHECKS = (
    "reaches_goal", "no_collision", "on_road", "clearance", "max_deceleration", "max_lateral_acceleration",
    "stands_before", "min_speed", "max_speed", "cause", "no_red_light", "stays_in_lane",
)  # fmt: skip
PLACES = ("lane", "min_length", "oncoming", "neighbour", "ends_with", "min_limit", "max_limit", "crosswalk", "from_end")
_ACTOR = (
    "kind", "s", "offset", "heading", "speed", "trigger", "delay", "stop_after", "acceleration", "seen", "from", "turn",
    "to_offset", "sideways",
)  # fmt: skip

Range = tuple[float, float]


class ScenarioError(ParameterError):
    """A scenario file that cannot be used; the message names file and field."""


@dataclass(frozen=True)
class Actor:
    """``s``: metres ahead of the ego's start along its path, ``offset`` to the left of it; it moves with
    ``speed`` from when the ego is ``trigger`` metres near it, and brakes to rest ``stop_after`` seconds later.
    With ``comes_from`` (left, right, ahead) it drives through the ego's next junction from that side with ``turn``,
    and ``s`` is the distance before that junction. ``delay``: seconds from the trigger until it moves;
    ``to_offset``: it moves there with ``sideways`` m/s once it moves (NaN: it keeps its offset)."""

    kind: str
    s: Range
    offset: Range
    heading: str
    speed: Range
    trigger: float
    acceleration: float
    stop_after: float
    seen: float
    comes_from: str = ""
    turn: str = "straight"
    delay: float = 0.0
    to_offset: float = math.nan
    sideways: float = 1.0


@dataclass(frozen=True)
class Scenario:
    name: str
    description: str
    map: str
    place: Mapping[str, Any]
    start: Range  # m along the lane found; with ``from_end`` in the place: before its end
    speed: Range  # m/s at the start
    goal: Range  # m ahead of the start
    duration: float
    light: tuple[tuple[float, str], ...]  # (from second, colour) of all lights
    actors: tuple[Actor, ...]
    checks: Mapping[str, Any]
    turn: str = ""  # of the ego at its next junction; '' for the straightest way


def load_suite(name: str) -> list[Scenario]:
    """Every scenario of the folder ``config/scenarios/<name>``, of a folder, or the one in a file."""
    path = Path(name)
    if not path.exists():
        path = config_dir() / "scenarios" / name
    if not path.exists():
        base = config_dir() / "scenarios"
        known = sorted(item.name for item in base.iterdir() if item.is_dir()) if base.is_dir() else []
        raise ScenarioError(f"unknown suite '{name}'; known are: {', '.join(known) or 'none'}")
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return [scenario for file in files for scenario in load_file(file)]


def load_file(file: Path) -> list[Scenario]:
    """One scenario, or a list of them."""
    data = load_yaml(file)
    rows = data if isinstance(data, list) else [data]
    return [_scenario(row, f"{file.name}[{k}]" if len(rows) > 1 else file.name) for k, row in enumerate(rows)]


def _scenario(row: Any, source: str) -> Scenario:
    if not isinstance(row, Mapping):
        raise ScenarioError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    known = (
        "name",
        "description",
        "map",
        "place",
        "start",
        "speed",
        "goal",
        "duration",
        "light",
        "actors",
        "checks",
        "turn",
    )
    _only(row, known, source)
    for field in ("name", "goal", "checks"):
        if field not in row:
            raise ScenarioError(f"{source}: field '{field}' is missing")
    source = f"{source} ({row['name']})"
    place = row.get("place") or {}
    _only(place, PLACES, f"{source}: place")
    checks = row["checks"]
    _only(checks, CHECKS, f"{source}: checks")
    light = tuple((float(t), str(colour)) for t, colour in (row.get("light") or {}).items())
    for _, colour in light:
        if colour not in ("red", "amber", "green", "off"):
            raise ScenarioError(f"{source}: light is '{colour}', allowed are red, amber, green, off")
    actors = tuple(_actor(item, f"{source}: actors[{k}]") for k, item in enumerate(row.get("actors") or []))
    return Scenario(
        str(row["name"]), str(row.get("description", "")), str(row.get("map", "town")), place,
        _range(row.get("start", [10.0, 20.0]), f"{source}: start"), _range(row.get("speed", 0.0), f"{source}: speed"),
        _range(row["goal"], f"{source}: goal"), _range(row.get("duration", 60.0), f"{source}: duration")[0], light,
        actors, checks, _one_of(row.get("turn", ""), ("", *TURNS), f"{source}: turn"),
    )  # fmt: skip


def _actor(row: Any, source: str) -> Actor:
    if not isinstance(row, Mapping):
        raise ScenarioError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    _only(row, _ACTOR, source)
    kind, heading = str(row.get("kind", "car")), str(row.get("heading", "same"))
    if kind not in KINDS:
        raise ScenarioError(f"{source}: kind is '{kind}', allowed are {', '.join(KINDS)}")
    if heading not in HEADINGS:
        raise ScenarioError(f"{source}: heading is '{heading}', allowed are {', '.join(HEADINGS)}")
    if "s" not in row:
        raise ScenarioError(f"{source}: field 's' is missing")

    def one(name: str, default: float) -> float:
        return _range(row.get(name, default), f"{source}: {name}")[0]

    return Actor(
        kind, _range(row["s"], f"{source}: s"), _range(row.get("offset", 0.0), f"{source}: offset"), heading,
        _range(row.get("speed", 0.0), f"{source}: speed"), one("trigger", np.inf), one("acceleration", 2.0),
        one("stop_after", np.inf), one("seen", 60.0),
        _one_of(row.get("from", ""), ("", *SIDES), f"{source}: from"),
        _one_of(row.get("turn", "straight"), TURNS, f"{source}: turn"),
        one("delay", 0.0), one("to_offset", math.nan), one("sideways", 1.0),
    )  # fmt: skip


def _one_of(value: Any, known: tuple[str, ...], source: str) -> str:
    if value not in known:
        raise ScenarioError(f"{source} is {value!r}, allowed are {', '.join(item for item in known if item)}")
    return str(value)


def _only(row: Mapping[str, Any], known: tuple[str, ...], source: str) -> None:
    if not isinstance(row, Mapping):
        raise ScenarioError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    for field in row:
        if field not in known:
            raise ScenarioError(f"{source}: unknown field '{field}'; known are: {', '.join(known)}")


def _range(value: Any, source: str) -> Range:
    values = value if isinstance(value, (list, tuple)) else [value, value]
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise ScenarioError(f"{source} is {value!r}, expected a number or [low, high]")
    low, high = float(values[0]), float(values[1])
    if low > high:
        raise ScenarioError(f"{source} is {value!r}, low is above high")
    return low, high
