"""Blocked ways, hidden people and late sightings, on small maps made by hand: one behaviour a test."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_planning import CAR, Drive, clear_of, crossing, front, lane, lane_map, person, start, straight, thing, two_way

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning import Planner, PlannerConfig, PlanningOutput
from robotaxi.planning.motion.rollout import REACTION, braking_for
from robotaxi.types import Cause, EgoState, Goal, MissionState, ObjectClass


def fork() -> LaneMap:
    """A road east that parts at x = 150 into a straight way and one over y = -40, which meet at x = 350."""
    half: list[tuple[float, float]] = [(150, 0), (154, -1), (158, -4), (164, -10), (175, -25), (200, -38), (250, -40)]
    round_about = half + [(500 - x, y) for x, y in reversed(half[:-1])]
    return lane_map(
        [
            lane(1, [(0, 0), (150, 0)], successors=(2, 3)),
            lane(2, [(150, 0), (350, 0)], predecessors=(1,), successors=(5,)),
            lane(3, round_about, predecessors=(1,), successors=(5,)),
            lane(5, [(350, 0), (600, 0)], predecessors=(2, 3)),
        ]
    )


def arrived(_: EgoState, output: PlanningOutput) -> bool:
    return output.mission.state is MissionState.ARRIVED


def blocked(patience: float) -> Drive:
    """Behind the fork a car stands that cannot be gone round."""
    config = replace(PlannerConfig(), reroute_patience=patience)
    return Drive(Planner(config, fork(), CAR), Goal("g", 450.0, 0.0), EgoState(0, 80.0, 0.0, 0.0, 5.0))


def test_a_blocked_way_is_left_for_another_one_and_the_car_says_why() -> None:
    drive = blocked(5.0)
    output = drive.run(120.0, lambda _: thing(162.0, 0.0), until=arrived)
    assert output.mission.state is MissionState.ARRIVED
    assert min(state.y for state, _ in drive.log) < -35.0
    told = {out.explanation.sentence for _, out in drive.log if out.explanation.sentence.startswith("Taking another")}
    assert told == {"Taking another way: car 17 has blocked this one for 5 s."}


def test_where_there_is_no_other_way_the_car_waits_and_the_mission_says_so() -> None:
    config = replace(PlannerConfig(), reroute_patience=3.0)
    drive = Drive(Planner(config, straight(), CAR), Goal("g", 350.0, 0.0), EgoState(0, 60.0, 0.0, 0.0, 5.0))
    output = drive.run(40.0, lambda _: thing(150.0, 0.0))
    assert drive.state.speed == 0.0 and output.mission.state is MissionState.DRIVING
    assert output.mission.blocked_by == "Waiting: car 17 stands on the path." and output.mission.reason


def test_a_junction_whose_way_out_is_shut_is_not_driven_into() -> None:
    drive = start(crossing(), x=120.0, speed=8.0)
    output = drive.run(20.0, lambda _: thing(232.0, 0.0, width=3.0, label=int(ObjectClass.UNKNOWN)))
    assert front(drive.state) <= 198.0 and drive.state.speed == 0.0
    assert output.explanation.cause is Cause.OBSTACLE and "no way past" in output.explanation.sentence


def van(x: float, y: float) -> np.ndarray:
    return thing(x, y, length=6.0, width=2.2, height=2.6, label=int(ObjectClass.TRUCK))


def fastest_between(drive: Drive, a: float, b: float) -> float:
    return max(state.speed for state, _ in drive.log if a < front(state) < b)


def test_a_parked_van_that_may_hide_somebody_is_passed_slowly_and_a_low_or_far_one_is_not() -> None:
    limit = PlannerConfig().hidden_speed
    near, low, far = (start(straight(), x=60.0, speed=12.0) for _ in range(3))
    near.run(20.0, lambda _: van(150.0, -3.3))
    assert fastest_between(near, 143.0, 153.0) < limit + 0.5
    assert any("somebody may step out" in out.explanation.sentence for _, out in near.log)
    near.comfortable()
    car = van(150.0, -3.3)
    car["height"], car["label"] = 1.5, int(ObjectClass.CAR)
    low.run(20.0, lambda _: car)
    far.run(20.0, lambda _: van(150.0, -6.0))
    assert min(fastest_between(drive, 143.0, 153.0) for drive in (low, far)) > 12.0


def test_an_emergency_is_braked_for_to_the_end_though_the_wanted_gap_is_lost() -> None:
    drive = start(straight(), x=60.0, speed=12.0)
    at = 60.0 + CAR.front + 14.0
    drive.run(2.5, lambda _: thing(at + 0.5, 0.0, length=1.0, width=1.0, label=0))
    speeds = np.array([state.speed for state, _ in drive.log])
    braking = np.diff(speeds) / 0.1
    hard = np.flatnonzero(braking < -6.0)
    last = int(np.flatnonzero(speeds > 1.5)[-1])
    assert hard.size and (braking[hard[0] : last] < -6.0).all()


@pytest.mark.parametrize("acceleration", [1.4, 0.0, -1.5])
def test_room_that_is_lost_until_the_brake_bites_is_counted(acceleration: float) -> None:
    speed, room = 10.0, 20.0
    braking = braking_for(room, speed, acceleration)
    lost = REACTION * (1.0 + acceleration / braking) * speed
    assert lost + speed**2 / (2.0 * braking) == pytest.approx(room)
    assert braking_for(room, speed, -2.5) == pytest.approx(2.5)  # it bites: nothing is lost any more


@given(st.floats(-5.0, 200.0), st.floats(0.05, 40.0), st.floats(-9.0, 3.0))
@example(1.0, 0.8, -1.0)  # at -speed / (2 * REACTION) the speed is gone as the brake bites
def test_braking_for_what_is_ahead_is_never_less_than_at_once(room: float, speed: float, acceleration: float) -> None:
    assert speed**2 / (2.0 * max(room, 0.05)) <= braking_for(room, speed, acceleration) < math.inf


def test_what_rides_onto_the_road_close_ahead_is_braked_for_at_once_rather_than_harder_later() -> None:
    planner = Planner(PlannerConfig(), straight(), CAR)
    late = Drive(planner, Goal("g", 350.0, 0.0), EgoState(0, 60.0, 0.0, 0.0, 10.3, 1.4))
    at = 60.0 + CAR.front + 20.0

    def cyclist(t: float) -> np.ndarray:
        return thing(at, -9.0 + 3.2 * t, 0.0, 3.2, yaw=math.pi / 2, length=1.8, width=0.6, label=3)

    late.run(2.5, cyclist)
    speeds = np.array([state.speed for state, _ in late.log])
    braking = -np.diff(speeds) / 0.1
    assert braking[:4].max() > 2.5 and braking.max() < 4.2


def test_a_standing_car_stays_while_somebody_walks_against_its_side() -> None:
    drive = start(straight(), x=100.0)
    drive.run(1.0, lambda t: person(102.0, -3.0 + 1.2 * t, 0.0, 1.2))
    assert drive.state.x == 100.0
    gone = start(straight(), x=100.0)
    gone.run(3.0, lambda t: person(102.0, -9.0, 0.0, -1.2))
    assert gone.state.x > 100.5


def test_no_detour_is_begun_into_oncoming_traffic_that_could_only_be_braked_for_hard() -> None:
    drive = start(two_way(), x=40.0, speed=8.0)

    def seen(t: float) -> np.ndarray:
        truck = thing(172.0 - 7.0 * t, 3.5, -7.0, key=40, length=8.0, width=2.5, label=int(ObjectClass.TRUCK))
        return np.concatenate([thing(110.0, -0.5, length=8.0, width=2.5, label=int(ObjectClass.TRUCK)), truck])

    output = drive.run(60.0, seen, until=arrived)
    assert output.mission.state is MissionState.ARRIVED
    speeds = np.array([state.speed for state, _ in drive.log])
    assert (np.diff(speeds) / 0.1).min() > -2.8


def test_a_parked_car_in_a_bend_is_gone_round_where_the_body_needs_more_than_its_middle() -> None:
    bend = [(180.0 * math.sin(t), 180.0 * (1.0 - math.cos(t))) for t in np.linspace(0.0, 1.4, 60)]
    other = [(176.5 * math.sin(t), 180.0 - 176.5 * math.cos(t)) for t in np.linspace(1.4, 0.0, 60)]
    road = lane_map([lane(1, bend), lane(2, other)])
    x, y = bend[30]
    yaw = 1.4 * 30 / 59
    goal = Goal("g", *bend[54])
    drive = Drive(Planner(PlannerConfig(), road, CAR), goal, EgoState(0, *bend[3], 1.4 * 3 / 59, 6.0))
    parked = thing(x, y, yaw=yaw)
    output = drive.run(60.0, lambda _: parked, until=arrived)
    assert output.mission.state is MissionState.ARRIVED


def test_a_car_from_the_side_that_is_waited_for_anyway_asks_for_no_harder_braking() -> None:
    drive = start(crossing(), x=160.0, speed=6.0)
    drive.run(12.0, lambda t: thing(210.0, -62.0 + 8.0 * t, 0.0, 8.0))
    drive.comfortable(2.6)
    assert clear_of(drive, 210.0, 30.0) > 1.0
