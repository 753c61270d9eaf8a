"""Images that are not what they should be are named or refused, never guessed at."""

from types import SimpleNamespace

import numpy as np
import pytest

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.nodes import convert
from robotaxi.perception.camera import (
    CameraPerceptionConfig,
    ImageError,
    PointingMonitor,
    TrafficLightRecognition,
    ViewMonitor,
)
from robotaxi.types import CameraModel, EgoState

HEIGHT, WIDTH = 36, 64
CAMERA = CameraModel("front", WIDTH, HEIGHT, 45.0, 45.0, 32.0, 18.0, np.eye(4))
PICTURE = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def message(picture=PICTURE, encoding="bgr8", pad=0, **changes):
    rows = np.pad(picture.reshape(HEIGHT, -1), ((0, 0), (0, pad)))
    values = {"height": HEIGHT, "width": WIDTH, "encoding": encoding, "step": rows.shape[1], "data": rows.tobytes()}
    return SimpleNamespace(**{**values, **changes})


def test_both_orders_of_colours_and_padded_rows_are_read():
    assert np.array_equal(convert.pixels(message()), PICTURE)
    assert np.array_equal(convert.pixels(message(PICTURE[:, :, ::-1], "rgb8")), PICTURE)
    assert np.array_equal(convert.pixels(message(pad=5)), PICTURE)


@pytest.mark.parametrize(
    "changes",
    [{"encoding": "mono8"}, {"encoding": "bayer_rggb8"}, {"encoding": ""}, {"data": b""}, {"height": 0}, {"width": 0},
     {"data": PICTURE.tobytes()[: PICTURE.nbytes // 2]}, {"step": WIDTH}],
)  # fmt: skip
def test_what_is_no_whole_colour_picture_is_refused(changes):
    assert convert.pixels(message(**changes)) is None


@pytest.mark.parametrize("picture", [PICTURE[::2, ::2], PICTURE[:18], PICTURE[..., 0], PICTURE.astype(np.float32)])
def test_pictures_of_another_size_are_named(picture):
    recognition = TrafficLightRecognition(CameraPerceptionConfig(), LaneMap("test", (0.0, 0.0, 0.0), {}), CAMERA)
    with pytest.raises(ImageError, match=r"expected a uint8 image of shape \(36, 64, 3\), got"):
        recognition.step(picture, 0, None)


def test_time_running_backwards_black_and_swapped_pictures_are_safe():
    monitor = PointingMonitor(CameraPerceptionConfig(pointing_every=2), CAMERA)
    for stamp_ns in (5_000_000_000, 4_000_000_000, 4_200_000_000, 0, 0, 200_000_000):
        for picture in (PICTURE, np.zeros_like(PICTURE), convert.pixels(message(encoding="rgb8"))):
            assert monitor.step(picture, stamp_ns, EgoState(stamp_ns, 0.0, 0.0, 0.0, 9.0)) == ""
    view = ViewMonitor(CameraPerceptionConfig(), CAMERA)
    assert view.step(np.zeros_like(PICTURE), 0, None).reason == "the camera's picture is black"
