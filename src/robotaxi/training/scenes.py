"""Random street scenes and the sweep that some lidar takes of them: training data with domain randomisation.

Streets, crossings and yards with parked and moving road users, walls, hedges, trees and clutter, on bumpy ground,
seen by lidars of 16 to 128 beams at different heights, with noise, lost returns, transparent glass and haze.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from robotaxi.sim.mesh import Material, normals, quads
from robotaxi.training import shapes
from robotaxi.training.shapes import RoadUser, Solid
from robotaxi.types import FloatArray, LidarSweep, ObjectClass, RecordArray

SCENE_DTYPE = np.dtype(
    [("label", "u1"), ("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("yaw", "<f4"), ("length", "<f4"), ("width", "<f4"),
     ("height", "<f4"), ("points", "<i4")]
)  # fmt: skip
"""A road user: centre on the ground in base_link, and the returns from it."""

_REACH = 58.0  # m, of the scenes
_GROUND_CELL = 3.0  # m
_NOTHING = -1


@dataclass(frozen=True)
class SimulatedLidar:
    """One lidar of many. ``loss``: share of returns lost at random; ``glass_loss``: on windows; ``haze``: 1/m."""

    elevations: FloatArray
    azimuths: int
    height: float
    sigma: float
    loss: float
    glass_loss: float
    haze: float


def random_lidar(rng: np.random.Generator) -> SimulatedLidar:
    """A lidar of 16 to 128 beams, evenly spread or dense near the horizon."""
    beams = int(rng.choice([16, 32, 40, 64, 64, 128], p=[0.08, 0.27, 0.1, 0.2, 0.2, 0.15]))
    low, high = float(rng.uniform(-30.0, -16.0)), float(rng.uniform(2.0, 15.0))
    if rng.random() < 0.6:
        steps = np.linspace(low, high, beams)
    else:
        inner = round(beams * rng.uniform(0.5, 0.75))
        steps = np.sort(np.concatenate([np.linspace(-9.0, 2.5, inner), np.linspace(low, -9.5, (beams - inner + 1) // 2),
                                        np.linspace(3.0, max(high, 5.0), (beams - inner) // 2)]))  # fmt: skip
    azimuths = int(rng.choice([900, 1200, 1800, 2000]))
    return SimulatedLidar(
        np.radians(steps), min(azimuths, 130_000 // beams), float(rng.uniform(1.5, 2.3)),
        float(rng.uniform(0.01, 0.04)),
        float(rng.uniform(0.0, 0.12)), float(rng.uniform(0.2, 0.95)), float(rng.choice([0, 0, rng.uniform(0, 0.02)])),
    )  # fmt: skip


def random_scene(rng: np.random.Generator) -> tuple[list[tuple[RoadUser, float, float, float]], list[Solid]]:
    """Road users with x, y, yaw, and everything else, around an ego at the origin that drives along x or nearly."""
    users: list[tuple[RoadUser, float, float, float]] = []
    others: list[Solid] = []
    taken = [(0.5, 0.0, 3.4)]  # circles x, y, radius; the ego's first

    def free(x: float, y: float, radius: float) -> bool:
        a, b, c = np.array(taken).T
        return bool(((x - a) ** 2 + (y - b) ** 2 > (radius + c) ** 2).all())

    def add(user: RoadUser, x: float, y: float, yaw: float) -> None:
        across = 0.5 * user.width + 0.1
        spread = np.arange(-0.5 * user.length + across, 0.5 * user.length - across + 0.01, 1.0)
        spots = [(x + d * np.cos(yaw), y + d * np.sin(yaw)) for d in (spread if len(spread) else [0.0])]
        if all(free(u, v, across) for u, v in spots) and np.hypot(x, y) < _REACH - 4.0:
            taken.extend((u, v, across) for u, v in spots)
            users.append((user, x, y, yaw))

    direction = float(rng.normal(0.0, 0.06))
    half_road = float(rng.uniform(3.0, 9.0))
    center = float(rng.uniform(-0.5, 0.5) * half_road)
    for turn in (0.0, np.pi / 2) if rng.random() < 0.5 else (0.0,):
        along0 = 0.0 if turn == 0.0 else float(rng.uniform(-30.0, 30.0))

        def street(s: float, d: float, turn: float = turn, along0: float = along0) -> tuple[float, float, float]:
            yaw = direction + turn
            x, y = (0.0, center) if turn == 0.0 else (along0, 0.0)
            return x + s * np.cos(yaw) - d * np.sin(yaw), y + s * np.sin(yaw) + d * np.cos(yaw), yaw

        for side in (-1.0, 1.0):
            s = -_REACH
            while s < _REACH and rng.random() < 0.97:  # traffic
                s += float(rng.uniform(6.0, 40.0))
                x, y, yaw = street(s, side * float(rng.uniform(0.25, 0.75)) * half_road)
                user = shapes.truck(rng) if rng.random() < 0.15 else shapes.car(rng)
                if rng.random() < 0.15:
                    user = shapes.small(rng, ObjectClass.BICYCLE)
                add(user, x, y, yaw + (np.pi if side > 0 else 0.0) + float(rng.normal(0.0, 0.08)))
            kind, fill = rng.random(), float(rng.uniform(0.1, 0.9))
            s = -_REACH
            while s < _REACH and kind < 0.75:  # parked, lengthways or crossways
                crosswise = kind < 0.15
                s += float(rng.uniform(2.6, 3.2)) if crosswise else float(rng.uniform(5.2, 6.8))
                if rng.random() > fill:
                    continue
                x, y, yaw = street(s, side * (half_road + (2.6 if crosswise else 1.1)))
                user = shapes.truck(rng) if rng.random() < 0.04 else shapes.car(rng)
                add(user, x, y, yaw + (np.pi / 2 if crosswise else 0.0) + np.pi * int(rng.integers(2))
                    + float(rng.normal(0.0, 0.04)))  # fmt: skip
            edge = half_road + float(rng.uniform(2.2, 10.0))
            s = -_REACH
            while s < _REACH:  # what the street is lined with
                make = (shapes.wall, shapes.hedge, shapes.bush, shapes.tree, shapes.post, shapes.crate)[
                    int(rng.choice(6, p=[0.28, 0.24, 0.14, 0.16, 0.12, 0.06]))
                ]
                s += float(rng.uniform(0.8, 9.0))
                d = edge if make in (shapes.wall, shapes.hedge) else float(rng.uniform(half_road + 0.4, edge + 4.0))
                x, y, yaw = street(s, side * d)
                if free(x, y, 0.8):
                    tilt = (
                        yaw
                        + float(rng.choice([0.0, 0.0, np.pi / 2, rng.uniform(0, np.pi)]))
                        + float(rng.normal(0, 0.05))
                    )
                    others.append(
                        shapes.put(make(rng), x, y, float(rng.uniform(-0.1, 0.2)), tilt + (np.pi if side < 0 else 0))
                    )
                    taken.append((x, y, 0.6))
    for label in (ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE):
        for _ in range(int(rng.integers(2, 14 if label == ObjectClass.PEDESTRIAN else 6))):
            reach, bearing = float(rng.uniform(3.0, 45.0)), float(rng.uniform(-np.pi, np.pi))
            add(
                shapes.small(rng, label),
                reach * np.cos(bearing),
                reach * np.sin(bearing),
                float(rng.uniform(-np.pi, np.pi)),
            )
    return users, others


def shoot(rng: np.random.Generator, lidar: SimulatedLidar) -> tuple[LidarSweep, RecordArray]:
    """A sweep of a random scene, and its road users (SCENE_DTYPE) in base_link, which lies below the lidar."""
    users, others = random_scene(rng)
    wave = rng.normal(0.0, 1.0, (4, 3)) * [0.25, 0.12, 0.12]
    steep = rng.normal(0.0, 0.012, 2)

    def ground(x: FloatArray, y: FloatArray) -> FloatArray:
        z = steep[0] * x + steep[1] * y
        for a, b, c in wave:
            z = z + 0.25 * a * np.sin(b * x + c * y + 3.0 * a) * np.minimum(np.hypot(x, y) / 20.0, 1.0)
        return np.asarray(z)

    parts = [_ground_mesh(ground)]
    owners = [np.full(len(parts[0][0]), _NOTHING)]
    for triangles, material in others:
        lift = float(ground(np.asarray(triangles[..., 0].mean()), np.asarray(triangles[..., 1].mean())))
        parts.append((triangles + np.array([0.0, 0.0, lift]), material))
        owners.append(np.full(len(triangles), _NOTHING))
    truth = np.zeros(len(users), SCENE_DTYPE)
    for k, (user, x, y, yaw) in enumerate(users):
        z = float(ground(np.asarray(x), np.asarray(y)))
        parts.append(shapes.put(user.solid, x, y, z, yaw))
        owners.append(np.full(len(parts[-1][0]), k))
        truth[k] = (int(user.label), x, y, z, yaw, user.length, user.width, user.height, 0)
    triangles = np.concatenate([p[0] for p in parts])
    material, owner = np.concatenate([p[1] for p in parts]), np.concatenate(owners)
    azimuth = np.arange(lidar.azimuths) * (2.0 * np.pi / lidar.azimuths) + float(rng.uniform(0.0, 0.01))
    flat = np.cos(lidar.elevations)
    rays = np.stack(
        [np.outer(np.cos(azimuth), flat).ravel(), np.outer(np.sin(azimuth), flat).ravel(),
         np.tile(np.sin(lidar.elevations), lidar.azimuths)], axis=1).astype(np.float32)  # fmt: skip
    T_base_lidar = np.eye(4)
    T_base_lidar[:3, 3] = [0.8, 0.0, lidar.height]
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(triangles - T_base_lidar[:3, 3], np.float32))
    hit = scene.run(
        np.zeros_like(rays), rays, dists=np.full(len(rays), 80.0, np.float32), query="INTERSECT", output=True
    )
    index, reach = hit["primID"], hit["tfar"]
    seen = index != _NOTHING
    kinds = np.where(seen, material[index], 0)
    cosine = np.abs(np.einsum("ij,ij->i", normals(triangles)[index], rays))
    lost = lidar.loss + lidar.glass_loss * (kinds == Material.GLASS) + 0.15 * (kinds == Material.FOLIAGE)
    lost = (
        lost
        + np.clip(1.0 - np.exp(-lidar.haze * reach), 0.0, 1.0)
        + np.clip(reach / 70.0, 0, 1) * (cosine < 0.06) * 0.9
    )
    seen &= rng.random(len(rays)) > lost
    noise = rng.standard_normal(len(rays)) * np.where(kinds == Material.FOLIAGE, 0.15, lidar.sigma)
    leaves = (kinds == Material.FOLIAGE) * rng.exponential(0.15, len(rays))
    xyz = (rays * (reach + noise + leaves)[:, None])[seen]
    points = np.zeros(len(xyz), [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    points["x"], points["y"], points["z"] = xyz.T
    mine = owner[index[seen]]
    truth["points"] = np.bincount(mine[mine >= 0], minlength=len(users))[: len(users)] if len(users) else 0
    return LidarSweep(0, points, T_base_lidar), truth


def _ground_mesh(ground: object) -> Solid:
    n = round(2.0 * 80.0 / _GROUND_CELL)
    line = np.linspace(-80.0, 80.0, n + 1)
    x, y = np.meshgrid(line, line, indexing="ij")
    grid = np.stack([x, y, ground(x, y)], axis=-1)  # type: ignore[operator]
    corners = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=2).reshape(-1, 4, 3)
    triangles = quads(corners)
    return triangles, np.full(len(triangles), int(Material.ROAD), np.uint8)
