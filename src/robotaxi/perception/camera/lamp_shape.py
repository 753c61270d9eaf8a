"""Whether a lit lamp is a disc or an arrow, and where the arrow points.

The lit part of the lamp is held against drawn shapes (EN 12368 arrows are a shaft with a head); what fits none of
them well, or is too small, has no shape.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray, LightShape

_SIDE = 16  # cells that a lamp is brought to
_LEAST_SIDE = 6  # px across the lit part: smaller ones are all alike
_LEAST_OVERLAP, _MARGIN = 0.65, 0.08  # shared share of both areas; more than with the next best shape
_UPRIGHT = ((0.0, -0.9), (0.9, 0.1), (0.25, 0.1), (0.25, 0.9), (-0.25, 0.9), (-0.25, 0.1), (-0.9, 0.1))
_TURNS = {LightShape.UP_ARROW: 0, LightShape.LEFT_ARROW: 1, LightShape.RIGHT_ARROW: 3}  # quarter turns to the left


def lamp_shape(lit: NDArray[np.bool_], side: float) -> LightShape:
    """Shape of the lit pixels (h, w) of one lamp, ``side`` px across; UNKNOWN where that cannot be told."""
    if side < _LEAST_SIDE or not lit.any():
        return LightShape.UNKNOWN
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    part = lit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    smaller, larger = sorted(part.shape)
    if smaller < 0.6 * side or larger > 1.4 * side:  # half hidden, or not one lamp
        return LightShape.UNKNOWN
    seen = cv2.resize(part.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    fit = {shape: float(np.minimum(seen, drawn).sum() / np.maximum(seen, drawn).sum())
           for shape, drawn in _drawn().items()}  # fmt: skip
    (best, overlap), (_, second) = sorted(fit.items(), key=lambda item: -item[1])[:2]
    return best if overlap >= _LEAST_OVERLAP and overlap >= second + _MARGIN else LightShape.UNKNOWN


@cache
def _drawn() -> dict[LightShape, FloatArray]:
    """Each shape filling its square, (_SIDE, _SIDE)."""
    fine = 8 * _SIDE
    disc = np.zeros((fine, fine), np.float32)
    cv2.circle(disc, (fine // 2, fine // 2), fine // 2, 1.0, -1)
    arrow = np.zeros((fine, fine), np.float32)
    corners = np.array(_UPRIGHT) / 0.9
    cv2.fillPoly(arrow, [np.rint((corners + 1.0) * 0.5 * (fine - 1)).astype(np.int32)], 1.0)
    shapes = {shape: np.rot90(arrow, turns) for shape, turns in _TURNS.items()} | {LightShape.CIRCLE: disc}
    return {shape: np.asarray(cv2.resize(np.ascontiguousarray(drawn), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA),
                              np.float64) for shape, drawn in shapes.items()}  # fmt: skip
