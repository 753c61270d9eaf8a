"""CommonRoad cases in our nouns, with stand-ins for its objects: obstacles of every role, uncertain ones, figures."""

from __future__ import annotations

from types import SimpleNamespace as Thing

import numpy as np
import pytest

pytest.importorskip("shapely", reason="shapely comes with the maps extra")

from robotaxi.evaluation.commonroad.environment import summarise
from robotaxi.evaluation.commonroad.goals import interval, middle
from robotaxi.evaluation.commonroad.others import Crowd, Track
from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.prediction import LaneGraph

BOX = Thing(length=4.0, width=2.0, center=(0.0, 0.0), orientation=0.0)


def state(step: int, x: float, speed: float = 10.0) -> Thing:
    return Thing(time_step=step, position=np.array([x, 0.0]), orientation=0.0, velocity=speed)


def moving(first: int, xs: list[float], speed: float = 10.0) -> Thing:
    states = [state(first + k, x, speed) for k, x in enumerate(xs)]
    return Thing(
        obstacle_type="car", obstacle_shape=BOX, initial_state=states[0],
        prediction=Thing(trajectory=Thing(state_list=states[1:])),
    )  # fmt: skip


def road() -> LaneGraph:
    s = np.arange(0.0, 301.0)
    line = np.column_stack([s, 0.0 * s, 0.0 * s])
    aside = np.array([0.0, 1.75, 0.0])
    return LaneGraph(LaneMap("", (0.0, 0.0, 0.0), {1: Lane(1, line, line + aside, line - aside, s, 10.0)}))


def test_somebody_is_there_only_while_it_was_recorded() -> None:
    track = Track(moving(3, [0.0, 1.0, 2.0]), 10)
    assert np.isfinite(track.rows[3:6]).all() and np.isnan(track.rows[[0, 2, 6, 10], 0]).all()
    standing = Track(Thing(obstacle_type="parkedVehicle", obstacle_shape=BOX, initial_state=state(0, 5.0, 0.0)), 10)
    assert (standing.rows[:, 0] == 5.0).all()


def test_areas_instead_of_states_are_boxes() -> None:
    area = Thing(length=6.0, width=3.0, center=(9.0, 1.0), orientation=0.3)
    item = Thing(
        obstacle_type="car", obstacle_shape=BOX, initial_state=state(0, 0.0),
        prediction=Thing(occupancy_set=[Thing(time_step=1, shape=area)]),
    )  # fmt: skip
    track = Track(item, 3)
    assert track.rows[1].tolist() == [9.0, 1.0, 0.3, 0.0] and (track.length, track.width) == (6.0, 3.0)


def test_roles_without_shape_or_state_are_left_out() -> None:
    wall, phantom = Thing(obstacle_shape=BOX), Thing(prediction=None)
    crowd = Crowd([wall, phantom], 20, 0.1, road(), "ground_truth")
    assert crowd.ahead(0, 5, 1, (0.0, 0.0, 5.0)).x.shape == (0, 5)


@pytest.mark.parametrize("prediction", ["lane_following", "constant_velocity"])
def test_who_brakes_is_predicted_to_fall_behind_constant_speed(prediction: str) -> None:
    steady, braking = moving(0, [50.0, 51.0]), moving(0, [50.0, 51.0])
    braking.prediction.trajectory.state_list[0].velocity = 9.8
    ends = []
    for item in (steady, braking):
        others = Crowd([item], 100, 0.1, road(), prediction).ahead(1, 31, 1, (0.0, 0.0, 5.0))
        assert others.x.shape == (1, 31) and np.isfinite(others.x[:, :30]).all()
        ends.append(float(others.x[0, 29]))
    assert ends[0] == pytest.approx(80.0, abs=0.5)
    assert ends[1] < ends[0] - 2.0


def test_values_and_intervals() -> None:
    assert middle(None) == 0.0 and middle(3) == 3.0 and middle(Thing(start=1.0, end=2.0)) == 1.5
    goal = Thing(has_value=lambda name: name == "velocity", velocity=Thing(start=1.0, end=4.0))
    assert interval(goal, "velocity", 0.0, 9.0) == (1.0, 4.0) and interval(goal, "orientation", -1.0, 1.0) == (
        -1.0,
        1.0,
    )


def test_our_errors_count_as_failures_and_skipped_ones_for_nobody() -> None:
    good = {"status": "success", "plan_ms_mean": 2.0, "plan_ms_p95": 3.0, "cycle_ms_mean": 2.0, "plan_ms": [1.0, 5.0]}
    rows = [
        {"scenario": "a", "planner": "robotaxi", **good},
        {"scenario": "b", "planner": "robotaxi", "status": "error", "error": "x"},
        {"scenario": "c", "planner": "robotaxi", "status": "skipped", "error": "y"},
        {"scenario": "a", "planner": "fop", **good},
        {"scenario": "b", "planner": "fop", "status": "error", "error": "x"},
    ]
    figures = summarise(rows)
    assert figures["robotaxi"]["success_percent"] == 50.0 and figures["robotaxi"]["scenarios"] == 2
    assert figures["robotaxi"]["plan_ms_p99"] == 5.0
    assert figures["fop"]["success_percent"] == 100.0
