"""Oriented boxes in the plane: corners, overlap, containment, distance. All vectorised over boxes.

A box is (x, y, yaw, length, width) with (x, y) its centre; corners go front-left, rear-left,
rear-right, front-right (counter-clockwise).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_CORNER_SIGNS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def corners(boxes: ArrayLike) -> FloatArray:
    """Corners (..., 4, 2) of boxes (..., 5)."""
    b = np.asarray(boxes, dtype=np.float64)
    local = 0.5 * _CORNER_SIGNS * b[..., None, 3:5]
    c, s = np.cos(b[..., 2])[..., None], np.sin(b[..., 2])[..., None]
    x = b[..., 0, None] + c * local[..., 0] - s * local[..., 1]
    y = b[..., 1, None] + s * local[..., 0] + c * local[..., 1]
    return np.stack([x, y], axis=-1)


def overlap(a: ArrayLike, b: ArrayLike) -> BoolArray:
    """Whether boxes overlap, by the separating axis theorem; ``a`` and ``b`` (..., 5) broadcast.

    Boxes that only touch do not overlap; a box with NaN overlaps nothing.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    dx, dy = b[..., 0] - a[..., 0], b[..., 1] - a[..., 1]
    ca, sa, cb, sb = np.cos(a[..., 2]), np.sin(a[..., 2]), np.cos(b[..., 2]), np.sin(b[..., 2])
    cos, sin = np.abs(ca * cb + sa * sb), np.abs(ca * sb - sa * cb)
    al, aw, bl, bw = a[..., 3] / 2.0, a[..., 4] / 2.0, b[..., 3] / 2.0, b[..., 4] / 2.0
    hit = np.abs(dx * ca + dy * sa) < al + bl * cos + bw * sin
    hit &= np.abs(-dx * sa + dy * ca) < aw + bl * sin + bw * cos
    hit &= np.abs(dx * cb + dy * sb) < bl + al * cos + aw * sin
    hit &= np.abs(-dx * sb + dy * cb) < bw + al * sin + aw * cos
    return np.asarray(hit)


def points_in_box(points: ArrayLike, box: ArrayLike, margin: float = 0.0) -> BoolArray:
    """Mask (N,) of points (N, 2+) inside one box (5,), grown by ``margin`` on every side."""
    p, b = np.asarray(points, dtype=np.float64), np.asarray(box, dtype=np.float64)
    dx, dy = p[..., 0] - b[0], p[..., 1] - b[1]
    c, s = np.cos(b[2]), np.sin(b[2])
    inside = np.abs(c * dx + s * dy) <= b[3] / 2.0 + margin
    inside &= np.abs(c * dy - s * dx) <= b[4] / 2.0 + margin
    return np.asarray(inside)


def distance_to_points(points: ArrayLike, box: ArrayLike) -> FloatArray:
    """Distance (N,) from points (N, 2+) to one box (5,); 0 inside."""
    p, b = np.asarray(points, dtype=np.float64), np.asarray(box, dtype=np.float64)
    dx, dy = p[..., 0] - b[0], p[..., 1] - b[1]
    c, s = np.cos(b[2]), np.sin(b[2])
    out_x = np.maximum(np.abs(c * dx + s * dy) - b[3] / 2.0, 0.0)
    out_y = np.maximum(np.abs(c * dy - s * dx) - b[4] / 2.0, 0.0)
    return np.asarray(np.hypot(out_x, out_y))


def distance(a: ArrayLike, b: ArrayLike) -> float:
    """Gap between two boxes (5,), metres; 0 when they overlap.

    The nearest points of two convex bodies that do not overlap include a corner of one of them.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if bool(overlap(a, b)):
        return 0.0
    return float(min(distance_to_points(corners(a), b).min(), distance_to_points(corners(b), a).min()))
