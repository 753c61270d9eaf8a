"""What stands beside the road and where. Later things keep clear of earlier ones and of every lane and bay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap, Signal
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.layout import EdgePoints, Layout
from robotaxi.types import FloatArray, RecordArray

BUILDING_DTYPE = np.dtype(
    [
        ("x", "<f8"),
        ("y", "<f8"),
        ("z", "<f8"),
        ("yaw", "<f8"),  # of the side that faces the road
        ("length", "<f8"),  # along the road
        ("width", "<f8"),
        ("storeys", "<i4"),
        ("gable", "?"),
        ("style", "<f8"),  # 0..1, picks colour and window rhythm
    ]
)
TREE_DTYPE = np.dtype(
    [
        ("x", "<f8"),
        ("y", "<f8"),
        ("z", "<f8"),
        ("yaw", "<f8"),
        ("crown_radius", "<f8"),
        ("height", "<f8"),
        ("conifer", "?"),
        ("style", "<f8"),
    ]
)
POST_DTYPE = np.dtype([("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("yaw", "<f8"), ("kind", "U8")])
MAST_DTYPE = np.dtype([("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("signal_id", "<i8")])

_LAMP_OFFSET = 0.7  # m outside the edge of the road
_SIGN_OFFSET = 0.9
_MOST_LANES = 8  # side by side in one direction
_TREE_OFFSET = 2.2
_MAST_CLEARANCE = 0.8  # m between a signal mast and the nearest lane
_MAST_RADIUS = 0.12
_POST_RADIUS = 0.1
_CROWN_OVER_ROAD = 0.3  # m, a crown keeps this far from lanes
_CROSSWALK_CLEARANCE = 1.5  # m, posts and trunks keep out of the way of people


@dataclass(frozen=True)
class Placement:
    """Everything that stands, by kind."""

    buildings: RecordArray
    trees: RecordArray
    posts: RecordArray  # kind: lamp | stop | yield | limit
    masts: RecordArray


class _Free:
    """Greedy packing: a candidate is taken when it keeps clear of what was taken before."""

    def __init__(self, blocked: shapely.Geometry) -> None:
        self._taken: list[shapely.Geometry] = []
        self._blocked = blocked

    def take(self, candidates: NDArray[np.object_], blocked: shapely.Geometry | None = None) -> list[int]:
        """Indices of the candidates that fit, first come first served."""
        if not len(candidates):
            return []
        shapes = candidates
        for region in (self._blocked, blocked):
            if region is not None:
                shapely.prepare(region)
        fits = ~shapely.intersects(self._blocked, shapes)
        if blocked is not None:
            fits &= ~shapely.intersects(blocked, shapes)
        if self._taken:
            hit, _ = shapely.STRtree(self._taken).query(shapes, predicate="intersects")
            fits[hit] = False
        index = np.flatnonzero(fits)
        first, second = shapely.STRtree(shapes[index]).query(shapes[index], predicate="intersects")
        neighbours: dict[int, list[int]] = {}
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            if b < a:
                neighbours.setdefault(a, []).append(b)
        accepted = np.zeros(len(index), bool)
        for k in range(len(index)):
            accepted[k] = not any(accepted[j] for j in neighbours.get(k, ()))
        chosen = index[accepted].tolist()
        self._taken += candidates[chosen].tolist()
        return chosen


def place_all(lane_map: LaneMap, layout: Layout, parked_area: shapely.Geometry, config: SceneryConfig) -> Placement:
    """Signal masts, signs, lamp posts, buildings and trees, in this order of precedence."""
    rng = np.random.default_rng([config.seed, 1])
    clear_of_lanes = shapely.union_all([shapely.buffer(layout.drivable, config.lane_clearance), parked_area])
    free = _Free(clear_of_lanes)
    masts = _masts(lane_map, layout)
    free.take(_discs(masts["x"], masts["y"], _MAST_RADIUS))
    crossing = shapely.buffer(layout.crosswalks, _CROSSWALK_CLEARANCE)
    posts = _posts(lane_map, layout, free, crossing, config)
    buildings = _buildings(layout, free, rng, config)
    trees = _trees(layout, free, crossing, rng, config)
    return Placement(buildings, trees, posts, masts)


def _discs(x: FloatArray, y: FloatArray, radius: float | FloatArray) -> NDArray[np.object_]:
    return shapely.buffer(shapely.points(x, y), radius, quad_segs=2)


def _masts(lane_map: LaneMap, layout: Layout) -> RecordArray:
    """One mast for each head: below it where that is beside the road, else at the nearest free roadside."""
    clearance = shapely.buffer(layout.drivable, _MAST_CLEARANCE)
    shapely.prepare(clearance)
    rows = []
    for _, signal in sorted(lane_map.signals.items()):
        x, y = _mast_position(signal, clearance)
        rows.append((x, y, float(layout.height.at(np.array([[x, y]]))[0]), signal.id))
    return np.array(rows, MAST_DTYPE)


def _mast_position(signal: Signal, clearance: shapely.Geometry) -> tuple[float, float]:
    behind = 0.3  # m, the mast stands behind its head as seen by the traffic
    x = float(signal.position[0]) - behind * math.cos(signal.yaw)
    y = float(signal.position[1]) - behind * math.sin(signal.yaw)
    point = shapely.Point(x, y)
    if not shapely.contains(clearance, point):
        return x, y
    nearest = shapely.shortest_line(shapely.boundary(clearance), point)
    outside = np.asarray(nearest.coords)[0]
    step = outside - np.array([x, y])
    reach = float(np.linalg.norm(step))
    outside = outside + (_MAST_RADIUS + 0.05) * step / max(reach, 1e-9)
    return float(outside[0]), float(outside[1])


def _posts(
    lane_map: LaneMap, layout: Layout, free: _Free, crossing: shapely.Geometry, config: SceneryConfig
) -> RecordArray:
    """Signs at stop and yield lines and where a speed limit starts, then lamp posts along the road."""
    wanted: list[tuple[float, float, float, str]] = []
    for _, line in sorted(lane_map.stop_lines.items()):
        if line.kind in ("stop", "yield") and line.lane_ids and line.lane_ids[0] in lane_map.lanes:
            lane = lane_map.lanes[line.lane_ids[0]]
            for _ in range(_MOST_LANES):
                lane = lane_map.lanes.get(lane.right_neighbour or lane.id, lane)
            wanted.append((*_beside(lane.right, -1), line.kind))
    for _, lane in sorted(lane_map.lanes.items()):
        before = [lane_map.lanes[i] for i in lane.predecessors if i in lane_map.lanes]
        if lane.junction_id is None and lane.right_neighbour is None and lane.length > 30.0 and before:
            wanted.append((*_beside(lane.right, min(6, len(lane.right) - 2)), "limit"))
    sign_at = np.array([row[:2] for row in wanted]).reshape(-1, 2)
    signs = free.take(_discs(sign_at[:, 0], sign_at[:, 1], _POST_RADIUS), crossing)
    rows = [(wanted[i][0], wanted[i][1], 0.0, wanted[i][2], wanted[i][3]) for i in signs]

    edge = layout.edge_points(config.lamp_spacing)
    at = np.asarray(edge.xy + _LAMP_OFFSET * edge.outward)
    toward_road = np.arctan2(-edge.outward[:, 1], -edge.outward[:, 0])
    lamps = free.take(_discs(at[:, 0], at[:, 1], _POST_RADIUS), shapely.union_all([crossing, layout.sight]))
    rows += [(at[i, 0], at[i, 1], 0.0, toward_road[i], "lamp") for i in lamps]
    posts = np.array(rows, POST_DTYPE)
    posts["z"] = layout.height.at(np.stack([posts["x"], posts["y"]], axis=1))
    return posts


def _beside(edge: FloatArray, index: int) -> tuple[float, float, float]:
    """Position right of an edge line and the yaw that faces its traffic."""
    ahead = edge[index] - edge[index - 1]
    yaw = math.atan2(ahead[1], ahead[0])
    x = edge[index, 0] + _SIGN_OFFSET * math.sin(yaw)
    y = edge[index, 1] - _SIGN_OFFSET * math.cos(yaw)
    return float(x), float(y), math.remainder(yaw + math.pi, 2.0 * math.pi)


def _buildings(layout: Layout, free: _Free, rng: np.random.Generator, config: SceneryConfig) -> RecordArray:
    """A row along the road, taller towards the middle of the map, and a second row behind it."""
    records = []
    x_lo, y_lo, x_hi, y_hi = shapely.bounds(layout.surface)
    middle = np.array([0.5 * (x_lo + x_hi), 0.5 * (y_lo + y_hi)])
    extent = max(0.5 * math.hypot(x_hi - x_lo, y_hi - y_lo), 1.0)
    for row, setback in enumerate((config.building_setback, config.second_row_setback)):
        edge: EdgePoints = layout.edge_points(config.building_spacing * (1.0 + 0.35 * row))
        for point, outward in zip(edge.xy, edge.outward, strict=True):
            draw = rng.random(7)
            length = 10.0 + 12.0 * draw[0]
            width = 9.0 + 6.0 * draw[1]
            center = point + (setback + 3.5 * draw[2] * (1 + row) + 0.5 * width) * outward
            town = 1.0 - min(float(np.linalg.norm(center - middle)) / extent, 1.0)
            storeys = 1 + int((config.storeys_max - 1) * min(town * (0.35 + 0.85 * draw[3]) + 0.25 * row, 1.0) + 0.35)
            gable = storeys <= 2 and draw[4] < 0.75
            if draw[5] < 0.12:
                continue  # a gap between buildings
            yaw = math.atan2(-outward[1], -outward[0])
            records.append((center[0], center[1], 0.0, yaw, length, width, storeys, gable, draw[6]))
    keep_off = shapely.union_all([shapely.buffer(layout.surface, config.building_setback - 0.5), layout.sight])
    buildings = np.array(records, BUILDING_DTYPE)
    buildings = buildings[free.take(_footprints(buildings), keep_off)]
    buildings["z"] = layout.height.at(np.stack([buildings["x"], buildings["y"]], axis=1))
    return buildings


def _footprints(buildings: RecordArray) -> NDArray[np.object_]:
    """Rectangles half a metre larger than the buildings on every side."""
    cos, sin = np.cos(buildings["yaw"]), np.sin(buildings["yaw"])
    half_x, half_y = 0.5 * buildings["width"] + 0.5, 0.5 * buildings["length"] + 0.5
    corners = []
    for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x = buildings["x"] + u * half_x * cos - v * half_y * sin
        y = buildings["y"] + u * half_x * sin + v * half_y * cos
        corners.append(np.stack([x, y], axis=1))
    return shapely.polygons(np.stack(corners, axis=1))


def _trees(
    layout: Layout, free: _Free, crossing: shapely.Geometry, rng: np.random.Generator, config: SceneryConfig
) -> RecordArray:
    """An avenue along the road, and trees scattered on the grass within sight of it."""
    edge = layout.edge_points(config.tree_spacing)
    avenue = edge.xy + _TREE_OFFSET * edge.outward + rng.uniform(-0.5, 0.5, edge.xy.shape)
    x_lo, y_lo, x_hi, y_hi = shapely.bounds(layout.surface)
    reach = 0.5 * config.ground_margin
    area = (x_hi - x_lo + 2 * reach) * (y_hi - y_lo + 2 * reach)
    count = int(config.trees_per_hectare * area / 1e4)
    scattered = rng.uniform((x_lo - reach, y_lo - reach), (x_hi + reach, y_hi + reach), (count, 2))
    near = shapely.buffer(layout.surface, reach)
    shapely.prepare(near)
    scattered = scattered[shapely.contains_xy(near, scattered[:, 0], scattered[:, 1])]
    at = np.concatenate([avenue, scattered])
    draw = rng.random((len(at), 5))
    along = np.arange(len(at)) < len(avenue)
    trees: RecordArray = np.zeros(len(at), TREE_DTYPE)
    trees["x"], trees["y"] = at[:, 0], at[:, 1]
    trees["yaw"] = 2.0 * np.pi * draw[:, 0]
    trees["crown_radius"] = np.where(along, 1.2 + 0.5 * draw[:, 1], 1.5 + 1.6 * draw[:, 1])
    trees["height"] = np.where(along, 5.0 + 1.8 * draw[:, 2], 5.0 + 6.0 * draw[:, 2])
    trees["conifer"] = ~along & (draw[:, 3] < 0.3)
    trees["style"] = draw[:, 4]
    thinned = ~along | (draw[:, 3] < 0.75)
    trees = trees[thinned]
    crowns = _discs(trees["x"], trees["y"], trees["crown_radius"])
    lanes = shapely.buffer(layout.drivable, _CROWN_OVER_ROAD)
    keep_off = shapely.union_all([lanes, crossing, layout.sight])
    trees = trees[free.take(crowns, keep_off)]
    trees["z"] = layout.height.at(np.stack([trees["x"], trees["y"]], axis=1))
    return trees
