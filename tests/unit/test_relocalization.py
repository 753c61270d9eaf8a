"""Finding the car on the map: from nothing, from a wrong pose, from one given by hand; and when it is not there."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from test_localization_drive import ARM, ORIGIN, make_drive, shift

from robotaxi.geometry.se3 import inverse, transform
from robotaxi.localization import LocalizationConfig, Localizer, MatchConfig, RoughPose
from robotaxi.localization.map_match import MapMatcher, PoseFix
from robotaxi.localization.point_map import PointMap
from robotaxi.localization.sweep_match import SweepMatcher
from robotaxi.localization.tiles import read_info, write_map
from robotaxi.types import LidarSweep

T_BASE_LIDAR = transform(x=1.2, z=1.9)


def boxes(seed: int, size: float = 140.0) -> np.ndarray:
    """Ground and walls of houses that stand about at random, one point every 0.3 m."""
    rng = np.random.default_rng(seed)
    side = np.arange(-10.0, size + 10.0, 0.5)
    ground = np.stack([*(a.ravel() for a in np.meshgrid(side, side)), np.zeros(len(side) ** 2)], axis=1)
    out = [ground]
    up = np.arange(0.2, 5.0, 0.4)
    for x, y in rng.uniform(0.0, size, (40, 2)):
        length, yaw = rng.uniform(4.0, 14.0), rng.uniform(0.0, math.pi)
        along = np.arange(0.0, length, 0.3)
        for a, b, c in ((yaw, 0.0, 0.0), (yaw + math.pi / 2.0, 0.0, 0.0)):
            wall = np.stack([x + b + along * math.cos(a), y + c + along * math.sin(a)], axis=1)
            out.append(np.column_stack([np.repeat(wall, len(up), axis=0), np.tile(up, len(wall))]))
    return np.concatenate(out)


def sweep(world: np.ndarray, T_map_base: np.ndarray, stamp_ns: int) -> LidarSweep:
    points = (world - (T_map_base @ T_BASE_LIDAR)[:3, 3]) @ (T_map_base @ T_BASE_LIDAR)[:3, :3]
    points = points[np.linalg.norm(points, axis=1) < 45.0]
    points = points[np.random.default_rng(stamp_ns).random(len(points)) < 0.5]
    records = np.zeros(len(points), [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    for k, name in enumerate("xyz"):
        records[name] = points[:, k]
    return LidarSweep(stamp_ns, records, T_BASE_LIDAR)


@pytest.fixture(scope="module")
def world() -> np.ndarray:
    return boxes(1)


@pytest.fixture(scope="module")
def info(world, tmp_path_factory):
    made = PointMap(1.0, 20, 0.3, 0.8)
    made.insert(world)
    folder = tmp_path_factory.mktemp("map")
    write_map(folder, *made.with_planes(), ORIGIN, 50.0, 1.0, 0.3, ["monday"])
    return read_info(folder)


def way(k: int) -> np.ndarray:
    """Where the car is at sweep k: 5 m/s on a bend."""
    return transform(30.0 + 0.5 * k, 60.0 + 0.004 * k * k, yaw=0.016 * k)


def follow(matcher: MapMatcher, world: np.ndarray, guess, sweeps: int = 50) -> tuple[int, PoseFix]:
    """The first sweep whose match is told, and the match."""
    for k in range(sweeps):
        fix = matcher.step(sweep(world, way(k), k * 100_000_000), guess(k))
        if fix.accepted:
            return k, fix
    return sweeps, fix


def off(fix: PoseFix, k: int) -> float:
    return float(np.linalg.norm((inverse(way(k)) @ fix.T_map_base)[:2, 3]))


def test_found_from_nothing_while_driving(world, info):
    k, fix = follow(MapMatcher(MatchConfig(), info), world, lambda k: None)
    assert k < 40 and off(fix, k) < 0.1


def test_found_again_where_the_filter_is_wrong(world, info):
    wrong = transform(50.0, -30.0, yaw=1.0)
    k, fix = follow(MapMatcher(MatchConfig(), info), world, lambda k: wrong @ way(k))
    assert k < 45 and off(fix, k) < 0.1


def test_a_pose_given_by_hand_is_looked_at_first(world, info):
    matcher = MapMatcher(MatchConfig(), info)
    matcher.look_near(RoughPose(0, 32.0, 57.0, 0.2, 0.7, 0.3))
    k, fix = follow(matcher, world, lambda k: transform(32.0, 57.0, yaw=0.2) @ inverse(way(0)) @ way(k))
    assert k < 40 and off(fix, k) < 0.1


def test_another_place_is_said_and_not_followed(info):
    elsewhere = boxes(7)
    matcher = MapMatcher(MatchConfig(), info)
    reasons = set()
    for k in range(34):
        fix = matcher.step(sweep(elsewhere, way(k), k * 100_000_000), way(k) if k < 10 else None)
        assert not fix.accepted
        reasons.add(fix.reason)
    assert any("of what stands" in r or "fits the map" in r or "off the map" in r for r in reasons)
    assert any("no place of the localization map fits" in r for r in reasons)


# ---------------------------------------------------------------------------- the filter


@pytest.fixture(scope="module")
def drive():
    return make_drive(40.0, seed=6)


def true_match(drive, i: int) -> PoseFix:
    T = transform(drive.x[i], drive.y[i], 0.0, yaw=drive.yaw[i])
    sigmas = np.array([0.01, 0.01, 0.02, 0.001, 0.001, 0.001])
    return PoseFix(drive.readings[i][0].stamp_ns, T, np.eye(6), sigmas, np.zeros((0, 3)), 1.0, 0.02, True, "")


def play(drive, begin: int, gnss, matched_from: int, given: RoughPose | None = None):
    """From step ``begin`` on, with matches 80 ms late from ``matched_from`` on; (results, errors)."""
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    results, errors = [], []
    for i in range(begin, len(drive.readings)):
        imu, report, fixes = drive.readings[i]
        matches = [true_match(drive, i - 4)] if i % 5 == 4 and i >= matched_from else []
        result = localizer.step(imu, report, gnss(i, fixes), matches, given if i == begin else None)
        results.append(result)
        state = result.state
        errors.append(math.inf if state is None else math.hypot(state.x - drive.x[i], state.y - drive.y[i]))
    return results, np.array(errors)


def nothing(i, fixes):
    return []


def test_the_filter_starts_where_the_map_finds_the_car_while_driving(drive):
    results, error = play(drive, 400, nothing, 500)
    assert results[0].status == "initialising" and "waiting for" in results[0].reason
    assert np.isinf(error[:100]).all() and error[110:].max() < 0.3 and error[200:].max() < 0.08


def test_the_filter_follows_the_map_when_kidnapped(drive):
    far = RoughPose(0, 400.0, 300.0, 2.0, 0.3, 0.1)
    results, error = play(drive, 400, nothing, 500, far)
    assert error[50] > 300.0 and error[150:].max() < 0.1
    assert any("where the map finds the car" in r.reason for r in results)


def test_a_wrong_pose_given_by_hand_yields_to_gnss(drive):
    far = RoughPose(0, 400.0, 300.0, 2.0, 0.3, 0.1)
    results, error = play(drive, 400, lambda i, fixes: fixes, 10**9, far)
    assert error[0] > 300.0 and error[30:].max() < 0.3
    assert "contradicts GNSS" in " ".join(r.reason for r in results)


def test_a_rough_pose_is_never_called_good_before_something_confirms_it(drive):
    rough = RoughPose(0, float(drive.x[400]) + 1.0, float(drive.y[400]) - 1.0, float(drive.yaw[400]) + 0.2, 1.0, 0.3)
    results, error = play(drive, 400, nothing, 600, rough)
    assert all(r.status == "lost" for r in results[:200])
    assert (
        min(np.linalg.eigvalsh(r.state.covariance[:2, :2])[-1] for r in results[:200]) > 1.2**2
    )  # safety stops the car
    assert error[300:].max() < 0.15


def test_matches_do_not_outvote_gnss_that_agrees(drive):
    def far(i):
        fix = true_match(drive, i)
        fix.T_map_base[0, 3] += 50.0
        return fix

    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    for i, (imu, report, fixes) in enumerate(drive.readings[:900]):
        result = localizer.step(imu, report, fixes, [far(i - 4)] if i % 5 == 4 and i > 400 else [])
    assert math.hypot(result.state.x - drive.x[899], result.state.y - drive.y[899]) < 0.2


@pytest.mark.parametrize("bad", [RoughPose(0, math.nan, 0.0, 0.0, 0.5, 0.2), RoughPose(0, 0.0, 0.0, 0.0, -1.0, 0.2)])
def test_a_pose_that_is_none_is_ignored(drive, bad):
    _, error = play(drive, 0, lambda i, fixes: [shift(f, 0.0) for f in fixes], 10**9, bad)
    assert error[100:].max() < 0.3


# ---------------------------------------------------------------------------- without a map


def odometry_fix(drive, i: int, begin: int, drift: float, frame: str = "lidar_odometry_1") -> PoseFix:
    """Where odometry that began at step ``begin`` puts the car: a frame of its own, wrong by a share of the way."""
    start = transform(drive.x[begin], drive.y[begin], yaw=drive.yaw[begin])
    T = inverse(start) @ transform(drive.x[i], drive.y[i], yaw=drive.yaw[i])
    T[:2, 3] *= 1.0 + drift
    sigmas = np.array([0.02, 0.02, 0.001])
    rows = np.zeros((3, 6))
    rows[0, 0] = rows[1, 1] = rows[2, 5] = 1.0
    stamp = drive.readings[i][0].stamp_ns
    return PoseFix(stamp, T, rows, sigmas, np.zeros((0, 3)), 1.0, 0.02, True, "", math.nan, frame)


def in_the_dark(long_drive, frames) -> tuple[np.ndarray, list]:
    """Errors (m) of a drive without satellites and heading from step 500 on; ``frames`` gives odometry's frame then."""
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    error, results = [], []
    for i, (imu, report, fixes) in enumerate(long_drive.readings):
        if i >= 500:
            imu, fixes = dataclasses.replace(imu, heading=math.nan), []
        frame = frames(i) if i % 5 == 4 else None
        begin = 0 if frame == "lidar_odometry_1" else 1500
        found = [odometry_fix(long_drive, i - 4, begin, 0.002, frame)] if frame and i - 4 >= begin else []
        results.append(localizer.step(imu, report, fixes, found))
        state = results[-1].state
        error.append(math.inf if state is None else math.hypot(state.x - long_drive.x[i], state.y - long_drive.y[i]))
    return np.array(error), results


@pytest.fixture(scope="module")
def long_drive():
    return make_drive(70.0, seed=8, moving_from=0.5)


def test_lidar_odometry_carries_the_car_on_without_satellites(long_drive):
    blind, _ = in_the_dark(long_drive, lambda i: None)
    carried, results = in_the_dark(long_drive, lambda i: "lidar_odometry_1")
    assert carried[500:].max() < 0.5 * blind[500:].max() and carried[500:].max() < 1.0
    inside = [
        r.protection_lateral**2 + r.protection_longitudinal**2 >= e**2 for r, e in zip(results, carried, strict=True)
    ]
    assert all(inside[500:])
    assert results[-1].status != "good" and "no GNSS" in results[-1].reason


def test_odometry_that_begins_anew_moves_nothing(long_drive):
    through, _ = in_the_dark(long_drive, lambda i: "lidar_odometry_1")
    anew, _ = in_the_dark(long_drive, lambda i: "lidar_odometry_1" if i < 1500 else "lidar_odometry_2")
    assert np.abs(np.diff(anew[1490:1600])).max() < 0.05
    assert anew[500:].max() < through[500:].max() + 0.5


def test_odometry_alone_gives_no_first_pose(long_drive):
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    for i, (imu, report, _) in enumerate(long_drive.readings[:50]):
        result = localizer.step(imu, report, [], [odometry_fix(long_drive, i, 0, 0.0)])
    assert result.state is None and result.status == "initialising"


# ---------------------------------------------------------------------------- a car's lidar measures as it goes


def turning(world, T_map_base, stamp_ns, step):
    """The sweep after the stamp of a lidar that turns while the car moves by ``step``."""
    parts = []
    for a, b in pairwise(np.linspace(0.0, 1.0, 12)):  # each part as seen from where the car is by then
        T = T_map_base @ transform(a * step[0, 3], yaw=a * math.atan2(step[1, 0], step[0, 0]))
        seen = sweep(world, T, stamp_ns).points
        sector = (np.arctan2(seen["y"], seen["x"]) + math.pi) / (2.0 * math.pi)
        part = seen[(sector >= a) & (sector < b)]
        timed = np.zeros(len(part), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("time", "<f4")])
        for name in "xyz":
            timed[name] = part[name]
        timed["time"] = a * 0.1
        parts.append(timed)
    whole = sweep(world, T_map_base, stamp_ns)
    return LidarSweep(whole.stamp_ns, np.concatenate(parts), whole.T_base_lidar)


@pytest.mark.parametrize("compensate", [True, False])
def test_a_car_that_drives_is_found_by_a_lidar_that_turns(world, info, compensate):
    """Nobody knows where it is nor how fast: the sweeps themselves tell, and are put right by that."""
    matcher = SweepMatcher(dataclasses.replace(MatchConfig(), motion_compensation=compensate), info)
    T, step, errors = transform(30.0, 60.0, yaw=0.3), transform(1.0, yaw=0.02), []
    for i in range(40):
        fix = matcher.step(turning(world, T, i * 100_000_000, step), None)
        if fix.accepted:
            errors.append(float(np.linalg.norm((inverse(T) @ fix.T_map_base)[:2, 3])))
        T = T @ step
    assert (len(errors) > 3 and np.median(errors) < 0.1) == compensate, errors


@pytest.mark.parametrize("compensate", [True, False])
def test_points_measured_one_after_the_other_are_put_right(world, info, compensate):
    """10 m/s and a bend: within one sweep the car moves by a metre."""
    matcher = SweepMatcher(dataclasses.replace(MatchConfig(), motion_compensation=compensate), info)
    step = transform(1.0, yaw=0.02)
    before = transform(40.0, 60.0, yaw=0.3)
    now = before @ step
    matcher.step(sweep(world, before, 0), before)
    fix = matcher.step(turning(world, now, 100_000_000, step), now)
    error = np.linalg.norm((inverse(now) @ fix.T_map_base)[:2, 3])
    assert error < 0.05 if compensate else error > 0.15
