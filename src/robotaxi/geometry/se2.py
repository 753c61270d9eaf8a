"""Planar rigid transforms and angles. Yaw is counter-clockwise from x, radians."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotaxi.types import Pose2

FloatArray = NDArray[np.float64]


def wrap_angle(angle: float) -> float:
    """The same direction in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


def wrap_angles(angles: ArrayLike) -> FloatArray:
    """`wrap_angle` for an array of any shape."""
    return np.asarray((np.asarray(angles, dtype=np.float64) + math.pi) % (2.0 * math.pi) - math.pi)


def compose(a: Pose2, b: Pose2) -> Pose2:
    """Pose ``b``, given in the frame of ``a``, in the frame that ``a`` is given in."""
    c, s = math.cos(a.yaw), math.sin(a.yaw)
    return Pose2(a.x + c * b.x - s * b.y, a.y + s * b.x + c * b.y, wrap_angle(a.yaw + b.yaw))


def inverse(pose: Pose2) -> Pose2:
    """The pose of the outer frame's origin as seen from ``pose``."""
    c, s = math.cos(pose.yaw), math.sin(pose.yaw)
    return Pose2(-c * pose.x - s * pose.y, s * pose.x - c * pose.y, wrap_angle(-pose.yaw))


def relative(a: Pose2, b: Pose2) -> Pose2:
    """Pose ``b`` in the frame of ``a``, both given in the same frame."""
    c, s = math.cos(a.yaw), math.sin(a.yaw)
    dx, dy = b.x - a.x, b.y - a.y
    return Pose2(c * dx + s * dy, -s * dx + c * dy, wrap_angle(b.yaw - a.yaw))


def to_outer(pose: Pose2, points: ArrayLike) -> FloatArray:
    """Points (N, 2) given in the frame of ``pose``, in the frame that ``pose`` is given in."""
    p = np.asarray(points, dtype=np.float64)
    c, s = math.cos(pose.yaw), math.sin(pose.yaw)
    return np.stack([pose.x + c * p[..., 0] - s * p[..., 1], pose.y + s * p[..., 0] + c * p[..., 1]], axis=-1)


def to_local(pose: Pose2, points: ArrayLike) -> FloatArray:
    """Points (N, 2) of the outer frame, in the frame of ``pose``."""
    p = np.asarray(points, dtype=np.float64)
    c, s = math.cos(pose.yaw), math.sin(pose.yaw)
    dx, dy = p[..., 0] - pose.x, p[..., 1] - pose.y
    return np.stack([c * dx + s * dy, -s * dx + c * dy], axis=-1)
