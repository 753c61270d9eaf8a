"""The figures of a ride whose answers are known beforehand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from robotaxi.evaluation import metrics
from robotaxi.evaluation.ride_log import (
    EgoSeries,
    ExplanationEntry,
    InfractionEntry,
    RideLog,
    RideLogError,
    TripEntry,
)
from robotaxi.types import TRAJECTORY_DTYPE, Trajectory

NS = 1_000_000_000
START = 7 * NS
TRIP = ("OFFERED", "ACCEPTED", "EN_ROUTE_TO_PICKUP", "BOARDING", "EN_ROUTE", "ARRIVED", "COMPLETED")


def straight_ride(**changes) -> RideLog:
    """10 m/s east; brakes from t = 20 s, stands 24..32 s, drives on; the truth is 0.2 m left of the plan."""
    t = np.arange(0.0, 60.0, 0.02)
    knots = [0.0, 20.0, 24.0, 32.0, 36.0, 60.0]
    speed = np.interp(t, knots, [10.0, 10.0, 0.0, 0.0, 10.0, 10.0])
    x = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * 0.02)])
    y = np.full(t.size, 0.2)
    truth = EgoSeries.make(t, x, y, np.zeros(t.size), speed)
    estimate = EgoSeries.make(t, x + 0.03, y + 0.04, np.zeros(t.size), speed)
    points = np.zeros(81, TRAJECTORY_DTYPE)
    said = [ExplanationEntry(0.1 * i, "CRUISE", "Driving at the limit of 36 km/h.", False) for i in range(190)]
    said += [
        ExplanationEntry(19.0 + 0.1 * i, "RED_LIGHT", f"Stopping: red light 7, {50 - i} m ahead.", True, 7)
        for i in range(130)
    ]
    trajectories = []
    for k in range(60):
        points = points.copy()
        points["x"] = np.interp(k, t, x) - 2.0 + np.arange(81)
        trajectories.append(Trajectory(START + k * NS, points))
    log = RideLog(
        start_ns=START,
        truth=truth,
        estimate=estimate,
        trajectories=tuple(trajectories),
        explanations=tuple(said),
        trip=tuple(TripEntry(float(i), state) for i, state in enumerate(TRIP)),
        latency_ms={"planner": np.arange(101.0)},
        sensor_to_command_ms=np.arange(101.0),
        route=np.array([[0.0, 0.0], [x[-1], 0.0]]),
        wall_duration=30.0,
    )
    return dataclasses.replace(log, **changes)


def collision(kind: str = "collision_vehicle", at_fault: bool = True) -> InfractionEntry:
    return InfractionEntry(START, kind, at_fault)


def test_a_clean_ride():
    summary = metrics.summarise(straight_ride())
    length = 10.0 * (60.0 - 8.0 - 4.0)
    assert summary["completed"] and summary["route_completion"] == 100.0 and summary["driving_score"] == 100.0
    assert summary["distance_m"] == pytest.approx(length, abs=0.5)
    assert summary["duration_s"] == pytest.approx(59.98) and summary["real_time_factor"] == pytest.approx(2.0, abs=0.01)
    assert summary["tracking"]["lateral_rms_m"] == pytest.approx(0.2, abs=1e-3)
    assert summary["localization"] == {"lateral_rms_m": pytest.approx(0.04), "max_m": pytest.approx(0.05)}
    assert summary["latency_ms"]["sensor_to_command_p50"] == 50.0
    assert summary["latency_ms"]["by_node"]["planner"]["p99"] == 99.0
    assert summary["trip_states"] == list(TRIP)
    assert metrics.verdict(summary) == (True, [])


def test_keys_are_those_of_the_contract_and_json_holds_them():
    summary = json.loads(json.dumps(metrics.summarise(straight_ride()), allow_nan=False))
    # fmt: off
    assert set(summary) == {
        "completed", "distance_m", "duration_s", "real_time_factor", "collisions", "at_fault_collisions",
        "red_lights_run", "stop_lines_run", "off_road_m", "route_completion", "driving_score", "comfort",
        "tracking", "localization", "latency_ms", "stops", "trip_states",
    }
    # fmt: on
    assert set(summary["comfort"]) == {
        "max_lon_accel",
        "max_lat_accel",
        "max_jerk",
        "iso2631_rms",
        "within_nuplan_limits",
    }


def test_a_stop_is_told_in_the_words_of_when_the_car_began_to_slow():
    (stop,) = metrics.summarise(straight_ride())["stops"]
    assert stop["t"] == pytest.approx(24.0, abs=0.1)
    assert stop["s"] == pytest.approx(220.0, abs=0.5)
    assert stop["reason"].startswith("Stopping: red light 7, ") and 30 < int(stop["reason"].split()[4]) <= 50


def test_a_stop_without_a_word_says_so():
    (stop,) = metrics.stops(straight_ride(explanations=()))
    assert stop["cause"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("kinds", "score"),
    [
        (("collision_pedestrian",), 50.0),
        (("collision_vehicle",), 60.0),
        (("collision_static",), 65.0),
        (("red_light",), 70.0),
        (("stop_line",), 80.0),
        (("red_light", "red_light"), 49.0),
        (("collision_vehicle", "stop_line"), 48.0),
        (("door_open",), 100.0),
    ],
)
def test_penalties_multiply_as_on_the_carla_leaderboard(kinds, score):
    log = straight_ride(infractions=tuple(collision(kind) for kind in kinds))
    assert metrics.summarise(log)["driving_score"] == pytest.approx(score)


def test_off_road_shortens_completion():
    log = straight_ride(infractions=(InfractionEntry(START, "off_road", True, "", 48.0),))
    summary = metrics.summarise(log)
    assert summary["off_road_m"] == 48.0 and summary["route_completion"] == pytest.approx(90.0, abs=0.1)
    assert metrics.verdict(summary) == (False, ["48.0 m off the road"])


def test_collisions_and_fault_are_told_apart():
    summary = metrics.summarise(straight_ride(infractions=(collision(), collision(at_fault=False))))
    assert (summary["collisions"], summary["at_fault_collisions"]) == (2, 1)
    assert metrics.verdict(summary)[1] == ["2 collisions"]


def test_an_unfinished_ride_counts_as_far_as_it_came():
    log = straight_ride(trip=(TripEntry(0.0, "EN_ROUTE"),), route=np.array([[0.0, 0.0], [960.0, 0.0]]))
    summary = metrics.summarise(log)
    assert not summary["completed"] and summary["route_completion"] == pytest.approx(50.0, abs=0.2)


def test_progress_on_a_route_that_returns_past_its_start():
    out_and_back = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 3.0], [0.0, 3.0]])
    t = np.arange(0.0, 20.3, 0.1)
    s = 10.0 * t
    x = np.where(s < 100, s, np.where(s < 103, 100.0, 203.0 - s))
    y = np.clip(s - 100.0, 0.0, 3.0)
    truth = EgoSeries.make(t, x, y, np.zeros(t.size), np.full(t.size, 10.0))
    progress = metrics.route_progress(RideLog(START, truth, route=out_and_back))
    assert np.abs(progress - s).max() < 4.0 and np.all(np.diff(progress) >= 0.0)


def test_progress_ends_where_the_car_leaves_the_route():
    log = straight_ride(route=np.array([[0.0, 0.0], [150.0, 0.0], [150.0, 400.0]]))
    assert metrics.route_progress(log)[-1] == pytest.approx(158.0, abs=10.0)


def test_a_log_with_nothing_in_it_has_figures_too():
    empty = np.zeros(0)
    summary = metrics.summarise(RideLog(START, EgoSeries.make(empty, empty, empty, empty, empty)))
    assert summary["completed"] is False and summary["driving_score"] == 0.0 and summary["stops"] == []
    assert summary["real_time_factor"] is None and summary["tracking"]["lateral_rms_m"] is None


def test_broken_series_are_refused_by_name():
    with pytest.raises(RideLogError, match="'speed' has 2 values"):
        EgoSeries.make([0, 1, 2], [0, 1, 2], [0, 0, 0], [0, 0, 0], [1, 1])
    with pytest.raises(RideLogError, match="time does not increase"):
        EgoSeries.make([0, 0], [0, 1], [0, 0], [0, 0], [1, 1])
    with pytest.raises(RideLogError, match="'x'"):
        EgoSeries.make([0, 1], [0, np.nan], [0, 0], [0, 0], [1, 1])
    with pytest.raises(RideLogError, match="route"):
        straight_ride(route=np.zeros(4))
