"""The scenery that a lidar can reach from where it is: a small tree of triangles answers rays a quarter faster.

Which triangles are in it depends on the sensor's cell of a grid only, so the same place gives the same ranges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from robotaxi.sim.mesh import Float32Array, Mesh, normals
from robotaxi.types import FloatArray

_CELL = 80.0  # m


@dataclass(frozen=True)
class Neighbourhood:
    """Triangles around one cell: ``scene`` with coordinates less ``center`` (3,); ``normal`` (T, 3), ``material``
    (T,) and ``instance`` (T,), as in Scenery."""

    scene: EmbreeScene
    center: FloatArray
    normal: Float32Array
    material: NDArray[np.uint8]
    instance: NDArray[np.uint32]


class LocalScenery:
    """Neighbourhoods of a mesh for a sensor that sees ``reach`` metres, made when the sensor comes there."""

    def __init__(self, mesh: Mesh, instance: NDArray[np.uint32], reach: float) -> None:
        self._mesh, self._instance = mesh, instance
        corners = mesh.triangles.astype(np.float64)[:, :, :2]
        self._low = corners.min(axis=1) if len(corners) else np.zeros((0, 2))
        self._high = corners.max(axis=1) if len(corners) else np.zeros((0, 2))
        self._half = 0.5 * _CELL + reach
        self._cell: tuple[int, int] | None = None

    def around(self, origin: FloatArray) -> Neighbourhood:
        """What a sensor at ``origin`` (3,) in map can reach."""
        cell = (math.floor(origin[0] / _CELL), math.floor(origin[1] / _CELL))
        if cell != self._cell:
            self._cell, self._near = cell, self._build(cell)
        return self._near

    def _build(self, cell: tuple[int, int]) -> Neighbourhood:
        middle = (np.array(cell) + 0.5) * _CELL
        inside: NDArray[np.bool_] = np.asarray(
            (self._low <= middle + self._half).all(axis=1) & (self._high >= middle - self._half).all(axis=1)
        )
        near = self._mesh.take(inside)
        corners = near.triangles.astype(np.float64)
        center = np.array([*middle, 0.0])  # Embree computes in float32: keep the numbers small
        normal = normals(corners).astype(np.float32)
        return Neighbourhood(embree_scene(corners - center), center, normal, near.material, self._instance[inside])


def embree_scene(triangles: FloatArray) -> EmbreeScene:
    """Triangles (T, 3, 3) ready for rays."""
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(triangles, np.float32))
    return scene
