"""Bends that the car cannot drive are eased; all others stay to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robotaxi.planning.tight_bends import MOST_MOVED, bends, eased, tightest_bend
from robotaxi.vehicle import load_vehicle

LIMIT = tightest_bend(load_vehicle("robotaxi"))


def _turn(radius: float, angle: float = math.pi / 2, legs: float = 40.0) -> np.ndarray:
    """Straight, a circle of ``radius`` to the left by ``angle``, straight; 0.5 m between points."""
    s = np.arange(0.0, 2.0 * legs + radius * angle, 0.5)
    yaw = np.clip((s - legs) / radius, 0.0, angle)
    steps = 0.5 * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    return np.column_stack([np.cumsum(steps, axis=0), np.zeros(len(s))])


@pytest.mark.parametrize(
    ("radius", "degrees"), [(2.2, 60), (2.2, 90), (2.6, 90), (3.5, 60), (3.5, 90), (3.5, 120), (4.5, 90), (4.5, 120)]
)
def test_a_bend_too_tight_is_eased_by_no_more_than_allowed(radius: float, degrees: int) -> None:
    points = _turn(radius, math.radians(degrees))
    assert bends(points).max() > LIMIT
    out = eased(points, 0.5, LIMIT)
    moved = np.hypot(*(out - points)[:, :2].T)
    assert bends(out).max() <= LIMIT + 1e-9
    assert moved.max() <= MOST_MOVED
    assert moved[0] == moved[-1] == 0.0


def test_a_bend_that_the_car_can_drive_stays_to_the_bit() -> None:
    points = _turn(6.0)
    assert eased(points, 0.5, LIMIT) is points


def test_the_path_behind_the_car_and_its_direction_there_stay() -> None:
    points = _turn(2.6)
    first = int(np.argmax(bends(points))) - 4
    out = eased(points, 0.5, LIMIT, first)
    assert np.array_equal(out[: first + 2], points[: first + 2])
    assert not np.array_equal(out, points)


@pytest.mark.parametrize("radius", [0.8, 1.2, 2.2])
def test_a_hairpin_comes_out_no_tighter_and_near_to_where_it_was(radius: float) -> None:
    points = _turn(radius, math.pi)
    out = eased(points, 0.5, LIMIT)
    assert LIMIT < bends(out).max() <= bends(points).max()
    assert np.hypot(*(out - points)[:, :2].T).max() <= MOST_MOVED
