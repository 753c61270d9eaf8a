"""What `get_physics_control` tells of a car: CARLA's structure, filled with the car that is simulated here."""

from __future__ import annotations

from typing import Any

import numpy as np

from robotaxi.carla_link.frames import carla_from_map
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.vehicles import MAX_STEER_DEG, STEERING_CURVE

_WHEEL_RADIUS_CM = 35.0


def physics_control(actor: Actor) -> list[Any]:
    """16 fields. Wheels front left, front right, rear left, rear right (or front, rear); their positions
    are in the world, in cm."""
    body = actor.body
    assert body is not None
    half, side = body.wheelbase / 2.0, 0.42 * body.size[1]
    two = body.wheelbase < 2.0 and body.size[1] < 1.0
    places = [(half, 0.0), (-half, 0.0)] if two else [(half, side), (half, -side), (-half, side), (-half, -side)]
    wheels = []
    for x, y in places:
        T = np.eye(4)
        T[:3, 3] = x, y, _WHEEL_RADIUS_CM / 100.0
        location, _ = carla_from_map(actor.T @ T)
        front = x > 0.0
        wheels.append(
            [3.5, 0.25, MAX_STEER_DEG if front else 0.0, _WHEEL_RADIUS_CM, 1500.0, 0.0 if front else 3000.0, 3.0, 20.0,
             3000.0, [100.0 * v for v in location]]
        )  # fmt: skip
    gears = [[4.0, 0.5, 0.65], [2.0, 0.5, 0.65], [1.5, 0.5, 0.65], [1.1, 0.5, 0.65], [1.0, 0.5, 0.65]]
    torque = [[0.0, 400.0], [1900.0, 500.0], [5800.0, 400.0]]
    curve = [list(point) for point in STEERING_CURVE]
    return [
        torque, 5800.0, 1.0, 0.15, 2.0, 0.35, True, 0.0, 10.0, 4.0, gears, body.mass, 0.3, [0.0, 0.0, 0.3], curve,
        wheels, False,
    ]  # fmt: skip
