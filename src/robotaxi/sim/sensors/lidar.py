"""Spinning lidar: rays cast by Embree against the scenery, and against the road users around the car.

A rolling sweep covers the period that ends at its stamp: each column is fired from where the lidar is by then, and
points are in the lidar's frame of that moment, as a real unit gives them. Each road user stands where it is when the
beam passes its middle, so that all of them make one small mesh: within itself nobody is bent, which from car to car
differs by the speed between them times the few milliseconds that the beam takes from end to end. A sweep that does
not roll is taken at one instant, its stamp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
from robotaxi.sim.sensors.rolling import as_passed, columns_towards, mounted, placed, recent_motion
from robotaxi.sim.view import WorldView
from robotaxi.types import FloatArray, RecordArray

POINT_DTYPE = np.dtype(
    [
        ("x", "<f4"),  # lidar frame, m
        ("y", "<f4"),
        ("z", "<f4"),
        ("intensity", "<f4"),  # 0..1
        ("ring", "<u2"),  # 0 is the lowest beam
        ("time", "<f4"),  # s since the sweep's stamp, 0 or less
    ]
)

_TENTH_REFLECTIVITY_RANGE = 80.0  # m at which a 10 % target is seen with signal 1, as data sheets state it
_TENTH = 0.1
_SIGNAL_GAIN = 2.0  # chance of a return is 1 - exp(-gain * signal)
_RANDOM_LOSS = 0.002  # share of beams lost whatever they hit
_FOLIAGE_SIGMA = 0.12  # m, leaves give back a blurred range
_CULL_MARGIN = 2.0  # m
_FOLIAGE = int(Material.FOLIAGE)


@dataclass(frozen=True, slots=True)
class _Shot:
    """All beams of a sweep in map: ``origin`` (3,), or one a beam (N, 3), directions ``rays`` (N, 3). ``agents`` as
    they are met, ``lidar`` (n, 3) its x, y, yaw as it meets each, ``drift``: see `columns_towards`."""

    origin: FloatArray
    rays: Float32Array
    agents: RecordArray
    lidar: FloatArray
    drift: tuple[float, float]


class Lidar:
    """``sweep`` is a pure function of the world's view and the seed. ``directions`` (N, 3): its rays, lidar frame."""

    def __init__(self, scene: Scenery, spec: LidarSpec, seed: int, name: str = "lidar_top") -> None:
        self._spec, self._seed, self._name = spec, seed, name
        self._scene = RayScene(scene, spec.range_max)
        self._first = math.pi if spec.rolling else 0.0  # azimuth of the first column
        azimuth = self._first + np.arange(spec.azimuths) * (2.0 * math.pi / spec.azimuths)
        elevation = spec.elevations
        flat = np.cos(elevation)
        directions = np.empty((spec.azimuths, spec.beams, 3))
        directions[..., 0] = np.cos(azimuth)[:, None] * flat
        directions[..., 1] = np.sin(azimuth)[:, None] * flat
        directions[..., 2] = np.sin(elevation)
        self.directions = directions.reshape(-1, 3)
        self._ring = np.tile(np.arange(spec.beams, dtype=np.uint16), spec.azimuths)
        self._T_base_lidar = spec.T_base_sensor
        self._mounting = np.array([spec.x, spec.y, math.radians(spec.yaw_deg)])
        left = np.arange(spec.azimuths - 1, -1, -1) / (spec.azimuths * spec.rate_hz) * spec.rolling
        self._column_time: FloatArray = -left
        self._time = np.repeat(self._column_time, spec.beams).astype(np.float32)

    def sweep(self, view: WorldView) -> RecordArray:
        """Points (N,) of POINT_DTYPE in the lidar's frame, in firing order; lost beams are left out."""
        agents = view.agents[np.isfinite(view.agents["x"]) & np.isfinite(view.agents["y"])]
        view = replace(view, agents=agents)
        shot = self._rolling(view) if self._spec.rolling else self._at_once(view)
        hits = self._scene.cast(shot.origin, shot.rays)
        near, chosen = self._towards_movers(shot)
        self._scene.cast_movers(near, shot.origin, shot.rays, chosen, hits)
        distance, cosine = hits.distance, hits.cosine
        if view.conditions is not None:
            rng = generator(self._seed, f"{self._name}/air", view.stamp_ns)
            distance, cosine = through_air(view.conditions, distance, cosine, rng)
        return self._returns(view.stamp_ns, distance, cosine, hits.material)

    def _at_once(self, view: WorldView) -> _Shot:
        T_map_lidar = map_from_base(view) @ self._T_base_lidar
        origin, rays = T_map_lidar[:3, 3], rotate(self.directions, np.ascontiguousarray(T_map_lidar[:3, :3]))
        lidar = np.array([origin[0], origin[1], view.ego.yaw + math.radians(self._spec.yaw_deg)])
        return _Shot(origin, rays, view.agents, np.tile(lidar, (len(view.agents), 1)), (0.0, 0.0))

    def _rolling(self, view: WorldView) -> _Shot:
        motion, mounting = recent_motion(view), self._mounting
        passed = as_passed(motion, 1.0 / self._spec.rate_hz, self._first, mounting)
        poses = motion.ego_at(self._column_time)
        origin, rays = fire(self.directions, poses, self._T_base_lidar)
        way, turn = np.hypot(*(poses[-1, :2] - poses[0, :2])), abs(poses[-1, 3] - poses[0, 3])
        way += np.hypot(*mounting[:2]) * turn  # the lidar swings about the rear axle
        seen = placed(view.agents, motion.agents_at(passed))
        return _Shot(origin, rays, seen, mounted(motion.ego_at(passed), mounting), (float(way), float(turn)))

    def _towards_movers(self, shot: _Shot) -> tuple[RecordArray, NDArray[np.int64]]:
        """Agents within range, and the rays whose azimuth may meet one of them."""
        east, north = shot.agents["x"] - shot.lidar[:, 0], shot.agents["y"] - shot.lidar[:, 1]
        radius = 0.5 * np.hypot(shot.agents["length"], shot.agents["width"]) + 0.1
        inside = np.hypot(east, north) - radius < self._spec.range_max + _CULL_MARGIN
        heading = shot.lidar[inside, 2] + self._first
        columns = columns_towards(east[inside], north[inside], radius[inside], heading, self._spec.azimuths, shot.drift)
        return shot.agents[inside], np.flatnonzero(np.repeat(columns, self._spec.beams))

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
def fire(
    directions: NDArray[np.float64],  # (C * B, 3) in the lidar's frame, column after column
    poses: NDArray[np.float64],  # (C, 4) x, y, z, yaw of base_link in map as each column fires
    T_base_lidar: NDArray[np.float64],
) -> tuple[NDArray[np.float64], Float32Array]:
    """Origins and directions (C * B, 3) of the rays in map."""
    count = len(directions)
    beams = count // len(poses)
    origin, out = np.empty((count, 3)), np.empty((count, 3), np.float32)
    turned = np.empty((3, 4))
    for column in range(len(poses)):
        x, y, z, yaw = poses[column]
        c, s = math.cos(yaw), math.sin(yaw)
        for k in range(4):
            turned[0, k] = c * T_base_lidar[0, k] - s * T_base_lidar[1, k]
            turned[1, k] = s * T_base_lidar[0, k] + c * T_base_lidar[1, k]
            turned[2, k] = T_base_lidar[2, k]
        for i in range(column * beams, (column + 1) * beams):
            origin[i, 0], origin[i, 1], origin[i, 2] = turned[0, 3] + x, turned[1, 3] + y, turned[2, 3] + z
            for axis in range(3):
                out[i, axis] = (
                    turned[axis, 0] * directions[i, 0]
                    + turned[axis, 1] * directions[i, 1]
                    + turned[axis, 2] * directions[i, 2]
                )
    return origin, out


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
