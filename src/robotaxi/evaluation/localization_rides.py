"""Drives to measure the localizer on, made on the spot, and those of another day that its map is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from robotaxi.evaluation.drive_log import SensorLog
from robotaxi.evaluation.simulated_drive import DriveOptions, Town, simulate, way
from robotaxi.types import FloatArray

_MAP_DAY = 1
_MAP_SEEDS = 1_000_000  # added to the seed of a drive for that of the same way on the map's day
_MAP_SPEED = 1.3  # times as fast, so that the map reaches as far as the drive
_COVERED, _NEAR = 0.98, 4.0  # a way is mapped when that share of it is so near (m) to where the car drove

Progress = Callable[[int, int], None]


def judged_options(seed: int, seconds: float) -> DriveOptions:
    """A drive to judge by, in the town as it stands."""
    return DriveOptions(seed=seed, duration=seconds)


def mapping_drives(
    town: Town, seeds: range, seconds: float, scratch: Path, progress: Progress | None = None
) -> Iterator[SensorLog]:
    """Drives on a day when a fifth of the parked cars and some buildings are not there, along the ways of ``seeds`` as
    far as earlier ones have not covered them. Each log is good until the next is asked for."""
    driven: list[FloatArray] = []
    for number, seed in enumerate(seeds):
        judged = judged_options(seed, seconds)
        if _share_near(way(town.lane_map, judged), driven) < _COVERED:
            options = DriveOptions(
                seed=seed + _MAP_SEEDS, day=_MAP_DAY, duration=seconds, way_of=judged,
                top_speed=judged.top_speed * _MAP_SPEED,
            )  # fmt: skip
            log = simulate(town, options, scratch / "mapping.sweeps")
            if log.truth is not None:
                driven.append(log.truth.pose[:, :2])
            yield log
        if progress is not None:
            progress(number + 1, len(seeds))


def _share_near(line: FloatArray, driven: list[FloatArray]) -> float:
    """Share of the points (N, 2) of a line that are near to one where the car was."""
    near = np.zeros(len(line), bool)
    for track in driven:
        some = track[:: max(1, len(track) // 500)]
        near |= ((line[:, None] - some[None]) ** 2).sum(axis=2).min(axis=1) < _NEAR**2
    return float(near.mean())
