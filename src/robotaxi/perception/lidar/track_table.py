"""Tracks as one structured array, and the Kalman filter over all of them at once.

State of a track: centre of its full box and velocity, (x, y, vx, vy) in map, driven by white
acceleration (constant-velocity model).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray, ObjectClass, RecordArray

CLASSES = len(ObjectClass)

TRACK_DTYPE = np.dtype(
    [
        ("id", "<u4"),
        ("mean", "<f8", (4,)),  # x, y, vx, vy; map
        ("cov", "<f8", (4, 4)),
        ("yaw", "<f8"),
        ("seen_length", "<f8"),  # largest visible extent along and across the heading so far, m
        ("seen_width", "<f8"),
        ("last_extent", "<f8", (2,)),  # visible extent in the last sweep that showed it, m
        ("length", "<f8"),  # full box, m
        ("width", "<f8"),
        ("height", "<f8"),
        ("ground", "<f8"),  # z of the ground below it, map
        ("votes", "<f8", (CLASSES,)),  # fading count of labels
        ("label", "u1"),
        ("log_odds", "<f8"),  # of existence
        ("hits", "<i8"),
        ("seen_ns", "<i8"),  # stamp of the last detection
        ("anchor", "<f8", (2,)),  # where it stood when first seen
        ("moving_hits", "<i8"),  # detections in a row that speak for motion
        ("rest_ns", "<i8"),  # since when it has been at rest in its place
        ("moved", "?"),
    ]
)


def predict(tracks: RecordArray, dt: float, sigma_acceleration: FloatArray) -> None:
    """Move the tracks ``dt`` seconds on, in place; ``sigma_acceleration`` (N,) m/s^2."""
    mean, cov = tracks["mean"], tracks["cov"]
    mean[:, :2] += dt * mean[:, 2:]
    position, cross, velocity = cov[:, :2, :2].copy(), cov[:, :2, 2:].copy(), cov[:, 2:, 2:].copy()
    noise = np.square(sigma_acceleration)[:, None, None] * np.eye(2)
    cov[:, :2, :2] = position + dt * (cross + cross.transpose(0, 2, 1)) + dt**2 * velocity + dt**4 / 4 * noise
    cov[:, :2, 2:] = cross + dt * velocity + dt**3 / 2 * noise
    cov[:, 2:, :2] = cov[:, :2, 2:].transpose(0, 2, 1)
    cov[:, 2:, 2:] = velocity + dt**2 * noise


def update(tracks: RecordArray, innovation: FloatArray, noise: FloatArray, first: int) -> None:
    """Kalman update in place of two neighbouring state components from ``first`` on (0: position,
    2: velocity). ``innovation`` (N, 2), ``noise`` (N, 2, 2)."""
    part = slice(first, first + 2)
    cov = tracks["cov"]
    gain = cov[:, :, part] @ inverse2(cov[:, part, part] + noise)
    tracks["mean"] += (gain @ innovation[:, :, None])[:, :, 0]
    reduced = cov - gain @ cov[:, part, :]
    tracks["cov"] = 0.5 * (reduced + reduced.transpose(0, 2, 1))


def inverse2(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of 2x2 matrices (..., 2, 2) in closed form."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = np.stack([np.stack([d, -b], axis=-1), np.stack([-c, a], axis=-1)], axis=-2)
    return adjugate / (a * d - b * c)[..., None, None]
