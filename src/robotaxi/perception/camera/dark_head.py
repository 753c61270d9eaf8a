"""Whether a traffic light is dark: its case is in full view, and none of its lamps is lit.

A head that is hidden shows no lit lamp either. So the case itself must be seen, a dark upright box in brighter
surroundings, with the tints of unlit lenses in it: reddish above, greenish below. By night or before dark trees that
cannot be told, and the state stays unknown.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray

_LEAST_LENS = 4.0  # px across: smaller lenses show no tint
_DARK = 90.0  # of 255: mean of the case at most
_CONTRAST, _LEAST_CONTRAST = 35.0, 8.0  # that three sides of the case are brighter at least, and the fourth
_LENS, _TINT = 90.0, 10.0  # percentile: the upper lens is so much redder there than the lower one
_BOARD = 0.14  # m that a backboard stands out
_SURE = 100.0  # contrast that leaves no doubt


def dark_head(
    image_bgr: NDArray[np.uint8], pixel: FloatArray, sigma: float, px_per_m: float, size: tuple[float, float],
    lens: float,
) -> float:  # fmt: skip
    """Evidence in 0..1 that an unlit head of ``size`` (width, height in m) is in view near ``pixel`` (2,).

    ``sigma``: how far it may be off, px; ``lens``: diameter, m. Whoever calls knows that no lamp is lit.
    """
    lens_px = lens * px_per_m
    width, height = (round(side * px_per_m) for side in size)
    if lens_px < _LEAST_LENS or width < 3 or height < 6:
        return 0.0
    board = round(_BOARD * px_per_m) + 1
    strip = max(width // 2, 2)
    reach = board + strip
    rise, side = int(2.5 * sigma) + 1, int(2.5 * sigma) + 1
    left, top = round(pixel[0]) - side - width // 2 - reach, round(pixel[1]) - rise - height // 2 - reach
    right, bottom = left + 2 * (side + reach) + width, top + 2 * (rise + reach) + height
    if left < 0 or top < 0 or right > image_bgr.shape[1] or bottom > image_bgr.shape[0]:
        return 0.0
    crop = image_bgr[top:bottom, left:right]
    value = cv2.integral(crop.max(axis=2))
    rows, columns = np.arange(2 * rise + 1)[:, None], np.arange(2 * side + 1)[None, :]

    def mean(y: int, x: int, h: int, w: int) -> FloatArray:
        """Of the box (h, w) with its corner at (y, x) px from that of the whole pattern, for each place of it."""
        a, b = rows + y, columns + x
        total = value[a + h, b + w] - value[a, b + w] - value[a + h, b] + value[a, b]
        result: FloatArray = total / float(h * w)
        return result

    case = mean(reach, reach, height, width)
    around = np.stack([mean(reach, 0, height, strip), mean(reach, reach + width + board, height, strip),
                       mean(0, reach, strip, width), mean(reach + height + board, reach, strip, width)])  # fmt: skip
    weakest, contrast = np.sort(around - case, axis=0)[:2]  # a pole or a tree may stand on one side
    contrast = np.where((case <= _DARK) & (weakest >= _LEAST_CONTRAST), contrast, 0.0)
    y, x = np.unravel_index(int(contrast.argmax()), contrast.shape)
    if contrast[y, x] < _CONTRAST:
        return 0.0
    y0, x0 = int(y) + reach, int(x) + reach
    inner = crop[y0 : y0 + height, x0 + width // 4 : x0 + width - width // 4].astype(np.float64)
    redder, third = inner[..., 2] - inner[..., 1], max(height // 3, 1)
    if np.percentile(redder[:third], _LENS) - np.percentile(redder[-third:], 100.0 - _LENS) < _TINT:
        return 0.0
    return float(min(contrast[y, x] / _SURE, 1.0))
