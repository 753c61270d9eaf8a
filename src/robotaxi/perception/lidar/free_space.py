"""Free, occupied or unknown: the surroundings as a grid, from the ground that one sweep shows and what stands on it.

Rays are cast from the lidar over the ground, sector by sector. A place is free where nothing stands on the way to it
and the ground is seen there or a little beyond it; rings fan out with range, so the gap that may lie between them
grows with it. Where the ground is not seen, behind what stands and in the shade of the own roof, nothing is known, and
nothing is free. What hangs higher than a vehicle leaves the ground below it free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.preprocess import Points
from robotaxi.types import FloatArray, OccupancyGrid, RecordArray

_SECTORS = 360  # wide enough for a column of any common lidar in each
_REACH = 2  # half widths of the grid: its corners, also from a lidar that is not above base_link
_FREE, _OCCUPIED, _UNKNOWN = OccupancyGrid.FREE, OccupancyGrid.OCCUPIED, OccupancyGrid.UNKNOWN


@dataclass(frozen=True)
class FreeSpaceConfig:
    """Free-space grid."""

    grid_range: float = param(50.0, lo=5.0, hi=150.0, unit="m", doc="the grid reaches so far ahead, back and aside")
    grid_resolution: float = param(0.5, lo=0.1, hi=2.0, unit="m", doc="edge of a cell of the grid")
    free_gap: float = param(2.0, lo=0.0, hi=20.0, unit="m", doc="ground that is not seen before ground that is: free")
    free_gap_per_m: float = param(0.12, lo=0.0, hi=1.0, doc="growth of that gap with range, m per m")


def free_space(
    xyz: Points,
    height: NDArray[np.float32],
    standing: NDArray[np.bool_],
    obstacles: RecordArray,
    sensor: FloatArray,
    overhead: float,
    config: FreeSpaceConfig,
) -> OccupancyGrid:
    """The grid around base_link that one sweep shows.

    ``xyz`` (M, 3) in base_link with their ``height`` above the ground, m; ``standing`` (M,): not of the ground;
    ``obstacles``: OBSTACLE_DTYPE, base_link; ``sensor`` (2,): the lidar in base_link; higher than ``overhead`` m there
    is room to pass. Points that are not finite count for nothing.
    """
    half = max(math.ceil(config.grid_range / config.grid_resolution), 1)
    step = config.grid_resolution
    sensor = np.asarray(sensor, np.float64)
    ground, wall = _seen(xyz, height, standing, sensor, overhead, step, _REACH * half)
    free = _free(ground, wall, config.free_gap / step, config.free_gap_per_m)
    cells = _cells(free, sensor, half, step)
    _occupy(cells, obstacles["x"].copy(), obstacles["y"].copy(), half, step)
    return OccupancyGrid(step, -half * step, -half * step, cells)


@njit(cache=True)
def _sector(x, y):  # type: ignore[no-untyped-def]
    """Monotonic in the direction, without trigonometry ("diamond angle")."""
    total = abs(x) + abs(y)
    turn = y / total if total > 0.0 else 0.0
    turn = 2.0 - turn if x < 0.0 else (turn if y >= 0.0 else 4.0 + turn)
    return min(int(turn * 0.25 * _SECTORS), _SECTORS - 1)


@njit(cache=True)
def _seen(xyz, height, standing, sensor, overhead, step, bins):  # type: ignore[no-untyped-def]
    """Where ground is seen, (sectors, bins), and the first bin of each sector in which something stands."""
    ground = np.zeros((_SECTORS, bins), np.bool_)
    wall = np.full(_SECTORS, bins, np.int64)
    reach = bins * step
    for i in range(xyz.shape[0]):
        x, y = xyz[i, 0] - sensor[0], xyz[i, 1] - sensor[1]
        distance = math.sqrt(x * x + y * y)
        if not (distance < reach and height[i] <= overhead):  # written so that NaN fails it too
            continue
        sector, at = _sector(x, y), int(distance / step)
        if standing[i]:
            wall[sector] = min(wall[sector], at)
        else:
            ground[sector, at] = True
    return ground, wall


@njit(cache=True)
def _free(ground, wall, gap, gap_per_bin):  # type: ignore[no-untyped-def]
    """(sectors, bins): before the wall, and with ground at most a gap beyond."""
    free = np.zeros(ground.shape, np.bool_)
    for s in range(ground.shape[0]):
        last = -1
        for b in range(wall[s] - 1, -1, -1):
            if ground[s, b]:
                last = b
            free[s, b] = last >= 0 and last - b <= gap + gap_per_bin * last
    return free


@njit(cache=True)
def _cells(free, sensor, half, step):  # type: ignore[no-untyped-def]
    """FREE or UNKNOWN by the middle of each cell: rows along y, columns along x."""
    out = np.full((2 * half, 2 * half), _UNKNOWN, np.int8)
    for v in range(2 * half):
        y = (v - half + 0.5) * step - sensor[1]
        for u in range(2 * half):
            x = (u - half + 0.5) * step - sensor[0]
            at = int(math.sqrt(x * x + y * y) / step)
            if at < free.shape[1] and free[_sector(x, y), at]:
                out[v, u] = _FREE
    return out


@njit(cache=True)
def _occupy(cells, x, y, half, step):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        u, v = np.floor(x[i] / step) + half, np.floor(y[i] / step) + half
        if 0 <= u < 2 * half and 0 <= v < 2 * half:
            cells[int(v), int(u)] = _OCCUPIED
