"""Scenario files read and checked; every fault is named with file, field, value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotaxi.evaluation.scenarios.story import Story
from robotaxi.params import load_yaml, with_line
from robotaxi.resources import config_dir
from robotaxi.sim.events.actors import TURNS, Actor, Range, one_of, only, read_actor, read_range, rows_of
from robotaxi.sim.events.actors import ActorError as ScenarioError
from robotaxi.types import Cause

_ASKED = ("reaches_goal", "no_collision", "on_road", "no_red_light", "stays_in_lane")  # checks: true or false
_MEASURED = (
    "clearance", "max_deceleration", "max_lateral_acceleration", "stands_before", "min_speed", "max_speed", "distance",
    "reverses",
)  # fmt: skip
CHECKS = (*_ASKED, *_MEASURED, "cause")
COLOURS = ("red", "amber", "green", "off")
SUFFIXES = (".yaml", ".xosc")
_LENGTHS = ("min_length", "min_limit", "max_limit")
_FLAGS = ("oncoming", "neighbour", "crosswalk", "from_end")
_ENDS = ("signal", "stop", "yield", "none")
PLACES = ("lane", "ends_with", *_LENGTHS, *_FLAGS)
_FIELDS = (
    "name", "description", "map", "place", "start", "speed", "goal", "goal_lane", "duration", "light", "actors",
    "checks", "turn",
)  # fmt: skip
__all__ = ["Scenario", "ScenarioError", "load_file", "load_suite"]


@dataclass(frozen=True)
class Scenario:
    name: str
    description: str
    map: str
    place: Mapping[str, Any]
    start: Range  # m along the lane found; with ``from_end`` in the place: before its end
    speed: Range  # m/s at the start
    goal: Range  # m ahead of the start; with ``goal_lane``: along that lane
    duration: float
    light: tuple[tuple[float, str], ...]  # (from second, colour) of all lights
    actors: tuple[Actor, ...]
    checks: Mapping[str, Any]
    turn: str = ""  # of the ego at its next junction; '' for the straightest way
    goal_lane: int | None = None
    story: Story | None = None  # start, goal and everybody else instead of place and actors


def load_suite(name: str) -> list[Scenario]:
    """Every scenario of the folder ``config/scenarios/<name>``, of a folder, or of a file (YAML or OpenSCENARIO)."""
    path = Path(name)
    if not path.exists():
        path = config_dir() / "scenarios" / name
    if not path.exists():
        base = config_dir() / "scenarios"
        known = sorted(item.name for item in base.iterdir() if item.is_dir()) if base.is_dir() else []
        raise ScenarioError(f"unknown suite '{name}'; known are: {', '.join(known) or 'none'}")
    files = sorted(item for item in path.iterdir() if item.suffix in SUFFIXES) if path.is_dir() else [path]
    return [scenario for file in files for scenario in load_file(file)]


def load_file(file: Path) -> list[Scenario]:
    """One scenario, or a list of them. Raises ScenarioError."""
    if file.suffix == ".xosc":
        from robotaxi.evaluation.scenarios.openscenario import read_openscenario

        return [read_openscenario(file)]
    data = load_yaml(file)
    rows = data if isinstance(data, list) else [data]
    try:
        return [_scenario(row, f"{file.name}[{k}]" if len(rows) > 1 else file.name) for k, row in enumerate(rows)]
    except ScenarioError as error:
        raise ScenarioError(with_line(file, str(error))) from error


def _scenario(row: Any, source: str) -> Scenario:
    if not isinstance(row, Mapping):
        raise ScenarioError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    only(row, _FIELDS, source)
    for field in ("name", "goal", "checks"):
        if field not in row:
            raise ScenarioError(f"{source}: field '{field}' is missing")
    source = f"{source} ({row['name']})"
    place, checks = row.get("place") or {}, row["checks"] or {}
    _check_place(place, f"{source}: place")
    _check_checks(checks, f"{source}: checks")
    actors = tuple(read_actor(item, f"{source}: actors[{k}]") for k, item in enumerate(rows_of(row, "actors", source)))

    goal_lane = row.get("goal_lane")
    if goal_lane is not None and (isinstance(goal_lane, bool) or not isinstance(goal_lane, int)):
        raise ScenarioError(f"{source}: goal_lane is {goal_lane!r}, expected the id of a lane")

    def one(name: str, default: Any, least: float = 0.0) -> Range:
        low, high = read_range(row.get(name, default), f"{source}: {name}")
        if not least <= low or not math.isfinite(high):
            raise ScenarioError(f"{source}: {name} is {row[name]!r}, expected at least {least:g}")
        return low, high

    return Scenario(
        str(row["name"]), str(row.get("description", "")), str(row.get("map", "town")), place,
        one("start", [10.0, 20.0]), one("speed", 0.0), one("goal", None), one("duration", 60.0, 1.0)[0],
        _light(row, source), actors, checks, one_of(row.get("turn", ""), ("", *TURNS), f"{source}: turn"), goal_lane,
    )  # fmt: skip


def _check_place(place: Any, source: str) -> None:
    only(place, PLACES, source)
    for name in place:
        value = place[name]
        if name in _LENGTHS:
            read_range(value, f"{source}: {name}")
        elif name in _FLAGS:
            _true_or_false(value, f"{source}: {name}")
        elif name == "ends_with":
            one_of(value, _ENDS, f"{source}: {name}")
        elif not all(isinstance(i, int) for i in (value if isinstance(value, list) else [value])):
            raise ScenarioError(f"{source}: lane is {value!r}, expected the id of a lane, or a list of them")


def _check_checks(checks: Any, source: str) -> None:
    only(checks, CHECKS, source)
    for name, value in checks.items():
        if name in _ASKED:
            _true_or_false(value, f"{source}: {name}")
        elif name == "cause":
            one_of(value, tuple(cause.name for cause in Cause), f"{source}: cause")
        elif isinstance(value, list):
            raise ScenarioError(f"{source}: {name} is {value!r}, expected a number")
        else:
            read_range(value, f"{source}: {name}")


def _light(row: Mapping[str, Any], source: str) -> tuple[tuple[float, str], ...]:
    """From second to colour."""
    light = row.get("light") or {}
    if not isinstance(light, Mapping):
        raise ScenarioError(f"{source}: light is {light!r}, expected 'second: colour' lines")
    for t, colour in light.items():
        read_range(t, f"{source}: light: second")
        if colour not in COLOURS:
            raise ScenarioError(f"{source}: light is {colour!r}, allowed are {', '.join(COLOURS)}")
    return tuple((float(t), str(colour)) for t, colour in light.items())


def _true_or_false(value: Any, source: str) -> None:
    if not isinstance(value, bool):
        raise ScenarioError(f"{source} is {value!r}, allowed are true and false")
