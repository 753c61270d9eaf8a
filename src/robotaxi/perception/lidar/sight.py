"""How well the lidar sees: how far the road is visible, and which directions are blind.

Dirt, a stuck mirror or a parked van alongside leave sectors without returns; rain, fog and a fading laser take the
farthest returns first. Judged on a share of the points, against what the lidar itself saw before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.preprocess import Points
from robotaxi.types import Sight

SECTORS = 36
_STRIDE = 7  # one point in so many is looked at; prime, so that no ring or column is always left out
_ROAD = 0.25  # m above the ground, below which a return is the road's
_FAR_SHARE = 98.0  # percentile of the road's ranges that counts as how far it is seen
_MEMORY = 0.02  # share of a new sweep in what is usual


@dataclass(frozen=True)
class SightConfig:
    """When perception calls itself degraded."""

    least_points: int = param(300, lo=1, hi=100000, doc="a sweep of fewer points is no view of the road")
    least_share: float = param(0.35, lo=0.05, hi=0.95, doc="of the usual number of points: fewer is rain or a fault")
    most_blind: int = param(12, lo=1, hi=36, doc="of 36 sectors without returns: more is a blocked lidar")


class SightMonitor:
    """Call `step` once a sweep."""

    def __init__(self, config: SightConfig) -> None:
        self._config = config
        self._usual = 0.0

    def step(self, xyz: Points, height: NDArray[np.float32]) -> Sight:
        """``xyz`` (M, 3) in base_link with their ``height`` above the ground."""
        config, count = self._config, len(xyz)
        some, low = xyz[::_STRIDE], height[::_STRIDE] < _ROAD
        turn = np.arctan2(some[:, 1], some[:, 0]) * (SECTORS / (2.0 * np.pi))
        seen = np.bincount(np.round(turn).astype(np.intp) % SECTORS, minlength=SECTORS)
        blind = tuple(int(k * 360 / SECTORS) for k in np.flatnonzero(seen == 0))
        road = np.hypot(some[low, 0], some[low, 1])
        road_range = float(np.percentile(road, _FAR_SHARE)) if len(road) else 0.0
        reason = ""
        if count < config.least_points:
            reason = f"the sweep holds {count} points, at least {config.least_points} are needed to see the road"
        elif len(blind) > config.most_blind:
            reason = f"the lidar is blind in {len(blind)} of {SECTORS} directions, from {blind[0]} degrees"
        elif count < config.least_share * self._usual:
            reason = f"the sweep holds {count} points, usual are {self._usual:.0f}: rain, fog or a fault"
        # what is usual follows slowly, and only what is worth following
        if not reason:
            self._usual = float(count) if self._usual == 0.0 else self._usual + _MEMORY * (count - self._usual)
        return Sight(count, round(road_range, 1), blind, reason)
