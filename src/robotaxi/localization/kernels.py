"""Numerics of the error-state filter, compiled. State layout, frames and source: see `eskf`.

Plain loops in a fixed order: the same input gives the same bits whatever BLAS is installed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.types import FloatArray

NOMINAL = 23
ERROR = 22
_OX, _OYAW = 19, 21  # error states of the odometry's frame


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
def rotate(state: FloatArray, rx: float, ry: float, rz: float, in_map: bool) -> None:
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
def predict(
    state: FloatArray,
    cov: FloatArray,
    force: FloatArray,
    rate: FloatArray,
    dt: float,
    gravity: float,
    noise: FloatArray,
    lever_arm: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Advance by ``dt`` with mean specific force and angular rate; ``noise`` as in `process_noise`.

    Returns the displacement and the lever arm in map axes afterwards, each (3,).
    """
    rot = rotation(state)
    moved = np.empty(3)
    # map acceleration with the attitude in the middle of the interval
    wx, wy, wz = rate[0] - state[10], rate[1] - state[11], rate[2] - state[12]
    rotate(state, 0.5 * wx * dt, 0.5 * wy * dt, 0.5 * wz * dt, False)
    mid = rotation(state)
    rotate(state, 0.5 * wx * dt, 0.5 * wy * dt, 0.5 * wz * dt, False)
    fx, fy, fz = force[0] - state[13], force[1] - state[14], force[2] - state[15]
    sx = mid[0, 0] * fx + mid[0, 1] * fy + mid[0, 2] * fz
    sy = mid[1, 0] * fx + mid[1, 1] * fy + mid[1, 2] * fz
    sz = mid[2, 0] * fx + mid[2, 1] * fy + mid[2, 2] * fz
    acc = (sx, sy, sz - gravity)
    for i in range(3):
        moved[i] = state[3 + i] * dt + 0.5 * acc[i] * dt * dt
        state[i] += moved[i]
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
    way = math.hypot(moved[0], moved[1])
    cov[19, 19] += noise[9] * way
    cov[20, 20] += noise[9] * way
    cov[21, 21] += noise[10] * way
    rot = rotation(state)
    arm = np.empty(3)
    for i in range(3):
        arm[i] = rot[i, 0] * lever_arm[0] + rot[i, 1] * lever_arm[1] + rot[i, 2] * lever_arm[2]
    return moved, arm


@njit(cache=True)
def pose(state: FloatArray) -> tuple[float, float, float]:
    w, x, y, z = state[6], state[7], state[8], state[9]
    return state[0], state[1], math.atan2(2.0 * (x * y + w * z), 1.0 - 2.0 * (y * y + z * z))


@njit(cache=True)
def readout(
    state: FloatArray,
    cov: FloatArray,
    dx: float,
    dy: float,
    dyaw: float,
    doubt_east: float,
    doubt_north: float,
    force: FloatArray,
    rate: FloatArray,
    gravity: float,
    map_sigma: float,
    map_yaw_sigma: float,
    out: FloatArray,
    pose_cov: FloatArray,
) -> None:
    """Fills ``out`` (10,) and ``pose_cov`` (3, 3); see `ErrorStateFilter.readout`."""
    offset, contradiction = (dx, dy, dyaw), (doubt_east, doubt_north)
    rot = rotation(state)
    x, y, yaw = pose(state)
    out[0], out[1], out[2], out[3] = x + offset[0], y + offset[1], state[2], yaw + offset[2]
    out[4] = rot[0, 0] * state[3] + rot[1, 0] * state[4] + rot[2, 0] * state[5]
    out[5] = force[0] - state[13] - rot[2, 0] * gravity
    out[6] = 0.0
    for i in range(3):
        out[6] += rot[2, i] * (rate[i] - state[10 + i])
    for i in range(3):
        for j in range(3):
            value = cov[0 if i == 0 else (1 if i == 1 else 8), 0 if j == 0 else (1 if j == 1 else 8)]
            value += offset[i] * offset[j]
            if i < 2 and j < 2:
                value += contradiction[i] * contradiction[j]
            pose_cov[i, j] = value
    pose_cov[0, 0] += map_sigma**2
    pose_cov[1, 1] += map_sigma**2
    pose_cov[2, 2] += map_yaw_sigma**2
    left_x, left_y = -math.sin(out[3]), math.cos(out[3])
    lateral = left_x**2 * pose_cov[0, 0] + 2.0 * left_x * left_y * pose_cov[0, 1] + left_y**2 * pose_cov[1, 1]
    out[7] = math.sqrt(max(lateral, 0.0))
    out[8] = math.sqrt(max(pose_cov[2, 2], 0.0))
    along = left_y**2 * pose_cov[0, 0] - 2.0 * left_x * left_y * pose_cov[0, 1] + left_x**2 * pose_cov[1, 1]
    out[9] = math.sqrt(max(along, 0.0))


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
                if b[j] != 0.0:
                    total += a[i] * cov[i, j] * b[j]
    return total


@njit(cache=True)
def _inject(state: FloatArray, delta: FloatArray) -> None:
    for i in range(6):
        state[i] += delta[i]
    rotate(state, delta[6], delta[7], delta[8], True)
    for i in range(9, len(delta)):
        state[1 + i] += delta[i]


@njit(cache=True)
def update_position(
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
    h = np.zeros((3, cov.shape[0]))
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
    delta = np.zeros(cov.shape[0])
    if horizontal:
        _scalar_update(cov, delta, h[0], dx, sigma[0] ** 2)
        _scalar_update(cov, delta, h[1], dy, sigma[1] ** 2)
    if horizontal and vertical:
        _scalar_update(cov, delta, h[2], offset[2], sigma[2] ** 2)
    _inject(state, delta)
    return horizontal, vertical, distance


@njit(cache=True)
def update_body_velocity(
    state: FloatArray,
    cov: FloatArray,
    wheel: float,
    wheel_sigma: float,
    slip: float,
    lateral: float,
    vertical: float,
    gate: float,
) -> tuple[bool, bool]:
    """Wheel speed (NaN for none), sideways speed ``slip`` and no vertical speed at the rear axle.

    Returns (wheel accepted, lateral constraint accepted).
    """
    rot = rotation(state)
    body = np.zeros(3)
    h = np.zeros((3, cov.shape[0]))
    vx, vy, vz = state[3], state[4], state[5]
    for i in range(3):
        a, b, c = rot[0, i], rot[1, i], rot[2, i]
        body[i] = a * vx + b * vy + c * vz
        h[i, 3], h[i, 4], h[i, 5] = a, b, c
        # row i of R' [v]x
        h[i, 6] = b * vz - c * vy
        h[i, 7] = c * vx - a * vz
        h[i, 8] = a * vy - b * vx
    delta = np.zeros(cov.shape[0])
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
def update_heading(state: FloatArray, cov: FloatArray, heading: float, sigma: float, gate: float) -> bool:
    rot = rotation(state)
    innovation = heading - math.atan2(rot[1, 0], rot[0, 0]) - state[19]
    innovation = math.atan2(math.sin(innovation), math.cos(innovation))
    h = np.zeros(cov.shape[0])
    h[8] = 1.0
    h[18] = 1.0
    if innovation * innovation > gate * (_variance(cov, h, h) + sigma**2):
        return False
    delta = np.zeros(cov.shape[0])
    _scalar_update(cov, delta, h, innovation, sigma**2)
    _inject(state, delta)
    return True


@njit(cache=True)
def update_standstill(
    state: FloatArray, cov: FloatArray, rate: FloatArray, speed_sigma: float, rate_sigma: float
) -> None:
    """The car stands: velocity is zero and the gyro reads its bias."""
    delta = np.zeros(cov.shape[0])
    h = np.zeros(cov.shape[0])
    for i in range(3):
        h[:] = 0.0
        h[3 + i] = 1.0
        _scalar_update(cov, delta, h, -state[3 + i], speed_sigma**2)
        h[:] = 0.0
        h[9 + i] = 1.0
        _scalar_update(cov, delta, h, rate[i] - state[10 + i], rate_sigma**2)
    _inject(state, delta)


@njit(cache=True)
def begin_odometry(state: FloatArray, cov: FloatArray, measured: FloatArray) -> None:
    """A new frame of lidar odometry, placed so that ``measured`` (x, y, yaw in it) fits the estimate."""
    x, y, yaw = pose(state)
    turn = yaw - measured[2]
    c, s = math.cos(turn), math.sin(turn)
    state[20] = x - c * measured[0] + s * measured[1]
    state[21] = y - s * measured[0] - c * measured[1]
    state[22] = math.atan2(math.sin(turn), math.cos(turn))
    n = cov.shape[0]
    for i in range(_OX, _OYAW + 1):
        for j in range(n):
            cov[i, j] = 0.0
            cov[j, i] = 0.0
        cov[i, i] = 1e4 if i < _OYAW else 1.0


@njit(cache=True)
def update_odometry(
    state: FloatArray, cov: FloatArray, measured: FloatArray, directions: FloatArray, sigmas: FloatArray, gate: float
) -> bool:
    """``measured``: x, y, yaw of base_link in the frame of the lidar odometry, known along ``directions`` (K, 3; in
    that frame) to ``sigmas``. All or nothing, as `update_pose`."""
    x, y, yaw = pose(state)
    c, s = math.cos(state[22]), math.sin(state[22])
    dx, dy = x - state[20], y - state[21]
    error = np.empty(3)
    error[0] = measured[0] - (c * dx + s * dy)
    error[1] = measured[1] - (-s * dx + c * dy)
    turn = measured[2] - (yaw - state[22])
    error[2] = math.atan2(math.sin(turn), math.cos(turn))
    h = np.zeros((3, cov.shape[0]))
    h[0, 0], h[0, 1], h[1, 0], h[1, 1] = c, s, -s, c
    h[0, 19], h[0, 20], h[1, 19], h[1, 20] = -c, -s, s, -c
    h[0, 21], h[1, 21] = -s * dx + c * dy, -c * dx - s * dy
    h[2, 8], h[2, 21] = 1.0, -1.0
    rows = np.zeros((len(sigmas), cov.shape[0]))
    innovations = np.zeros(len(sigmas))
    for k in range(len(sigmas)):
        for i in range(3):
            innovations[k] += directions[k, i] * error[i]
            for j in range(cov.shape[0]):
                rows[k, j] += directions[k, i] * h[i, j]
        if innovations[k] ** 2 > gate * (_variance(cov, rows[k], rows[k]) + sigmas[k] ** 2):
            return False
    delta = np.zeros(cov.shape[0])
    for k in range(len(sigmas)):
        _scalar_update(cov, delta, rows[k], innovations[k], sigmas[k] ** 2)
    _inject(state, delta)
    return True


# what `advance` tells: displacement 0:3, lever arm in map axes 3:6, x, y, yaw before the updates 6:9 and after
# them 9:12, then 1 or 0
STILL, STANDING, WHEEL_OK, HEADING_OK, OUTCOME = 12, 13, 14, 15, 16


@njit(cache=True)
def advance(
    state: FloatArray,
    cov: FloatArray,
    force_before: FloatArray,
    force: FloatArray,
    rate_before: FloatArray,
    rate: FloatArray,
    dt: float,
    usable: bool,
    stood: bool,
    wheel: float,
    heading: float,
    heading_sigma: float,
    lever_arm: FloatArray,
    noise: FloatArray,
    tuning: FloatArray,
    out: FloatArray,
) -> None:
    """One tick: predict, judge whether the car stands, update by standstill, wheels, rear axle and heading.

    The readings are those of `eskf.Motion`, ``tuning`` that of `eskf`. Fills ``out`` (OUTCOME,).
    """
    mean_force, mean_rate = np.empty(3), np.empty(3)
    for i in range(3):
        # readings are instantaneous: the mean of both ends is the interval's
        mean_force[i] = 0.5 * (force_before[i] + force[i])
        mean_rate[i] = 0.5 * (rate_before[i] + rate[i])
    moved, arm = predict(state, cov, mean_force, mean_rate, dt, tuning[11], noise, lever_arm)
    for i in range(3):
        out[i], out[3 + i] = moved[i], arm[i]
    out[6], out[7], out[8] = pose(state)
    for i in range(STILL, OUTCOME):
        out[i] = 0.0
    speed = math.hypot(state[3], state[4])
    still = (
        usable
        and abs(wheel) <= tuning[0]
        and abs(rate[2] - state[12]) <= tuning[1]
        and speed <= tuning[2]  # a dead wheel encoder also reads zero
    )
    if still:
        out[STILL] = 1.0
        if stood:
            out[STANDING] = 1.0
            update_standstill(state, cov, rate, tuning[3], tuning[4])
            speed = math.hypot(state[3], state[4])
    # a turning car slides outwards at the rear by its tyres' slip angle
    slip = -tuning[6] * speed * (rate[2] - state[12]) * speed
    wheel_ok, _ = update_body_velocity(
        state, cov, wheel, tuning[5], slip, tuning[8] + tuning[7] * abs(slip), tuning[9], tuning[10]
    )
    out[WHEEL_OK] = 1.0 if wheel_ok else 0.0
    if math.isfinite(heading):
        accepted = update_heading(state, cov, heading, heading_sigma, tuning[10])
        out[HEADING_OK] = 1.0 if accepted else 0.0
    out[9], out[10], out[11] = pose(state)


@njit(cache=True)
def update_pose(
    state: FloatArray,
    cov: FloatArray,
    position: FloatArray,
    rotation_map_base: FloatArray,
    directions: FloatArray,
    sigmas: FloatArray,
    gate: float,
) -> bool:
    """Pose of base_link, known along ``directions`` (K, 6; position, rotation vector; map axes) to ``sigmas``.

    All or nothing: one direction beyond the gate refuses the pose.
    """
    rot = rotation(state)
    error = np.empty(6)
    for i in range(3):
        error[i] = position[i] - state[i]
    # rotation vector of R_measured R_state', small: the gate is far below a right angle
    turn = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                turn[i, j] += rotation_map_base[i, k] * rot[j, k]
    sx, sy, sz = turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]
    sine = 0.5 * math.sqrt(sx * sx + sy * sy + sz * sz)
    angle = math.atan2(sine, 0.5 * (turn[0, 0] + turn[1, 1] + turn[2, 2] - 1.0))
    scale = 0.5 if sine < 1e-9 else 0.5 * angle / sine
    error[3], error[4], error[5] = scale * sx, scale * sy, scale * sz
    rows = np.zeros((len(sigmas), cov.shape[0]))
    innovations = np.zeros(len(sigmas))
    for k in range(len(sigmas)):
        for i in range(3):
            rows[k, i] = directions[k, i]
            rows[k, 6 + i] = directions[k, 3 + i]
        for i in range(6):
            innovations[k] += directions[k, i] * error[i]
        if innovations[k] ** 2 > gate * (_variance(cov, rows[k], rows[k]) + sigmas[k] ** 2):
            return False
    delta = np.zeros(cov.shape[0])
    for k in range(len(sigmas)):
        _scalar_update(cov, delta, rows[k], innovations[k], sigmas[k] ** 2)
    _inject(state, delta)
    return True
