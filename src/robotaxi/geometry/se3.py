"""Rigid transforms in space as 4x4 matrices ``T_a_b``: coordinates in ``b`` to coordinates in ``a``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def transform(
    x: float = 0.0, y: float = 0.0, z: float = 0.0, roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0
) -> FloatArray:
    """4x4 matrix of a pose; rotation ``Rz(yaw) Ry(pitch) Rx(roll)`` as in REP-103 (pitch down positive)."""
    cr, sr = math.cos(roll), math.sin(roll)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def inverse(T: FloatArray) -> FloatArray:
    """Inverse of a rigid 4x4 transform."""
    out = np.eye(4)
    out[:3, :3] = T[:3, :3].T
    out[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return out


def apply(T: FloatArray, points: ArrayLike) -> FloatArray:
    """Points (N, 3) in frame b, in frame a, for ``T`` = T_a_b."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ T[:3, :3].T + T[:3, 3])


def roll_pitch_yaw(T: FloatArray) -> tuple[float, float, float]:
    """The angles that `transform` takes; at pitch = +-90 degrees roll is given as 0."""
    sp = -float(T[2, 0])
    if abs(sp) > 1.0 - 1e-12:
        return 0.0, math.copysign(math.pi / 2.0, sp), math.atan2(-T[0, 1], T[1, 1])
    return (
        math.atan2(T[2, 1], T[2, 2]),
        math.asin(sp),
        math.atan2(T[1, 0], T[0, 0]),
    )


def quaternion(T: FloatArray) -> tuple[float, float, float, float]:
    """(x, y, z, w) of a rigid 4x4 transform, w >= 0 (Shepperd 1978: by the largest component)."""
    r = T[:3, :3]
    squares = (float(np.trace(r)), float(r[0, 0]), float(r[1, 1]), float(r[2, 2]))
    largest = squares.index(max(squares))
    if largest == 0:
        out = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1.0 + squares[0]])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        out = np.empty(4)
        out[i] = 1.0 + r[i, i] - r[j, j] - r[k, k]
        out[j], out[k], out[3] = r[j, i] + r[i, j], r[k, i] + r[i, k], r[k, j] - r[j, k]
    out = out / math.copysign(float(np.linalg.norm(out)), 1.0 if out[3] >= 0.0 else -1.0)
    return float(out[0]), float(out[1]), float(out[2]), float(out[3])


def rotation(x: float, y: float, z: float, w: float) -> FloatArray:
    """3x3 matrix of a unit quaternion."""
    return np.array(
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    )


def quaternion_from_yaw(yaw: float) -> tuple[float, float, float, float]:
    """(x, y, z, w) of a rotation about z."""
    return 0.0, 0.0, math.sin(yaw / 2.0), math.cos(yaw / 2.0)


def yaw_from_quaternion(x: float, y: float, z: float, w: float) -> float:
    """Yaw of a unit quaternion, radians."""
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
