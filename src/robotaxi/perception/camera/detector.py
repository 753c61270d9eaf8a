"""2D detection with YOLOX networks (Ge et al., "YOLOX: Exceeding YOLO Series in 2021"): anchor-free, COCO classes.

An image is scaled to fit the network's square and filled with grey; each cell of three grids (strides 8, 16, 32)
gives one box as offset and log size in units of its stride. Wide images are cut into overlapping squares first, so
that what is far does not vanish.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.types import FloatArray, ObjectClass, RecordArray

STRIDES = (8, 16, 32)
BOX2D_DTYPE = np.dtype(
    [("left", "<f4"), ("top", "<f4"), ("right", "<f4"), ("bottom", "<f4"), ("score", "<f4"), ("kind", "<i4")]
)
"""Pixels of the image; ``kind`` is the network's class."""
COCO = {0: ObjectClass.PEDESTRIAN, 1: ObjectClass.BICYCLE, 2: ObjectClass.CAR, 3: ObjectClass.BICYCLE,
        5: ObjectClass.TRUCK, 6: ObjectClass.TRUCK, 7: ObjectClass.TRUCK}  # fmt: skip
"""What of COCO's 80 classes is a road user."""
TRAFFIC_LIGHT, STOP_SIGN = 9, 11
_FILL = 114

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Image (1, 3, S, S) BGR 0..255 to (1, cells, 5 + classes)."""


@dataclass(frozen=True)
class DetectorConfig:
    """2D detection."""

    min_score: float = param(0.1, lo=0.01, hi=0.99, doc="objectness times class probability")
    max_overlap: float = param(0.45, lo=0.1, hi=0.9, doc="of two boxes of one class that overlap more, one goes")
    tile_aspect: float = param(1.4, lo=1.0, hi=8.0, doc="tiles are at most this much wider than high")
    tile_overlap: float = param(0.2, lo=0.0, hi=0.5, doc="share of a tile that the next one shows too")


class CameraDetector:
    """With a network for squares of ``side`` px."""

    def __init__(self, config: DetectorConfig, network: Network, side: int) -> None:
        self._config, self._network, self._side = config, network, side

    def step(self, image_bgr: NDArray[np.uint8]) -> RecordArray:
        """Boxes (BOX2D_DTYPE), best first. ValueError for what is no (H, W, 3) uint8 image."""
        if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or 0 in image_bgr.shape:
            raise ValueError(f"expected a uint8 image (H, W, 3), got {image_bgr.dtype} {image_bgr.shape}")
        found = []
        for left, right in tiles(image_bgr.shape[1], image_bgr.shape[0], self._config):
            boxes = detect(image_bgr[:, left:right], self._network, self._side, self._config.min_score)
            # a box cut by the tile's edge is whole in the next tile
            cut = ((boxes["left"] <= 1.0) & (left > 0)) | (
                (boxes["right"] >= right - left - 1.0) & (right < image_bgr.shape[1])
            )
            boxes["score"][cut] *= 0.5
            boxes["left"] += left
            boxes["right"] += left
            found.append(boxes[boxes["score"] >= self._config.min_score])
        return suppress(np.concatenate(found), self._config.max_overlap)


def tiles(width: int, height: int, config: DetectorConfig) -> list[tuple[int, int]]:
    """Columns (left, right) of overlapping tiles that cover the image."""
    size = min(width, round(config.tile_aspect * height))
    if size >= width:
        return [(0, width)]
    count = int(np.ceil((width - size) / (size * (1.0 - config.tile_overlap)))) + 1
    return [(round(k * (width - size) / (count - 1)), round(k * (width - size) / (count - 1)) + size)
            for k in range(count)]  # fmt: skip


def detect(image_bgr: NDArray[np.uint8], network: Network, side: int, min_score: float) -> RecordArray:
    """Boxes of one pass through the network, before suppression."""
    tensor, scale = letterbox(image_bgr, side, side)
    return decode(network(tensor)[0], side, side, scale, min_score)


def letterbox(
    image_bgr: NDArray[np.uint8], wide: int, high: int, smooth: int = cv2.INTER_LINEAR
) -> tuple[NDArray[np.float32], float]:
    """The image scaled into the top left of a grey one, as (1, 3, high, wide), and the scale."""
    height, width = image_bgr.shape[:2]
    scale = min(high / height, wide / width)
    size = (max(int(width * scale), 1), max(int(height * scale), 1))
    small = cv2.resize(image_bgr, size, interpolation=smooth)
    if size == (wide, high):
        filled = small
    else:
        filled = np.full((high, wide, 3), _FILL, np.uint8)
        filled[: size[1], : size[0]] = small
    return np.ascontiguousarray(filled.transpose(2, 0, 1)[None], np.float32), scale


def decode(rows: NDArray[np.float32], wide: int, high: int, scale: float, min_score: float) -> RecordArray:
    """Rows (cells, 5 + classes) of a network that sees (high, wide) px to BOX2D_DTYPE in pixels of the image."""
    # a network of one grid has its finest
    strides = STRIDES[:1] if len(rows) == (wide // STRIDES[0]) * (high // STRIDES[0]) else STRIDES
    origin, stride = _cells(wide, high, strides)
    if len(rows) != len(origin):
        raise ValueError(f"the network gives {len(rows)} boxes, expected {len(origin)} for images of {wide}x{high} px")
    kind = rows[:, 5:].argmax(axis=1)
    score = rows[:, 4] * rows[np.arange(len(rows)), 5 + kind]
    keep = score >= min_score
    center = (rows[keep, :2] + origin[keep]) * stride[keep, None]
    half = 0.5 * np.exp(rows[keep, 2:4]) * stride[keep, None]
    out = np.zeros(int(keep.sum()), BOX2D_DTYPE)
    out["left"], out["top"] = ((center - half) / scale).T
    out["right"], out["bottom"] = ((center + half) / scale).T
    out["score"], out["kind"] = score[keep], kind[keep]
    return out


@functools.cache
def _cells(wide: int, high: int, strides: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Column and row (N, 2), and stride (N,), of each cell."""
    origins, sizes = [], []
    for stride in strides:
        row, column = np.divmod(np.arange((wide // stride) * (high // stride)), wide // stride)
        origins.append(np.column_stack([column, row]))
        sizes.append(np.full(len(row), stride))
    return np.concatenate(origins).astype(np.float64), np.concatenate(sizes).astype(np.float64)


def suppress(boxes: RecordArray, max_overlap: float) -> RecordArray:
    """Best first, without boxes that overlap a better one of their class by more than ``max_overlap`` (IoU)."""
    boxes = boxes[np.argsort(-boxes["score"], kind="stable")]
    keep: list[int] = []
    for k in range(len(boxes)):
        same = [j for j in keep if boxes["kind"][j] == boxes["kind"][k]]
        if not same or overlap(boxes[k : k + 1], boxes[same]).max() <= max_overlap:
            keep.append(k)
    return boxes[keep]


def overlap(a: RecordArray, b: RecordArray) -> FloatArray:
    """Intersection over union (len(a), len(b))."""
    width = np.minimum(a["right"][:, None], b["right"]) - np.maximum(a["left"][:, None], b["left"])
    height = np.minimum(a["bottom"][:, None], b["bottom"]) - np.maximum(a["top"][:, None], b["top"])
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    area_a = (a["right"] - a["left"]) * (a["bottom"] - a["top"])
    area_b = (b["right"] - b["left"]) * (b["bottom"] - b["top"])
    union = area_a[:, None] + area_b - common
    result: FloatArray = np.where(union > 0.0, common / np.where(union > 0.0, union, 1.0), 0.0).astype(np.float64)
    return result
