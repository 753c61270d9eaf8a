"""Camera perception: traffic light states."""

from robotaxi.perception.camera.traffic_lights import ImageError, TrafficLightConfig, TrafficLightRecognition

__all__ = ["ImageError", "TrafficLightConfig", "TrafficLightRecognition"]
