"""Camera perception: traffic light states, road users and road, how well the camera sees, and whether it looks where it
should."""

from robotaxi.perception.camera.config import CameraPerceptionConfig
from robotaxi.perception.camera.pointing import PointingMonitor
from robotaxi.perception.camera.street import StreetEyes, blind, load_street_network
from robotaxi.perception.camera.traffic_lights import ImageError, TrafficLightConfig, TrafficLightRecognition
from robotaxi.perception.camera.view import ViewMonitor

__all__ = [
    "CameraPerceptionConfig",
    "ImageError",
    "PointingMonitor",
    "StreetEyes",
    "TrafficLightConfig",
    "TrafficLightRecognition",
    "ViewMonitor",
    "blind",
    "load_street_network",
]
