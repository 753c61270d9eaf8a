"""Curves forwards and backwards, the search for a way out, and the driving of what it finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.freespace import hybrid_astar
from robotaxi.planning.freespace.follow import legs_of, speeds, trajectory_on
from robotaxi.planning.freespace.hybrid_astar import Manoeuvre, Search
from robotaxi.planning.freespace.in_the_way import first_in_the_way
from robotaxi.planning.freespace.reeds_shepp import go, shortest
from robotaxi.planning.freespace.space import body_of, room, space_round
from robotaxi.types import OBJECT_DTYPE, Pose2, RecordArray
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
CONFIG = PlannerConfig()
NOTHING: RecordArray = np.zeros(0, OBJECT_DTYPE)
RADIUS = 4.5
PLACES = st.tuples(
    st.floats(-20.0, 20.0), st.floats(-20.0, 20.0), st.floats(-math.pi, math.pi)
)  # fmt: skip


def end_of(bends: np.ndarray, ways: np.ndarray) -> tuple[float, float, float]:
    pose = (0.0, 0.0, 0.0)
    for bend, way in zip(bends, ways, strict=True):
        pose = go(*pose, bend, way)
    return pose


@settings(max_examples=300, deadline=None)
@given(PLACES)
def test_curve_ends_in_its_goal_and_is_no_shorter_than_the_way_there(place: tuple[float, float, float]) -> None:
    bends, ways = shortest(*place, RADIUS)
    x, y, yaw = end_of(bends, ways)
    assert math.hypot(x - place[0], y - place[1]) < 1e-6 and abs(wrap_angle(yaw - place[2])) < 1e-6
    assert np.abs(ways).sum() >= math.hypot(place[0], place[1]) - 1e-9
    assert np.abs(bends).max(initial=0.0) <= 1.0 / RADIUS + 1e-12


@settings(max_examples=200, deadline=None)
@given(PLACES)
def test_curve_is_as_long_the_other_way_and_in_a_mirror(place: tuple[float, float, float]) -> None:
    x, y, yaw = place
    length = np.abs(shortest(x, y, yaw, RADIUS)[1]).sum()
    c, s = math.cos(yaw), math.sin(yaw)
    home = np.abs(shortest(-c * x - s * y, s * x - c * y, -yaw, RADIUS)[1]).sum()
    mirrored = np.abs(shortest(x, -y, -yaw, RADIUS)[1]).sum()
    backwards = np.abs(shortest(-x, y, -yaw, RADIUS)[1]).sum()
    assert home == pytest.approx(length, abs=1e-6)
    assert mirrored == pytest.approx(length, abs=1e-6) and backwards == pytest.approx(length, abs=1e-6)


def test_straight_back_is_one_straight() -> None:
    bends, ways = shortest(-7.0, 0.0, 0.0, RADIUS)
    moved = np.abs(ways) > 1e-9
    assert ways[moved].tolist() == pytest.approx([-7.0]) and (bends[moved] == 0.0).all()


class Ground(LaneMap):
    """A map of nothing but drivable ground."""

    def __init__(self, inside) -> None:  # type: ignore[no-untyped-def]
        object.__setattr__(self, "inside", inside)

    def drivable(self, points, margin=0.0):  # type: ignore[no-untyped-def]
        return self.inside(points[:, 0], points[:, 1])  # type: ignore[attr-defined]


def street(width: float, end: float = 20.0) -> Ground:
    return Ground(lambda x, y: (np.abs(y) < 0.5 * width) & (x < end))


def solved(ground: Ground, start: Pose2, goals: list[tuple[float, float, float, float]], things=NOTHING):  # type: ignore[no-untyped-def]
    space = space_round(ground, start.x, start.y, 30.0, things, CONFIG.manoeuvre_clearance)
    search = Search(space, CAR, start, np.array(goals))
    found = None
    while not search.done:
        found = search.go_on(500)
    assert search.expanded <= hybrid_astar.MAX_EXPANDED
    return found, search, space


def test_backs_out_of_a_lane_too_narrow_to_turn_in() -> None:
    found, search, _ = solved(street(3.0), Pose2(10.0, 0.0, 0.0), [(-5.0, 0.0, 0.0, 0.0)])
    assert found is not None and search.expanded < 10
    assert found.back.all() and np.abs(found.y).max() < 1e-6
    assert (found.x[-1], found.yaw[-1]) == pytest.approx((-5.0, 0.0), abs=1e-6)


def test_turns_round_in_a_street_of_seven_metres() -> None:
    found, _, space = solved(street(7.0), Pose2(10.0, -1.75, 0.0), [(x, 1.75, math.pi, 0.0) for x in (-10.0, -4.0)])
    assert found is not None
    assert found.y[-1] == pytest.approx(1.75, abs=1e-6) and abs(wrap_angle(found.yaw[-1] - math.pi)) < 1e-6
    least = min(
        room(space.clearance, space.frame, body_of(CAR), *pose)
        for pose in zip(found.x, found.y, found.yaw, strict=True)
    )
    assert least > -0.05  # checked every `CHECK` metres
    assert np.hypot(np.diff(found.x), np.diff(found.y)).max() <= hybrid_astar.OUT_STEP + 1e-6


def test_leaves_a_garage_round_what_stands_before_it() -> None:
    garage = Ground(lambda x, y: ((np.abs(y) < 1.5) & (x > -2.0) & (x < 6.0)) | ((x >= 6.0) & (x < 14.0)))
    goals = [(12.0, 12.0, 0.5 * math.pi, 0.0), (8.0, -12.0, -0.5 * math.pi, 0.0)]
    found, _, _ = solved(garage, Pose2(0.0, 0.0, 0.0), goals)
    assert found is not None and found.goal == 1
    car = np.zeros(1, OBJECT_DTYPE)
    car["x"], car["y"], car["length"], car["width"], car["yaw"] = 8.0, -9.0, 4.5, 1.8, 0.5 * math.pi
    found, _, _ = solved(garage, Pose2(0.0, 0.0, 0.0), goals, car)
    assert found is not None and found.goal == 0


@pytest.mark.parametrize("goals", [[(12.0, 12.0, 0.0, 0.0)], []])
def test_says_no_where_it_is_walled_in(goals: list[tuple[float, float, float, float]]) -> None:
    walls = Ground(lambda x, y: (np.abs(y) < 1.5) & (x > -2.0) & (x < 6.0))
    space = space_round(walls, 0.0, 0.0, 30.0, NOTHING, 0.3)
    search = Search(space, CAR, Pose2(0.0, 0.0, 0.0), np.array(goals).reshape(-1, 4))
    assert search.go_on(10_000) is None and search.done
    assert not space.joined(1.4, 0.0, 0.95)[space.cell(12.0, 12.0)]


def backing(length: float = 8.0) -> Manoeuvre:
    n = round(length / 0.1) + 1
    x = -0.1 * np.arange(n)
    return Manoeuvre(x, np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool), length, 0)


def test_a_leg_backwards_is_driven_at_walking_pace_to_rest_at_its_end() -> None:
    (leg,) = legs_of(backing(), CONFIG, CAR)
    profile = speeds(leg, 0.0, 0.0, 0.0, leg.length, 1.0, 20.0)
    trajectory = trajectory_on(leg, 0, 0.0, profile)
    points = trajectory.points
    assert trajectory.backwards and (points["speed"] <= 0.0).all()
    assert -points["speed"].min() == pytest.approx(CONFIG.reverse_speed, abs=0.1)
    assert (points["speed"][:10] == 0.0).all() and points["speed"][-1] == 0.0
    assert points["x"][-1] == pytest.approx(-8.0, abs=0.1) and (np.diff(points["s"]) >= 0.0).all()
    assert np.abs(points["acceleration"]).max() <= 0.7


def test_a_leg_stops_before_somebody_who_stands_behind_and_for_one_who_walks_there() -> None:
    (leg,) = legs_of(backing(20.0), CONFIG, CAR)
    somebody = np.zeros(1, OBJECT_DTYPE)
    somebody["x"], somebody["length"], somebody["width"], somebody["label"] = -8.0, 0.6, 0.6, 4
    met = first_in_the_way(leg, 0.0, somebody, CAR, 2.0)
    assert met is not None
    assert met.s == pytest.approx(8.0 - 0.3 - 0.5 - CAR.rear_overhang, abs=0.3)
    somebody["y"] = 6.0
    assert first_in_the_way(leg, 0.0, somebody, CAR, 2.0) is None
    somebody["vy"] = -1.2  # on the way there
    assert first_in_the_way(leg, 0.0, somebody, CAR, 2.0) is not None
