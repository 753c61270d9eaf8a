"""Points that stand on the road, whatever they are: for the planner's and the gate's last look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.cluster import Grid
from robotaxi.perception.lidar.preprocess import Points
from robotaxi.types import OBSTACLE_DTYPE, RecordArray


@dataclass(frozen=True)
class ObstacleConfig:
    """Obstacle points."""

    obstacle_range: float = param(50.0, lo=5.0, hi=250.0, unit="m", doc="obstacle points are given up to here")
    obstacle_min_points: int = param(2, lo=1, hi=20, doc="fewer returns in a cell and its neighbours are noise")
    overhead_height: float = param(2.2, lo=1.5, hi=5.0, unit="m", doc="what hangs higher leaves room to pass")


def obstacle_points(xyz: Points, height: NDArray[np.float32], grid: Grid, config: ObstacleConfig) -> RecordArray:
    """One point (OBSTACLE_DTYPE, base_link) for each occupied cell of ``grid``: its nearest return.

    ``xyz`` (M, 3) above the ground, ``height`` (M,) over it. Cells whose returns are all overhead and
    cells that hold nothing but a lone return are left out.
    """
    chosen = _nearest(
        xyz,
        height,
        grid.cell_of,
        grid.key,
        grid.count,
        grid.lookup,
        config.obstacle_range,
        config.overhead_height,
        config.obstacle_min_points,
    )
    out = np.empty(len(chosen), OBSTACLE_DTYPE)
    out["x"], out["y"], out["z"] = xyz[chosen, 0], xyz[chosen, 1], xyz[chosen, 2]
    return out


@njit(cache=True)
def _nearest(xyz, height, cell_of, key, count, lookup, max_range, overhead, min_points):  # type: ignore[no-untyped-def]
    cells = key.shape[0]
    best = np.full(cells, -1, np.int64)
    best_square = np.full(cells, max_range * max_range)
    for i in range(cell_of.size):
        if height[i] > overhead:
            continue
        square = xyz[i, 0] * xyz[i, 0] + xyz[i, 1] * xyz[i, 1]
        if square < best_square[cell_of[i]]:
            best_square[cell_of[i]] = square
            best[cell_of[i]] = i
    width = lookup.shape[0]
    out = np.empty(cells, np.int64)
    m = 0
    for c in range(cells):
        if best[c] < 0:
            continue
        support = 0
        for u in range(max(key[c, 0] - 1, 0), min(key[c, 0] + 2, width)):
            for v in range(max(key[c, 1] - 1, 0), min(key[c, 1] + 2, width)):
                if lookup[u, v] >= 0:
                    support += count[lookup[u, v]]
        if support >= min_points:
            out[m] = best[c]
            m += 1
    return out[:m].copy()
