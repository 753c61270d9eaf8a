"""A camera that was moved is noticed, one in its place is not called moved."""

import cv2
import numpy as np
import pytest

from robotaxi.perception.camera.pointing import PointingConfig, PointingMonitor, misalignment
from robotaxi.types import CameraModel, EgoState

IMAGE_NS = 200_000_000
OPTICAL = np.array([[0.0, 0.0, 1.0, 1.8], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
CAMERA = CameraModel("front", 640, 360, 457.0, 457.0, 320.0, 180.0, OPTICAL)
RIGHT, LEFT, UP = (0.0, 4.0), (0.0, -4.0), (4.0, 0.0)


def turned(degrees):
    """T_base_optical of a camera turned about its x (up) and y (to the right)."""
    out = OPTICAL.copy()
    out[:3, :3] = OPTICAL[:3, :3] @ cv2.Rodrigues(np.radians([*degrees, 0.0]))[0]
    return out


def street(seed=0):
    """Corners (N, 3) of houses, kerbs and signs along 120 m of road, map."""
    rng = np.random.default_rng(seed)
    side = rng.choice([-1.0, 1.0], 600)
    return np.column_stack([rng.uniform(0, 110, 600), side * rng.uniform(3, 12, 600), rng.uniform(0, 7, 600)])


def rays_from(points, base, optical):
    """Rays (N, 3) with z = 1, and which points lie in the picture, for base_link at x, yaw."""
    x, yaw = base
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T[0, 3] = x
    local = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(T @ optical).T
    z = np.maximum(local[:, 2], 0.1)
    rays = np.column_stack([local[:, 0] / z, local[:, 1] / z, np.ones(len(z))])
    return rays, (local[:, 2] > 3.0) & (np.abs(rays[:, 0]) < 0.7) & (np.abs(rays[:, 1]) < 0.39)


@pytest.mark.parametrize("off", [(0.0, 0.0), (3.0, 0.0), (-1.0, 5.0), (0.0, -8.0)])
def test_the_turn_is_found_among_moving_things_and_noise(off):
    rng, points = np.random.default_rng(5), street()
    motion = np.eye(4)
    motion[0, 3] = 3.0
    first, in_first = rays_from(points, (0.0, 0.0), turned(off))
    second, in_second = rays_from(points, (3.0, 0.0), turned(off))
    both = np.flatnonzero(in_first & in_second)[:200]
    first, second = (
        first[both],
        second[both] + np.column_stack([rng.normal(0, 0.0006, (len(both), 2)), np.zeros(len(both))]),
    )
    second[::6, :2] += rng.normal(0, 0.03, second[::6, :2].shape)  # traffic
    found = misalignment(first, second, np.linalg.inv(OPTICAL) @ motion @ OPTICAL)
    assert np.degrees(found) == pytest.approx(off, abs=1.0)


def test_rays_that_tell_nothing_say_so():
    motion = np.eye(4)
    motion[0, 3] = 2.0
    rng = np.random.default_rng(0)
    rays = np.column_stack([rng.uniform(-0.5, 0.5, (60, 2)), np.ones(60)])
    other = np.column_stack([rng.uniform(-0.5, 0.5, (60, 2)), np.ones(60)])
    assert misalignment(rays, other, np.linalg.inv(OPTICAL) @ motion @ OPTICAL) is None
    assert misalignment(rays[:3], rays[:3], np.linalg.inv(OPTICAL) @ motion @ OPTICAL) is None


def drive(off, seconds=7, speed=8.0, yaw_rate=0.0, monitor=None, age_ns=0):
    """What the monitor says after a drive with a camera that is ``off`` (deg); its states are ``age_ns`` old."""
    points, monitor = street(), monitor or PointingMonitor(PointingConfig(pointing_every=2), CAMERA)
    gray = np.random.default_rng(2).integers(60, 255, len(points))
    said = ""
    for k in range(5 * seconds):
        x, yaw = 0.2 * k * speed, 0.2 * k * yaw_rate
        rays, seen = rays_from(points, (x, yaw), turned(off))
        image = np.full((CAMERA.height, CAMERA.width, 3), 40, np.uint8)
        for i in np.flatnonzero(seen):
            u, v = CAMERA.cx + CAMERA.fx * rays[i, 0], CAMERA.cy + CAMERA.fy * rays[i, 1]
            side = 64.0 / np.hypot(points[i, 0] - x, 4.0)
            low, high = (np.round(16 * np.array([u + s * side, v + s * side])).astype(int) for s in (-0.5, 0.5))
            cv2.rectangle(image, low, high, [int(gray[i])] * 3, -1, cv2.LINE_AA, 4)
        said = monitor.step(image, k * IMAGE_NS, EgoState(k * IMAGE_NS - age_ns, x, 0.0, yaw, speed, yaw_rate=yaw_rate))
    return said


def test_old_states_tell_nothing_of_the_camera():
    assert "too far" in drive(RIGHT, age_ns=100_000_000)
    assert drive(RIGHT, age_ns=600_000_000) == ""


def test_a_camera_in_its_place_is_not_called_moved():
    assert drive((0.0, 0.0)) == ""
    assert drive((0.0, 0.8)) == "", "less than what may be wrong"


@pytest.mark.parametrize(("off", "words"), [(RIGHT, "degrees too far right"), (LEFT, "left"), (UP, "up")])
def test_a_moved_camera_is_noticed(off, words):
    said = drive(off)
    assert said.startswith("the camera looks 4 degrees") and words in said


def test_nothing_is_said_at_rest_in_bends_and_without_a_place():
    assert drive(RIGHT, seconds=4, speed=0.0) == ""
    assert drive(RIGHT, seconds=4, yaw_rate=0.3) == ""
    monitor = PointingMonitor(PointingConfig(pointing_every=2), CAMERA)
    for k in range(20):
        assert monitor.step(np.zeros((360, 640, 3), np.uint8), k * IMAGE_NS, None) == ""
        assert monitor.step(np.zeros((360, 640, 3), np.uint8), k * IMAGE_NS, EgoState(0, 0.0, 0.0, 0.0, np.nan)) == ""


def test_a_camera_put_right_is_trusted_again():
    monitor = PointingMonitor(PointingConfig(pointing_every=2), CAMERA)
    assert drive(RIGHT, monitor=monitor) and not drive((0.0, 0.0), monitor=monitor)
