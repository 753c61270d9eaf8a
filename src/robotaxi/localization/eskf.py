"""Error-state Kalman filter over IMU, satellite positions, wheels and heading.

After J. Solà, "Quaternion kinematics for the error-state Kalman filter" (arXiv 1711.02508, 2017),
section 7 (global angular error), in a local ENU frame without earth rotation. Two Gauss-Markov
states take the slowly varying errors of satellite positions and of the heading reference, so that
averaging many fixes does not make the filter believe more than those sensors know.

Nominal state (23): position 0:3, velocity 3:6 in map, quaternion w x y z 6:10 (base to map), gyro
bias 10:13, accelerometer bias 13:16, wheel scale 16 (reads (1 + k) times the speed), GNSS bias 17:19,
heading bias 19; x, y, yaw of the lidar odometry's frame in map 20:23 (it drifts as the car goes; a fix in
it holds the motion since the frame began, and nothing else). Error state (22): the same with a rotation
vector in map axes in place of the quaternion.

Vector measurements with independent noise are applied one scalar at a time, which is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robotaxi.localization import kernels
from robotaxi.localization.config import LocalizationConfig
from robotaxi.types import FloatArray

# indices of the error state
_V, _TH, _BG, _BA, _K, _GB, _HB = 3, 6, 9, 12, 15, 16, 18
_NOMINAL_GB = 17


@dataclass(frozen=True, slots=True)
class PositionOutcome:
    """What became of one fix: ``distance`` is its horizontal offset from the estimate in metres."""

    accepted: bool
    east: float
    north: float

    @property
    def distance(self) -> float:
        return math.hypot(self.east, self.north)


class Motion(NamedTuple):
    """What the car's own sensors read from one tick to the next.

    Specific force and angular rate (3,) base_link at both ends; ``usable`` false: those at the end are the older ones
    once more. ``stood``: the car has stood still for a while. ``wheel``: speed, NaN for none; ``heading``: yaw in map,
    NaN for none.
    """

    force_before: FloatArray
    force: FloatArray
    rate_before: FloatArray
    rate: FloatArray
    dt: float
    usable: bool = True
    stood: bool = False
    wheel: float = math.nan
    heading: float = math.nan
    heading_sigma: float = 1.0


_GUESS_INFLATION = 400.0  # noise variance of a bridged inertial sample: twenty times the sigma


class ErrorStateFilter:
    """Nominal state and error covariance with their predictions and updates. Owns its two arrays."""

    def __init__(self, config: LocalizationConfig, state: FloatArray, covariance: FloatArray) -> None:
        self.state = np.array(state, dtype=np.float64)
        self.covariance = np.array(covariance, dtype=np.float64)
        self._config = config
        self._noise: FloatArray = np.zeros(9)
        self._noise_dt = math.nan
        self._tuning = tuning_of(config)
        # filled anew by each call: an array that a kernel makes costs more than the kernel
        self._outcome, self._values = np.zeros(kernels.OUTCOME), np.zeros(10)

    def pose(self) -> tuple[float, float, float]:
        """x, y, yaw of base_link in map."""
        return kernels.pose(self.state)

    def rotation(self) -> FloatArray:
        """3x3, base_link to map."""
        return kernels.rotation(self.state)

    def predict(
        self, force: FloatArray, rate: FloatArray, dt: float, lever_arm: FloatArray, inflation: float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        """``inflation`` multiplies the noise variances, for samples that had to be guessed.

        Returns the displacement and ``lever_arm`` in map axes afterwards, each (3,).
        """
        noise = self._process_noise(dt, inflation)
        return kernels.predict(self.state, self.covariance, force, rate, dt, self._config.gravity, noise, lever_arm)

    def advance(self, motion: Motion, lever_arm: FloatArray) -> list[float]:
        """One tick at once: `predict`, then all updates by the car's own sensors. Returns what `kernels.advance` tells
        (OUTCOME numbers)."""
        noise = self._process_noise(motion.dt, 1.0 if motion.usable else _GUESS_INFLATION)
        kernels.advance(self.state, self.covariance, *motion, lever_arm, noise, self._tuning, self._outcome)
        return self._outcome.tolist()

    def advance_part(self, motion: Motion, part: float, lever_arm: FloatArray) -> Motion:
        """Predict by the first ``part`` seconds; returns what is left of the motion."""
        force, rate = 0.5 * (motion.force_before + motion.force), 0.5 * (motion.rate_before + motion.rate)
        self.predict(force, rate, part, lever_arm, 1.0 if motion.usable else _GUESS_INFLATION)
        return motion._replace(dt=max(motion.dt - part, 1e-9))

    def inertial_by(self, steering: float, wheelbase: float) -> tuple[FloatArray, FloatArray]:
        """What the inertial sensor would read, force and rate (3,), were the car to go where tyres turned by
        ``steering`` (rad) lead it."""
        state, rotation = self.state, kernels.rotation(self.state)
        speed = float(rotation[:, 0] @ state[3:6])
        yaw_rate = speed * math.tan(steering) / wheelbase
        force = rotation[2] * self._config.gravity + state[13:16]
        force[1] += speed * yaw_rate
        return force, state[10:13] + np.array([0.0, 0.0, yaw_rate])

    def _process_noise(self, dt: float, inflation: float) -> FloatArray:
        if dt != self._noise_dt:
            self._noise, self._noise_dt = process_noise(self._config, dt), dt
        if inflation == 1.0:
            return self._noise
        noise = self._noise.copy()
        noise[:2] *= inflation
        return noise

    def readout(
        self,
        offset: tuple[float, float, float],
        contradiction: tuple[float, float],
        force: FloatArray,
        rate: FloatArray,
        on_map: bool = False,
    ) -> tuple[list[float], FloatArray]:
        """What others see of the state.

        ``offset`` is added to x, y, yaw; it and ``contradiction`` (east, north) widen the
        covariance. ``force`` and ``rate``: the newest inertial reading. ``on_map``: scan matches hold it; they share
        the map's own error, which averaging does not take away. Returns x, y, z, yaw, forward speed, forward
        acceleration, yaw rate, sigmas of lateral, yaw and longitudinal; and 3x3 over x, y, yaw.
        """
        c = self._config
        sigmas = (c.map_sigma, c.map_yaw_sigma) if on_map else (0.0, 0.0)
        covariance = np.empty((3, 3))
        kernels.readout(
            self.state, self.covariance, *offset, *contradiction, force, rate, c.gravity, *sigmas, self._values,
            covariance,
        )  # fmt: skip
        return self._values.tolist(), covariance

    def update_position(self, offset: FloatArray, arm: FloatArray, sigma: FloatArray) -> PositionOutcome:
        """``offset``: measured minus predicted antenna position (map); ``arm``: lever arm (map)."""
        c = self._config
        east, north = float(offset[0] - self.state[_NOMINAL_GB]), float(offset[1] - self.state[_NOMINAL_GB + 1])
        accepted, _, _ = kernels.update_position(self.state, self.covariance, offset, arm, sigma, c.gate_1d, c.gate_2d)
        return PositionOutcome(bool(accepted), east, north)

    def update_body_velocity(self, wheel_speed: float, slip_speed: float, slip_sigma: float) -> tuple[bool, bool]:
        """``wheel_speed`` NaN for none; ``slip_speed`` sideways speed of the rear axle, left positive.

        Returns (wheel speed accepted, sideways speed accepted).
        """
        c = self._config
        return kernels.update_body_velocity(
            self.state,
            self.covariance,
            wheel_speed,
            c.wheel_speed_sigma,
            slip_speed,
            slip_sigma,
            c.vertical_speed_sigma,
            c.gate_1d,
        )

    def update_heading(self, heading: float, sigma: float) -> bool:
        return bool(kernels.update_heading(self.state, self.covariance, heading, sigma, self._config.gate_1d))


def tuning_of(config: LocalizationConfig) -> FloatArray:
    """What `kernels.advance` needs of the parameters, in its order."""
    c = config
    return np.array(
        [
            c.standstill_speed, c.standstill_rate, c.standstill_estimate, c.standstill_speed_sigma,
            c.standstill_rate_sigma, c.wheel_speed_sigma, c.rear_slip_angle, c.rear_slip_spread, c.lateral_speed_sigma,
            c.vertical_speed_sigma, c.gate_1d, c.gravity,
        ]
    )  # fmt: skip


def process_noise(config: LocalizationConfig, dt: float) -> FloatArray:
    """(11,): spectral densities of accelerometer, gyro, gyro bias, accelerometer bias and wheel
    scale; decay factors of GNSS and heading bias over ``dt``; their variances gained in ``dt``; those that
    the lidar odometry's frame gains a metre, in place and yaw."""
    gnss_decay = math.exp(-dt / config.gnss_bias_time)
    heading_decay = math.exp(-dt / config.heading_bias_time)
    return np.array(
        [
            config.accelerometer_noise**2,
            config.gyro_noise**2,
            config.gyro_bias_walk**2,
            config.accelerometer_bias_walk**2,
            config.wheel_scale_walk**2,
            gnss_decay,
            heading_decay,
            (1.0 - gnss_decay**2) * config.gnss_bias_sigma**2,
            (1.0 - heading_decay**2) * config.heading_bias_sigma**2,
            config.odometry_drift**2,
            config.odometry_turn**2,
        ]
    )


def initial_filter(
    config: LocalizationConfig,
    position: FloatArray,
    yaw: float,
    speed: float,
    position_sigma: FloatArray,
    yaw_sigma: float,
    force: FloatArray | None = None,
    sensed: bool = True,
) -> ErrorStateFilter:
    """A filter at ``position`` (map, base_link), level or, where ``force`` (specific force of the
    standing car) is given, tilted so that gravity explains it. ``sensed``: position and heading come from GNSS and
    the heading reference; they share the slow errors of these, and the covariance says so."""
    roll = pitch = 0.0
    if force is not None:
        roll = math.atan2(force[1], force[2])
        pitch = math.atan2(-force[0], math.hypot(force[1], force[2]))
    state = np.zeros(kernels.NOMINAL)
    state[:3] = position
    state[6] = 1.0
    kernels.rotate(state, 0.0, 0.0, yaw, False)
    kernels.rotate(state, 0.0, pitch, 0.0, False)
    kernels.rotate(state, roll, 0.0, 0.0, False)
    state[3:6] = kernels.rotation(state)[:, 0] * speed
    cov = np.zeros((kernels.ERROR, kernels.ERROR))

    def put(index: int, sigma: float, count: int = 3) -> None:
        for i in range(index, index + count):
            cov[i, i] = sigma**2

    for i in range(3):
        cov[i, i] = position_sigma[i] ** 2
    put(_V, max(config.wheel_speed_sigma, config.wheel_scale_sigma * abs(speed)))
    put(_TH, config.tilt_sigma, 2)
    put(_TH + 2, yaw_sigma, 1)
    put(_BG, config.gyro_bias_sigma)
    put(_BA, config.accelerometer_bias_sigma)
    put(_K, config.wheel_scale_sigma, 1)
    put(_GB, config.gnss_bias_sigma, 2)
    put(_HB, config.heading_bias_sigma, 1)
    if not sensed:
        return ErrorStateFilter(config, state, cov)
    # the first position is the first fix and the first heading the first reading: errors go with theirs
    for i in range(2):
        cov[i, i] += config.gnss_bias_sigma**2
        cov[i, _GB + i] = cov[_GB + i, i] = -(config.gnss_bias_sigma**2)
    cov[_TH + 2, _TH + 2] += config.heading_bias_sigma**2
    cov[_TH + 2, _HB] = cov[_HB, _TH + 2] = -(config.heading_bias_sigma**2)
    return ErrorStateFilter(config, state, cov)


def compile_kernels(config: LocalizationConfig) -> None:
    """Run every kernel once, so that the first real step is as quick as the others."""
    zero, one = np.zeros(3), np.ones(3)
    scratch = initial_filter(config, zero, 0.0, 0.0, one, 1.0, np.array([0.0, 0.0, config.gravity]))
    scratch.predict(zero, zero, 0.02, one)
    scratch.update_position(zero, zero, one)
    scratch.update_body_velocity(0.0, 0.0, 1.0)
    scratch.update_heading(0.0, 1.0)
    scratch.advance(Motion(zero, zero, zero, zero, 0.02), one)
    scratch.pose()
    scratch.readout((0.0, 0.0, 0.0), (0.0, 0.0), zero, zero)
