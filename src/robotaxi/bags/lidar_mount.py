"""Where a lidar sits on a car that did not say: height and tilt from the road, heading from the front camera."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray, VehicleParams

_HEIGHTS = (0.8, 4.0)  # m above the road, from a low car's bonnet to a bus's roof
_OF_THE_CAR = (-0.3, 0.8)  # m, of points given in the car's own frame: axle or ground
_CLEARLY = 1.5  # so many times the support makes the less usual of the two
_RANGES = (3.0, 20.0)  # m within which the road is looked for
_BIN = 0.05  # m
_SIGMA = 0.08  # m, scatter of a road
_SLOPE = 0.12  # a mount tilted more than this against the road is a mistake
_FORWARD = 0.8  # m from the rear axle to the roof's middle, of a usual car
BODY = VehicleParams(
    name="recorded", wheelbase=2.8, length=5.2, width=2.1, height=1.95, rear_overhang=1.5, max_steering=0.6,
    max_steering_rate=0.5, max_acceleration=2.0, max_deceleration=6.0, steering_lag=0.1, steering_delay=0.1,
    drive_lag=0.1, drive_delay=0.1,
)  # fmt: skip
"""Covers the bodies of the cars that usually record."""


def estimate_mount(clouds: Iterable[NDArray[np.floating]], forward: FloatArray) -> tuple[FloatArray, bool]:
    """T_base_lidar (4x4) from sweeps (N, 3) in the lidar's frame and the car's ``forward`` direction (3,) in it.

    The road is the best supported plane below the lidar. Returns False beside a level mount at 1.8 m when there is
    none to be seen. Sideways the lidar is taken to sit in the middle, lengthways on the roof. Points that are given in
    the car's own frame, with the road right below its origin, stay where they are lengthways.
    """
    fits = [fit for fit in (_road(np.asarray(cloud, np.float64)) for cloud in clouds) if fit is not None]
    plane = np.median(fits, axis=0) if fits else np.array([-1.8, 0.0, 0.0])
    up = np.array([-plane[1], -plane[2], 1.0])
    up /= np.linalg.norm(up)
    ahead = np.asarray(forward, np.float64) - np.dot(forward, up) * up
    ahead /= np.linalg.norm(ahead)
    out = np.eye(4)
    out[:3, :3] = np.stack([ahead, np.cross(up, ahead), up])
    height = -plane[0] * up[2]
    out[:3, 3] = [_FORWARD if height > _OF_THE_CAR[1] else 0.0, 0.0, height]
    return out, bool(fits)


def _road(xyz: FloatArray) -> FloatArray | None:
    """(a, b, c) of z = a + b x + c y, or None."""
    usual, support = _plane(xyz, _HEIGHTS)
    other, more = _plane(xyz, _OF_THE_CAR)
    return other if more > _CLEARLY * support else usual


def _plane(xyz: FloatArray, heights: tuple[float, float]) -> tuple[FloatArray | None, int]:
    """The best supported plane so far below the origin, and how many patches of ground support it."""
    ranges = np.hypot(xyz[:, 0], xyz[:, 1])
    near = xyz[(ranges > _RANGES[0]) & (ranges < _RANGES[1]) & np.isfinite(xyz).all(axis=1)]
    low = near[(near[:, 2] < -heights[0]) & (near[:, 2] > -heights[1])]
    if len(low) < 200:
        return None, 0
    # equal say for each patch of ground: rings near the car hold most of the returns
    patch = np.floor(low[:, :2]).astype(np.int64)
    _, first = np.unique(patch[:, 0] * 1000 + patch[:, 1], return_index=True)
    low = low[first]
    count, edges = np.histogram(low[:, 2], np.arange(-heights[1], -heights[0] + _BIN, _BIN))
    smooth = np.convolve(count, np.ones(5), "same")
    plane = np.array([edges[int(smooth.argmax())] + 0.5 * _BIN, 0.0, 0.0])
    rows = np.column_stack([np.ones(len(low)), low[:, :2]])
    for widen in (5.0, 3.0, 2.0, 1.5, 1.0, 1.0):
        residual = low[:, 2] - rows @ plane
        weight = 1.0 / np.square(1.0 + np.square(residual / (widen * _SIGMA)))
        normal = (rows * weight[:, None]).T @ rows + np.diag([1e-6, 1.0, 1.0])
        plane = np.linalg.solve(normal, (rows * weight[:, None]).T @ low[:, 2])
    if np.abs(plane[1:]).max() > _SLOPE:
        return None, 0
    near_it = np.abs(low[:, 2] - rows @ plane) < 2.0 * _SIGMA
    return plane, int(near_it.sum())
