"""Polylines, boxes, transforms, geodesy: against closed forms and round trips."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotaxi.geometry import boxes, polyline, se2, se3
from robotaxi.geometry.geodesy import LocalFrame, ecef_from_geodetic
from robotaxi.types import Pose2

finite = st.floats(-1e3, 1e3)
angle = st.floats(-10.0, 10.0)


def circle(radius: float, step: float = 1.0, sweep: float = math.pi / 2) -> np.ndarray:
    a = np.arange(0.0, sweep, step / radius)
    return np.stack([radius * np.sin(a), radius * (1.0 - np.cos(a))], axis=-1)


@given(finite, finite, angle, finite, finite)
def test_se2_round_trip(x, y, yaw, px, py):
    pose = Pose2(x, y, yaw)
    assert se2.to_local(pose, se2.to_outer(pose, [[px, py]])) == pytest.approx(np.array([[px, py]]), abs=1e-9)
    identity = se2.compose(pose, se2.inverse(pose))
    assert (identity.x, identity.y, math.cos(identity.yaw)) == pytest.approx((0.0, 0.0, 1.0), abs=1e-9)


@given(angle)
def test_wrap_angle_keeps_the_direction(a):
    wrapped = se2.wrap_angle(a)
    assert -math.pi <= wrapped < math.pi
    assert math.sin(wrapped - a) == pytest.approx(0.0, abs=1e-9)
    assert float(se2.wrap_angles([a])[0]) == wrapped


@given(finite, finite, finite, st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-3, 3))
def test_se3_angles_and_inverse_round_trip(x, y, z, roll, pitch, yaw):
    T = se3.transform(x, y, z, roll, pitch, yaw)
    assert se3.inverse(T) @ T == pytest.approx(np.eye(4), abs=1e-9)
    assert se3.roll_pitch_yaw(T) == pytest.approx((roll, pitch, yaw), abs=1e-6)


def test_se3_follows_rep103():
    nose_down = se3.transform(pitch=0.1)
    assert se3.apply(nose_down, [[1.0, 0.0, 0.0]])[0, 2] < 0.0
    assert se3.yaw_from_quaternion(*se3.quaternion_from_yaw(0.7)) == pytest.approx(0.7)


def test_heading_and_curvature_of_a_circle():
    points = circle(20.0)
    yaw, curvature = polyline.headings(points), polyline.curvatures(points)
    expected = np.arange(len(points)) / 20.0
    assert yaw[1:-1] == pytest.approx(expected[1:-1], abs=1e-9)
    assert curvature == pytest.approx(np.full(len(points), 1 / 20.0), abs=1e-9)


def test_projection_gives_signed_offsets():
    line = np.array([[0.0, 0.0, 1.0], [10.0, 0.0, 2.0], [10.0, 10.0, 3.0]])
    at = polyline.project(line, [[4.0, 1.5], [4.0, -1.5], [11.0, 6.0], [-3.0, 0.0]])
    assert at.s == pytest.approx([4.0, 4.0, 16.0, 0.0])
    assert at.offset == pytest.approx([1.5, -1.5, -1.0, 0.0])
    assert at.distance == pytest.approx([1.5, 1.5, 1.0, 3.0])
    assert at.segment.tolist() == [0, 0, 1, 0]


def test_resampling_keeps_ends_and_spacing():
    line = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 1.0], [3.0, 7.3, 2.0]])
    even = polyline.resample(line, 0.5)
    assert np.array_equal(even[[0, -1]], line[[0, -1]])
    dense = polyline.densify(line, 2.0)
    assert np.hypot(*np.diff(dense[:, :2], axis=0).T).max() <= 2.0
    assert any(np.allclose(p, line[1]) for p in dense)
    with pytest.raises(ValueError, match="spacing"):
        polyline.resample(line, 0.0)
    with pytest.raises(ValueError, match="shape"):
        polyline.arc_length(np.zeros(3))


def test_points_in_polygon():
    ell = [[0, 0], [4, 0], [4, 1], [1, 1], [1, 4], [0, 4]]
    assert polyline.points_in_polygon([[0.5, 3.0], [3.0, 0.5], [3.0, 3.0], [-1.0, 0.5]], ell).tolist() == [
        True,
        True,
        False,
        False,
    ]


box = st.tuples(st.floats(-5, 5), st.floats(-5, 5), angle, st.floats(0.5, 6), st.floats(0.5, 3))


@given(box, box)
def test_boxes_overlap_exactly_when_they_have_no_gap(a, b):
    a, b = np.array(a), np.array(b)
    assert bool(boxes.overlap(a, b)) == bool(boxes.overlap(b, a))
    if not boxes.overlap(a, b):
        assert not boxes.points_in_box(boxes.corners(a), b, -1e-9).any()
        assert boxes.distance(a, b) >= 0.0
    else:
        assert boxes.distance(a, b) == 0.0


def test_box_distance_and_nan():
    a = np.array([0.0, 0.0, 0.0, 4.0, 2.0])
    b = np.array([5.0, 0.0, math.pi / 2, 4.0, 2.0])
    assert boxes.distance(a, b) == pytest.approx(2.0)
    assert boxes.corners(a)[0] == pytest.approx([2.0, 1.0])
    assert not boxes.overlap(a, np.full(5, np.nan))
    assert boxes.overlap(np.stack([a, a + 1]), a).tolist() == [True, True]


@given(st.floats(-5000, 5000), st.floats(-5000, 5000), st.floats(-100, 1000), st.floats(-80, 80), st.floats(-180, 180))
def test_geodesy_round_trip_is_exact_to_a_micrometre(x, y, z, lat, lon):
    frame = LocalFrame(lat, lon, 100.0)
    assert frame.to_map(*frame.to_geodetic(x, y, z)) == pytest.approx((x, y, z), abs=1e-6)


def test_geodesy_against_published_values():
    # Equator and pole of the ellipsoid, and one degree of latitude at 45 degrees north (111131.8 m).
    assert ecef_from_geodetic(0.0, 0.0, 0.0) == pytest.approx((6378137.0, 0.0, 0.0))
    assert ecef_from_geodetic(90.0, 0.0, 0.0)[2] == pytest.approx(6356752.314245, abs=1e-5)
    north = LocalFrame(45.0, 10.0).to_map(45.01, 10.0)
    assert north[1] == pytest.approx(1111.32, abs=0.05)
    with pytest.raises(ValueError, match="not a WGS 84 position"):
        LocalFrame(95.0, 0.0)
