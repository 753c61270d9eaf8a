"""What clients are told of a car's physics, and what of it they can change: CARLA's structures, filled with the car
that is simulated here. Mass, the tyres' friction and the wheels' largest angle have an effect; the rest is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robotaxi.carla_link.frames import carla_from_map
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.episode import ActorError, Episode, read_numbers
from robotaxi.carla_link.server.vehicles import BRAKE, FRICTION, MAX_STEER_DEG, STEER, STEERING_CURVE, THROTTLE, Fleet
from robotaxi.sim.ego import AY, GRAVITY, VX

_WHEEL_RADIUS_CM = 35.0
_TYRE = 3.5  # friction of CARLA's tyres, which stands for `FRICTION` here
_IDLE_RPM, _MAX_RPM, _RPM_PER_SPEED = 800.0, 5800.0, 110.0
_FIELDS, _WHEEL_FIELDS = 17, 10
_MASSES, _TYRES, _ANGLES = (10.0, 1e6), (0.1, 50.0), (1.0, 80.0)  # kg, friction, deg: what may be set


def physics_control(actor: Actor) -> list[Any]:
    """17 fields, what a client has set as it set it.

    Wheels front left, front right, rear left, rear right (or front, rear); their positions are in the world, in cm.
    """
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
        angle, hand_brake = (MAX_STEER_DEG, 0.0) if x > 0.0 else (0.0, 3000.0)
        place = [100.0 * v for v in location]
        wheels.append([_TYRE, 0.25, angle, _WHEEL_RADIUS_CM, 1500.0, hand_brake, 3.0, 20.0, 3000.0, place])
    if actor.physics_control is not None:
        known = actor.physics_control
        moved = [[*old[:9], new[9]] for old, new in zip(known[15], wheels, strict=True)]
        return [*known[:15], moved, *known[16:]]
    gears = [[4.0, 0.5, 0.65], [2.0, 0.5, 0.65], [1.5, 0.5, 0.65], [1.1, 0.5, 0.65], [1.0, 0.5, 0.65]]
    torque = [[0.0, 400.0], [1900.0, 500.0], [5800.0, 400.0]]
    curve = [list(point) for point in STEERING_CURVE]
    return [
        torque, 5800.0, 1.0, 0.15, 2.0, 0.35, True, 0.0, 10.0, 4.0, gears, body.mass, 0.3, [0.0, 0.0, 0.3], curve,
        wheels, False,
    ]  # fmt: skip


def apply_physics(episode: Episode, number: Any, control: Any) -> None:
    """What a client sets. Raises ActorError when it cannot be followed; nothing is changed then."""
    actor, row = episode.vehicle(number)
    if not (isinstance(control, list) and len(control) == _FIELDS and isinstance(control[15], list)):
        raise ActorError(f"malformed physics control: expected {_FIELDS} fields, as CARLA 0.9.16 has them")
    wheels = control[15]
    expected = len(physics_control(actor)[15])
    if len(wheels) != expected or not all(isinstance(w, list) and len(w) == _WHEEL_FIELDS for w in wheels):
        raise ActorError(f"physics control: '{actor.type_id}' has {expected} wheels of {_WHEEL_FIELDS} fields")
    mass = float(read_numbers([control[11]], 1, "mass")[0])
    read_numbers(control[1:6] + control[7:10] + control[12:13], 9, "physics control")
    read_numbers(control[13], 3, "centre of mass")
    for values, width in ((control[0], 2), (control[10], 3), (control[14], 2)):
        for point in values:
            read_numbers(point, width, "physics control")
    if not (isinstance(control[6], bool) and isinstance(control[16], bool)):
        raise ActorError("malformed physics control: expected two switches")
    tyre = min(float(read_numbers(w[:9], 9, "wheel")[0]) for w in wheels)
    angle = max(float(w[2]) for w in wheels)
    for what, value, (low, high) in (
        ("mass", mass, _MASSES), ("tire_friction", tyre, _TYRES), ("max_steer_angle", angle, _ANGLES)
    ):  # fmt: skip
        if not low <= value <= high:
            raise ActorError(f"physics control: '{what}' is {value:g}, allowed is {low:g} to {high:g}")
    constants = episode.fleet.constants[row]
    constants[[1, 4, 5]] *= mass / constants[0]
    constants[0] = mass
    constants[6] = FRICTION * GRAVITY * tyre / _TYRE
    constants[9] = math.radians(angle)
    actor.physics_control = control


def telemetry(actor: Actor, fleet: Fleet, row: int) -> list[Any]:
    """Speed (m/s), steer, throttle, brake, engine rpm, gear, drag and what each wheel does."""
    speed, aside = float(fleet.state[row, VX]), float(fleet.state[row, AY])
    control = fleet.control[row]
    settings = physics_control(actor)
    wheels = settings[15]
    load = float(fleet.constants[row, 0]) * GRAVITY / len(wheels)
    share = float(fleet.constants[row, 0]) * aside / len(wheels)
    rows = [[w[0], 0.0, 0.0, speed / max(w[3] / 100.0, 0.01), load, 1.0, share, 0.0, share / load, 0.0] for w in wheels]
    rpm = min(_IDLE_RPM + _RPM_PER_SPEED * abs(speed), _MAX_RPM)
    gear = -1 if speed < -0.1 else 1 if speed > 0.1 else 0
    pedals = [float(control[k]) for k in (STEER, THROTTLE, BRAKE)]
    return [speed, *pedals, rpm, gear, float(settings[12]), rows]
