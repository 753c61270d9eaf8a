"""Traffic lights in camera images."""

from robotaxi.perception.camera.traffic_lights import TrafficLightConfig, TrafficLightRecognition

__all__ = ["TrafficLightConfig", "TrafficLightRecognition"]
