"""From standing where no lane leads on, over the manoeuvre, back to a lane; and what may interrupt it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from robotaxi.evaluation.scenarios.checks import judge
from robotaxi.evaluation.scenarios.model import load_suite
from robotaxi.evaluation.scenarios.run import drive
from robotaxi.hdmap import LaneMap, load_map
from robotaxi.planning import Planner, PlannerConfig, PlanningInput, PlanningOutput
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, Cause, EgoState, Goal, MissionState, RecordArray
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
GOAL = Goal("goal", 60.0, -1.75, 0.0)
NOBODY: RecordArray = np.zeros(0, OBJECT_DTYPE)
NO_LIGHTS: RecordArray = np.zeros(0, LIGHT_DTYPE)
PERIOD_NS = 100_000_000


@pytest.fixture(scope="module")
def dead_end() -> LaneMap:
    return load_map("dead_end")


def test_backs_out_of_a_dead_end_and_reaches_its_goal(dead_end: LaneMap) -> None:
    scenario = next(item for item in load_suite("basics") if item.name == "dead_end_with_somebody_behind")
    loop = drive(scenario, 0, dead_end, CAR)
    assert judge(scenario, 0, dead_end, CAR, loop).failed == {}
    waited = [sentence for _, cause, sentence in loop.said if cause == "OBSTACLE"]
    assert waited[0].startswith("Waiting: pedestrian 100 is in the way behind the car, ")


class Driver:
    """The planner alone: the car is wherever its trajectory says."""

    def __init__(self, lane_map: LaneMap, config: PlannerConfig | None = None) -> None:
        self.planner = Planner(config or PlannerConfig(), lane_map, CAR)
        self.state = EgoState(0, -1.75, -40.0, -0.5 * np.pi, 0.0)
        self.objects = NOBODY
        self.change: Callable[[PlanningInput], PlanningInput] = lambda inputs: inputs
        self.planned: list[PlanningOutput] = []

    def run(self, seconds: float) -> PlanningOutput:
        for _ in range(round(seconds * 10.0)):
            now = self.state.stamp_ns
            inputs = PlanningInput(now, self.state, self.objects, now, NO_LIGHTS, now, GOAL)
            output = self.planner.step(self.change(inputs))
            assert output.trajectory is not None
            point = output.trajectory.points[1]
            x, y, yaw, speed = (float(point[name]) for name in ("x", "y", "yaw", "speed"))
            self.state = replace(self.state, stamp_ns=now + PERIOD_NS, x=x, y=y, yaw=yaw, speed=speed)
            self.planned.append(output)
        return self.planned[-1]


def test_says_what_it_does_stands_first_and_keeps_the_mission(dead_end: LaneMap) -> None:
    driver = Driver(dead_end)
    first = driver.run(2.5)
    assert first.explanation.cause is Cause.MANOEUVRE and driver.state.speed == 0.0
    assert first.mission.state is MissionState.DRIVING
    output = driver.run(10.0)
    assert output.trajectory is not None and output.trajectory.backwards
    assert output.explanation.sentence.startswith("Reversing, ")
    assert output.explanation.sentence.endswith("no lane leads on from here.")
    speeds = [float(item.trajectory.points["speed"].min()) for item in driver.planned if item.trajectory is not None]
    assert min(speeds) >= -PlannerConfig().reverse_speed - 0.1


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: replace(inputs, goal=Goal("", 0.0, 0.0, hold=True)),
        lambda inputs: replace(inputs, door_open=True),
        lambda inputs: replace(inputs, objects=None),
        lambda inputs: replace(inputs, goal=replace(GOAL, x=70.0)),
    ],
)
def test_stops_when_told_to_or_when_it_sees_nothing(
    dead_end: LaneMap, change: Callable[[PlanningInput], PlanningInput]
) -> None:
    driver = Driver(dead_end)
    driver.run(9.0)
    assert driver.state.speed < -0.5
    driver.change = change
    output = driver.run(4.0)
    assert driver.state.speed == pytest.approx(0.0, abs=0.02) or output.explanation.cause is Cause.MANOEUVRE
    driver.change = lambda inputs: inputs
    driver.run(12.0)
    assert driver.state.speed < -0.5  # and goes on


def test_stops_for_somebody_who_steps_behind_it(dead_end: LaneMap) -> None:
    driver = Driver(dead_end)
    driver.run(9.0)
    walker = np.zeros(1, OBJECT_DTYPE)
    walker["x"], walker["y"], walker["id"], walker["label"] = -1.75, driver.state.y + CAR.rear_overhang + 4.0, 7, 4
    walker["length"] = walker["width"] = 0.6
    walker["existence"] = 1.0
    driver.objects = walker
    output = driver.run(5.0)
    assert driver.state.speed == 0.0 and output.explanation.subject_id == 7
    assert output.explanation.cause is Cause.OBSTACLE
    assert float(walker["y"][0]) - 0.3 - (driver.state.y + CAR.rear_overhang) > 0.8


def test_stays_where_it_is_not_allowed_or_has_no_room(dead_end: LaneMap) -> None:
    driver = Driver(dead_end, replace(PlannerConfig(), manoeuvre_limit=0.0))
    assert driver.run(5.0).mission.state is MissionState.UNREACHABLE
    driver = Driver(dead_end)
    truck = np.zeros(1, OBJECT_DTYPE)
    truck["x"], truck["y"], truck["yaw"], truck["length"], truck["width"] = -1.75, -28.0, 1.57, 8.0, 2.5
    truck["existence"], truck["label"], truck["static"] = 1.0, 2, 1
    driver.objects = truck
    output = driver.run(5.0)
    assert output.mission.state is MissionState.UNREACHABLE and driver.state.speed == 0.0
