"""Lidar perception over recordings: what is found, how it is tracked, and how long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from robotaxi.evaluation.class_accuracy import class_accuracy
from robotaxi.evaluation.detection_metrics import PREDICTION_DTYPE, found_within, score_detections
from robotaxi.evaluation.free_space import FreeSpaceWatch
from robotaxi.evaluation.heading_errors import heading_errors
from robotaxi.evaluation.lidar_peers import STAGES, WITHIN, Patchwork
from robotaxi.evaluation.path_watch import PathWatch, path_figures
from robotaxi.evaluation.perception_case import GROUPS, TRUTH_DTYPE, Frame, Recording, on_road
from robotaxi.evaluation.tracking_metrics import score_tracks
from robotaxi.perception.camera.street import StreetEyes
from robotaxi.perception.lidar import LidarPerception, LidarPerceptionConfig, RoadFilter
from robotaxi.perception.lidar.boxes import boxes_by_shape
from robotaxi.perception.lidar.full_boxes import full_boxes
from robotaxi.perception.lidar.second_look import MODEL, Network
from robotaxi.types import CameraObjects, EgoState, FloatArray, ObjectClass, RecordArray

NEAR_RANGE, NEAR_POINTS, NEAR_DISTANCE = 25.0, 20, 1.0  # every vehicle this near must be found this exactly
TRACK_RANGES = {"vehicle": 40.0, "cyclist": 30.0, "pedestrian": 30.0}  # m
_NEAR = (NEAR_RANGE, NEAR_POINTS, NEAR_DISTANCE)
USUAL_PERIOD, _MOST_SLOWER = 0.1, 1.5  # s between two sweeps, and from how much more on that matters
_LONGEST_STEP, _LONGEST_TENTATIVE = 5.0, 2.0  # s
_HEIGHT = 0.8  # m, where a prediction without height is looked up


@dataclass
class _Seen:
    """Everything of one recording, frame by frame."""

    truth: list[RecordArray] = field(default_factory=list)
    clusters: list[RecordArray] = field(default_factory=list)
    detector: list[RecordArray] = field(default_factory=list)
    objects: list[RecordArray] = field(default_factory=list)
    alone: list[RecordArray] = field(default_factory=list)  # the objects without the camera's word


def run_lidar(
    recordings: Sequence[Recording],
    config: LidarPerceptionConfig,
    road: RoadFilter | None = None,
    max_frames: int | None = None,
    progress: Callable[[], None] = lambda: None,
    network: Network | None = None,
    eyes: StreetEyes | None = None,
    peer: Patchwork | None = None,
) -> dict[str, Any]:
    """Every figure of `robotaxi bench lidar` and `bench tracking`. ``eyes``: look at the pictures, too; ``peer``: sees
    each annotated sweep just after ours."""
    parts, milliseconds, per_recording = [], _Stages(), []
    points, evaluated, free_space = [], 0, FreeSpaceWatch()
    looking: list[float] = []
    watches: list[tuple[str, PathWatch]] = []
    for recording in recordings:
        looks_at = road
        if road is None and recording.area is not None:
            looks_at = RoadFilter(recording.area, config.road_margin)
        paced = at_pace(config, recording.period)
        camera = recording.camera if eyes is not None else None
        pipeline = LidarPerception(paced, recording.vehicle, looks_at, network, camera)
        pipeline.warm_up()
        alone = LidarPerception(paced, recording.vehicle, looks_at, network) if camera is not None else None
        seen, watch = _Seen(), PathWatch(recording.vehicle.width)
        for frame in recording.frames():
            if max_frames is not None and frame.index >= max_frames:
                break
            if not recording.tracked:
                pipeline = LidarPerception(paced, recording.vehicle, looks_at, network, camera)
            pictured = None
            if eyes is not None and frame.picture is not None:
                began = time.perf_counter()
                pictured = CameraObjects(frame.picture[0], eyes.step(frame.picture[1]).boxes)
                looking.append(1e3 * (time.perf_counter() - began))
            milliseconds.begin()
            output = pipeline.step(frame.sweep, frame.state, milliseconds.done, pictured)
            milliseconds.end()
            without = alone.step(frame.sweep, frame.state).objects if alone is not None else None
            points.append(len(frame.sweep.points))
            progress()
            if not frame.evaluated:
                continue
            evaluated += 1
            sensor = np.asarray(frame.sweep.T_base_lidar)[:2, 3]
            if looks_at is not None and frame.state is not None:  # what stands elsewhere need not be found
                frame.truth["counted"] &= on_road(frame.truth, frame.state, looks_at.area, looks_at.margin)
            seen.truth.append(frame.truth)
            # clusters by shape alone, beside what the second look makes of them
            shapes = boxes_by_shape(output.clusters, config)
            seen.clusters.append(from_detections(shapes, sensor, config, frame))
            if network is not None:
                users = output.detections[output.detections["label"] != ObjectClass.UNKNOWN]
                seen.detector.append(from_detections(users, sensor, config, frame))
            objects_here = from_objects(output.objects, frame)
            seen.objects.append(objects_here)
            if without is not None:
                seen.alone.append(from_objects(without, frame))
            if peer is not None:
                peer.step(frame)
            watch.step(frame, objects_here)
            free_space.step(frame, output.free_space)
        parts.append(seen)
        watches.append((recording.name, watch))
        per_recording.append({"name": recording.name, "frames": recording.count, **recording.notes})
    truth, clusters = _join(parts, "truth"), _join(parts, "clusters")
    detector, objects = _join(parts, "detector"), _join(parts, "objects")
    sources = {"clusters": clusters, "objects": objects}
    if network is not None:
        sources["detector"] = detector
    tracked = [part for part, recording in zip(parts, recordings, strict=True) if recording.tracked]
    return {
        "model": "none" if network is None else MODEL,
        "recordings": per_recording,
        "frames": len(points),
        "frames_evaluated": evaluated,
        "points_p50": int(np.median(points)) if points else 0,
        "ms": milliseconds.figures() | ({"picture": percentiles(looking)} if looking else {}),
        "near_vehicles": {
            "max_range_m": NEAR_RANGE,
            "min_points": NEAR_POINTS,
            "within_m": NEAR_DISTANCE,
            **{name: found_within(truth, [rows], *_NEAR) for name, rows in sources.items()},
            "union": found_within(truth, [clusters, detector], *_NEAR),
        },
        "detection": {name: score_detections(truth, rows) for name, rows in sources.items()},
        "classes": class_accuracy(truth, objects),
        **({"classes_without_camera": class_accuracy(truth, _join(parts, "alone"))} if looking else {}),
        "heading": heading_errors(truth, objects),
        "in_path": path_figures(watches),
        "free_space": free_space.figures(),
        "tracking": _tracking(tracked),
        **({"peers": _beside(peer, milliseconds, truth, clusters)} if peer is not None else {}),
    }


def _beside(peer: Patchwork, ours: _Stages, truth: RecordArray, clusters: RecordArray) -> dict[str, Any]:
    """Ours without what the peer does not do (free space, second look, tracks), and the peer, of the same run."""
    near = {f"{d:g}_m": found_within(truth, [clusters], NEAR_RANGE, NEAR_POINTS, d) for d in WITHIN}
    return {
        "robotaxi": {"ms": {"total": ours.together(STAGES)}, "near_vehicles": near},
        "patchwork++": {
            "ms": {stage: percentiles(values) for stage, values in peer.ms.items()},
            "near_vehicles": peer.near_vehicles(NEAR_RANGE, NEAR_POINTS),
        },
    }


def at_pace(config: LidarPerceptionConfig, period: float) -> LidarPerceptionConfig:
    """For recordings of fewer sweeps a second than the tracker is made for: as many of them as else may be missing."""
    slower = period / USUAL_PERIOD
    if slower <= _MOST_SLOWER:
        return config
    return replace(
        config,
        max_step=min(slower * config.max_step, _LONGEST_STEP),
        tentative_coast=min(slower * config.tentative_coast, _LONGEST_TENTATIVE),
        max_coast=max(config.max_coast, min(2.5 * period, _LONGEST_STEP)),
    )


class _Stages:
    """Wall milliseconds of each stage, each sweep."""

    def __init__(self) -> None:
        self._ms: dict[str, list[float]] = {}
        self._begun = self._last = 0.0

    def begin(self) -> None:
        self._begun = self._last = time.perf_counter()

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self._ms.setdefault(stage, []).append(1e3 * (now - self._last))
        self._last = now

    def end(self) -> None:
        self._ms.setdefault("total", []).append(1e3 * (time.perf_counter() - self._begun))

    def together(self, stages: Sequence[str]) -> dict[str, float]:
        return percentiles(np.sum([self._ms[stage] for stage in stages], axis=0))

    def figures(self) -> dict[str, dict[str, float]]:
        return {stage: percentiles(values) for stage, values in self._ms.items()}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, [50, 99]) if len(values) else (0.0, 0.0)
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def from_detections(
    detections: RecordArray, sensor: FloatArray, config: LidarPerceptionConfig, frame: Frame
) -> RecordArray:
    """Whole boxes of one sweep's detections as PREDICTION_DTYPE."""
    boxes = full_boxes(detections, sensor, config)
    out = _predictions(boxes.center, detections["label"], detections["score"], frame)
    out["yaw"] = boxes.yaw
    return out


def from_objects(objects: RecordArray, frame: Frame) -> RecordArray:
    """Tracked objects (map) as PREDICTION_DTYPE (base_link)."""
    places = np.column_stack([objects["x"], objects["y"]]).astype(np.float64)
    out = _predictions(_to_base(places, frame.state), objects["label"], objects["existence"], frame)
    out["id"] = objects["id"]
    out["yaw"] = objects["yaw"] - (frame.state.yaw if frame.state is not None else 0.0)
    return out


def _predictions(center: FloatArray, label: np.ndarray, score: np.ndarray, frame: Frame) -> RecordArray:
    out = np.zeros(len(center), PREDICTION_DTYPE)
    out["frame"], out["x"], out["y"] = frame.index, center[:, 0], center[:, 1]
    out["label"], out["score"] = label, score
    if frame.annotated is not None:
        out["ignored"] = ~frame.annotated(np.column_stack([center, np.full(len(center), _HEIGHT)]))
    return out


def _to_base(places: FloatArray, state: EgoState | None) -> FloatArray:
    if state is None:
        return places
    dx, dy = places[:, 0] - state.x, places[:, 1] - state.y
    cos, sin = np.cos(state.yaw), np.sin(state.yaw)
    return np.column_stack([cos * dx + sin * dy, -sin * dx + cos * dy])


def _join(parts: Sequence[_Seen], name: str) -> RecordArray:
    """All recordings' rows in one array; frames, and ids of different recordings, are kept apart."""
    dtype = TRUTH_DTYPE if name == "truth" else PREDICTION_DTYPE
    out = []
    for k, part in enumerate(parts):
        rows = np.concatenate([np.zeros(0, dtype), *getattr(part, name)])
        rows["frame"] += 100_000 * k
        rows["id"] += 1_000_000 * k
        out.append(rows)
    return np.concatenate([np.zeros(0, dtype), *out])


def _tracking(parts: Sequence[_Seen]) -> dict[str, Any]:
    truth, objects = _join(parts, "truth"), _join(parts, "objects")
    out = {}
    for group, reach in TRACK_RANGES.items():
        mine = truth[np.isin(truth["label"], GROUPS[group])]
        # what carries no class we know, and other classes, may be met without harm but need not be
        others = truth[(truth["label"] == ObjectClass.UNKNOWN)]
        rows = np.concatenate([mine, others])
        ours = objects[np.isin(objects["label"], GROUPS[group])]
        out[group] = {"max_range_m": reach, **score_tracks(rows, ours, reach)}
    return out
