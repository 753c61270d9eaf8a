"""Sensor logs from the simulator in one process: no middleware, no stack, as fast as the rays can be cast.

The car follows routes through the map by true pose, keeps its distance from traffic and stops now and then,
so a log has what localization meets on a ride. On other days than day 0 some parked cars and some buildings are not
there.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.evaluation.drive_log import SensorLog, Sweeps, Truth
from robotaxi.hdmap.lane_map import LaneMap, RouteError
from robotaxi.hdmap.route_path import RoutePath
from robotaxi.interfaces import TICK_NS
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.mesh import Material
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.rig import SimulatedRig
from robotaxi.sim.view import WorldView
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, FloatArray, Pose2, RecordArray, VehicleParams

SWEEP_NS, _FIX_NS = 100_000_000, 100_000_000
_LATERAL = 2.0  # m/s^2 in bends
_BRAKE, _PUSH = 2.0, 1.5  # m/s^2
_SLOW = 8.0  # m/s, no faster in a town full of people


@dataclass(frozen=True)
class DriveOptions:
    """``changed_cars``, ``changed_buildings``: share taken away on days other than 0. ``top_speed``: m/s."""

    seed: int = 0
    day: int = 0
    duration: float = 60.0
    changed_cars: float = 0.2
    changed_buildings: float = 0.05
    way_of: DriveOptions | None = None  # go the way of that drive
    top_speed: float = _SLOW
    world: WorldConfig = field(default_factory=lambda: WorldConfig(traffic_cars=20, pedestrian_count=10))


@dataclass(frozen=True)
class Tick:
    """One moment of a drive. ``ahead`` (N, 2): the line that base_link will take from here, map."""

    world: World
    view: WorldView
    ahead: FloatArray


def changed_scenery(scenery: Scenery, day: int, cars: float, buildings: float) -> Scenery:
    """The scenery without some of its parked cars and, of its facades and roofs, those in some blocks."""
    if day == 0:
        return scenery
    rng = np.random.default_rng([day, zlib.crc32(b"changed_scenery")])
    ids = scenery.parked["id"]
    gone = ids[rng.random(len(ids)) < cars]
    keep = ~np.isin(scenery.instance, gone)
    middle = scenery.mesh.triangles.mean(axis=1)
    block = np.floor(middle[:, :2] / 30.0).astype(np.int64)
    draw = np.array([zlib.crc32(f"{day}/{x}/{y}".encode()) / 2**32 for x, y in np.unique(block, axis=0)])
    number = np.unique(block, axis=0, return_inverse=True)[1].ravel()
    is_building = np.isin(scenery.mesh.material, (Material.FACADE, Material.ROOF))
    keep &= ~(is_building & (draw[number] < buildings))
    parked = scenery.parked[~np.isin(ids, gone)]
    return replace(scenery, mesh=scenery.mesh.take(keep), instance=scenery.instance[keep], parked=parked)


@dataclass(frozen=True)
class Town:
    """Where drives take place, and the car. ``scenery``: of day 0."""

    lane_map: LaneMap
    scenery: Scenery
    vehicle: VehicleParams
    rig: SensorRig


def simulate(
    town: Town, options: DriveOptions, file: str | Path, progress: Callable[[int, int], None] | None = None
) -> SensorLog:
    """Drive ``options.duration`` seconds. The sweeps go to ``file``, a gigabyte a minute, and are read from there as
    long as it exists. Raises RouteError for a map without routes."""
    today = changed_scenery(town.scenery, options.day, options.changed_cars, options.changed_buildings)
    sensors = SimulatedRig(today, town.rig, town.lane_map.origin, options.seed)
    log = SensorLog(f"{town.lane_map.name}-seed{options.seed}-day{options.day}", T_base_lidar=town.rig.T_base_lidar)
    stamps, poses, speeds = [], [], []
    counts: list[tuple[int, int]] = []
    dtype = np.dtype([])
    ticks = round(options.duration * 1e9) // TICK_NS
    with Path(file).open("wb") as out:
        for number, tick in enumerate(drive(town.lane_map, town.vehicle, today, options)):
            view, ego = tick.view, tick.view.ego
            stamps.append(view.stamp_ns)
            poses.append((ego.x, ego.y, ego.z, ego.yaw))
            speeds.append(ego.speed)
            log.imu.append(sensors.imu(view))
            log.reports.append(sensors.wheels(view, tick.world.report()))
            if view.stamp_ns % _FIX_NS == 0:
                log.fixes.append(sensors.gnss(view))
            if view.stamp_ns % SWEEP_NS == 0:
                records = sensors.lidar(view)
                records.tofile(out)
                counts.append((view.stamp_ns, len(records)))
                dtype = records.dtype
            if progress is not None and number % 50 == 49:
                progress(number + 1, ticks)
    log.sweeps = Sweeps([stamp for stamp, _ in counts], lambda: _sweeps(Path(file), counts, dtype))
    log.truth = Truth(np.array(stamps, np.int64), np.array(poses), np.array(speeds))
    return log


def _sweeps(file: Path, counts: list[tuple[int, int]], dtype: np.dtype[Any]) -> Iterator[tuple[int, RecordArray]]:
    with file.open("rb") as source:
        for stamp, count in counts:
            yield stamp, np.fromfile(source, dtype, count)


def way(lane_map: LaneMap, options: DriveOptions) -> FloatArray:
    """(N, 2) the line that the drive follows, map."""
    return _planned(lane_map, options)[0].points[:, :2]


def drive(lane_map: LaneMap, vehicle: VehicleParams, scenery: Scenery, options: DriveOptions) -> Iterator[Tick]:
    """The world tick by tick; ``scenery`` is that of the day. Raises RouteError for a map without routes."""
    path, start = _planned(lane_map, options)
    world = World(lane_map, vehicle, options.world, options.seed, start, parked=scenery.parked)
    driver = _Driver(path, vehicle, options.top_speed)
    for _ in range(round(options.duration * 1e9) // TICK_NS):
        view = world.view()
        command = driver.command(view)
        yield Tick(world, view, driver.ahead)
        world.step(command)


def _planned(lane_map: LaneMap, options: DriveOptions) -> tuple[RoutePath, Pose2]:
    options = options.way_of or options
    rng = np.random.default_rng([options.seed, zlib.crc32(b"simulated_drive")])
    return _route(lane_map, rng, options.duration * 0.75 * options.top_speed)


def _route(lane_map: LaneMap, rng: np.random.Generator, length: float) -> tuple[RoutePath, Pose2]:
    lanes = [lane for _, lane in sorted(lane_map.lanes.items()) if lane.junction_id is None and lane.length > 30.0]
    best: tuple[RoutePath, Pose2] | None = None
    for _ in range(60):
        first, last = (lanes[i] for i in rng.choice(len(lanes), 2, replace=False))
        start, goal = _on_lane(lane_map, first.id), _on_lane(lane_map, last.id)
        try:
            path = lane_map.route_path(lane_map.route(start, goal))
        except RouteError:
            continue
        if best is None or abs(path.length - length) < abs(best[0].length - length):
            best = path, start
        if path.length > length:
            break
    if best is None:
        raise RouteError(f"map '{lane_map.name}' has no route to drive along")
    return best


def _on_lane(lane_map: LaneMap, lane_id: int) -> Pose2:
    x, y = lane_map.lane_point(lane_id, 12.0)[:2]
    return Pose2(float(x), float(y), lane_map.lane_yaw(lane_id, 12.0))


class _Driver:
    """Pure pursuit by true pose; intelligent driver model (Treiber et al. 2000) behind who is in the way."""

    def __init__(self, path: RoutePath, vehicle: VehicleParams, top_speed: float) -> None:
        self._path, self._vehicle = path, vehicle
        limit = np.minimum(
            np.minimum(path.speed_limit, top_speed), np.sqrt(_LATERAL / np.maximum(abs(path.curvature), 1e-3))
        )
        limit[-3:] = 0.0
        for i in range(len(limit) - 2, -1, -1):
            limit[i] = min(limit[i], math.sqrt(limit[i + 1] ** 2 + 2.0 * 1.5 * (path.s[i + 1] - path.s[i])))
        self._limit = limit
        self._at = 0

    @property
    def ahead(self) -> FloatArray:
        return self._path.points[self._at :, :2]

    def command(self, view: WorldView) -> Command:
        ego, path = view.ego, self._path
        window = slice(self._at, min(self._at + 30, len(path.s)))
        offsets = path.points[window, :2] - (ego.x, ego.y)
        self._at += int(np.argmin(np.einsum("ij,ij->i", offsets, offsets)))
        ahead = min(self._at + max(3, round(4.0 + 0.6 * ego.speed)), len(path.s) - 1)
        dx, dy = path.points[ahead, 0] - ego.x, path.points[ahead, 1] - ego.y
        sideways = -math.sin(ego.yaw) * dx + math.cos(ego.yaw) * dy
        steering = math.atan(2.0 * self._vehicle.wheelbase * sideways / max(dx * dx + dy * dy, 1.0))
        target = float(self._limit[min(self._at + 3, len(self._limit) - 1)])
        acceleration = min(_PUSH, max(-_BRAKE, 1.0 * (target - ego.speed)))
        gap = self._gap(view.agents)
        if gap < 40.0:
            wanted = 4.0 + 1.5 * ego.speed + ego.speed**2 / (2.0 * math.sqrt(_PUSH * _BRAKE))
            acceleration = min(acceleration, _PUSH * (1.0 - (wanted / max(gap, 0.3)) ** 2))
        return Command(view.stamp_ns, steering, max(acceleration, -6.0), target)

    def _gap(self, agents: RecordArray) -> float:
        """Metres along the path to the nearest road user on it."""
        if not len(agents):
            return math.inf
        window = slice(self._at, min(self._at + 45, len(self._path.s)))
        line = self._path.points[window, :2]
        spread = np.hypot(agents["x"][:, None] - line[None, :, 0], agents["y"][:, None] - line[None, :, 1])
        blocked = spread < 1.3 + 0.5 * agents["width"][:, None]
        where = np.flatnonzero(blocked.any(axis=0))
        return float(where[0]) - self._vehicle.front - 1.0 if len(where) else math.inf
