"""Solids of what stands beside the road: buildings, trees, posts, signs and signal heads."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap, Signal
from robotaxi.sim.mesh import (
    Color,
    Material,
    Mesh,
    box,
    circle_ring,
    ellipsoid,
    fan,
    instances,
    join,
    loft,
    make_mesh,
    normals,
    place,
    quads,
    rectangle_ring,
)
from robotaxi.sim.scenery.placement import Placement
from robotaxi.types import RecordArray

STOREY = 3.1  # m
PLINTH = 0.6  # m of a facade below its first storey
GABLE_RISE = 3.2  # m
LAMP_POST_HEIGHT = 7.0  # m
SIGN_HEIGHT = 2.3  # m, centre of the plate

FACADE_COLORS: tuple[Color, ...] = (
    (0.62, 0.74, 0.80),  # sand
    (0.78, 0.82, 0.84),  # off-white
    (0.40, 0.50, 0.68),  # brick
    (0.62, 0.62, 0.60),  # concrete
    (0.55, 0.70, 0.82),  # ochre
    (0.72, 0.70, 0.62),  # pale blue
    (0.35, 0.40, 0.55),  # dark brick
)
_ROOF_COLORS: tuple[Color, ...] = ((0.24, 0.28, 0.50), (0.28, 0.28, 0.30), (0.25, 0.32, 0.42))
_FLAT_ROOF: Color = (0.42, 0.42, 0.42)
_STEEL: Color = (0.46, 0.46, 0.45)
_BLACK: Color = (0.05, 0.05, 0.05)
_TRUNK: Color = (0.16, 0.24, 0.33)
_LEAF_DARK = np.array([0.10, 0.30, 0.17])
_LEAF_LIGHT = np.array([0.17, 0.50, 0.36])
_SIGN_RED: Color = (0.12, 0.10, 0.78)
_SIGN_WHITE: Color = (0.92, 0.92, 0.92)
_FOUNDATION = 1.0  # m of a wall below the ground
_PARAPET_OUT, _PARAPET_HEIGHT = 0.15, 0.45  # m
_EAVES = 0.45  # m
_HEAD_DEPTH = 0.22  # m
_BACKBOARD = 0.14  # m that the backboard stands out on every side


def buildings_mesh(buildings: RecordArray) -> Mesh:
    """Walls with storeys, and flat or gabled roofs."""
    half = 0.5 * np.stack([buildings["width"], buildings["length"]], axis=1)
    top = PLINTH + STOREY * buildings["storeys"]
    wall = np.array(FACADE_COLORS)[(buildings["style"] * 997).astype(np.int64) % len(FACADE_COLORS)]
    roof = np.array(_ROOF_COLORS)[(buildings["style"] * 499).astype(np.int64) % len(_ROOF_COLORS)]
    gable = buildings["gable"]
    base = buildings["z"] + PLINTH

    shell = loft(rectangle_ring(-1, 1, -1, 1, 0), rectangle_ring(-1, 1, -1, 1, 1), top=False)
    walls = _stand(shell, buildings, np.column_stack([half, top + _FOUNDATION]), -_FOUNDATION)
    rim = loft(rectangle_ring(-1, 1, -1, 1, 0), rectangle_ring(-1, 1, -1, 1, 1), bottom=True)
    flat = buildings[~gable]
    parapet_size = np.column_stack([half[~gable] + _PARAPET_OUT, np.full(len(flat), _PARAPET_HEIGHT)])
    parapets = _stand(rim, flat, parapet_size, top[~gable])
    slopes, ends = _gables(half[gable], top[gable])
    slopes, ends = _stand(slopes, buildings[gable]), _stand(ends, buildings[gable])

    def each(values: NDArray[np.float64], placed: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.repeat(values, placed.shape[1], axis=0)

    return join(
        [
            make_mesh(
                walls,
                Material.FACADE,
                each(wall, walls),
                each(base, walls),
                each(buildings["style"], walls),
                _wall_spans(walls.reshape(-1, 3, 3)),
            ),
            make_mesh(parapets, Material.ROOF, _FLAT_ROOF),
            make_mesh(slopes, Material.ROOF, each(roof[gable], slopes)),
            make_mesh(ends, Material.ROOF, each(wall[gable], ends)),
        ]
    )


def _wall_spans(walls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Start and end of upright triangles (T, 3, 3) along their horizontal direction, (T, 2)."""
    normal = normals(walls)
    along = -normal[:, None, 1] * walls[:, :, 0] + normal[:, None, 0] * walls[:, :, 1]
    return np.stack([along.min(axis=1), along.max(axis=1)], axis=1)


def _stand(
    shape: NDArray[np.float64],
    buildings: RecordArray,
    scale: NDArray[np.float64] | float = 1.0,
    lift: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """A shape for all (T, 3, 3), or one for each building (N, T, 3, 3), at the buildings' places."""
    return place(shape, buildings["x"], buildings["y"], buildings["z"] + lift, buildings["yaw"], scale)


def _gables(half: NDArray[np.float64], top: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two slopes with eaves (N, 8, 3, 3), and the walls' end triangles (N, 2, 3, 3); ridges run along the road."""
    half_x, half_y, zero, ridge = half[:, 0], half[:, 1], np.zeros(len(half)), top + GABLE_RISE
    out_x, out_y, low = half_x + _EAVES, half_y + _EAVES, top - GABLE_RISE * _EAVES / half_x

    def corners(*points: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
        return np.stack([np.stack(point, axis=1) for point in points], axis=1)

    front = corners((out_x, -out_y, low), (out_x, out_y, low), (zero, out_y, ridge), (zero, -out_y, ridge))
    back = front * np.array([-1.0, -1.0, 1.0])
    sides = np.stack([front, back, front[:, ::-1], back[:, ::-1]], axis=1)  # from above, then from below
    slopes = quads(sides.reshape(-1, 4, 3)).reshape(len(half), 8, 3, 3)
    right = corners((-half_x, -half_y, top), (half_x, -half_y, top), (zero, -half_y, ridge))
    return slopes, np.stack([right, right * np.array([-1.0, -1.0, 1.0])], axis=1)


def trees_mesh(trees: RecordArray) -> Mesh:
    """Trunks with a ragged crown: a few variants, scaled and turned."""
    parts = []
    variant = (trees["style"] * 3.999).astype(np.int64)
    for kind in range(4):
        for conifer in (False, True):
            group = trees[(variant == kind) & (trees["conifer"] == conifer)]
            if not len(group):
                continue
            template = _conifer() if conifer else _broadleaf(kind)
            scale = np.stack([group["crown_radius"], group["crown_radius"], group["height"]], axis=1)
            mesh = instances(template, group["x"], group["y"], group["z"], group["yaw"], scale)
            shade = 0.8 + 0.4 * np.mod(group["style"] * 37.0, 1.0)
            mesh.color[:] *= np.repeat(shade, len(template))[:, None].astype(np.float32)
            parts.append(mesh)
    return join(parts)


def _broadleaf(variant: int) -> Mesh:
    """Unit tree: crown radius 1, height 1; the crown starts where people pass below it."""
    rng = np.random.default_rng([variant, 77])
    trunk = loft(circle_ring(0, 0, -0.02, 0.13, 6), circle_ring(0, 0, 0.55, 0.08, 6), top=False)
    crown = ellipsoid((0.0, 0.0, 0.68), (1.0, 1.0, 0.32), 5, 8)
    # the same corner moves the same way in every triangle, so that the crown stays closed
    keys, inverse = np.unique(np.round(crown.reshape(-1, 3), 6), axis=0, return_inverse=True)
    stretch = rng.uniform(0.8, 1.08, len(keys))[inverse.ravel()].reshape(-1, 3, 1)
    middle = np.array([0.0, 0.0, 0.68])
    crown = middle + (crown - middle) * stretch
    return _tree(trunk, crown)


def _conifer() -> Mesh:
    trunk = loft(circle_ring(0, 0, -0.02, 0.12, 6), circle_ring(0, 0, 0.3, 0.1, 6), top=False)
    cones = [
        loft(circle_ring(0, 0, z, r, 7), circle_ring(0, 0, z + 0.36, 0.06 * r, 7), bottom=True)
        for z, r in ((0.18, 1.0), (0.4, 0.78), (0.63, 0.5))
    ]
    return _tree(trunk, np.concatenate(cones))


def _tree(trunk: NDArray[np.float64], crown: NDArray[np.float64]) -> Mesh:
    height = crown[:, :, 2].mean(axis=1)
    share = np.clip((height - height.min()) / max(float(np.ptp(height)), 1e-9), 0.0, 1.0)[:, None]
    leaf = (1.0 - share) * _LEAF_DARK + share * _LEAF_LIGHT
    return join([make_mesh(trunk, Material.TRUNK, _TRUNK), make_mesh(crown, Material.FOLIAGE, leaf)])


def posts_mesh(posts: RecordArray) -> Mesh:
    """Lamp posts and traffic signs."""
    parts = []
    for kind, template in (
        ("lamp", _lamp_post()),
        ("stop", _sign(8, _SIGN_RED, None)),
        ("yield", _sign(3, _SIGN_RED, _SIGN_WHITE)),
        ("limit", _sign(14, _SIGN_RED, _SIGN_WHITE)),
    ):
        group = posts[posts["kind"] == kind]
        if len(group):
            parts.append(instances(template, group["x"], group["y"], group["z"], group["yaw"]))
    return join(parts)


def _lamp_post() -> Mesh:
    mast = loft(circle_ring(0, 0, -0.2, 0.09, 6), circle_ring(0, 0, LAMP_POST_HEIGHT, 0.05, 6))
    arm = box((0.0, 1.5), (-0.04, 0.04), (LAMP_POST_HEIGHT - 0.1, LAMP_POST_HEIGHT))
    lantern = box((1.2, 1.9), (-0.13, 0.13), (LAMP_POST_HEIGHT - 0.16, LAMP_POST_HEIGHT - 0.02))
    return join(
        [make_mesh(np.concatenate([mast, arm]), Material.METAL, _STEEL), make_mesh(lantern, Material.METAL, (0.3,) * 3)]
    )


def _sign(sides: int, rim: Color, face: Color | None) -> Mesh:
    """Post with a plate facing +x; a triangle stands on its tip, as a yield sign does."""
    post = loft(circle_ring(0, 0, -0.2, 0.035, 5), circle_ring(0, 0, SIGN_HEIGHT + 0.3, 0.035, 5))
    radius = 0.45 if sides == 3 else 0.36
    angle = (np.arange(sides) + (0.0 if sides == 3 else 0.5)) * (2.0 * np.pi / sides) - 0.5 * np.pi

    def disc(x: float, share: float) -> NDArray[np.float64]:
        return np.stack(
            [
                np.full(sides, x),
                share * radius * np.cos(angle),
                SIGN_HEIGHT + share * radius * np.sin(angle),
            ],
            axis=1,
        )

    parts = [
        make_mesh(post, Material.METAL, _STEEL),
        make_mesh(fan(disc(0.05, 1.0)), Material.SIGN, rim),
        make_mesh(fan(disc(0.045, 1.0)[::-1]), Material.METAL, _STEEL),
    ]
    if face is not None:
        parts.append(make_mesh(fan(disc(0.058, 0.68)), Material.SIGN, face))
    return join(parts)


def signals_mesh(lane_map: LaneMap, masts: RecordArray) -> Mesh:
    """A mast for each head, an arm to it where it hangs over the road, and its housing with a backboard."""
    parts = []
    for mast in masts:
        signal = lane_map.signals[int(mast["signal_id"])]
        parts.append(_housing(signal))
        x, y, z = float(mast["x"]), float(mast["y"]), float(mast["z"])
        top = float(signal.position[2]) + 0.5 * signal.height
        pole = loft(circle_ring(x, y, z - 0.2, 0.1, 8), circle_ring(x, y, top + 0.1, 0.07, 8))
        parts.append(make_mesh(pole, Material.METAL, _STEEL))
        behind = np.array([-math.cos(signal.yaw), -math.sin(signal.yaw)]) * (_HEAD_DEPTH * 0.8)
        end = signal.position[:2] + behind
        reach = float(np.hypot(end[0] - x, end[1] - y))
        arm = box((0.0, reach), (-0.05, 0.05), (-0.05, 0.05))
        yaw = math.atan2(end[1] - y, end[0] - x)
        parts.append(make_mesh(place(arm, x, y, float(signal.position[2]) + 0.3, yaw), Material.METAL, _STEEL))
    return join(parts)


def _housing(signal: Signal) -> Mesh:
    """Dark case whose front face lies at the signal's position, so that its lamps do too."""
    half_w, half_h = 0.5 * signal.width, 0.5 * signal.height
    case = box((-_HEAD_DEPTH, -0.01), (-half_w, half_w), (-half_h, half_h))
    wide, tall = half_w + _BACKBOARD, half_h + _BACKBOARD
    board = box((-_HEAD_DEPTH * 0.5 - 0.02, -_HEAD_DEPTH * 0.5), (-wide, wide), (-tall, tall))
    solid = np.concatenate([case, board])
    x, y, z = signal.position
    return make_mesh(place(solid, x, y, z, signal.yaw), Material.HOUSING, _BLACK)


def objects_mesh(lane_map: LaneMap, placement: Placement) -> Mesh:
    """Everything of a placement."""
    return join(
        [
            buildings_mesh(placement.buildings),
            trees_mesh(placement.trees),
            posts_mesh(placement.posts),
            signals_mesh(lane_map, placement.masts),
        ]
    )
