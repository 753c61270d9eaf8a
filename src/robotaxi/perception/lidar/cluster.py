"""Clusters: connected components of the occupied cells of a bird's-eye-view grid.

Cells are joined across a gap that grows with range, since neighbouring beams fan out, and that is
longer along the line of sight than across it: on a side or a bonnet seen edge-on neighbouring beams
land far apart. What is larger than any road user (a hedge with a car before it) is cut again with the smallest gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.preprocess import Points


@dataclass(frozen=True)
class ClusterConfig:
    """Clustering on the grid."""

    cell: float = param(0.2, lo=0.05, hi=1.0, unit="m", doc="edge of a grid cell")
    gap: float = param(0.35, lo=0.05, hi=2.0, unit="m", doc="largest gap inside one object, at the car")
    gap_per_m: float = param(0.008, lo=0.0, hi=0.1, doc="growth of the gap across the line of sight, m per m of range")
    sight_gap_per_m: float = param(
        0.03, lo=0.0, hi=0.2, doc="growth of the gap along the line of sight, m per m of range"
    )
    max_gap: float = param(1.1, lo=0.1, hi=3.0, unit="m", doc="the gaps grow no further")
    min_points: int = param(5, lo=1, hi=100, doc="clusters of fewer points are noise")
    split_extent: float = param(7.0, lo=3.0, hi=50.0, unit="m", doc="longer clusters are cut with the smallest gap")


@dataclass(frozen=True)
class Clusters:
    """``order`` (K,) indices of clustered points grouped by cluster; cluster i is
    ``order[start[i]:start[i + 1]]``."""

    order: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start) - 1


@dataclass(frozen=True)
class Grid:
    """Occupied cells in order of first touch: ``key`` (C, 2) column and row, ``count`` (C,) points,
    ``lookup`` (W, W) cell index or -1; ``cell_of`` (M,) cell index of each point."""

    key: NDArray[np.int32]
    count: NDArray[np.int32]
    lookup: NDArray[np.int32]
    cell_of: NDArray[np.int32]


def rasterise(xyz: Points, cell: float, max_range: float) -> Grid:
    """Occupied cells of a square grid around base_link; points must lie within ``max_range``."""
    half = int(np.ceil(max_range / cell)) + 1
    return Grid(*_rasterise(xyz, cell, half))


def find_clusters(xyz: Points, grid: Grid, config: ClusterConfig) -> Clusters:
    """Group points (M, 3) in base_link; ``grid`` is their raster at ``config.cell``."""
    half = grid.lookup.shape[0] // 2
    label = _connect(
        grid.key, grid.lookup, half, config.cell, config.gap, config.gap_per_m, config.sight_gap_per_m, config.max_gap
    )
    label = _split_oversize(grid.key, grid.lookup, label, config.cell, config.split_extent)
    return Clusters(*_group(label, grid.cell_of, config.min_points))


@njit(cache=True)
def _rasterise(xyz, cell, half):  # type: ignore[no-untyped-def]
    n = xyz.shape[0]
    width = 2 * half + 1
    lookup = np.full((width, width), -1, np.int32)
    key = np.empty((n, 2), np.int32)
    count = np.zeros(n, np.int32)
    cell_of = np.empty(n, np.int32)
    m = 0
    for i in range(n):
        u = min(max(int(np.floor(xyz[i, 0] / cell)) + half, 0), width - 1)
        v = min(max(int(np.floor(xyz[i, 1] / cell)) + half, 0), width - 1)
        c = lookup[u, v]
        if c < 0:
            c = m
            lookup[u, v] = c
            key[c, 0], key[c, 1] = u, v
            m += 1
        count[c] += 1
        cell_of[i] = c
    return key[:m].copy(), count[:m].copy(), lookup, cell_of


@njit(cache=True)
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def _join(parent, a, b):  # type: ignore[no-untyped-def]
    ra, rb = _root(parent, a), _root(parent, b)
    if ra < rb:
        parent[rb] = ra
    elif rb < ra:
        parent[ra] = rb


@njit(cache=True)
def _connect(key, lookup, half, cell, gap, gap_per_m, sight_gap_per_m, max_gap):  # type: ignore[no-untyped-def]
    """Cluster label of each cell: the index of its cluster's first cell."""
    n = key.shape[0]
    width = lookup.shape[0]
    parent = np.arange(n)
    for i in range(n):
        u, v = key[i, 0], key[i, 1]
        x, y = float(u - half), float(v - half)
        steps = max(np.sqrt(x * x + y * y), 1.0)
        x, y = x / steps, y / steps
        across = min(gap + gap_per_m * steps * cell, max_gap) / cell + 0.5
        along = min(gap + sight_gap_per_m * steps * cell, max_gap) / cell + 0.5
        k = int(max(along, across))
        for du in range(-k, k + 1):
            for dv in range(-k, k + 1):
                if max(abs(du), abs(dv)) > 1:
                    depth, side = (du * x + dv * y) / along, (dv * x - du * y) / across
                    if depth * depth + side * side > 1.0:
                        continue
                uu, vv = u + du, v + dv
                if 0 <= uu < width and 0 <= vv < width and lookup[uu, vv] >= 0:
                    _join(parent, i, lookup[uu, vv])
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent


@njit(cache=True)
def _split_oversize(key, lookup, label, cell, extent):  # type: ignore[no-untyped-def]
    """Connect the cells of too long clusters again, touching cells only."""
    n = key.shape[0]
    box = np.empty((n, 4), np.int32)
    for i in range(n):
        c = label[i]
        if c == i:
            box[c] = np.array([key[i, 0], key[i, 0], key[i, 1], key[i, 1]], np.int32)
        box[c, 0] = min(box[c, 0], key[i, 0])
        box[c, 1] = max(box[c, 1], key[i, 0])
        box[c, 2] = min(box[c, 2], key[i, 1])
        box[c, 3] = max(box[c, 3], key[i, 1])
    limit = (extent / cell) ** 2
    width = lookup.shape[0]
    parent = np.arange(n)
    for i in range(n):
        c = label[i]
        if (box[c, 1] - box[c, 0]) ** 2 + (box[c, 3] - box[c, 2]) ** 2 <= limit:
            parent[i] = c
    for i in range(n):
        c = label[i]
        if (box[c, 1] - box[c, 0]) ** 2 + (box[c, 3] - box[c, 2]) ** 2 <= limit:
            continue
        for du in range(-1, 2):
            for dv in range(-1, 2):
                uu, vv = key[i, 0] + du, key[i, 1] + dv
                if 0 <= uu < width and 0 <= vv < width:
                    j = lookup[uu, vv]
                    if j >= 0 and label[j] == c:
                        _join(parent, i, j)
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent


@njit(cache=True)
def _group(label, cell_of, min_points):  # type: ignore[no-untyped-def]
    """Point indices grouped by cluster, clusters in order of their first cell."""
    size = np.zeros(label.size, np.int64)
    for i in range(cell_of.size):
        size[label[cell_of[i]]] += 1
    slot = np.full(label.size, -1, np.int64)
    clusters, total = 0, 0
    for c in range(label.size):
        if size[c] >= min_points:
            slot[c] = total
            total += size[c]
            clusters += 1
    start = np.empty(clusters + 1, np.int64)
    k = 0
    for c in range(label.size):
        if size[c] >= min_points:
            start[k] = slot[c]
            k += 1
    start[clusters] = total
    order = np.empty(total, np.int64)
    for i in range(cell_of.size):
        c = label[cell_of[i]]
        if slot[c] >= 0:
            order[slot[c]] = i
            slot[c] += 1
    return order, start
