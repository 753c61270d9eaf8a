"""Kilometres of town traffic with the ray-cast lidar at the gate: how often does it stop for nothing?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from robotaxi.crew import NOTE, run_jobs
from robotaxi.faults.catalog import SWEEP
from robotaxi.faults.twin import Twin
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import INTERFACES, TICK_NS
from robotaxi.sensor_rig import SensorRig, load_rig
from robotaxi.sim.ride_plan import plan_ride
from robotaxi.sim.scenery import Scenery, build_scenery
from robotaxi.sim.sensors.lidar import Lidar
from robotaxi.sim.view import WorldView
from robotaxi.types import LidarSweep, RecordArray, SystemMode, VehicleParams
from robotaxi.vehicle import load_vehicle

_RIDE_S = 400.0  # at most, of one ride
_SHORTEST_RIDE = 50.0  # m, on average at least
_CHUNK = 4  # rides that one process drives after each other
_FAILURES = 3  # rides that could not be driven; more would fail the same way
_PATIENCE_S = 300.0  # wall time without a word of a process
_TELL_NS = 10_000_000_000
_BESIDE = 0.5  # m beside the body in which something is reason enough
_AHEAD = 3.0  # m beyond what braking needs
_DECELERATION, _REACTION = 6.5, 0.6


class _SeeingTwin(Twin):
    """A twin whose gate looks through the ray-cast lidar."""

    lidar: Lidar
    T_base_lidar: Any

    def _sense(self, now: int, view: WorldView) -> None:
        super()._sense(now, view)
        wire = self.wires[SWEEP]
        if now % INTERFACES[SWEEP].period_ns == 0:
            wire.replace_last(LidarSweep(now, self.lidar.sweep(view), self.T_base_lidar))


def drive_town(
    km: float, map_name: str, vehicle: str, sensors: str, seed: int, tell: Callable[[float], None], workers: int,
    found: dict[str, Any],
) -> None:  # fmt: skip
    """Ride after ride, from this seed on, until ``km`` are driven. A stop is false when nothing stood or came in the
    way. Rides count in the order of their seeds: the figures, kept in ``found``, do not depend on ``workers``."""
    seeds = range(seed, seed + math.ceil(km * 1e3 / _SHORTEST_RIDE) + 1)
    work = partial(_ride, map_name=map_name, vehicle=vehicle, sensors=sensors)
    rides = run_jobs(seeds, work, lambda ride: 1, lambda ride, why: {"ride": ride, "failure": why}, workers=workers,
                     chunk=_CHUNK, patience_s=_PATIENCE_S)  # fmt: skip
    early: dict[int, dict[str, Any]] = {}
    counted, driven, heard = 0, 0.0, 0.0
    for row in rides:
        if NOTE in row:
            heard += row[NOTE]
            tell(min(heard * 1e-3, km))
            continue
        early[row["ride"]] = row
        while (ride := seed + counted) in early and driven < km * 1e3:
            row = early.pop(ride)
            counted += 1
            driven += row.get("driven", 0.0)
            found["km"], found["rides"] = round(driven * 1e-3, 2), counted
            found["stops"] += row.get("stops", [])
            found["failures"] += [f"ride {ride}: {row['failure']}"] if "failure" in row else []
            found["emergency_stops"] = len(found["stops"])
            found["false_stops"] = sum(stop["false"] for stop in found["stops"])
        if driven >= km * 1e3 or len(found["failures"]) >= _FAILURES:
            break
    rides.close()


def _ride(ride: int, tell: Callable[[dict[str, Any]], None], *, map_name: str, vehicle: str, sensors: str) -> None:
    lane_map, scenery, rig = _world(map_name, sensors)
    car = load_vehicle(vehicle)
    twin = _SeeingTwin(lane_map, car, plan_ride(lane_map, ride), scenery.parked, ride)
    name, spec = next(iter(rig.lidars.items()))
    twin.lidar, twin.T_base_lidar = Lidar(scenery, spec, ride, f"lidar_{name}"), rig.T_base_lidar
    driven = told = 0.0
    stops = []
    before = SystemMode.STOP
    while not twin.errand.done and twin.world.stamp_ns < _RIDE_S * 1e9:
        twin.step()
        ego = twin.world.view().ego
        driven += abs(ego.speed) * TICK_NS * 1e-9
        mode = twin.output.mode if twin.output is not None else before
        if mode is SystemMode.EMERGENCY_STOP and before is not mode and twin.output is not None:
            stops.append(
                {"ride": ride, "at_s": ego.stamp_ns * 1e-9, "speed_mps": round(ego.speed, 2), "x": round(ego.x, 1),
                 "y": round(ego.y, 1), "false": not reason_to_stop(twin.world.view(), scenery, car),
                 "reason": twin.output.reason}
            )  # fmt: skip
        before = mode
        if twin.world.stamp_ns % _TELL_NS == 0:
            tell({NOTE: driven - told})
            told = driven
    tell({"ride": ride, "driven": driven, "stops": stops})


@cache
def _world(map_name: str, sensors: str) -> tuple[LaneMap, Scenery, SensorRig]:
    lane_map = load_map(map_name)
    return lane_map, build_scenery(lane_map), load_rig(sensors)


def reason_to_stop(view: WorldView, scenery: Scenery, car: VehicleParams) -> bool:
    """Whether anything true stands, or will come, before the bumper within what braking needs."""
    ego = view.ego
    reach = ego.speed * _REACTION + ego.speed**2 / (2.0 * _DECELERATION) + _AHEAD
    curvature = math.tan(ego.steering) / car.wheelbase
    boxes: list[RecordArray] = [view.agents, scenery.parked, scenery.obstacles]
    for records in boxes:
        for lead in (0.0, 1.0):
            vx = records["vx"] * lead if "vx" in (records.dtype.names or ()) else 0.0
            vy = records["vy"] * lead if "vy" in (records.dtype.names or ()) else 0.0
            dx, dy = records["x"] + vx - ego.x, records["y"] + vy - ego.y
            c, s = math.cos(ego.yaw), math.sin(ego.yaw)
            along, across = c * dx + s * dy, -s * dx + c * dy
            radius = 0.5 * np.hypot(records["length"], records["width"])
            bend = 0.5 * curvature * along**2  # the arc of the tyre angle
            near = (along > 0.0) & (along - radius < car.front + reach)
            if (near & (np.abs(across - bend) - radius < 0.5 * car.width + _BESIDE)).any():
                return True
    return False
