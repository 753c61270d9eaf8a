"""Narrow bends: where the rear axle goes so that the corners of the body stay on the road."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from test_planning import CAR, lane, lane_map

from robotaxi.planning import PlannerConfig
from robotaxi.planning.reference import Reference, build_reference
from robotaxi.planning.road_edges import kept_on_road
from robotaxi.planning.tight_bends import bends, tightest_bend
from robotaxi.types import Pose2

SPACING = 0.5


def bend(radius: float, turn: float = 1.0) -> np.ndarray:
    """30 m straight, a quarter circle to the left (``turn`` 1) or right (-1), 30 m straight."""
    angle = np.arange(0.0, math.pi / 2.0, SPACING / radius)
    before = np.column_stack([np.arange(-30.0, 0.0, SPACING), np.zeros(60)])
    arc = np.column_stack([radius * np.sin(angle), radius * (1.0 - np.cos(angle))])
    after = np.column_stack([np.full(60, radius), radius + np.arange(0.0, 30.0, SPACING)])
    xy = np.concatenate([before, arc, after]) * [1.0, turn]
    return np.column_stack([xy, np.zeros(len(xy))])


def strip(line: np.ndarray, width: float) -> Callable[[np.ndarray], np.ndarray]:
    """A road of ``width`` m along ``line``."""
    fine = np.column_stack([np.interp(np.arange(0, len(line) - 1, 0.1), np.arange(len(line)), c) for c in line.T[:2]])

    def on_road(points: np.ndarray) -> np.ndarray:
        away = np.hypot(points[:, None, 0] - fine[None, :, 0], points[:, None, 1] - fine[None, :, 1])
        return np.asarray(away.min(axis=1) <= width / 2.0)

    return on_road


def corners_outside(path: np.ndarray, on_road: Callable[[np.ndarray], np.ndarray]) -> int:
    along = np.gradient(path[:, :2], axis=0)
    along /= np.hypot(*along.T)[:, None]
    left = np.column_stack([-along[:, 1], along[:, 0]])
    return sum(
        int((~on_road(path[:, :2] + x * along + y * left)).sum())
        for x in (CAR.front, -CAR.rear_overhang)
        for y in (CAR.width / 2.0, -CAR.width / 2.0)
    )


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_the_body_stays_on_a_narrow_bend_to_either_side(turn: float) -> None:
    line = bend(6.5, turn)
    road = strip(line, 3.5)
    path = kept_on_road(line, SPACING, CAR, road, 0, len(line))
    inner = slice(10, -10)  # the road of the test ends there
    assert corners_outside(line[inner], road) > 3 and corners_outside(path[inner], road) == 0
    assert np.hypot(*(path - line)[:, :2].T).max() < 0.9
    assert bends(path).max() < 1.06 * max(tightest_bend(CAR), bends(line).max())


def test_left_and_right_are_mirrored() -> None:
    left, right = bend(6.5), bend(6.5, -1.0)
    one = kept_on_road(left, SPACING, CAR, strip(left, 3.5), 0, len(left))
    other = kept_on_road(right, SPACING, CAR, strip(right, 3.5), 0, len(right))
    assert np.allclose(one * [1.0, -1.0, 1.0], other)


def test_what_fits_stays_as_it_is_to_the_bit() -> None:
    for line, width in ((bend(6.5), 5.0), (bend(25.0), 3.5)):
        path = kept_on_road(line, SPACING, CAR, strip(line, width), 0, len(line))
        assert np.array_equal(path, line)


def test_the_ends_of_the_path_stay_where_they_are() -> None:
    line = bend(6.5)
    first, last = 62, 75  # both within the bend
    path = kept_on_road(line, SPACING, CAR, strip(line, 3.5), first, last)
    assert np.array_equal(path[: first + 1], line[: first + 1]) and np.array_equal(path[last:], line[last:])


def test_a_bend_that_is_too_narrow_for_the_car_is_driven_as_well_as_it_can_be() -> None:
    line = bend(6.5)
    road = strip(line, 2.6)
    path = kept_on_road(line, SPACING, CAR, road, 0, len(line))
    inner, wider = slice(10, -10), strip(line, 3.2)
    assert corners_outside(path[inner], wider) == 0 < corners_outside(line[inner], wider)


def test_a_path_that_is_kept_on_the_road_asks_no_sudden_steering() -> None:
    line = bend(6.5)
    path = kept_on_road(line, SPACING, CAR, strip(line, 3.5), 0, len(line))
    steering = np.arctan(CAR.wheelbase * bends(path))
    assert np.abs(np.diff(steering)).max() < 0.5 * np.abs(np.diff(np.arctan(CAR.wheelbase * bends(line)))).max()


def test_the_planners_path_keeps_the_body_on_the_lane() -> None:
    points = [tuple(p) for p in bend(6.5, -1.0)[:, :2].tolist()]
    road = lane_map([lane(1, points, width=3.2)])
    route = road.route(Pose2(-20.0, 0.0, 0.0), Pose2(6.5, -26.0, -math.pi / 2.0))
    config = PlannerConfig()
    loose = build_reference(road, route, Pose2(-20.0, 0.0, 0.0), config)
    kept = build_reference(road, route, Pose2(-20.0, 0.0, 0.0), config, body=CAR)

    def outside(reference: Reference) -> int:
        near = slice(reference.index(reference.start_s), reference.index(reference.goal_s - 6.0))
        return corners_outside(np.column_stack([reference.x, reference.y])[near], road.drivable)

    assert outside(loose) > 3 and outside(kept) == 0
