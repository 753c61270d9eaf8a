"""How good is odometry: relative errors against true poses, and how thin the walls of its map are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from robotaxi.types import FloatArray

KITTI_LENGTHS = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)  # m, as the KITTI odometry benchmark
SHORT_LENGTHS = (5.0, 10.0, 20.0, 50.0, 100.0)  # m, for recordings shorter than 200 m
_NEIGHBOURHOOD = 0.5  # m


@dataclass(frozen=True)
class RelativeError:
    """Means over all segments: ``translation_percent`` of the way, ``rotation_deg_per_100m``; and from one
    sweep to the next ``step_translation`` (RMS, m) and ``step_rotation_deg`` (RMS)."""

    translation_percent: float
    rotation_deg_per_100m: float
    step_translation: float
    step_rotation_deg: float
    segments: int
    way: float


def relative_error(truth: FloatArray, estimate: FloatArray) -> RelativeError:
    """Errors of poses (N, 4, 4) as KITTI's odometry benchmark takes them; every sweep starts a segment of
    each length. Recordings shorter than 200 m use `SHORT_LENGTHS`. Lengths that do not fit are left out."""
    steps = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    lengths = KITTI_LENGTHS if way[-1] >= 200.0 else SHORT_LENGTHS
    translation, rotation = [], []
    for length in lengths:
        ends = np.searchsorted(way, way + length)
        for i in np.flatnonzero(ends < len(way)):
            error = _error(truth, estimate, int(i), int(ends[i]))
            translation.append(np.linalg.norm(error[:3, 3]) / length)
            rotation.append(_angle(error) / length)
    single = [_error(truth, estimate, i, i + 1) for i in range(len(truth) - 1)]
    step = np.array([np.linalg.norm(e[:3, 3]) for e in single])
    turn = np.array([_angle(e) for e in single])
    return RelativeError(
        float(np.mean(translation) * 100.0) if translation else float("nan"),
        float(np.degrees(np.mean(rotation)) * 100.0) if rotation else float("nan"),
        float(np.sqrt(np.mean(step**2))) if len(step) else float("nan"),
        float(np.degrees(np.sqrt(np.mean(turn**2)))) if len(turn) else float("nan"),
        len(translation),
        float(way[-1]),
    )


def _error(truth: FloatArray, estimate: FloatArray, i: int, j: int) -> FloatArray:
    moved = np.linalg.inv(truth[i]) @ truth[j]
    return np.asarray(np.linalg.inv(moved) @ np.linalg.inv(estimate[i]) @ estimate[j])


def _angle(T: FloatArray) -> float:
    # by the sine: the arc cosine of a trace near 3 has no digits left
    axis = 0.5 * np.array([T[2, 1] - T[1, 2], T[0, 2] - T[2, 0], T[1, 0] - T[0, 1]])
    return float(np.arctan2(np.linalg.norm(axis), 0.5 * (np.trace(T[:3, :3]) - 1.0)))


def map_thickness(sweeps: list[FloatArray], poses: FloatArray, samples: int = 4000) -> float:
    """Median thickness (m) of what the sweeps (each (N, 3)) build up under ``poses``: the standard deviation
    across the local surface within half a metre. Needs no truth: wrong poses blur walls and road."""
    points = np.concatenate([p @ T[:3, :3].T + T[:3, 3] for p, T in zip(sweeps, poses, strict=True)])
    tree = cKDTree(points)
    chosen = np.random.default_rng(0).choice(len(points), min(samples, len(points)), replace=False)
    thickness = []
    for neighbours in tree.query_ball_point(points[chosen], _NEIGHBOURHOOD):
        if len(neighbours) >= 15:
            thickness.append(np.linalg.eigvalsh(np.cov(points[neighbours].T))[0])
    return float(np.sqrt(np.median(np.maximum(thickness, 0.0)))) if thickness else float("nan")
