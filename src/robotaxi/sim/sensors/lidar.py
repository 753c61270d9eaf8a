"""Spinning lidar: rays cast by Embree against the scenery, and against the road users around the car.

A sweep is taken at one instant, its stamp: ``time`` says when a real unit would have fired each beam,
but the car and the others do not move meanwhile, so points need no motion compensation.
"""

from __future__ import annotations

import math

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from robotaxi.sensor_rig import LidarSpec
from robotaxi.sim.mesh import REFLECTIVITY, Float32Array, Material, normals
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.scenery.road_users import road_users_mesh
from robotaxi.sim.sensors.noise import generator
from robotaxi.sim.sensors.pose import map_from_base
from robotaxi.sim.view import WorldView
from robotaxi.types import FloatArray, RecordArray

POINT_DTYPE = np.dtype(
    [
        ("x", "<f4"),  # lidar frame, m
        ("y", "<f4"),
        ("z", "<f4"),
        ("intensity", "<f4"),  # 0..1
        ("ring", "<u2"),  # 0 is the lowest beam
        ("time", "<f4"),  # s since the sweep's stamp
    ]
)

_TENTH_REFLECTIVITY_RANGE = 80.0  # m at which a 10 % target is seen with signal 1, as data sheets state it
_TENTH = 0.1
_SIGNAL_GAIN = 2.0  # chance of a return is 1 - exp(-gain * signal)
_RANDOM_LOSS = 0.002  # share of beams lost whatever they hit
_FOLIAGE_SIGMA = 0.12  # m, leaves give back a blurred range
_CULL_MARGIN = 2.0  # m
_NO_HIT = -1


class Lidar:
    """``sweep`` is a pure function of the world's view and the seed."""

    def __init__(self, scene: Scenery, spec: LidarSpec, seed: int, name: str = "lidar_top") -> None:
        self._spec, self._seed, self._name = spec, seed, name
        solid = scene.mesh.take(scene.mesh.material != Material.SHADOW)
        corners = solid.triangles.astype(np.float64)
        # Embree computes in float32: keep the numbers small
        self._center = np.round(corners.reshape(-1, 3).mean(axis=0)) if len(corners) else np.zeros(3)
        self._static = _embree(corners - self._center)
        self._static_normal = normals(corners).astype(np.float32)
        self._static_material = solid.material
        azimuth = np.arange(spec.azimuths) * (2.0 * math.pi / spec.azimuths)
        elevation = spec.elevations
        flat = np.cos(elevation)
        directions = np.empty((spec.azimuths, spec.beams, 3))
        directions[..., 0] = np.cos(azimuth)[:, None] * flat
        directions[..., 1] = np.sin(azimuth)[:, None] * flat
        directions[..., 2] = np.sin(elevation)
        self._directions = directions.reshape(-1, 3)
        self._azimuth = np.repeat(azimuth, spec.beams)
        self._ring = np.tile(np.arange(spec.beams, dtype=np.uint16), spec.azimuths)
        self._time = (np.repeat(np.arange(spec.azimuths), spec.beams) / (spec.azimuths * spec.rate_hz)).astype(
            np.float32
        )
        self._T_base_lidar = spec.T_base_sensor

    def sweep(self, view: WorldView) -> RecordArray:
        """Points (N,) of POINT_DTYPE in the lidar's frame, in firing order; lost beams are left out."""
        T_map_lidar = map_from_base(view) @ self._T_base_lidar
        origin, rotation = T_map_lidar[:3, 3], T_map_lidar[:3, :3]
        rays = (self._directions @ rotation.T).astype(np.float32)
        distance, cosine, material = self._cast_static(origin, rays)
        self._cast_movers(view, origin, rays, distance, cosine, material)
        return self._returns(view.stamp_ns, distance, cosine, material)

    def _cast_static(
        self, origin: FloatArray, rays: Float32Array
    ) -> tuple[Float32Array, Float32Array, NDArray[np.uint8]]:
        """Range (inf for none), cosine of incidence and material of the nearest hit of each ray."""
        hit, distance = _cast(self._static, origin - self._center, rays, self._spec.range_max)
        struck = hit != _NO_HIT
        distance[~struck] = np.inf
        index = np.where(struck, hit, 0)
        cosine = np.abs(np.einsum("ij,ij->i", self._static_normal[index], rays))
        return distance, cosine, self._static_material[index]

    def _cast_movers(
        self,
        view: WorldView,
        origin: FloatArray,
        rays: Float32Array,
        distance: Float32Array,
        cosine: Float32Array,
        material: NDArray[np.uint8],
    ) -> None:
        """Let nearer hits on road users replace what the rays found so far."""
        near, chosen = self._towards_movers(view, origin)
        if not len(chosen):
            return
        mesh, _ = road_users_mesh(near, detail=False)
        corners = mesh.triangles.astype(np.float64) - origin
        hit, reach = _cast(_embree(corners), np.zeros(3), rays[chosen], self._spec.range_max)
        nearer = (hit != _NO_HIT) & (reach < distance[chosen])
        target, index = chosen[nearer], hit[nearer]
        distance[target] = reach[nearer]
        cosine[target] = np.abs(np.einsum("ij,ij->i", normals(corners)[index], rays[target]))
        material[target] = mesh.material[index]

    def _towards_movers(self, view: WorldView, origin: FloatArray) -> tuple[RecordArray, NDArray[np.int64]]:
        """Agents within range, and the rays whose azimuth may meet one of them."""
        agents = view.agents
        east, north = agents["x"] - origin[0], agents["y"] - origin[1]
        range_xy = np.hypot(east, north)
        radius = 0.5 * np.hypot(agents["length"], agents["width"]) + 0.1
        inside = np.isfinite(range_xy) & (range_xy - radius < self._spec.range_max + _CULL_MARGIN)
        near = agents[inside]
        columns = np.zeros(self._spec.azimuths, bool)
        step = 2.0 * math.pi / self._spec.azimuths
        offset = view.ego.yaw + math.radians(self._spec.yaw_deg)
        for x, y, r, size in zip(east[inside], north[inside], range_xy[inside], radius[inside], strict=True):
            half = math.pi if r <= size else math.asin(size / r) + 2.0 * step
            middle = math.atan2(y, x) - offset
            first, last = math.floor((middle - half) / step), math.ceil((middle + half) / step)
            columns[np.arange(first, min(last, first + self._spec.azimuths - 1) + 1) % self._spec.azimuths] = True
        return near, np.flatnonzero(np.repeat(columns, self._spec.beams))

    def _returns(
        self, stamp_ns: int, distance: Float32Array, cosine: Float32Array, material: NDArray[np.uint8]
    ) -> RecordArray:
        """Add noise, lose weak echoes and pack."""
        spec = self._spec
        rng = generator(self._seed, self._name, stamp_ns)
        white = rng.standard_normal(len(distance), np.float32)
        luck = rng.random(len(distance), np.float32)
        inside = np.flatnonzero((distance >= spec.range_min) & (distance <= spec.range_max))
        ranges, cos, kind = distance[inside], cosine[inside], material[inside]
        echo = REFLECTIVITY[kind] * cos
        signal = (echo / np.float32(_TENTH)) * np.square(np.float32(_TENTH_REFLECTIVITY_RANGE) / ranges)
        lost = np.exp(np.float32(-_SIGNAL_GAIN) * signal) + np.float32(_RANDOM_LOSS)
        kept = luck[inside] > lost
        index = inside[kept]
        sigma = np.where(kind[kept] == Material.FOLIAGE, _FOLIAGE_SIGMA, spec.range_sigma).astype(np.float32)
        measured = np.maximum(ranges[kept] + sigma * white[index], np.float32(spec.range_min))
        points = np.empty(len(index), POINT_DTYPE)
        direction = self._directions[index]
        points["x"] = measured * direction[:, 0]
        points["y"] = measured * direction[:, 1]
        points["z"] = measured * direction[:, 2]
        points["intensity"] = np.clip(REFLECTIVITY[kind[kept]] * (0.2 + 0.8 * cos[kept]), 0.0, 1.0)
        points["ring"] = self._ring[index]
        points["time"] = self._time[index]
        return points


def _embree(triangles: FloatArray) -> EmbreeScene:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(triangles, np.float32))
    return scene


def _cast(
    scene: EmbreeScene, origin: FloatArray, rays: Float32Array, range_max: float
) -> tuple[NDArray[np.int32], Float32Array]:
    """Triangle index (-1 for none) and range of the nearest hit of each ray."""
    origins = np.empty((len(rays), 3), np.float32)
    origins[:] = origin
    result = scene.run(origins, rays, dists=np.full(len(rays), range_max, np.float32), query="INTERSECT", output=True)
    return result["primID"], result["tfar"]
