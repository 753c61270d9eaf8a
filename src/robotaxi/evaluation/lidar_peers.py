"""Objects from one sweep as others find them, beside ours: Patchwork++ for the ground, then connected components.

Patchwork++: Lee et al., "Patchwork++: Fast and Robust Ground Segmentation Solving Partial Under-Segmentation Using 3D
Point Cloud", IROS 2022, by its authors' package. What stands above the ground is drawn on a grid seen from above; cells
that touch are one object, with the smallest rectangle around it.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from robotaxi.evaluation.detection_metrics import PREDICTION_DTYPE, found_within
from robotaxi.evaluation.perception_case import TRUTH_DTYPE, Frame
from robotaxi.types import FloatArray, RecordArray

_CELL = 0.3  # m
_REACH = 60.0  # m, of the grid to each side
_HIGHEST = 2.5  # m above the ground: what is higher is overhead
_LEAST_CELLS = 2
WITHIN = (1.0, 2.0)  # m from the annotated middle
STAGES = ("preprocess", "ground", "obstacles", "clusters", "boxes")  # of ours that do the same work


class MissingPeerError(ValueError):
    """The package is not installed; the message names the cure."""


class Patchwork:
    """Patchwork++ and connected components, sweep by sweep."""

    def __init__(self) -> None:
        try:
            import pypatchworkpp
        except ImportError as error:
            raise MissingPeerError("pypatchworkpp is missing: pip install robotaxi[eval]") from error
        self._package = pypatchworkpp
        self._ground: Any = None
        self.ms: dict[str, list[float]] = {}  # wall time of each stage, each sweep
        self._found: list[RecordArray] = [np.zeros(0, PREDICTION_DTYPE)]
        self._truth: list[RecordArray] = [np.zeros(0, TRUTH_DTYPE)]
        self._sweeps = 0

    def step(self, frame: Frame) -> None:
        """Look at one annotated sweep."""
        points, T = frame.sweep.points, np.asarray(frame.sweep.T_base_lidar)
        cloud = np.column_stack([points["x"], points["y"], points["z"]]).astype(np.float64)
        cloud = cloud[np.isfinite(cloud).all(axis=1)] @ T[:3, :3].T  # upright, its origin in the lidar
        height = float(T[2, 3])
        if self._ground is None:
            chosen = self._package.Parameters()
            chosen.sensor_height = height
            chosen.enable_RNR = False  # it needs intensities, which not every lidar gives
            self._ground = self._package.patchworkpp(chosen)
        began = time.perf_counter()
        self._ground.estimateGround(np.column_stack([cloud, np.zeros(len(cloud))]))
        standing = np.asarray(self._ground.getNonground(), np.float64).reshape(-1, 3)
        self._took("ground", began)
        now = time.perf_counter()
        labels, cells, count = components(standing[standing[:, 2] + height < _HIGHEST])
        self._took("clusters", now)
        now = time.perf_counter()
        middles = rectangles(labels, cells, count)
        self._took("boxes", now)
        self._took("total", began)
        rows = np.zeros(len(middles), PREDICTION_DTYPE)
        rows["frame"] = self._sweeps  # recordings follow one another
        rows["x"], rows["y"] = middles[:, 0] + T[0, 3], middles[:, 1] + T[1, 3]
        truth = frame.truth.copy()
        truth["frame"] = self._sweeps
        self._sweeps += 1
        self._found.append(rows)
        self._truth.append(truth)

    def near_vehicles(self, near_range: float, near_points: int) -> dict[str, Any]:
        """The share of near vehicles that have an object within 1 and 2 m."""
        truth, found = np.concatenate(self._truth), np.concatenate(self._found)
        return {f"{d:g}_m": found_within(truth, [found], near_range, near_points, d) for d in WITHIN}

    def _took(self, stage: str, began: float) -> None:
        self.ms.setdefault(stage, []).append(1e3 * (time.perf_counter() - began))


def components(points: FloatArray) -> tuple[np.ndarray, np.ndarray, int]:
    """Label of each occupied cell, the cells (N, 2) and the number of labels, of points (N, 3) around the lidar."""
    side = int(2.0 * _REACH / _CELL)
    cells = np.floor((points[:, :2] + _REACH) / _CELL).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < side)).all(axis=1)]
    grid = np.zeros((side, side), np.uint8)
    grid[cells[:, 1], cells[:, 0]] = 1
    count, picture = cv2.connectedComponents(grid, connectivity=8)
    rows, columns = np.nonzero(grid)
    return picture[rows, columns], np.column_stack([columns, rows]), count


def rectangles(labels: np.ndarray, cells: np.ndarray, count: int) -> FloatArray:
    """Middles (M, 2) of the smallest rectangles around each component, m from the lidar."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(1, count + 1))
    middles = [
        cv2.minAreaRect(cells[order[first:last]].astype(np.float32))[0]
        for first, last in pairwise(ends)
        if last - first >= _LEAST_CELLS
    ]
    return (np.asarray(middles, np.float64).reshape(-1, 2) + 0.5) * _CELL - _REACH
