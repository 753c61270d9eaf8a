"""Tiles on disk, scan matching against them, and matches that reach the filter late."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from test_lidar_odometry import street, sweep_from
from test_localization_drive import ARM, ORIGIN, make_drive, shift

from robotaxi.geometry.se3 import inverse, quaternion, rotation, transform
from robotaxi.localization import LocalizationConfig, Localizer, MatchConfig
from robotaxi.localization.map_match import MapMatcher, PoseFix
from robotaxi.localization.point_map import PointMap
from robotaxi.localization.tiles import LocalizationMapError, TileCache, read_info, read_tile, write_map
from robotaxi.types import LidarSweep

T_BASE_LIDAR = transform(x=1.2, z=1.9)


@pytest.fixture(scope="module")
def world() -> np.ndarray:
    return street()


@pytest.fixture
def folder(world, tmp_path):
    made = PointMap(1.0, 20, 0.3, 0.8)
    made.insert(world)
    write_map(tmp_path / "map", *made.with_planes(), ORIGIN, 50.0, 1.0, 0.3, ["monday"])
    return tmp_path / "map"


def as_sweep(world: np.ndarray, T_map_base: np.ndarray, stamp_ns: int = 0) -> LidarSweep:
    points = sweep_from(world, T_map_base @ T_BASE_LIDAR, 5)
    records = np.zeros(len(points), [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    for k, name in enumerate("xyz"):
        records[name] = points[:, k]
    return LidarSweep(stamp_ns, records, T_BASE_LIDAR)


def test_tiles_come_back_as_they_were_written(folder):
    info = read_info(folder)
    assert info.drives == ["monday"] and info.origin == ORIGIN and (folder / "pointcloud_map_metadata.yaml").is_file()
    for cell in info.tiles:
        points, plane, kind = read_tile(info, cell)
        assert len(points) == len(kind) and set(np.unique(kind)) <= {0, 1}
        assert (np.floor(points[:, :2] / 50.0 + 1e-6) == cell).mean() > 0.99
        off = np.einsum("ij,ij->i", plane[:, :3], points) - plane[:, 3]
        assert np.abs(off[kind == 1]).max() < 1e-6


def test_match_finds_the_car_and_the_covariance_is_honest(world, folder):
    matcher = MapMatcher(MatchConfig(), read_info(folder))
    truth = transform(x=12.0, y=0.5, yaw=0.2)
    fix = matcher.fix(as_sweep(world, truth), truth @ transform(x=0.4, y=-0.3, yaw=0.03))
    error = (inverse(truth) @ fix.T_map_base)[:3, 3]
    assert fix.accepted and np.linalg.norm(error) < 0.03
    wrong = np.concatenate([fix.T_map_base[:3, 3] - truth[:3, 3], np.zeros(3)])
    assert np.all(np.abs(fix.directions @ wrong) < 4.4 * fix.sigmas)


def test_a_map_of_another_place_is_not_followed(world, folder):
    matcher = MapMatcher(MatchConfig(), read_info(folder))
    here = as_sweep(world, transform(x=12.0))
    assert "no tile" in matcher.fix(here, transform(x=5000.0)).reason
    other = np.random.default_rng(0).uniform(-40.0, 40.0, (15000, 3))
    records = here.points[: len(other)].copy()
    for k, name in enumerate("xyz"):
        records[name] = other[: len(records), k]
    fix = matcher.fix(LidarSweep(0, records, T_BASE_LIDAR), transform(x=12.0))
    assert not fix.accepted and fix.reason
    with pytest.raises(LocalizationMapError, match="another place"):
        read_info(folder).check_origin((ORIGIN[0] + 0.1, ORIGIN[1], 0.0))


def test_broken_tiles_are_named_and_left_out(folder):
    info = read_info(folder)
    (bad, _), (gone, _) = (info.tiles[c] for c in list(info.tiles)[:2])
    (folder / bad).write_bytes(b"x" + (folder / bad).read_bytes()[1:])
    (folder / gone).unlink()
    cache = TileCache(info, 200.0)
    assert cache.around(20.0, 0.0) == len(info.tiles) - 2
    faults = " ".join(cache.faults.values())
    assert f"{bad}: is not the file that was written" in faults and f"{gone}: cannot be read" in faults


@pytest.mark.parametrize("content", ["", "{", "version: 7", "version: 1\ntiles: 3"])
def test_broken_map_yaml_is_named(folder, content):
    (folder / "map.yaml").write_text(content)
    with pytest.raises(LocalizationMapError, match=r"map\.yaml.*(again|robotaxi map build)"):
        read_info(folder)


def test_tiles_held_do_not_grow_with_the_way(folder):
    cache = TileCache(read_info(folder), 20.0)
    held = [cache.around(x, 0.0) for x in np.linspace(-40.0, 80.0, 40)]
    assert 0 < max(held) <= 6


def test_quaternions_go_there_and_back():
    for angles in ((0.1, -0.2, 3.0), (3.1, 0.0, 0.0), (0.0, 1.5, -2.0), (0.0, 0.0, 0.0)):
        T = transform(roll=angles[0], pitch=angles[1], yaw=angles[2])
        assert np.allclose(rotation(*quaternion(T)), T[:3, :3], atol=1e-12)


def run_with_matches(drive, late: int, begin: int = 0, fault=None):
    """The drive with exact matches every 100 ms that arrive ``late`` steps late."""
    localizer, rng = Localizer(LocalizationConfig(), ORIGIN, ARM), np.random.default_rng(0)
    results, waiting = [], {}
    for i, reading in enumerate(drive.readings):
        if fault is not None:
            reading = fault(i, reading)
        results.append(localizer.step(*reading, waiting.pop(i, [])))
        if i % 5 == 0 and i >= begin:
            T = transform(drive.x[i], drive.y[i], 0.0, yaw=drive.yaw[i])
            T[:2, 3] += rng.normal(0, 0.01, 2)
            sigmas = np.array([0.01, 0.01, 0.02, 0.001, 0.001, 0.001])
            stamp = reading[0].stamp_ns
            waiting[i + late] = [PoseFix(stamp, T, np.eye(6), sigmas, np.zeros((0, 3)), 1.0, 0.02, True, "")]
    return results


def distance(drive, results) -> np.ndarray:
    x, y = (np.array([getattr(r.state, k) if r.state else math.nan for r in results]) for k in "xy")
    return np.hypot(x - drive.x, y - drive.y)


@pytest.fixture(scope="module")
def drive():
    return make_drive(60.0, seed=4)


@pytest.mark.parametrize("late", [1, 4, 13])
def test_late_matches_count_for_their_moment(drive, late):
    error = distance(drive, run_with_matches(drive, late))
    assert np.nanmax(error[500:]) < 0.05 and np.sqrt(np.nanmean(error[500:] ** 2)) < 0.025


def test_gnss_that_jumps_does_not_move_a_pose_held_by_the_map(drive):
    def fault(i, r):
        return (r[0], r[1], [shift(f, 30.0) for f in r[2]]) if 1000 <= i < 2000 else r

    healthy, jumped = run_with_matches(drive, 4), run_with_matches(drive, 4, fault=fault)
    moved = [math.hypot(a.state.x - b.state.x, a.state.y - b.state.y) for a, b in zip(healthy, jumped, strict=True)]
    assert max(moved) < 0.05
    assert jumped[1900].status == "degraded" and "GNSS" in jumped[1900].reason


def test_matches_hold_the_pose_without_gnss(drive):
    results = run_with_matches(drive, 4, fault=lambda i, r: (r[0], r[1], r[2] if i < 500 else []))
    assert np.nanmax(distance(drive, results)[500:]) < 0.06
    assert results[-1].status == "good" and results[-1].protection_lateral < 0.3


def test_a_match_far_off_is_refused_and_named(drive):
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    for i, reading in enumerate(drive.readings[:600]):
        fixes = []
        if i % 5 == 0 and i > 400:
            T = transform(drive.x[i - 4] + 5.0, drive.y[i - 4], 0.0, yaw=drive.yaw[i - 4])
            stamp = drive.readings[i - 4][0].stamp_ns
            fixes = [PoseFix(stamp, T, np.eye(6), np.full(6, 0.01), np.zeros((0, 3)), 1.0, 0.02, True, "")]
        result = localizer.step(*reading, fixes)
    assert math.hypot(result.state.x - drive.x[599], result.state.y - drive.y[599]) < 0.2
    assert result.status == "degraded" and "scan match contradicts" in result.reason


def test_an_open_direction_keeps_its_doubt(drive):
    """In a tunnel the map holds the car sideways only: what is not known along it must show."""
    localizer = Localizer(LocalizationConfig(), ORIGIN, ARM)
    for i, (imu, report, fixes) in enumerate(drive.readings):
        matches = []
        if i % 5 == 0 and i > 500:
            T = transform(drive.x[i - 5], drive.y[i - 5], 0.0, yaw=drive.yaw[i - 5])
            along, left = T[:3, 0], T[:3, 1]
            row = np.concatenate([left, np.zeros(3)])[None]
            stamp = drive.readings[i - 5][0].stamp_ns
            matches = [PoseFix(stamp, T, row, np.array([0.01]), along[None], 1.0, 0.02, True, "")]
        result = localizer.step(imu, report, fixes if i < 500 else [], matches)
    assert result.protection_longitudinal > 1.3 * result.protection_lateral
    assert dataclasses.is_dataclass(result) and "no GNSS" in result.reason
