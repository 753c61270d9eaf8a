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
    place,
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
_HEAD_DEPTH = 0.22  # m
_BACKBOARD = 0.14  # m that the backboard stands out on every side


def buildings_mesh(buildings: RecordArray) -> Mesh:
    """Walls with storeys, and flat or gabled roofs."""
    parts = []
    for b in buildings:
        half_x, half_y = 0.5 * float(b["width"]), 0.5 * float(b["length"])
        top = PLINTH + STOREY * int(b["storeys"])
        style = float(b["style"])
        wall = FACADE_COLORS[int(style * 997) % len(FACADE_COLORS)]
        roof = _ROOF_COLORS[int(style * 499) % len(_ROOF_COLORS)]
        low = rectangle_ring(-half_x, half_x, -half_y, half_y, -1.0)
        high = rectangle_ring(-half_x, half_x, -half_y, half_y, top)
        position = (b["x"], b["y"], b["z"], b["yaw"])
        walls = place(loft(low, high, top=False), *position)
        base = float(b["z"]) + PLINTH
        parts.append(make_mesh(walls, Material.FACADE, wall, base, style))
        if b["gable"]:
            slopes, ends = _gable(half_x, half_y, top)
            parts.append(make_mesh(place(slopes, *position), Material.ROOF, roof))
            parts.append(make_mesh(place(ends, *position), Material.ROOF, wall))
        else:
            parapet = rectangle_ring(-half_x - 0.15, half_x + 0.15, -half_y - 0.15, half_y + 0.15, top)
            rim = parapet + np.array([0.0, 0.0, 0.45])
            parts.append(make_mesh(place(loft(parapet, rim, bottom=True), *position), Material.ROOF, _FLAT_ROOF))
    return join(parts)


def _gable(half_x: float, half_y: float, top: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two slopes with eaves, and the triangles of wall at the ends; the ridge runs along the road."""
    eaves, ridge = 0.45, top + GABLE_RISE
    drop = GABLE_RISE * eaves / half_x
    out_x, out_y = half_x + eaves, half_y + eaves
    front = [(out_x, -out_y, top - drop), (out_x, out_y, top - drop), (0.0, out_y, ridge), (0.0, -out_y, ridge)]
    back = [(-x, -y, z) for x, y, z in front]
    under = [ring[::-1] for ring in (front, back)]
    slopes = np.concatenate([fan(np.array(ring)) for ring in (front, back, *under)])
    ends = []
    for side in (-1.0, 1.0):
        ring = np.array([(-half_x, side * half_y, top), (half_x, side * half_y, top), (0.0, side * half_y, ridge)])
        ends.append(fan(ring if side < 0 else ring[::-1]))
    return slopes, np.concatenate(ends)


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
    crown = ellipsoid((0.0, 0.0, 0.68), (1.0, 1.0, 0.32), 6, 10)
    # the same corner moves the same way in every triangle, so that the crown stays closed
    keys, inverse = np.unique(np.round(crown.reshape(-1, 3), 6), axis=0, return_inverse=True)
    stretch = rng.uniform(0.8, 1.08, len(keys))[inverse.ravel()].reshape(-1, 3, 1)
    middle = np.array([0.0, 0.0, 0.68])
    crown = middle + (crown - middle) * stretch
    return _tree(trunk, crown)


def _conifer() -> Mesh:
    trunk = loft(circle_ring(0, 0, -0.02, 0.12, 6), circle_ring(0, 0, 0.3, 0.1, 6), top=False)
    cones = [
        loft(circle_ring(0, 0, z, r, 8), circle_ring(0, 0, z + 0.36, 0.06 * r, 8), bottom=True)
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
    return make_mesh(place(solid, *signal.position, signal.yaw), Material.HOUSING, _BLACK)


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
