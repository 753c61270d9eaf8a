"""Scenario files read and checked; every fault is named with file, field, value and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotaxi.evaluation.scenarios.story import Story
from robotaxi.params import load_yaml
from robotaxi.resources import config_dir
from robotaxi.sim.events.actors import TURNS, Actor, Range, one_of, only, read_actor, read_range
from robotaxi.sim.events.actors import ActorError as ScenarioError

CHECKS = (
    "reaches_goal", "no_collision", "on_road", "clearance", "max_deceleration", "max_lateral_acceleration",
    "stands_before", "min_speed", "max_speed", "cause", "no_red_light", "stays_in_lane", "distance", "reverses",
)  # fmt: skip
SUFFIXES = (".yaml", ".xosc")
PLACES = ("lane", "min_length", "oncoming", "neighbour", "ends_with", "min_limit", "max_limit", "crosswalk", "from_end")
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
        "goal_lane",
        "duration",
        "light",
        "actors",
        "checks",
        "turn",
    )
    only(row, known, source)
    for field in ("name", "goal", "checks"):
        if field not in row:
            raise ScenarioError(f"{source}: field '{field}' is missing")
    source = f"{source} ({row['name']})"
    place = row.get("place") or {}
    only(place, PLACES, f"{source}: place")
    checks = row["checks"]
    only(checks, CHECKS, f"{source}: checks")
    light = tuple((float(t), str(colour)) for t, colour in (row.get("light") or {}).items())
    for _, colour in light:
        if colour not in ("red", "amber", "green", "off"):
            raise ScenarioError(f"{source}: light is '{colour}', allowed are red, amber, green, off")
    actors = tuple(read_actor(item, f"{source}: actors[{k}]") for k, item in enumerate(row.get("actors") or []))

    goal_lane = row.get("goal_lane")
    if goal_lane is not None and (isinstance(goal_lane, bool) or not isinstance(goal_lane, int)):
        raise ScenarioError(f"{source}: goal_lane is {goal_lane!r}, expected the id of a lane")

    def one(name: str, default: Any) -> Range:
        return read_range(row.get(name, default), f"{source}: {name}")

    return Scenario(
        str(row["name"]), str(row.get("description", "")), str(row.get("map", "town")), place,
        one("start", [10.0, 20.0]), one("speed", 0.0), one("goal", None), one("duration", 60.0)[0], light,
        actors, checks, one_of(row.get("turn", ""), ("", *TURNS), f"{source}: turn"), goal_lane,
    )  # fmt: skip
