"""Drops in the air are left out, things are not."""

from __future__ import annotations

import numpy as np

from robotaxi.perception.lidar.airborne import AirborneConfig, AirborneFilter

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
