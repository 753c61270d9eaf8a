"""IMU with a dual-antenna heading, in ``base_link`` axes."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.sensor_rig import ImuSpec
from robotaxi.sim.sensors.noise import CorrelatedNoise, generator
from robotaxi.sim.view import EgoTruth
from robotaxi.types import ImuSample

GRAVITY = 9.80665  # m/s^2, standard gravity (ISO 80000-3)


class Imu:
    """Specific force and angular rate: truth + turn-on bias + slow drift + white noise."""

    def __init__(self, spec: ImuSpec, seed: int, name: str = "imu") -> None:
        self._spec, self._seed, self._name = spec, seed, name
        rng = generator(seed, f"{name}/bias")
        self._acceleration_bias = rng.normal(0.0, spec.acceleration_bias_sigma, 3)
        self._angular_rate_bias = rng.normal(0.0, spec.angular_rate_bias_sigma, 3)
        bound = math.radians(spec.heading_bias_deg)
        self._heading_bias = rng.uniform(-bound, bound)
        self._acceleration_drift = CorrelatedNoise(
            seed, f"{name}/acceleration", spec.acceleration_drift_sigma, spec.drift_time, 3
        )
        self._angular_rate_drift = CorrelatedNoise(
            seed, f"{name}/angular_rate", spec.angular_rate_drift_sigma, spec.drift_time, 3
        )

    def measure(self, ego: EgoTruth) -> ImuSample:
        """The sample at ``ego.stamp_ns``.

        ``ego.acceleration`` and ``ego.lateral_acceleration`` are inertial accelerations of the rear axle
        along the body axes, the centripetal part (speed x yaw rate) included.
        """
        spec, stamp_ns = self._spec, ego.stamp_ns
        rng = generator(self._seed, self._name, stamp_ns)
        white = rng.standard_normal(7)
        force = np.array([ego.acceleration, ego.lateral_acceleration, GRAVITY])
        rate = np.array([0.0, 0.0, ego.yaw_rate])
        force += self._acceleration_bias + self._acceleration_drift.at(stamp_ns) + spec.acceleration_sigma * white[:3]
        rate += self._angular_rate_bias + self._angular_rate_drift.at(stamp_ns) + spec.angular_rate_sigma * white[3:6]
        if not spec.has_heading:
            return ImuSample(stamp_ns, force, rate)
        sigma = math.radians(spec.heading_sigma_deg)
        heading = ego.yaw + self._heading_bias + sigma * float(white[6])
        return ImuSample(stamp_ns, force, rate, math.remainder(heading, 2.0 * math.pi), sigma)
