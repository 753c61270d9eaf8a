"""All parameters of camera perception."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.perception.camera.pointing import PointingConfig
from robotaxi.perception.camera.traffic_lights import TrafficLightConfig


@dataclass(frozen=True)
class CameraPerceptionConfig(TrafficLightConfig, PointingConfig):
    """Each part declares its own."""
