"""Where a camera was when it took a picture."""

from __future__ import annotations

import numpy as np

from robotaxi.types import EgoState, FloatArray


def camera_pose(
    state: EgoState, stamp_ns: int, T_base_optical: FloatArray, max_extrapolation: float
) -> tuple[FloatArray, FloatArray]:
    """Camera centre (3,) in map and R_optical_map (3, 3) at ``stamp_ns``: ``state`` is carried there by its own speed
    and yaw rate, unless that is longer than ``max_extrapolation`` s from it."""
    dt = (stamp_ns - state.stamp_ns) * 1e-9
    if abs(dt) > max_extrapolation or not np.isfinite([state.speed, state.yaw_rate]).all():
        dt = 0.0
    middle_yaw = state.yaw + 0.5 * dt * state.yaw_rate
    yaw = state.yaw + dt * state.yaw_rate
    cos, sin = np.cos(yaw), np.sin(yaw)
    map_from_base = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    way = dt * state.speed * np.array([np.cos(middle_yaw), np.sin(middle_yaw), 0.0])
    base = np.array([state.x, state.y, state.z]) + way
    position = base + map_from_base @ T_base_optical[:3, 3]
    return position, (map_from_base @ T_base_optical[:3, :3]).T
