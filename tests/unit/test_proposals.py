"""Motion by proposals on a straight road: it reaches its goal, goes round or stops, and repeats itself."""

from __future__ import annotations

import numpy as np

from robotaxi.planning.motion.ground import ground_beside
from robotaxi.planning.motion.proposals import (
    Limits,
    Motion,
    Others,
    PathArrays,
    PathState,
    Target,
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
