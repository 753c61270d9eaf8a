"""Perfect perception: the true world as the messages of the stack, blurred like real perception if wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.hdmap.light_records import light_records
from robotaxi.sim.terrain import STOREY
from robotaxi.sim.view import WorldView
from robotaxi.types import CLASS_FIELDS, OBJECT_DTYPE, FloatArray, LightState, RecordArray

RANGE = 60.0  # m
STEEPEST = 0.15  # m per m away: who is a storey further above or below than that is on another road
LIGHT_RANGE = 70.0  # m
LIGHT_ANGLE = 1.0  # rad off the car's heading


@dataclass(frozen=True)
class Blur:
    """How far the seen objects are from the true ones; zeros are perfect perception."""

    position: float = 0.0  # m, sigma
    yaw: float = 0.0  # rad
    speed: float = 0.0  # m/s
    shrink: float = 0.0  # largest share of the length that is not seen
    drop: float = 0.0  # probability that an object is missing from one message
    clutter: int = 0  # false objects beside the road in each message


ROUGH = Blur(position=0.15, yaw=0.06, speed=0.35, shrink=0.4, drop=0.05, clutter=3)


class Perceiver:
    """True world to messages, with memory for 'has not moved since first seen'."""

    def __init__(self, parked: RecordArray, seed: int, blur: Blur) -> None:
        self._parked, self._at, self._blur = parked, _places(parked), blur
        self._rng = np.random.default_rng([seed, 77])
        self._moved: set[int] = set()

    def objects(self, view: WorldView) -> RecordArray:
        near = np.concatenate([_near(view.agents, *_places(view.agents), view), _near(self._parked, *self._at, view)])
        self._moved |= {int(k) for k in near["id"][np.hypot(near["vx"], near["vy"]) > 0.5]}
        blur, rng = self._blur, self._rng
        out: RecordArray = np.zeros(near.size, OBJECT_DTYPE)
        for name in ("x", "y", "z", "yaw", "length", "width", "height", "vx", "vy", "id", "label"):
            out[name] = near[name]
        out["existence"] = 1.0
        for label, name in enumerate(CLASS_FIELDS):
            out[name] = near["label"] == label
        out["static"] = [int(k) not in self._moved for k in near["id"]]
        moving = np.hypot(out["vx"], out["vy"]) > 0.3
        n = out.size
        out["x"] += rng.normal(0.0, 1.0, n) * blur.position
        out["y"] += rng.normal(0.0, 1.0, n) * blur.position
        out["yaw"] += rng.normal(0.0, 1.0, n) * blur.yaw
        out["vx"] += rng.normal(0.0, 1.0, n) * blur.speed * moving
        out["vy"] += rng.normal(0.0, 1.0, n) * blur.speed * moving
        out["length"] *= 1.0 - rng.uniform(0.0, 1.0, n) * blur.shrink
        out = out[rng.uniform(0.0, 1.0, n) >= blur.drop]
        return np.concatenate([out, self._clutter(view)])

    def _clutter(self, view: WorldView) -> RecordArray:
        out = np.zeros(self._blur.clutter, OBJECT_DTYPE)
        along = self._rng.uniform(5.0, 40.0, out.size)
        aside = self._rng.choice([-1.0, 1.0], out.size) * self._rng.uniform(9.0, 14.0, out.size)
        c, s = math.cos(view.ego.yaw), math.sin(view.ego.yaw)
        out["x"], out["y"] = view.ego.x + c * along - s * aside, view.ego.y + s * along + c * aside
        out["length"], out["width"], out["height"], out["existence"] = 1.0, 0.8, 1.2, 0.6
        out["id"] = self._rng.integers(1 << 20, 1 << 24, out.size)
        out["static"] = 1
        return out

    def lights(self, view: WorldView, lane_map: LaneMap) -> RecordArray:
        rows = []
        for key, signal in sorted(lane_map.signals.items()):
            dx, dy = signal.position[0] - view.ego.x, signal.position[1] - view.ego.y
            off = (math.atan2(dy, dx) - view.ego.yaw + math.pi) % (2.0 * math.pi) - math.pi
            if math.hypot(dx, dy) < LIGHT_RANGE and abs(off) < LIGHT_ANGLE:
                rows.append((signal, view.lights.get(key, LightState.UNKNOWN), 1.0))
        return light_records(rows)


def _places(agents: RecordArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """x, y, z (N,) each, one number beside the other."""
    x, y, z = (np.ascontiguousarray(agents[name]) for name in ("x", "y", "z"))
    return x, y, z


def _near(agents: RecordArray, x: FloatArray, y: FloatArray, z: FloatArray, view: WorldView) -> RecordArray:
    away = np.hypot(x - view.ego.x, y - view.ego.y)
    return agents[(away < RANGE) & (np.abs(z - view.ego.z) < STOREY + STEEPEST * away)]
