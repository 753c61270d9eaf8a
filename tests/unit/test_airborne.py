"""Drops in the air are left out, things are not."""

from __future__ import annotations

import numpy as np
import pytest

from robotaxi.perception.lidar.airborne import _ABOVE, _BESIDE, _PASSED, _THICK, AirborneConfig, AirborneFilter

SENSOR = np.array([0.0, 0.0, 2.0])


def sweep(share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (N, 3) of a flat road with a post of 0.1 m ahead, a wall behind, and drops; which are of the post, and
    which are drops."""
    rng = np.random.default_rng(3)
    bearing, fall = (
        grid.ravel()
        for grid in np.meshgrid(np.radians(np.arange(-180.0, 180.0, 0.2)), np.tan(np.radians(np.linspace(-15, 25, 32))))
    )
    away = np.minimum(np.where(fall > 0.0, 2.0 / np.maximum(fall, 1e-9), np.inf), 40.0)
    post = (np.abs(np.tan(bearing)) * 8.0 < 0.05) & (np.abs(bearing) < 1.0) & (2.0 - 8.0 * fall < 1.2) & (away > 8.0)
    away = np.where(post, 8.0, away)
    near = 1.5 + 12.5 * rng.random(len(away)) ** 2
    drops = (rng.random(len(away)) < share) & (near < away - 0.95)
    away = np.where(drops, near, away)
    xyz = np.column_stack([away * np.cos(bearing), away * np.sin(bearing), 2.0 - away * fall]).astype(np.float32)
    return xyz, post & ~drops, drops


def test_drops_are_found_and_a_post_is_not_taken_for_one() -> None:
    xyz, post, drops = sweep(0.02)
    found = AirborneFilter(AirborneConfig()).step(xyz, xyz[:, 2] > 0.2, SENSOR)
    standing = drops & (xyz[:, 2] > 0.2)
    assert found is not None
    assert found[standing].mean() > 0.75 and not found[post].any() and not found[~drops].any()


def test_clear_air_is_left_alone_and_looked_at_now_and_then() -> None:
    clear, rain = sweep(0.0)[0], sweep(0.02)[0]
    watch = AirborneFilter(AirborneConfig(airborne_every=3))
    looks = [
        watch.step(xyz, xyz[:, 2] > 0.2, SENSOR) is not None for xyz in (clear, rain, rain, rain, rain, clear, rain)
    ]
    assert looks == [False, False, False, True, True, False, True]


def test_a_bush_in_clear_air_is_no_rain() -> None:
    xyz, _, _ = sweep(0.0)
    rng = np.random.default_rng(8)
    ahead = (np.abs(np.arctan2(xyz[:, 1], xyz[:, 0])) < 0.6) & (np.hypot(xyz[:, 0], xyz[:, 1]) > 9.0)
    height = 2.0 + 7.0 / np.hypot(xyz[:, 0], xyz[:, 1]) * (xyz[:, 2] - 2.0)
    # twigs in bunches: of the beams that meet the bush one in five is stopped, beside others that are stopped too
    bunch = np.floor(4.0 * height).astype(int) + np.floor(30.0 * np.arctan2(xyz[:, 1], xyz[:, 0])).astype(int)
    twig = ahead & (height > 0.3) & (height < 1.8) & (bunch % 3 == 0) & (rng.random(len(xyz)) < 0.5)
    xyz[twig] = (SENSOR + (xyz[twig] - SENSOR) * (7.0 / np.hypot(xyz[twig, 0], xyz[twig, 1]))[:, None]).astype("f4")
    watch = AirborneFilter(AirborneConfig(airborne_share=0.5))
    assert watch.step(xyz, xyz[:, 2] > 0.2, SENSOR) is None
    assert watch.found > 100  # that look like drops one by one


def test_beams_are_counted_as_written() -> None:
    xyz, _, _ = sweep(0.03)
    xyz = xyz[np.random.default_rng(1).permutation(len(xyz))[:6000]]
    standing, config = xyz[:, 2] > 0.2, AirborneConfig(airborne_share=0.6, airborne_least=1)
    found = AirborneFilter(config).step(xyz, standing, SENSOR)
    rel = xyz.astype(np.float64) - SENSOR
    away = np.hypot(rel[:, 0], rel[:, 1])
    bearing, fall = np.arctan2(rel[:, 1], rel[:, 0]), -rel[:, 2] / away
    plain = np.zeros(len(xyz), bool)
    for k in np.flatnonzero(standing & (away < config.airborne_range)):
        off = np.abs((bearing - bearing[k] + np.pi) % (2.0 * np.pi) - np.pi)
        beside = (off < _BESIDE / away[k]) & (np.abs(fall - fall[k]) < _ABOVE / away[k]) & (away > away[k] - _THICK)
        passed = (beside & (away > away[k] + _THICK)).sum()
        ended = beside.sum() - passed
        plain[k] = passed >= _PASSED and ended - 1 < config.airborne_share * (ended - 1 + passed)
    assert found is not None and found.sum() > 50
    assert found.sum() == pytest.approx(plain.sum(), abs=2)  # single against double precision on an edge
    assert (found != plain).sum() <= 4
