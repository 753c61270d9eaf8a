"""Networks that find road users, traffic lights and signs in a picture, run by OpenCV, which a ride has anyway: on one
thread the same picture gives the same bits.

The street network is ours: one stage on one grid of cells of 8 px, trained on rendered pictures (`robotaxi train
camera`), and tells where the road is, too. For real cameras the manifest names YOLOX networks, trained on COCO.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.perception.camera.detector import STOP_SIGN, TRAFFIC_LIGHT
from robotaxi.perception.inference import InferenceError
from robotaxi.types import StreetClass

WIDTH, HEIGHT = 512, 288  # px that the street network sees
STRIDE, ROAD_STRIDE = 8, 4  # px, of a cell of boxes and of a cell of road
CLASSES = tuple(kind for kind in StreetClass if kind is not StreetClass.BLIND)
_COCO: dict[int, StreetClass] = {
    0: StreetClass.PEDESTRIAN, 1: StreetClass.CYCLIST, 2: StreetClass.CAR, 3: StreetClass.CYCLIST,
    5: StreetClass.TRUCK, 6: StreetClass.TRUCK, 7: StreetClass.TRUCK, TRAFFIC_LIGHT: StreetClass.TRAFFIC_LIGHT,
    STOP_SIGN: StreetClass.SIGN,
}  # fmt: skip


class CameraNetwork(Protocol):
    """``wide``, ``high``: px that it sees. ``kinds``: what its classes are; others are left out."""

    wide: int
    high: int
    kinds: dict[int, StreetClass]

    def __call__(self, tensor: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """(1, 3, high, wide) BGR 0..255 to rows (cells, 5 + classes) as YOLOX gives them, and the probability of road
        (high / 4, wide / 4) from a network that tells it."""
        ...


class StreetNetwork:
    """Ours. Raises InferenceError for a file that is missing, damaged or another network."""

    def __init__(self, path: str | Path) -> None:
        self.wide, self.high = WIDTH, HEIGHT
        self.kinds: dict[int, StreetClass] = {int(kind): kind for kind in CLASSES}
        self._net = _load(path)
        found = _run(self._net, np.zeros((1, 3, HEIGHT, WIDTH), np.float32), path)
        wanted = [(1, (HEIGHT // STRIDE) * (WIDTH // STRIDE), 5 + len(CLASSES)),
                  (1, 1, HEIGHT // ROAD_STRIDE, WIDTH // ROAD_STRIDE)]  # fmt: skip
        if [part.shape for part in found] != wanted:
            raise InferenceError(f"{path}: is no street network: it gives {[part.shape for part in found]}")

    def __call__(self, tensor: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        rows, road = _run(self._net, tensor)
        return rows[0], road[0, 0]


class YoloxNetwork:
    """Of COCO's classes, for pictures of ``side`` px. Raises InferenceError like `StreetNetwork`."""

    def __init__(self, path: str | Path, side: int = 416) -> None:
        self.wide = self.high = side
        self.kinds = _COCO
        self._net = _load(path)
        found = _run(self._net, np.zeros((1, 3, side, side), np.float32), path)
        if len(found) != 1 or found[0].ndim != 3 or found[0].shape[2] != 85:
            raise InferenceError(f"{path}: is no YOLOX of COCO: it gives {[part.shape for part in found]}")

    def __call__(self, tensor: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        return _run(self._net, tensor)[0][0], None


def _load(path: str | Path) -> cv2.dnn.Net:
    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise InferenceError(f"{path}: cannot be loaded as an ONNX model: {_words(error)}") from error


def _run(net: cv2.dnn.Net, tensor: NDArray[np.float32], path: str | Path = "") -> list[NDArray[np.float32]]:
    try:
        net.setInput(tensor)
        return [np.asarray(part, np.float32) for part in net.forward(net.getUnconnectedOutLayersNames())]
    except cv2.error as error:
        raise InferenceError(f"{path}: inputs {tensor.shape} do not fit: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
