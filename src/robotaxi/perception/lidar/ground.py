"""Ground height by lowest points on a polar grid, propagated outwards with a slope limit.

The idea is that of polar ground segmentation (Himmelsbach et al., IV 2010) with a plane prior
below it as in Patchwork (Lim et al., RA-L 2021):

1. lowest point of each cell (sector x range bin);
2. one robust plane through the near cells takes out pitch, roll and road grade;
3. along each sector, outwards from the car, a cell's lowest point is ground when the step from
   the last ground is no steeper than a road or a kerb; cells in between are interpolated;
4. a point's height is measured from its cell's ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.preprocess import Points

_PLANE_ITERATIONS = 6
_PLANE_PRIOR_SIGMA = (0.15, 0.06, 0.06)  # m, 1, 1: how far the road may lie from base_link's xy plane


@dataclass(frozen=True)
class GroundConfig:
    """Ground model."""

    ground_sectors: int = param(192, lo=16, hi=1024, doc="sectors of the polar grid")
    ground_bin: float = param(0.75, lo=0.2, hi=5.0, unit="m", doc="length of a range bin")
    ground_max_slope: float = param(0.10, lo=0.01, hi=0.5, doc="steepest rise against the near plane, m per m")
    ground_step: float = param(0.12, lo=0.0, hi=0.5, unit="m", doc="highest kerb or step that is still ground")
    ground_plane_range: float = param(25.0, lo=5.0, hi=60.0, unit="m", doc="cells nearer than this make the plane")
    ground_plane_sigma: float = param(0.12, lo=0.01, hi=1.0, unit="m", doc="scatter at which the plane stops trusting")
    ground_clearance: float = param(0.22, lo=0.05, hi=1.0, unit="m", doc="lower points are ground")
    ground_clearance_per_m: float = param(0.003, lo=0.0, hi=0.05, doc="growth of the clearance with range, m per m")


def heights_above_ground(xyz: Points, config: GroundConfig, max_range: float) -> NDArray[np.float32]:
    """Height of each point above the local ground, (M,) m; ground points lie below `clearance`."""
    if len(xyz) == 0:
        return np.zeros(0, np.float32)
    bins = int(np.ceil(max_range / config.ground_bin)) + 1
    cell, low, low_xy = _lowest(xyz, config.ground_sectors, bins, config.ground_bin, config.ground_max_slope)
    plane = _fit_plane(low, low_xy, config)
    ground = _propagate(low, low_xy, plane, config.ground_bin, config.ground_max_slope, config.ground_step)
    return _heights(xyz, cell, ground.reshape(-1), plane)


def clearance(ranges: NDArray[np.float32], config: GroundConfig) -> NDArray[np.float32]:
    """Height up to which a return at this range counts as ground, m."""
    return (config.ground_clearance + config.ground_clearance_per_m * ranges).astype(np.float32)


@njit(cache=True)
def _lowest(xyz, sectors, bins, bin_length, max_slope):  # type: ignore[no-untyped-def]
    """Cell of each point, and height and xy of the lowest plausible point of each cell."""
    n = xyz.shape[0]
    cell = np.empty(n, np.int32)
    low = np.full((sectors, bins), np.inf, np.float32)
    low_xy = np.zeros((sectors, bins, 2), np.float32)
    for i in range(n):
        x, y, z = xyz[i, 0], xyz[i, 1], xyz[i, 2]
        r = np.sqrt(x * x + y * y)
        # "diamond angle": monotonic in the azimuth, without trigonometry
        total = abs(x) + abs(y)
        turn = y / total if total > 0.0 else 0.0
        turn = 2.0 - turn if x < 0.0 else (turn if y >= 0.0 else 4.0 + turn)
        sector = min(int(turn * 0.25 * sectors), sectors - 1)
        b = min(int(r / bin_length), bins - 1)
        cell[i] = sector * bins + b
        # mirror images in wet or glassy surfaces lie far below any road
        if z < low[sector, b] and z > -0.5 - 1.5 * max_slope * r:
            low[sector, b] = z
            low_xy[sector, b, 0] = x
            low_xy[sector, b, 1] = y
    return cell, low, low_xy


def _fit_plane(low: NDArray[np.float32], low_xy: NDArray[np.float32], config: GroundConfig) -> NDArray[np.float64]:
    """Coefficients (a, b, c) of z = a + b x + c y: reweighted least squares with a prior at zero."""
    plane = np.zeros(3)
    near = max(1, int(config.ground_plane_range / config.ground_bin))
    z = low[:, :near].astype(np.float64)
    seen = np.isfinite(z)
    z, xy = z[seen], low_xy[:, :near][seen].astype(np.float64)
    rows = np.column_stack([np.ones(len(z)), xy])
    prior = np.diag(1.0 / np.square(_PLANE_PRIOR_SIGMA))
    for i in range(_PLANE_ITERATIONS):
        residual = z - rows @ plane
        # wide at first, then narrow: obstacles fade out, the road stays
        sigma = config.ground_plane_sigma * max(1.0, 4.0 - i)
        weight = 1.0 / np.square(1.0 + np.square(residual / sigma)) / sigma**2
        normal = (rows * weight[:, None]).T @ rows + prior
        plane = np.linalg.solve(normal, (rows * weight[:, None]).T @ z)
    return plane


@njit(cache=True)
def _propagate(low, low_xy, plane, bin_length, max_slope, step):  # type: ignore[no-untyped-def]
    """Ground height over the plane for each cell, (sectors, bins)."""
    sectors, bins = low.shape
    ground = np.zeros((sectors, bins), np.float32)
    for s in range(sectors):
        last, last_r, last_bin = 0.0, 0.0, -1
        for b in range(bins):
            if not np.isfinite(low[s, b]):
                continue
            x, y = low_xy[s, b, 0], low_xy[s, b, 1]
            height = low[s, b] - (plane[0] + plane[1] * x + plane[2] * y)
            r = np.sqrt(x * x + y * y)
            if abs(height - last) > step + max_slope * max(r - last_r, 0.0):
                continue
            for k in range(last_bin + 1, b):
                share = (k - last_bin) / (b - last_bin)
                ground[s, k] = last + share * (height - last)
            ground[s, b] = height
            last, last_r, last_bin = height, r, b
        for k in range(last_bin + 1, bins):
            ground[s, k] = last
    return ground


@njit(cache=True)
def _heights(xyz, cell, ground, plane):  # type: ignore[no-untyped-def]
    out = np.empty(xyz.shape[0], np.float32)
    for i in range(xyz.shape[0]):
        out[i] = xyz[i, 2] - (plane[0] + plane[1] * xyz[i, 0] + plane[2] * xyz[i, 1]) - ground[cell[i]]
    return out
