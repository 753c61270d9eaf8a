"""From what a map file says to a LaneMap: the part that is the same for every format.

Readers hand over lane drafts and furniture; here the lanes get centre lines, predecessors, turn
directions, conflicts and rules of priority, and crosswalks and bays find their lanes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry import polyline
from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.index import LaneIndex
from robotaxi.hdmap.lane_map import Crosswalk, Lane, LaneMap, MapError, Signal, StopLine, StoppingPlace
from robotaxi.hdmap.priority import TURN_ANGLE, add_priorities

FloatArray = NDArray[np.float64]
MAX_SPACING = 2.0  # m between points of a lane
BAY_REACH = 10.0  # m between a stopping place and its lane


@dataclass
class LaneDraft:
    """A lane as read. ``left`` and ``right`` (N, 3) have the same N. None: not said by the source."""

    id: int
    left: FloatArray
    right: FloatArray
    speed_limit: float
    successors: set[int] = field(default_factory=set)
    left_neighbour: int | None = None
    right_neighbour: int | None = None
    junction_id: int | None = None
    turn_direction: str | None = None
    yield_to: set[int] | None = None

    @property
    def center(self) -> FloatArray:
        return (self.left + self.right) / 2.0


@dataclass
class BayDraft:
    """A stopping place as read; ``lane_id`` None where the source does not name its lane."""

    id: int
    name: str
    pose: tuple[float, float, float]
    polygon: FloatArray
    lane_id: int | None = None


@dataclass
class MapDraft:
    name: str
    origin: tuple[float, float, float]
    checksum: str
    lanes: list[LaneDraft]
    stop_lines: list[StopLine] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    crosswalk_polygons: list[tuple[int, FloatArray]] = field(default_factory=list)
    bays: list[BayDraft] = field(default_factory=list)


def assemble(draft: MapDraft) -> LaneMap:
    """Build the LaneMap. Raises MapError when there is no lane at all."""
    if not draft.lanes:
        raise MapError(f"{draft.name}: the map has no drivable lane")
    lanes = {d.id: _lane(d) for d in sorted(draft.lanes, key=lambda d: d.id)}
    predecessors: dict[int, list[int]] = {lane_id: [] for lane_id in lanes}
    for lane in lanes.values():
        for successor in lane.successors:
            predecessors[successor].append(lane.id)
    stop_line_of = {lane_id: line.id for line in draft.stop_lines for lane_id in line.lane_ids}
    for lane_id, lane in lanes.items():
        lanes[lane_id] = replace(
            lane, predecessors=tuple(predecessors[lane_id]), stop_line_id=stop_line_of.get(lane_id)
        )
    stop_lines = {line.id: line for line in sorted(draft.stop_lines, key=lambda line: line.id)}
    said = {d.id: d.yield_to for d in draft.lanes if d.yield_to is not None}
    lanes = add_priorities(lanes, stop_lines, said)
    signals = {}
    for signal in sorted(draft.signals, key=lambda item: item.id):
        signals[signal.id] = replace(signal, junction_id=_junction_after(lanes, stop_lines.get(signal.stop_line_id)))
    return LaneMap(
        name=draft.name,
        origin=draft.origin,
        lanes=lanes,
        stop_lines=stop_lines,
        signals=signals,
        crosswalks=_crosswalks(draft.crosswalk_polygons, lanes),
        stopping_places=_stopping_places(draft, lanes),
        checksum=draft.checksum,
    )


def pair_boundaries(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both boundaries with as many points, paired across the lane, their middles at most MAX_SPACING apart.

    Boundaries that already pair up point by point keep their points; others are paired by their share
    of the arc length.
    """
    s_left, s_right = polyline.arc_length(left), polyline.arc_length(right)
    if s_left[-1] <= 0.0 or s_right[-1] <= 0.0:
        raise ValueError("a boundary has no length")
    share_left, share_right = s_left / s_left[-1], s_right / s_right[-1]
    if len(left) != len(right) or np.abs(share_left - share_right).max() > 0.02:
        share = np.union1d(share_left, share_right)
        left = polyline.interpolate(left, s_left, share * s_left[-1])
        right = polyline.interpolate(right, s_right, share * s_right[-1])
        s_left, s_right = polyline.arc_length(left), polyline.arc_length(right)
    center = polyline.arc_length((left + right) / 2.0)
    index = np.concatenate([[0.0], np.cumsum(np.maximum(1.0, np.ceil(np.diff(center) / MAX_SPACING - 1e-3)))])
    at = np.arange(index[-1] + 1.0)
    return polyline.interpolate(left, index, at), polyline.interpolate(right, index, at)


def _lane(draft: LaneDraft) -> Lane:
    center = draft.center
    return Lane(
        id=draft.id,
        centerline=center,
        left=draft.left,
        right=draft.right,
        s=polyline.arc_length(center),
        speed_limit=draft.speed_limit,
        turn_direction=draft.turn_direction or turn_direction(center, draft.junction_id),
        successors=tuple(sorted(draft.successors)),
        left_neighbour=draft.left_neighbour,
        right_neighbour=draft.right_neighbour,
        junction_id=draft.junction_id,
    )


def turn_direction(center: FloatArray, junction_id: int | None) -> str:
    """Which way a junction lane turns; lanes outside junctions go straight."""
    if junction_id is None:
        return "straight"
    yaw = polyline.headings(center)
    change = wrap_angle(float(yaw[-1] - yaw[0]))
    if abs(change) < TURN_ANGLE:
        return "straight"
    return "left" if change > 0.0 else "right"


def _junction_after(lanes: dict[int, Lane], line: StopLine | None) -> int | None:
    for lane_id in line.lane_ids if line else ():
        for successor in lanes[lane_id].successors:
            if lanes[successor].junction_id is not None:
                return lanes[successor].junction_id
    return None


def _crosswalks(polygons: Iterable[tuple[int, FloatArray]], lanes: dict[int, Lane]) -> dict[int, Crosswalk]:
    points = np.concatenate([lane.centerline[:, :2] for lane in lanes.values()])
    owner = np.concatenate([np.full(len(lane.s), lane.id) for lane in lanes.values()])
    station = np.concatenate([lane.s for lane in lanes.values()])
    out = {}
    for number, polygon in sorted(polygons, key=lambda item: item[0]):
        quad = walking_quad(polygon)
        middle = quad[:, :2].mean(axis=0)
        reach = float(np.hypot(*(quad[:, :2] - middle).T).max()) + MAX_SPACING
        near = np.flatnonzero(np.all(np.abs(points - middle) <= reach, axis=1))
        crossed = []
        for lane_id in np.unique(owner[near]):
            lane = lanes[int(lane_id)]
            beside = station[near[owner[near] == lane_id]]
            fine = np.arange(beside.min() - MAX_SPACING, beside.max() + MAX_SPACING, 0.25)
            if polyline.points_in_polygon(polyline.interpolate(lane.centerline, lane.s, fine), quad).any():
                crossed.append(int(lane_id))
        axis = np.stack([(quad[0] + quad[3]) / 2.0, (quad[1] + quad[2]) / 2.0])
        out[number] = Crosswalk(number, quad, axis, tuple(crossed))
    return out


def walking_quad(polygon: FloatArray) -> FloatArray:
    """A crosswalk's outline as four corners: right-start, right-end, left-end, left-start of the walk.

    Outlines with more corners become the smallest box along their principal axis.
    """
    points = polygon[:-1] if len(polygon) > 3 and np.allclose(polygon[0], polygon[-1]) else polygon
    if len(points) != 4:
        mean = points.mean(axis=0)
        flat = points[:, :2] - mean[:2]
        _, _, axes = np.linalg.svd(flat, full_matrices=False)
        along, across = flat @ axes[0], flat @ np.array([-axes[0][1], axes[0][0]])
        corners = [(along.min(), across.min()), (along.max(), across.min())]
        corners += [(along.max(), across.max()), (along.min(), across.max())]
        normal = np.array([-axes[0][1], axes[0][0]])
        return np.array([[*(mean[:2] + u * axes[0] + v * normal), mean[2]] for u, v in corners])
    first = np.linalg.norm(points[1] - points[0]) + np.linalg.norm(points[3] - points[2])
    second = np.linalg.norm(points[2] - points[1]) + np.linalg.norm(points[0] - points[3])
    quad = points if first >= second else np.roll(points, -1, axis=0)
    d1, d2 = quad[1, :2] - quad[0, :2], quad[3, :2] - quad[0, :2]
    return np.asarray(quad if d1[0] * d2[1] - d1[1] * d2[0] >= 0.0 else quad[[3, 2, 1, 0]], dtype=np.float64)


def _stopping_places(draft: MapDraft, lanes: dict[int, Lane]) -> dict[int, StoppingPlace]:
    index = LaneIndex(lanes) if draft.bays else None
    out = {}
    for bay in sorted(draft.bays, key=lambda item: item.id):
        lane_id = bay.lane_id if bay.lane_id in lanes else None
        if lane_id is None and index is not None:
            lane_id = next((m.lane_id for m in index.near(*bay.pose, BAY_REACH)), None)
        if lane_id is None:
            raise MapError(f"{draft.name}: stopping place {bay.id} '{bay.name}' lies beside no lane")
        lane = lanes[lane_id]
        at = polyline.project(lane.centerline, np.array([bay.pose[:2]]), lane.s)
        out[bay.id] = StoppingPlace(
            bay.id, bay.name, bay.pose, lane.id, float(at.s[0]), float(at.offset[0]), bay.polygon
        )
    return out
