"""Sensors that measure wrongly, as changes to their messages (rosbags' types). Pure functions of message and time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robotaxi.pointcloud2 import from_cloud

_METRES_PER_DEGREE = 111_319.5  # on the equator of WGS 84
_SECTOR_MIDDLE_DEG = 45.0  # of a blind sector: ahead on the left
_SPOTS = 24
_TURN_SHARE = 0.1  # rad/s about the vertical for each m/s^2 of a bias


def shifted_image(message: Any, pixels: float) -> None:
    """The mounting has turned: everything is so many pixels farther right; what is not seen is black."""
    picture = _picture(message)
    by = round(min(max(pixels, -picture.shape[1]), picture.shape[1]))
    moved = np.zeros_like(picture)
    if by >= 0:
        moved[:, by:] = picture[:, : picture.shape[1] - by]
    else:
        moved[:, :by] = picture[:, -by:]
    message.data = moved.reshape(-1)


def dirty_image(message: Any, share: float) -> None:
    """Spots of mud that stay where they are cover about a ``share`` of the picture."""
    picture = _picture(message)
    height, width = picture.shape[:2]
    rng = np.random.default_rng(0xD1127)
    radius = math.sqrt(min(max(share, 0.0), 1.0) * height * width / (_SPOTS * math.pi))
    v, u = np.mgrid[0:height, 0:width]
    soiled = np.zeros((height, width))
    for x, y, size in rng.random((_SPOTS, 3)):
        r = radius * (0.6 + 0.8 * size)
        soiled = np.maximum(soiled, 1.0 - np.hypot(u - x * width, v - y * height) / max(r, 1e-9))
    cover = np.clip(4.0 * soiled, 0.0, 0.95)[..., None]
    mud = np.array([52.0, 66.0, 78.0])[: picture.shape[2]]
    message.data = np.rint(picture * (1.0 - cover) + mud * cover).astype(np.uint8).reshape(-1)


def lidar_without_sector(message: Any, width_deg: float) -> None:
    """Nothing comes back from a sector: something covers the housing there."""
    points = from_cloud(message)
    bearing = np.degrees(np.arctan2(points["y"], points["x"]))
    off = np.abs((bearing - _SECTOR_MIDDLE_DEG + 180.0) % 360.0 - 180.0)
    _keep(message, points[off > width_deg / 2.0])


def tilted_lidar(message: Any, pitch_deg: float) -> None:
    """The mounting has given way: the sensor looks down by an angle that nobody knows of."""
    points = from_cloud(message).copy()
    c, s = math.cos(math.radians(pitch_deg)), math.sin(math.radians(pitch_deg))
    x, z = points["x"].copy(), points["z"].copy()
    points["x"], points["z"] = c * x - s * z, s * x + c * z
    _keep(message, points)


def moved_fix(message: Any, east: float) -> None:
    """A position so many metres farther east."""
    message.longitude += east / (_METRES_PER_DEGREE * max(math.cos(math.radians(message.latitude)), 1e-3))


def biased_imu(message: Any, forward: float) -> None:
    """A step of the forward accelerometer's bias (m/s^2), and with it of the yaw rate's."""
    message.linear_acceleration.x += forward
    message.angular_velocity.z += _TURN_SHARE * forward


def _picture(message: Any) -> np.ndarray:
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width, -1)


def _keep(message: Any, points: np.ndarray) -> None:
    message.width = len(points)
    message.height = 1
    message.row_step = message.width * message.point_step
    message.data = np.frombuffer(points.tobytes(), np.uint8)
