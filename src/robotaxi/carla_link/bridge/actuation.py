"""Steering angle and acceleration to throttle, brake and steer of a CARLA car.

The car of the stack has delays and lags that its controller knows. CARLA's cars have none, so they are added
here; what is left is how strongly pedals act, which is identified while driving (recursive least squares).
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass

from robotaxi.types import Command, VehicleParams

_SUBSTEPS = 4
_STANDING = 0.05  # m/s
_SHIFT_BRAKING = 2.0  # m/s^2, until the car stands and the other gear can be engaged
_SPEED_GAIN = 1.5  # 1/s, pulls the speed to the one that the commands add up to
_MAX_LEAD = 0.5  # m/s that the wanted speed may differ from the real one
_FORGET = 0.995  # of the least squares, per sample
_PEDAL_BOUNDS = (1.5, 15.0)  # m/s^2 at a full pedal


@dataclass(frozen=True)
class SteeringGear:
    """Of the CARLA car: ``curve`` is [(km/h, share of ``max_angle``)], ``max_angle`` rad."""

    wheelbase: float
    max_angle: float
    curve: tuple[tuple[float, float], ...]

    def share(self, speed: float) -> float:
        """Share of the full angle that full steer gives at a speed in m/s."""
        kmh, points = abs(speed) * 3.6, self.curve
        if not points:
            return 1.0
        if kmh <= points[0][0]:
            return points[0][1]
        for (a, low), (b, high) in itertools.pairwise(points):
            if kmh <= b:
                return low + (high - low) * (kmh - a) / max(b - a, 1e-9)
        return points[-1][1]


class PedalGain:
    """Acceleration per pedal, estimated from what happened."""

    def __init__(self, start: float) -> None:
        self.value = start
        self._certainty = 20.0

    def learn(self, pedal: float, acceleration: float) -> None:
        """``pedal`` 0..1 gave ``acceleration`` (m/s^2, drag already taken out)."""
        if pedal < 0.05:
            return
        self._certainty = _FORGET * self._certainty + pedal * pedal
        self.value += pedal * (acceleration - self.value * pedal) / self._certainty
        self.value = min(max(self.value, _PEDAL_BOUNDS[0]), _PEDAL_BOUNDS[1])


class Actuation:
    """``step`` once a tick of ``dt`` seconds."""

    def __init__(self, vehicle: VehicleParams, gear: SteeringGear, dt: float) -> None:
        self._vehicle, self._gear, self._dt = vehicle, gear, dt
        self._steering_line = deque([0.0] * max(round(vehicle.steering_delay / dt), 0))
        self._drive_line = deque([-vehicle.max_deceleration] * max(round(vehicle.drive_delay / dt), 0))
        self._gear_line = deque([False] * max(round(vehicle.drive_delay / dt), 0))
        self._command = (0.0, -vehicle.max_deceleration)
        self._reverse_wanted = False
        self.reverse = False
        self.steering, self._drive = 0.0, -vehicle.max_deceleration
        self._wanted = 0.0
        self.throttle_gain, self.brake_gain = PedalGain(4.0), PedalGain(8.0)
        self._pedals = (0.0, 0.0)
        self._speed = 0.0

    def step(self, command: Command | None, speed: float) -> tuple[float, float, float]:
        """Throttle, steer (CARLA: right positive) and brake for the coming tick; ``speed`` is the true one, and
        ``reverse`` the gear, which is changed at standstill.

        None or a command that is not finite leaves the last one in force.
        """
        limits = self._vehicle
        along = -speed if self.reverse else speed
        self._learn(along)
        if command is not None and math.isfinite(command.steering) and math.isfinite(command.acceleration):
            self._command = (
                min(max(command.steering, -limits.max_steering), limits.max_steering),
                min(max(command.acceleration, -limits.max_deceleration), limits.max_acceleration),
            )
            self._reverse_wanted = command.reverse
        self._steering_line.append(self._command[0])
        self._drive_line.append(self._command[1])
        self._gear_line.append(self._reverse_wanted)
        drive, reverse = self._drive_line.popleft(), self._gear_line.popleft()
        if reverse is not self.reverse and abs(speed) < _STANDING:
            self.reverse, self._drive, along = reverse, min(self._drive, 0.0), 0.0
        self._follow(self._steering_line.popleft(), drive if reverse is self.reverse else min(drive, -_SHIFT_BRAKING))
        throttle, brake = self._pedal(along)
        angle = math.atan(math.tan(self.steering) * self._gear.wheelbase / limits.wheelbase)
        steer = -angle / (self._gear.max_angle * self._gear.share(abs(speed)))
        self._pedals, self._speed = (throttle, brake), along
        return throttle, min(max(steer, -1.0), 1.0), brake

    def _follow(self, steering: float, drive: float) -> None:
        """The first-order lags of the stack's car, as its simulator has them."""
        limits, step = self._vehicle, self._dt / _SUBSTEPS
        for _ in range(_SUBSTEPS):
            rate = (steering - self.steering) / max(limits.steering_lag, step)
            rate = min(max(rate, -limits.max_steering_rate), limits.max_steering_rate)
            self.steering = min(max(self.steering + rate * step, -limits.max_steering), limits.max_steering)
            self._drive += (drive - self._drive) * min(step / max(limits.drive_lag, step), 1.0)

    def _pedal(self, speed: float) -> tuple[float, float]:
        if self._drive <= 0.0 and speed < _STANDING:
            self._wanted = 0.0
            return 0.0, 1.0
        self._wanted = max(self._wanted + self._drive * self._dt, 0.0)
        self._wanted = min(max(self._wanted, speed - _MAX_LEAD), speed + _MAX_LEAD)
        wanted = self._drive + _SPEED_GAIN * (self._wanted - speed) + _drag(speed)
        if wanted >= 0.0:
            return min(wanted / self.throttle_gain.value, 1.0), 0.0
        return 0.0, min(-wanted / self.brake_gain.value, 1.0)

    def _learn(self, speed: float) -> None:
        if speed < 1.0 or self._speed < 1.0:
            return
        gained = (speed - self._speed) / self._dt + _drag(speed)
        throttle, brake = self._pedals
        if throttle > 0.0 and throttle < 1.0:
            self.throttle_gain.learn(throttle, gained)
        elif brake > 0.0:
            self.brake_gain.learn(brake, -gained)


def _drag(speed: float) -> float:
    """Rolling and air drag (m/s^2) of a mid-size car."""
    return (0.15 if speed > _STANDING else 0.0) + 4.0e-4 * speed * speed
