"""2D detection: decoding held against the plain reference, tiles, suppression, and the light state of crops."""

from itertools import pairwise

import numpy as np
import pytest

from robotaxi.bags.kitti_images import annotated_images
from robotaxi.evaluation.camera_bench import TRUTH2D_DTYPE, AnnotatedImage, run_camera
from robotaxi.evaluation.light_bench import CropError, find_crops, run_lights
from robotaxi.evaluation.yolox_reference import reference_decode, reference_suppress
from robotaxi.model_store import entry, find
from robotaxi.perception.camera.detector import (
    BOX2D_DTYPE,
    CameraDetector,
    DetectorConfig,
    decode,
    letterbox,
    suppress,
    tiles,
)
from robotaxi.perception.camera.light_state import LightStateNetwork
from robotaxi.types import LightState, ObjectClass

SIDE = 64
CELLS = (SIDE // 8) ** 2 + (SIDE // 16) ** 2 + (SIDE // 32) ** 2


def rows(seed):
    rng = np.random.default_rng(seed)
    out = rng.normal(0.0, 0.5, (CELLS, 12)).astype(np.float32)
    out[:, 4:] = rng.random((CELLS, 8))
    return out


@pytest.mark.parametrize("seed", range(5))
def test_the_quick_decoding_is_the_plain_one(seed):
    quick = suppress(decode(rows(seed), SIDE, SIDE, 0.4, 0.3), 0.45)
    plain = reference_suppress(reference_decode(rows(seed), SIDE, 0.4, 0.3), 0.45)
    assert len(quick) == len(plain) > 5
    for name in BOX2D_DTYPE.names:
        assert quick[name] == pytest.approx(plain[name], abs=1e-3), name
    with pytest.raises(ValueError, match=f"expected {CELLS} for images of 64x64 px"):
        decode(rows(seed)[:-1], SIDE, SIDE, 1.0, 0.3)


def test_an_image_keeps_its_shape_in_the_square():
    tensor, scale = letterbox(np.full((100, 200, 3), 7, np.uint8), SIDE, SIDE)
    assert scale == 0.32 and tensor.shape == (1, 3, SIDE, SIDE)
    assert tensor[0, :, :32].max() == 7 and tensor[0, :, 32:].min() == 114


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1242, 375), (100, 400), (4000, 300)])
def test_tiles_cover_the_image_and_overlap(width, height):
    config = DetectorConfig()
    parts = tiles(width, height, config)
    assert parts[0][0] == 0 and parts[-1][1] == width
    assert all(right - left <= config.tile_aspect * height + 1 for left, right in parts)
    for (_, end), (start, _) in pairwise(parts):
        assert end - start >= 0.15 * config.tile_aspect * height


def one_car(tensor):
    """A network that sees a car of 16 px where the image is red."""
    out = np.zeros((1, CELLS, 85), np.float32)
    if tensor[0, 2].max() < 150:  # grey fill, or nothing
        return out
    y, x = np.unravel_index(int(tensor[0, 2].argmax()), tensor[0, 2].shape)
    cell = (y // 8) * (SIDE // 8) + x // 8
    out[0, cell, :4] = (x % 8) / 8, (y % 8) / 8, np.log(2.0), np.log(2.0)
    out[0, cell, 4], out[0, cell, 5 + 2] = 0.9, 1.0
    return out


def test_boxes_come_in_pixels_of_the_whole_image():
    image = np.zeros((100, 400, 3), np.uint8)
    image[48:52, 298:302, 2] = 255
    found = CameraDetector(DetectorConfig(), one_car, SIDE).step(image)
    best = found[0]
    assert 0.5 * (best["left"] + best["right"]) == pytest.approx(300, abs=5)
    assert 0.5 * (best["top"] + best["bottom"]) == pytest.approx(50, abs=5) and best["kind"] == 2
    with pytest.raises(ValueError, match="expected a uint8 image"):
        CameraDetector(DetectorConfig(), one_car, SIDE).step(image[:, :, 0])


def test_the_bench_counts_recall_and_compares_the_decoding(tmp_path):
    import cv2

    image = np.zeros((100, 120, 3), np.uint8)
    image[48:52, 58:62, 2] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    truth = np.array([(45, 35, 75, 65, ObjectClass.CAR, True), (0, 0, 9, 9, ObjectClass.CAR, False)], TRUTH2D_DTYPE)
    figures = run_camera([AnnotatedImage(tmp_path / "a.png", truth)], one_car, SIDE, DetectorConfig())
    assert figures["holds"] and figures["decoding"]["different"] == 0
    assert figures["ours"]["car"]["annotated"] == 1 and figures["ours"]["all"]["recall"] == 1.0


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"a.png": b""}, r"a.png: cannot be read as an image \(0 bytes\)"),
        ({"a.txt": b"Car 0 0\n"}, "line 1: expected 15"),
        ({"a.txt": b"Car 0 0 0 nan 1 2 3\n"}, "line 1: holds a number"),
        ({"a.txt": b"Car x 0 0 1 1 2 3\n"}, "line 1: could"),
        ({"a.txt": None}, "a.txt: cannot be read: No such file"),
    ],
)
def test_broken_images_and_labels_are_named(tmp_path, broken, match):
    import cv2

    for name in ("image_2", "label_2"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "image_2/a.png"), np.zeros((50, 333, 3), np.uint8))
    (tmp_path / "label_2/a.txt").write_text("Spaceship 0 0 0 1 1 20 40\n")
    figures = run_camera(annotated_images(tmp_path), one_car, SIDE, DetectorConfig())
    assert figures["ours"]["all"]["recall"] is None, "a class that nobody knows need not be found"
    for name, content in broken.items():
        path = tmp_path / ("image_2" if name.endswith("png") else "label_2") / name
        path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        run_camera(annotated_images(tmp_path), one_car, SIDE, DetectorConfig())


def head(lit):
    """A dark housing with one lamp lit: 0 above (red), 1 in the middle (amber), 2 below (green)."""
    import cv2

    image = np.full((96, 40, 3), 40, np.uint8)
    for lamp in range(3):
        color = ((30, 30, 250), (20, 190, 255), (150, 230, 40))[lamp] if lamp == lit else (15, 15, 15)
        cv2.circle(image, (20, 17 + 31 * lamp), 12, color, -1)
    return cv2.GaussianBlur(image, (0, 0), 2.0)


def test_the_shipped_network_reads_a_drawn_head_and_claims_nothing_of_a_dot():
    network = LightStateNetwork.load(find(entry("traffic_light_state")))
    states = [network.read(head(lamp))[0] for lamp in range(3)]
    assert states == [LightState.RED, LightState.AMBER, LightState.GREEN]
    assert network.read(head(0)[:3, :3]) == (LightState.UNKNOWN, 0.0)


def test_crops_are_found_by_their_folder_and_scored(tmp_path):
    import cv2

    for name, lamp in (("red", 0), ("yellow", 1), ("green", 2)):
        (tmp_path / "deep" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "deep" / name / f"{name}.png"), head(lamp))
    network = LightStateNetwork.load(find(entry("traffic_light_state")))
    figures = run_lights(find_crops(tmp_path), network, {"red.png"})
    assert figures["holds"] and (figures["all"]["crops"], figures["held_out"]["crops"]) == (3, 2)
    (tmp_path / "deep/green/broken.png").write_bytes(b"")
    assert not run_lights(find_crops(tmp_path), network, set())["holds"]
    with pytest.raises(CropError, match="holds no images"):
        (tmp_path / "none").mkdir()
        find_crops(tmp_path / "none")


@pytest.mark.parametrize(
    ("place", "state"),
    [("red", 1), ("Traffic_Light_Green/train", 3), ("set/goLeft", 3), ("stop", 1), ("warningLeft/a/b", 2), ("Amber", 2),
     ("red_yellow", None), ("go_pro", None), ("greenhouse", None), ("others", None)],
)  # fmt: skip
def test_crops_are_of_the_state_that_a_folder_around_them_is_named_for(tmp_path, place, state):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "1.PNG").write_bytes(b"")
    if state is None:
        with pytest.raises(CropError, match="holds no images in folders named"):
            find_crops(tmp_path)
    else:
        assert [int(crop.state) for crop in find_crops(tmp_path)] == [state]
