"""Where pedestrians of CARLA's client may walk: pavements, crosswalks and, for those who cross anywhere, the road."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
import shapely

from robotaxi.carla_link.server.detour import MAX_POLYGONS, MAX_VERTICES, NavigationMesh, encode, merged
from robotaxi.hdmap.lane_map import Crosswalk, LaneMap
from robotaxi.sim.scenery import SceneryConfig
from robotaxi.sim.scenery.layout import Layout, make_layout
from robotaxi.sim.scenery.parking import place_parked
from robotaxi.types import RecordArray

_BODY = 0.35  # m that a walker's middle keeps from walls, posts and kerbs
_REACH = 3.0  # m that crosswalks are drawn out to the pavements on both sides
_DETAIL = (0.15, 0.4, 1.0, 2.5)  # m: outlines may be off by so much; the first that fits into a tile is taken
_GRID = 0.01  # m: corners are where this grid has a point


class Area(IntEnum):
    """Kinds of ground as CARLA numbers them."""

    PAVEMENT = 1
    CROSSWALK = 2
    ROAD = 3


class Flag(IntFlag):
    PAVEMENT = 0x02
    CROSSWALK = 0x04
    ROAD = 0x08


def navigation_mesh(lane_map: LaneMap, layout: Layout | None, obstacles: RecordArray) -> bytes:
    """The mesh as CARLA's client loads it; empty where there is nothing to walk on.

    ``layout`` None: it is worked out. ``obstacles``: oriented boxes (x, y, yaw, length, width) to walk around.
    """
    if layout is None:
        config = SceneryConfig()
        layout = make_layout(lane_map, config, place_parked(lane_map, config)[1])
    regions = _regions(lane_map, layout, obstacles)
    for detail in _DETAIL:
        mesh = _mesh(regions, detail, layout)
        if mesh is None:
            return b""
        if len(mesh.polygons) <= MAX_POLYGONS and len(mesh.vertices) <= MAX_VERTICES:
            return encode(mesh)
    return b""


def _regions(lane_map: LaneMap, layout: Layout, obstacles: RecordArray) -> list[tuple[Area, Flag, shapely.Geometry]]:
    """Disjoint regions. A strip along the kerb counts as road, so that nobody walks on its edge."""
    everything = shapely.union_all([layout.surface, layout.pavement])
    walkable = shapely.difference(shapely.buffer(everything, -_BODY, quad_segs=2), _solid(obstacles))
    pavement = shapely.difference(layout.pavement, shapely.buffer(layout.surface, _BODY, quad_segs=2))
    pavement = shapely.intersection(pavement, walkable)
    stripes = shapely.union_all([_stripe(crosswalk) for _, crosswalk in sorted(lane_map.crosswalks.items())])
    crosswalks = shapely.difference(shapely.intersection(stripes, walkable), pavement)
    road = shapely.difference(walkable, shapely.union_all([pavement, crosswalks]))
    return [
        (Area.PAVEMENT, Flag.PAVEMENT, pavement),
        (Area.CROSSWALK, Flag.CROSSWALK, crosswalks),
        (Area.ROAD, Flag.ROAD, road),
    ]


def _solid(obstacles: RecordArray) -> shapely.Geometry:
    if not len(obstacles):
        return shapely.Polygon()
    c, s = np.cos(obstacles["yaw"]), np.sin(obstacles["yaw"])
    half_length, half_width = obstacles["length"] / 2.0 + _BODY, obstacles["width"] / 2.0 + _BODY
    corners = np.empty((len(obstacles), 4, 2))
    for k, (a, b) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        along, aside = a * half_length, b * half_width
        corners[:, k, 0] = obstacles["x"] + c * along - s * aside
        corners[:, k, 1] = obstacles["y"] + s * along + c * aside
    return shapely.union_all(shapely.polygons(corners))


def _stripe(crosswalk: Crosswalk) -> shapely.Geometry:
    """The crosswalk with its ends drawn out along its walking line."""
    polygon = shapely.make_valid(shapely.Polygon(crosswalk.polygon[:, :2]))
    a, b = crosswalk.axis[:, :2]
    length = float(np.hypot(*(b - a)))
    if length < 0.1:
        return polygon
    along = (b - a) / length * _REACH
    half = max(0.5 * polygon.area / length, 0.75)
    line = shapely.LineString([a - along, b + along])
    return shapely.union(polygon, shapely.buffer(line, half, cap_style="flat"))


def _mesh(regions: list[tuple[Area, Flag, shapely.Geometry]], detail: float, layout: Layout) -> NavigationMesh | None:
    """Polygons whose corners meet, also those of two regions; None without any."""
    outlines = shapely.union_all([shapely.boundary(region) for _, _, region in regions], grid_size=_GRID)
    found = shapely.get_parts(shapely.polygonize([outlines]))
    faces = np.asarray(found[shapely.area(found) > 0.05])
    if not len(faces):
        return None
    inside = shapely.point_on_surface(faces)
    kind = np.full(len(faces), -1)
    for k, (_, _, region) in enumerate(regions):
        shapely.prepare(region)
        kind[shapely.contains(region, inside)] = k
    outlined = shapely.coverage_simplify(faces[kind >= 0], detail)
    triangles = shapely.constrained_delaunay_triangles(outlined)
    parts, of = shapely.get_parts(triangles, return_index=True)
    if not len(parts):
        return None
    corners = shapely.get_coordinates(parts).reshape(-1, 4, 2)[:, :3]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    corners[cross < 0.0] = corners[cross < 0.0][:, ::-1]
    whole = np.abs(cross) > 1e-6
    corners, group = corners[whole], kind[kind >= 0][of][whole]
    xy, index = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    vertices = np.column_stack([xy, layout.height.at(xy)])
    polygons, groups = merged(vertices, index.reshape(-1, 3), group)
    areas, flags = [int(regions[k][0]) for k in groups], [int(regions[k][1]) for k in groups]
    return NavigationMesh(vertices, polygons, areas, flags)
