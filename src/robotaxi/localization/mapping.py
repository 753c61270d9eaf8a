"""The second half of map making: one pose graph over all drives, moving things out, planes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization.config import MappingConfig
from robotaxi.localization.keyframes import Keyframes, direction
from robotaxi.localization.loops import close_loops
from robotaxi.localization.point_map import LINE, PointMap
from robotaxi.types import FloatArray


@dataclass(frozen=True)
class Mapping:
    """``poses``: by drive (K, 4, 4) T_map_base. ``loops`` closed; ``removed``: share of points that moved."""

    poses: list[FloatArray]
    points: FloatArray
    plane: FloatArray
    kind: NDArray[np.int8]
    loops: int
    removed: float


def make_map(
    config: MappingConfig, drives: list[Keyframes], progress: Callable[[str, int, int], None] | None = None
) -> Mapping:
    """Everything at once. Raises ImportError without gtsam, ValueError without keyframes."""
    if not any(len(d) for d in drives):
        raise ValueError("no drive has a keyframe: is there a lidar sweep in the bags, and did the filter start?")
    tell = progress or (lambda what, done, of: None)
    loops, poses = close_loops(config, drives, lambda k, of: tell("loops", k, of))
    target = PointMap(config.voxel_size, config.per_voxel, config.spacing, config.plane_radius)
    total, kept = 0, 0
    everyone = [(d, k) for d, drive in enumerate(drives) for k in range(len(drive))]
    place = np.array([poses[d][k][:3, 3] for d, k in everyone])
    for n, (d, k) in enumerate(everyone):
        sweep = drives[d].sweep(k)
        stays = ~_seen_through(sweep, n, everyone, place, drives, poses)
        total, kept = total + len(sweep), kept + int(stays.sum())
        target.insert(apply(poses[d][k], sweep[stays]))
        tell("points", n + 1, len(everyone))
    points, plane, kind = target.with_planes()
    useful = kind != LINE
    points, plane, kind = points[useful], plane[useful], kind[useful]
    return Mapping(poses, points, plane, kind, len(loops), 1.0 - kept / max(total, 1))


def _seen_through(
    sweep: FloatArray,
    n: int,
    everyone: list[tuple[int, int]],
    place: FloatArray,
    drives: list[Keyframes],
    poses: list[FloatArray],
) -> NDArray[np.bool_]:
    """(N,) points (base_link of keyframe ``n``) that other sweeps looked through: what was there has moved."""
    distance = np.hypot(*(place[:, :2] - place[n, :2]).T)
    near = np.flatnonzero((distance < 15.0) & (np.arange(len(everyone)) != n))
    chosen = near[np.argsort(distance[near], kind="stable")][::2][:8]
    d, k = everyone[n]
    through, hit = np.zeros(len(sweep), np.int64), np.zeros(len(sweep), np.int64)
    for other in chosen:
        e, j = everyone[int(other)]
        drive = drives[e]
        seen = apply(inverse(poses[e][j] @ drive.T_base_lidar) @ poses[d][k], sweep)
        row, column, expected = direction(seen)
        measured = np.where(row >= 0, drive.ranges[j][np.maximum(row, 0), column], 0.0)
        known = (measured > 0.0) & (expected < 40.0)
        through += known & (measured > expected + 0.6 + 0.02 * expected)
        hit += known & (np.abs(measured - expected) < 0.4)
    return (through >= 2) & (through > hit)
