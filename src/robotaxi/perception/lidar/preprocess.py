"""From a raw sweep to finite, motion-compensated points in ``base_link``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.types import EgoState, LidarSweep, VehicleParams, point_times

Points = NDArray[np.float32]


class SweepError(ValueError):
    """A sweep that cannot be read at all; the message names the field or matrix."""


@dataclass(frozen=True)
class PreprocessConfig:
    """Which points are looked at."""

    max_range: float = param(70.0, lo=5.0, hi=250.0, unit="m", doc="points farther from base_link are ignored")
    body_margin: float = param(0.15, lo=0.0, hi=2.0, unit="m", doc="returns this close to the own body are dropped")
    motion_compensation: bool = param(
        True, doc="move each point by the ego motion between its time and the stamp; off for drivers that have done it"
    )


def to_base_link(
    sweep: LidarSweep, state: EgoState | None, vehicle: VehicleParams, config: PreprocessConfig
) -> tuple[Points, NDArray[np.float32]]:
    """Points of the sweep in ``base_link`` at the sweep's stamp.

    Drops points that are not finite, out of range or on the own body. With ``motion_compensation``,
    a ``time`` field and a ``state``, each point is moved by the ego motion between its time and the stamp (constant
    speed and yaw rate).

    Returns xyz (M, 3) float32 and the time since the stamp (M,), s, at which the world was as the
    points show it: zero without motion compensation. An empty sweep gives empty arrays.
    Raises SweepError when ``x y z`` are missing or T_base_lidar is no transform.
    """
    transform = np.asarray(sweep.T_base_lidar, dtype=np.float64)
    if transform.shape != (4, 4) or not np.isfinite(transform).all():
        raise SweepError(f"T_base_lidar must be a finite 4x4 matrix, is {transform.shape}")
    names = sweep.points.dtype.names or ()
    missing = [axis for axis in "xyz" if axis not in names]
    if missing:
        raise SweepError(f"sweep has no field '{missing[0]}'; its fields are {', '.join(names) or 'none'}")
    x, y, z = (_column(sweep.points[axis]) for axis in "xyz")
    told = point_times(sweep.points) if config.motion_compensation and state is not None else None
    time = np.zeros(len(x), np.float32) if told is None else told.astype(np.float32)
    motion = (state.speed, state.yaw_rate) if state is not None and told is not None else (0.0, 0.0)
    if not np.isfinite(motion).all():
        motion = (0.0, 0.0)
    body = np.array([-vehicle.rear_overhang, vehicle.front, -vehicle.width / 2, vehicle.width / 2, vehicle.height])
    body += config.body_margin * np.array([-1.0, 1.0, -1.0, 1.0, 1.0])
    return _transform(
        x,
        y,
        z,
        time,
        np.ascontiguousarray(transform),
        float(motion[0]),
        float(motion[1]),
        body,
        config.max_range,
    )


def _column(values: NDArray[Any]) -> NDArray[np.float32]:
    """Contiguous float32 copy, so that the compiled kernels see one array type only."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(values, dtype=np.float32, order="C").reshape(-1)


@njit(cache=True)
def _transform(x, y, z, time, T, speed, yaw_rate, body, max_range):  # type: ignore[no-untyped-def]
    n = x.size
    out = np.empty((n, 3), np.float32)
    out_time = np.empty(n, np.float32)
    limit = max_range * max_range
    m = 0
    for i in range(n):
        px, py, pz = float(x[i]), float(y[i]), float(z[i])
        # written so that NaN fails it too; the lidar's own range bounds the products below
        if not (px * px + py * py + pz * pz < 4.0 * limit):
            continue
        bx = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
        by = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
        bz = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        if px == 0.0 and py == 0.0 and pz == 0.0:
            continue  # how many drivers write "no return"
        if body[0] < bx < body[1] and body[2] < by < body[3] and bz < body[4]:
            continue
        t = float(time[i])
        if t != 0.0 and (speed != 0.0 or yaw_rate != 0.0):
            # second order in the small turn angle is below 1e-4 rad for one sweep
            turn = yaw_rate * t
            c, s = 1.0 - 0.5 * turn * turn, turn
            forward = speed * t
            bx, by = c * bx - s * by + forward, s * bx + c * by + 0.5 * forward * turn
        if bx * bx + by * by > limit:
            continue
        out[m, 0], out[m, 1], out[m, 2] = bx, by, bz
        out_time[m] = t
        m += 1
    return out[:m].copy(), out_time[:m].copy()
