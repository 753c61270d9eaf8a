"""Is what the grid calls free really free? Cells of it inside annotated boxes, sweep by sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.evaluation.perception_case import Frame
from robotaxi.types import OccupancyGrid, RecordArray

FREE_RANGE, LEAST_POINTS = 40.0, 5  # m from base_link; returns from which on an object counts as visible


class FreeSpaceWatch:
    """Call `step` for each frame."""

    def __init__(self) -> None:
        self._free_m2: list[float] = []
        self._inside = self._called_free = self._objects = self._free_objects = 0

    def step(self, frame: Frame, grid: OccupancyGrid) -> None:
        self._free_m2.append(float((grid.cells == OccupancyGrid.FREE).sum()) * grid.resolution**2)
        truth = frame.truth
        near = (truth["points"] >= LEAST_POINTS) & (np.hypot(truth["x"], truth["y"]) < FREE_RANGE)
        for box in truth[near & truth["counted"]]:
            cells = cells_inside(grid, box)
            if cells.size:
                free = int((cells == OccupancyGrid.FREE).sum())
                self._inside, self._called_free = self._inside + cells.size, self._called_free + free
                self._objects, self._free_objects = self._objects + 1, self._free_objects + (free == cells.size)

    def figures(self) -> dict[str, Any]:
        """``called_free``: share of the cells inside visible road users; ``objects_free``: of those all of whose cells
        are."""
        return {
            "free_m2_p50": round(float(np.median(self._free_m2)), 1) if self._free_m2 else 0.0,
            "max_range_m": FREE_RANGE,
            "cells_in_objects": self._inside,
            "called_free": round(self._called_free / self._inside, 5) if self._inside else None,
            "objects": self._objects,
            "objects_free": round(self._free_objects / self._objects, 5) if self._objects else None,
        }


def cells_inside(grid: OccupancyGrid, box: RecordArray) -> NDArray[np.int8]:
    """The cells that lie wholly inside a box (TRUTH_DTYPE, base_link), or that of its middle."""
    height, width = grid.cells.shape
    x = grid.x + (np.arange(width) + 0.5) * grid.resolution - box["x"]
    y = (grid.y + (np.arange(height) + 0.5) * grid.resolution - box["y"])[:, None]
    cos, sin = np.cos(box["yaw"]), np.sin(box["yaw"])
    edge = 0.5 * grid.resolution * (abs(cos) + abs(sin))
    inside = np.abs(cos * x + sin * y) <= max(0.5 * box["length"] - edge, 0.0)
    inside &= np.abs(-sin * x + cos * y) <= max(0.5 * box["width"] - edge, 0.0)
    if not inside.any():
        inside = (np.abs(x) <= 0.5 * grid.resolution) & (np.abs(y) <= 0.5 * grid.resolution)
    return grid.cells[inside]
