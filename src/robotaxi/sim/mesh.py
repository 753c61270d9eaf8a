"""Triangle meshes with materials, and the few solids that the simulated world is made of.

A mesh is flat arrays over its triangles, counter-clockwise seen from outside, so that lidar and camera
read the same memory. Colours are BGR, 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32Array = NDArray[np.float32]
Color = tuple[float, float, float]


class Material(IntEnum):
    """What a triangle is made of: decides lidar reflectivity and the camera's texture."""

    ROAD = 0
    MARKING = 1
    PAVEMENT = 2
    KERB = 3
    GRASS = 4
    FACADE = 5
    ROOF = 6
    TRUNK = 7
    FOLIAGE = 8
    METAL = 9
    HOUSING = 10  # matt black plastic
    SIGN = 11  # retroreflective sheet
    PAINT = 12
    GLASS = 13
    TYRE = 14
    CLOTH = 15
    SKIN = 16
    LAMP = 17  # head and tail lamps
    SHADOW = 18  # contact shadow below a road user; the lidar does not see it


REFLECTIVITY = np.array(
    [0.15, 0.6, 0.35, 0.3, 0.45, 0.4, 0.25, 0.3, 0.5, 0.4, 0.08, 0.95, 0.45, 0.12, 0.06, 0.35, 0.5, 0.8, 0.15],
    dtype=np.float32,
)
"""Diffuse reflectivity at 905 nm by Material, orders of magnitude as in lidar makers' target tables."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """``triangles`` (T, 3, 3) float32, metres; ``material`` (T,) uint8; ``color`` (T, 3) float32.

    Of a facade, ``base`` (T,) float32 is the height at which its storeys start, ``style`` (T,) in 0..1
    tells one from another, and ``span`` (T, 2) is where its wall starts and ends, measured along the
    wall's horizontal direction (-ny, nx). All are zero where they mean nothing.
    """

    triangles: Float32Array
    material: NDArray[np.uint8]
    color: Float32Array
    base: Float32Array
    style: Float32Array
    span: Float32Array

    def __len__(self) -> int:
        return len(self.triangles)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Mesh:
        """The triangles that ``index`` selects, in its order."""
        return Mesh(*(getattr(self, name)[index] for name in self.__slots__))


def make_mesh(
    triangles: ArrayLike,
    material: ArrayLike,
    color: ArrayLike,
    base: ArrayLike = 0.0,
    style: ArrayLike = 0.0,
    span: ArrayLike = (0.0, 0.0),
) -> Mesh:
    """Mesh from triangles (T, 3, 3); the other arguments may be one value for all."""
    corners = np.ascontiguousarray(triangles, np.float32).reshape(-1, 3, 3)
    count = len(corners)
    return Mesh(
        corners,
        np.array(np.broadcast_to(np.asarray(material, np.uint8), (count,))),
        np.array(np.broadcast_to(np.asarray(color, np.float32), (count, 3))),
        np.array(np.broadcast_to(np.asarray(base, np.float32), (count,))),
        np.array(np.broadcast_to(np.asarray(style, np.float32), (count,))),
        np.array(np.broadcast_to(np.asarray(span, np.float32), (count, 2))),
    )


def join(meshes: Iterable[Mesh]) -> Mesh:
    """One mesh of many, in their order."""
    parts = [m for m in meshes if len(m)]
    if not parts:
        return make_mesh(np.zeros((0, 3, 3)), Material.ROAD, (0.0, 0.0, 0.0))
    return Mesh(*(np.concatenate([getattr(m, name) for m in parts]) for name in Mesh.__slots__))


def normals(triangles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit normals (T, 3); zero for a degenerate triangle."""
    corners = np.asarray(triangles, np.float64)
    cross = _cross(corners)
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    return cross / np.where(length > 0.0, length, 1.0)


def quads(corners: ArrayLike) -> NDArray[np.float64]:
    """(N, 4, 3) counter-clockwise quadrilaterals to (2 N, 3, 3) triangles."""
    corner = np.asarray(corners, np.float64).reshape(-1, 4, 3)
    return np.stack([corner[:, [0, 1, 2]], corner[:, [0, 2, 3]]], axis=1).reshape(-1, 3, 3)


def fan(ring: ArrayLike) -> NDArray[np.float64]:
    """A convex ring (N, 3), counter-clockwise from outside, to (N - 2, 3, 3)."""
    points = np.asarray(ring, np.float64)
    first = np.broadcast_to(points[0], (len(points) - 2, 3))
    return np.stack([first, points[1:-1], points[2:]], axis=1)


def loft(lower: ArrayLike, upper: ArrayLike, *, top: bool = True, bottom: bool = False) -> NDArray[np.float64]:
    """Sides between two convex rings (N, 3), both counter-clockwise from above, with their lids.

    The sides come first: two triangles for each edge, in ring order.
    """
    low, high = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    low_next, high_next = np.roll(low, -1, axis=0), np.roll(high, -1, axis=0)
    parts = [quads(np.stack([low, low_next, high_next, high], axis=1))]
    if top:
        parts.append(fan(high))
    if bottom:
        parts.append(fan(low[::-1]))
    return np.concatenate(parts)


def rectangle_ring(
    x_lo: float, x_hi: float, y_lo: float, y_hi: float, z: float | Sequence[float]
) -> NDArray[np.float64]:
    """Ring (4, 3): back right, front right, front left, back left; ``z`` one height or one for each corner."""
    ring = np.array([[x_lo, y_lo, 0.0], [x_hi, y_lo, 0.0], [x_hi, y_hi, 0.0], [x_lo, y_hi, 0.0]])
    ring[:, 2] = z
    return ring


def circle_ring(x: float, y: float, z: float, radius: float, sides: int) -> NDArray[np.float64]:
    """Regular polygon (sides, 3) at height z, counter-clockwise from above."""
    angle = np.arange(sides) * (2.0 * np.pi / sides)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(sides, z)], axis=1)


def box(x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> NDArray[np.float64]:
    """Closed axis-aligned box (12, 3, 3) from (lo, hi) on each axis."""
    low, high = (rectangle_ring(x[0], x[1], y[0], y[1], height) for height in z)
    return loft(low, high, bottom=True)


def ellipsoid(center: Sequence[float], radius: Sequence[float], rings: int, sides: int) -> NDArray[np.float64]:
    """Closed ellipsoid of latitude bands."""
    polar = np.linspace(0.0, np.pi, rings + 1)
    angle = np.arange(sides) * (2.0 * np.pi / sides)
    grid = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(angle)[None],
            np.sin(polar)[:, None] * np.sin(angle)[None],
            np.repeat(-np.cos(polar)[:, None], sides, axis=1),
        ],
        axis=-1,
    ) * np.asarray(radius) + np.asarray(center)
    parts = [loft(grid[i], grid[i + 1], top=False) for i in range(rings)]
    triangles = np.concatenate(parts)
    return triangles[np.linalg.norm(_cross(triangles), axis=1) > 0.0]


def place(
    triangles: ArrayLike, x: ArrayLike, y: ArrayLike, z: ArrayLike, yaw: ArrayLike, scale: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """Copies (N, T, 3, 3) of one template (T, 3, 3), scaled (N, 3), turned by yaw and moved (N,).

    Templates that differ from copy to copy may be given as (N, T, 3, 3).
    """
    px, py, pz, angle = (np.atleast_1d(np.asarray(v, np.float64)) for v in (x, y, z, yaw))
    count = len(px)
    size = np.broadcast_to(np.asarray(scale, np.float64), (count, 3))
    shape = np.asarray(triangles, np.float64)
    local = (shape if shape.ndim == 4 else shape[None]) * size[:, None, None, :]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    out = np.empty_like(local)
    out[..., 0] = cos * local[..., 0] - sin * local[..., 1] + px[:, None, None]
    out[..., 1] = sin * local[..., 0] + cos * local[..., 1] + py[:, None, None]
    out[..., 2] = local[..., 2] + pz[:, None, None]
    return out


def instances(template: Mesh, x: ArrayLike, y: ArrayLike, z: ArrayLike, yaw: ArrayLike, scale: ArrayLike = 1.0) -> Mesh:
    """Many copies of a template mesh as one mesh, copy after copy."""
    placed = place(template.triangles, x, y, z, yaw, scale)
    count = len(placed)
    return Mesh(
        placed.reshape(-1, 3, 3).astype(np.float32),
        np.tile(template.material, count),
        np.tile(template.color, (count, 1)),
        np.tile(template.base, count),
        np.tile(template.style, count),
        np.tile(template.span, (count, 1)),
    )


def _cross(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), np.float64)
