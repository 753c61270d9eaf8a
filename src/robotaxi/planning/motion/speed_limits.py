"""How fast the road itself lets one drive: limits and curves, with room to brake for both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.reference import SPACING, Reference
from robotaxi.planning.route_features import RouteFeatures
from robotaxi.types import VehicleParams

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

MIN_CURVE_SPEED = 2.0  # m/s, whatever the curvature
STEERING_RATE_SHARE = 0.8  # of how fast the tyres turn that a path may need: the rest is the controller's
SIGNAL_WAIT = 12.0  # s that a light costs on average
LINE_WAIT = 4.0  # s that another line costs
GAIN = 1.03  # a curve slower than the limit by this factor counts as a cause


def road_speed(reference: Reference, config: PlannerConfig, vehicle: VehicleParams) -> tuple[FloatArray, IntArray]:
    """Speed allowed at each sample and the sample that causes it (-1: no slower place ahead).

    In a curve the lateral acceleration bounds it, and where one curve goes over into another, how fast the tyres turn.
    """
    bend = np.maximum(np.abs(reference.curvature), 1e-6)
    steering = np.arctan(vehicle.wheelbase * reference.curvature)
    turning = np.maximum(np.abs(np.gradient(steering, SPACING)), 1e-6)
    curve = np.minimum(
        np.sqrt(config.lateral_acceleration / bend), STEERING_RATE_SHARE * vehicle.max_steering_rate / turning
    )
    raw = np.minimum(reference.speed_limit, np.maximum(curve, MIN_CURVE_SPEED))
    return _brake_ahead(raw, reference.speed_limit, config.deceleration * 0.8, SPACING)


def time_to_go(road: FloatArray, features: RouteFeatures, s: float, goal_s: float) -> float:
    """Seconds from arc length ``s`` to ``goal_s`` as fast as the road lets one drive, lines and lights included.

    ``road``: speed allowed at each sample.
    """
    a, b = round(max(s, 0.0) / SPACING), round(max(goal_s, 0.0) / SPACING)
    driving = float(np.sum(SPACING / np.maximum(road[a:b], MIN_CURVE_SPEED)))
    waits = (SIGNAL_WAIT if item.line.kind == "signal" else LINE_WAIT for item in features.lines if item.s > s)
    return driving + sum(waits)


@njit(cache=True)
def _brake_ahead(raw, limit, deceleration, step):  # type: ignore[no-untyped-def]
    n = raw.shape[0]
    speed = raw.copy()
    source = np.full(n, -1, np.int64)
    for i in range(n - 1, -1, -1):
        if raw[i] * GAIN < limit[i]:
            source[i] = i
        if i + 1 < n:
            reachable = math.sqrt(speed[i + 1] ** 2 + 2.0 * deceleration * step)
            if reachable < speed[i]:
                speed[i] = reachable
                source[i] = source[i + 1] if source[i + 1] >= 0 else i + 1
    return speed, source
