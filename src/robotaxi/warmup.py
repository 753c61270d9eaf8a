"""Runs every module once on made-up data, so that compiled loops are in the caches before the first ride."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sensor_rig import load_rig
from robotaxi.types import GnssFix, LidarSweep, VehicleReport
from robotaxi.vehicle import load_vehicle


@cache
def _town() -> LaneMap:
    return load_map("town")


def simulator() -> None:
    """World, scenery, and one measurement of each sensor."""
    from robotaxi.sim.ride_plan import plan_ride
    from robotaxi.sim.scenery import build_scenery
    from robotaxi.sim.sensors.rig import SimulatedRig
    from robotaxi.sim.world import World
    from robotaxi.sim.world_config import WorldConfig

    lane_map, seed = _town(), 0
    scenery, plan = build_scenery(lane_map), plan_ride(lane_map, seed)
    world = World(lane_map, load_vehicle("robotaxi"), WorldConfig(), seed, plan.start, parked=scenery.parked)
    sensors = SimulatedRig(scenery, load_rig("robotaxi"), lane_map.origin, seed)
    for _ in range(2):
        world.step(None)
        view = world.view()
        sensors.imu(view), sensors.gnss(view), sensors.wheels(view, world.report())
        sensors.lidar(view), sensors.camera("front", view)


def localization() -> None:
    from robotaxi.localization import LocalizationConfig, Localizer
    from robotaxi.localization.map_match import warm_up
    from robotaxi.types import ImuSample

    lane_map = _town()
    localizer = Localizer(LocalizationConfig(), lane_map.origin, load_rig("robotaxi").gnss_lever_arm)
    warm_up()
    for k in range(10):
        stamp_ns = k * 20_000_000
        fix = GnssFix(stamp_ns, *lane_map.origin, np.full(3, 0.02))
        imu = ImuSample(stamp_ns, np.array([0.0, 0.0, 9.81]), np.zeros(3), 0.0, 0.005)
        localizer.step(imu, VehicleReport(stamp_ns, 0.0, 0.0), [fix])


def perception() -> None:
    from robotaxi.perception.camera import TrafficLightConfig, TrafficLightRecognition
    from robotaxi.perception.lidar import LidarPerception, LidarPerceptionConfig, RoadFilter
    from robotaxi.types import EgoState

    config, rig = LidarPerceptionConfig(), load_rig("robotaxi")
    LidarPerception(config, load_vehicle("robotaxi"), RoadFilter.from_lane_map(_town(), config.road_margin)).warm_up()
    camera = rig.camera_models["front"]
    recognition = TrafficLightRecognition(TrafficLightConfig(), _town(), camera)
    recognition.step(np.zeros((camera.height, camera.width, 3), np.uint8), 0, EgoState(0, 0.0, 0.0, 0.0, 0.0))


def planning() -> None:
    from robotaxi.planning import Planner, PlannerConfig
    from robotaxi.planning.warm_up import warm_up

    warm_up(Planner(PlannerConfig(), _town(), load_vehicle("robotaxi")), _town())


def control() -> None:
    from robotaxi.control import ControlConfig, Controller

    Controller(ControlConfig(), load_vehicle("robotaxi")).warm_up()


def safety() -> None:
    from robotaxi.safety import CommandGate, GateConfig, GateInput

    gate = CommandGate(GateConfig(), load_vehicle("robotaxi"))
    gate.warm_up()
    points = np.zeros(8, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    sweep = LidarSweep(0, points, np.eye(4))
    gate.step(GateInput(0, VehicleReport(0, 0.0, 0.0), None, None, None, sweep))


STAGES: dict[str, Callable[[], None]] = {
    "simulator": simulator,
    "localization": localization,
    "perception": perception,
    "planning": planning,
    "control": control,
    "safety": safety,
}
