"""Overtaking somebody slow over a lane of the same direction, and coming back only where he is not."""

from __future__ import annotations

import numpy as np
import pytest
from test_planning import CAR, Drive, lane, lane_map, thing

from robotaxi.geometry.boxes import distance
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning import Planner, PlannerConfig
from robotaxi.types import Cause, EgoState, Goal

LENGTH, WIDTH = 1.8, 0.6
STEP = 0.1


def avenue() -> LaneMap:
    """600 m east on two lanes."""
    return lane_map(
        [
            lane(1, [(0, 0), (600, 0)], left_neighbour=2),
            lane(2, [(0, 3.5), (600, 3.5)], right_neighbour=1),
        ]
    )


def overtakes(goal_x: float, speeds: list[tuple[float, float]]) -> tuple[Drive, float]:
    """Behind a cyclist at x = 85 whose speed is that of the last (time, speed) before; the drive and its least gap."""
    drive = Drive(Planner(PlannerConfig(), avenue(), CAR), Goal("g", goal_x, 0.0), EgoState(0, 60.0, 0.0, 0.0, 6.0))
    at, clearance = 85.0, np.inf
    for step in range(450):
        speed = [v for since, v in speeds if since <= step * STEP][-1]
        rider = thing(at, -0.2, speed, length=LENGTH, width=WIDTH, label=3, static=0)
        drive.run(STEP, lambda _, seen=rider: seen)
        at += speed * STEP
        state = drive.state
        own = np.array([state.x + CAR.center_offset, state.y, state.yaw, CAR.length, CAR.width])
        clearance = min(clearance, distance(own, np.array([at, -0.2, 0.0, LENGTH, WIDTH])))
    return drive, clearance


def test_a_slow_cyclist_is_overtaken_over_the_free_lane() -> None:
    drive, clearance = overtakes(560.0, [(0.0, 3.0)])
    assert max(state.y for state, _ in drive.log) > 1.5 and clearance > 1.4
    assert abs(drive.state.y) < 0.1 and drive.state.x > 85.0 + 45.0 * 3.0


@pytest.mark.parametrize("goal_x", [560.0, 240.0, 200.0])
def test_a_cyclist_who_becomes_faster_meanwhile_is_not_cut_off(goal_x: float) -> None:
    drive, clearance = overtakes(goal_x, [(0.0, 3.2), (7.0, 6.8)])
    assert clearance > 1.0
    if goal_x == 560.0:
        assert any(out.explanation.cause is Cause.LANE_CHANGE for _, out in drive.log)


def test_nobody_is_overtaken_shortly_before_the_goal() -> None:
    drive, clearance = overtakes(145.0, [(0.0, 4.0)])
    assert max(state.y for state, _ in drive.log) < 0.3 and clearance > 1.0
