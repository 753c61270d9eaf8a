"""Tracks as one structured array, and the Kalman filter over all of them at once.

State of a track: centre of its full box and velocity, (x, y, vx, vy) in map, driven by white
acceleration (constant-velocity model).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.types import ObjectClass

CLASSES = len(ObjectClass)
_PEDESTRIAN = int(ObjectClass.PEDESTRIAN)

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
        ("word", "<f8", (CLASSES,)),  # the camera's, log: 0 for the class that it speaks for, less for the others
        ("viewed", "?"),  # whether it has said something
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


@njit(cache=True)
def predict(tracks, dt, numbers):  # type: ignore[no-untyped-def]
    """Move the tracks ``dt`` seconds on, in place; ``numbers``: `tracker_numbers`."""
    for i in range(tracks.size):
        mean, cov = tracks[i].mean, tracks[i].cov
        sigma = numbers[0].sigma_person if tracks[i].label == _PEDESTRIAN else numbers[0].sigma_vehicle
        variance = sigma * sigma
        for a in range(2):
            mean[a] += dt * mean[a + 2]
        for a in range(2):
            for b in range(2):
                q = variance if a == b else 0.0
                cross, turned = cov[a, b + 2], cov[b, a + 2]
                speed = cov[a + 2, b + 2]
                cov[a, b] += dt * (cross + turned) + dt**2 * speed + dt**4 / 4 * q
        for a in range(2):
            for b in range(2):
                q = variance if a == b else 0.0
                cov[a, b + 2] += dt * cov[a + 2, b + 2] + dt**3 / 2 * q
        for a in range(2):
            for b in range(2):
                cov[b + 2, a] = cov[a, b + 2]
        for a in range(2):
            cov[a + 2, a + 2] += dt**2 * variance


@njit(cache=True)
def update(mean, cov, u, v, noise, first):  # type: ignore[no-untyped-def]
    """Kalman update in place of ``mean`` (4,) and ``cov`` (4, 4): two neighbouring components from ``first`` on
    (0: position, 2: velocity) were found off by ``u`` and ``v`` with the covariance ``noise`` (xx, xy, yy)."""
    gain, reduced = np.empty((4, 2)), np.empty((4, 4))
    a, b = cov[first, first] + noise[0], cov[first, first + 1] + noise[1]
    c, d = cov[first + 1, first] + noise[1], cov[first + 1, first + 1] + noise[2]
    determinant = a * d - b * c
    for k in range(4):
        p, q = cov[k, first], cov[k, first + 1]
        gain[k, 0], gain[k, 1] = (p * d - q * c) / determinant, (q * a - p * b) / determinant
    for k in range(4):
        mean[k] += gain[k, 0] * u + gain[k, 1] * v
        for m in range(4):
            reduced[k, m] = cov[k, m] - gain[k, 0] * cov[first, m] - gain[k, 1] * cov[first + 1, m]
    for k in range(4):
        for m in range(4):
            cov[k, m] = 0.5 * (reduced[k, m] + reduced[m, k])


@njit(cache=True)
def doubled(tracks):  # type: ignore[no-untyped-def]
    """Tracks (N,) whose centre lies inside the box of a better-known track."""
    n = tracks.size
    out = np.zeros(n, np.bool_)
    for i in range(n):
        one = tracks[i]
        cos, sin = math.cos(one.yaw), math.sin(one.yaw)
        for j in range(n):
            other = tracks[j]
            if one.hits < other.hits or (one.hits == other.hits and one.id >= other.id):
                continue
            dx, dy = other.mean[0] - one.mean[0], other.mean[1] - one.mean[1]
            if abs(cos * dx + sin * dy) < 0.4 * one.length and abs(-sin * dx + cos * dy) < 0.4 * one.width:
                out[j] = True
    return out
