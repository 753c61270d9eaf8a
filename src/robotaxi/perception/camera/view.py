"""How well the camera sees: is there a picture, does it show anything, does it move, is the lens clean, and how far is
the road seen?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.camera.dirt import DirtMonitor
from robotaxi.perception.camera.street import Street
from robotaxi.types import CameraModel, CameraView, EgoState

_STRIDE = 8  # every so many rows and columns are looked at
_BLACK = 0.01  # darker than this, nothing can be told apart: a covered or dead camera, or no light at all
_WHITE = 250  # of 255
_SEEN, _LEAST_CELLS = 0.5, 3  # probability of road, and how many cells of a row make road
_FARTHEST = 200.0  # m: the horizon


@dataclass(frozen=True)
class ViewConfig:
    """From when on a picture is no view of the street."""

    view_glare: float = param(0.5, lo=0.05, hi=1.0, doc="share of the picture that is white: blinded by light")
    view_contrast: float = param(0.012, lo=0.0, hi=0.2, doc="least deviation of the brightness, 0 black to 1 white")
    view_frozen: float = param(1.0, lo=0.3, hi=10.0, unit="s", doc="the same picture for so long while driving is old")
    view_dirt: float = param(
        0.06, lo=0.005, hi=1.0, doc="share of the picture hidden by dirt, from which on it is told"
    )
    view_blocked: float = param(0.2, lo=0.01, hi=1.0, doc="and from which on the camera is not believed any more")
    view_frozen_speed: float = param(1.0, lo=0.1, hi=10.0, unit="m/s", doc="slower, pictures may stay the same")


class ViewMonitor:
    """Call `step` once an image, in order of time."""

    def __init__(self, config: ViewConfig, camera: CameraModel) -> None:
        self._config, self._camera = config, camera
        self._last: NDArray[np.uint8] | None = None
        self._changed_ns, self._dirt = 0, DirtMonitor()

    def step(
        self, image_bgr: NDArray[np.uint8], stamp_ns: int, state: EgoState | None, street: Street | None = None
    ) -> CameraView:
        """``image_bgr``: (H, W, 3); ``street``: what is found in it."""
        sample = image_bgr[::_STRIDE, ::_STRIDE]
        brightness = round(float(sample.mean()) / 255.0, 3)
        moving = state is not None and abs(state.speed) > self._config.view_frozen_speed
        if self._last is None or not moving or stamp_ns < self._changed_ns or not np.array_equal(sample, self._last):
            self._changed_ns = stamp_ns
        self._last = sample.copy()
        dirt = self._dirt.step(image_bgr, moving)
        seen = -1.0 if street is None or street.road is None else road_range(street.road, street.cell, self._camera)
        return CameraView(brightness, self._reason(sample, brightness, stamp_ns, dirt), seen, round(dirt, 3))

    def _reason(self, sample: NDArray[np.uint8], brightness: float, stamp_ns: int, dirt: float) -> str:
        config = self._config
        if brightness < _BLACK:
            return "the camera's picture is black"
        white = float((sample.min(axis=2) >= _WHITE).mean())
        if white > config.view_glare:
            return f"the camera is blinded: {100.0 * white:.0f} % of its picture is white"
        if float(sample.mean(axis=2).std()) / 255.0 < config.view_contrast:
            return "the camera's picture shows nothing: it is covered, or in thick fog"
        if (stamp_ns - self._changed_ns) * 1e-9 >= config.view_frozen:
            return "the camera's picture stands still while the car drives"
        return self.dirty(dirt) if dirt > config.view_blocked else ""

    def dirty(self, share: float) -> str:
        """Empty, or that so large a share of the picture is hidden by dirt."""
        if share <= self._config.view_dirt:
            return ""
        return f"the camera's lens is dirty: {100.0 * share:.0f} % of its picture stays dark and still while driving"


def road_range(road: NDArray[np.float32], cell: float, camera: CameraModel) -> float:
    """How far before base_link the camera sees road, m, at most 200; 0 for none. The road is taken to be flat.

    ``road`` (h, w): its probability, in cells of ``cell`` px."""
    T = np.asarray(camera.T_base_optical, np.float64)
    rows = np.flatnonzero((road > _SEEN).sum(axis=1) >= _LEAST_CELLS)
    if len(rows) == 0:
        return 0.0
    ray = T[:3, :3] @ np.array([0.0, (cell * (rows[0] + 0.5) - camera.cy) / camera.fy, 1.0])
    if ray[2] * _FARTHEST >= -T[2, 3] * ray[0]:
        return _FARTHEST
    return round(float(T[0, 3] - ray[0] * T[2, 3] / ray[2]), 1)
