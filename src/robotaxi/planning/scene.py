"""The scene as the behaviours see it: everything in arc length along the reference path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.path_math import occupancy, project
from robotaxi.planning.reference import Reference
from robotaxi.planning.route_features import RouteFeatures
from robotaxi.prediction import LaneGraph, PredictionConfig, Predictions, predict
from robotaxi.types import ObjectClass, RecordArray, VehicleParams

FloatArray = NDArray[np.floating[Any]]

BEHIND = 8.0  # m of path behind the car where objects still count
GHOST_MATCH = 2.5  # m around a vanished object within which another one takes its place
MAX_SIZE = 25.0  # m, longest box believed
MIN_SIZE = 0.2  # m

CLASS_NAMES = {
    int(ObjectClass.UNKNOWN): "obstacle",
    int(ObjectClass.CAR): "car",
    int(ObjectClass.TRUCK): "truck",
    int(ObjectClass.BICYCLE): "cyclist",
    int(ObjectClass.PEDESTRIAN): "pedestrian",
}


@dataclass(frozen=True)
class Scene:
    """One planning cycle.

    ``s``: base_link on the path, ``front_s``: its front bumper, ``speed``, ``acceleration``: where
    the plan starts. ``objects``: OBJECT_DTYPE at the stamp; ``now`` (N, 4): corridor covered by
    each (see `occupancy`); ``ahead`` (P, K, 4): the same along the predicted paths; ``along``
    (N,): speed along the path; ``offset`` (N,): lateral offset of the centre, ``centre_s`` (N,).
    ``lateral`` (N,): speed across the path, positive towards it.
    """

    reference: Reference
    features: RouteFeatures
    graph: LaneGraph
    config: PlannerConfig
    vehicle: VehicleParams
    stamp_ns: int
    s: float
    speed: float
    acceleration: float
    objects: RecordArray
    predictions: Predictions
    now: FloatArray
    ahead: FloatArray
    along: FloatArray
    lateral: FloatArray
    offset: FloatArray
    centre_s: FloatArray
    curve_speed: FloatArray  # (P,) of the reference: limit and curves

    @property
    def front_s(self) -> float:
        return self.s + self.vehicle.front

    @property
    def standing(self) -> bool:
        return self.speed < self.config.standstill_speed

    def needed_deceleration(self, stop_s: float) -> float:
        """Constant braking that stops base_link at ``stop_s``."""
        return self.speed**2 / (2.0 * max(stop_s - self.s, 0.05))

    def name(self, i: int) -> str:
        return f"{CLASS_NAMES.get(int(self.objects['label'][i]), 'obstacle')} {int(self.objects['id'][i])}"

    def time_to(self, distance: float) -> float:
        """Seconds until the car has driven ``distance`` if it goes on now with normal acceleration."""
        if distance <= 0.0:
            return 0.0
        lo = self.reference.index(self.s)
        hi = max(lo + 1, self.reference.index(self.s + distance) + 1)
        top = max(float(np.mean(self.curve_speed[lo:hi])), self.speed, 1.0)
        a = self.config.acceleration
        delay = START_DELAY if self.speed < 0.5 else 0.0
        ramp = (top * top - self.speed**2) / (2.0 * a)
        if ramp >= distance:
            return delay + (np.sqrt(self.speed**2 + 2.0 * a * distance) - self.speed) / a
        return delay + (top - self.speed) / a + (distance - ramp) / top


START_DELAY = 0.6  # s from the decision to go until a standing car moves


@dataclass
class ObjectMemory:
    """Objects on the path, kept for a moment when they flicker."""

    objects: RecordArray | None = None
    stamp_ns: int = 0
    on_path: list[int] = field(default_factory=list)


def at_stamp(objects: RecordArray, objects_stamp_ns: int, stamp_ns: int, config: PlannerConfig) -> RecordArray:
    """Believable objects moved by their velocity to ``stamp_ns``; broken records are dropped."""
    fine = np.ones(objects.size, bool)
    for name in ("x", "y", "yaw", "length", "width", "vx", "vy"):
        fine &= np.isfinite(objects[name])
    fine &= objects["existence"] >= config.min_existence
    out = objects[fine]
    dt = (stamp_ns - objects_stamp_ns) * 1e-9
    out["x"] += out["vx"] * np.float32(dt)
    out["y"] += out["vy"] * np.float32(dt)
    out["length"] = np.minimum(np.maximum(out["length"], MIN_SIZE), MAX_SIZE)
    out["width"] = np.minimum(np.maximum(out["width"], MIN_SIZE), MAX_SIZE)
    return out


def with_ghosts(objects: RecordArray, memory: ObjectMemory, stamp_ns: int, config: PlannerConfig) -> RecordArray:
    """Add the objects that were on the path in the last cycle and are missing now."""
    if memory.objects is None or not memory.on_path:
        return objects
    dt = np.float32((stamp_ns - memory.stamp_ns) * 1e-9)
    if not 0.0 < dt <= config.ghost_time:
        return objects
    ghosts = memory.objects[memory.on_path].copy()
    ghosts["x"] += ghosts["vx"] * dt
    ghosts["y"] += ghosts["vy"] * dt
    ghosts["existence"] -= dt / np.float32(max(config.ghost_time, 1e-3))
    keep = ghosts["existence"] > 0.0
    for i in range(ghosts.size):
        near = np.hypot(objects["x"] - ghosts["x"][i], objects["y"] - ghosts["y"][i]) < GHOST_MATCH
        if near.any() or (objects["id"] == ghosts["id"][i]).any():
            keep[i] = False
    return np.concatenate([objects, ghosts[keep]])


def look(
    reference: Reference,
    features: RouteFeatures,
    graph: LaneGraph,
    curve_speed: FloatArray,
    objects: RecordArray,
    stamp_ns: int,
    s: float,
    speed: float,
    acceleration: float,
    vehicle: VehicleParams,
    config: PlannerConfig,
    prediction_config: PredictionConfig,
) -> Scene:
    """Put ``objects`` (at the stamp) and their predictions in relation to the path."""
    predictions = predict(objects, graph, prediction_config)
    lo, hi = reference.index(s - BEHIND), reference.index(s + config.look_ahead) + 1
    half = vehicle.width / 2.0 + config.moving_margin
    # the front corner swings out to the outside of a curve by front^2 / (2 R)
    swing = 0.5 * vehicle.front**2 * np.abs(reference.curvature[lo:hi])
    outward = np.minimum(swing, 1.0)
    left, right = np.full(reference.s.size, half), np.full(reference.s.size, half)
    turns_left = reference.curvature[lo:hi] > 0.0
    right[lo:hi] += np.where(turns_left, outward, 0.0)
    left[lo:hi] += np.where(turns_left, 0.0, outward)

    def cover(x: FloatArray, y: FloatArray, yaw: FloatArray, who: NDArray[np.int64]) -> FloatArray:
        length, width = objects["length"].astype(float)[who], objects["width"].astype(float)[who]
        return np.asarray(
            occupancy(
                reference.x, reference.y, reference.yaw, reference.s, left, right, lo, hi, x, y, yaw, length, width
            )
        )

    n = objects.size
    everyone = np.arange(n)
    x, y = objects["x"].astype(float), objects["y"].astype(float)
    now = cover(x, y, objects["yaw"].astype(float), everyone)
    steps = round(config.hazard_time / prediction_config.step) + 1
    ahead = np.full((predictions.size, steps, 4), np.nan)
    speeds = np.hypot(objects["vx"], objects["vy"])
    moving = np.flatnonzero((speeds >= config.walking_speed)[predictions.owner]) if n else np.zeros(0, np.int64)
    if moving.size:
        who = np.repeat(predictions.owner[moving], steps)
        x_k, y_k, yaw_k = (
            np.ascontiguousarray(values[moving, :steps]).ravel()
            for values in (predictions.x, predictions.y, predictions.yaw)
        )
        ahead[moving] = cover(x_k, y_k, yaw_k, who).reshape(moving.size, steps, 4)
    along, lateral = np.zeros(n), np.zeros(n)
    offset, centre_s = np.full(n, np.inf), np.zeros(n)
    for i in range(n):
        k, beyond, d = project(reference.x, reference.y, reference.yaw, lo, hi, x[i], y[i])
        c, sn = np.cos(reference.yaw[k]), np.sin(reference.yaw[k])
        along[i] = c * objects["vx"][i] + sn * objects["vy"][i]
        across = -sn * objects["vx"][i] + c * objects["vy"][i]
        lateral[i] = -across if d > 0.0 else across
        offset[i], centre_s[i] = d, reference.s[k] + beyond
    return Scene(
        reference, features, graph, config, vehicle, stamp_ns, s, speed, acceleration, objects, predictions,
        now, ahead, along, lateral, offset, centre_s, curve_speed,
    )  # fmt: skip
