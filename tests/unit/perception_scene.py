"""A small lidar for the tests of perception: rays against a ground plane and upright boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robotaxi.types import EgoState, LidarSweep, VehicleParams

POINT_DTYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
T_BASE_LIDAR = np.array([[1.0, 0, 0, 1.2], [0, 1, 0, 0], [0, 0, 1, 1.9], [0, 0, 0, 1]])
PERIOD_NS = 100_000_000
VEHICLE = VehicleParams("test", 2.8, 4.6, 1.85, 1.5, 0.9, 0.6, 0.5, 2.0, 6.0, 0.1, 0.1, 0.1, 0.1)
RANGE = 90.0


@dataclass(frozen=True)
class Thing:
    """An upright box standing ``base`` metres over the ground, moving at ``speed`` along its yaw."""

    x: float
    y: float
    length: float = 4.4
    width: float = 1.8
    height: float = 1.5
    yaw: float = 0.0
    speed: float = 0.0
    base: float = 0.0

    def at(self, t: float) -> Thing:
        way = self.speed * t
        return Thing(self.x + way * np.cos(self.yaw), self.y + way * np.sin(self.yaw), self.length, self.width,
                     self.height, self.yaw, self.speed, self.base)  # fmt: skip


def ego_at(stamp_ns: int, speed: float = 0.0) -> EgoState:
    """The ego on the x axis of the map, at x = speed * t."""
    return EgoState(stamp_ns, speed * stamp_ns * 1e-9, 0.0, 0.0, speed)


def cast(things: list[Thing], ego: EgoState, grade: float = 0.0, seed: int = 0, azimuths: int = 1800) -> LidarSweep:
    """A 32-beam sweep with 2 cm noise. ``grade``: rise of the ground along the ego's x axis, m per m."""
    elevation = np.radians(np.concatenate([np.linspace(-25, -8.5, 8), np.linspace(-8, 2, 20), np.linspace(4, 15, 4)]))
    azimuth = np.arange(azimuths) * 2 * np.pi / azimuths
    direction = np.stack(
        [
            np.outer(np.cos(azimuth), np.cos(elevation)).ravel(),
            np.outer(np.sin(azimuth), np.cos(elevation)).ravel(),
            np.tile(np.sin(elevation), azimuths),
        ],
        axis=1,
    )
    origin = T_BASE_LIDAR[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = grade * direction[:, 0] - direction[:, 2]
        distance = np.where(fall > 0, (origin[2] - grade * origin[0]) / fall, np.inf)
        for thing in things:
            distance = np.minimum(distance, _hit(thing.at(ego.stamp_ns * 1e-9), ego, origin, direction, grade))
    noise = np.random.default_rng([seed, ego.stamp_ns]).normal(0.0, 0.02, len(distance))
    seen = distance < RANGE
    xyz = direction[seen] * (distance + noise)[seen, None]
    points = np.zeros(int(seen.sum()), POINT_DTYPE)
    points["x"], points["y"], points["z"] = xyz.T
    return LidarSweep(ego.stamp_ns, points, T_BASE_LIDAR)


def _hit(thing: Thing, ego: EgoState, origin: np.ndarray, direction: np.ndarray, grade: float) -> np.ndarray:
    """Range at which each ray enters the box, inf where it misses (slab method)."""
    dx, dy = thing.x - ego.x, thing.y - ego.y
    center = np.array([np.cos(ego.yaw) * dx + np.sin(ego.yaw) * dy, -np.sin(ego.yaw) * dx + np.cos(ego.yaw) * dy])
    cos, sin = np.cos(thing.yaw - ego.yaw), np.sin(thing.yaw - ego.yaw)
    turn = np.array([[cos, sin], [-sin, cos]])
    o = np.append(turn @ (origin[:2] - center), origin[2] - grade * center[0])
    d = np.column_stack([direction[:, :2] @ turn.T, direction[:, 2]])
    low = np.array([-thing.length / 2, -thing.width / 2, thing.base])
    high = np.array([thing.length / 2, thing.width / 2, thing.height])
    first, last = (low - o) / d, (high - o) / d
    enter = np.minimum(first, last).max(axis=1)
    leave = np.maximum(first, last).min(axis=1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)
