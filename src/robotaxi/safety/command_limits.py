"""Limits on what reaches the actuators, whoever asks."""

from __future__ import annotations

import math

from robotaxi.safety.config import GateConfig
from robotaxi.types import VehicleParams


class CommandLimits:
    """Clamps steering and acceleration in value and rate, relative to the last output."""

    def __init__(self, config: GateConfig, vehicle: VehicleParams) -> None:
        self._config = config
        self._vehicle = vehicle
        self.max_deceleration = min(config.max_deceleration, vehicle.max_deceleration)
        self.max_acceleration = min(config.max_acceleration, vehicle.max_acceleration)
        self.steering = 0.0
        self.acceleration = -config.hold_deceleration

    def start_from(self, steering: float) -> None:
        """Take the tyre angle the car has as the last output."""
        self.steering = _clamp(steering, self._vehicle.max_steering)

    def let_go(self) -> None:
        """End all gas at once: who is to stand has none left to fade out."""
        self.acceleration = min(self.acceleration, 0.0)

    def max_steering(self, speed: float) -> float:
        """Largest tyre angle at a speed (rad)."""
        v2 = max(speed * speed, 1e-6)
        return min(
            self._vehicle.max_steering, math.atan(self._vehicle.wheelbase * self._config.max_lateral_acceleration / v2)
        )

    def max_steering_rate(self, speed: float) -> float:
        """Fastest turn of the tyres at a speed and at the last angle (rad/s): the drive's, or the lateral jerk's."""
        v2 = max(speed * speed, 1e-6)
        by_jerk = self._config.max_lateral_jerk * self._vehicle.wheelbase * math.cos(self.steering) ** 2 / v2
        return min(self._vehicle.max_steering_rate, by_jerk)

    def apply(
        self, steering: float, acceleration: float, speed: float, dt: float, *, jerk_limited: bool = True,
        speed_cap: float = math.inf,
    ) -> tuple[float, float, bool]:  # fmt: skip
        """Steering and acceleration allowed, and whether they differ from those asked for.

        All arguments finite. The steering rate binds always; the jerk does not in emergency braking
        and not between two brake demands while standing, which nobody feels.
        """
        config = self._config
        allowed_steering = _clamp(steering, self.max_steering(speed))
        step = self.max_steering_rate(speed) * dt
        allowed_steering = min(max(allowed_steering, self.steering - step), self.steering + step)
        allowed = min(max(acceleration, -self.max_deceleration), self.max_acceleration)
        if speed > config.max_speed:
            allowed = min(allowed, -config.overspeed_deceleration)
        if speed > speed_cap:
            allowed = min(allowed, -min(config.cap_deceleration, speed - speed_cap))
        if jerk_limited:
            last = self.acceleration
            if abs(speed) < config.standing_speed and last < 0.0:
                last = min(max(allowed, last), 0.0)
            allowed = min(max(allowed, last - config.jerk_down * dt), last + config.jerk_up * dt)
        self.steering, self.acceleration = allowed_steering, allowed
        limited = abs(allowed_steering - steering) > 1e-9 or abs(allowed - acceleration) > 1e-9
        return allowed_steering, allowed, limited


def _clamp(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)
