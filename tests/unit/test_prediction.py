"""Prediction on a small map made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.prediction import LaneGraph, PredictionConfig, predict
from robotaxi.types import OBJECT_DTYPE, ObjectClass


def lane(lane_id: int, points: np.ndarray, **links: object) -> Lane:
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    centre = np.column_stack([points, np.zeros(len(points))])
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    aside = np.column_stack([-along[:, 1], along[:, 0], np.zeros(len(points))]) * 1.75
    return Lane(lane_id, centre, centre + aside, centre - aside, s, 13.9, **links)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def graph() -> LaneGraph:
    """East for 100 m, then straight on or left along a quarter circle of 15 m."""
    x = np.arange(0.0, 101.0, 2.0)
    turn = np.linspace(-np.pi / 2.0, 0.0, 15)
    lanes = [
        lane(1, np.column_stack([x, 0 * x]), successors=(2, 3)),
        lane(2, np.column_stack([100.0 + x, 0 * x]), predecessors=(1,)),
        lane(3, np.column_stack([100.0 + 15.0 * np.cos(turn), 15.0 + 15.0 * np.sin(turn)]), predecessors=(1,)),
    ]
    return LaneGraph(LaneMap("hand", (0, 0, 0), {item.id: item for item in lanes}))


def one(x: float, y: float, vx: float, vy: float, label: ObjectClass = ObjectClass.CAR) -> np.ndarray:
    out = np.zeros(1, OBJECT_DTYPE)
    out["x"], out["y"], out["vx"], out["vy"], out["label"] = x, y, vx, vy, int(label)
    out["yaw"], out["length"], out["width"], out["existence"] = math.atan2(vy, vx), 4.5, 1.8, 1.0
    return out


def test_vehicle_follows_both_branches(graph: LaneGraph) -> None:
    result = predict(one(80.0, 0.3, 8.0, 0.0), graph, PredictionConfig())
    assert sorted(result.chains) == [(0, 1), (0, 2)]
    assert result.probability.sum() == pytest.approx(1.0)
    ends = sorted(zip(result.y[:, -1], result.x[:, -1], strict=True))
    assert ends[0] == (pytest.approx(0.0, abs=0.1), pytest.approx(128.0, abs=1.0))
    assert ends[1][0] > 12.0


def test_curve_slows_the_prediction(graph: LaneGraph) -> None:
    result = predict(one(80.0, 0.0, 12.0, 0.0), graph, PredictionConfig())
    turning = result.chains.index((0, 2))
    steps = np.hypot(np.diff(result.x[turning]), np.diff(result.y[turning]))
    assert steps[0] == pytest.approx(6.0, abs=0.2) and steps[5] < 5.4


def test_pedestrians_and_strays_go_straight(graph: LaneGraph) -> None:
    for record in (one(80.0, 0.0, 0.0, 1.2, ObjectClass.PEDESTRIAN), one(50.0, 20.0, 3.0, 4.0)):
        result = predict(record, graph, PredictionConfig())
        assert result.chains == ((),)
        assert result.x[0, -1] == pytest.approx(float(record["x"][0] + 6.0 * record["vx"][0]), abs=1e-4)
        assert result.y[0, -1] == pytest.approx(float(record["y"][0] + 6.0 * record["vy"][0]), abs=1e-4)


def test_standing_things_stay(graph: LaneGraph) -> None:
    result = predict(one(50.0, 0.0, 0.2, 0.1), graph, PredictionConfig())
    assert np.ptp(result.x) == 0.0 and np.ptp(result.y) == 0.0
    assert result.match_lane[0, 0] == 0 and result.match_s[0, 0] == pytest.approx(50.0, abs=0.1)


def test_standing_car_may_point_backwards(graph: LaneGraph) -> None:
    record = one(50.0, 0.0, 0.0, 0.0)
    record["yaw"] = math.pi
    assert predict(record, graph, PredictionConfig()).match_lane[0, 0] == 0
    record["vx"] = -5.0
    assert predict(record, graph, PredictionConfig()).match_lane[0, 0] == -1


def test_no_objects_and_no_lanes() -> None:
    empty = LaneGraph(LaneMap("none", (0, 0, 0), {}))
    assert predict(np.zeros(0, OBJECT_DTYPE), empty, PredictionConfig()).size == 0
    assert predict(one(1.0, 2.0, 3.0, 0.0), empty, PredictionConfig()).chains == ((),)
