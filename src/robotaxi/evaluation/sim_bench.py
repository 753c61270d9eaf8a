"""How fast the simulated world is: its step, its sensors beside bare rays and a bare picture, its CARLA server.

Times are CPU times of this process, so that other work on the machine does not count; ratios are of medians
taken turn by turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from robotaxi.evaluation.town_ride import drive
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import TICK_NS
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.ride_plan import plan_ride
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.camera import Camera
from robotaxi.sim.sensors.lidar import Lidar, rotate
from robotaxi.sim.sensors.pose import map_from_base
from robotaxi.sim.sensors.rays import RayScene
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import VehicleParams

_CARLA_DELTA = 0.05  # s


def world_step(lane_map: LaneMap, vehicle: VehicleParams, seed: int, agents: int, steps: int) -> dict[str, Any]:
    """Steps of TICK_NS with ``agents`` road users, 7 of 10 on wheels."""
    config = WorldConfig(traffic_cars=round(0.7 * agents), pedestrian_count=agents - round(0.7 * agents))
    world = World(lane_map, vehicle, config, seed, plan_ride(lane_map, seed).start)
    for _ in range(50):
        world.step(None)
    taken = [_cpu_ms(lambda: world.step(None)) for _ in range(steps)]
    return {"agents": len(world.view().agents), **_spread("step_cpu_ms", taken), "per_tick_ms": TICK_NS / 1e6}


def sensor_layer(
    lane_map: LaneMap, vehicle: VehicleParams, scenery: Scenery, rig: SensorRig, seed: int, agents: int, turns: int
) -> dict[str, Any]:
    """A sweep and a picture as the stack gets them, beside the bare cast of as many rays against the scenery and
    a bare picture of it: the layer adds road users, lamps, noise, losses and packing."""
    spec, camera_spec = next(iter(rig.lidars.values())), rig.cameras["front"]
    config = WorldConfig(traffic_cars=round(0.7 * agents), pedestrian_count=agents - round(0.7 * agents))
    world = World(lane_map, vehicle, config, seed, plan_ride(lane_map, seed).start, parked=scenery.parked)
    lidar, camera, rays = (
        Lidar(scenery, spec, seed),
        Camera(scenery, camera_spec, seed),
        RayScene(scenery, spec.range_max),
    )
    nobody = np.zeros(0, AGENT_DTYPE)
    rows: list[tuple[float, float, float, float]] = []
    for _ in range(turns + 2):
        for _ in range(10):
            world.step(None)
        view = world.view()
        T_map_base = map_from_base(view)
        T_map_lidar, T_map_optical = T_map_base @ spec.T_base_sensor, T_map_base @ camera.model.T_base_optical
        directions = rotate(lidar.directions, np.ascontiguousarray(T_map_lidar[:3, :3]))
        origin = T_map_lidar[:3, 3].copy()
        rows.append(
            (
                _cpu_ms(lambda: rays.cast(origin, directions)),  # noqa: B023
                _cpu_ms(lambda: lidar.sweep(view)),  # noqa: B023
                _cpu_ms(lambda: camera.draw(T_map_optical, view.stamp_ns, nobody, {})),  # noqa: B023
                _cpu_ms(lambda: camera.render(view)),  # noqa: B023
            )
        )
    bare_rays, sweep, bare_image, image = np.median(np.array(rows[2:]), axis=0).tolist()
    return {
        "rays": len(lidar.directions),
        "image": [camera_spec.width, camera_spec.height],
        "bare_cast_cpu_ms": round(bare_rays, 2),
        "sweep_cpu_ms": round(sweep, 2),
        "bare_image_cpu_ms": round(bare_image, 2),
        "image_cpu_ms": round(image, 2),
        "layer_ratio": round((sweep + image) / (bare_rays + bare_image), 3),
    }


def sensors_off(lane_map: LaneMap, vehicle: VehicleParams, seed: int, seconds: float) -> dict[str, Any]:
    """Planner, controller and world in one process, on the truth: simulated seconds per CPU second of the loop.

    ``setup_cpu_s``: once a ride, to make the world of its map.
    """
    drive(lane_map, vehicle, seed, longest_s=1.0)  # compiled and loaded
    begin = time.process_time()
    result = drive(lane_map, vehicle, seed, longest_s=seconds)
    spent = time.process_time() - begin
    return {
        "ride_s": round(result.duration, 1),
        "cpu_s": round(result.cpu_s, 2),
        "setup_cpu_s": round(spent - result.cpu_s, 2),
        "real_time_factor": round(result.duration / result.cpu_s, 2),
    }


def carla_tick(opendrive: str, cars: int, ticks: int) -> dict[str, Any]:
    """Frames of the wire server with ``cars`` that drive, without sensors and clients."""
    from robotaxi.carla_link.server.server import CarlaServer

    server = CarlaServer([opendrive], port=0, rendering=False)
    try:
        server.settings.synchronous, server.settings.fixed_delta = True, _CARLA_DELTA
        points = server.episode.town.spawn_points
        for k in np.linspace(0, len(points) - 1, min(cars, len(points))).astype(int).tolist():
            p = points[k]
            pose = [[p.x, -p.y, p.z], [0.0, -float(np.degrees(p.yaw)), 0.0]]
            server.episode.spawn([0, "vehicle.tesla.model3", []], pose)
        server.episode.fleet.control[:, 0] = 0.3
        for _ in range(5):
            server.tick()
        taken = [_cpu_ms(server.tick) for _ in range(ticks)]
        return {"cars": len(server.episode.fleet), **_spread("tick_cpu_ms", taken)}
    finally:
        server.close()


def _cpu_ms(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1e3


def _spread(name: str, values: list[float]) -> dict[str, float]:
    return {
        f"{name}_p50": round(float(np.median(values)), 3),
        f"{name}_p95": round(float(np.percentile(values, 95)), 3),
    }
