"""The reference path: where the centre of the rear axle shall go, from the route to a smooth line.

Centerlines of the route, lane changes and shifts into and out of bays blended with quintic
polynomials (continuous curvature), resampled to 0.5 m and smoothed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.lane_map import LaneMap, Route
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.path_math import project
from robotaxi.planning.road_edges import kept_on_road
from robotaxi.planning.tight_bends import eased, tightest_bend
from robotaxi.types import Pose2, VehicleParams

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

SPACING = 0.5  # m between samples
LEAD_IN = 12.0  # m of path behind the start
LEAD_OUT = 30.0  # m of path beyond the goal
CURVATURE_SMOOTHING = 1.0  # m
FIRST_CHANGE_AFTER = 5.0  # m the car keeps its lane before the first change
GOAL_STRAIGHT = 2.0  # m parallel to the lane before the goal
REJOIN_TIME = 2.5  # s at the speed driven: shortest shift onto a path that is laid while the car drives
SHIFT_BEND = 5.78  # curvature of a quintic shift by one metre over one metre at its tightest, 10 / sqrt(3)
BAY_OFFSET = 1.0  # m beside the lane's centre from which on leaving it is a pull-out


@dataclass(frozen=True)
class LaneChange:
    """A change on the path from ``start_s`` to ``end_s`` into ``to_lane``."""

    from_lane: int
    to_lane: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Reference:
    """Samples 0.5 m apart, frame map. ``lane`` (P,): index into ``route.lane_ids``.

    ``start_s``: where the car was when it was laid, ``start_speed`` how fast (m/s); ``goal_s``: where to stop;
    ``pull_out_s``: up to here the path leads from a bay into the lane (start_s where it does not).
    """

    route: Route
    start: Pose2
    start_speed: float
    delays: tuple[float, ...]
    s: FloatArray
    x: FloatArray
    y: FloatArray
    z: FloatArray
    yaw: FloatArray
    curvature: FloatArray
    lane: IntArray
    speed_limit: FloatArray
    offset: FloatArray
    start_s: float
    goal_s: float
    pull_out_s: float
    changes: tuple[LaneChange, ...]

    def index(self, s: float) -> int:
        return int(min(max(round(s / SPACING), 0), self.s.size - 1))

    def locate(self, x: float, y: float, near_s: float | None = None) -> tuple[float, float, int]:
        """Arc length, offset (left positive) and sample of the nearest path point; ``near_s`` limits the search."""
        lo, hi = 0, self.s.size
        if near_s is not None:
            lo, hi = max(0, self.index(near_s - 15.0)), min(hi, self.index(near_s + 25.0) + 1)
        k, along, offset = project(self.x, self.y, self.yaw, lo, hi, x, y)
        return float(self.s[k] + along), float(offset), int(k)

    def lane_span(self, lane_index: int) -> tuple[float, float] | None:
        """First and last arc length driven on lane ``route.lane_ids[lane_index]``."""
        where = np.flatnonzero(self.lane == lane_index)
        return (float(self.s[where[0]]), float(self.s[where[-1]])) if where.size else None


def build_reference(
    lane_map: LaneMap,
    route: Route,
    start: Pose2,
    config: PlannerConfig,
    delays: tuple[float, ...] = (),
    speed: float = 0.0,
    body: VehicleParams | None = None,
) -> Reference:
    """Lay the path for ``route`` from ``start`` (base_link in map), where the car drives at ``speed`` (m/s).

    ``body``: bends of the map that this vehicle cannot drive are eased, and in those where a corner of it would leave
    the road the path keeps to the other side; without one the path follows the map as it is.
    ``delays``: metres by which the first, second ... lane change is put off, as far as its lane allows.
    """
    raw, lane, goal_raw, changes = centre_line(lane_map, route, config, delays)
    raw_s = _arc(raw)
    samples = np.arange(0.0, raw_s[-1], SPACING)
    xyz = np.stack([np.interp(samples, raw_s, raw[:, i]) for i in range(3)], axis=1)
    lane = lane[np.clip(np.searchsorted(raw_s, samples), 0, lane.size - 1)]  # a lane's points end its segments
    xyz = np.asarray(_smooth(xyz, config.smoothing), np.float64)
    s, yaw = _arc(xyz), _heading(xyz)

    k, along, d0 = project(xyz[:, 0], xyz[:, 1], yaw, 0, int(np.searchsorted(s, LEAD_IN + 40.0)), start.x, start.y)
    slope = math.tan(float(np.clip(wrap_angle(start.yaw - yaw[k]), -0.6, 0.6)))
    start_at, goal_at = float(s[k] + along), float(np.interp(goal_raw, samples, s))
    tightest = tightest_bend(body) if body is not None else math.inf
    offset, pull_out_at = _shifts(s, start_at, goal_at, float(d0), slope, speed, route.goal_offset, config, tightest)
    xyz[:, 0] -= np.sin(yaw) * offset
    xyz[:, 1] += np.cos(yaw) * offset
    first, last = math.ceil(start_at / SPACING), math.floor(goal_at / SPACING)
    xyz = np.asarray(eased(xyz, SPACING, tightest, first=first), np.float64)
    if body is not None:
        xyz = np.asarray(kept_on_road(xyz, SPACING, body, lane_map.drivable, first, last), np.float64)

    arc = _arc(xyz)
    final = np.arange(0.0, arc[-1], SPACING)
    nearest = np.clip(np.round(np.interp(final, arc, np.arange(arc.size))).astype(np.int64), 0, arc.size - 1)
    points = np.stack([np.interp(final, arc, xyz[:, i]) for i in range(3)], axis=1)
    heading = np.unwrap(_heading(points))
    curvature = gaussian_filter1d(np.gradient(heading, SPACING), CURVATURE_SMOOTHING / SPACING, mode="nearest")
    limits = np.array([lane_map.lanes[i].speed_limit for i in route.lane_ids])[lane[nearest]]

    def moved(raw_arc: float) -> float:
        return float(np.interp(np.interp(raw_arc, samples, s), s, arc))

    return Reference(
        route=route,
        start=start,
        start_speed=speed,
        delays=delays,
        s=final,
        x=np.ascontiguousarray(points[:, 0]),
        y=np.ascontiguousarray(points[:, 1]),
        z=np.ascontiguousarray(points[:, 2]),
        yaw=heading,
        curvature=curvature,
        lane=lane[nearest],
        speed_limit=np.minimum(limits, config.max_speed),
        offset=np.interp(final, arc, offset),
        start_s=float(np.interp(start_at, s, arc)),
        goal_s=float(np.interp(goal_at, s, arc)),
        pull_out_s=float(np.interp(pull_out_at, s, arc)),
        changes=tuple(LaneChange(a, b, moved(u), moved(w)) for a, b, u, w in changes),
    )


def _shifts(
    s: FloatArray,
    start_at: float,
    goal_at: float,
    d0: float,
    slope: float,
    speed: float,
    goal_offset: float,
    config: PlannerConfig,
    tightest: float,
) -> tuple[FloatArray, float]:
    """Lateral offset from the smoothed centerline, and where the shift out of a bay ends."""
    offset = np.zeros(s.size)
    room = max(goal_at - start_at, 1.0)
    if abs(goal_offset) > 0.01 and room < config.bay_shift_length:  # within the shift into the bay: on, not back
        end = goal_at - min(GOAL_STRAIGHT, 0.1 * room)
        length = end - start_at
        reach = tightest * length * length / SHIFT_BEND  # who is too near stops beside the middle of the bay
        across = min(max(goal_offset - d0 - 0.5 * slope * length, -reach), reach) + 0.5 * slope * length
        return _quintic(s, start_at, end, d0, slope, d0 + across), start_at
    shift = min(config.bay_shift_length, 0.45 * room)
    pull_out_at = start_at
    if abs(d0) > 0.05 or abs(slope) > 0.02:
        end = start_at + max(shift, min(max(6.0, REJOIN_TIME * speed), room))
        offset += _quintic(s, start_at, end, d0, slope, 0.0)
        pull_out_at = end if abs(d0) > BAY_OFFSET else start_at
    if abs(goal_offset) > 0.01:
        end = goal_at - min(GOAL_STRAIGHT, 0.1 * room)
        offset += _quintic(s, end - shift, end, 0.0, 0.0, goal_offset)
    return offset, pull_out_at


def centre_line(
    lane_map: LaneMap, route: Route, config: PlannerConfig, delays: tuple[float, ...]
) -> tuple[FloatArray, IntArray, float, list[tuple[int, int, float, float]]]:
    """Raw path over the route's centerlines.

    Returns points (N, 3), index into ``route.lane_ids`` of each, arc length of the goal, and the
    lane changes as (from lane id, to lane id, first and last arc length).
    """
    runs = _runs(route)
    lines = [_polyline(lane_map, route, run) for run in runs]
    lines[0] = _extend_back(lines[0])
    lines[-1] = _extend_ahead(lane_map, route, lines[-1])
    arcs = [_arc(points) for points, _ in lines]
    position = route.start_s  # the first run begins LEAD_IN before its lane: this is LEAD_IN before the start
    points_out: list[FloatArray] = []
    lane_out: list[IntArray] = []
    changes: list[tuple[int, int, float, float]] = []
    covered = 0.0
    for r in range(len(runs)):
        (points, lane), arc = lines[r], arcs[r]
        if r + 1 == len(runs):
            goal_in_run = _lane_start(lane, arc, runs[r][-1]) + route.goal_s
            points_out.append(_cut(points, arc, position, float(arc[-1])))
            lane_out.append(_lane_at(lane, arc, position, float(arc[-1]), points_out[-1].shape[0]))
            goal = covered + goal_in_run - position
            break
        source = runs[r][-1]
        begin, end = _change_window(lane_map, route, runs, r, lane, arc, position, config, delays)
        points_out.append(_cut(points, arc, position, begin))
        lane_out.append(_lane_at(lane, arc, position, begin, points_out[-1].shape[0]))
        covered += begin - position
        n = max(3, math.ceil(end - begin) + 1)
        u = np.linspace(begin, end, n)
        own = np.stack([np.interp(u, arc, points[:, i]) for i in range(3)], axis=1)
        other, other_arc = lines[r + 1][0], arcs[r + 1]
        v = _project_many(other, other_arc, own)
        target = np.stack([np.interp(v, other_arc, other[:, i]) for i in range(3)], axis=1)
        w = _smooth_step((u - begin) / max(end - begin, 1e-6))[:, None]
        blend = (1.0 - w) * own + w * target
        points_out.append(blend[1:-1])
        lane_out.append(np.where(w[1:-1, 0] < 0.5, source, runs[r + 1][0]).astype(np.int64))
        length = float(_arc(blend)[-1])
        changes.append((route.lane_ids[source], route.lane_ids[runs[r + 1][0]], covered, covered + length))
        covered += length
        position = float(v[-1])
    return np.concatenate(points_out), np.concatenate(lane_out), goal, changes


def _change_window(  # where on a run its closing lane change begins and ends
    lane_map: LaneMap,
    route: Route,
    runs: list[list[int]],
    r: int,
    lane: IntArray,
    arc: FloatArray,
    position: float,
    config: PlannerConfig,
    delays: tuple[float, ...],
) -> tuple[float, float]:
    source = runs[r][-1]
    lane_begin = _lane_start(lane, arc, source)
    lane_end = lane_begin + lane_map.lanes[route.lane_ids[source]].length
    parallel = 1
    while r + parallel < len(runs) - 1 and len(runs[r + parallel]) == 1:
        parallel += 1
    wish = config.lane_change_time * lane_map.lanes[route.lane_ids[source]].speed_limit
    earliest = max(position, lane_begin)
    if r == 0:
        earliest = max(earliest, position + LEAD_IN + FIRST_CHANGE_AFTER)
    earliest += delays[r] if r < len(delays) else 0.0
    available = max(lane_end - max(position, lane_begin), 1.0)
    length = min(max(wish, config.lane_change_length_min), available / parallel)
    begin = min(earliest, lane_end - parallel * length)
    return begin, begin + length


def _runs(route: Route) -> list[list[int]]:
    """Indices into ``route.lane_ids``, split at lane changes."""
    runs = [[0]]
    for i in range(1, len(route.lane_ids)):
        if route.change[i - 1]:
            runs.append([i])
        else:
            runs[-1].append(i)
    return runs


def _polyline(lane_map: LaneMap, route: Route, run: list[int]) -> tuple[FloatArray, IntArray]:
    points, lane = [], []
    for position, i in enumerate(run):
        line = np.asarray(lane_map.lanes[route.lane_ids[i]].centerline, float)
        line = line if position == 0 else line[1:]
        points.append(line)
        lane.append(np.full(line.shape[0], i, np.int64))
    return np.concatenate(points), np.concatenate(lane)


def _extend_back(line: tuple[FloatArray, IntArray]) -> tuple[FloatArray, IntArray]:
    points, lane = line
    direction = points[1] - points[0]
    first = points[0] - direction / max(float(np.linalg.norm(direction)), 1e-6) * LEAD_IN
    return np.concatenate([first[None], points]), np.concatenate([lane[:1], lane])


def _extend_ahead(lane_map: LaneMap, route: Route, line: tuple[FloatArray, IntArray]) -> tuple[FloatArray, IntArray]:
    points, lane = line
    current = lane_map.lanes[route.lane_ids[-1]]
    missing = route.goal_s + LEAD_OUT - current.length
    while missing > 0.0 and current.successors and current.successors[0] in lane_map.lanes:
        current = lane_map.lanes[current.successors[0]]
        points = np.concatenate([points, current.centerline[1:]])
        missing -= current.length
    if missing > 0.0:
        direction = points[-1] - points[-2]
        last = points[-1] + direction / max(float(np.linalg.norm(direction)), 1e-6) * (missing + 1.0)
        points = np.concatenate([points, last[None]])
    lane = np.concatenate([lane, np.full(points.shape[0] - lane.size, len(route.lane_ids) - 1, np.int64)])
    arc = _arc(points)
    end = _lane_start(lane, arc, len(route.lane_ids) - 1) + route.goal_s + LEAD_OUT
    keep = int(np.searchsorted(arc, end)) + 1
    return points[:keep], lane[:keep]


def _lane_start(lane: IntArray, arc: FloatArray, index: int) -> float:
    """Arc length at which route lane ``index`` begins (its first point is the last of the lane before)."""
    if index == lane[0]:
        return LEAD_IN if index == 0 else 0.0
    return float(arc[int(np.argmax(lane == index)) - 1])


def _cut(points: FloatArray, arc: FloatArray, a: float, b: float) -> FloatArray:
    inner = arc[(arc > a + 1e-3) & (arc < b - 1e-3)]
    u = np.concatenate([[a], inner, [b]])
    return np.stack([np.interp(u, arc, points[:, i]) for i in range(3)], axis=1)


def _lane_at(lane: IntArray, arc: FloatArray, a: float, b: float, n: int) -> IntArray:
    inner = arc[(arc > a + 1e-3) & (arc < b - 1e-3)]
    u = np.concatenate([[a], inner, [b]])[:n]
    return lane[np.clip(np.searchsorted(arc, u - 1e-6), 0, lane.size - 1)]


def _project_many(line: FloatArray, arc: FloatArray, points: FloatArray) -> FloatArray:
    """Arc length on ``line`` nearest to each of ``points``, never decreasing."""
    fine = np.arange(0.0, arc[-1], 0.25)
    x, y = np.interp(fine, arc, line[:, 0]), np.interp(fine, arc, line[:, 1])
    d = (x[None, :] - points[:, :1]) ** 2 + (y[None, :] - points[:, 1:2]) ** 2
    return np.maximum.accumulate(fine[np.argmin(d, axis=1)])


def _smooth(points: FloatArray, sigma: float) -> FloatArray:
    """Gaussian along the path, with both ends continued straight so that they stay where they are."""
    if sigma <= 0.0:
        return points
    pad = int(4.0 * sigma / SPACING) + 1
    ahead = np.arange(1, pad + 1)[:, None]
    first = points[0] - ahead[::-1] * (points[1] - points[0])
    last = points[-1] + ahead * (points[-1] - points[-2])
    longer = np.concatenate([first, points, last])
    return gaussian_filter1d(longer, sigma / SPACING, axis=0)[pad:-pad]


def _arc(points: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(points[:, 0]), np.diff(points[:, 1])))])


def _heading(points: FloatArray) -> FloatArray:
    return np.arctan2(np.gradient(points[:, 1]), np.gradient(points[:, 0]))


def _smooth_step(t: FloatArray) -> FloatArray:
    t = np.clip(t, 0.0, 1.0)
    return t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def _quintic(s: FloatArray, a: float, b: float, d0: float, slope0: float, d1: float) -> FloatArray:
    """Offset from ``d0`` with ``slope0`` at ``a`` to ``d1`` at ``b`` (no slope, no curvature), constant outside."""
    length = max(b - a, 1e-3)
    t = np.clip((s - a) / length, 0.0, 1.0)
    bend = t - 6.0 * t**3 + 8.0 * t**4 - 3.0 * t**5  # slope one at 0, all else zero
    return d0 + (d1 - d0) * _smooth_step(t) + slope0 * length * bend
