"""Camera perception: traffic light states, how well the camera sees, and whether it looks where it should."""

from robotaxi.perception.camera.config import CameraPerceptionConfig
from robotaxi.perception.camera.pointing import PointingMonitor
from robotaxi.perception.camera.traffic_lights import ImageError, TrafficLightConfig, TrafficLightRecognition
from robotaxi.perception.camera.view import camera_view

__all__ = [
    "CameraPerceptionConfig",
    "ImageError",
    "PointingMonitor",
    "TrafficLightConfig",
    "TrafficLightRecognition",
    "camera_view",
]
