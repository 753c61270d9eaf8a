"""How long the tracker takes for many objects at once."""

from __future__ import annotations

import time

import numpy as np

from robotaxi.evaluation.perception_bench import percentiles
from robotaxi.perception.lidar.boxes import DETECTION_DTYPE
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.perception.lidar.tracking import Tracker
from robotaxi.types import ObjectClass

_SWEEP_NS = 100_000_000
_WARM, _MEASURED = 10, 100
_SPACING = 9.0  # m


def track_many(objects: int, seed: int = 0) -> dict[str, float]:
    """Milliseconds (p50, p99) of one step with ``objects`` cars, half of them driving, seen with 5 cm noise."""
    rng = np.random.default_rng([seed, objects])
    side = int(np.ceil(np.sqrt(objects)))
    row, column = np.divmod(np.arange(objects), side)
    start = _SPACING * np.column_stack([column - 0.5 * side, row - 0.5 * side])
    velocity = np.where(np.arange(objects)[:, None] % 2 == 0, [5.0, 0.0], [0.0, 0.0])
    tracker, sensor = Tracker(TrackerConfig()), np.zeros(2)
    milliseconds = []
    for k in range(_WARM + _MEASURED):
        detections = np.zeros(objects, DETECTION_DTYPE)
        place = start + 0.1 * k * velocity + rng.normal(0.0, 0.05, start.shape)
        detections["x"], detections["y"] = place.T
        detections["length"], detections["width"], detections["height"] = 4.3, 1.8, 1.5
        detections["points"], detections["flat"] = 100, 0.9
        detections["label"], detections["score"] = int(ObjectClass.CAR), 0.9
        begun = time.perf_counter()
        tracker.step(detections, k * _SWEEP_NS, sensor)
        if k >= _WARM:
            milliseconds.append(1e3 * (time.perf_counter() - begun))
    return percentiles(milliseconds)
