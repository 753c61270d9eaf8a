"""Tracks keep the shape of a car also when its first, far view was misleading."""

import numpy as np

from robotaxi.perception.lidar.boxes import DETECTION_DTYPE
from robotaxi.perception.lidar.tracking import Tracker, TrackerConfig
from robotaxi.types import ObjectClass

SWEEP_NS = 100_000_000
SENSOR = np.array([0.0, 3.4])  # passing on the left


def view(yaw, length, width, points, flat):
    detection = np.zeros(1, DETECTION_DTYPE)
    detection["x"], detection["yaw"], detection["height"] = 12.0, yaw, 1.5
    detection["length"], detection["width"], detection["points"] = length, width, points
    detection["flat"], detection["label"] = flat, ObjectClass.CAR
    return detection


def test_heading_guessed_wrong_from_afar_is_put_right_by_a_clear_view():
    tracker = Tracker(TrackerConfig())
    stamps = iter(range(0, 10**10, SWEEP_NS))
    for _ in range(6):
        tracker.step(view(np.radians(40.0), 2.4, 1.9, points=9, flat=0.5), next(stamps), SENSOR)
    for _ in range(8):
        objects = tracker.step(view(0.0, 4.1, 1.8, points=200, flat=0.9), next(stamps), SENSOR)
    (car,) = objects
    assert abs((car["yaw"] + np.pi / 2) % np.pi - np.pi / 2) < np.radians(5.0)
    assert car["width"] < 2.1
    assert 3.9 < car["length"] < 4.6
    assert abs(car["y"]) < 0.3


def test_no_car_is_wider_than_cars_are():
    tracker = Tracker(TrackerConfig())
    for k in range(20):
        objects = tracker.step(view(0.0, 4.5, 2.4 if k < 5 else 3.3, points=60, flat=0.9), k * SWEEP_NS, SENSOR)
    assert np.all(objects["width"][objects["label"] == ObjectClass.CAR] <= TrackerConfig().max_width_seen)
