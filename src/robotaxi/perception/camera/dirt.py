"""Dirt on the lens: what stays dark and still in the picture while all around it changes.

While the car drives, everything that is seen changes from picture to picture, nearer things more than farther ones.
A spot of mud hides that. Of each cell of a coarse grid it is known how much it changes and how bright it is on
average; a cell that changes much less than its surroundings and is darker than they are counts as dirty. The sky does
not change either, and is brighter; a smooth road changes as little as the road around it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_COLUMNS, _ROWS = 80, 45
_AROUND = 21  # cells, side of the surroundings
_FRAMES = 40  # pictures that the averages reach back, and that are needed
_LEAST_CHANGE = 2.0  # grey levels from one picture to the next: less tells nothing, of all or of the surroundings
_STILL = 0.3  # of the surroundings' change
_DARKER = 6.0  # grey levels


class DirtMonitor:
    """Call `step` once an image, in order of time."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._change = np.zeros((_ROWS, _COLUMNS), np.float32)
        self._mean = np.zeros((_ROWS, _COLUMNS), np.float32)
        self._count = 0
        self.share = 0.0

    def step(self, image_bgr: NDArray[np.uint8], moving: bool) -> float:
        """Share of the picture that is dirty, as far as is known; it stays while the car stands. ``image_bgr``:
        (H, W, 3); ``moving``: whether the car drives."""
        cells = cv2.resize(image_bgr, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA).mean(axis=2, dtype=np.float32)
        last, self._last = self._last, cells
        if last is None or not moving:
            return self.share
        change = np.abs(cells - last)
        if change.mean() < _LEAST_CHANGE:
            return self.share
        self._count = min(self._count + 1, _FRAMES)
        self._change += (change - self._change) / self._count
        self._mean += (cells - self._mean) / self._count
        if self._count == _FRAMES:
            around, light = (cv2.blur(grid, (_AROUND, _AROUND)) for grid in (self._change, self._mean))
            still = (self._change < _STILL * around) & (around > _LEAST_CHANGE)
            self.share = float((still & (self._mean < light - _DARKER)).mean())
        return self.share
