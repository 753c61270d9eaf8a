"""All parameters of camera perception."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.perception.camera.pointing import PointingConfig
from robotaxi.perception.camera.street import StreetConfig
from robotaxi.perception.camera.traffic_lights import TrafficLightConfig
from robotaxi.perception.camera.view import ViewConfig


@dataclass(frozen=True)
class CameraPerceptionConfig(TrafficLightConfig, PointingConfig, ViewConfig, StreetConfig):
    """Each part declares its own."""
