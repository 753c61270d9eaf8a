"""One ride driven twice by the same planner and controller: in the world itself, and through the wire and the bridge.

Perception is perfect and nobody else is about, so that what differs is the way from command to motion and back.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.carla_link.bridge.connection import CarlaOptions
from robotaxi.carla_link.bridge.world import CarlaWorld
from robotaxi.evaluation.town_ride import TownRide, drive
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sensor_rig import load_rig
from robotaxi.sim.ride_plan import RidePlan, plan_ride
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import FloatArray, VehicleParams

_SHORTEST, _LONGEST = 900.0, 1500.0  # m


def agreement(town: Path, seed: int, vehicle: VehicleParams, port: int, cars: int = 0) -> dict[str, Any]:
    """How far the two paths are apart; ``port``: of a server of that town; ``cars``: of TrafficManager on it.

    Raises MapError, RouteError, CarlaError.
    """
    lane_map = load_map(town)
    plan = plan_ride(lane_map, seed, _SHORTEST, _LONGEST)
    wired = through_wire(lane_map, plan, seed, vehicle, port, cars)
    direct = directly(lane_map, plan, seed, vehicle)
    both = wired.completed and direct.completed
    apart = distances(direct.truth[:, 1:3], wired.truth[:, 1:3])
    return {
        "map": lane_map.name,
        "seed": seed,
        "length_m": round(plan.length, 1),
        "completed": {"direct": direct.completed, "wire": wired.completed},
        "reasons": [text for text in (direct.reason, wired.reason) if text],
        "driven_m": {"direct": _length(direct), "wire": _length(wired)},
        "apart_p95_m": round(float(np.percentile(apart, 95)), 4),
        "apart_max_m": round(float(apart.max()), 4),
        "worst_at": _place(wired, int(np.argmax(apart))),
        "infractions": {
            "direct": [item.detail for item in direct.world.infractions],
            "wire": [item.detail for item in wired.world.infractions],
        },
        "both_arrive": both,
    }


def through_wire(
    lane_map: LaneMap, plan: RidePlan, seed: int, vehicle: VehicleParams, port: int, cars: int
) -> TownRide:
    """The ride on a CARLA server; closes the connection. Raises CarlaError."""
    options = CarlaOptions(port=port, traffic=cars, seed=seed)
    rig = load_rig("robotaxi")
    world = CarlaWorld(options, lane_map, vehicle, rig, WorldConfig(), plan.start, (), lambda _: -1, camera=False)
    try:
        return drive(lane_map, vehicle, seed, parked=_nobody(), plan=plan, world=world)  # type: ignore[arg-type]
    finally:
        world.close()


def directly(lane_map: LaneMap, plan: RidePlan, seed: int, vehicle: VehicleParams) -> TownRide:
    """The ride in the world itself, with nobody else in it."""
    config = WorldConfig(traffic_cars=0, pedestrian_count=0)
    world = World(lane_map, vehicle, config, seed, plan.start, parked=_nobody())
    return drive(lane_map, vehicle, seed, parked=_nobody(), plan=plan, world=world)


def distances(line: FloatArray, points: FloatArray) -> FloatArray:
    """Metres from each of ``points`` (N, 2) to the polyline ``line`` (M, 2), both in driving order.

    Looked for near where the point before was, so that a way that crosses itself is no excuse.
    """
    moved = np.concatenate([[True], np.hypot(*np.diff(line, axis=0).T) > 1e-4])
    line = line[moved]
    out, at = np.empty(len(points)), 0
    for k, point in enumerate(points):
        first = max(at - 50, 0)
        a, b = line[first : at + 400], line[first + 1 : at + 401]
        a = a[: len(b)]
        along = b - a
        share = np.clip(((point - a) * along).sum(axis=1) / np.maximum((along * along).sum(axis=1), 1e-12), 0.0, 1.0)
        off = np.hypot(*(a + share[:, None] * along - point).T)
        nearest = int(np.argmin(off))
        out[k], at = off[nearest], first + nearest
    return out


def _nobody() -> np.ndarray:
    return np.zeros(0, AGENT_DTYPE)


def _place(ride: TownRide, k: int) -> dict[str, float]:
    """Where and how it drove there."""
    t, x, y, _, speed, _, _, rate, steering = ride.truth[k].tolist()
    values = {"t": t, "x": x, "y": y, "speed": speed, "yaw_rate": rate, "steering": steering}
    return {name: round(value, 3) for name, value in values.items()}


def _length(ride: TownRide) -> float:
    return round(float(np.hypot(*np.diff(ride.truth[:, 1:3], axis=0).T).sum()), 1) if len(ride.truth) > 1 else math.nan
