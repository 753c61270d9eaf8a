"""A picture of a localization map from above, with the ways driven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from robotaxi.types import FloatArray

_LARGEST = 4000  # pixels along the longer side
_FINEST = 0.2  # m a pixel


def save_picture(path: Path, points: FloatArray, ways: Sequence[FloatArray]) -> None:
    """Write a PNG: points (N, 3) by height, each way (K, 2) as a line. North is up. OSError if it cannot be written."""
    low, high = points[:, :2].min(axis=0) - 5.0, points[:, :2].max(axis=0) + 5.0
    scale = max(_FINEST, float((high - low).max()) / _LARGEST)
    width, height = (int(v) for v in np.ceil((high - low) / scale))

    def pixel(xy: FloatArray) -> np.ndarray:
        column = (xy[:, 0] - low[0]) / scale
        row = height - 1 - (xy[:, 1] - low[1]) / scale
        return np.stack([np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)], axis=1).astype(np.int32)

    ground = np.percentile(points[:, 2], 20)
    level = np.clip((points[:, 2] - ground) / 8.0, 0.0, 1.0)
    order = np.argsort(points[:, 2], kind="stable")
    image = np.full((height, width), 0, np.uint8)
    at = pixel(points[order, :2])
    image[at[:, 1], at[:, 0]] = (60 + 195 * level[order]).astype(np.uint8)
    shown = cv2.applyColorMap(image, cv2.COLORMAP_VIRIDIS)
    shown[image == 0] = 255
    for way in ways:
        cv2.polylines(shown, [pixel(way)], False, (40, 40, 220), 2)
    if not cv2.imwrite(str(path), shown):
        raise OSError(f"{path}: the picture cannot be written")
