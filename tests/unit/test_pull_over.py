"""Pulling over: to the next free place beside the road, and back on the way when all is well again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_planning import Drive, start, straight, thing

from robotaxi.hdmap.lane_map import LaneMap, StoppingPlace
from robotaxi.types import Cause, MissionState, SystemMode


def bay(number: int, x: float) -> StoppingPlace:
    corners = [[x - 24.0, -1.75, 0.0], [x - 6.0, -4.75, 0.0], [x + 10.0, -4.75, 0.0], [x + 28.0, -1.75, 0.0]]
    return StoppingPlace(number, f"bay {x:.0f}", (x, -3.0, 0.0), 1, x, -3.0, np.array(corners))


def street(*bays: float) -> LaneMap:
    return replace(straight(), stopping_places={i: bay(i, x) for i, x in enumerate(bays, 1)})


def asked_at(road: LaneMap, **more: object) -> Drive:
    """A car at 5 m/s at x = 60 m that is asked to pull over, on its way to x = 350 m."""
    drive = start(road, x=60.0, speed=5.0)
    drive.run(0.5, **more)
    drive.mode = SystemMode.PULL_OVER
    return drive


def test_it_stands_in_the_next_bay_and_says_where_it_goes() -> None:
    drive = asked_at(street(70.0, 110.0, 130.0))  # the first is too near to be driven into
    drive.run(40.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert (drive.state.x, drive.state.y) == pytest.approx((110.0, -3.0), abs=0.3)
    assert any(out.explanation.sentence.startswith("Pulling over to 'bay 110', ") for _, out in drive.log)
    output = drive.run(1.0)
    assert output.mission.goal_id == "g/pull_over"
    assert output.explanation.sentence == "Standing beside the road: pulled over."
    drive.mode, drive.mode_reason = SystemMode.STOP, "The car has left the area."
    output = drive.run(1.0)
    assert output.mission.goal_id == "g/pull_over" and output.explanation.cause == Cause.SAFETY
    assert output.explanation.sentence == "The car has left the area."
    drive.mode = SystemMode.AUTONOMOUS
    assert drive.run(1.0).mission.goal_id == "g"


def test_when_all_is_well_again_it_goes_on_to_the_goal() -> None:
    drive = asked_at(street(110.0))
    drive.run(4.0)
    drive.mode = SystemMode.AUTONOMOUS
    output = drive.run(60.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.goal_id == "g" and drive.state.x == pytest.approx(350.0, abs=0.3)


@pytest.mark.parametrize("bays", [(), (70.0,), (190.0,)], ids=["none", "too near", "too far"])
def test_without_a_place_in_reach_it_keeps_its_way(bays: tuple[float, ...]) -> None:
    output = asked_at(street(*bays)).run(1.0)
    assert output.mission.goal_id == "g"


def test_a_place_that_is_taken_is_passed_by() -> None:
    parked = thing(110.0, -3.2)
    drive = asked_at(street(110.0, 135.0), objects=lambda t: parked)
    drive.run(40.0, objects=lambda t: parked, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert (drive.state.x, drive.state.y) == pytest.approx((135.0, -3.0), abs=0.3)


def test_the_trips_own_goal_is_where_it_was_going_anyway() -> None:
    drive = asked_at(street(110.0))
    assert drive.goal is not None
    drive.goal = replace(drive.goal, x=110.0, y=-3.0)
    assert drive.run(1.0).mission.goal_id == "g"
