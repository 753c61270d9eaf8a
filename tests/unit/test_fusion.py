"""The class from the camera, the geometry from the lidar."""

import numpy as np
import pytest

from robotaxi.perception.fusion import Fusion, FusionConfig, evidence_of, project, solid_corners
from robotaxi.perception.lidar.boxes import DETECTION_DTYPE
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.perception.lidar.tracking import Tracker
from robotaxi.types import CAMERA_OBJECT_DTYPE, CameraModel, CameraObjects, EgoState, ObjectClass, StreetClass

SWEEP_NS, AGO_NS = 100_000_000, 60_000_000
OPTICAL = np.array([[0.0, 0.0, 1.0, 1.8], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
CAMERA = CameraModel("front", 640, 360, 457.0, 457.0, 320.0, 180.0, OPTICAL)
SENSOR, CONFIG = np.zeros(2), FusionConfig()


def solids(*rows):
    """Corners of boxes (x, y, length, width, height) along the road."""
    x, y, length, width, height = np.array(rows, float).T
    return solid_corners(x, y, np.zeros(len(x)), np.zeros(len(x)), length, width, height)


def picture(*boxes, stamp_ns=0):
    return CameraObjects(stamp_ns, np.array([tuple(box) for box in boxes], CAMERA_OBJECT_DTYPE))


def state(stamp_ns=0, speed=0.0):
    return EgoState(stamp_ns, 0.0, 0.0, 0.0, speed)


def looks(solid, kind, score=0.9):
    """The box that a camera at the origin would draw around it."""
    _, rect, _, _ = project(solid, evidence_of(picture(), CAMERA, state(), 1.0), 100.0)
    return (*rect[0], score, kind)


def told(solid, *boxes):
    evidence = evidence_of(picture(*boxes), CAMERA, state(), 1.0)
    index, said = Fusion(CONFIG).hear(solid, np.zeros(len(solid), bool), evidence)
    return dict(zip(index.tolist(), said, strict=True))


def test_what_the_camera_calls_a_cyclist_is_rather_a_cyclist():
    bike = solids((15.0, 2.0, 1.8, 0.7, 1.7))
    said = told(bike, looks(bike, StreetClass.CYCLIST))[0]
    assert said.argmax() == ObjectClass.BICYCLE and said.max() == 0.0
    assert said[ObjectClass.UNKNOWN] < -1.0
    unsure = told(bike, looks(bike, StreetClass.CYCLIST, score=0.3))[0]
    assert (unsure[[0, 1, 2, 4]] > said[[0, 1, 2, 4]]).all(), "a weak score says less"


def test_the_nearest_in_a_box_gets_it_and_who_is_hidden_nothing():
    near, far = (12.0, 0.0, 4.4, 1.8, 1.5), (20.0, 0.0, 4.4, 1.8, 1.5)
    both = solids(far, near)
    said = told(both, looks(solids(near), StreetClass.CAR))
    assert list(said) == [1], "the far car is hidden: silence about it is none"
    truck = solids((20.0, 0.0, 8.0, 2.5, 3.4), near)
    said = told(truck, looks(solids(near), StreetClass.CAR), looks(truck[:1], StreetClass.TRUCK))
    assert said[0].argmax() == ObjectClass.TRUCK and said[1].argmax() == ObjectClass.CAR


def test_silence_is_weak_evidence_and_none_at_the_edge_or_of_small_things():
    post, at_edge, far = (10.0, 1.0, 0.4, 0.4, 1.6), (10.0, 7.0, 0.4, 0.4, 1.6), (55.0, 1.0, 0.4, 0.4, 1.6)
    said = told(solids(post, at_edge, far))
    assert list(said) == [0] and said[0].argmax() == ObjectClass.UNKNOWN
    assert said[0][ObjectClass.PEDESTRIAN] > -0.3


def test_old_pictures_and_blind_cameras_are_no_evidence():
    assert evidence_of(picture(stamp_ns=0), CAMERA, state(400_000_000), 0.3) is None
    assert evidence_of(picture((0, 0, 640, 360, 1.0, StreetClass.BLIND)), CAMERA, state(), 0.3) is None
    evidence = evidence_of(picture((0, 0, np.nan, 360, 1.0, StreetClass.CAR)), CAMERA, state(), 0.3)
    assert len(evidence.boxes) == 0


def test_the_picture_is_seen_from_where_the_car_was_then():
    evidence = evidence_of(picture(stamp_ns=0), CAMERA, state(AGO_NS, speed=10.0), 0.3)
    assert evidence.position == pytest.approx([1.8 - 0.6, 0.0, 1.5])


def test_a_camera_that_does_not_even_name_cars_is_not_heard_until_it_does():
    fusion, cars = Fusion(CONFIG), solids((12.0, 3.0, 4.4, 1.8, 1.5), (25.0, -3.0, 4.4, 1.8, 1.5))
    boxes = [looks(cars[k : k + 1], StreetClass.CAR) for k in range(2)]
    shifted = [(a + 80, b, c + 80, *rest) for a, b, c, *rest in boxes]
    sure = np.ones(2, bool)
    for _ in range(40):
        index, _ = fusion.hear(cars, sure, evidence_of(picture(*shifted), CAMERA, state(), 1.0))
    assert fusion.agreement < CONFIG.fuse_agreement and len(index) == 0
    for _ in range(40):
        index, _ = fusion.hear(cars, sure, evidence_of(picture(*boxes), CAMERA, state(), 1.0))
    assert fusion.agreement > 0.8 and len(index) == 2


def detection(label):
    out = np.zeros(1, DETECTION_DTYPE)
    out["x"], out["y"], out["length"], out["width"], out["height"] = 15.0, 2.0, 0.9, 0.6, 1.7
    out["points"], out["label"] = 40, label
    return out


def tracked(label, kind, sweeps=12):
    tracker, alone = Tracker(TrackerConfig(), CONFIG), Tracker(TrackerConfig())
    box = looks(solids((15.0, 2.0, 0.9, 0.6, 1.7)), kind)
    for k in range(sweeps):
        stamp_ns = (k + 1) * SWEEP_NS
        evidence = None
        if k % 2:
            evidence = evidence_of(picture(box, stamp_ns=stamp_ns - AGO_NS), CAMERA, state(stamp_ns), 0.3)
        objects = tracker.step(detection(label), stamp_ns, SENSOR, evidence)
        plain = alone.step(detection(label), stamp_ns, SENSOR)
    return objects, plain


def test_the_track_takes_the_class_and_keeps_its_geometry():
    objects, plain = tracked(ObjectClass.PEDESTRIAN, StreetClass.CYCLIST)
    assert plain["label"] == ObjectClass.PEDESTRIAN and objects["label"] == ObjectClass.BICYCLE
    for name in ("x", "y", "z", "vx", "vy", "length", "width", "height", "existence"):
        assert objects[name] == plain[name], name


def test_a_camera_that_agrees_changes_nothing_but_how_sure_the_class_is():
    objects, plain = tracked(ObjectClass.PEDESTRIAN, StreetClass.PEDESTRIAN)
    for name in objects.dtype.names:
        assert name.startswith("p_") or objects[name].tobytes() == plain[name].tobytes(), name
    assert np.abs(objects["p_pedestrian"] - plain["p_pedestrian"]).max() < 0.01
