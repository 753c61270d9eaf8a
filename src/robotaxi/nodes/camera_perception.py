"""Camera perception node: traffic light states where the map expects lights, how well the camera sees, and whether it
looks where it should."""

from __future__ import annotations

from dataclasses import replace

from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_sensor_rig
from robotaxi.nodes.records import to_cloud
from robotaxi.nodes.runtime import StackNode
from robotaxi.perception.camera import (
    CameraPerceptionConfig,
    ImageError,
    PointingMonitor,
    TrafficLightRecognition,
    camera_view,
)

_IMAGE, _STATE = "sensing/camera/front/image_raw", "localization/kinematic_state"


class CameraPerceptionNode(StackNode):
    role = "camera_perception"
    trigger = _IMAGE
    period_ns = 200 * MS
    phase_ns = 40 * MS
    wait_timeout_s = 4.0

    def setup(self) -> None:
        rig = load_sensor_rig(self)
        config, camera = self.config(CameraPerceptionConfig), rig.camera_models["front"]
        self._recognition = TrafficLightRecognition(config, load_lane_map(self), camera)
        self._pointing = PointingMonitor(config, camera)

    def activate(self, at_ns: int) -> None:
        image = self.read(_IMAGE, at_ns)
        if image is None:
            self.set_status(
                False, "the image cannot be read (bgr8 or rgb8 of full size in frame camera_front_optical is expected)"
            )
            return
        try:
            state = self.read(_STATE, at_ns)
            lights = self._recognition.step(image, at_ns, state)
        except ImageError as error:
            self.set_status(False, str(error))
            return
        view, moved = camera_view(image), self._pointing.step(image, at_ns, state)
        if moved and not view.reason:
            view = replace(view, reason=moved)
        self.set_status(not view.reason, view.reason or "running")
        self.write("perception/camera_view", convert.camera_view_record(view, at_ns))
        self.write("perception/traffic_lights", to_cloud(lights, at_ns, "map"))
