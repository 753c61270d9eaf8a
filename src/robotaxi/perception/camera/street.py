"""What the camera sees of the street: road users, lights and signs as boxes, and where the road is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.model_store import entry, find
from robotaxi.params import param
from robotaxi.perception.camera.detector import decode, letterbox, suppress
from robotaxi.perception.camera.street_network import ROAD_STRIDE, CameraNetwork, StreetNetwork, YoloxNetwork
from robotaxi.types import CAMERA_OBJECT_DTYPE, RecordArray, StreetClass

MODEL = "street"
_SCORE_STEP = 64.0  # scores are told in so many steps, and sides in whole px: all that they are good for


@dataclass(frozen=True)
class StreetConfig:
    """What is told of a picture."""

    street: bool = param(False, doc="find road users, lights, signs and the road in the pictures")
    street_model: str = param(MODEL, doc="network of the manifest: street (rendered pictures), yolox_nano (real ones)")
    street_score: float = param(0.25, lo=0.05, hi=0.95, doc="boxes that are less sure are not told")
    street_overlap: float = param(0.5, lo=0.1, hi=0.9, doc="of two boxes of one class that overlap more, one goes")


@dataclass(frozen=True)
class Street:
    """``boxes``: CAMERA_OBJECT_DTYPE, best first. ``road`` (h, w) float32: probability that the road is seen there,
    over the picture in cells of ``cell`` px; None of a network that does not tell."""

    boxes: RecordArray
    road: NDArray[np.float32] | None
    cell: float


def blind(height: int, width: int) -> RecordArray:
    """Boxes (CAMERA_OBJECT_DTYPE) of a picture that nothing can be told of."""
    return np.array([(0, 0, width, height, 1.0, StreetClass.BLIND)], CAMERA_OBJECT_DTYPE)


class StreetEyes:
    """``network``: see `load_street_network`."""

    def __init__(self, config: StreetConfig, network: CameraNetwork) -> None:
        self._config, self._network = config, network

    def step(self, image_bgr: NDArray[np.uint8]) -> Street:
        """``image_bgr``: (H, W, 3) of any size."""
        height, width = image_bgr.shape[:2]
        network, config = self._network, self._config
        tensor, scale = letterbox(image_bgr, network.wide, network.high, cv2.INTER_AREA)
        rows, road = network(tensor)
        found = suppress(decode(rows, network.wide, network.high, scale, config.street_score), config.street_overlap)
        found = found[np.isin(found["kind"], list(network.kinds))]
        out = np.zeros(len(found), CAMERA_OBJECT_DTYPE)
        for name, most in (("left", width), ("right", width), ("top", height), ("bottom", height)):
            out[name] = np.clip(np.rint(found[name]), 0, most)
        out["score"] = np.rint(found["score"] * _SCORE_STEP) / _SCORE_STEP
        out["kind"] = [int(network.kinds[int(kind)]) for kind in found["kind"]]
        cell = ROAD_STRIDE / scale
        if road is not None:
            road = road[: round(height / cell), : round(width / cell)]
        return Street(out, road, cell)


def load_street_network(name: str = MODEL) -> CameraNetwork:
    """A network of the manifest. Raises ModelError or InferenceError when it is missing, damaged or of another kind."""
    path = find(entry(name))
    if name == MODEL:
        return StreetNetwork(path)
    return YoloxNetwork(path)
