"""Stretches of lanes that nobody shall drive for now: circles of the map laid over the centre lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from robotaxi.hdmap.lane_map import LaneMap, Route

Circle = tuple[float, float, float]  # x, y, radius; m, map
Closures = Mapping[int, tuple[float, float]]  # lane id -> first and last closed arc length

BODY_MARGIN = 1.5  # m beside the centre line that the body needs; also covers the spacing of its points
FRONT_MARGIN = 4.0  # m before a closed stretch that the rear axle keeps to


def closed_stretches(lane_map: LaneMap, circles: Sequence[Circle]) -> dict[int, tuple[float, float]]:
    """What the circles close. A lane that a circle meets twice is closed from the first to the last point."""
    found: dict[int, tuple[float, float]] = {}
    if not circles:
        return found
    x, y, r = (np.array([circle[k] for circle in circles])[:, None] for k in range(3))
    for lane in lane_map.lanes.values():
        line = lane.centerline
        inside = (np.hypot(line[None, :, 0] - x, line[None, :, 1] - y) <= r + BODY_MARGIN).any(axis=0)
        where = np.flatnonzero(inside)
        if where.size:
            found[lane.id] = (max(float(lane.s[where[0]]) - FRONT_MARGIN, 0.0), float(lane.s[where[-1]]))
    return found


def holds(circle: Circle, x: float, y: float) -> bool:
    """Whether a point lies in a circle, body included."""
    return math.hypot(circle[0] - x, circle[1] - y) <= circle[2] + BODY_MARGIN


def closed_for(lane_map: LaneMap, circles: Sequence[Circle], x: float, y: float) -> dict[int, tuple[float, float]]:
    """What the circles close for a car at ``x, y``: one that it is in does not close its lanes, it has to drive out."""
    return closed_stretches(lane_map, [circle for circle in circles if not holds(circle, x, y)])


def open_until(closed: Closures, lane_id: int, length: float, s: float) -> float:
    """How far a lane of ``length`` can be driven from arc length ``s`` on."""
    stretch = closed.get(lane_id)
    if stretch is None or s > stretch[1]:
        return length
    return max(s, stretch[0])


def meets(route: Route, closed: Closures, first: int = 0, s: float = 0.0) -> bool:
    """Whether ``route``, from arc length ``s`` of its lane number ``first`` on, leads over a closed stretch."""
    for index in range(first, len(route.lane_ids)):
        stretch = closed.get(route.lane_ids[index])
        if stretch is None:
            continue
        begin = s if index == first else 0.0
        end = route.goal_s if index + 1 == len(route.lane_ids) else math.inf
        if stretch[0] <= end and begin <= stretch[1]:
            return True
    return False
