"""What a CommonRoad planning problem asks for: every goal state, every way to it, and which one to take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from robotaxi.evaluation.commonroad import scene
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning.motion.proposals import PathArrays
from robotaxi.planning.path_math import project
from robotaxi.types import Pose2

MAX_PARTS = 8  # places of one goal that are looked at one by one
MAX_AHEAD = 1500.0  # m of path where the goal does not say how far
CHANGE_COST = 1.5  # m/s of wrong speed that a lane change is worth
OFF_PATH = 200.0  # worth of a goal that no path reaches


@dataclass(frozen=True)
class Way:
    """One goal state and a path that leads there.

    ``extent``: arc lengths and offsets (s_in, s_out, d_lo, d_hi) of its place, None without one on the path;
    ``steps``: time steps within which it counts (infinite where it has no end); ``speed``, ``yaw``: NaN: any.
    """

    path: PathArrays
    extent: tuple[float, float, float, float] | None
    steps: tuple[float, float]
    speed: tuple[float, float]
    yaw: tuple[float, float]
    region: Any = None  # shapely, the place itself


def best_way(lane_map: LaneMap, problem: Any, first_step: int, dt: float) -> Way:
    """The way whose place is reached in time at the speed nearest to that of the start."""
    state = problem.initial_state
    start = Pose2(*point_of(state.position), middle(state.orientation))
    speed = max(middle(state.velocity), 0.0)
    found: list[tuple[float, int, Way]] = []
    for goal in problem.goal.state_list:
        steps = interval(goal, "time_step", 0.0, math.inf)
        wishes = interval(goal, "velocity", math.nan, math.nan), interval(goal, "orientation", math.nan, math.nan)
        left = min(max(steps[1] - first_step, 10.0), 600.0) * dt
        ahead = min(max(60.0, 1.3 * max(speed, 6.0) * left), MAX_AHEAD)
        for region in _regions(goal):
            for path, changes in _paths(lane_map, start, region, ahead):
                extent = scene.goal_extent(path, region) if region is not None else None
                way = Way(path, extent, steps, *wishes, region)
                cost = _cost(way, start, speed, first_step, dt) + CHANGE_COST * changes
                if region is not None and extent is None:
                    cost += OFF_PATH
                found.append((cost, len(found), way))
    return min(found)[2]


def _cost(way: Way, start: Pose2, speed: float, first_step: int, dt: float) -> float:
    """How much faster or slower than now the car must drive on average."""
    if way.extent is None:
        return 0.0
    path = way.path
    k, along, _ = project(path.x, path.y, path.yaw, 0, path.x.size, start.x, start.y)
    s = k * path.spacing + along
    soon = max((way.steps[0] - first_step) * dt, 0.5)
    late = max((way.steps[1] - first_step) * dt, soon)
    slowest = max(way.extent[0] - s, 0.0) / late if math.isfinite(late) else 0.0
    fastest = (way.extent[1] - s) / soon
    return max(slowest - speed, 0.0) + max(speed - max(fastest, slowest), 0.0) + (OFF_PATH if fastest < 0.0 else 0.0)


def _paths(lane_map: LaneMap, start: Pose2, region: Any, ahead: float) -> list[tuple[PathArrays, int]]:
    """Paths from the start with the number of lane changes: to the place along lanes, else straight ahead."""
    centre = None
    if region is not None:
        inside = region.centroid if region.contains(region.centroid) else region.representative_point()
        centre = (float(inside.x), float(inside.y))
    try:
        reference = scene.find_path(lane_map, start, centre, ahead)
        path = scene.arrays_of(reference)
        if region is None or scene.goal_extent(path, region) is not None:
            return [(path, len(reference.changes))]
        return [(path, len(reference.changes)), (scene.straight(start), 0)]
    except (ValueError, LookupError, ArithmeticError):  # lanes that lead nowhere
        return [(scene.straight(start), 0)]


def _regions(goal: Any) -> list[Any]:
    """Shapely areas of a goal: all of it, and each of its parts where it has several; [None] without a place."""
    if not goal.has_value("position"):
        return [None]
    shape = goal.position
    if not hasattr(shape, "shapes"):
        return [shape.shapely_object]
    from shapely.ops import unary_union

    parts = [item.shapely_object for item in shape.shapes]
    whole = unary_union([item.buffer(0.01) for item in parts])
    pieces = list(whole.geoms) if hasattr(whole, "geoms") else [whole]
    return [*pieces[:MAX_PARTS], *(parts[:MAX_PARTS] if len(parts) > len(pieces) else [])]


def middle(value: Any) -> float:
    """A number, or the middle of an interval (uncertain states); 0 for None."""
    if value is None:
        return 0.0
    if hasattr(value, "start"):
        return 0.5 * (float(value.start) + float(value.end))
    return float(value)


def point_of(value: Any) -> tuple[float, float]:
    """A point, or the centre of a shape."""
    if hasattr(value, "shapely_object"):
        centre = value.shapely_object.centroid
        return float(centre.x), float(centre.y)
    x, y = value.center if hasattr(value, "center") else value
    return float(x), float(y)


def interval(state: Any, name: str, low: float, high: float) -> tuple[float, float]:
    """Both ends of a value of a goal state, ``low`` and ``high`` where it has none."""
    if not state.has_value(name):
        return low, high
    value = getattr(state, name)
    return float(getattr(value, "start", value)), float(getattr(value, "end", value))
