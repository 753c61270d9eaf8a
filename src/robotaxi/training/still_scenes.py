"""Standing scenes with random road users of all classes, seen by lidar and camera: what drives through a town show too
little of to tell classes by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robotaxi.evaluation.perception_case import Frame, Recording, truth_of_agents
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.rig import SimulatedRig
from robotaxi.sim.view import EgoTruth, WorldView
from robotaxi.training.street_pictures import road_users
from robotaxi.types import EgoState, LidarSweep, VehicleParams

_SWEEPS, _SWEEP_NS, _PICTURE_AGO_NS = 8, 100_000_000, 60_000_000
_APART_NS = 10_000_000_000  # between two scenes: all tracks are dropped


def still_recording(
    lane_map: LaneMap, scenery: Scenery, vehicle: VehicleParams, rig: SensorRig, seed: int, scenes: int, camera: str
) -> Recording:
    """``scenes`` of eight sweeps each, and a picture for every other one. The car and everybody stand still; of each
    scene the last sweep is evaluated."""
    model = rig.camera_models[camera]

    def frames() -> Iterator[Frame]:
        sensors = SimulatedRig(scenery, rig, lane_map.origin, seed)
        for scene in range(scenes):
            rng = np.random.default_rng([seed, scene])
            lanes = [lane for _, lane in sorted(lane_map.lanes.items()) if lane.length > 20.0]
            lane = lanes[int(rng.integers(len(lanes)))]
            s = float(rng.uniform(2.0, lane.length))
            x, y, z = (float(v) for v in lane_map.lane_point(lane.id, s))
            yaw = lane_map.lane_yaw(lane.id, s)
            T = np.eye(4)
            T[:2, :2], T[:3, 3] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]], (x, y, z)
            agents = road_users(lane_map, scenery, T @ np.asarray(model.T_base_optical), rng)
            everybody = np.concatenate([agents, scenery.parked])
            for k in range(_SWEEPS):
                stamp_ns = scene * _APART_NS + k * _SWEEP_NS
                ego = EgoTruth(stamp_ns, x, y, z, yaw, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
                sweep = LidarSweep(stamp_ns, sensors.lidar(WorldView(stamp_ns, ego, agents, {})), rig.T_base_lidar)
                state = EgoState(stamp_ns, x, y, yaw, 0.0, z=z)
                picture = None
                if k % 2 == 1:
                    taken_ns = stamp_ns - _PICTURE_AGO_NS
                    picture = taken_ns, sensors.camera(camera, WorldView(taken_ns, ego, agents, {}))
                index = scene * _SWEEPS + k
                truth = truth_of_agents(everybody, state, sweep, index)
                yield Frame(index, sweep, state, truth, k == _SWEEPS - 1, picture=picture)

    notes = {"format": "standing scenes", "map": lane_map.name, "seed": seed, "poses": "true", "camera": camera}
    return Recording(
        f"{lane_map.name}-still{seed}",
        scenes * _SWEEPS,
        vehicle,
        frames,
        notes,
        area=lane_map.drivable_area,
        camera=model,
        tracked=True,
    )
