"""Paint on the road: lane lines, stop and yield lines, zebra crossings, bays and arrows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from robotaxi.hdmap.lane_map import Crosswalk, Lane, LaneMap, StopLine, StoppingPlace
from robotaxi.sim.mesh import Color, Material, Mesh, fan, join, make_mesh, quads
from robotaxi.types import FloatArray

WHITE: Color = (0.86, 0.87, 0.87)
_LIFT = 0.012  # m above the road, so that a marking always wins against it
_LINE_WIDTH = 0.14  # m
_LINE_INSET = 0.1  # m, an edge line lies inside its lane
_DASH, _DASH_GAP = 4.0, 6.0  # m
_GUIDE_DASH, _GUIDE_GAP = 1.5, 1.5  # m, along a bay
_STOP_WIDTH = 0.5  # m
_YIELD_DASH, _YIELD_GAP = 0.5, 0.35  # m
_STRIPE = 0.5  # m, zebra stripes and the gaps between them
_SOLID_STEP = 2.0  # m, longest straight piece of a solid line in a bend
_NEAR_BAY = 0.6  # m
_SAME_EDGE = 0.35  # m, edges of two lanes nearer than this are one line
_ARROW_BEFORE_END = (8.0, 30.0)  # m before the end of a lane that leads to a junction


def markings_mesh(lane_map: LaneMap) -> Mesh:
    """All markings of the map as flat white triangles."""
    bays = shapely.union_all([shapely.Polygon(p.polygon[:, :2]) for _, p in sorted(lane_map.stopping_places.items())])
    pieces = _lane_lines(lane_map, bays)
    for _, line in sorted(lane_map.stop_lines.items()):
        pieces.append(_stop_line(line))
    for _, crosswalk in sorted(lane_map.crosswalks.items()):
        pieces.append(_zebra(crosswalk))
    for _, place in sorted(lane_map.stopping_places.items()):
        pieces.append(_bay_line(place, lane_map.lanes.get(place.lane_id)))
    for _, lane in sorted(lane_map.lanes.items()):
        pieces += _arrows(lane_map, lane)
    solid = [p for p in pieces if len(p)]
    if not solid:
        return join([])
    triangles = np.concatenate(solid)
    triangles[:, :, 2] += _LIFT
    return make_mesh(triangles, Material.MARKING, WHITE)


def _lane_lines(lane_map: LaneMap, bays: shapely.Geometry) -> list[NDArray[np.float64]]:
    open_lanes = [lane for _, lane in sorted(lane_map.lanes.items()) if lane.junction_id is None]
    if not open_lanes:
        return []
    left = np.concatenate([lane.left[:, :2] for lane in open_lanes])
    owner = np.concatenate([np.full(len(lane.left), lane.id) for lane in open_lanes])
    tree = cKDTree(left)
    near_bay = shapely.buffer(bays, _NEAR_BAY)
    shapely.prepare(near_bay)
    pieces = []
    for lane in open_lanes:
        if lane.right_neighbour is not None:
            pieces.append(_strip(lane.right, 0.0, _LINE_WIDTH, _DASH, _DASH_GAP))
        else:
            middle = lane.right[:, :2]
            beside_bay = shapely.contains_xy(near_bay, middle[:, 0], middle[:, 1])
            for first, last, open_side in _runs(beside_bay):
                dash = (_GUIDE_DASH, _GUIDE_GAP) if open_side else (0.0, 0.0)
                pieces.append(_strip(lane.right[first : last + 1], _LINE_INSET, _LINE_WIDTH, *dash))
        if lane.left_neighbour is None:
            pieces += _left_line(lane_map, lane, tree, owner)
    return pieces


def _left_line(lane_map: LaneMap, lane: Lane, tree: cKDTree, owner: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Edge of the carriageway, or the line between the two directions (drawn by one of the two lanes)."""
    shared = tree.query_ball_point(lane.left[len(lane.left) // 2, :2], _SAME_EDGE)
    others = sorted({int(owner[i]) for i in shared} - {lane.id})
    if not others:
        return [_strip(lane.left, -_LINE_INSET, _LINE_WIDTH)]
    if lane.id > others[0]:
        return []
    if lane.right_neighbour is None and lane_map.lanes[others[0]].right_neighbour is None:
        return [_strip(lane.left, 0.0, _LINE_WIDTH, _DASH, _DASH_GAP)]
    return [_strip(lane.left, side, _LINE_WIDTH) for side in (-0.15, 0.15)]


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int, bool]]:
    """Stretches (first index, last index, flag) that share their end points."""
    change = np.flatnonzero(np.diff(flags.astype(np.int8))) + 1
    starts = [0, *change.tolist()]
    ends = [*change.tolist(), len(flags) - 1]
    return [(a, b, bool(flags[a])) for a, b in zip(starts, ends, strict=True) if b > a]


def _strip(line: FloatArray, inset: float, width: float, dash: float = 0.0, gap: float = 0.0) -> NDArray[np.float64]:
    """Painted line along points (N, 3), moved ``inset`` to its left; ``dash`` 0 is a solid line."""
    line = _distinct(line)
    if len(line) < 2:
        return np.zeros((0, 3, 3))
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    total = float(s[-1])
    tangent = np.gradient(line[:, :2], s, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    if dash > 0.0:
        start = np.arange(0.5 * gap, max(total - 0.5 * dash, 0.5 * gap + 1e-6), dash + gap)
        intervals = np.stack([start, np.minimum(start + dash, total)], axis=1)
    else:
        keep = _needed(line)
        intervals = np.stack([s[keep][:-1], s[keep][1:]], axis=1)
    corners = []
    for at, side in ((0, -0.5), (1, -0.5), (1, 0.5), (0, 0.5)):
        point = np.stack([np.interp(intervals[:, at], s, line[:, k]) for k in range(3)], axis=1)
        normal = np.stack(
            [-np.interp(intervals[:, at], s, tangent[:, 1]), np.interp(intervals[:, at], s, tangent[:, 0])], axis=1
        )
        point[:, :2] += (inset + side * width) * normal
        corners.append(point)
    return quads(np.stack(corners, axis=1))


def _distinct(line: FloatArray) -> FloatArray:
    step = np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1)
    return line[np.concatenate([[True], step > 1e-6])]


def _needed(line: FloatArray) -> NDArray[np.int64]:
    """Indices of the points that a solid line needs: where it bends, and its ends."""
    direction = np.diff(line, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    bends = np.linalg.norm(np.diff(direction, axis=0), axis=1) > 1e-3
    return np.flatnonzero(np.concatenate([[True], bends, [True]]))


def _stop_line(line: StopLine) -> NDArray[np.float64]:
    if line.kind == "yield":
        return _strip(line.points, 0.0, _STOP_WIDTH, _YIELD_DASH, _YIELD_GAP)
    return _strip(line.points, 0.0, _STOP_WIDTH)


def _bay_line(place: StoppingPlace, lane: Lane | None) -> NDArray[np.float64]:
    """Outline of a bay but for the side that it shares with its lane."""
    outline = np.concatenate([place.polygon, place.polygon[:1]])
    sides = []
    for start, end in pairwise(outline):
        middle = 0.5 * (start + end)
        along_lane = lane is not None and _distance(lane.right, middle) < _NEAR_BAY
        if not along_lane:
            sides.append(_strip(np.stack([start, end]), 0.0, 0.1))
    return np.concatenate(sides) if sides else np.zeros((0, 3, 3))


def _distance(line: FloatArray, point: FloatArray) -> float:
    return float(shapely.distance(shapely.LineString(line[:, :2]), shapely.Point(point[:2])))


def _zebra(crosswalk: Crosswalk) -> NDArray[np.float64]:
    """Stripes across the walking axis, as long as the crossing is wide."""
    axis = crosswalk.axis
    along = axis[1, :2] - axis[0, :2]
    length = float(np.linalg.norm(along))
    if length < _STRIPE:
        return np.zeros((0, 3, 3))
    along = along / length
    across = np.array([-along[1], along[0]])
    half = 0.9 * float(np.abs((crosswalk.polygon[:, :2] - axis[0, :2]) @ across).max())
    count = int((length + _STRIPE) // (2 * _STRIPE))
    start = 0.5 * (length - (2 * count - 1) * _STRIPE)
    corners = []
    for k in range(count):
        lo = start + 2 * k * _STRIPE
        rows = []
        for u, v in ((lo, -half), (lo + _STRIPE, -half), (lo + _STRIPE, half), (lo, half)):
            point = axis[0, :2] + u * along + v * across
            rows.append([point[0], point[1], axis[0, 2] + (axis[1, 2] - axis[0, 2]) * u / length])
        corners.append(rows)
    return quads(np.array(corners))


def _arrows(lane_map: LaneMap, lane: Lane) -> list[NDArray[np.float64]]:
    """Arrows on a lane before a junction, one shaft for each way it may be left."""
    ahead = [lane_map.lanes[i] for i in lane.successors if i in lane_map.lanes]
    turns = sorted({nxt.turn_direction for nxt in ahead if nxt.junction_id is not None})
    beside = lane.left_neighbour is not None or lane.right_neighbour is not None
    if lane.junction_id is not None or not turns or not (beside or len(turns) < 3) or len(ahead) < 1:
        return []
    if turns == ["straight"] and not beside:
        return []
    out = []
    for before in _ARROW_BEFORE_END:
        at = lane.length - before
        if at < 6.0:
            continue
        x, y, z = (float(np.interp(at, lane.s, lane.centerline[:, k])) for k in range(3))
        next_x, next_y = (float(np.interp(at + 1.0, lane.s, lane.centerline[:, k])) for k in range(2))
        yaw = math.atan2(next_y - y, next_x - x)
        local = np.concatenate([_SHAFT, *[_HEADS[turn] for turn in turns if turn in _HEADS]])
        cos, sin = math.cos(yaw), math.sin(yaw)
        placed = np.empty((*local.shape[:2], 3))
        placed[..., 0] = x + cos * local[..., 0] - sin * local[..., 1]
        placed[..., 1] = y + sin * local[..., 0] + cos * local[..., 1]
        placed[..., 2] = z
        out.append(placed)
    return out


def _flat(points: list[tuple[float, float]]) -> NDArray[np.float64]:
    return fan(np.array([(x, y, 0.0) for x, y in points]))


_SHAFT = _flat([(-2.2, -0.08), (0.0, -0.08), (0.0, 0.08), (-2.2, 0.08)])
_HEADS = {
    "straight": np.concatenate(
        [_flat([(0.0, -0.08), (1.2, -0.08), (1.2, 0.08), (0.0, 0.08)]), _flat([(1.2, -0.32), (2.4, 0.0), (1.2, 0.32)])]
    ),
    "left": np.concatenate(
        [
            _flat([(-0.3, -0.08), (0.0, -0.08), (0.65, 0.5), (0.45, 0.62)]),
            _flat([(0.15, 0.72), (0.95, 0.4), (1.1, 1.1)]),
        ]
    ),
    "right": np.concatenate(
        [
            _flat([(0.45, -0.62), (0.65, -0.5), (0.0, 0.08), (-0.3, 0.08)]),
            _flat([(1.1, -1.1), (0.95, -0.4), (0.15, -0.72)]),
        ]
    ),
}
