"""How fast the road itself lets one drive."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from test_planning import CAR, lane, lane_map

from robotaxi.planning import PlannerConfig
from robotaxi.planning.motion.speed_limits import road_speed
from robotaxi.planning.reference import SPACING, Reference, build_reference
from robotaxi.types import Pose2

CONFIG = PlannerConfig()


def with_curvature(curvature: np.ndarray) -> Reference:
    road = lane_map([lane(1, [(0.0, 0.0), (200.0, 0.0)])])
    route = road.route(Pose2(0.0, 0.0, 0.0), Pose2(190.0, 0.0, 0.0))
    reference = build_reference(road, route, Pose2(0.0, 0.0, 0.0), CONFIG)
    return replace(reference, curvature=np.resize(curvature, reference.s.size))


def test_a_long_curve_is_driven_as_fast_as_its_lateral_acceleration_allows() -> None:
    speed, _ = road_speed(with_curvature(np.array([0.1])), CONFIG, CAR)
    assert np.allclose(speed, math.sqrt(CONFIG.lateral_acceleration / 0.1))


def test_where_one_curve_goes_over_into_the_other_the_tyres_have_time_to_turn() -> None:
    size = with_curvature(np.zeros(1)).s.size
    middle = size // 2
    curvature = np.interp(np.arange(size), [0, middle - 2, middle + 2, size], [0.08, 0.08, -0.08, -0.08])
    speed, cause = road_speed(with_curvature(curvature), CONFIG, CAR)
    steering = np.arctan(CAR.wheelbase * curvature)
    needed = np.abs(np.gradient(steering, SPACING)) * speed
    assert needed.max() <= CAR.max_steering_rate and speed[middle] < 0.75 * speed[-1]
    assert abs(int(cause[middle - 10]) - middle) < 3
