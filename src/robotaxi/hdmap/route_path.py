"""From a lane-level route to the line to drive, and what lies along it.

Lane changes and the way into and out of a bay follow the quintic of least jerk between two lateral
positions (Takahashi et al., "Generation of lateral trajectory of automatic vehicle", 1989).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry import polyline
from robotaxi.hdmap.lane_map import Crosswalk, Lane, Route, Signal, StopLine
from robotaxi.params import param

if TYPE_CHECKING:
    from robotaxi.hdmap.lane_map import LaneMap

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_JOINT = 1e-3  # m: lane ends nearer than this are one point
_FINE = 0.25  # m, step in which a path is followed over a crosswalk
_LINE_REACH = 8.0  # m beyond its lane's end at which a stop line still belongs to the lane


@dataclass(frozen=True)
class PathConfig:
    """Shape of the line to drive."""

    spacing: float = param(1.0, lo=0.2, hi=2.0, unit="m", doc="distance between points")
    change_time: float = param(4.0, lo=1.0, hi=10.0, unit="s", doc="duration of a lane change at the limit")
    change_min_length: float = param(25.0, lo=10.0, hi=100.0, unit="m", doc="shortest lane change")
    change_lead: float = param(5.0, lo=0.0, hi=50.0, unit="m", doc="straight on before a lane change starts")
    bay_length: float = param(20.0, lo=10.0, hi=60.0, unit="m", doc="length of the way into or out of a bay")


@dataclass(frozen=True)
class RoutePath:
    """The line for base_link along a route, frame map, evenly spaced.

    ``points`` (N, 3); per point ``s`` (arc length), ``yaw`` (unwrapped), ``curvature``, ``lane_id``,
    ``lane_s`` (arc length along that lane) and ``speed_limit``.
    """

    points: FloatArray
    s: FloatArray
    yaw: FloatArray
    curvature: FloatArray
    lane_id: IntArray
    lane_s: FloatArray
    speed_limit: FloatArray

    @property
    def length(self) -> float:
        return float(self.s[-1])

    def lane_spans(self) -> Iterator[tuple[int, int, int]]:
        """(lane id, first index, last index + 1) in driving order."""
        cuts = np.flatnonzero(np.diff(self.lane_id)) + 1
        for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(self.lane_id)], strict=True):
            yield int(self.lane_id[first]), int(first), int(last)


def quintic(u: FloatArray) -> FloatArray:
    """0 to 1 with zero first and second derivative at both ends; clamped outside [0, 1]."""
    u = np.clip(u, 0.0, 1.0)
    return np.asarray(u**3 * (10.0 + u * (6.0 * u - 15.0)))


def build_path(lane_map: LaneMap, route: Route, start_offset: float, config: PathConfig) -> RoutePath:
    """See `LaneMap.route_path`."""
    pieces = [_follow(lane_map, route, group, config) for group in _groups(route)]
    points = np.concatenate([p for p, _, _ in pieces])
    lane_id = np.concatenate([i for _, i, _ in pieces])
    lane_s = np.concatenate([s for _, _, s in pieces])
    step = np.hypot(*np.diff(points[:, :2], axis=0).T)
    keep = np.concatenate([step > _JOINT, [True]])  # where lanes join, the point of the lane ahead
    points, lane_id, lane_s = points[keep], lane_id[keep], lane_s[keep]
    if len(points) < 2:
        points, lane_id, lane_s = _stub(lane_map, route)
    s = polyline.arc_length(points)
    count = max(2, int(np.ceil(s[-1] / config.spacing)) + 1)
    at = np.linspace(0.0, s[-1], count)
    smooth = _hermite(points, s, at)
    if start_offset or route.goal_offset:
        goal_side = quintic((at - (s[-1] - config.bay_length)) / config.bay_length)
        start_side = 1.0 - quintic(at / config.bay_length)
        smooth = polyline.offset_curve(smooth, start_offset * start_side + route.goal_offset * goal_side)
    # A point belongs to the lane of the vertex behind it.
    owner = np.clip(np.searchsorted(s, at, side="right") - 1, 0, len(s) - 1)
    driven, which = np.unique(lane_id[owner], return_inverse=True)
    limits = np.array([lane_map.lanes[k].speed_limit for k in driven.tolist()])[which]
    return RoutePath(
        points=smooth,
        s=polyline.arc_length(smooth),
        yaw=polyline.headings(smooth),
        curvature=polyline.curvatures(smooth),
        lane_id=lane_id[owner],
        lane_s=lane_s[owner] + (at - s[owner]),
        speed_limit=limits,
    )


def _groups(route: Route) -> list[tuple[int, int]]:
    """(first, last) indices of lanes that lie side by side, joined by lane changes."""
    groups, first = [], 0
    for i, change in enumerate(route.change):
        if not change:
            groups.append((first, i))
            first = i + 1
    return [*groups, (first, len(route.lane_ids) - 1)]


_Piece = tuple[FloatArray, IntArray, FloatArray]


def _follow(lane_map: LaneMap, route: Route, group: tuple[int, int], config: PathConfig) -> _Piece:
    """Points, lane ids and lane stations over one group of parallel lanes."""
    lanes = [lane_map.lanes[k] for k in route.lane_ids[group[0] : group[1] + 1]]
    base = lanes[0]
    start = route.start_s / base.length if group[0] == 0 else 0.0
    end = route.goal_s / lanes[-1].length if group[1] == len(route.lane_ids) - 1 else 1.0
    share = base.s / base.length
    share = np.concatenate([[start], share[(share > start) & (share < end)], [max(start, end)]])
    points = _at_share(base, share)
    index = np.zeros(len(share), dtype=np.int64)
    changes = len(lanes) - 1
    room = (share[-1] - start) * base.length
    lead = min(config.change_lead, 0.1 * room)
    for k, lane in enumerate(lanes[1:]):
        wanted = max(config.change_min_length, config.change_time * lane.speed_limit)
        length = min(wanted, max((room - lead) / changes, 1e-6))
        begin = start + (lead + k * length) / base.length
        blend = quintic((share - begin) * base.length / length)
        points = points + blend[:, None] * (_at_share(lane, share) - points)
        index[blend >= 0.5] = k + 1
    ids = np.array([lane.id for lane in lanes], dtype=np.int64)[index]
    lengths = np.array([lane.length for lane in lanes])[index]
    return points, ids, share * lengths


def _at_share(lane: Lane, share: FloatArray) -> FloatArray:
    return polyline.interpolate(lane.centerline, lane.s, share * lane.length)


def _stub(lane_map: LaneMap, route: Route) -> _Piece:
    """A path of 1 cm for a route that is already at its goal, so that it still has a heading."""
    lane = lane_map.lanes[route.lane_ids[-1]]
    s = np.clip(np.array([route.goal_s - 0.01, route.goal_s]), 0.0, None)
    s[1] = s[0] + 0.01
    return polyline.interpolate(lane.centerline, lane.s, s), np.full(2, lane.id, dtype=np.int64), s


def _hermite(points: FloatArray, s: FloatArray, at: FloatArray) -> FloatArray:
    """Cubic Hermite curve through the points with the tangents of `polyline.headings`; z linear."""
    yaw = polyline.headings(points)
    if len(points) > 2:
        # End tangents as of the circle through the last three points, not of the last chord.
        yaw[0] += yaw[0] - yaw[1]
        yaw[-1] += yaw[-1] - yaw[-2]
    tangent = np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    k = np.clip(np.searchsorted(s, at, side="right") - 1, 0, len(s) - 2)
    h = (s[k + 1] - s[k])[:, None]
    u = (at - s[k])[:, None] / h
    p, q = points[k, :2], points[k + 1, :2]
    xy = (1.0 + 2.0 * u) * (1.0 - u) ** 2 * p + u * (1.0 - u) ** 2 * h * tangent[k]
    xy += u**2 * (3.0 - 2.0 * u) * q + u**2 * (u - 1.0) * h * tangent[k + 1]
    return np.column_stack([xy, np.interp(at, s, points[:, 2])])


# ---------------------------------------------------------------------------- what lies along a path


def stop_lines_on(lane_map: LaneMap, path: RoutePath) -> list[tuple[float, StopLine]]:
    """(s, stop line) for each line that the path still has to cross, in driving order."""
    out = []
    for lane_id, first, last in path.lane_spans():
        line = lane_map.stop_lines.get(lane_map.lanes[lane_id].stop_line_id or 0)
        if line is None:
            continue
        along = np.array([-1.0, 1.0]) * (line.points[1] - line.points[0])[[1, 0]]
        along /= max(float(np.hypot(*along)), 1e-9)  # left to right turned by +90 degrees: driving direction
        stop = min(last + int(np.ceil(_LINE_REACH)), len(path.s))
        ahead = (line.points[0, :2] - path.points[first:stop, :2]) @ along
        crossed = np.flatnonzero(ahead <= 1e-6)
        if len(crossed) and crossed[0] == 0 and ahead[0] < -1e-3:
            continue
        if len(crossed):
            k = max(int(crossed[0]), 1)
            fall = max(float(ahead[k - 1] - ahead[k]), 1e-9)
            s = path.s[first + k - 1] + ahead[k - 1] / fall * (path.s[first + k] - path.s[first + k - 1])
            out.append((float(s), line))
        elif last < len(path.s) and int(path.lane_id[last]) in lane_map.lanes[lane_id].successors:
            # The line lies farther inside the junction than is looked for: it is at the lane's end at the latest.
            out.append((float(path.s[last]), line))
    return out


def signals_on(lane_map: LaneMap, path: RoutePath) -> list[tuple[float, Signal]]:
    """(s of its stop line, light) for each light along the path."""
    return [
        (s, lane_map.signals[number])
        for s, line in stop_lines_on(lane_map, path)
        for number in line.signal_ids
        if number in lane_map.signals
    ]


def crosswalks_on(lane_map: LaneMap, path: RoutePath) -> list[tuple[float, float, Crosswalk]]:
    """(s where the path enters it, s where it leaves it, crosswalk), in driving order."""
    driven = set(path.lane_id.tolist())
    fine = np.arange(0.0, path.length + _FINE, _FINE)
    points = polyline.interpolate(path.points, path.s, fine)
    out = []
    for crosswalk in lane_map.crosswalks.values():
        if driven.isdisjoint(crosswalk.lane_ids):
            continue
        low, high = crosswalk.polygon[:, :2].min(axis=0), crosswalk.polygon[:, :2].max(axis=0)
        near = np.flatnonzero(np.all((points[:, :2] >= low) & (points[:, :2] <= high), axis=1))
        inside = near[polyline.points_in_polygon(points[near], crosswalk.polygon)] if len(near) else near
        for run in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):
            if len(run):
                out.append((float(fine[run[0]]), float(fine[run[-1]]), crosswalk))
    return sorted(out, key=lambda item: (item[0], item[2].id))


def junctions_on(lane_map: LaneMap, path: RoutePath) -> list[tuple[float, float, int]]:
    """(s where the path enters it, s where it leaves it, junction id), in driving order."""
    out: list[tuple[float, float, int]] = []
    for lane_id, first, last in path.lane_spans():
        junction = lane_map.lanes[lane_id].junction_id
        if junction is None:
            continue
        end = float(path.s[min(last, len(path.s) - 1)])
        if out and out[-1][2] == junction and abs(out[-1][1] - float(path.s[first])) < 1e-9:
            out[-1] = (out[-1][0], end, junction)
        else:
            out.append((float(path.s[first]), end, junction))
    return out
