"""Camera perception: traffic light states, and how well the camera sees."""

from robotaxi.perception.camera.traffic_lights import ImageError, TrafficLightConfig, TrafficLightRecognition
from robotaxi.perception.camera.view import camera_view

__all__ = ["ImageError", "TrafficLightConfig", "TrafficLightRecognition", "camera_view"]
