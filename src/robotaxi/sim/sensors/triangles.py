"""The triangles a camera may draw: the scenery in tiles for culling, the road users of one frame behind it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.sim.mesh import Mesh, normals
from robotaxi.sim.sensors.materials import TEXTURE
from robotaxi.sim.sensors.shading import (
    LOOK_BASE,
    LOOK_COLOR,
    LOOK_NORMAL,
    LOOK_SIZE,
    LOOK_SPAN,
    LOOK_STYLE,
    LOOK_TEXTURE,
)
from robotaxi.types import FloatArray

_TILE = 64.0  # m
_ROOM = 4096  # triangles of road users to start with


class TriangleTable:
    """Flat arrays, the scenery first and sorted by tile, with room for the movers of one frame at the end.

    ``triangles`` (T, 3, 3) float32, ``look`` (T, LOOK_SIZE) float32 as `shading` reads it, ``instance`` and
    ``material`` (T,).
    """

    def __init__(self, scenery: Mesh, instance: NDArray[np.uint32]) -> None:
        order, self._starts, self._ends, self._low, self._high = _tiles(scenery)
        ordered = scenery.take(order)
        self.triangles, self.look, self.instance = ordered.triangles, _look(ordered), instance[order]
        self.material = ordered.material
        self._count = self._end = len(scenery)
        self._grow(_ROOM)

    def _grow(self, room: int) -> None:
        """Make room for that many triangles behind the scenery."""
        keep = self._count
        self.triangles = np.concatenate([self.triangles[:keep], np.zeros((room, 3, 3), np.float32)])
        self.look = np.concatenate([self.look[:keep], np.zeros((room, LOOK_SIZE), np.float32)])
        self.instance = np.concatenate([self.instance[:keep], np.zeros(room, np.uint32)])
        self.material = np.concatenate([self.material[:keep], np.zeros(room, np.uint8)])

    def load(self, movers: Mesh, instance: NDArray[np.uint32]) -> None:
        """Replace the road users by those of a new frame."""
        end = self._count + len(movers)
        if end > len(self.triangles):
            self._grow(2 * len(movers))
        self.triangles[self._count : end] = movers.triangles
        self.look[self._count : end] = _look(movers)
        self.instance[self._count : end] = instance
        self.material[self._count : end] = movers.material
        self._end = end

    def visible(
        self, position: FloatArray, optical_from_map: FloatArray, slopes: FloatArray, distance: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ranges (starts, ends) of the road users, then of the tiles in view within ``distance``, nearest first.

        ``slopes``: (left, right, top, bottom) borders of the image as x / z and y / z.
        """
        away = _tile_distances(self._low, self._high, position, optical_from_map, slopes, distance)
        chosen = np.flatnonzero(away <= distance)
        chosen = chosen[np.argsort(away[chosen], kind="stable")]
        starts = np.concatenate([[self._count], self._starts[chosen]])
        return starts, np.concatenate([[self._end], self._ends[chosen]])


def _look(mesh: Mesh) -> NDArray[np.float32]:
    look = np.empty((len(mesh), LOOK_SIZE), np.float32)
    look[:, LOOK_COLOR : LOOK_COLOR + 3] = mesh.color
    look[:, LOOK_NORMAL : LOOK_NORMAL + 3] = normals(mesh.triangles)
    look[:, LOOK_BASE] = mesh.base
    look[:, LOOK_STYLE] = mesh.style
    look[:, LOOK_SPAN : LOOK_SPAN + 2] = mesh.span
    look[:, LOOK_TEXTURE] = TEXTURE[mesh.material]
    return look


def _tiles(
    mesh: Mesh,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], FloatArray, FloatArray]:
    """Order that groups triangles by tile, the range of each tile, and its corners (K, 3)."""
    corners = mesh.triangles.astype(np.float64)
    cell = np.floor(corners.mean(axis=1)[:, :2] / _TILE).astype(np.int64)
    order = np.lexsort((cell[:, 1], cell[:, 0]))
    cell = cell[order]
    fresh = np.concatenate([[True], (np.diff(cell, axis=0) != 0).any(axis=1)])
    starts = np.flatnonzero(fresh)
    ends = np.concatenate([starts[1:], [len(cell)]])
    low = np.minimum.reduceat(corners[order].min(axis=1), starts, axis=0)
    high = np.maximum.reduceat(corners[order].max(axis=1), starts, axis=0)
    return order, starts, ends, low, high


@njit(cache=True, error_model="numpy")
def _tile_distances(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    position: NDArray[np.float64],
    optical_from_map: NDArray[np.float64],
    slopes: NDArray[np.float64],
    distance: float,
) -> NDArray[np.float64]:
    """Distance of each tile in the plane; infinite for a tile wholly outside one border of the image."""
    out = np.empty(len(low))
    for k in range(len(low)):
        dx = max(low[k, 0] - position[0], 0.0, position[0] - high[k, 0])
        dy = max(low[k, 1] - position[1], 0.0, position[1] - high[k, 1])
        out[k] = np.sqrt(dx * dx + dy * dy)
        if out[k] > distance:
            continue
        behind = left = right = above = below = 0
        for c in range(8):
            px = (high[k, 0] if c & 1 else low[k, 0]) - position[0]
            py = (high[k, 1] if c & 2 else low[k, 1]) - position[1]
            pz = (high[k, 2] if c & 4 else low[k, 2]) - position[2]
            x = optical_from_map[0, 0] * px + optical_from_map[0, 1] * py + optical_from_map[0, 2] * pz
            y = optical_from_map[1, 0] * px + optical_from_map[1, 1] * py + optical_from_map[1, 2] * pz
            z = optical_from_map[2, 0] * px + optical_from_map[2, 1] * py + optical_from_map[2, 2] * pz
            behind += z <= 0.0
            left += x < slopes[0] * z
            right += x > slopes[1] * z
            above += y < slopes[2] * z
            below += y > slopes[3] * z
        if behind == 8 or left == 8 or right == 8 or above == 8 or below == 8:
            out[k] = np.inf
    return out
