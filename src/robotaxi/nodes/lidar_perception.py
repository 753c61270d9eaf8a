"""Lidar perception node: sweeps (and what the camera says of classes) to tracked objects, obstacle points and free
space."""

from __future__ import annotations

from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_sensor_rig, load_vehicle_params
from robotaxi.nodes.occupancy import to_occupancy_grid
from robotaxi.nodes.records import to_cloud
from robotaxi.nodes.runtime import StackNode
from robotaxi.perception.lidar import (
    LidarPerception,
    LidarPerceptionConfig,
    RoadFilter,
    SweepError,
    load_second_look,
)
from robotaxi.types import LidarSweep, Sight

_SWEEP, _STATE = "sensing/lidar/top/pointcloud", "localization/kinematic_state"
_PICTURED = "perception/camera_objects"


class LidarPerceptionNode(StackNode):
    role = "lidar_perception"
    trigger = _SWEEP
    period_ns = 100 * MS
    wait_timeout_s = 4.0

    def setup(self) -> None:
        config = self.config(LidarPerceptionConfig)
        vehicle, rig = load_vehicle_params(self), load_sensor_rig(self)
        on_map = bool(self.parameter("use_map", True))
        road = RoadFilter.from_lane_map(load_lane_map(self), config.road_margin) if on_map else None
        # a model that cannot be used ends the configuration: half a perception would not be noticed
        network = load_second_look() if config.second_look else None
        self._pipeline = LidarPerception(config, vehicle, road, network, rig.camera_models.get("front"))
        self._pipeline.warm_up()
        self._sight: Sight | None = None
        self._T_base_lidar = rig.T_base_lidar

    def measurements(self) -> dict[str, str]:
        if self._sight is None:
            return {}
        blind = ",".join(map(str, self._sight.blind_deg))
        seen = self._sight
        numbers: dict[str, object] = {
            "points": seen.points,
            "road_range_m": seen.road_range,
            "blind_deg": blind,
            "drops": seen.drops,
        }
        numbers["camera_agreement"] = round(self._pipeline.camera_agreement, 2)
        return {name: str(value) for name, value in numbers.items()}

    def activate(self, at_ns: int) -> None:
        points = self.read(_SWEEP, at_ns)
        if points is None:
            self.set_status(False, "the sweep's cloud cannot be read (x, y and z in frame lidar_top are expected)")
            return
        try:
            output = self._pipeline.step(
                LidarSweep(at_ns, points, self._T_base_lidar),
                self.read(_STATE, at_ns),
                pictured=self.read(_PICTURED, at_ns),
            )
        except SweepError as error:
            # no objects rather than none seen: downstream must not take the road for free
            self.set_status(False, str(error))
            return
        self._sight = output.sight
        self.set_status(output.sight.clear, output.sight.reason or "running")
        self.write("perception/sight", convert.sight_record(output.sight, at_ns))
        self.write("perception/occupancy_grid_map/map", to_occupancy_grid(output.free_space, at_ns))
        if output.sight.points == 0:
            return  # nothing was seen, which is not the same as an empty road
        self.write("perception/objects", to_cloud(output.objects, at_ns, "map"))
        self.write("perception/obstacle_points", to_cloud(output.obstacle_points, at_ns, "base_link"))
