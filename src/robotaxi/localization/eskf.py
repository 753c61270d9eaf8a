"""Error-state Kalman filter over IMU, satellite positions, wheels and heading.

After J. Solà, "Quaternion kinematics for the error-state Kalman filter" (arXiv 1711.02508, 2017),
section 7 (global angular error), in a local ENU frame without earth rotation. Two Gauss-Markov
states take the slowly varying errors of satellite positions and of the heading reference, so that
averaging many fixes does not make the filter believe more than those sensors know.

Nominal state (20): position 0:3, velocity 3:6 in map, quaternion w x y z 6:10 (base to map), gyro
bias 10:13, accelerometer bias 13:16, wheel scale 16 (reads (1 + k) times the speed), GNSS bias 17:19,
heading bias 19. Error state (19): the same with a rotation vector in map axes in place of the quaternion.

Vector measurements with independent noise are applied one scalar at a time, which is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from robotaxi.localization.config import LocalizationConfig
from robotaxi.types import FloatArray

NOMINAL = 20
ERROR = 19
# indices of the error state
_P, _V, _TH, _BG, _BA, _K, _GB, _HB = 0, 3, 6, 9, 12, 15, 16, 18
# indices of the nominal state behind the quaternion
_Q, _NBG, _NBA, _NK, _NGB, _NHB = 6, 10, 13, 16, 17, 19


@njit(cache=True)
def rotation(state: FloatArray) -> FloatArray:
    """Rotation matrix (3, 3) from base_link to map."""
    w, x, y, z = state[6], state[7], state[8], state[9]
    out = np.empty((3, 3))
    out[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    out[0, 1] = 2.0 * (x * y - w * z)
    out[0, 2] = 2.0 * (x * z + w * y)
    out[1, 0] = 2.0 * (x * y + w * z)
    out[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    out[1, 2] = 2.0 * (y * z - w * x)
    out[2, 0] = 2.0 * (x * z - w * y)
    out[2, 1] = 2.0 * (y * z + w * x)
    out[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    return out


@njit(cache=True)
def _rotate(state: FloatArray, rx: float, ry: float, rz: float, in_map: bool) -> None:
    """Turn the attitude by a rotation vector given in map axes (left) or body axes (right)."""
    angle = math.sqrt(rx * rx + ry * ry + rz * rz)
    # sinc is flat at zero: below 1e-8 rad its series has one term in double precision
    half_sinc = 0.5 if angle < 1e-8 else math.sin(0.5 * angle) / angle
    a, b, c, d = math.cos(0.5 * angle), rx * half_sinc, ry * half_sinc, rz * half_sinc
    w, x, y, z = state[6], state[7], state[8], state[9]
    if in_map:
        qw = a * w - b * x - c * y - d * z
        qx = a * x + b * w + c * z - d * y
        qy = a * y - b * z + c * w + d * x
        qz = a * z + b * y - c * x + d * w
    else:
        qw = w * a - x * b - y * c - z * d
        qx = w * b + x * a + y * d - z * c
        qy = w * c - x * d + y * a + z * b
        qz = w * d + x * c - y * b + z * a
    norm = math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
    state[6], state[7], state[8], state[9] = qw / norm, qx / norm, qy / norm, qz / norm


@njit(cache=True)
def _predict(
    state: FloatArray, cov: FloatArray, force: FloatArray, rate: FloatArray, dt: float, gravity: float, noise: FloatArray
) -> None:
    """Advance by ``dt`` with mean specific force and angular rate; ``noise`` as in `process_noise`."""
    rot = rotation(state)
    # map acceleration with the attitude in the middle of the interval
    wx, wy, wz = rate[0] - state[10], rate[1] - state[11], rate[2] - state[12]
    _rotate(state, 0.5 * wx * dt, 0.5 * wy * dt, 0.5 * wz * dt, False)
    mid = rotation(state)
    _rotate(state, 0.5 * wx * dt, 0.5 * wy * dt, 0.5 * wz * dt, False)
    fx, fy, fz = force[0] - state[13], force[1] - state[14], force[2] - state[15]
    sx = mid[0, 0] * fx + mid[0, 1] * fy + mid[0, 2] * fz
    sy = mid[1, 0] * fx + mid[1, 1] * fy + mid[1, 2] * fz
    sz = mid[2, 0] * fx + mid[2, 1] * fy + mid[2, 2] * fz
    acc = (sx, sy, sz - gravity)
    for i in range(3):
        state[i] += state[3 + i] * dt + 0.5 * acc[i] * dt * dt
        state[3 + i] += acc[i] * dt
    gnss_decay, heading_decay = noise[5], noise[6]
    state[17] *= gnss_decay
    state[18] *= gnss_decay
    state[19] *= heading_decay

    # F P: each block row needs only rows below it, so it can be done in place from the top
    n = cov.shape[0]
    for side in range(2):
        for j in range(n):
            c = cov[:, j] if side == 0 else cov[j, :]
            for i in range(3):
                c[i] += dt * c[3 + i]
            t0, t1, t2 = c[6], c[7], c[8]
            c[3] -= dt * (sy * t2 - sz * t1)
            c[4] -= dt * (sz * t0 - sx * t2)
            c[5] -= dt * (sx * t1 - sy * t0)
            for i in range(3):
                c[3 + i] -= dt * (rot[i, 0] * c[12] + rot[i, 1] * c[13] + rot[i, 2] * c[14])
                c[6 + i] -= dt * (rot[i, 0] * c[9] + rot[i, 1] * c[10] + rot[i, 2] * c[11])
            c[16] *= gnss_decay
            c[17] *= gnss_decay
            c[18] *= heading_decay
    for i in range(3):
        cov[3 + i, 3 + i] += noise[0] * dt
        cov[6 + i, 6 + i] += noise[1] * dt
        cov[9 + i, 9 + i] += noise[2] * dt
        cov[12 + i, 12 + i] += noise[3] * dt
    cov[15, 15] += noise[4] * dt
    cov[16, 16] += noise[7]
    cov[17, 17] += noise[7]
    cov[18, 18] += noise[8]


@njit(cache=True)
def _scalar_update(cov: FloatArray, delta: FloatArray, h: FloatArray, innovation: float, variance: float) -> None:
    """One scalar measurement; the correction accumulates in ``delta`` until `_inject`."""
    n = cov.shape[0]
    gain = np.zeros(n)
    seen = 0.0
    for j in range(n):
        if h[j] != 0.0:
            seen += h[j] * delta[j]
            for i in range(n):
                gain[i] += cov[i, j] * h[j]
    s = variance
    for j in range(n):
        s += h[j] * gain[j]
    residual = (innovation - seen) / s
    for i in range(n):
        delta[i] += gain[i] * residual
    for i in range(n):
        for j in range(i, n):
            value = cov[i, j] - gain[i] * gain[j] / s
            cov[i, j] = value
            cov[j, i] = value


@njit(cache=True)
def _variance(cov: FloatArray, a: FloatArray, b: FloatArray) -> float:
    """a' P b."""
    total = 0.0
    for i in range(cov.shape[0]):
        if a[i] != 0.0:
            for j in range(cov.shape[0]):
                total += a[i] * cov[i, j] * b[j]
    return total


@njit(cache=True)
def _inject(state: FloatArray, delta: FloatArray) -> None:
    for i in range(6):
        state[i] += delta[i]
    _rotate(state, delta[6], delta[7], delta[8], True)
    for i in range(10):
        state[10 + i] += delta[9 + i]


@njit(cache=True)
def _update_position(
    state: FloatArray,
    cov: FloatArray,
    offset: FloatArray,
    arm: FloatArray,
    sigma: FloatArray,
    gate_1d: float,
    gate_2d: float,
) -> tuple[bool, bool, float]:
    """Antenna position. ``offset``: measured minus predicted; ``arm``: lever arm in map axes, then.

    Returns (horizontal accepted, vertical accepted, horizontal squared Mahalanobis distance).
    """
    h = np.zeros((3, ERROR))
    for i in range(3):
        h[i, i] = 1.0
    # -[arm]x
    h[0, 7], h[0, 8] = arm[2], -arm[1]
    h[1, 6], h[1, 8] = -arm[2], arm[0]
    h[2, 6], h[2, 7] = arm[1], -arm[0]
    h[0, 16] = 1.0
    h[1, 17] = 1.0
    dx = offset[0] - state[17]
    dy = offset[1] - state[18]
    sxx = _variance(cov, h[0], h[0]) + sigma[0] ** 2
    syy = _variance(cov, h[1], h[1]) + sigma[1] ** 2
    sxy = _variance(cov, h[0], h[1])
    distance = (dx * dx * syy - 2.0 * dx * dy * sxy + dy * dy * sxx) / (sxx * syy - sxy * sxy)
    horizontal = distance <= gate_2d
    szz = _variance(cov, h[2], h[2]) + sigma[2] ** 2
    vertical = offset[2] * offset[2] / szz <= gate_1d
    delta = np.zeros(ERROR)
    if horizontal:
        _scalar_update(cov, delta, h[0], dx, sigma[0] ** 2)
        _scalar_update(cov, delta, h[1], dy, sigma[1] ** 2)
    if horizontal and vertical:
        _scalar_update(cov, delta, h[2], offset[2], sigma[2] ** 2)
    _inject(state, delta)
    return horizontal, vertical, distance


@njit(cache=True)
def _update_body_velocity(
    state: FloatArray, cov: FloatArray, wheel: float, wheel_sigma: float, slip: float, lateral: float, vertical: float, gate: float
) -> tuple[bool, bool]:
    """Wheel speed (NaN for none), sideways speed ``slip`` and no vertical speed at the rear axle.

    Returns (wheel accepted, lateral constraint accepted).
    """
    rot = rotation(state)
    body = np.zeros(3)
    h = np.zeros((3, ERROR))
    vx, vy, vz = state[3], state[4], state[5]
    for i in range(3):
        a, b, c = rot[0, i], rot[1, i], rot[2, i]
        body[i] = a * vx + b * vy + c * vz
        h[i, 3], h[i, 4], h[i, 5] = a, b, c
        # row i of R' [v]x
        h[i, 6] = b * vz - c * vy
        h[i, 7] = c * vx - a * vz
        h[i, 8] = a * vy - b * vx
    delta = np.zeros(ERROR)
    wheel_ok = False
    scale = 1.0 + state[16]
    if not math.isnan(wheel):
        for j in range(3, 9):
            h[0, j] *= scale
        h[0, 15] = body[0]
        innovation = wheel - scale * body[0]
        wheel_ok = innovation * innovation <= gate * (_variance(cov, h[0], h[0]) + wheel_sigma**2)
    sideways = slip - body[1]
    lateral_ok = sideways * sideways <= gate * (_variance(cov, h[1], h[1]) + lateral**2)
    if wheel_ok:
        _scalar_update(cov, delta, h[0], wheel - scale * body[0], wheel_sigma**2)
    if lateral_ok:
        _scalar_update(cov, delta, h[1], sideways, lateral**2)
        _scalar_update(cov, delta, h[2], -body[2], vertical**2)
    _inject(state, delta)
    return wheel_ok, lateral_ok


@njit(cache=True)
def _update_heading(state: FloatArray, cov: FloatArray, heading: float, sigma: float, gate: float) -> bool:
    rot = rotation(state)
    innovation = heading - math.atan2(rot[1, 0], rot[0, 0]) - state[19]
    innovation = math.atan2(math.sin(innovation), math.cos(innovation))
    h = np.zeros(ERROR)
    h[8] = 1.0
    h[18] = 1.0
    if innovation * innovation > gate * (_variance(cov, h, h) + sigma**2):
        return False
    delta = np.zeros(ERROR)
    _scalar_update(cov, delta, h, innovation, sigma**2)
    _inject(state, delta)
    return True


@njit(cache=True)
def _update_standstill(
    state: FloatArray, cov: FloatArray, rate: FloatArray, speed_sigma: float, rate_sigma: float
) -> None:
    """The car stands: velocity is zero and the gyro reads its bias."""
    delta = np.zeros(ERROR)
    h = np.zeros(ERROR)
    for i in range(3):
        h[:] = 0.0
        h[3 + i] = 1.0
        _scalar_update(cov, delta, h, -state[3 + i], speed_sigma**2)
        h[:] = 0.0
        h[9 + i] = 1.0
        _scalar_update(cov, delta, h, rate[i] - state[10 + i], rate_sigma**2)
    _inject(state, delta)


@dataclass(frozen=True, slots=True)
class PositionOutcome:
    """What became of one fix: ``distance`` is its horizontal offset from the estimate in metres."""

    accepted: bool
    east: float
    north: float

    @property
    def distance(self) -> float:
        return math.hypot(self.east, self.north)


class ErrorStateFilter:
    """Nominal state and error covariance with their predictions and updates. Owns its two arrays."""

    def __init__(self, config: LocalizationConfig, state: FloatArray, covariance: FloatArray) -> None:
        self.state = np.array(state, dtype=np.float64)
        self.covariance = np.array(covariance, dtype=np.float64)
        self._config = config

    @property
    def position(self) -> FloatArray:
        return self.state[:3]

    @property
    def yaw(self) -> float:
        w, x, y, z = self.state[6:10].tolist()
        return math.atan2(2.0 * (x * y + w * z), 1.0 - 2.0 * (y * y + z * z))

    def rotation(self) -> FloatArray:
        """3x3, base_link to map."""
        return rotation(self.state)

    def predict(self, force: FloatArray, rate: FloatArray, dt: float, inflation: float = 1.0) -> None:
        """``inflation`` multiplies the noise variances, for samples that had to be guessed."""
        noise = process_noise(self._config, dt)
        noise[:2] *= inflation
        _predict(self.state, self.covariance, force, rate, dt, self._config.gravity, noise)

    def update_position(self, offset: FloatArray, arm: FloatArray, sigma: FloatArray) -> PositionOutcome:
        """``offset``: measured minus predicted antenna position (map); ``arm``: lever arm (map)."""
        c = self._config
        east, north = float(offset[0] - self.state[_NGB]), float(offset[1] - self.state[_NGB + 1])
        accepted, _, _ = _update_position(self.state, self.covariance, offset, arm, sigma, c.gate_1d, c.gate_2d)
        return PositionOutcome(bool(accepted), east, north)

    def update_body_velocity(self, wheel_speed: float, slip_speed: float, slip_sigma: float) -> tuple[bool, bool]:
        """``wheel_speed`` NaN for none; ``slip_speed`` sideways speed of the rear axle, left positive.

        Returns (wheel speed accepted, sideways speed accepted).
        """
        c = self._config
        return _update_body_velocity(
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
        return bool(_update_heading(self.state, self.covariance, heading, sigma, self._config.gate_1d))

    def update_standstill(self, rate: FloatArray) -> None:
        c = self._config
        _update_standstill(self.state, self.covariance, rate, c.standstill_speed_sigma, c.standstill_rate_sigma)


def process_noise(config: LocalizationConfig, dt: float) -> FloatArray:
    """(9,): spectral densities of accelerometer, gyro, gyro bias, accelerometer bias and wheel
    scale; decay factors of GNSS and heading bias over ``dt``; their variances gained in ``dt``."""
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
) -> ErrorStateFilter:
    """A filter at ``position`` (map, base_link), level or, where ``force`` (specific force of the
    standing car) is given, tilted so that gravity explains it. Position and heading may share the slow errors
    of their sensors, and the covariance says so."""
    roll = pitch = 0.0
    if force is not None:
        roll = math.atan2(force[1], force[2])
        pitch = math.atan2(-force[0], math.hypot(force[1], force[2]))
    state = np.zeros(NOMINAL)
    state[:3] = position
    state[6] = 1.0
    _rotate(state, 0.0, 0.0, yaw, False)
    _rotate(state, 0.0, pitch, 0.0, False)
    _rotate(state, roll, 0.0, 0.0, False)
    state[3:6] = rotation(state)[:, 0] * speed
    cov = np.zeros((ERROR, ERROR))

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
    # the first position is the first fix and the first heading the first reading: errors go with theirs
    for i in range(2):
        cov[i, i] += config.gnss_bias_sigma**2
        cov[i, _GB + i] = cov[_GB + i, i] = -(config.gnss_bias_sigma**2)
    cov[_TH + 2, _TH + 2] += config.heading_bias_sigma**2
    cov[_TH + 2, _HB] = cov[_HB, _TH + 2] = -(config.heading_bias_sigma**2)
    return ErrorStateFilter(config, state, cov)
