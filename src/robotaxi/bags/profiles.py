"""Which topics each recording profile takes."""

from __future__ import annotations

from robotaxi.interfaces import INTERFACES, Qos

BULKY = (
    "sensing/lidar/top/pointcloud",
    "sensing/camera/front/image_raw",
    "perception/obstacle_points",
    "perception/occupancy_grid_map/map",
)

PROFILES: dict[str, frozenset[str]] = {
    "all": frozenset(INTERFACES),
    "drive": frozenset(topic for topic in INTERFACES if topic not in BULKY),
    "events": frozenset(topic for topic, item in INTERFACES.items() if item.qos in (Qos.EVENT, Qos.LATCHED))
    | {"planning/explanation", "planning/mission", "system/mode", "diagnostics"},
}


def records(profile: str, topic: str) -> bool:
    """Whether the profile takes the topic. KeyError for an unknown profile."""
    return topic in PROFILES[profile]
