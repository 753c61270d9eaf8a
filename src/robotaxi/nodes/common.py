"""Files that several nodes load by parameter: the map, the vehicle, the sensor rig."""

from __future__ import annotations

from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.nodes.runtime import StackNode
from robotaxi.sensor_rig import SensorRig, load_rig
from robotaxi.types import VehicleParams
from robotaxi.vehicle import load_vehicle


def load_lane_map(node: StackNode) -> LaneMap:
    """The map that the parameter ``map`` names."""
    return load_map(node.parameter("map", "town"))


def load_vehicle_params(node: StackNode) -> VehicleParams:
    """The vehicle that the parameter ``vehicle`` names."""
    return load_vehicle(node.parameter("vehicle", "robotaxi"))


def load_sensor_rig(node: StackNode) -> SensorRig:
    """The sensor rig that the parameter ``sensors`` names."""
    return load_rig(node.parameter("sensors", "robotaxi"))
