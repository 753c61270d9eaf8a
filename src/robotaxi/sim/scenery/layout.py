"""Where the road is and where something may stand beside it: plane geometry of a LaneMap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely.geometry.polygon import orient

from robotaxi.hdmap.lane_map import Lane, LaneMap, MapError
from robotaxi.sim.scenery.bridges import Bridges, find_bridges
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.terrain import FLAT, ground_heights
from robotaxi.types import FloatArray

_CORNER_SEGMENTS = 4  # straight pieces a quarter circle of a buffer is made of
_SIMPLIFY = 0.02  # m, outlines of a flat map lose points that move them less
_SIGHT_LENGTH = 75.0  # m before a stop line from which its signals must be seen
_SIGHT_HALF_WIDTH = 1.2  # m
_SIGHT_STEP = 5.0  # m


@dataclass(frozen=True)
class EdgePoints:
    """Points along the outside of the road: ``xy`` (N, 2), unit ``outward`` (N, 2), ``ring`` (N,) which outline."""

    xy: FloatArray
    outward: FloatArray
    ring: NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Regions of the map plane.

    ``drivable``: lanes and bays. ``surface``: the paved road with gutters, corners and parking strips, without what
    bridges carry. ``pavement``: beside it. ``sight``: between traffic and its signal heads, to be kept clear of tall
    things. ``landings``: where the carriageway goes from the ground onto a bridge; no kerb or pavement there.
    """

    drivable: shapely.Geometry
    bays: shapely.Geometry
    crosswalks: shapely.Geometry
    surface: shapely.Geometry
    pavement: shapely.Geometry
    sight: shapely.Geometry
    flat: bool
    height: Heights
    bridges: Bridges
    landings: shapely.Geometry

    def edge_points(self, spacing: float) -> EdgePoints:
        """Points every ``spacing`` metres along the outlines of the road surface, the outside on the right."""
        xy, outward, ring = [], [], []
        outlines = [
            np.asarray(line.coords)[:, :2]
            for polygon in shapely.get_parts(self.surface)
            for line in (orient(polygon).exterior, *orient(polygon).interiors)
        ]
        for number, line in enumerate(outlines):
            step = np.linalg.norm(np.diff(line, axis=0), axis=1)
            s = np.concatenate([[0.0], np.cumsum(step)])
            at = np.arange(0.5 * spacing, s[-1], spacing)
            if not len(at):
                continue
            point = np.stack([np.interp(at, s, line[:, 0]), np.interp(at, s, line[:, 1])], axis=1)
            ahead = np.stack([np.interp(at + 0.5, s, line[:, 0]), np.interp(at + 0.5, s, line[:, 1])], axis=1)
            behind = np.stack([np.interp(at - 0.5, s, line[:, 0]), np.interp(at - 0.5, s, line[:, 1])], axis=1)
            tangent = ahead - behind
            tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
            xy.append(point)
            outward.append(np.stack([tangent[:, 1], -tangent[:, 0]], axis=1))
            ring.append(np.full(len(at), number))
        if not xy:
            return EdgePoints(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, np.int64))
        return EdgePoints(np.concatenate(xy), np.concatenate(outward), np.concatenate(ring))


class Heights:
    """Ground height anywhere: that of the nearest point of a lane that rests on it."""

    def __init__(self, points: FloatArray) -> None:
        self._tree = cKDTree(points[:, :2])
        self._z = ground_heights(points)

    def at(self, xy: FloatArray) -> FloatArray:
        """Heights (N,) at map positions (N, 2)."""
        if not len(xy):
            return np.zeros(0)
        return self._z[self._tree.query(np.asarray(xy, np.float64))[1]]


def lane_polygon(lane: Lane) -> shapely.Geometry:
    """Outline of a lane in the plane."""
    return shapely.make_valid(shapely.Polygon(np.concatenate([lane.left[:, :2], lane.right[::-1, :2]])))


def make_layout(lane_map: LaneMap, config: SceneryConfig, parking: shapely.Geometry) -> Layout:
    """Regions of ``lane_map``; ``parking``: strips beside the lanes that are paved as well.

    Raises MapError for a map without lanes.
    """
    if not lane_map.lanes:
        raise MapError(f"{lane_map.name}: no lanes, so there is no road to build scenery along")
    lanes = [lane_map.lanes[i] for i in sorted(lane_map.lanes)]
    points = np.concatenate([np.concatenate([lane.left, lane.centerline, lane.right]) for lane in lanes])
    if not np.isfinite(points).all():
        raise MapError(f"{lane_map.name}: a lane has coordinates that are not finite")
    flat = bool(np.ptp(points[:, 2]) < FLAT)
    bays = shapely.union_all(
        [shapely.make_valid(shapely.Polygon(p.polygon[:, :2])) for _, p in sorted(lane_map.stopping_places.items())]
    )
    crosswalks = shapely.union_all(
        [shapely.make_valid(shapely.Polygon(c.polygon[:, :2])) for _, c in sorted(lane_map.crosswalks.items())]
    )
    drivable = shapely.union_all([*[lane_polygon(lane) for lane in lanes], bays])
    bridges = find_bridges(lanes)
    carried = not bridges.area.is_empty
    paved = shapely.union_all([*bridges.grounded(), bays, parking] if carried else [drivable, parking])
    surface = _buffer(_buffer(paved, config.closing + config.gutter), -config.closing)
    if flat:
        surface = shapely.simplify(surface, _SIMPLIFY)
    pavement = shapely.difference(_buffer(surface, config.pavement_width), surface)
    if flat:
        pavement = shapely.difference(shapely.simplify(_buffer(surface, config.pavement_width), _SIMPLIFY), surface)
    landings = shapely.Polygon()
    if carried:
        landings = bridges.landings(config.pavement_width + 2.0 * config.gutter, config.gutter)
        pavement = shapely.difference(pavement, landings)
    heights = Heights(bridges.ground_points() if carried else points)
    return Layout(drivable, bays, crosswalks, surface, pavement, _sight(lane_map), flat, heights, bridges, landings)


def _buffer(region: shapely.Geometry, distance: float) -> shapely.Geometry:
    return shapely.buffer(region, distance, quad_segs=_CORNER_SEGMENTS)


def _sight(lane_map: LaneMap) -> shapely.Geometry:
    """Corridors from the lanes before each signalled stop line to its heads."""
    lines = []
    for _, signal in sorted(lane_map.signals.items()):
        stop_line = lane_map.stop_lines.get(signal.stop_line_id)
        for lane_id in stop_line.lane_ids if stop_line else ():
            for point in _approach(lane_map, lane_id):
                lines.append(shapely.LineString([point, signal.position[:2]]))
    # buffered one by one: the buffer of many nearly collinear lines at once takes GEOS minutes
    return shapely.union_all([_buffer(line, _SIGHT_HALF_WIDTH) for line in lines])


def _approach(lane_map: LaneMap, lane_id: int) -> list[FloatArray]:
    """Points of the last metres before the end of a lane, its predecessors' included."""
    points, remaining, lane = [], _SIGHT_LENGTH, lane_map.lanes.get(lane_id)
    visited: set[int] = set()
    while lane is not None and remaining > 0.0 and lane.id not in visited:
        visited.add(lane.id)
        at = lane.length - np.arange(0.0, min(remaining, lane.length), _SIGHT_STEP)
        points += [np.array([np.interp(s, lane.s, lane.centerline[:, k]) for k in (0, 1)]) for s in at]
        remaining -= lane.length
        lane = lane_map.lanes.get(lane.predecessors[0]) if lane.predecessors else None
    return points
