"""How well the camera sees: is there a picture at all, and how bright is it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import CameraView

_STRIDE = 8  # every so many rows and columns are looked at
_BLACK = 0.01  # darker than this, nothing can be told apart: a covered or dead camera, or no light at all


def camera_view(image_bgr: NDArray[np.uint8]) -> CameraView:
    """``image_bgr``: (H, W, 3)."""
    brightness = round(float(image_bgr[::_STRIDE, ::_STRIDE].mean()) / 255.0, 3)
    return CameraView(brightness, "the camera's picture is black" if brightness < _BLACK else "")
