"""Lidar odometry and scan matching in a made-up street, and how odometry is judged."""

from __future__ import annotations

import numpy as np
import pytest

from robotaxi.evaluation.odometry import map_thickness, relative_error
from robotaxi.geometry.se3 import apply, inverse, transform
from robotaxi.localization.lidar_odometry import LidarOdometry, OdometryConfig, twist_of
from robotaxi.localization.point_map import PointMap, smallest_direction
from robotaxi.localization.registration import match
from robotaxi.localization.scan import deskew, thin, within


def street(seed: int = 0) -> np.ndarray:
    """Points (N, 3) of a road between two rows of houses with gaps, and poles."""
    rng = np.random.default_rng(seed)
    road = np.column_stack([rng.uniform(-40, 80, 40000), rng.uniform(-10, 10, 40000), np.zeros(40000)])
    x = rng.uniform(-40, 80, 30000)
    side = np.where(rng.random(30000) < 0.5, -10.0, 10.0)
    houses = np.column_stack([x, side, rng.uniform(0, 8, 30000)])[np.mod(x, 17.0) > 4.0]
    fronts = np.column_stack(
        [17.0 * rng.integers(-2, 5, 8000) + 4.0, rng.choice([-1, 1], 8000) * rng.uniform(10, 14, 8000),
         rng.uniform(0, 8, 8000)]
    )  # fmt: skip
    points = np.concatenate([road, houses, fronts])
    return points + rng.normal(0.0, 0.01, points.shape)


def sweep_from(world: np.ndarray, T: np.ndarray, seed: int) -> np.ndarray:
    points = apply(inverse(T), world)
    points = points[within(points, 1.0, 40.0)]
    return np.random.default_rng(seed).permutation(points)[:15000]


@pytest.fixture(scope="module")
def world() -> np.ndarray:
    return street()


def test_odometry_follows_a_drive_and_repeats_bit_by_bit(world):
    truth = np.array([transform(x=0.8 * i, y=0.02 * i, z=1.8, yaw=0.01 * i) for i in range(15)])
    runs = []
    for _ in range(2):
        odometry = LidarOdometry(OdometryConfig())
        poses = []
        for i, T in enumerate(truth):
            odometry.step(sweep_from(world, T, i))
            poses.append(odometry.pose)
        runs.append(np.array(poses))
    error = relative_error(truth, runs[0])
    assert error.translation_percent < 0.5 and error.step_rotation_deg < 0.1
    assert runs[0].tobytes() == runs[1].tobytes()


def test_the_motion_of_a_lidar_that_turns_settles(world):
    """All its points lie after the stamp, and it alone knows how it moves: 8 m/s."""
    odometry, motions = LidarOdometry(OdometryConfig()), []
    for i in range(24):
        points = sweep_from(world, transform(x=0.8 * i, z=1.8), i)
        time = 0.1 * (np.arctan2(points[:, 1], points[:, 0]) + np.pi) / (2.0 * np.pi)
        points[:, 0] -= 8.0 * time
        odometry.step(points, time)
        motions.append(odometry.motion[0, 3])
    assert np.abs(np.array(motions[12:]) - 0.8).max() < 0.05


def test_a_match_finds_the_pose_and_says_what_holds_it(world):
    target = PointMap(1.0, 20, 0.22, 0.8)
    target.insert(world)
    truth = transform(x=10.0, y=1.0, z=1.8, yaw=0.3)
    points = thin(sweep_from(world, truth, 3), 1.2)
    found = match(points, target, truth @ transform(x=0.4, y=-0.3, yaw=0.02), 1.5, 0.3)
    error = inverse(truth) @ found.T_map_lidar
    assert found.converged and found.overlap > 0.95
    assert np.linalg.norm(error[:3, 3]) < 0.02 and abs(error[1, 0]) < 0.001
    # houses hold it sideways better than their few fronts do along the street
    assert found.information[1, 1] > 2.0 * found.information[0, 0]


def test_a_tunnel_leaves_the_direction_along_it_open():
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, 60000)
    tube = np.column_stack([rng.uniform(-60, 60, 60000), 4 * np.cos(angle), 4 * np.sin(angle)])
    target = PointMap(1.0, 20, 0.22, 0.8)
    target.insert(tube)
    found = match(thin(tube[np.abs(tube[:, 0]) < 30], 1.2), target, np.eye(4), 1.0, 0.3, scatter_weight=0.0)
    assert found.information[0, 0] < 0.02 * found.information[1, 1]


def test_nothing_in_common_is_said():
    target = PointMap(1.0, 20, 0.22, 0.8)
    target.insert(np.zeros((1, 3)))
    found = match(np.full((50, 3), 30.0), target, np.eye(4), 1.0, 0.3)
    assert found.overlap == 0.0 and not found.converged


def test_map_grows_forgets_and_keeps_its_spacing():
    rng = np.random.default_rng(2)
    points = rng.uniform(-60, 60, (40000, 3))
    target = PointMap(1.0, 4, 0.3, 0.8, capacity=64)
    target.insert(points)
    assert len(target) > 30000 and len(target.all_points()) == len(target)
    target.keep_near(np.zeros(3), 20.0)
    left = target.all_points()
    assert 0 < len(left) < 3000 and np.linalg.norm(left, axis=1).max() < 22.0
    target.insert(points)
    assert len(target) > 30000


def test_deskew_undoes_the_motion_of_the_sensor():
    rng = np.random.default_rng(3)
    world_points, time = rng.uniform(-20, 20, (100, 3)), np.linspace(0, 0.1, 100)
    motion = transform(x=1.2, y=0.1, yaw=0.05)
    twist = twist_of(motion, 0.1)
    seen = []
    for p, t in zip(world_points, time, strict=True):
        pose = transform(*(twist[:3] * t), yaw=twist[5] * t)
        seen.append(apply(inverse(pose), p[None])[0])
    assert np.abs(deskew(np.array(seen), time, twist) - world_points).max() < 1e-9


def test_not_a_number_is_left_out():
    points = np.array([[np.nan, 0, 0], [5.0, 0, 0], [np.inf, 0, 0], [0.1, 0, 0]])
    assert within(points, 1.0, 100.0).tolist() == [False, True, False, False]
    odometry = LidarOdometry(OdometryConfig())
    odometry.step(points)
    odometry.step(np.full((10, 3), np.nan))
    assert np.isfinite(odometry.pose).all()


def test_smallest_direction_agrees_with_lapack():
    rng = np.random.default_rng(4)
    for _ in range(20):
        a = rng.normal(size=(6, 3)) * np.array([1.0, 0.6, 0.02])
        cov = a.T @ a
        values, vectors = np.linalg.eigh(cov)
        low, mid, *direction = smallest_direction(cov)
        assert np.allclose([low, mid], values[:2], atol=1e-9)
        assert abs(np.dot(direction, vectors[:, 0])) > 1.0 - 1e-6


def test_relative_error_of_a_known_drift():
    truth = np.array([transform(x=float(i)) for i in range(301)])
    estimate = np.array([transform(x=1.01 * i) for i in range(301)])
    error = relative_error(truth, estimate)
    assert error.translation_percent == pytest.approx(1.0) and error.rotation_deg_per_100m == pytest.approx(0.0)
    assert error.segments > 100 and error.way == pytest.approx(300.0)


def test_wrong_poses_make_the_map_thick(world):
    truth = np.array([transform(x=1.0 * i, z=1.8) for i in range(4)])
    sweeps = [sweep_from(world, T, i) for i, T in enumerate(truth)]
    wrong = truth.copy()
    wrong[1:, 2, 3] += 0.1
    assert map_thickness(sweeps, wrong) > 2.0 * map_thickness(sweeps, truth)
