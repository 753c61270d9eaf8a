"""Lidar perception: ground, obstacle points, clusters, boxes, tracks."""

from robotaxi.perception.lidar.pipeline import LidarPerception, LidarPerceptionConfig, LidarPerceptionOutput
from robotaxi.perception.lidar.preprocess import SweepError
from robotaxi.perception.lidar.road import RoadFilter

__all__ = ["LidarPerception", "LidarPerceptionConfig", "LidarPerceptionOutput", "RoadFilter", "SweepError"]
