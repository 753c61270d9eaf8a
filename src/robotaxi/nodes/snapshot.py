"""The newest camera image as a small JPEG, for a question to a person far away. Subscribed only while it is wanted."""

from __future__ import annotations

from typing import Any

import cv2
from rclpy.node import Node

from robotaxi.dispatch.messages import MAX_PICTURE_BYTES
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes.cdr import CdrError, decoder
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile

_IMAGE = INTERFACES["sensing/camera/front/image_raw"]
_WIDTH = 320  # px
_QUALITIES = (70, 50, 30)  # the first that is small enough is sent


class Snapshot:
    """``jpeg``: b"" where there is no camera. Nothing that drives depends on it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._end: Any = None
        self._cdr: bytes = b""

    def start(self) -> None:
        if self._end is None:
            profile = qos_profile(_IMAGE.qos, lockstep=False, publisher=False)
            kind = message_type(_IMAGE.type)
            self._end = self._node.create_subscription(kind, _IMAGE.topic, self._keep, profile, raw=True)

    def stop(self) -> None:
        if self._end is not None:
            self._node.destroy_subscription(self._end)
            self._end, self._cdr = None, b""

    def _keep(self, cdr: bytes) -> None:
        self._cdr = cdr

    @property
    def jpeg(self) -> bytes:
        if not self._cdr:
            return b""
        try:
            pixels = decoder(_IMAGE)(self._cdr)
        except CdrError:
            return b""
        return small_jpeg(pixels) if pixels is not None else b""


def small_jpeg(pixels: Any) -> bytes:
    """(H, W, 3) BGR as a JPEG of at most `MAX_PICTURE_BYTES`; b"" where that cannot be."""
    height, width = pixels.shape[:2]
    size = (_WIDTH, max(round(_WIDTH * height / width), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    for quality in _QUALITIES:
        done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and data.size <= MAX_PICTURE_BYTES:
            return data.tobytes()
    return b""
