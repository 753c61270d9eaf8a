"""What CARLA's sensors send, as the stack's sensors measure it. Pure functions on numbers and arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.sensor_rig import GnssSpec, ImuSpec, LidarSpec
from robotaxi.sim.sensors.lidar import POINT_DTYPE
from robotaxi.types import FloatArray, GnssFix, ImuSample, RecordArray


def beam_groups(spec: LidarSpec) -> list[tuple[int, int]]:
    """Rings [first, last) that are evenly spaced: CARLA's lidars have no dense band, so several make one."""
    elevation = spec.elevations
    if len(elevation) < 3:
        return [(0, len(elevation))]
    gaps = np.diff(elevation)
    groups, first = [], 0
    while first < len(elevation):
        last = first + 1
        if last < len(elevation):
            gap = gaps[first]
            last += 1
            while last < len(elevation) and abs(gaps[last - 1] - gap) < 1e-9:
                last += 1
        groups.append((first, last))
        first = last
    return groups


def sweep(spec: LidarSpec, parts: Sequence[tuple[int, NDArray[np.float32], Sequence[int]]]) -> RecordArray:
    """One sweep (POINT_DTYPE, firing order) from the groups of `beam_groups`.

    Each part: first ring of its group, points (N, 4) x y z intensity in CARLA's frame channel after channel
    (the highest first), and how many each channel has.
    """
    tables, rings = [], []
    for first, points, counts in parts:
        tables.append(points)
        rings.append(np.repeat(first + len(counts) - 1 - np.arange(len(counts)), counts))
    table = np.concatenate(tables) if tables else np.zeros((0, 4), np.float32)
    ring = np.concatenate(rings) if rings else np.zeros(0, np.int64)
    kept = np.linalg.norm(table[:, :3], axis=1) >= spec.range_min
    table, ring = table[kept], ring[kept]
    turn = np.arctan2(-table[:, 1].astype(np.float64), table[:, 0].astype(np.float64)) % (2.0 * math.pi)
    column = np.round(turn / (2.0 * math.pi) * spec.azimuths).astype(np.int64) % spec.azimuths
    order = np.lexsort((ring, column))
    out = np.empty(len(order), POINT_DTYPE)
    out["x"], out["y"], out["z"] = table[order, 0], -table[order, 1], table[order, 2]
    out["intensity"], out["ring"] = table[order, 3], ring[order]
    out["time"] = 0.0  # CARLA casts all rays of one measurement in one frame
    return out


def fix(stamp_ns: int, spec: GnssSpec, frame: LocalFrame, location: Sequence[float]) -> GnssFix:
    """``location``: CARLA x, y, z of the antenna, as the client reads them from the measured position."""
    latitude_deg, longitude_deg, altitude = frame.to_geodetic(location[0], -location[1], location[2])
    white = np.array([spec.sigma_horizontal, spec.sigma_horizontal, spec.sigma_vertical])
    return GnssFix(stamp_ns, latitude_deg, longitude_deg, altitude, np.hypot(white, spec.bias_sigma))


def imu(
    stamp_ns: int, spec: ImuSpec, accelerometer: Sequence[float], gyroscope: Sequence[float], compass: float
) -> ImuSample:
    """CARLA's left-handed specific force, rates (rad/s) and compass (rad, 0 north, clockwise)."""
    force = np.array([accelerometer[0], -accelerometer[1], accelerometer[2]])
    rate = np.array([-gyroscope[0], gyroscope[1], -gyroscope[2]])
    if not spec.has_heading:
        return ImuSample(stamp_ns, force, rate)
    heading = math.remainder(math.pi / 2.0 - compass, 2.0 * math.pi)
    return ImuSample(stamp_ns, force, rate, heading, math.radians(spec.heading_sigma_deg))


def bgr(raw: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """(H, W, 3) of CARLA's BGRA."""
    return np.ascontiguousarray(np.frombuffer(raw, np.uint8).reshape(height, width, 4)[..., :3])


def rear_axle(wheels: Sequence[Sequence[float]], T_carla_world_from_car: FloatArray) -> tuple[float, float]:
    """(x of the rear axle, wheelbase) in the car's frame, from wheel positions in the world (m)."""
    inverse = np.linalg.inv(T_carla_world_from_car)
    along = sorted(float((inverse @ np.array([*w, 1.0]))[0]) for w in wheels)
    half = len(along) // 2
    rear, front = float(np.mean(along[:half])), float(np.mean(along[half:]))
    return rear, front - rear
