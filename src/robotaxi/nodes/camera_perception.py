"""Camera perception node: traffic light states where the map expects lights, road users and road in the picture, how
well the camera sees, and whether it looks where it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_sensor_rig
from robotaxi.nodes.records import to_cloud
from robotaxi.nodes.runtime import StackNode
from robotaxi.perception.camera import (
    CameraPerceptionConfig,
    ImageError,
    PointingMonitor,
    StreetEyes,
    TrafficLightRecognition,
    ViewMonitor,
    blind,
    load_street_network,
)

_IMAGE, _STATE = "sensing/camera/front/image_raw", "localization/kinematic_state"
_OPTICAL = "camera_front_optical"


class CameraPerceptionNode(StackNode):
    role = "camera_perception"
    trigger = _IMAGE
    period_ns = 200 * MS
    phase_ns = 40 * MS
    wait_timeout_s = 3.5  # before lidar_perception gives up on it

    def setup(self) -> None:
        rig = load_sensor_rig(self)
        config, camera = self.config(CameraPerceptionConfig), rig.camera_models.get("front")
        if camera is None:
            raise ValueError(f"sensor rig '{rig.name}' has no camera 'front', only {', '.join(rig.camera_models)}")
        self._blind = blind(camera.height, camera.width)
        self._recognition = TrafficLightRecognition(config, load_lane_map(self), camera)
        self._pointing, self._view = PointingMonitor(config, camera), ViewMonitor(config, camera)
        self._eyes, self._fault = None, ""
        if config.street:
            try:
                self._eyes = StreetEyes(config, load_street_network(config.street_model))
            except ValueError as error:  # lights are seen without it, and what stands on the road by the lidar
                self._fault = str(error)
                self.get_logger().error(f"goes on without the street network: {error}")

    def activate(self, at_ns: int) -> None:
        image = self.read(_IMAGE, at_ns)
        if image is None:
            self._see_nothing(
                "the image cannot be read (bgr8 or rgb8 of full size in frame camera_front_optical is expected)", at_ns
            )
            return
        try:
            state = self.read(_STATE, at_ns)
            lights = self._recognition.step(image, at_ns, state)
        except ImageError as error:
            self._see_nothing(str(error), at_ns)
            return
        street = None if self._eyes is None else self._eyes.step(image)
        view, moved = self._view.step(image, at_ns, state, street), self._pointing.step(image, at_ns, state)
        if moved and not view.reason:
            view = replace(view, reason=moved)
        wrong = view.reason or self._fault or self._view.dirty(view.dirt)
        self.set_status(not wrong, wrong or "running")
        self.write("perception/camera_view", convert.camera_view_record(view, at_ns))
        self.write("perception/traffic_lights", to_cloud(lights, at_ns, "map"))
        # what a camera that sees badly or was moved shows, or that nobody looks at, is no evidence of what stands where
        boxes = self._blind if street is None or view.reason else street.boxes
        self.write("perception/camera_objects", to_cloud(boxes, at_ns, _OPTICAL))
        if street is not None and street.road is not None:
            road = np.rint(255.0 * street.road).astype(np.uint8)
            self.write("perception/road_mask", convert.mask(road, at_ns, _OPTICAL))

    def _see_nothing(self, why: str, at_ns: int) -> None:
        """No light states, rather than none seen: downstream must not take the way for free."""
        self.set_status(False, why)
        self.write("perception/camera_objects", to_cloud(self._blind, at_ns, _OPTICAL))
