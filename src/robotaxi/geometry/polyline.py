"""Polylines: arc length, resampling, projection (Frenet coordinates), heading and curvature.

Points are (N, 2) or (N, 3); lengths and projections are taken in the x-y plane, z rides along.
Offsets are left positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MIN_SEGMENT = 1e-9  # m, shorter segments have no direction of their own


@dataclass(frozen=True, slots=True)
class Projection:
    """Points in Frenet coordinates of a polyline, each (M,).

    ``s``: arc length of the foot point, clamped to the polyline. ``offset``: signed distance from the
    line through the foot's segment, left positive. ``distance``: to the foot point. ``segment``: index.
    """

    s: FloatArray
    offset: FloatArray
    distance: FloatArray
    segment: IntArray


def arc_length(points: ArrayLike) -> FloatArray:
    """Arc length (N,) from the first point, in the x-y plane."""
    p = np.asarray(points, dtype=np.float64)
    if p.ndim != 2 or p.shape[0] < 1 or p.shape[1] < 2:
        raise ValueError(f"a polyline needs points of shape (N, 2) or (N, 3), not {p.shape}")
    steps = np.hypot(np.diff(p[:, 0]), np.diff(p[:, 1]))
    return np.concatenate([[0.0], np.cumsum(steps)])


def interpolate(points: FloatArray, s: FloatArray, at: ArrayLike) -> FloatArray:
    """Points at arc lengths ``at`` (M,), clamped to the ends; (M, D)."""
    at = np.asarray(at, dtype=np.float64)
    return np.stack([np.interp(at, s, points[:, k]) for k in range(points.shape[1])], axis=-1)


def resample(points: ArrayLike, spacing: float) -> FloatArray:
    """Points evenly spaced by at most ``spacing``, both ends kept."""
    p = np.asarray(points, dtype=np.float64)
    if not spacing > 0.0:
        raise ValueError(f"spacing must be positive, not {spacing}")
    s = arc_length(p)
    count = max(2, int(np.ceil(s[-1] / spacing - 1e-9)) + 1)
    out = interpolate(p, s, np.linspace(0.0, s[-1], count))
    out[0], out[-1] = p[0], p[-1]
    return out


def densify(points: ArrayLike, spacing: float) -> FloatArray:
    """The same points with evenly spaced ones between any two that lie more than ``spacing`` apart."""
    p = np.asarray(points, dtype=np.float64)
    s = arc_length(p)
    return interpolate(p, s, densified_stations(s, spacing))


def densified_stations(s: FloatArray, spacing: float) -> FloatArray:
    """Increasing stations ``s`` with evenly spaced ones added so that no gap exceeds ``spacing``."""
    parts = np.maximum(1, np.ceil(np.diff(s) / spacing - 1e-9).astype(np.int64))
    index = np.repeat(np.arange(len(parts)), parts)
    within = np.arange(len(index)) - np.repeat(np.cumsum(parts) - parts, parts)
    inner = s[index] + (within / parts[index]) * (s[index + 1] - s[index])
    return np.concatenate([inner, s[-1:]])


def project(points: ArrayLike, queries: ArrayLike, s: FloatArray | None = None) -> Projection:
    """Project queries (M, 2+) on a polyline (N, 2+), N >= 2: the nearest foot point of each."""
    p = np.asarray(points, dtype=np.float64)[:, :2]
    q = np.atleast_2d(np.asarray(queries, dtype=np.float64))[:, :2]
    if len(p) < 2:
        raise ValueError("projecting needs a polyline of at least two points")
    s = arc_length(p) if s is None else s
    d = np.diff(p, axis=0)
    squared = np.maximum(np.einsum("ij,ij->i", d, d), _MIN_SEGMENT**2)
    rx = q[:, None, 0] - p[None, :-1, 0]
    ry = q[:, None, 1] - p[None, :-1, 1]
    t = np.clip((rx * d[:, 0] + ry * d[:, 1]) / squared, 0.0, 1.0)
    far = np.hypot(rx - t * d[:, 0], ry - t * d[:, 1])
    k = np.argmin(far, axis=1)
    row = np.arange(len(q))
    length = np.sqrt(squared[k])
    return Projection(
        s=s[k] + t[row, k] * (s[k + 1] - s[k]),
        offset=(d[k, 0] * ry[row, k] - d[k, 1] * rx[row, k]) / length,
        distance=far[row, k],
        segment=k.astype(np.int64),
    )


def headings(points: ArrayLike) -> FloatArray:
    """Heading (N,) at each point, unwrapped: the chord between its neighbours, end points their segment."""
    p = np.asarray(points, dtype=np.float64)
    if len(p) < 2:
        raise ValueError("a heading needs at least two points")
    d = np.diff(p[:, :2], axis=0)
    yaw = np.unwrap(np.arctan2(d[:, 1], d[:, 0]))
    length = np.maximum(np.hypot(d[:, 0], d[:, 1]), _MIN_SEGMENT)
    # On a circle the tangent at a point divides the angle between the adjoining chords by their lengths.
    inner = (yaw[:-1] * length[1:] + yaw[1:] * length[:-1]) / (length[:-1] + length[1:])
    return np.concatenate([yaw[:1], inner, yaw[-1:]])


def curvatures(points: ArrayLike) -> FloatArray:
    """Curvature (N,) in 1/m, left positive, through each point and its neighbours; ends copy their neighbour."""
    p = np.asarray(points, dtype=np.float64)
    if len(p) < 3:
        return np.zeros(len(p))
    a, b, c = p[:-2, :2], p[1:-1, :2], p[2:, :2]
    ab, bc, ac = b - a, c - b, c - a
    cross = ab[:, 0] * bc[:, 1] - ab[:, 1] * bc[:, 0]
    product = np.hypot(ab[:, 0], ab[:, 1]) * np.hypot(bc[:, 0], bc[:, 1]) * np.hypot(ac[:, 0], ac[:, 1])
    inner = 2.0 * cross / np.maximum(product, _MIN_SEGMENT**3)
    return np.concatenate([inner[:1], inner, inner[-1:]])


def normals(points: ArrayLike) -> FloatArray:
    """Unit left normals (N, 2) at each point."""
    yaw = headings(points)
    return np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)


def offset_curve(points: FloatArray, offset: ArrayLike) -> FloatArray:
    """Points moved sideways by ``offset`` (scalar or (N,)), left positive; z kept."""
    out = np.array(points, dtype=np.float64)
    out[:, :2] += normals(points) * np.broadcast_to(np.asarray(offset, dtype=np.float64), len(out))[:, None]
    return out


def points_in_polygon(points: ArrayLike, polygon: ArrayLike) -> NDArray[np.bool_]:
    """Mask (M,) of points (M, 2+) inside a simple polygon (N, 2+), by the crossing number."""
    p = np.atleast_2d(np.asarray(points, dtype=np.float64))
    v = np.asarray(polygon, dtype=np.float64)
    w = np.roll(v, -1, axis=0)
    x, y = p[:, None, 0], p[:, None, 1]
    straddles = (v[:, 1] > y) != (w[:, 1] > y)
    rise = np.where(w[:, 1] == v[:, 1], 1.0, w[:, 1] - v[:, 1])
    crossing = v[:, 0] + (y - v[:, 1]) / rise * (w[:, 0] - v[:, 0])
    return np.asarray(np.count_nonzero(straddles & (x < crossing), axis=1) % 2 == 1)
