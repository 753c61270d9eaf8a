"""Motion by proposals on a straight road: it reaches its goal, goes round or stops, and repeats itself."""

from __future__ import annotations

import numpy as np
import pytest

from robotaxi.planning.motion.ground import ground_beside
from robotaxi.planning.motion.proposal_search import COLUMNS, _off_ground, bend_speeds, roll
from robotaxi.planning.motion.proposals import (
    Limits,
    Motion,
    Others,
    PathArrays,
    PathState,
    Target,
    continued,
    propose,
)

LIMITS = Limits(4.5, 1.8, 4.0, 8.0, 0.2, 7.0)
STEP, HORIZON = 0.1, 6.0
STEPS = round(HORIZON / STEP) + 1
NAN = np.nan


def plan(others: list[tuple[float, float]], width: float, target: Target | None = None) -> Motion:
    """From x = 50 at 8 m/s along y = 0; ``others``: standing cars; ``width``: of the road."""
    n = np.arange(600) * 0.5
    path = PathArrays(0.5, n, 0.0 * n, 0.0 * n, 0.0 * n)
    target = target or Target(95.0, 101.0, -0.8, 0.8, 5.5, 6.0, NAN, NAN, NAN, NAN, NAN)
    x = np.array([[item[0]] * STEPS for item in others]).reshape(-1, STEPS)
    y = np.array([[item[1]] * STEPS for item in others]).reshape(-1, STEPS)
    cars = Others(x, y, 0.0 * x, np.full(len(x), 4.5), np.full(len(x), 1.8), np.full(STEPS, 0.15))
    ground = ground_beside(path.x, path.y, 12.0, lambda points: width / 2.0 - np.abs(points[:, 1]))
    state = PathState(50.0, 8.0, 0.0, 0.0, 0.0, 0.0)
    return propose(path, state, target, LIMITS, cars, ground, STEP, HORIZON)


def test_reaches_its_goal_in_time() -> None:
    motion = plan([], 7.0)
    assert motion.free_for >= HORIZON
    assert 95.0 <= motion.s[-1] <= 101.0 and abs(motion.d[-1]) < 0.8
    assert motion.checked < 5 < motion.proposals


def test_goes_round_where_there_is_room_and_stops_where_there_is_none() -> None:
    wide = plan([(75.0, 0.0)], 9.0)
    assert wide.free_for >= HORIZON and np.abs(wide.d).max() > 1.8
    narrow = plan([(85.0, 0.0)], 3.5)
    assert narrow.free_for >= HORIZON and narrow.s[-1] < 85.0 - 4.5
    assert narrow.speed[-1] < 4.0


def test_keeps_to_what_the_car_can_do_and_repeats_itself() -> None:
    motion = plan([(75.0, 0.0)], 9.0)
    assert motion.acceleration.max() <= 4.2 and motion.acceleration.min() >= -8.2
    assert np.abs(motion.curvature).max() <= 0.2
    again = plan([(75.0, 0.0)], 9.0)
    assert motion.x.tobytes() == again.x.tobytes() and motion.speed.tobytes() == again.speed.tobytes()


@pytest.mark.parametrize("bow", [0.0, 12.0])
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_what_is_left_of_a_motion_is_the_rest_of_it(bow: float, slope: float) -> None:
    n = np.arange(600) * 0.5
    lines = (n, 0.0 * n, 0.0 * n, 0.0 * n, bend_speeds(0.0 * n, 0.5), 0.5)
    begin = PathState(50.0, 8.0, 0.4, 0.2, 0.01, 0.0)
    row = np.array([2.0, 20.0, 11.0, 3.5, slope, bow, 0.5])
    whole, rest = np.empty((COLUMNS, 61)), np.empty((COLUMNS, 61))
    roll(*lines, np.array(list(vars(begin).values())), row, STEP, 61, 1, whole)
    for k in (1, 20, 34, 36, 50):  # before and after its ends
        state = _at(whole, k)
        left = continued(row, state, begin.s, STEP * k)
        roll(*lines, np.array(list(vars(state).values())), left, STEP, 61 - k, 1, rest)
        assert np.abs(rest[:2, : 61 - k] - whole[:2, k:]).max() < 1e-6


def _at(motion: np.ndarray, k: int) -> PathState:
    return PathState(*(float(motion[i, k]) for i in (6, 10, 11, 7, 8, 9)))


@pytest.mark.parametrize("along", np.arange(-2.2, 2.3, 0.1).tolist())
def test_nothing_that_points_into_the_car_slips_between_what_is_looked_at(along: float) -> None:
    def inside(points: np.ndarray) -> np.ndarray:  # a spike from the left, its tip 0.1 m inside the car
        return np.minimum(np.hypot(points[:, 0] - along, np.minimum(points[:, 1] - 0.8, 0.0)), 1.5)

    ground = ground_beside(np.array([-9.0, 9.0]), np.zeros(2), 6.0, inside, 0.12)
    arrays = ground.index, ground.tiles, ground.frame
    assert _off_ground(*arrays, 0.0, 0.0, 1.0, 0.0, 2.25, 0.9, True)
    assert not _off_ground(*arrays, 0.0, -0.2, 1.0, 0.0, 2.25, 0.9, True)
