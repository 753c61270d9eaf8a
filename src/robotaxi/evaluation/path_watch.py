"""Road users in the way of the car: for how long is one seen by the lidar, but not by perception?"""

from __future__ import annotations

from typing import Any

import numpy as np

from robotaxi.evaluation.perception_case import Frame
from robotaxi.types import FloatArray, RecordArray

PATH_RANGE, LEAST_POINTS = 20.0, 5  # m from base_link; returns from which on an object counts as visible
_BESIDE = 0.2  # m beside the swept body
_FOUND_WITHIN, _BOX_MARGIN = 2.0, 0.5  # m: of the centres, or of the annotated box
_GRID = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 7), np.linspace(-0.5, 0.5, 5)), axis=-1).reshape(-1, 2)
_LISTED = 20


class PathWatch:
    """Call `step` for each frame of one recording, in order. ``width`` of the own body, m."""

    def __init__(self, width: float) -> None:
        self._reach = 0.5 * width + _BESIDE
        self._missed: dict[int, tuple[int, int]] = {}  # by id: first stamp of the gap, sweeps in it
        self._last_ns: int | None = None
        self._watched: set[int] = set()
        self.gaps: list[dict[str, Any]] = []

    @property
    def watched(self) -> int:
        """How many road users were in the way so far."""
        return len(self._watched)

    def step(self, frame: Frame, found: RecordArray) -> None:
        """``found``: PREDICTION_DTYPE of this frame, of any class."""
        period = 0.0 if self._last_ns is None else (frame.sweep.stamp_ns - self._last_ns) * 1e-9
        self._last_ns = frame.sweep.stamp_ns
        truth = frame.truth
        near = truth["counted"] & (truth["points"] >= LEAST_POINTS)
        near &= np.hypot(truth["x"], truth["y"]) < PATH_RANGE
        still: dict[int, tuple[int, int]] = {}
        for row in truth[near]:
            if frame.path is None or not self._in_path(row, frame.path):
                continue
            identity = int(row["id"])
            self._watched.add(identity)
            if _is_found(row, found):
                continue
            first, count = self._missed.get(identity, (frame.sweep.stamp_ns, 0))
            still[identity] = first, count + 1
            self._note(row, first, (count + 1) * period, count == 0)
        self._missed = still

    def _in_path(self, row: Any, path: FloatArray) -> bool:
        line = path[np.hypot(path[:, 0], path[:, 1]) < PATH_RANGE]
        if len(line) == 0:
            return False
        cos, sin = np.cos(row["yaw"]), np.sin(row["yaw"])
        along, across = _GRID[:, 0] * row["length"], _GRID[:, 1] * row["width"]
        spots = np.column_stack([row["x"] + cos * along - sin * across, row["y"] + sin * along + cos * across])
        distance = np.hypot(spots[:, None, 0] - line[None, :, 0], spots[:, None, 1] - line[None, :, 1])
        return bool(distance.min() < self._reach)

    def _note(self, row: Any, first_ns: int, seconds: float, begins: bool) -> None:
        """One entry a gap, brought up to date while it lasts."""
        entry = {"id": int(row["id"]), "label": int(row["label"]), "from_ns": first_ns, "seconds": round(seconds, 3),
                 "points": int(row["points"]), "range_m": round(float(np.hypot(row["x"], row["y"])), 1)}  # fmt: skip
        if begins:
            self.gaps.append(entry)
            return
        for k, gap in enumerate(self.gaps):
            if gap["id"] == entry["id"] and gap["from_ns"] == first_ns:
                self.gaps[k] = entry


def _is_found(row: Any, found: RecordArray) -> bool:
    dx, dy = found["x"] - row["x"], found["y"] - row["y"]
    cos, sin = np.cos(row["yaw"]), np.sin(row["yaw"])
    inside = np.abs(cos * dx + sin * dy) < 0.5 * row["length"] + _BOX_MARGIN
    inside &= np.abs(-sin * dx + cos * dy) < 0.5 * row["width"] + _BOX_MARGIN
    return bool((inside | (np.hypot(dx, dy) < _FOUND_WITHIN)).any())


def path_figures(watches: list[tuple[str, PathWatch]]) -> dict[str, Any]:
    """Of all recordings, by name: how many were watched, the longest gap and the worst ones."""
    gaps = [{"recording": name, **gap} for name, watch in watches for gap in watch.gaps]
    gaps.sort(key=lambda gap: -gap["seconds"])
    return {
        "max_range_m": PATH_RANGE,
        "min_points": LEAST_POINTS,
        "watched": sum(watch.watched for _, watch in watches),
        "longest_miss_s": gaps[0]["seconds"] if gaps else 0.0,
        "missed": gaps[:_LISTED],
    }
