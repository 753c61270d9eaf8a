"""Rays against the scenery and the road users: what each meets first. Lidars and radars stand on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.rtcore_scene import EmbreeScene
from numba import njit
from numpy.typing import NDArray

from robotaxi.sim.mesh import Float32Array, Material, normals
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.scenery.road_users import road_users_mesh
from robotaxi.sim.sensors.local_scenery import LocalScenery, embree_scene
from robotaxi.types import FloatArray, RecordArray

NO_HIT = -1


@dataclass(frozen=True, slots=True)
class Hits:
    """Of N rays: ``distance`` (m, inf for none), ``cosine`` of incidence, ``material``, and ``instance``,
    the id of the road user met, parked ones included, 0 for none."""

    distance: Float32Array
    cosine: Float32Array
    material: NDArray[np.uint8]
    instance: NDArray[np.uint32]


class RayScene:
    """The scenery ready for the rays of one sensor, which reach ``range_max`` metres."""

    def __init__(self, scene: Scenery, range_max: float) -> None:
        seen = scene.mesh.material != Material.SHADOW
        self._static = LocalScenery(scene.mesh.take(seen), scene.instance[seen], range_max)
        self._range_max = range_max

    def cast(self, origin: FloatArray, rays: Float32Array) -> Hits:
        """Nearest hits of ``rays`` (N, 3), unit vectors in map, from ``origin``, one (3,) or each its own (N, 3), the
        last the newest, on what never moves."""
        near = self._static.around(np.atleast_2d(origin)[-1])
        hit, reach = _cast(near.scene, origin - near.center, rays, self._range_max)
        count = len(rays)
        hits = Hits(
            np.full(count, np.inf, np.float32),
            np.zeros(count, np.float32),
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint32),
        )
        every = np.arange(count)
        _keep_nearer(every, hit, reach, rays, near.normal, near.material, near.instance, *_columns(hits))
        return hits

    def cast_movers(
        self,
        agents: RecordArray,
        origin: FloatArray,
        rays: Float32Array,
        chosen: NDArray[np.int64],
        hits: Hits,
    ) -> None:
        """Let nearer hits of the ``chosen`` rays on ``agents`` (AGENT_DTYPE) replace what was found so far;
        ``origin`` as in `cast`."""
        if not len(chosen) or not len(agents):
            return
        mesh, owner = road_users_mesh(agents, detail=False)
        here = np.atleast_2d(origin)[-1]  # Embree computes in float32: keep the numbers small
        corners = mesh.triangles.astype(np.float64) - here
        start = origin[chosen] - here if origin.ndim == 2 else np.zeros(3)
        hit, reach = _cast(embree_scene(corners), start, rays[chosen], self._range_max)
        normal = normals(corners).astype(np.float32)
        instance = agents["id"][owner]
        _keep_nearer(chosen, hit, reach, rays, normal, mesh.material, instance, *_columns(hits))


def _columns(hits: Hits) -> tuple[Float32Array, Float32Array, NDArray[np.uint8], NDArray[np.uint32]]:
    return hits.distance, hits.cosine, hits.material, hits.instance


@njit(cache=True, error_model="numpy", nogil=True)
def _keep_nearer(
    chosen: NDArray[np.int64],  # (M,) rays that were cast
    hit: NDArray[np.int32],  # (M,) triangle
    reach: NDArray[np.float32],  # (M,) range
    rays: NDArray[np.float32],  # (N, 3)
    normal: NDArray[np.float32],  # (T, 3)
    triangle_material: NDArray[np.uint8],  # (T,)
    triangle_instance: NDArray[np.uint32],  # (T,)
    distance: NDArray[np.float32],  # (N,) these four are changed in place
    cosine: NDArray[np.float32],
    material: NDArray[np.uint8],
    instance: NDArray[np.uint32],
) -> None:
    """Where a hit is nearer than what the ray found before, take it."""
    for k in range(len(chosen)):
        i, t = chosen[k], hit[k]
        if t == NO_HIT or reach[k] >= distance[i]:
            continue
        distance[i] = reach[k]
        cosine[i] = abs(normal[t, 0] * rays[i, 0] + normal[t, 1] * rays[i, 1] + normal[t, 2] * rays[i, 2])
        material[i] = triangle_material[t]
        instance[i] = triangle_instance[t]


def _cast(
    scene: EmbreeScene, origin: FloatArray, rays: Float32Array, range_max: float
) -> tuple[NDArray[np.int32], Float32Array]:
    """Triangle index (-1 for none) and range of the nearest hit of each ray."""
    origins = np.empty((len(rays), 3), np.float32)
    origins[:] = origin
    result = scene.run(origins, rays, dists=np.full(len(rays), range_max, np.float32), query="INTERSECT", output=True)
    return result["primID"], result["tfar"]
