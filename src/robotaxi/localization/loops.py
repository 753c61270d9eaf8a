"""Loop closure: where drives meet themselves and each other, and one pose graph over all of them.

Where satellites hold a drive, passes of one place lie within metres of each other and a scan match joins them. A drive
without satellites may have drifted by tens of metres when it comes back: its sweeps are then searched for around the
older pass, as the localizer searches the map (`global_search`), before they are matched.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization.config import MappingConfig
from robotaxi.localization.global_search import GlobalSearch, view_of
from robotaxi.localization.keyframes import Keyframes
from robotaxi.localization.point_map import PointMap
from robotaxi.localization.registration import match
from robotaxi.localization.scan import thin
from robotaxi.types import FloatArray

Loop = tuple[int, int, int, int, FloatArray]  # drive and keyframe, of both, and T_first_second
_STANDS, _ROAD = 0.6, 0.3  # m above base_link: higher stands, lower is road
_AROUND = 15  # keyframes before and after that make the surroundings of one
_LEAST_SCORE, _LEAST_LEAD = 0.6, 0.08
_DRIFTING = 3.0  # times the noise of a step, where nothing but the steps is known
_PROBES = 12  # keyframes of a drive without fixes that are searched for among the others


def close_loops(
    config: MappingConfig, drives: list[Keyframes], tell: Callable[[int, int], None]
) -> tuple[list[Loop], list[FloatArray]]:
    """The loops, and by drive the poses (K, 4, 4) T_map_base. ImportError without gtsam; ValueError for a drive without
    fixes that meets no other."""
    poses = [np.array(drive.prior) for drive in drives]
    held = [bool(np.isfinite(drive.antenna).all(axis=1).any()) for drive in drives]
    total = sum(map(len, drives))
    wide: list[Loop] = []
    anchor = None if any(held) else next(d for d, drive in enumerate(drives) if len(drive))
    known = [d for d in range(len(drives)) if len(drives[d]) and (held[d] or d == anchor)]
    for d, drive in enumerate(drives):
        if held[d] or not len(drive):
            continue
        wide += _come_back(config, drives, d)
        if d == anchor:
            continue
        joined = _join(config, drives, known, d)
        if not joined:
            raise ValueError(f"drive {d + 1} has no GNSS fixes and nothing in common with the others: leave it out")
        e, j, _, k, T = joined[0]
        poses[d] = poses[e][j] @ T @ inverse(drive.odometry[k]) @ drive.odometry
        wide += joined
    if wide:
        poses = optimise(config, drives, wide, [], poses, anchor)
    near = _find_near(config, drives, poses, lambda k: tell(k, total))
    return wide + near, optimise(config, drives, wide, near, poses, anchor)


def _find_near(
    config: MappingConfig, drives: list[Keyframes], poses: list[FloatArray], tell: Callable[[int], None]
) -> list[Loop]:
    """Matches of every third keyframe with the nearest keyframe of another pass."""
    everyone = [(d, k) for d, drive in enumerate(drives) for k in range(len(drive))]
    drive_of, number = (np.array(v) for v in zip(*everyone, strict=True))
    place = np.array([poses[d][k][:2, 3] for d, k in everyone])
    loops = []
    for n in range(0, len(everyone), 3):
        d, k = everyone[n]
        tell(n + 1)
        distance = np.hypot(*(place[:n] - place[n]).T)
        distance[(drive_of[:n] == d) & (np.abs(number[:n] - k) <= config.loop_gap)] = math.inf
        if not len(distance) or distance.min() > config.loop_distance:
            continue
        e, j = everyone[int(np.argmin(distance))]
        T = _match_pair(config, drives, (e, j), (d, k), inverse(poses[e][j]) @ poses[d][k])
        if T is not None:
            loops.append((e, j, d, k, T))
    return loops


def _come_back(config: MappingConfig, drives: list[Keyframes], d: int) -> list[Loop]:
    """Places that a drifting drive passes again: candidates lie within what it may have drifted on the way."""
    drive = drives[d]
    place = drive.odometry[:, :2, 3]
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(place, axis=0).T))])
    loops: list[Loop] = []
    skip = 0
    for k in range(config.loop_gap + 1, len(drive), 4):
        if k < skip:
            continue
        old = np.arange(k - config.loop_gap)
        distance = np.hypot(*(place[old] - place[k]).T)
        reach = config.loop_distance + config.drift * (way[k] - way[old])
        near = np.flatnonzero(distance < np.minimum(reach, 0.5 * (way[k] - way[old])))
        if not len(near):
            continue
        # the nearest, and others along the way in case that it has drifted past
        for j in dict.fromkeys([int(near[np.argmin(distance[near])]), *near[:: max(1, len(near) // 3)].tolist()]):
            T = _search_pair(config, drives, (d, int(j)), (d, k))
            if T is not None:
                loops.append((d, int(j), d, k, T))
                skip = k + 12
                break
    return loops


def _join(config: MappingConfig, drives: list[Keyframes], known: list[int], d: int) -> list[Loop]:
    """Keyframes of drive ``d`` found among all keyframes of the drives ``known``."""
    stands, road = zip(*(_seen(drives[e].prior[k], drives[e].sweep(k)) for e in known for k in range(len(drives[e]))),
                       strict=True)  # fmt: skip
    view = view_of(np.concatenate(stands), np.concatenate(road))
    everyone = [(e, k) for e in known for k in range(len(drives[e]))]
    place = np.array([drives[e].prior[k][:2, 3] for e, k in everyone])
    out: list[Loop] = []
    for k in np.unique(np.linspace(0, len(drives[d]) - 1, _PROBES).astype(int)).tolist():
        found = _best(GlobalSearch(view, drives[d].sweep(k)))
        if found is None:
            continue
        e, j = everyone[int(np.argmin(np.hypot(*(place - found[:2, 3]).T)))]
        T = _match_pair(config, drives, (e, j), (d, k), inverse(drives[e].prior[j]) @ found)
        if T is not None:
            out.append((e, j, d, k, T))
    return out


def _search_pair(
    config: MappingConfig, drives: list[Keyframes], first: tuple[int, int], second: tuple[int, int]
) -> FloatArray | None:
    """T_first_second where nothing is known of it but that the places may be the same."""
    (e, j), (d, k) = first, second
    here = inverse(drives[e].odometry[j])
    around = range(max(0, j - _AROUND), min(len(drives[e]), j + _AROUND + 1))
    stands, road = zip(*(_seen(here @ drives[e].odometry[i], drives[e].sweep(i)) for i in around), strict=True)
    try:
        view = view_of(np.concatenate(stands), np.concatenate(road))
    except ValueError:
        return None
    found = _best(GlobalSearch(view, drives[d].sweep(k)))
    return None if found is None else _match_pair(config, drives, first, second, found)


def _best(search: GlobalSearch) -> FloatArray | None:
    found = search.run()
    if not found or found[0].score < _LEAST_SCORE:
        return None
    return None if len(found) > 1 and found[0].score - found[1].score < _LEAST_LEAD else found[0].T_map_base


def _seen(T: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What stands and what is road, of a sweep (N, 3) in base_link, moved by ``T``."""
    return apply(T, points[points[:, 2] > _STANDS]), apply(T, points[points[:, 2] < _ROAD])


def _match_pair(
    config: MappingConfig, drives: list[Keyframes], first: tuple[int, int], second: tuple[int, int], guess: FloatArray
) -> FloatArray | None:
    """T_first_second by scan matching from ``guess``, None where they do not fit."""
    (e, j), (d, k) = first, second
    target = PointMap(config.voxel_size, config.per_voxel, config.spacing, config.plane_radius)
    here = inverse(drives[e].odometry[j])
    for i in range(max(0, j - 3), min(len(drives[e]), j + 4)):
        target.insert(apply(here @ drives[e].odometry[i], drives[e].sweep(i)))
    source = thin(drives[d].sweep(k), 1.2)
    coarse = match(source, target, guess, 2.0, 0.5, 30, 1e-3)
    fine = match(source, target, coarse.T_map_lidar, 0.7, 0.1, 30, 1e-4, 0.1)
    if fine.overlap < config.loop_overlap or not fine.converged:
        return None
    moved = inverse(guess) @ fine.T_map_lidar
    return fine.T_map_lidar if np.linalg.norm(moved[:3, 3]) < 3.0 else None


def optimise(
    config: MappingConfig, drives: list[Keyframes], sure: list[Loop], likely: list[Loop], start: list[FloatArray],
    anchor: int | None,
) -> list[FloatArray]:  # fmt: skip
    """By drive (K, 4, 4) T_map_base. ``sure`` loops were searched for and stood out: they hold even where all odometry
    contradicts them. ``likely`` ones lose weight then. ``anchor``: the drive that stays where it begins, None where
    fixes hold one."""
    import gtsam

    def noise(turn: float, move: float) -> gtsam.noiseModel.Base:
        return gtsam.noiseModel.Diagonal.Sigmas(np.array([turn] * 3 + [move] * 3))

    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    first = np.cumsum([0, *map(len, drives)])
    loop_noise = noise(config.loop_turn_sigma, config.loop_sigma)
    lenient_loop = gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Cauchy.Create(1.0), loop_noise)
    for d, drive in enumerate(drives):
        # fixes hold a drive against slow drift; where there are none the steps must give way
        slack = 1.0 if np.isfinite(drive.antenna).any() else _DRIFTING
        step = noise(slack * config.step_turn_sigma, slack * config.step_sigma)
        seconds = max((drive.stamps_ns[-1] - drive.stamps_ns[0]) * 1e-9, 1.0) if len(drive) else 1.0
        # so many keyframes in a row share one error of the fixes
        share = max(1.0, config.gnss_correlation * len(drive) / seconds)
        for k in range(len(drive)):
            key = int(first[d]) + k
            values.insert(key, gtsam.Pose3(start[d][k]))
            if k:
                moved = inverse(drive.odometry[k - 1]) @ drive.odometry[k]
                graph.add(gtsam.BetweenFactorPose3(key - 1, key, gtsam.Pose3(moved), step))
            if np.isfinite(drive.antenna[k]).all():
                sigma = max(0.02, float(drive.antenna_sigma[k])) * math.sqrt(share)
                position = drive.antenna[k] - drive.prior[k][:3, :3] @ drive.lever_arm
                lenient = gtsam.noiseModel.Robust.Create(
                    gtsam.noiseModel.mEstimator.Cauchy.Create(2.0), gtsam.noiseModel.Isotropic.Sigma(3, sigma)
                )
                graph.add(gtsam.GPSFactor(key, position, lenient))
                tilt, yaw = config.prior_tilt_sigma, config.prior_yaw_sigma
                attitude = gtsam.noiseModel.Diagonal.Sigmas(np.array([tilt, tilt, yaw, 1e3, 1e3, 1e3]))
                graph.add(gtsam.PriorFactorPose3(key, gtsam.Pose3(drive.prior[k]), attitude))
        if len(drive) and d == anchor:
            graph.add(gtsam.PriorFactorPose3(int(first[d]), gtsam.Pose3(start[d][0]), noise(1e-3, 1e-3)))
    for loops, model in ((sure, loop_noise), (likely, lenient_loop)):
        for e, j, d, k, T in loops:
            graph.add(gtsam.BetweenFactorPose3(int(first[e]) + j, int(first[d]) + k, gtsam.Pose3(T), model))
    result = gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams()).optimize()
    return [
        np.array([result.atPose3(int(first[d]) + k).matrix() for k in range(len(drive))]).reshape(-1, 4, 4)
        for d, drive in enumerate(drives)
    ]
