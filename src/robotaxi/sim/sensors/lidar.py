"""Spinning lidar: rays cast by Embree against the scenery, and against the road users around the car.

A sweep is taken at one instant, its stamp: ``time`` says when a real unit would have fired each beam,
but the car and the others do not move meanwhile, so points need no motion compensation.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.sensor_rig import LidarSpec
from robotaxi.sim.events.conditions import through_air
from robotaxi.sim.mesh import REFLECTIVITY, Float32Array, Material
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.noise import generator
from robotaxi.sim.sensors.pose import map_from_base
from robotaxi.sim.sensors.rays import RayScene
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
_FOLIAGE = int(Material.FOLIAGE)


class Lidar:
    """``sweep`` is a pure function of the world's view and the seed. ``directions`` (N, 3): its rays, lidar frame."""

    def __init__(self, scene: Scenery, spec: LidarSpec, seed: int, name: str = "lidar_top") -> None:
        self._spec, self._seed, self._name = spec, seed, name
        self._scene = RayScene(scene, spec.range_max)
        azimuth = np.arange(spec.azimuths) * (2.0 * math.pi / spec.azimuths)
        elevation = spec.elevations
        flat = np.cos(elevation)
        directions = np.empty((spec.azimuths, spec.beams, 3))
        directions[..., 0] = np.cos(azimuth)[:, None] * flat
        directions[..., 1] = np.sin(azimuth)[:, None] * flat
        directions[..., 2] = np.sin(elevation)
        self.directions = directions.reshape(-1, 3)
        self._azimuth = np.repeat(azimuth, spec.beams)
        self._ring = np.tile(np.arange(spec.beams, dtype=np.uint16), spec.azimuths)
        self._time = (np.repeat(np.arange(spec.azimuths), spec.beams) / (spec.azimuths * spec.rate_hz)).astype(
            np.float32
        )
        self._T_base_lidar = spec.T_base_sensor

    def sweep(self, view: WorldView) -> RecordArray:
        """Points (N,) of POINT_DTYPE in the lidar's frame, in firing order; lost beams are left out."""
        T_map_lidar = map_from_base(view) @ self._T_base_lidar
        origin, rotation = T_map_lidar[:3, 3], np.ascontiguousarray(T_map_lidar[:3, :3])
        rays = rotate(self.directions, rotation)
        hits = self._scene.cast(origin, rays)
        near, chosen = self._towards_movers(view, origin)
        self._scene.cast_movers(near, origin, rays, chosen, hits)
        distance, cosine = hits.distance, hits.cosine
        if view.conditions is not None:
            rng = generator(self._seed, f"{self._name}/air", view.stamp_ns)
            distance, cosine = through_air(view.conditions, distance, cosine, rng)
        return self._returns(view.stamp_ns, distance, cosine, hits.material)

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
        table = np.empty((len(distance), 4), np.float32)
        index = np.empty(len(distance), np.int64)
        count = _echoes(
            distance, cosine, material, white, luck, self.directions, REFLECTIVITY, spec.range_min, spec.range_max,
            spec.range_sigma, table, index,
        )  # fmt: skip
        out = np.empty(count, POINT_DTYPE)
        for column, name in enumerate(("x", "y", "z", "intensity")):
            out[name] = table[:count, column]
        out["ring"] = self._ring[index[:count]]
        out["time"] = self._time[index[:count]]
        return out


@njit(cache=True, error_model="numpy", nogil=True)
def rotate(directions: NDArray[np.float64], rotation: NDArray[np.float64]) -> Float32Array:
    """Directions (N, 3) in the rotated frame, float32."""
    out = np.empty(directions.shape, np.float32)
    for i in range(len(directions)):
        x, y, z = directions[i, 0], directions[i, 1], directions[i, 2]
        for axis in range(3):
            out[i, axis] = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _echoes(
    distance: NDArray[np.float32],  # (N,) true range, inf for none
    cosine: NDArray[np.float32],
    material: NDArray[np.uint8],
    white: NDArray[np.float32],  # (N,) standard normal
    luck: NDArray[np.float32],  # (N,) uniform 0..1
    directions: NDArray[np.float64],  # (N, 3) lidar frame
    reflectivity: NDArray[np.float32],  # by material
    range_min: float,
    range_max: float,
    range_sigma: float,
    points: NDArray[np.float32],  # (N, 4) x, y, z, intensity; written
    index: NDArray[np.int64],  # (N,) ray of each point; written
) -> int:
    """Lose weak echoes, add noise to the others; returns the number of points."""
    count = 0
    for i in range(len(distance)):
        true_range = distance[i]
        if not range_min <= true_range <= range_max:
            continue
        kind = material[i]
        share = reflectivity[kind] * cosine[i]
        signal = share / _TENTH * (_TENTH_REFLECTIVITY_RANGE / true_range) ** 2
        if luck[i] < math.exp(-_SIGNAL_GAIN * signal) + _RANDOM_LOSS:
            continue
        sigma = _FOLIAGE_SIGMA if kind == _FOLIAGE else range_sigma
        measured = max(true_range + sigma * white[i], range_min)
        for axis in range(3):
            points[count, axis] = measured * directions[i, axis]
        points[count, 3] = reflectivity[kind] * (0.2 + 0.8 * cosine[i])
        index[count] = i
        count += 1
    return count
