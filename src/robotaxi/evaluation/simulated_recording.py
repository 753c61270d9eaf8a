"""A drive through the simulator as a recording to measure perception on: in one process, and the truth is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from robotaxi.evaluation.perception_case import Frame, Recording, in_base, truth_of_agents
from robotaxi.evaluation.simulated_drive import SWEEP_NS, DriveOptions, Tick, drive
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import INTERFACES, Interface
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.rig import SimulatedRig
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import EgoState, LidarSweep, RecordArray, VehicleParams

_PICTURES, _PICTURED = INTERFACES["sensing/camera/front/image_raw"], INTERFACES["perception/camera_objects"]
_TOP_SPEED = 14.0  # m/s, as fast as rides in town are


def _counts(stamp_ns: int, interface: Interface) -> bool:
    """Whether the interface's owner measures at that time."""
    return stamp_ns >= interface.phase_ns and (stamp_ns - interface.phase_ns) % interface.period_ns == 0


def simulated_recording(
    lane_map: LaneMap,
    scenery: Scenery,
    vehicle: VehicleParams,
    rig: SensorRig,
    seed: int,
    duration: float,
    camera: str = "",
) -> Recording:
    """``duration`` seconds of a drive with traffic, people and parked cars; poses are the true ones. ``camera``: whose
    pictures come along, when they count in a ride.

    Raises RouteError, when its frames are asked for, where the map has no routes.
    """
    options = DriveOptions(seed=seed, duration=duration, top_speed=_TOP_SPEED, world=WorldConfig())

    def frames() -> Iterator[Frame]:
        sensors = SimulatedRig(scenery, rig, lane_map.origin, seed)
        index, picture = 0, None
        for tick in drive(lane_map, vehicle, scenery, options):
            stamp_ns = tick.view.stamp_ns
            if camera and _counts(stamp_ns, _PICTURES):
                picture = stamp_ns, sensors.camera(camera, tick.view)
            if stamp_ns % SWEEP_NS == 0:
                sweep = LidarSweep(stamp_ns, sensors.lidar(tick.view), rig.T_base_lidar)
                counts = picture is not None and picture[0] + _PICTURED.let_ns <= stamp_ns
                yield _frame(index, tick, sweep, scenery.parked, picture if counts else None)
                picture, index = None if counts else picture, index + 1

    notes = {"format": "simulator", "map": lane_map.name, "seed": seed, "evaluated": "on the road", "poses": "true",
             "camera": camera or "none"}  # fmt: skip
    count = round(duration * 1e9) // SWEEP_NS
    return Recording(
        f"{lane_map.name}-seed{seed}",
        count,
        vehicle,
        frames,
        notes,
        area=lane_map.drivable_area,
        camera=rig.camera_models[camera] if camera else None,
    )


def _frame(
    index: int, tick: Tick, sweep: LidarSweep, parked: RecordArray, picture: tuple[int, NDArray[np.uint8]] | None
) -> Frame:
    ego = tick.view.ego
    state = EgoState(ego.stamp_ns, ego.x, ego.y, ego.yaw, ego.speed, yaw_rate=ego.yaw_rate, z=ego.z)
    truth = truth_of_agents(np.concatenate([tick.view.agents, parked]), state, sweep, index)
    return Frame(index, sweep, state, truth, True, path=in_base(tick.ahead, state), picture=picture)
