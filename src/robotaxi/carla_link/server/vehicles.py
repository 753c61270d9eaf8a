"""Motion of all vehicles of the server at once: throttle, steer and brake in, planar motion out.

Forwards the single-track model of `robotaxi.sim.ego` (dynamic above 6 m/s), without its delays: CARLA's
cars follow their pedals at once. Backwards a kinematic bicycle. Front wheels turn up to 45 degrees, less
with speed, as CARLA's default steering curve has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.carla_link.server.blueprints import Body, Tag
from robotaxi.sim.ego import AX, AY, DRIVE, GRAVITY, STATE_SIZE, STEERING, VX, VY, YAW, YAW_RATE, X, Y, _integrate
from robotaxi.types import FloatArray, ObjectClass

MAX_STEER_DEG = 45.0
STEERING_CURVE = ((0.0, 1.0), (20.0, 0.9), (60.0, 0.8), (120.0, 0.7))  # km/h, share of the full angle
SUBSTEP = 0.01  # s, longest step of the integration

_FASTEST, _FASTEST_TURN = 150.0, 20.0  # m/s and rad/s that a client may set
_THROTTLE = 4.5  # m/s^2 at full throttle, standing start
_POWER = 65.0  # W/kg at the wheels
_BRAKE = 8.0  # m/s^2 at full brake
_REVERSE_SPEED = 8.0  # m/s
_ROLLING = 0.15  # m/s^2
_DRAG = 4.0e-4  # 1/m, air drag per speed squared
_ENGINE_BRAKE = 0.35  # m/s^2 without throttle
FRICTION = 3.0  # CARLA's tyres hold more than any real ones: its own default is 3.5
_STEERING_RATE = 8.0  # rad/s: CARLA's wheels turn at once
_PEDAL_LAG = 0.05  # s
_BLEND = 3.0, 6.0  # m/s from which on, and above which alone, tyres slip: below, yaw follows the wheels late
_FRONT_STIFFNESS, _REAR_STIFFNESS = 120.0, 150.0  # N/rad per kg of mass

THROTTLE, STEER, BRAKE, HAND_BRAKE, REVERSE, MANUAL_GEAR, GEAR = range(7)
CONTROL_SIZE = 7


@dataclass
class Fleet:
    """Rows in order of spawning. ``state`` (N, STATE_SIZE) about the centre of mass, which lies in the
        middle of the wheelbase; ``control`` (N, 7) as the client sent it; ``constants`` (N, 14) of `_integrate`;
        ``size`` (N, 3); ``physics`` (N,) whether it moves by itself; ``constant_speed`` (N, 2) body velocity that
    is kept up, NaN for none; ``ground`` (N, 2) height of the ground below and pitch along it (REP-103); ``limit`` (N,)
        speed limit there in km/h; ``label`` (N,) of `ObjectClass`."""

    ids: NDArray[np.int64]
    state: FloatArray
    control: FloatArray
    constants: FloatArray
    size: FloatArray
    physics: NDArray[np.bool_]
    constant_speed: FloatArray
    ground: FloatArray
    limit: FloatArray
    label: NDArray[np.int64]

    @staticmethod
    def empty() -> Fleet:
        return Fleet(
            np.zeros(0, np.int64),
            np.zeros((0, STATE_SIZE)),
            np.zeros((0, CONTROL_SIZE)),
            np.zeros((0, 14)),
            np.zeros((0, 3)),
            np.zeros(0, bool),
            np.zeros((0, 2)),
            np.zeros((0, 2)),
            np.zeros(0),
            np.zeros(0, np.int64),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, actor: int) -> int:
        """Raises KeyError for an actor that is no vehicle."""
        return self._rows[actor]

    def __post_init__(self) -> None:
        self._rows = {int(actor): row for row, actor in enumerate(self.ids)}

    def motion(self) -> tuple[FloatArray, FloatArray]:
        """Velocities and accelerations (N, 3) in map."""
        yaw, pitch = self.state[:, YAW], self.ground[:, 1]
        c, s, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        ahead, left = np.stack([c * cp, s * cp, -sp], axis=1), np.stack([-s, c, 0.0 * s], axis=1)
        velocity = ahead * self.state[:, [VX]] + left * self.state[:, [VY]]
        return velocity, ahead * self.state[:, [AX]] + left * self.state[:, [AY]]

    def add(self, actor: int, body: Body, x: float, y: float, yaw: float, label: int) -> None:
        state = np.zeros(STATE_SIZE)
        state[[X, Y, YAW]] = x, y, yaw
        parked = np.zeros(CONTROL_SIZE)
        self.ids = np.append(self.ids, actor)
        self.state = np.vstack([self.state, state])
        self.control = np.vstack([self.control, parked])
        self.constants = np.vstack([self.constants, constants_of(body)])
        self.size = np.vstack([self.size, body.size])
        self.physics = np.append(self.physics, True)
        self.constant_speed = np.vstack([self.constant_speed, [np.nan, np.nan]])
        self.ground = np.vstack([self.ground, [0.0, 0.0]])
        self.limit, self.label = np.append(self.limit, 0.0), np.append(self.label, label)
        self.__post_init__()

    def remove(self, actor: int) -> None:
        keep = self.ids != actor
        for name in (field.name for field in fields(self)):
            setattr(self, name, getattr(self, name)[keep])
        self.__post_init__()

    def step(self, dt: float) -> None:
        """Advance every vehicle by ``dt`` seconds."""
        np.clip(self.state[:, VX : VY + 1], -_FASTEST, _FASTEST, out=self.state[:, VX : VY + 1])
        np.clip(self.state[:, YAW_RATE], -_FASTEST_TURN, _FASTEST_TURN, out=self.state[:, YAW_RATE])
        np.clip(self.constant_speed, -_FASTEST, _FASTEST, out=self.constant_speed)
        if len(self) and dt > 0.0:
            substeps = max(1, math.ceil(dt / SUBSTEP - 1e-9))
            _step(self.state, self.control, self.constants, self.physics, self.constant_speed, dt / substeps, substeps)


def warm_up() -> None:
    """Compile or load what steps the cars, so that nobody's first frame waits for it."""
    fleet = Fleet.empty()
    fleet.add(1, Body((4.5, 1.8, 1.5), 1500.0, Tag.CAR, 2.7), 0.0, 0.0, 0.0, int(ObjectClass.CAR))
    for control in ((0.5, 0.1, 0.0, 0.0, 0.0), (0.5, 0.0, 0.0, 0.0, 1.0)):
        fleet.control[0, :5] = control
        fleet.step(0.05)


def constants_of(body: Body) -> FloatArray:
    """What `robotaxi.sim.ego` integrates with; the time step is filled in by `_step`."""
    mass, half = body.mass, body.wheelbase / 2.0
    inertia = mass * (body.size[0] ** 2 + body.size[1] ** 2) / 12.0
    stiffness = (mass * _FRONT_STIFFNESS, mass * _REAR_STIFFNESS)
    limits = (math.radians(MAX_STEER_DEG), _STEERING_RATE, 0.0, _PEDAL_LAG, 0.0)
    return np.array([mass, inertia, half, half, *stiffness, FRICTION * GRAVITY, *_BLEND, *limits])


@njit(cache=True)
def steering_share(speed: float) -> float:
    """Share of the full wheel angle that full steer gives at a speed (m/s): STEERING_CURVE."""
    kmh = abs(speed) * 3.6
    if kmh < 20.0:
        return 1.0 - 0.1 * kmh / 20.0
    if kmh < 60.0:
        return 0.9 - 0.1 * (kmh - 20.0) / 40.0
    return 0.8 - 0.1 * min((kmh - 60.0) / 60.0, 1.0)


@njit(cache=True)
def drive_acceleration(throttle: float, brake: float, speed: float) -> float:
    """Acceleration (m/s^2) along the direction of travel that the pedals give at a speed."""
    if brake > 0.0:
        return -_BRAKE * min(brake, 1.0) - _ROLLING
    push = min(_THROTTLE, _POWER / max(speed, 1.0)) * min(max(throttle, 0.0), 1.0)
    against = _DRAG * speed * speed + (_ROLLING if speed > 0.05 else 0.0)
    if throttle <= 0.01:
        against += _ENGINE_BRAKE if speed > 0.05 else 0.0
    return push - against


@njit(cache=True)
def _step(state, control, constants, physics, constant_speed, dt, substeps):  # type: ignore[no-untyped-def]
    steering, drive = np.empty(1), np.empty(1)
    for i in range(len(state)):
        if not physics[i]:
            state[i, AX] = state[i, AY] = 0.0
            continue
        constants[i, 13] = dt
        car, pedals = state[i], control[i]
        before_x, before_y = car[VX], car[VY]
        for _ in range(substeps):
            speed = car[VX]
            # positive steer is to the right
            share = steering_share(speed)
            steering[0] = -min(max(pedals[STEER], -1.0), 1.0) * share * constants[i, 9]
            brake = 1.0 if pedals[HAND_BRAKE] > 0.0 else pedals[BRAKE]
            backwards = pedals[REVERSE] > 0.0
            if (backwards and speed < 0.5) or speed < 0.0:
                _reverse(car, steering[0], pedals[THROTTLE], brake, backwards, constants[i], dt)
                continue
            throttle = 0.0 if backwards else pedals[THROTTLE]
            if backwards and brake <= 0.0:
                brake = pedals[THROTTLE]  # first stop, then go back
            drive[0] = drive_acceleration(throttle, brake, speed)
            if throttle <= 0.0 and drive[0] > 0.0:
                drive[0] = 0.0
            _integrate(car, steering, drive, constants[i])
        if not math.isnan(constant_speed[i, 0]):
            car[VX], car[VY], car[YAW_RATE] = constant_speed[i, 0], constant_speed[i, 1], 0.0
            whole = dt * substeps
            c, s = math.cos(car[YAW]), math.sin(car[YAW])
            car[X] += (c * car[VX] - s * car[VY] - c * before_x + s * before_y) * whole
            car[Y] += (s * car[VX] + c * car[VY] - s * before_x - c * before_y) * whole


@njit(cache=True)
def _reverse(car, steering, throttle, brake, backwards, constants, dt):  # type: ignore[no-untyped-def]
    """Kinematic bicycle for speeds at or below zero."""
    speed = min(car[VX], 0.0)
    wheelbase = constants[2] + constants[3]
    push = 0.0
    if backwards and brake <= 0.0:
        push = -_THROTTLE * min(max(throttle, 0.0), 1.0) * max(1.0 - speed / -_REVERSE_SPEED, 0.0)
    elif not backwards:
        brake = max(brake, min(max(throttle, 0.0), 1.0))  # first stop, then go forward
    slow = (_BRAKE * min(brake, 1.0) + _ROLLING) * dt
    new = min(speed + push * dt + slow, 0.0) if speed < 0.0 else push * dt
    if abs(new) < 1e-4:
        new = 0.0
    beta = math.atan(math.tan(steering) * constants[3] / wheelbase)
    rate = new * math.tan(steering) * math.cos(beta) / wheelbase
    middle = car[YAW] + 0.5 * rate * dt
    mean = 0.5 * (speed + new)
    car[X] += mean * math.cos(middle + beta) * dt
    car[Y] += mean * math.sin(middle + beta) * dt
    car[YAW] = math.atan2(math.sin(car[YAW] + rate * dt), math.cos(car[YAW] + rate * dt))
    car[AX], car[AY] = (new - speed) / dt, new * rate
    car[VX], car[VY], car[YAW_RATE] = new, new * math.tan(beta), rate
    car[STEERING], car[DRIVE] = steering, 0.0
