"""Lidar perception: ground, obstacle points, clusters, boxes, tracks."""

from robotaxi.perception.lidar.pipeline import LidarPerception, LidarPerceptionConfig, LidarPerceptionOutput
from robotaxi.perception.lidar.preprocess import SweepError
from robotaxi.perception.lidar.road import RoadFilter
from robotaxi.perception.lidar.second_look import load_second_look

__all__ = [
    "LidarPerception",
    "LidarPerceptionConfig",
    "LidarPerceptionOutput",
    "RoadFilter",
    "SweepError",
    "load_second_look",
]
