"""Drives that come back: what odometry has lost on the way is found again."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from test_relocalization import boxes

from robotaxi.geometry.se3 import apply, inverse, transform
from robotaxi.localization.config import MappingConfig
from robotaxi.localization.keyframes import Keyframes, range_image
from robotaxi.localization.loops import close_loops
from robotaxi.localization.mapping import make_map
from robotaxi.types import FloatArray

gtsam = pytest.importorskip("gtsam", reason="gtsam is not installed (pip install robotaxi[maps])")
T_BASE_LIDAR = transform(x=1.2, z=1.9)


def circle(count: int, turns: float = 1.15) -> FloatArray:
    """(count, 4, 4) once around a block and a little more."""
    angle = np.linspace(0.0, 2.0 * math.pi * turns, count)
    return np.array([transform(70 + 35 * math.sin(a), 70 - 35 * math.cos(a), yaw=a) for a in angle])


def drifting(poses: FloatArray, scale: float, turn: float) -> FloatArray:
    """What odometry makes of it: each step too long and turned too far."""
    out = [np.eye(4)]
    for before, now in pairwise(poses):
        step = inverse(before) @ now
        step[:3, 3] *= scale
        out.append(out[-1] @ step @ transform(yaw=turn))
    return np.array(out)


def keyframes(world: FloatArray, poses: FloatArray, odometry: FloatArray, seed: int, fixes: bool = False) -> Keyframes:
    rng = np.random.default_rng(seed)
    clouds = []
    for T in poses:
        points = apply(inverse(T), world)
        points = points[(np.linalg.norm(points, axis=1) < 40.0)]
        clouds.append(points[rng.random(len(points)) < 0.15].astype(np.float32))
    none = np.full(3, np.nan)
    return Keyframes(
        np.arange(len(poses)) * 400_000_000, poses if fixes else odometry, odometry,
        np.array([T[:3, 3] if fixes else none for T in poses]), np.full(len(poses), 0.02 if fixes else np.nan),
        np.concatenate(clouds), np.cumsum([0, *map(len, clouds)]),
        np.array([range_image(apply(inverse(T_BASE_LIDAR), c)) for c in clouds]), T_BASE_LIDAR, np.zeros(3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def world() -> FloatArray:
    return boxes(3)


def worst(poses: FloatArray, truth: FloatArray) -> float:
    """Largest distance (m) between the two as seen from their first poses."""
    return float(
        np.linalg.norm((inverse(poses[0]) @ poses)[:, :2, 3] - (inverse(truth[0]) @ truth)[:, :2, 3], axis=1).max()
    )


def test_a_drive_without_satellites_that_comes_back_loses_its_drift(world):
    truth = circle(72)
    odometry = drifting(truth, 1.01, 0.002)
    assert worst(odometry, truth) > 4.0
    made = make_map(MappingConfig(), [keyframes(world, truth, odometry, 1)])
    assert made.loops >= 1
    assert worst(made.poses[0], truth) < 1.0  # a scale error of 1 % over 70 m stays
    again = inverse(made.poses[0][9]) @ made.poses[0][-1]  # the same place, seen twice
    assert np.linalg.norm((again - inverse(truth[9]) @ truth[-1])[:2, 3]) < 0.15


def test_a_drive_without_satellites_is_joined_to_one_that_has_them(world):
    truth = circle(44, 0.8)
    with_fixes = keyframes(world, truth, truth, 2, fixes=True)
    lost = truth[8:36]
    without = keyframes(world, lost, drifting(lost, 1.005, 0.0005), 3)
    _, poses = close_loops(MappingConfig(), [with_fixes, without], lambda k, of: None)
    assert np.linalg.norm((poses[1] - lost)[:, :2, 3], axis=1).max() < 0.2


def test_a_drive_that_nothing_joins_is_refused(world):
    truth = circle(20, 0.4)
    elsewhere = keyframes(boxes(9), truth, truth, 4)
    with pytest.raises(ValueError, match="drive 2 has no GNSS fixes and nothing in common"):
        close_loops(MappingConfig(), [keyframes(world, truth, truth, 5, fixes=True), elsewhere], lambda k, of: None)
