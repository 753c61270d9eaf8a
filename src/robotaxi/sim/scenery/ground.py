"""The ground: road, kerbs, pavement and grass, a partition of the plane cut into tiles; and bridges over it."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.polygon import orient

from robotaxi.sim.mesh import Color, Material, Mesh, join, make_mesh, quads
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.layout import Layout

ROAD_COLOR: Color = (0.30, 0.295, 0.29)
PAVEMENT_COLOR: Color = (0.56, 0.585, 0.60)
KERB_COLOR: Color = (0.68, 0.69, 0.70)
GRASS_COLOR: Color = (0.17, 0.40, 0.31)
CONCRETE_COLOR: Color = (0.55, 0.56, 0.56)
_THICKNESS = 0.8  # m of a bridge
_DRAPE = 4.0  # m, edges of ground that is not flat are bent so often to lie on it


def ground_mesh(layout: Layout, config: SceneryConfig) -> Mesh:
    """Everything one can walk or drive on, with the kerb's upright face."""
    x_lo, y_lo, x_hi, y_hi = (float(v) for v in shapely.bounds(layout.surface))
    margin, tile = config.ground_margin, config.tile
    xs = np.arange(np.floor((x_lo - margin) / tile), np.ceil((x_hi + margin) / tile)) * tile
    ys = np.arange(np.floor((y_lo - margin) / tile), np.ceil((y_hi + margin) / tile)) * tile
    corner_x, corner_y = (v.ravel() for v in np.meshgrid(xs, ys, indexing="ij"))
    tiles = shapely.box(corner_x, corner_y, corner_x + tile, corner_y + tile)
    built = shapely.union_all([layout.surface, layout.pavement])
    if not layout.landings.is_empty:
        built = shapely.union(built, layout.landings)
    kerb = config.kerb_height
    parts = [
        _region(_cut(tiles, layout.surface), 0.0, Material.ROAD, ROAD_COLOR, layout),
        _region(_cut(tiles, layout.pavement), kerb, Material.PAVEMENT, PAVEMENT_COLOR, layout),
        _region(_remaining(tiles, built), kerb, Material.GRASS, GRASS_COLOR, layout),
        _kerbs(layout, kerb),
        _bridges(layout),
        _horizon(float(xs[0]), float(ys[0]), float(xs[-1] + tile), float(ys[-1] + tile), layout, config),
    ]
    return join(parts)


def _cut(tiles: np.ndarray, region: shapely.Geometry) -> np.ndarray:
    shapely.prepare(region)
    touched = tiles[shapely.intersects(region, tiles)]
    return shapely.intersection(touched, region)


def _remaining(tiles: np.ndarray, built: shapely.Geometry) -> np.ndarray:
    shapely.prepare(built)
    touched = shapely.intersects(built, tiles)
    local = shapely.intersection(tiles[touched], built)  # a small piece each: faster to subtract than the whole
    return np.concatenate([tiles[~touched], shapely.difference(tiles[touched], local)])


def _region(pieces: np.ndarray, lift: float, material: Material, color: Color, layout: Layout) -> Mesh:
    """Triangulate (multi)polygons and drape them on the ground."""
    polygons = shapely.get_parts(pieces if layout.flat else shapely.segmentize(pieces, _DRAPE))
    polygons = polygons[(shapely.get_type_id(polygons) == 3) & (shapely.area(polygons) > 1e-4)]
    if not len(polygons):
        return join([])
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(polygons))
    xy = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3]
    turn = (xy[:, 1, 0] - xy[:, 0, 0]) * (xy[:, 2, 1] - xy[:, 0, 1]) - (xy[:, 1, 1] - xy[:, 0, 1]) * (
        xy[:, 2, 0] - xy[:, 0, 0]
    )
    xy[turn < 0.0] = xy[turn < 0.0][:, ::-1]
    xy = xy[np.abs(turn) > 1e-6]
    z = layout.height.at(xy.reshape(-1, 2)).reshape(-1, 3, 1) + lift
    return make_mesh(np.concatenate([xy, z], axis=2), material, color)


def _kerbs(layout: Layout, kerb: float) -> Mesh:
    """Upright faces along the outlines of the road, turned to the road."""
    walls = []
    shapely.prepare(layout.landings)
    for polygon in shapely.get_parts(layout.surface if layout.flat else shapely.segmentize(layout.surface, _DRAPE)):
        outline = orient(polygon)
        for line in (outline.exterior, *outline.interiors):
            xy = np.asarray(line.coords)[:, :2]
            low = np.column_stack([xy, layout.height.at(xy)])
            high = low + np.array([0.0, 0.0, kerb])
            wall = np.stack([low[1:], low[:-1], high[:-1], high[1:]], axis=1)  # seen from the left: the road
            middle = 0.5 * (xy[1:] + xy[:-1])
            walls.append(wall[~shapely.contains_xy(layout.landings, middle)])
    return make_mesh(quads(np.concatenate(walls)), Material.KERB, KERB_COLOR)


def _bridges(layout: Layout) -> Mesh:
    """Carriageways, with faces below and at the sides."""
    top = layout.bridges.decks()
    low = top - np.array([0.0, 0.0, _THICKNESS])
    sides = [np.stack([low[:, a], low[:, b], top[:, b], top[:, a]], axis=1) for a, b in ((0, 1), (2, 3))]
    return join(
        [
            make_mesh(quads(top), Material.ROAD, ROAD_COLOR),
            make_mesh(quads(np.concatenate([low[:, ::-1], *sides])), Material.PAVEMENT, CONCRETE_COLOR),
        ]
    )


def _horizon(x_lo: float, y_lo: float, x_hi: float, y_hi: float, layout: Layout, config: SceneryConfig) -> Mesh:
    """Plain grass around the detailed ground, up to where haze swallows it."""
    far = config.horizon
    xs = (x_lo - far, x_lo, x_hi, x_hi + far)
    ys = (y_lo - far, y_lo, y_hi, y_hi + far)
    cells = []
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                cells.append([(xs[i], ys[j]), (xs[i + 1], ys[j]), (xs[i + 1], ys[j + 1]), (xs[i], ys[j + 1])])
    xy = np.array(cells)
    z = layout.height.at(xy.reshape(-1, 2)).reshape(-1, 4, 1) + config.kerb_height
    return make_mesh(quads(np.concatenate([xy, z], axis=2)), Material.GRASS, GRASS_COLOR)
