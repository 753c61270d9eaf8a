"""The second half of map making: one pose graph over all drives, moving things out, planes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization.keyframes import Keyframes, direction
from robotaxi.localization.point_map import LINE, PointMap
from robotaxi.localization.registration import match
from robotaxi.localization.scan import thin
from robotaxi.params import param
from robotaxi.types import FloatArray


@dataclass(frozen=True)
class MappingConfig:
    """Noise of the pose graph's edges, and what the map is made of."""

    step_sigma: float = param(0.015, lo=1e-4, hi=1.0, unit="m", doc="odometry from keyframe to keyframe")
    step_turn_sigma: float = param(0.001, lo=1e-5, hi=0.1, unit="rad", doc="the same in attitude")
    loop_sigma: float = param(0.03, lo=1e-4, hi=1.0, unit="m", doc="a match with another pass of the same place")
    loop_turn_sigma: float = param(0.002, lo=1e-5, hi=0.1, unit="rad", doc="the same in attitude")
    prior_tilt_sigma: float = param(0.01, lo=1e-4, hi=1.0, unit="rad", doc="roll and pitch of the filter")
    prior_yaw_sigma: float = param(0.02, lo=1e-4, hi=1.0, unit="rad", doc="yaw of the filter")
    gnss_correlation: float = param(30.0, lo=1.0, hi=1e4, unit="s", doc="fixes within it share their error")
    loop_distance: float = param(8.0, lo=1.0, hi=50.0, unit="m", doc="keyframes so near may close a loop")
    loop_gap: int = param(30, lo=5, hi=1000, doc="keyframes apart on one drive before a loop is one")
    loop_overlap: float = param(0.6, lo=0.1, hi=1.0, doc="least share of points that fit")
    voxel_size: float = param(1.0, lo=0.2, hi=5.0, unit="m", doc="cells of the map")
    spacing: float = param(0.3, lo=0.05, hi=2.0, unit="m", doc="between two points of the map")
    per_voxel: int = param(20, lo=4, hi=100, doc="most points in a cell")
    plane_radius: float = param(0.8, lo=0.1, hi=5.0, unit="m", doc="neighbours that make a plane")


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
    loops = _find_loops(config, drives, tell)
    poses = _optimise(config, drives, loops)
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


Loop = tuple[int, int, int, int, FloatArray]  # drive and keyframe, of both, and T_first_second


def _find_loops(config: MappingConfig, drives: list[Keyframes], tell: Callable[[str, int, int], None]) -> list[Loop]:
    """Matches of every third keyframe with the nearest keyframe of another pass."""
    everyone = [(d, k) for d, drive in enumerate(drives) for k in range(len(drive))]
    place = np.array([drives[d].prior[k][:2, 3] for d, k in everyone])
    loops = []
    for n in range(0, len(everyone), 3):
        d, k = everyone[n]
        tell("loops", n + 1, len(everyone))
        distance = np.hypot(*(place[:n] - place[n]).T)
        other_pass = np.array([e != d or abs(j - k) > config.loop_gap for e, j in everyone[:n]], bool)
        # a drive without fixes has a frame of its own: nearness says nothing across drives
        distance[~other_pass] = math.inf
        if not len(distance) or distance.min() > config.loop_distance:
            continue
        e, j = everyone[int(np.argmin(distance))]
        T = _match_pair(config, drives, (e, j), (d, k))
        if T is not None:
            loops.append((e, j, d, k, T))
    return loops


def _match_pair(
    config: MappingConfig, drives: list[Keyframes], first: tuple[int, int], second: tuple[int, int]
) -> FloatArray | None:
    """T_first_second by scan matching, None where they do not fit."""
    (e, j), (d, k) = first, second
    target = PointMap(config.voxel_size, config.per_voxel, config.spacing, config.plane_radius)
    here = inverse(drives[e].odometry[j])
    for i in range(max(0, j - 3), min(len(drives[e]), j + 4)):
        target.insert(apply(here @ drives[e].odometry[i], drives[e].sweep(i)))
    guess = inverse(drives[e].prior[j]) @ drives[d].prior[k]
    source = thin(drives[d].sweep(k), 1.2)
    coarse = match(source, target, guess, 2.0, 0.5, 30, 1e-3)
    fine = match(source, target, coarse.T_map_lidar, 0.7, 0.1, 30, 1e-4, 0.1)
    if fine.overlap < config.loop_overlap or not fine.converged:
        return None
    moved = inverse(guess) @ fine.T_map_lidar
    return fine.T_map_lidar if np.linalg.norm(moved[:3, 3]) < 3.0 else None


def _optimise(config: MappingConfig, drives: list[Keyframes], loops: list[Loop]) -> list[FloatArray]:
    import gtsam

    def noise(turn: float, move: float) -> gtsam.noiseModel.Base:
        return gtsam.noiseModel.Diagonal.Sigmas(np.array([turn] * 3 + [move] * 3))

    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    first = np.cumsum([0, *map(len, drives)])
    step = noise(config.step_turn_sigma, config.step_sigma)
    loop_noise = gtsam.noiseModel.Robust.Create(
        gtsam.noiseModel.mEstimator.Cauchy.Create(1.0), noise(config.loop_turn_sigma, config.loop_sigma)
    )
    for d, drive in enumerate(drives):
        anchored = False
        seconds = max((drive.stamps_ns[-1] - drive.stamps_ns[0]) * 1e-9, 1.0) if len(drive) else 1.0
        # so many keyframes in a row share one error of the fixes
        share = max(1.0, config.gnss_correlation * len(drive) / seconds)
        for k in range(len(drive)):
            key = int(first[d]) + k
            values.insert(key, gtsam.Pose3(drive.prior[k]))
            if k:
                moved = inverse(drive.odometry[k - 1]) @ drive.odometry[k]
                graph.add(gtsam.BetweenFactorPose3(key - 1, key, gtsam.Pose3(moved), step))
            if np.isfinite(drive.antenna[k]).all():
                anchored = True
                sigma = max(0.02, float(drive.antenna_sigma[k])) * math.sqrt(share)
                position = drive.antenna[k] - drive.prior[k][:3, :3] @ drive.lever_arm
                robust = gtsam.noiseModel.Robust.Create(
                    gtsam.noiseModel.mEstimator.Cauchy.Create(2.0), gtsam.noiseModel.Isotropic.Sigma(3, sigma)
                )
                graph.add(gtsam.GPSFactor(key, position, robust))
                tilt, yaw = config.prior_tilt_sigma, config.prior_yaw_sigma
                attitude = gtsam.noiseModel.Diagonal.Sigmas(np.array([tilt, tilt, yaw, 1e3, 1e3, 1e3]))
                graph.add(gtsam.PriorFactorPose3(key, gtsam.Pose3(drive.prior[k]), attitude))
        if len(drive) and not anchored:
            graph.add(gtsam.PriorFactorPose3(int(first[d]), gtsam.Pose3(drive.prior[0]), noise(1e-3, 1e-3)))
    for e, j, d, k, T in loops:
        graph.add(gtsam.BetweenFactorPose3(int(first[e]) + j, int(first[d]) + k, gtsam.Pose3(T), loop_noise))
    result = gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams()).optimize()
    return [
        np.array([result.atPose3(int(first[d]) + k).matrix() for k in range(len(drive))]).reshape(-1, 4, 4)
        for d, drive in enumerate(drives)
    ]


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
