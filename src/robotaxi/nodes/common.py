"""Files that nodes load by parameter: the map, the vehicle, the sensor rig, the operational design domain."""

from __future__ import annotations

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.geometry.polyline import densify
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.nodes.runtime import StackNode
from robotaxi.odd_file import load_odd
from robotaxi.safety.odd import OddWatch
from robotaxi.sensor_rig import SensorRig, load_rig
from robotaxi.types import VehicleParams
from robotaxi.vehicle import load_vehicle

_LANE_SPACING = 5.0  # m between the points by which the nearest lane is found


def load_lane_map(node: StackNode) -> LaneMap:
    """The map that the parameter ``map`` names."""
    return load_map(node.parameter("map", "town"))


def load_vehicle_params(node: StackNode) -> VehicleParams:
    """The vehicle that the parameter ``vehicle`` names."""
    return load_vehicle(node.parameter("vehicle", "robotaxi"))


def load_sensor_rig(node: StackNode) -> SensorRig:
    """The sensor rig that the parameter ``sensors`` names."""
    return load_rig(node.parameter("sensors", "robotaxi"))


def load_odd_watch(node: StackNode) -> OddWatch:
    """The watch over the operational design domain that the parameter ``odd`` names."""
    lane_map = load_lane_map(node)
    domain = load_odd(node.parameter("odd", "robotaxi"), LocalFrame(*lane_map.origin))
    lanes = [densify(lane.centerline, _LANE_SPACING)[:, :2] for lane in lane_map.lanes.values()]
    return OddWatch(domain, np.concatenate(lanes), lane_map.checksum)
