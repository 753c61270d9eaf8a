"""The battery: what driving takes out of it and braking gives back. A mid-size electric car."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.sim.world_config import WorldConfig

MASS = 1900.0  # kg, with passengers
GRAVITY = 9.81  # m/s^2
ROLLING = 0.010  # resistance as a share of the weight
DRAG = 0.5 * 1.2 * 0.65  # kg/m: half the air's density times drag area
EFFICIENCY = 0.88  # battery to wheel
RECOVERED = 0.60  # of braking power
AUXILIARIES = 1500.0  # W: computers, sensors, heating
JOULES_PER_KWH = 3.6e6


@dataclass
class Battery:
    """``charge``: 0 to 1."""

    charge: float

    def step(self, speed: float, acceleration: float, dt: float, config: WorldConfig) -> None:
        """Drive for ``dt`` seconds."""
        force = MASS * acceleration + MASS * GRAVITY * ROLLING * (abs(speed) > 0.01) + DRAG * speed * abs(speed)
        wheel = force * speed
        power = AUXILIARIES + (wheel / EFFICIENCY if wheel > 0.0 else wheel * RECOVERED)
        charge = self.charge - power * dt / (config.battery_capacity * JOULES_PER_KWH)
        self.charge = min(max(charge, 0.0), 1.0)
