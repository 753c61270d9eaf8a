"""What the camera says of the street, and how well it sees it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from robotaxi.evaluation.class_accuracy import class_accuracy
from robotaxi.evaluation.detection_metrics import PREDICTION_DTYPE
from robotaxi.evaluation.perception_case import TRUTH_DTYPE
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.nodes import convert
from robotaxi.nodes.broken_sensors import dirty_image
from robotaxi.nodes.camera_perception import CameraPerceptionNode
from robotaxi.perception.camera import PointingMonitor, TrafficLightConfig, TrafficLightRecognition, blind
from robotaxi.perception.camera.pointing import PointingConfig
from robotaxi.perception.camera.street import StreetConfig, StreetEyes, load_street_network
from robotaxi.perception.camera.street_network import CLASSES, HEIGHT, WIDTH, StreetNetwork
from robotaxi.perception.camera.view import ViewConfig, ViewMonitor, road_range
from robotaxi.perception.inference import InferenceError
from robotaxi.types import CameraModel, EgoState, ObjectClass, StreetClass

OPTICAL = np.array([[0.0, 0.0, 1.0, 1.8], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
CAMERA = CameraModel("front", 640, 360, 457.0, 457.0, 320.0, 180.0, OPTICAL)
IMAGE_NS = 200_000_000
COLUMNS, ROWS = WIDTH // 8, HEIGHT // 8


def picture(seed=0, low=40, high=200):
    return np.random.default_rng(seed).integers(low, high, (360, 640, 3), np.uint8)


def driving(stamp_ns, speed=8.0):
    return EgoState(stamp_ns, 0.0, 0.0, 0.0, speed)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((360, 640, 3), np.uint8), "is black"),
        (np.full((360, 640, 3), 255, np.uint8), "blinded: 100 % of its picture is white"),
        (np.full((360, 640, 3), 128, np.uint8), "shows nothing"),
        (picture(), ""),
    ],
)
def test_a_camera_that_sees_nothing_says_so(image, words):
    view = ViewMonitor(ViewConfig(), CAMERA).step(image, 0, driving(0))
    assert words in view.reason and bool(words) == bool(view.reason)


def test_a_picture_that_stands_still_while_the_car_drives_is_told():
    moving, standing = ViewMonitor(ViewConfig(), CAMERA), ViewMonitor(ViewConfig(), CAMERA)
    for k in range(6):
        at = k * IMAGE_NS
        reason = moving.step(picture(), at, driving(at)).reason
        assert not standing.step(picture(), at, driving(at, speed=0.0)).reason
    assert "stands still" in reason
    assert not moving.step(picture(1), 6 * IMAGE_NS, driving(6 * IMAGE_NS)).reason


def through(share):
    """The lens with mud over so much of it, from a picture to a picture."""
    white, black = (convert.image(np.full((360, 640, 3), level, np.uint8), 0, "camera") for level in (255, 0))
    dirty_image(white, share)
    dirty_image(black, share)
    mud = np.asarray(black.data, np.float64).reshape(360, 640, 3)
    clear = (np.asarray(white.data, np.float64).reshape(360, 640, 3) - mud) / 255.0
    return lambda image: (image * clear + mud).astype(np.uint8)


def town():
    """A long picture of soft spots, to be passed by."""
    spots = picture(9, 0, 256).repeat(8, axis=0)[:360].repeat(20, axis=1)
    return cv2.normalize(cv2.GaussianBlur(spots, (0, 0), 6.0), None, 60, 250, cv2.NORM_MINMAX)


@pytest.mark.parametrize(("share", "told"), [(0.0, False), (0.3, True)])
def test_mud_on_the_lens_is_told_in_the_nodes_diagnostic_once_the_car_has_driven(share, told):
    lens, scene, said, written = through(share) if share else np.asarray, town(), [], {}
    node = SimpleNamespace(
        _recognition=TrafficLightRecognition(TrafficLightConfig(), LaneMap("none", (0.0, 0.0, 0.0), {}), CAMERA),
        _pointing=PointingMonitor(PointingConfig(), CAMERA), _view=ViewMonitor(ViewConfig(), CAMERA),
        _eyes=None, _fault="", _blind=blind(360, 640), write=written.__setitem__,
        set_status=lambda *status: said.append(status),
    )  # fmt: skip
    for k in range(60):
        at, shift = k * IMAGE_NS, 37 * k % 12_000
        image, state = lens(scene[:, shift : shift + 640]), driving(at, speed=0.0 if k < 10 else 8.0)
        node.read = lambda topic, _, image=image, state=state: image if "image" in topic else state
        CameraPerceptionNode.activate(node, at)
        assert k > 10 or said[-1] == (True, "running")
    view = convert.camera_view(written["perception/camera_view"])
    assert (view.dirt > 0.1) == told and not view.reason, "lights are still believed"
    assert said[-1][0] == (not told)
    assert said[-1][1].startswith("the camera's lens is dirty: " if told else "running")


def test_the_road_is_seen_as_far_as_its_farthest_row():
    road = np.zeros((72, 128), np.float32)
    assert road_range(road, 5.0, CAMERA) == 0.0
    road[45:, 20:100] = 1.0
    seen = road_range(road, 5.0, CAMERA)
    assert seen == pytest.approx(1.8 + 1.5 * 457.0 / (5.0 * 45.5 - 180.0), abs=0.1)
    road[:] = 1.0
    assert road_range(road, 5.0, CAMERA) == 200.0


def fake(column, row, kind, score):
    """A network that finds one box, of 40 by 80 px."""
    rows = np.zeros((ROWS * COLUMNS, 5 + len(CLASSES)), np.float32)
    rows[row * COLUMNS + column, :5] = 0.5, 0.5, np.log(5.0), np.log(10.0), 1.0
    rows[row * COLUMNS + column, 5 + kind] = score

    class Fake:
        wide, high, kinds = WIDTH, HEIGHT, {int(kind): kind for kind in CLASSES}

        def __call__(self, tensor):
            return rows, np.ones((HEIGHT // 4, WIDTH // 4), np.float32)

    return Fake()


@pytest.mark.parametrize(("height", "width"), [(360, 640), (720, 1280), (375, 1242)])
def test_boxes_are_in_pixels_of_any_picture(height, width):
    street = StreetEyes(StreetConfig(), fake(30, 10, StreetClass.PEDESTRIAN, 0.9)).step(
        np.zeros((height, width, 3), np.uint8)
    )
    (box,) = street.boxes
    scale = min(HEIGHT / height, WIDTH / width)
    assert box["kind"] == StreetClass.PEDESTRIAN
    assert box["left"] == pytest.approx((30.5 * 8 - 20) / scale, abs=0.51)
    assert box["bottom"] == pytest.approx((10.5 * 8 + 40) / scale, abs=0.51)
    assert street.road.shape == (round(height * scale / 4), round(width * scale / 4))


def test_the_shipped_network_gives_the_same_bytes_twice():
    eyes, again = (StreetEyes(StreetConfig(), load_street_network()) for _ in range(2))
    first, second = eyes.step(picture()), again.step(picture())
    assert first.boxes.tobytes() == second.boxes.tobytes() and first.road.tobytes() == second.road.tobytes()


@pytest.mark.parametrize("content", [None, b"", b"no network", b"\x08\x07" * 50])
def test_a_network_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "street.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InferenceError, match=r"street\.onnx"):
        StreetNetwork(path)


def test_class_accuracy_counts_what_is_ahead_and_what_is_nothing():
    truth, found = np.zeros(2, TRUTH_DTYPE), np.zeros(3, PREDICTION_DTYPE)
    truth["x"], truth["label"], truth["counted"] = (10.0, -10.0), ObjectClass.BICYCLE, True
    found["x"], found["y"] = (10.5, -10.0, 25.0), (0.0, 0.0, 5.0)
    found["label"] = ObjectClass.BICYCLE, ObjectClass.PEDESTRIAN, ObjectClass.PEDESTRIAN
    figures = class_accuracy(truth, found)
    assert (figures["ahead"]["matched"], figures["ahead"]["right"]) == (1, 1.0)
    assert (figures["around"]["matched"], figures["around"]["right"]) == (2, 0.5)
    assert figures["ahead"]["classes_of_nothing"] == figures["around"]["classes_of_nothing"] == 1
