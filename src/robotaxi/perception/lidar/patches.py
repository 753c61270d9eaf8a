"""What surrounds each cluster, as small bird's-eye-view images for the second look.

A patch is centred on its cluster and turned so that the line of sight runs along its first axis: what a car looks
like depends on the side it shows, not on where around the sensor it is.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.perception.lidar.preprocess import Points
from robotaxi.types import FloatArray, RecordArray

CELL = 0.25  # m
SIDE = 40  # cells
EDGES = (0.25, 0.6, 1.0, 1.4, 1.9, 2.6, 4.5)  # m above the ground: one channel between each two, the ground before
CHANNELS = len(EDGES)
FACTS = 12


def patches(
    xyz: Points, height: NDArray[np.float32], boxes: RecordArray, sensor: FloatArray, max_range: float
) -> NDArray[np.float32]:
    """(N, CHANNELS, SIDE, SIDE), 0..1, for N ``boxes`` (DETECTION_DTYPE) in the frame of ``xyz``; ``sensor`` (2,)."""
    image = _image(xyz, height, np.array(EDGES, np.float32), max_range, CELL)
    sight = np.arctan2(boxes["y"] - sensor[1], boxes["x"] - sensor[0])
    return _cut(image, boxes["x"].copy(), boxes["y"].copy(), np.cos(sight), np.sin(sight), max_range, CELL, SIDE)


def facts(boxes: RecordArray, sensor: FloatArray) -> NDArray[np.float32]:
    """(N, FACTS) numbers about each box that its patch does not hold, each about 0..1."""
    dx, dy = boxes["x"] - sensor[0], boxes["y"] - sensor[1]
    turn = 2.0 * (boxes["yaw"] - np.arctan2(dy, dx))
    columns = (
        np.hypot(dx, dy) / 50.0, boxes["length"] / 5.0, boxes["width"] / 2.0, boxes["height"] / 2.0, boxes["base"],
        boxes["upper"] / 3.0, boxes["lower"] / 5.0, boxes["flat"], np.log1p(boxes["points"]) / 6.0,
        0.5 + 0.5 * np.cos(turn), 0.5 + 0.5 * np.sin(turn), np.ones(len(boxes)),
    )  # fmt: skip
    return np.stack(columns, axis=-1).astype(np.float32)


@njit(cache=True)
def _image(xyz, height, edges, reach, cell):  # type: ignore[no-untyped-def]
    """Returns in each cell and slice of height, (W, W, channels) uint8, saturating."""
    half = int(np.ceil(reach / cell)) + 1
    out = np.zeros((2 * half, 2 * half, edges.size), np.uint8)
    for i in range(xyz.shape[0]):
        h = height[i]
        if h >= edges[-1]:
            continue
        u, v = int(np.floor(xyz[i, 0] / cell)) + half, int(np.floor(xyz[i, 1] / cell)) + half
        if u < 0 or v < 0 or u >= 2 * half or v >= 2 * half:
            continue
        c = 0
        while h >= edges[c]:
            c += 1
        if out[u, v, c] < 255:
            out[u, v, c] += 1
    return out


@njit(cache=True)
def _cut(image, x, y, cos, sin, reach, cell, side):  # type: ignore[no-untyped-def]
    half = image.shape[0] // 2
    channels = image.shape[2]
    out = np.zeros((x.size, channels, side, side), np.float32)
    for k in range(x.size):
        for a in range(side):
            for b in range(side):
                along, across = (a + 0.5 - 0.5 * side) * cell, (b + 0.5 - 0.5 * side) * cell
                px, py = x[k] + cos[k] * along - sin[k] * across, y[k] + sin[k] * along + cos[k] * across
                u, v = int(np.floor(px / cell)) + half, int(np.floor(py / cell)) + half
                if u < 0 or v < 0 or u >= image.shape[0] or v >= image.shape[0]:
                    continue
                for c in range(channels):
                    count = image[u, v, c]
                    if count > 0:
                        out[k, c, a, b] = min(1.0, 0.25 + 0.75 * count / 4.0)
    return out
