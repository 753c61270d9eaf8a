"""The bag of a ride (``robotaxi ride --record all``) as a recording to measure perception on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.kitti_files import KittiError
from robotaxi.bags.messages import messages
from robotaxi.bags.reader import custom_data, open_bag
from robotaxi.bags.writer import header_stamp_ns
from robotaxi.evaluation.perception_case import TRUTH_DTYPE, Frame, Recording, in_base, truth_of_agents
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap, MapError
from robotaxi.hdmap.load import known_maps
from robotaxi.interfaces import TRUTH_PREFIX
from robotaxi.pointcloud2 import from_cloud
from robotaxi.sensor_rig import load_rig
from robotaxi.sim.scenery import build_scenery
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import EgoState, LidarSweep
from robotaxi.vehicle import load_vehicle

_TYPES = get_typestore(Stores.ROS2_KILTED)
_SWEEPS, _STATE = "sensing/lidar/top/pointcloud", "localization/kinematic_state"
_AGENTS, _EGO = TRUTH_PREFIX + "agents", TRUTH_PREFIX + "ego"


def ride_recording(bag: Path, sensors: str = "", vehicle: str = "") -> Recording:
    """Sweeps with the state that localization gave and, where the simulator drove, its truth.

    ``sensors``, ``vehicle``: empty for those that the recorder noted. Where the map that it noted is at hand, its
    parked cars belong to the truth and its road bounds what is looked at. Raises BagError for a bag that is damaged,
    KittiError when it has no sweeps or no truth to measure against.
    """
    said = custom_data(bag)
    sensors, vehicle = (
        given or said.get(key) or "robotaxi" for given, key in ((sensors, "sensors"), (vehicle, "vehicle"))
    )
    rig, params = load_rig(sensors), load_vehicle(vehicle)
    with open_bag(bag) as reader:
        counts = {name: sum(c.msgcount for c in reader.connections if c.topic.endswith("/" + name))
                  for name in (_SWEEPS, _AGENTS, _EGO)}  # fmt: skip
    for name, count in counts.items():
        if count == 0:
            raise KittiError(f"{bag}: has no /{name}; record the ride with --record all")
    states = {stamp: _state(stamp, m) for stamp, m in _messages(bag, _STATE) if m.pose.covariance[0] >= 0.0}
    lane_map = _map(said.get("map", ""))
    parked = np.zeros(0, AGENT_DTYPE) if lane_map is None else build_scenery(lane_map).parked

    def frames() -> Iterator[Frame]:
        agents = {stamp: from_cloud(m) for stamp, m in _messages(bag, _AGENTS)}
        egos = {stamp: _state(stamp, m) for stamp, m in _messages(bag, _EGO)}
        way = np.array([(ego.stamp_ns * 1e-9, ego.x, ego.y) for _, ego in sorted(egos.items())])
        for index, (stamp, message) in enumerate(_messages(bag, _SWEEPS)):
            sweep = LidarSweep(stamp, from_cloud(message), rig.T_base_lidar)
            ego = egos.get(stamp)
            if ego is None or stamp not in agents:
                yield Frame(index, sweep, states.get(stamp), np.zeros(0, TRUTH_DTYPE), False)
                continue
            everybody = np.zeros(len(agents[stamp]) + len(parked), AGENT_DTYPE)
            for name in set(AGENT_DTYPE.names or ()) & set(agents[stamp].dtype.names or ()):
                everybody[name] = np.concatenate([agents[stamp][name], parked[name]])
            truth = truth_of_agents(everybody, ego, sweep, index)
            ahead = in_base(way[way[:, 0] >= stamp * 1e-9 - 1e-6, 1:], ego)
            yield Frame(index, sweep, states.get(stamp), truth, True, path=ahead)

    notes = {
        "format": "bag",
        "sensors": sensors,
        "evaluated": "all around" if lane_map is None else "on the road",
        "parked_cars": "not known" if lane_map is None else len(parked),
        "poses": "localization",
    }
    name = bag.parent.name if bag.name == "bag" else bag.name
    area = None if lane_map is None else lane_map.drivable_area
    return Recording(name, counts[_SWEEPS], params, frames, notes, area=area)


def _map(name: str) -> LaneMap | None:
    """The map of that name; None where it is not at hand, or came from a CARLA server, whose parked cars are others."""
    if name not in known_maps():
        return None
    try:
        return load_map(name)
    except MapError:
        return None


def _messages(bag: Path, topic: str) -> Iterator[tuple[int, Any]]:
    with open_bag(bag) as reader:
        connections = [c for c in reader.connections if c.topic.endswith("/" + topic)]
        for connection, _, raw in messages(reader, connections) if connections else ():
            yield header_stamp_ns(raw), _TYPES.deserialize_cdr(raw, connection.msgtype)


def _state(stamp_ns: int, message: Any) -> EgoState:
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    yaw = math.atan2(2.0 * (turn.w * turn.z + turn.x * turn.y), 1.0 - 2.0 * (turn.y**2 + turn.z**2))
    twist = message.twist.twist
    return EgoState(stamp_ns, position.x, position.y, yaw, twist.linear.x, yaw_rate=twist.angular.z, z=position.z)
