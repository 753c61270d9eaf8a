"""YOLOX's decoding and suppression written down plainly, box by box: what the quick version is held against.

After section 2.1 of the paper and the published demo: grids of stride 8, 16 and 32 from the top left, row by row; a
cell's box is its offset plus its column and row, and the exponential of its log size, both times the stride.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robotaxi.perception.camera.detector import BOX2D_DTYPE, STRIDES
from robotaxi.types import RecordArray

Box = tuple[float, float, float, float, float, int]


def reference_decode(rows: NDArray[np.float32], side: int, scale: float, min_score: float) -> list[Box]:
    """(left, top, right, bottom, score, class) of each cell that reaches ``min_score``."""
    out: list[Box] = []
    index = 0
    for stride in STRIDES:
        for row in range(side // stride):
            for column in range(side // stride):
                values = [float(v) for v in rows[index]]
                index += 1
                if values[4] < min_score:
                    continue
                kind = max(range(len(values) - 5), key=lambda c: values[5 + c])
                score = values[4] * values[5 + kind]
                if score < min_score:
                    continue
                x, y = (values[0] + column) * stride, (values[1] + row) * stride
                w, h = math.exp(values[2]) * stride, math.exp(values[3]) * stride
                out.append(((x - w / 2) / scale, (y - h / 2) / scale, (x + w / 2) / scale, (y + h / 2) / scale,
                            score, kind))  # fmt: skip
    return out


def reference_suppress(boxes: list[Box], max_overlap: float) -> RecordArray:
    """Greedy non-maximum suppression within each class."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -b[4]):
        if all(other[5] != box[5] or _overlap(box, other) <= max_overlap for other in kept):
            kept.append(box)
    return np.array(kept, BOX2D_DTYPE)


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
