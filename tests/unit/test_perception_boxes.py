"""Boxes around clusters, and where a tracked box is by its visible edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotaxi.perception.lidar.anchor import AWAY, OFFSET, SLACK, corners, measure
from robotaxi.perception.lidar.boxes import DETECTION_DTYPE, BoxConfig, boxes_by_shape, classify, measure_boxes
from robotaxi.perception.lidar.cluster import Clusters
from robotaxi.types import ObjectClass


def l_shape(x, y, yaw, length, width, points=80):
    """Points on the rear and the right side of a car."""
    rng = np.random.default_rng(5)
    rear = np.column_stack([np.full(points // 2, -length / 2), np.linspace(-width / 2, width / 2, points // 2)])
    side = np.column_stack([np.linspace(-length / 2, length / 2, points), np.full(points, -width / 2)])
    local = np.concatenate([rear, side]) + rng.normal(0.0, 0.02, (points + points // 2, 2))
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    height = np.tile(np.linspace(0.3, 1.5, 10), points)[: len(local)]
    return np.column_stack([local @ turn.T + [x, y], height]).astype(np.float32)


def fit(xyz):
    clusters = Clusters(np.arange(len(xyz)), np.array([0, len(xyz)]))
    boxes = measure_boxes(xyz, xyz[:, 2].copy(), np.zeros(len(xyz), np.float32), clusters)
    return boxes_by_shape(boxes, BoxConfig())


@settings(deadline=None)  # the first call compiles
@given(yaw=st.floats(-3.1, 3.1), x=st.floats(-60, 60), y=st.floats(-60, 60))
def test_an_l_shape_gives_heading_centre_and_size(yaw, x, y):
    box = fit(l_shape(x, y, yaw, 4.4, 1.8))[0]
    assert abs((box["yaw"] - yaw + np.pi / 2) % np.pi - np.pi / 2) < np.radians(2.5)
    assert np.hypot(box["x"] - x, box["y"] - y) < 0.12
    assert abs(box["length"] - 4.4) < 0.15 and abs(box["width"] - 1.8) < 0.2
    assert box["label"] == ObjectClass.CAR


@settings(deadline=None)
@given(points=st.lists(st.tuples(*[st.floats(-50, 50, width=32)] * 3), min_size=1, max_size=30))
def test_any_cluster_gives_finite_boxes(points):
    boxes = fit(np.array(points, np.float32))
    for name in DETECTION_DTYPE.names:
        assert np.isfinite(boxes[name]).all()


@pytest.mark.parametrize(
    ("length", "width", "height", "upper", "label"),
    [
        (4.4, 1.8, 1.5, 2.5, ObjectClass.CAR),
        (1.8, 0.2, 1.4, 1.3, ObjectClass.CAR),  # rear view
        (12.0, 2.5, 2.5, 12.0, ObjectClass.TRUCK),
        (2.4, 0.3, 2.5, 2.4, ObjectClass.TRUCK),  # rear view
        (0.6, 0.4, 1.75, 0.5, ObjectClass.PEDESTRIAN),
        (1.8, 0.6, 1.7, 0.6, ObjectClass.BICYCLE),
        (0.5, 0.5, 0.5, 0.5, ObjectClass.UNKNOWN),
        (2.0, 1.9, 0.5, 2.0, ObjectClass.UNKNOWN),
    ],
)
def test_classes_by_size_and_shape(length, width, height, upper, label):
    box = np.zeros(1, DETECTION_DTYPE)
    box["length"], box["width"], box["height"], box["upper"] = length, width, height, upper
    assert classify(box, BoxConfig())[0] == label


def visible(x_low, x_high, y_low, y_high):
    """A detection given by its sides."""
    box = np.zeros(1, DETECTION_DTYPE)
    box["x"], box["y"] = (x_low + x_high) / 2, (y_low + y_high) / 2
    box["length"], box["width"] = x_high - x_low, y_high - y_low
    return corners(box)[0]


def measured(x, y, box_corners):
    """Of a car at (x, y), seen from the origin."""
    found = np.empty((5, 2))
    measure(x, y, 0.0, 4.4, 1.8, box_corners, np.zeros(2), found)
    return found


def test_the_near_edge_places_a_car_of_which_only_the_rear_is_visible():
    found = measured(20.0, 0.0, visible(18.0, 18.2, -0.9, 0.9))
    assert found[OFFSET] == pytest.approx([0.2, 0.0]) and found[SLACK] == pytest.approx([0.0, 0.0])
    assert list(found[AWAY]) == [1.0, 0.0]


def test_alongside_the_centre_is_only_bounded():
    found = measured(1.0, 3.0, visible(0.0, 2.0, 2.1, 2.4))
    assert found[OFFSET, 0] == 0.0 and found[SLACK, 0] == pytest.approx(1.2)
    assert found[OFFSET, 1] == pytest.approx(0.0) and found[AWAY, 1] == 1.0
