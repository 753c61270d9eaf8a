"""Who touches whom among the server's cars, walkers, props and walls, and what the touch does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from robotaxi.carla_link.server.vehicles import Fleet
from robotaxi.sim import contact
from robotaxi.sim.contact import Box
from robotaxi.sim.ego import VX, VY, YAW, X, Y
from robotaxi.types import FloatArray, RecordArray

_RESTITUTION = 0.1
_KEEP_NEAR = 15.0  # m beyond a car for which its list of walls is kept
_REFRESH = 10.0  # m moved after which the list is made anew


@dataclass(frozen=True)
class Touch:
    """``impulse`` (2,) N s on ``actor``; ``other`` 0 is a wall."""

    actor: int
    other: int
    impulse: FloatArray


class Walls:
    """The boxes of the scenery that stand still: AGENT_DTYPE-like records with x, y, yaw, length, width."""

    def __init__(self, boxes: RecordArray) -> None:
        self.boxes = boxes
        self._radius = 0.5 * np.hypot(boxes["length"], boxes["width"]) if len(boxes) else np.zeros(0)
        self._near: dict[int, tuple[float, float, NDArray[np.int64]]] = {}

    def near(self, actor: int, x: float, y: float) -> RecordArray:
        """Those that a car may touch; looked up again only after it has moved a while."""
        known = self._near.get(actor)
        if known is None or math.hypot(known[0] - x, known[1] - y) > _REFRESH:
            away = np.hypot(self.boxes["x"] - x, self.boxes["y"] - y) - self._radius
            known = (x, y, np.flatnonzero(away < _KEEP_NEAR + _REFRESH))
            self._near[actor] = known
        return self.boxes[known[2]]

    def forget(self, actor: int) -> None:
        self._near.pop(actor, None)


def overlaps(x: float, y: float, yaw: float, size: tuple[float, float, float], others: RecordArray) -> int | None:
    """Index of one of ``others`` that a box would overlap, None for none."""
    if not len(others):
        return None
    mask, _, _ = contact.overlap(Box(x, y, yaw, size[0], size[1]), others)
    found = np.flatnonzero(mask)
    return int(found[0]) if found.size else None


def resolve(fleet: Fleet, agents: RecordArray, masses: dict[int, float], walls: Walls) -> list[Touch]:
    """Push apart what overlaps, exchange impulses, and tell what touched.

    ``agents`` (AGENT_DTYPE) holds the fleet's rows first, in its order, then everybody else; positions and
    velocities of others who were hit are changed in it.
    """
    touches: list[Touch] = []
    count = len(fleet)
    if not count:
        return touches
    reach = 0.5 * np.hypot(agents["length"], agents["width"])
    tree = cKDTree(np.stack([agents["x"], agents["y"]], axis=1))
    pairs = tree.query_pairs(2.0 * float(reach.max()), output_type="ndarray")
    for i, j in sorted(map(tuple, pairs.tolist())):
        if (
            i < count
            and math.hypot(agents["x"][i] - agents["x"][j], agents["y"][i] - agents["y"][j]) < reach[i] + reach[j]
        ):
            touch = _pair(fleet, agents, masses, int(i), int(j))
            if touch is not None:
                touches.append(touch)
                touches.append(Touch(touch.other, touch.actor, -touch.impulse))
    for i in range(count if len(walls.boxes) else 0):
        if fleet.physics[i]:
            x, y = float(fleet.state[i, X]), float(fleet.state[i, Y])
            touches += _wall(fleet, i, walls.near(int(fleet.ids[i]), x, y))
    return touches


def _box(agents: RecordArray, i: int) -> Box:
    return Box(*(float(agents[name][i]) for name in ("x", "y", "yaw", "length", "width")))


def _velocity(fleet: Fleet, i: int) -> FloatArray:
    c, s = math.cos(fleet.state[i, YAW]), math.sin(fleet.state[i, YAW])
    vx, vy = fleet.state[i, VX], fleet.state[i, VY]
    return np.array([c * vx - s * vy, s * vx + c * vy])


def _set_velocity(fleet: Fleet, i: int, velocity: FloatArray) -> None:
    c, s = math.cos(fleet.state[i, YAW]), math.sin(fleet.state[i, YAW])
    fleet.state[i, VX] = c * velocity[0] + s * velocity[1]
    fleet.state[i, VY] = c * velocity[1] - s * velocity[0]


def _pair(fleet: Fleet, agents: RecordArray, masses: dict[int, float], i: int, j: int) -> Touch | None:
    mask, depth, normal = contact.overlap(_box(agents, i), agents[j : j + 1])
    if not mask[0]:
        return None
    n, overlap = normal[0], float(depth[0])
    first, second = int(agents["id"][i]), int(agents["id"][j])
    m1 = masses[first] if fleet.physics[i] else math.inf
    moves = j >= len(fleet) or bool(fleet.physics[j])
    m2 = masses[second] if moves else math.inf
    v1 = _velocity(fleet, i)
    v2 = _velocity(fleet, j) if j < len(fleet) else np.array([agents["vx"][j], agents["vy"][j]])
    inverse = 1.0 / m1 + 1.0 / m2
    if inverse == 0.0:
        return Touch(first, second, np.zeros(2))
    size = max(0.0, -(1.0 + _RESTITUTION) * float((v1 - v2) @ n)) / inverse
    share = (1.0 / m1) / inverse
    if not math.isinf(m1):
        _set_velocity(fleet, i, v1 + n * size / m1)
        fleet.state[i, [X, Y]] += n * overlap * share
    if not math.isinf(m2):
        back = n * overlap * (1.0 - share)
        if j < len(fleet):
            _set_velocity(fleet, j, v2 - n * size / m2)
            fleet.state[j, [X, Y]] -= back
        agents["x"][j] -= back[0]
        agents["y"][j] -= back[1]
    agents["x"][i], agents["y"][i] = fleet.state[i, X], fleet.state[i, Y]
    return Touch(first, second, n * size)


def _wall(fleet: Fleet, i: int, walls: RecordArray) -> list[Touch]:
    if not len(walls):
        return []
    state = fleet.state[i]
    box = Box(float(state[X]), float(state[Y]), float(state[YAW]), float(fleet.size[i, 0]), float(fleet.size[i, 1]))
    mask, depth, normal = contact.overlap(box, walls)
    touches = []
    for k in np.flatnonzero(mask).tolist():
        velocity = _velocity(fleet, i)
        closing = min(0.0, float(velocity @ normal[k]))
        impulse = -(1.0 + _RESTITUTION) * closing * normal[k] * fleet.constants[i, 0]
        _set_velocity(fleet, i, velocity + impulse / fleet.constants[i, 0])
        state[[X, Y]] += normal[k] * float(depth[k])
        touches.append(Touch(int(fleet.ids[i]), 0, impulse))
    return touches
