"""Random solids of road users and of what is mistaken for them, as triangles a lidar can be shot at.

Shapes come in metres around the origin, standing on z = 0, front along x. More varied than the simulator's own: a
network that has seen one car has learned one car.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from robotaxi.sim.mesh import Material, box, circle_ring, ellipsoid, loft, place, rectangle_ring
from robotaxi.sim.scenery.road_users import road_users_mesh
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import FloatArray, ObjectClass

Solid = tuple[FloatArray, NDArray[np.uint8]]  # triangles (T, 3, 3), Material (T,)


@dataclass(frozen=True)
class RoadUser:
    label: ObjectClass
    length: float
    width: float
    height: float
    solid: Solid


def _solid(*parts: tuple[FloatArray, Material]) -> Solid:
    return (
        np.concatenate([triangles for triangles, _ in parts]),
        np.concatenate([np.full(len(triangles), int(material), np.uint8) for triangles, material in parts]),
    )


def _ring(x_lo: float, x_hi: float, width: float, z: float) -> FloatArray:
    return rectangle_ring(x_lo, x_hi, -0.5 * width, 0.5 * width, z)


def car(rng: np.random.Generator) -> RoadUser:
    """Saloon, estate, hatchback, off-roader or van: bonnet, cabin and boot of random proportions."""
    kind = rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])
    length = float(rng.uniform((3.5, 4.2, 4.2, 4.4)[kind], (4.5, 5.1, 5.0, 6.2)[kind]))
    width = float(rng.uniform((1.55, 1.7, 1.75, 1.8)[kind], (1.8, 1.95, 2.05, 2.15)[kind]))
    height = float(rng.uniform((1.35, 1.35, 1.6, 1.8)[kind], (1.6, 1.55, 1.95, 2.6)[kind]))
    clear = float(rng.uniform(0.12, 0.35))
    belt = float(rng.uniform(0.55, 0.68)) * height
    bonnet = float(rng.uniform(0.1, 0.22 if kind == 3 else 0.33)) * length
    boot = float(rng.uniform(0.0, 0.04 if kind in (0, 2, 3) else 0.22)) * length
    back, front = -0.5 * length, 0.5 * length
    screen, rear = float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.05, 0.6))
    nose = belt * float(rng.uniform(0.8, 1.0))
    inset = float(rng.uniform(0.02, 0.3))
    shoulder = rectangle_ring(back, front, -0.5 * width, 0.5 * width, (belt, nose, nose, belt))
    cabin = _ring(back + boot, front - bonnet, width - 0.04, 0.98 * nose)
    roof = _ring(back + boot + rear, front - bonnet - screen, width - 0.05 - inset, height)
    lower = loft(_ring(back + 0.03, front - 0.03, width - 0.08, clear), _ring(back, front, width, clear + 0.15),
                 bottom=True, top=False)  # fmt: skip
    sides = loft(_ring(back, front, width, clear + 0.15), shoulder)
    glass = Material.PAINT if rng.random() < 0.25 else Material.GLASS
    upper = loft(cabin, roof, top=False)
    top = loft(roof, roof + np.array([0.0, 0.0, 0.01]))
    parts = [(lower, Material.PAINT), (sides, Material.PAINT), (upper, glass), (top, Material.PAINT)]
    return RoadUser(ObjectClass.CAR, length, width, height, _solid(*parts))


def truck(rng: np.random.Generator) -> RoadUser:
    """Lorry with a cab and a body, or a bus."""
    width, height = float(rng.uniform(2.2, 2.6)), float(rng.uniform(2.6, 3.7))
    clear = float(rng.uniform(0.25, 0.6))
    if rng.random() < 0.4:
        length = float(rng.uniform(7.0, 12.5))
        body = box((-0.5 * length, 0.5 * length), (-0.5 * width, 0.5 * width), (clear, height))
        return RoadUser(ObjectClass.TRUCK, length, width, height, _solid((body, Material.PAINT)))
    length = float(rng.uniform(5.5, 12.0))
    cab = float(rng.uniform(1.6, 2.3))
    gap = float(rng.uniform(0.1, 0.8))
    cab_height = float(rng.uniform(0.65, 0.95)) * height
    load = box((-0.5 * length, 0.5 * length - cab - gap), (-0.5 * width, 0.5 * width), (clear + 0.4, height))
    front = box((0.5 * length - cab, 0.5 * length), (-0.48 * width, 0.48 * width), (clear, cab_height))
    frame = box((-0.48 * length, 0.48 * length), (-0.35 * width, 0.35 * width), (clear, clear + 0.5))
    return RoadUser(ObjectClass.TRUCK, length, width, height, _solid((load, Material.PAINT), (front, Material.PAINT),
                                                                     (frame, Material.HOUSING)))  # fmt: skip


def small(rng: np.random.Generator, label: ObjectClass) -> RoadUser:
    """The simulator's cyclist or pedestrian in random size."""
    agent = np.zeros(1, AGENT_DTYPE)
    if label == ObjectClass.PEDESTRIAN:
        height = float(rng.uniform(1.1, 1.95))
        length, width = float(rng.uniform(0.3, 0.4)) * height / 1.0, float(rng.uniform(0.3, 0.42)) * height
    else:
        height = float(rng.uniform(1.45, 1.85))
        length, width = float(rng.uniform(1.55, 2.1)), float(rng.uniform(0.5, 0.8))
    agent["label"], agent["length"], agent["width"], agent["height"] = int(label), length, width, height
    mesh, _ = road_users_mesh(agent, detail=False)
    return RoadUser(label, length, width, height, (mesh.triangles.astype(np.float64), mesh.material))


def wall(rng: np.random.Generator) -> Solid:
    """A wall or a house front with bays, or a line of railings."""
    length, height = float(rng.uniform(2.0, 30.0)), float(rng.choice([rng.uniform(0.5, 2.2), rng.uniform(2.5, 8.0)]))
    depth = float(rng.uniform(0.15, 0.5)) if height < 2.3 else float(rng.uniform(3.0, 9.0))
    if height < 2.3 and rng.random() < 0.3:  # railings: posts with gaps
        posts = [
            box((x, x + 0.06), (-0.03, 0.03), (0.0, height)) for x in np.arange(0.0, min(length, 15.0), 0.35).tolist()
        ]
        rails = [box((0.0, min(length, 15.0)), (-0.02, 0.02), (z, z + 0.05)) for z in (0.3, height - 0.06)]
        return _solid((np.concatenate(posts + rails) - [0.5 * length, 0.0, 0.0], Material.METAL))
    half = 0.5 * length
    parts = [(box((-half, half), (0.0, depth), (-0.3, height)), Material.FACADE)]
    for _ in range(int(rng.integers(0, 4)) if height > 2.3 else 0):
        x, w = float(rng.uniform(-half, half)), float(rng.uniform(0.4, 3.0))
        out = float(rng.uniform(0.1, 1.5))
        top = float(rng.uniform(0.4, height))
        parts.append((box((x, x + w), (-out, 0.1), (-0.3, top)), Material.FACADE))
    return _solid(*parts)


def hedge(rng: np.random.Generator) -> Solid:
    """A row of rough bushes grown into one another."""
    length, height = float(rng.uniform(1.0, 20.0)), float(rng.uniform(0.5, 2.6))
    depth = float(rng.uniform(0.5, 1.8))
    parts, x = [], -0.5 * length
    while x < 0.5 * length:
        step = float(rng.uniform(0.4, 1.6))
        size = np.array([step, depth * rng.uniform(0.4, 0.7), height * rng.uniform(0.4, 0.65)])
        middle = (x, float(rng.normal(0.0, 0.15)), size[2] * rng.uniform(0.6, 0.95))
        parts.append(_rough(middle, size, rng, 0.15))
        x += step
    return _solid((np.concatenate(parts), Material.FOLIAGE))


def bush(rng: np.random.Generator) -> Solid:
    size = rng.uniform(0.3, 1.8, 3) * [1.0, 1.0, 0.6]
    return _solid((_rough((0.0, 0.0, 0.7 * size[2]), size, rng, 0.2), Material.FOLIAGE))


def tree(rng: np.random.Generator) -> Solid:
    radius, clear = float(rng.uniform(0.05, 0.35)), float(rng.uniform(0.8, 4.0))
    crown = rng.uniform(0.8, 3.0, 3)
    trunk = loft(circle_ring(0, 0, -0.2, radius, 7), circle_ring(0, 0, clear + crown[2], 0.7 * radius, 7))
    leaves = _rough((0.0, 0.0, clear + crown[2]), crown, rng, 0.2)
    return _solid((trunk, Material.TRUNK), (leaves, Material.FOLIAGE))


def post(rng: np.random.Generator) -> Solid:
    """Pole, bollard or sign."""
    radius, height = float(rng.uniform(0.03, 0.2)), float(rng.choice([rng.uniform(0.6, 1.3), rng.uniform(2.0, 7.0)]))
    parts = [(loft(circle_ring(0, 0, -0.2, radius, 7), circle_ring(0, 0, height, radius, 7)), Material.METAL)]
    if height > 2.0 and rng.random() < 0.5:
        w = float(rng.uniform(0.2, 0.5))
        parts.append((box((-0.02, 0.02), (-w, w), (height - 2 * w, height)), Material.SIGN))
    return _solid(*parts)


def crate(rng: np.random.Generator) -> Solid:
    """Bin, cabinet, bench, heap or skip."""
    a, b, c = (float(v) for v in rng.uniform([0.3, 0.3, 0.3], [2.2, 1.2, 1.6]))
    return _solid((box((-a, a), (-b, b), (0.0, c)) * [0.6, 0.6, 1.0], Material.HOUSING))


def _rough(center: tuple[float, ...], radius: FloatArray, rng: np.random.Generator, amount: float) -> FloatArray:
    """An ellipsoid whose corners are pushed about, each the same way in every triangle that shares it."""
    corners, index = _unit_ball()
    return (corners * radius + rng.normal(0.0, amount, corners.shape) + np.asarray(center))[index]


@cache
def _unit_ball() -> tuple[FloatArray, NDArray[np.intp]]:
    triangles = ellipsoid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 4, 7)
    corners, index = np.unique(np.round(triangles.reshape(-1, 3), 6), axis=0, return_inverse=True)
    return corners, index.reshape(-1, 3)


def put(solid: Solid, x: float, y: float, z: float, yaw: float) -> Solid:
    return place(solid[0], x, y, z, yaw)[0], solid[1]
