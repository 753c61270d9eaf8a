"""Tracks as one structured array, and the Kalman filter over all of them at once.

State of a track: centre of its full box and velocity, (x, y, vx, vy) in map, driven by white
acceleration (constant-velocity model).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.types import FloatArray, ObjectClass, RecordArray

CLASSES = len(ObjectClass)

TRACK_DTYPE = np.dtype(
    [
        ("id", "<u4"),
        ("mean", "<f8", (4,)),  # x, y, vx, vy; map
        ("cov", "<f8", (4, 4)),
        ("yaw", "<f8"),
        ("facing", "<f8", (2,)),  # what is known of the heading, see `heading`
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
        ("looked", "?"),  # judged by the second look at least once
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
    mean, cov = _packed(tracks["mean"]), _packed(tracks["cov"])
    _predict(mean, cov, dt, _packed(np.square(sigma_acceleration)))
    tracks["mean"], tracks["cov"] = mean, cov


def update(tracks: RecordArray, innovation: FloatArray, noise: FloatArray, first: int) -> None:
    """Kalman update in place of two neighbouring state components from ``first`` on (0: position,
    2: velocity). ``innovation`` (N, 2), ``noise`` (N, 2, 2)."""
    mean, cov = _packed(tracks["mean"]), _packed(tracks["cov"])
    _update(mean, cov, _packed(innovation), _packed(noise), first)
    tracks["mean"], tracks["cov"] = mean, cov


def doubled(tracks: RecordArray) -> NDArray[np.bool_]:
    """Tracks whose centre lies inside the box of a better-known track."""
    size = np.stack([tracks["length"], tracks["width"]], axis=-1)
    result: NDArray[np.bool_] = _doubled(
        _packed(tracks["mean"]), _packed(tracks["yaw"]), size, _packed(tracks["hits"]), _packed(tracks["id"])
    )
    return result


def _packed(values: NDArray[Any]) -> NDArray[Any]:
    """A dense copy, so that the compiled kernels see one array type only."""
    return np.array(values, order="C")


@njit(cache=True)
def _predict(mean, cov, dt, variance):  # type: ignore[no-untyped-def]
    for i in range(mean.shape[0]):
        for a in range(2):
            mean[i, a] += dt * mean[i, a + 2]
        for a in range(2):
            for b in range(2):
                q = variance[i] if a == b else 0.0
                cross, turned = cov[i, a, b + 2], cov[i, b, a + 2]
                speed = cov[i, a + 2, b + 2]
                cov[i, a, b] += dt * (cross + turned) + dt**2 * speed + dt**4 / 4 * q
        for a in range(2):
            for b in range(2):
                q = variance[i] if a == b else 0.0
                cov[i, a, b + 2] += dt * cov[i, a + 2, b + 2] + dt**3 / 2 * q
        for a in range(2):
            for b in range(2):
                cov[i, b + 2, a] = cov[i, a, b + 2]
        for a in range(2):
            cov[i, a + 2, a + 2] += dt**2 * variance[i]


@njit(cache=True)
def _update(mean, cov, innovation, noise, first):  # type: ignore[no-untyped-def]
    gain, reduced = np.empty((4, 2)), np.empty((4, 4))
    for i in range(mean.shape[0]):
        a, b = cov[i, first, first] + noise[i, 0, 0], cov[i, first, first + 1] + noise[i, 0, 1]
        c, d = cov[i, first + 1, first] + noise[i, 1, 0], cov[i, first + 1, first + 1] + noise[i, 1, 1]
        determinant = a * d - b * c
        for k in range(4):
            p, q = cov[i, k, first], cov[i, k, first + 1]
            gain[k, 0], gain[k, 1] = (p * d - q * c) / determinant, (q * a - p * b) / determinant
        for k in range(4):
            mean[i, k] += gain[k, 0] * innovation[i, 0] + gain[k, 1] * innovation[i, 1]
            for m in range(4):
                reduced[k, m] = cov[i, k, m] - gain[k, 0] * cov[i, first, m] - gain[k, 1] * cov[i, first + 1, m]
        for k in range(4):
            for m in range(4):
                cov[i, k, m] = 0.5 * (reduced[k, m] + reduced[m, k])


@njit(cache=True)
def _doubled(mean, yaw, size, hits, identity):  # type: ignore[no-untyped-def]
    n = mean.shape[0]
    out = np.zeros(n, np.bool_)
    for i in range(n):
        cos, sin = np.cos(yaw[i]), np.sin(yaw[i])
        for j in range(n):
            if hits[i] < hits[j] or (hits[i] == hits[j] and identity[i] >= identity[j]):
                continue
            dx, dy = mean[j, 0] - mean[i, 0], mean[j, 1] - mean[i, 1]
            if abs(cos * dx + sin * dy) < 0.4 * size[i, 0] and abs(-sin * dx + cos * dy) < 0.4 * size[i, 1]:
                out[j] = True
    return out
