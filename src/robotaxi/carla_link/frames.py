"""CARLA's left-handed frames (x forward, y right, degrees) to REP-103 (y left, radians) and back.

OpenDRIVE's inertial frame is our ``map``; CARLA's world is the same with y negated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robotaxi.types import FloatArray

_MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])


def map_from_carla(location: Sequence[float], rotation_deg: Sequence[float]) -> FloatArray:
    """T_map_actor (4x4) of a CARLA transform: location (x, y, z) m, rotation (pitch, yaw, roll) degrees."""
    pitch, yaw, roll = (math.radians(v) for v in rotation_deg)
    cp, sp, cy, sy, cr, sr = (
        math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw), math.cos(roll), math.sin(roll),
    )  # fmt: skip
    carla = np.array(
        [
            [cp * cy, cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr, location[0]],
            [cp * sy, sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr, location[1]],
            [sp, -cp * sr, cp * cr, location[2]],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    return np.asarray(_MIRROR @ carla @ _MIRROR)


def carla_from_map(T_map_actor: FloatArray) -> tuple[list[float], list[float]]:
    """CARLA location (x, y, z) and rotation (pitch, yaw, roll) in degrees of a transform in ``map``."""
    carla = _MIRROR @ T_map_actor @ _MIRROR
    pitch = math.asin(min(max(float(carla[2, 0]), -1.0), 1.0))
    yaw = math.atan2(float(carla[1, 0]), float(carla[0, 0]))
    roll = math.atan2(-float(carla[2, 1]), float(carla[2, 2]))
    location = [float(v) for v in carla[:3, 3]]
    return location, [math.degrees(pitch), math.degrees(yaw), math.degrees(roll)]


def planar(x: float, y: float, z: float, yaw: float, pitch: float = 0.0) -> FloatArray:
    """T_map_actor (4x4) of an upright body; positive ``pitch`` looks down (REP-103)."""
    c, s, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    return np.array([[c * cp, -s, c * sp, x], [s * cp, c, s * sp, y], [-sp, 0.0, cp, z], [0.0, 0.0, 0.0, 1.0]])


def planar_many(x: FloatArray, y: FloatArray, z: FloatArray, yaw: FloatArray, pitch: FloatArray) -> FloatArray:
    """(N, 4, 4) of N bodies: see `planar`."""
    c, s, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    out = np.zeros((len(x), 4, 4))
    out[:, 0, 0], out[:, 0, 1], out[:, 0, 2], out[:, 0, 3] = c * cp, -s, c * sp, x
    out[:, 1, 0], out[:, 1, 1], out[:, 1, 2], out[:, 1, 3] = s * cp, c, s * sp, y
    out[:, 2, 0], out[:, 2, 2], out[:, 2, 3] = -sp, cp, z
    out[:, 3, 3] = 1.0
    return out
