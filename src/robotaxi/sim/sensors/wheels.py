"""Wheel speed and steering angle, as the vehicle reports them."""

from __future__ import annotations

import math

from robotaxi.sensor_rig import WheelSpec
from robotaxi.sim.sensors.noise import generator
from robotaxi.sim.view import EgoTruth
from robotaxi.types import VehicleReport

_STANDSTILL = 1e-3  # m/s, below this the encoders give no edge: the report is exactly zero


class Wheels:
    """Rear wheel encoders and steering sensor: scale error, offset, noise and quantisation."""

    def __init__(self, spec: WheelSpec, seed: int, name: str = "wheels") -> None:
        self._spec, self._seed, self._name = spec, seed, name
        rng = generator(seed, f"{name}/bias")
        self._scale = 1.0 + rng.normal(0.0, spec.speed_scale_sigma)
        bound = math.radians(spec.steering_offset_deg)
        self._offset = rng.uniform(-bound, bound)

    def measure(
        self,
        ego: EgoTruth,
        *,
        door_open: bool = False,
        seat_occupied: bool = False,
        belt_fastened: bool = False,
        energy: float = -1.0,
    ) -> VehicleReport:
        """The report at ``ego.stamp_ns``; the cabin's switches and the battery are passed through."""
        spec = self._spec
        noise_speed, noise_steering = generator(self._seed, self._name, ego.stamp_ns).standard_normal(2)
        speed = 0.0
        if abs(ego.speed) > _STANDSTILL:
            speed = _quantise(self._scale * ego.speed + spec.speed_sigma * float(noise_speed), spec.speed_step)
        steering = ego.steering + self._offset + math.radians(spec.steering_sigma_deg) * float(noise_steering)
        return VehicleReport(
            ego.stamp_ns,
            speed,
            _quantise(steering, math.radians(spec.steering_step_deg)),
            ego.acceleration,
            door_open,
            seat_occupied,
            belt_fastened,
            energy,
        )


def _quantise(value: float, step: float) -> float:
    return value if step <= 0.0 else step * round(value / step)
