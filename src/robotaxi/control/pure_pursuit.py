"""Delay-compensated pure pursuit: what steers when the MPC cannot."""

from __future__ import annotations

import math

from robotaxi.control.actuation import PredictedState
from robotaxi.control.config import ControlConfig
from robotaxi.control.reference import Reference
from robotaxi.types import VehicleParams


def pursue(
    config: ControlConfig, vehicle: VehicleParams, reference: Reference, predicted: PredictedState, s: float
) -> float:
    """Tyre angle towards the path point one look-ahead beyond arc length ``s``.

    ``predicted`` is the state when the command takes effect; the lag is met by aiming from where the
    car will be one lag later (Coulter, "Implementation of the pure pursuit path tracking algorithm",
    1992, with the compensated pose in place of the measured one).
    """
    ahead = max(predicted.speed, 0.0) * vehicle.steering_lag
    turned = math.tan(predicted.steering) / vehicle.wheelbase * ahead
    course = predicted.yaw + 0.5 * turned
    x, y = predicted.x + ahead * math.cos(course), predicted.y + ahead * math.sin(course)
    yaw = predicted.yaw + turned
    lookahead = max(config.min_lookahead, config.lookahead_time * predicted.speed)
    target_x, target_y, _ = reference.point_at(s + ahead + lookahead)
    dx, dy = target_x - x, target_y - y
    distance2 = max(dx * dx + dy * dy, 1.0)
    sideways = -math.sin(yaw) * dx + math.cos(yaw) * dy
    return math.atan(2.0 * vehicle.wheelbase * sideways / distance2)
