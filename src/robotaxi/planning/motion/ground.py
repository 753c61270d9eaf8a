"""Drivable ground beside a path, as its clearance in tiles of small cells: stored only where the path leads.

Between the middles of cells the clearance is interpolated, so that edges are known to a small part of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

SHIFT = 5  # a tile has 2**SHIFT cells along each side
TILE = 1 << SHIFT
MAX_CELLS = 6_000_000  # beyond, cells are made larger


@dataclass(frozen=True)
class Ground:
    """``index`` (R, C): number of the tile there, -1 for none; ``tiles`` (T, 32, 32): metres to the edge of the ground,
    negative outside; ``frame`` (3,): x and y of the low corner, and the size of a cell in metres."""

    index: NDArray[np.int32]
    tiles: NDArray[np.float32]
    frame: FloatArray


def ground_beside(
    x: FloatArray,
    y: FloatArray,
    around: float,
    inside: Callable[[FloatArray], FloatArray],
    cell: float = 0.25,
) -> Ground:
    """Tiles that come within ``around`` metres of the points ``x, y`` (P,); ``inside``: clearance (N,) of points
    (N, 2), metres."""
    while True:
        side = cell * TILE
        low_x, low_y = float(x.min()) - around, float(y.min()) - around
        columns = int((float(x.max()) + around - low_x) / side) + 1
        rows = int((float(y.max()) + around - low_y) / side) + 1
        wanted = np.zeros((rows, columns), np.bool_)
        reach = around + side
        step = np.arange(-math.ceil(reach / side), math.ceil(reach / side) + 1)
        stride = 8
        near_i = ((np.append(y[::stride], y[-1]) - low_y) / side).astype(np.int64)
        near_j = ((np.append(x[::stride], x[-1]) - low_x) / side).astype(np.int64)
        for di in step.tolist():
            for dj in step.tolist():
                if math.hypot(max(abs(di) - 1, 0), max(abs(dj) - 1, 0)) * side > around:
                    continue
                wanted[np.clip(near_i + di, 0, rows - 1), np.clip(near_j + dj, 0, columns - 1)] = True
        if int(wanted.sum()) * TILE * TILE <= MAX_CELLS:
            break
        cell *= 1.5
    index = np.full((rows, columns), -1, np.int32)
    row, column = np.nonzero(wanted)
    index[row, column] = np.arange(row.size)
    centre = (np.arange(TILE) + 0.5) * cell
    gx = (low_x + column * side)[:, None, None] + centre[None, None, :] + np.zeros((1, TILE, 1))
    gy = (low_y + row * side)[:, None, None] + centre[None, :, None] + np.zeros((1, 1, TILE))
    clear = inside(np.column_stack([gx.ravel(), gy.ravel()])).reshape(row.size, TILE, TILE)
    return Ground(index, np.ascontiguousarray(clear, np.float32), np.array([low_x, low_y, cell]))


def clearances(ground: Ground, points: FloatArray) -> FloatArray:
    """`clearance` (N,) of points (N, 2)."""
    return np.asarray(_clearances(ground.index, ground.tiles, ground.frame, np.asarray(points, np.float64)))


@njit(cache=True)
def _clearances(index, tiles, frame, points):  # type: ignore[no-untyped-def]
    out = np.empty(points.shape[0])
    for k in range(points.shape[0]):
        out[k] = clearance(index, tiles, frame, points[k, 0], points[k, 1])
    return out


@njit(cache=True)
def clearance(index, tiles, frame, x, y):  # type: ignore[no-untyped-def]
    """Metres from a point to the edge of the ground, negative outside and beside all tiles."""
    v, u = (y - frame[1]) / frame[2] - 0.5, (x - frame[0]) / frame[2] - 0.5
    i, j = math.floor(v), math.floor(u)
    v, u = v - i, u - j
    low = (1.0 - u) * _at(index, tiles, i, j) + u * _at(index, tiles, i, j + 1)
    high = (1.0 - u) * _at(index, tiles, i + 1, j) + u * _at(index, tiles, i + 1, j + 1)
    return (1.0 - v) * low + v * high


@njit(cache=True)
def _at(index, tiles, i, j):  # type: ignore[no-untyped-def]
    row, column = i >> SHIFT, j >> SHIFT
    if row < 0 or column < 0 or row >= index.shape[0] or column >= index.shape[1]:
        return -1.0
    tile = index[row, column]
    return tiles[tile, i & (TILE - 1), j & (TILE - 1)] if tile >= 0 else -1.0
