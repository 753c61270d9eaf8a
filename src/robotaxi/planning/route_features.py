"""What lies along a reference path: stop lines, conflicts with other lanes, crosswalks.

Found once for each route, so that the cycle only looks things up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import Crosswalk, Lane, LaneMap, StopLine
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.reference import Reference
from robotaxi.prediction.lane_graph import LaneGraph
from robotaxi.types import VehicleParams

FloatArray = NDArray[np.floating[Any]]

OTHER_HALF_WIDTH = 1.0  # m, of a vehicle on a conflicting lane
ZONE_MARGIN = 0.4  # m between the two bodies at the edge of a conflict zone
BEYOND_JUNCTION = 6.0  # m behind a junction lane that still belong to its conflicts
LINE_SEARCH = 12.0  # m around the end of a lane where its stop line is looked for


@dataclass(frozen=True)
class RouteLine:
    """A stop line across the path at arc length ``s``; ``turn``: the path's behind it (straight, left, right)."""

    s: float
    line: StopLine
    turn: str = "straight"


@dataclass(frozen=True)
class Zone:
    """Where the path and ``other`` (lane index of the graph) share ground.

    ``own_in, own_out``: arc lengths on the path; ``other_in, other_out``: on the other lane.
    ``upstream``: metres from the start of a lane to the start of the other lane, for the lanes
    that lead there. ``priority``: the other lane goes first. ``merging``: both lead into one lane.
    """

    other: int
    own_in: float
    own_out: float
    other_in: float
    other_out: float
    upstream: dict[int, float]
    priority: bool
    merging: bool


@dataclass(frozen=True)
class Crossing:
    """A lane of the route with conflicts; ``line_s``: where to wait. ``key`` is unique on the route."""

    key: int
    lane_id: int
    junction_id: int | None
    line_s: float
    line: StopLine | None
    zones: tuple[Zone, ...]


@dataclass(frozen=True)
class RouteCrosswalk:
    s_in: float
    s_out: float
    crosswalk: Crosswalk


@dataclass(frozen=True)
class RouteFeatures:
    lines: tuple[RouteLine, ...]
    crossings: tuple[Crossing, ...]
    crosswalks: tuple[RouteCrosswalk, ...]
    lane_upstream: dict[int, dict[int, float]]  # for lanes that are merged into: by lane index of the graph


def find_features(
    lane_map: LaneMap, graph: LaneGraph, reference: Reference, vehicle: VehicleParams, config: PlannerConfig
) -> RouteFeatures:
    """Collect what the behaviours need along ``reference``."""
    lane_ids = reference.route.lane_ids
    own = {graph.index[i] for i in lane_ids}
    lines: list[RouteLine] = []
    crossings: list[Crossing] = []
    line_of_lane: dict[int, RouteLine] = {}
    for i, lane_id in enumerate(lane_ids):
        span = reference.lane_span(i)
        if span is None:
            continue
        lane = lane_map.lanes[lane_id]
        changes_ahead = i + 1 < len(lane_ids) and reference.route.change[i]
        if lane.stop_line_id in lane_map.stop_lines and not changes_ahead and lane.stop_line_id is not None:
            line = lane_map.stop_lines[lane.stop_line_id]
            ahead = lane_map.lanes[lane_ids[i + 1]] if i + 1 < len(lane_ids) else lane
            item = RouteLine(_line_at(reference, line, span[1]), line, ahead.turn_direction)
            if item.s <= reference.goal_s:
                lines.append(item)
                line_of_lane[i] = item
        zones = _zones(lane_map, graph, reference, lane, span, own, vehicle, config)
        if zones:
            before = line_of_lane.get(i - 1)
            crossings.append(
                Crossing(
                    i,
                    lane_id,
                    lane.junction_id,
                    before.s if before else span[0],
                    before.line if before else None,
                    tuple(zones),
                )
            )
    merged = {graph.index[c.to_lane] for c in reference.changes} | {graph.index[lane_ids[0]]}
    upstream = {lane: upstream_of(graph, lane, config.priority_range, set()) for lane in sorted(merged)}
    crosswalks = _crosswalks(lane_map, reference, set(lane_ids))
    return RouteFeatures(tuple(lines), tuple(crossings), crosswalks, upstream)


def upstream_of(graph: LaneGraph, lane: int, reach: float, without: set[int]) -> dict[int, float]:
    """Lanes that lead to ``lane`` within ``reach`` metres: index -> metres from its start to the start of ``lane``."""
    found = {lane: 0.0}
    queue = [lane]
    while queue:
        current = queue.pop(0)
        for before in graph.predecessors[current]:
            distance = found[current] + float(graph.length[before])
            if before in without or found.get(before, np.inf) <= distance:
                continue
            found[before] = distance
            if distance < reach:
                queue.append(before)
    return found


def _line_at(reference: Reference, line: StopLine, lane_end: float) -> float:
    """Arc length where the path crosses a stop line."""
    lo, hi = reference.index(lane_end - LINE_SEARCH), reference.index(lane_end + LINE_SEARCH)
    a, b = np.asarray(line.points[0, :2], float), np.asarray(line.points[1, :2], float)
    normal = np.array([-(b - a)[1], (b - a)[0]]) / max(float(np.linalg.norm(b - a)), 1e-6)
    side = (reference.x[lo : hi + 1] - a[0]) * normal[0] + (reference.y[lo : hi + 1] - a[1]) * normal[1]
    crossing = np.flatnonzero(np.sign(side[:-1]) != np.sign(side[1:]))
    if not crossing.size:
        return lane_end
    k = int(crossing[np.argmin(np.abs(reference.s[lo + crossing] - lane_end))])
    part = side[k] / (side[k] - side[k + 1]) if side[k] != side[k + 1] else 0.0
    return float(reference.s[lo + k] + part * (reference.s[lo + k + 1] - reference.s[lo + k]))


def _zones(
    lane_map: LaneMap,
    graph: LaneGraph,
    reference: Reference,
    lane: Lane,
    span: tuple[float, float],
    own: set[int],
    vehicle: VehicleParams,
    config: PlannerConfig,
) -> list[Zone]:
    near = vehicle.width / 2.0 + OTHER_HALF_WIDTH + ZONE_MARGIN
    lo, hi = reference.index(span[0]), reference.index(span[1] + BEYOND_JUNCTION) + 1
    zones = []
    for other_id in dict.fromkeys((*lane.yield_to, *lane.conflicts)):
        if other_id not in graph.index or graph.index[other_id] in own:
            continue
        other_lane, other = lane_map.lanes[other_id], graph.index[other_id]
        if set(other_lane.predecessors) & set(lane.predecessors):
            continue  # they part here; whoever drives there is a lead
        first = int(graph.start[other])
        last = first + int(graph.count[other])
        dx = reference.x[lo:hi, None] - graph.x[None, first:last]
        dy = reference.y[lo:hi, None] - graph.y[None, first:last]
        close = dx * dx + dy * dy < near * near
        mine, theirs = np.flatnonzero(close.any(axis=1)), np.flatnonzero(close.any(axis=0))
        if not mine.size:
            continue
        merging = bool(set(other_lane.successors) & set(lane.successors)) or other_id in lane.successors
        zones.append(
            Zone(
                other,
                float(reference.s[lo + mine[0]]),
                float(reference.s[lo + mine[-1]]),
                float(theirs[0] * graph.spacing[other]),
                float(theirs[-1] * graph.spacing[other]),
                upstream_of(graph, other, config.priority_range, own),
                other_id in lane.yield_to,
                merging,
            )
        )
    return sorted(zones, key=lambda zone: (zone.own_in, zone.other))


def _crosswalks(lane_map: LaneMap, reference: Reference, lanes: set[int]) -> tuple[RouteCrosswalk, ...]:
    found = []
    for key in sorted(lane_map.crosswalks):
        crosswalk = lane_map.crosswalks[key]
        if not lanes & set(crosswalk.lane_ids):
            continue
        inside = inside_polygon(reference.x, reference.y, np.asarray(crosswalk.polygon, float))
        where = np.flatnonzero(inside)
        if not where.size:
            continue
        for part in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1):
            if reference.s[part[0]] <= reference.goal_s:
                found.append(RouteCrosswalk(float(reference.s[part[0]]), float(reference.s[part[-1]]), crosswalk))
    return tuple(sorted(found, key=lambda item: item.s_in))


def inside_polygon(x: FloatArray, y: FloatArray, polygon: FloatArray) -> NDArray[np.bool_]:
    """Even-odd test of points (N,) against a polygon (M, 2+)."""
    px, py = polygon[:, 0], polygon[:, 1]
    qx, qy = np.roll(px, -1), np.roll(py, -1)
    crosses = (py[None, :] > y[:, None]) != (qy[None, :] > y[:, None])
    slope = (qx - px) / np.where(qy == py, 1e-12, qy - py)
    left = x[:, None] < px[None, :] + (y[:, None] - py[None, :]) * slope[None, :]
    return np.asarray((crosses & left).sum(axis=1) % 2 == 1)


def distance_to_polygon(x: float, y: float, polygon: FloatArray) -> float:
    """Metres from a point to the edge of a polygon, 0 inside."""
    if inside_polygon(np.array([x]), np.array([y]), polygon)[0]:
        return 0.0
    a, b = polygon[:, :2], np.roll(polygon[:, :2], -1, axis=0)
    d = b - a
    t = np.clip(((x - a[:, 0]) * d[:, 0] + (y - a[:, 1]) * d[:, 1]) / np.maximum((d * d).sum(axis=1), 1e-9), 0.0, 1.0)
    return float(np.hypot(a[:, 0] + t * d[:, 0] - x, a[:, 1] + t * d[:, 1] - y).min())
