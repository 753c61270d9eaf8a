"""Shapes of road users: cars, trucks, cyclists and pedestrians as templates scaled to each agent's box."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from robotaxi.sim.mesh import (
    Color,
    Float32Array,
    Material,
    Mesh,
    box,
    circle_ring,
    ellipsoid,
    fan,
    join,
    loft,
    make_mesh,
    place,
    quads,
    rectangle_ring,
)
from robotaxi.types import ObjectClass, RecordArray

PALETTE: Float32Array = np.array(
    [
        [0.86, 0.86, 0.87],  # white
        [0.62, 0.60, 0.58],  # silver
        [0.33, 0.32, 0.31],  # grey
        [0.10, 0.09, 0.09],  # black
        [0.16, 0.14, 0.62],  # red
        [0.55, 0.28, 0.12],  # blue
        [0.35, 0.18, 0.10],  # dark blue
        [0.22, 0.34, 0.16],  # green
        [0.22, 0.62, 0.80],  # yellow
        [0.55, 0.62, 0.70],  # beige
        [0.14, 0.36, 0.70],  # orange
        [0.20, 0.26, 0.34],  # brown
    ],
    dtype=np.float32,
)
"""Body and clothing colours, BGR; an agent's ``color`` counts modulo its length."""

_TINTED = (Material.PAINT, Material.CLOTH)
_GLASS: Color = (0.20, 0.17, 0.14)
_BLACK: Color = (0.06, 0.06, 0.06)
_TYRE: Color = (0.09, 0.09, 0.09)
_RIM: Color = (0.5, 0.5, 0.5)
_HEAD_LAMP: Color = (0.95, 0.95, 0.92)
_TAIL_LAMP: Color = (0.12, 0.10, 0.75)
_PLATE: Color = (0.85, 0.88, 0.88)
_SKIN: Color = (0.50, 0.62, 0.80)
_HAIR: Color = (0.10, 0.14, 0.20)
_TROUSERS: Color = (0.28, 0.22, 0.18)
_NEUTRAL: Color = (1.0, 1.0, 1.0)  # replaced by the agent's own colour


def road_users_mesh(agents: RecordArray, *, detail: bool) -> tuple[Mesh, NDArray[np.int64]]:
    """All ``agents`` (AGENT_DTYPE) in map, and for each triangle the index of its agent.

    Without ``detail`` wheels, lamps and plates are left out: a lidar cannot tell.
    """
    meshes, owners = [], []
    for label in np.unique(agents["label"]):
        index = np.flatnonzero(agents["label"] == label)
        group = agents[index]
        template = _template(int(label), detail)
        count, size = len(group), len(template)
        scale = np.stack([group["length"], group["width"], group["height"]], axis=1)
        placed = place(template.triangles, group["x"], group["y"], group["z"], group["yaw"], scale)
        color = np.tile(template.color, (count, 1))
        tinted = np.tile(np.isin(template.material, _TINTED) & (template.style == 0.0), count)
        color[tinted] = np.repeat(PALETTE[group["color"] % len(PALETTE)], size, axis=0)[tinted]
        meshes.append(make_mesh(placed, np.tile(template.material, count), color))
        owners.append(np.repeat(index, size))
    if not meshes:
        return join([]), np.zeros(0, np.int64)
    return join(meshes), np.concatenate(owners)


@functools.cache
def _template(label: int, detail: bool) -> Mesh:
    """Unit shape: x and y in -0.5..0.5, z in 0..1."""
    if label == ObjectClass.PEDESTRIAN:
        return _pedestrian(detail)
    if label == ObjectClass.BICYCLE:
        return _cyclist(detail)
    if label == ObjectClass.TRUCK:
        return _truck(detail)
    return _car(detail)


def _span(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a <= b else (b, a)


def _ring(x_lo: float, x_hi: float, half_width: float, z: float) -> NDArray[np.float64]:
    return rectangle_ring(x_lo, x_hi, -half_width, half_width, z)


def _wheels(x: tuple[float, ...], radius_x: float, radius_z: float, half_width: float) -> list[Mesh]:
    """Round wheels flush with the body's sides; the radii differ because a template is scaled per axis."""
    parts = []
    angle = np.arange(10) * (2.0 * np.pi / 10)
    for center in x:
        for side in (-1.0, 1.0):
            for share, color, out in ((1.0, _TYRE, 0.004), (0.6, _RIM, 0.008)):
                ring = np.stack(
                    [
                        center + share * radius_x * np.cos(angle),
                        np.full(10, side * (half_width + out)),
                        radius_z + share * radius_z * np.sin(angle),
                    ],
                    axis=1,
                )
                parts.append(make_mesh(fan(ring[::-1] if side > 0 else ring), Material.TYRE, color))
    return parts


def _plate(x: float, y: tuple[float, float], z: tuple[float, float]) -> NDArray[np.float64]:
    """Upright rectangle facing forward for x > 0, backward for x < 0."""
    corners = np.array([[x, y[0], z[0]], [x, y[1], z[0]], [x, y[1], z[1]], [x, y[0], z[1]]])
    return quads(corners if x > 0 else corners[::-1])


def _contact_shadow() -> Mesh:
    ring = rectangle_ring(-0.51, 0.51, -0.54, 0.54, 0.01)
    return make_mesh(fan(ring), Material.SHADOW, (0.30, 0.295, 0.29))


def _car(detail: bool) -> Mesh:
    sill = _ring(-0.48, 0.48, 0.47, 0.13)
    belly = _ring(-0.5, 0.5, 0.5, 0.32)
    shoulder = rectangle_ring(-0.49, 0.485, -0.49, 0.49, (0.62, 0.54, 0.54, 0.62))
    roof_base = rectangle_ring(-0.43, 0.27, -0.455, 0.455, (0.62, 0.56, 0.56, 0.62))
    roof = _ring(-0.32, 0.09, 0.37, 0.97)
    crown = _ring(-0.28, 0.06, 0.34, 1.0)
    parts = [
        make_mesh(loft(sill, belly, top=False, bottom=True), Material.PAINT, _NEUTRAL),
        make_mesh(loft(belly, shoulder), Material.PAINT, _NEUTRAL),
        make_mesh(loft(roof_base, roof, top=False), Material.GLASS, _GLASS),
        make_mesh(loft(roof, crown), Material.PAINT, _NEUTRAL),
    ]
    if not detail:
        return join(parts)
    parts += _wheels((-0.29, 0.30), 0.072, 0.21, 0.495)
    for side in (-1.0, 1.0):
        lamp = _span(side * 0.28, side * 0.46)
        parts.append(make_mesh(_plate(0.504, lamp, (0.38, 0.47)), Material.LAMP, _HEAD_LAMP))
        parts.append(make_mesh(_plate(-0.504, lamp, (0.44, 0.56)), Material.LAMP, _TAIL_LAMP))
        # door pillar: the gap between front and rear side window
        pillar = np.array(
            [[-0.06, 0.461, 0.6], [-0.11, 0.461, 0.6], [-0.11, 0.377, 0.96], [-0.07, 0.377, 0.96]]
        ) * np.array([1.0, side, 1.0])
        parts.append(make_mesh(quads(pillar if side > 0 else pillar[::-1]), Material.PAINT, _NEUTRAL))
    parts.append(make_mesh(_plate(0.505, (-0.22, 0.22), (0.22, 0.33)), Material.HOUSING, _BLACK))
    parts.append(make_mesh(_plate(-0.505, (-0.15, 0.15), (0.33, 0.41)), Material.SIGN, _PLATE))
    parts.append(_contact_shadow())
    return join(parts)


def _truck(detail: bool) -> Mesh:
    parts = [
        make_mesh(box((-0.5, 0.24), (-0.5, 0.5), (0.28, 1.0)), Material.PAINT, _NEUTRAL),
        make_mesh(box((0.26, 0.49), (-0.47, 0.47), (0.14, 0.5)), Material.PAINT, _NEUTRAL),
        make_mesh(loft(_ring(0.26, 0.495, 0.47, 0.5), _ring(0.26, 0.47, 0.45, 0.7), top=False), Material.GLASS, _GLASS),
        make_mesh(loft(_ring(0.26, 0.47, 0.45, 0.7), _ring(0.28, 0.45, 0.43, 0.8)), Material.PAINT, _NEUTRAL),
        make_mesh(box((-0.48, 0.46), (-0.4, 0.4), (0.12, 0.28)), Material.HOUSING, _BLACK),
    ]
    if not detail:
        return join(parts)
    parts += _wheels((-0.36, -0.24, 0.36), 0.062, 0.145, 0.475)
    for side in (-1.0, 1.0):
        lamp = _span(side * 0.3, side * 0.45)
        parts.append(make_mesh(_plate(0.497, lamp, (0.2, 0.26)), Material.LAMP, _HEAD_LAMP))
        parts.append(make_mesh(_plate(-0.503, lamp, (0.3, 0.35)), Material.LAMP, _TAIL_LAMP))
    parts.append(_contact_shadow())
    return join(parts)


def _person(x: float, z_lo: float, z_hi: float, half_x: float, half_y: float, detail: bool) -> list[Mesh]:
    """Torso, arms and head between two heights."""
    height = z_hi - z_lo
    neck, shoulder = z_lo + 0.68 * height, z_lo + 0.62 * height
    torso = loft(
        _ring(x - 0.5 * half_x, x + 0.5 * half_x, 0.55 * half_y, z_lo),
        _ring(x - 0.55 * half_x, x + 0.55 * half_x, 0.7 * half_y, shoulder),
        bottom=True,
    )
    parts = [
        make_mesh(torso, Material.CLOTH, _NEUTRAL),
        make_mesh(
            ellipsoid((x, 0.0, z_lo + 0.84 * height), (0.42 * half_x, 0.34 * half_y, 0.17 * height), 4, 6),
            Material.SKIN,
            _SKIN,
        ),
    ]
    if detail:
        for side in (-1.0, 1.0):
            arm = box(
                (x - 0.3 * half_x, x + 0.3 * half_x),
                _span(side * 0.7 * half_y, side * 0.98 * half_y),
                (z_lo - 0.05 * height, neck - 0.06 * height),
            )
            parts.append(make_mesh(arm, Material.CLOTH, _NEUTRAL))
        hair = ellipsoid(
            (x - 0.05 * half_x, 0.0, z_lo + 0.9 * height), (0.44 * half_x, 0.37 * half_y, 0.13 * height), 3, 6
        )
        parts.append(make_mesh(hair, Material.CLOTH, _HAIR, style=1.0))
    return parts


def _pedestrian(detail: bool) -> Mesh:
    parts = _person(0.0, 0.47, 1.0, 0.36, 0.5, detail)
    for side, forward in ((-1.0, 0.16), (1.0, -0.16)):  # mid-step
        hip = rectangle_ring(-0.16, 0.16, *_span(side * 0.02, side * 0.26), 0.5)
        foot = rectangle_ring(forward - 0.12, forward + 0.16, *_span(side * 0.06, side * 0.24), 0.0)
        parts.append(make_mesh(loft(foot, hip), Material.CLOTH, _TROUSERS, style=1.0))
    if detail:
        parts.append(_contact_shadow())
    return join(parts)


def _cyclist(detail: bool) -> Mesh:
    parts = _person(-0.02, 0.5, 1.0, 0.12, 0.5, detail)
    for side, forward in ((-1.0, 0.1), (1.0, 0.0)):
        hip = rectangle_ring(-0.07, 0.05, *_span(side * 0.03, side * 0.3), 0.52)
        foot = rectangle_ring(forward - 0.04, forward + 0.06, *_span(side * 0.1, side * 0.28), 0.12)
        parts.append(make_mesh(loft(foot, hip), Material.CLOTH, _TROUSERS, style=1.0))
    for center in (-0.3, 0.3):  # rim and tyre as a thin disc standing on edge
        flat = circle_ring(0.0, 0.0, 0.0, 1.0, 12)
        left = np.stack([center + 0.19 * flat[:, 0], np.full(12, -0.05), 0.19 + 0.19 * flat[:, 1]], axis=1)
        right = left * np.array([1.0, -1.0, 1.0])
        rim = np.concatenate([fan(left), fan(right[::-1]), loft(right, left, top=False)])
        parts.append(make_mesh(rim, Material.TYRE, _TYRE))
    parts.append(make_mesh(box((-0.28, 0.26), (-0.06, 0.06), (0.26, 0.42)), Material.METAL, (0.25, 0.25, 0.55)))
    parts.append(make_mesh(box((0.2, 0.26), (-0.45, 0.45), (0.54, 0.57)), Material.METAL, _BLACK))
    if detail:
        parts.append(_contact_shadow())
    return join(parts)
