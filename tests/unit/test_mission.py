"""The mission keeps out of closed areas, and says so where there is no other way."""

from __future__ import annotations

import numpy as np

from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.mission import Mission
from robotaxi.types import EgoState, Goal, MissionState


def lane(key: int, points: list[tuple[float, float]], after: tuple[int, ...], before: tuple[int, ...]) -> Lane:
    given = np.array(points)
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(given, axis=0).T))])
    s = np.linspace(0.0, arc[-1], int(arc[-1]) + 2)
    x, y = np.interp(s, arc, given[:, 0]), np.interp(s, arc, given[:, 1])
    line = np.column_stack([x, y, 0.0 * s])
    yaw = np.arctan2(np.gradient(y), np.gradient(x))
    aside = 1.75 * np.column_stack([-np.sin(yaw), np.cos(yaw), 0.0 * s])
    return Lane(key, line, line + aside, line - aside, s, 10.0, successors=after, predecessors=before)


def two_ways() -> LaneMap:
    """1 leads to 4 straight over 2, or round over 3."""
    lanes = [
        lane(1, [(0.0, 0.0), (100.0, 0.0)], (2, 3), ()),
        lane(2, [(100.0, 0.0), (200.0, 0.0)], (4,), (1,)),
        lane(3, [(100.0, 0.0), (120.0, 40.0), (180.0, 40.0), (200.0, 0.0)], (4,), (1,)),
        lane(4, [(200.0, 0.0), (300.0, 0.0)], (), (2, 3)),
    ]
    return LaneMap("two_ways", (0.0, 0.0, 0.0), {item.id: item for item in lanes})


def test_the_route_leads_round_a_closed_area_and_back_when_it_is_open_again() -> None:
    mission = Mission(two_ways(), PlannerConfig())
    state = EgoState(0, 10.0, 0.0, 0.0, 0.0)
    assert mission.update(Goal("a", 250.0, 0.0), state) and mission.route is not None
    assert mission.route.lane_ids == (1, 2, 4)
    assert mission.update(Goal("a", 250.0, 0.0, avoid=((150.0, 0.0, 20.0),)), state)
    assert mission.route.lane_ids == (1, 3, 4)
    assert mission.update(Goal("a", 250.0, 0.0), state)
    assert mission.route.lane_ids == (1, 2, 4)


def test_no_way_but_through_a_closed_area_is_unreachable() -> None:
    mission = Mission(two_ways(), PlannerConfig())
    goal = Goal("a", 250.0, 0.0, avoid=((150.0, 20.0, 30.0),))
    assert not mission.update(goal, EgoState(0, 10.0, 0.0, 0.0, 0.0))
    assert mission.status.state is MissionState.UNREACHABLE and "cannot be reached" in mission.status.reason


def test_a_car_inside_a_closed_area_may_leave_it() -> None:
    mission = Mission(two_ways(), PlannerConfig())
    goal = Goal("a", 250.0, 0.0, avoid=((10.0, 0.0, 20.0),))
    assert mission.update(goal, EgoState(0, 10.0, 0.0, 0.0, 0.0)) and mission.route is not None
    assert mission.route.lane_ids[0] == 1
