"""Lidar perception: from sweeps to tracked objects and obstacle points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.fusion import CameraEvidence, FusionConfig, evidence_of
from robotaxi.perception.lidar.airborne import AirborneConfig, AirborneFilter
from robotaxi.perception.lidar.boxes import DETECTION_DTYPE, boxes_by_shape, measure_boxes
from robotaxi.perception.lidar.cluster import ClusterConfig, find_clusters, rasterise
from robotaxi.perception.lidar.free_space import FreeSpaceConfig, free_space
from robotaxi.perception.lidar.ground import GroundConfig, clearance, heights_above_ground
from robotaxi.perception.lidar.obstacles import ObstacleConfig, obstacle_points
from robotaxi.perception.lidar.occlusion import doubt_cut_off
from robotaxi.perception.lidar.preprocess import to_base_link
from robotaxi.perception.lidar.road import RoadFilter
from robotaxi.perception.lidar.second_look import LookConfig, Network, detections_by_look, look_again
from robotaxi.perception.lidar.sight import SightConfig, SightMonitor
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.perception.lidar.tracking import Tracker
from robotaxi.types import (
    CAMERA_OBJECT_DTYPE,
    OBSTACLE_DTYPE,
    CameraModel,
    CameraObjects,
    EgoState,
    FloatArray,
    LidarSweep,
    ObjectClass,
    OccupancyGrid,
    RecordArray,
    Sight,
    VehicleParams,
)


@dataclass(frozen=True)
class LidarPerceptionConfig(
    FusionConfig,
    TrackerConfig,
    LookConfig,
    SightConfig,
    ClusterConfig,
    ObstacleConfig,
    FreeSpaceConfig,
    AirborneConfig,
    GroundConfig,
):  # each stage declares its own part
    """All parameters of lidar perception."""

    second_look: bool = param(
        False, doc="look at clusters twice with the learned network (pip install robotaxi[models])"
    )
    road_margin: float = param(2.5, lo=0.0, hi=10.0, unit="m", doc="objects this close to the road are tracked")


@dataclass(frozen=True)
class LidarPerceptionOutput:
    """``objects``: OBJECT_DTYPE in map. ``obstacle_points``: OBSTACLE_DTYPE in base_link. For pictures
    and measurements, of this sweep alone and in base_link: ``detections`` and all ``clusters`` (DETECTION_DTYPE),
    ``points`` (M, 3) and their ``height`` (M,) above the ground. ``sight``: how well the lidar saw. ``free_space``:
    what it saw of the ground."""

    objects: RecordArray
    obstacle_points: RecordArray
    detections: RecordArray
    clusters: RecordArray
    sight: Sight
    free_space: OccupancyGrid
    points: NDArray[np.float32]
    height: NDArray[np.float32]


class LidarPerception:
    """Call `step` once a sweep, in order of time. With a ``network`` clusters are looked at twice. ``camera``: whose
    pictures tell what the objects are."""

    def __init__(
        self,
        config: LidarPerceptionConfig,
        vehicle: VehicleParams,
        road: RoadFilter | None,
        network: Network | None = None,
        camera: CameraModel | None = None,
    ) -> None:
        self._camera, self._pictured_ns = camera, -1
        self._config, self._vehicle, self._road, self._network = config, vehicle, road, network
        self._tracker = Tracker(config, config)
        self._sight = SightMonitor(config)
        self._airborne = AirborneFilter(config)

    def step(
        self,
        sweep: LidarSweep,
        state: EgoState | None,
        done: Callable[[str], None] = lambda stage: None,
        pictured: CameraObjects | None = None,
    ) -> LidarPerceptionOutput:
        """Find and track what stands on the road. Without ``state`` map and base_link coincide. ``pictured``: what the
        newest picture shows; each counts once.

        A state that is not finite counts as none. Raises SweepError for a sweep without x, y and z.
        ``done`` is told each stage's name at its end, for who measures them.
        """
        config = self._config
        if state is not None and not np.isfinite([state.x, state.y, state.z, state.yaw]).all():
            state = None
        points, time = to_base_link(sweep, state, self._vehicle, config)
        done("preprocess")
        height = heights_above_ground(points, config, config.max_range)
        off_ground = height > clearance(np.hypot(points[:, 0], points[:, 1]), config)
        above = off_ground & (height < config.view_height)
        sight = self._sight.step(points, height)
        drops = self._airborne.step(points, above, np.asarray(sweep.T_base_lidar, np.float64)[:3, 3])
        if drops is not None:
            kept = ~drops
            points, time, height = points[kept], time[kept], height[kept]
            above, off_ground = above[kept], off_ground[kept]
            sight = replace(sight, drops=self._airborne.found)
        standing, standing_height = points[above], height[above]
        done("ground")
        grid = rasterise(standing, config.cell, config.max_range)
        obstacles = obstacle_points(standing, standing_height, grid, config)
        done("obstacles")
        lidar = np.asarray(sweep.T_base_lidar, dtype=np.float64)[:2, 3]
        free = free_space(points, height, off_ground, obstacles, lidar, config.overhead_height, config)
        done("free_space")
        clusters = find_clusters(standing, grid, config)
        done("clusters")
        boxes = measure_boxes(standing, standing_height, time[above], clusters)
        done("boxes")
        if self._network is None:
            detections = boxes_by_shape(boxes, config)
        else:
            detections = detections_by_look(points, height, boxes, lidar, self._network, config)
            done("second_look")
        doubt_cut_off(detections, obstacles, lidar)
        found = detections
        detections = _to_map(detections, state)
        if self._road is not None and state is not None:
            detections = detections[self._road.contains(np.column_stack([detections["x"], detections["y"]]))]
        sensor = _point_in_map(lidar, state)
        objects = self._tracker.step(detections, sweep.stamp_ns, sensor, self._evidence(pictured, state))
        done("tracking")
        return LidarPerceptionOutput(objects, obstacles, found, boxes, sight, free, points, height)

    def _evidence(self, pictured: CameraObjects | None, state: EgoState | None) -> CameraEvidence | None:
        if pictured is None or state is None or self._camera is None or pictured.stamp_ns == self._pictured_ns:
            return None
        self._pictured_ns = pictured.stamp_ns
        return evidence_of(pictured, self._camera, state, self._config.fuse_latest)

    @property
    def camera_agreement(self) -> float:
        """Share of the vehicles that the lidar is sure of and the camera names too."""
        return self._tracker.fusion.agreement

    def warm_up(self) -> None:
        """Compile or load the kernels, so that the first sweep is as quick as the others."""
        azimuth = np.linspace(0.0, 6.0, 600)
        cloud = np.zeros(600, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
        cloud["x"], cloud["y"] = 12.0 * np.cos(azimuth), 12.0 * np.sin(azimuth)
        cloud["z"] = np.where(np.arange(600) % 3 == 0, 0.0, 1.0)
        spare = LidarPerception(self._config, self._vehicle, self._road, self._network)
        state = EgoState(0, 0.0, 0.0, 0.0, 0.0)
        for i in range(4):
            spare.step(LidarSweep(i * 100_000_000, cloud, np.eye(4)), state)
        # the made-up sweep may show no object: tracker and network get one of their own
        boxes = np.zeros(2, DETECTION_DTYPE)
        boxes["x"], boxes["length"], boxes["width"], boxes["height"] = (10.0, 20.0), 4.0, 1.8, 1.5
        boxes["label"], boxes["points"] = int(ObjectClass.CAR), 50
        tracker = Tracker(self._config)
        for i in range(4):
            boxes["looked"] = i > 2
            tracker.step(boxes, i * 100_000_000, np.zeros(2))
        if self._camera is not None:
            nothing = CameraObjects(400_000_000, np.zeros(0, CAMERA_OBJECT_DTYPE))
            evidence = evidence_of(nothing, self._camera, replace(state, stamp_ns=nothing.stamp_ns), 1.0)
            tracker.step(boxes, nothing.stamp_ns, np.zeros(2), evidence)
        boxes["label"] = int(ObjectClass.PEDESTRIAN)
        doubt_cut_off(boxes.copy(), np.zeros(1, OBSTACLE_DTYPE), np.zeros(2))
        if self._network is not None:
            points = np.zeros((1, 3), np.float32)
            look_again(points, points[:, 2].copy(), boxes, np.zeros(2), self._config.max_range, self._network)


def _point_in_map(point: FloatArray, state: EgoState | None) -> FloatArray:
    if state is None:
        return point
    cos, sin = np.cos(state.yaw), np.sin(state.yaw)
    return np.array([state.x + cos * point[0] - sin * point[1], state.y + sin * point[0] + cos * point[1]])


def _to_map(detections: RecordArray, state: EgoState | None) -> RecordArray:
    if state is None:
        return detections
    detections = detections.copy()
    x, y = detections["x"].copy(), detections["y"].copy()
    cos, sin = np.cos(state.yaw), np.sin(state.yaw)
    detections["x"] = state.x + cos * x - sin * y
    detections["y"] = state.y + sin * x + cos * y
    detections["z"] += state.z
    detections["yaw"] += state.yaw
    return detections
