"""Returns from drops in the air: rain, fog and spray, told from things by the beams that pass beside them.

A thing stops nearly all beams that look at it; between drops most pass, and meet the road or a house behind. So a
near return counts as airborne when few of the beams beside it end where it does. What has nothing but sky behind it
cannot be told and counts as a thing. After the idea of dynamic radius outlier removal (Charron, Phillips, Waslander,
"De-noising of Lidar Point Clouds Corrupted by Snowfall", CRV 2018): how dense a thing must be follows from the beams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.preprocess import Points
from robotaxi.types import FloatArray

_BINS = 900  # of bearing
_FALLS, _FALL_LO, _FALL_STEP = 80, -0.5, 0.025  # of the beams' slopes; what is beyond counts to the first and last
_BESIDE, _ABOVE = 0.1, 0.15  # m within which beams are taken for neighbours
_THICK = 0.9  # m before and behind a return that belong to what it is of
_PASSED = 5  # beams that must pass before anything is told
_DROP, _ALONE = 1, 2


@dataclass(frozen=True)
class AirborneConfig:
    """When returns are drops in the air, and when to look for them in every sweep."""

    airborne_range: float = param(15.0, lo=3.0, hi=60.0, unit="m", doc="drops farther off give no echo")
    airborne_share: float = param(0.25, lo=0.05, hi=0.9, doc="of the beams that end there: fewer is a drop")
    airborne_least: int = param(40, lo=1, hi=100000, doc="drops with none beside them from which on it rains")
    airborne_every: int = param(5, lo=1, hi=100, doc="sweeps between two looks for drops in clear air")


class AirborneFilter:
    """Call `step` once a sweep. Costs little in clear air, where it looks at every fifth sweep only.

    It rains when enough drops have no other beside them: drops are strewn, leaves and twigs hang together. (In a
    clear street of 64 beams 170 to 570 returns from bushes pass for drops, and 3 to 10 of them are alone.)
    """

    def __init__(self, config: AirborneConfig) -> None:
        self._config = config
        self._sweeps = self._alone = 0
        self.found = 0  # drops in the last sweep that was looked at

    def step(self, xyz: Points, standing: NDArray[np.bool_], sensor: FloatArray) -> NDArray[np.bool_] | None:
        """Mask (N,) of the returns ``xyz`` (N, 3) in base_link that are drops; None in clear air.

        ``standing``: those above the road; ``sensor`` (3,): where the lidar is.
        """
        config = self._config
        raining = self._alone >= config.airborne_least
        due = self._sweeps % config.airborne_every == 0
        self._sweeps += 1
        if not (raining or due):
            return None
        kind: NDArray[np.uint8] = _drops(
            np.ascontiguousarray(xyz, np.float32),
            standing,
            np.asarray(sensor, np.float64),
            config.airborne_range,
            config.airborne_share,
        )
        drops: NDArray[np.bool_] = kind > 0
        self.found, self._alone = int(drops.sum()), int((kind == _ALONE).sum())
        return drops if self._alone >= config.airborne_least else None


@njit(cache=True)
def _drops(  # type: ignore[no-untyped-def]
    xyz: Points, standing: NDArray[np.bool_], sensor: FloatArray, reach: float, share: float
):
    n = len(xyz)
    azimuth, fall, away = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    where = np.empty(n, np.int64)
    begin = np.zeros(_BINS * _FALLS + 1, np.int64)
    width = 2.0 * np.pi / _BINS
    for k in range(n):
        x, y, z = xyz[k, 0] - sensor[0], xyz[k, 1] - sensor[1], xyz[k, 2] - sensor[2]
        away[k] = max(np.hypot(x, y), 1e-3)
        azimuth[k] = np.arctan2(y, x) + np.pi
        fall[k] = -z / away[k]
        where[k] = min(int(azimuth[k] / width), _BINS - 1) * _FALLS + _fall_bin(fall[k])
        begin[where[k] + 1] += 1
    for b in range(_BINS * _FALLS):
        begin[b + 1] += begin[b]
    fill, order = begin.copy(), np.empty(n, np.int64)
    for k in range(n):
        order[fill[where[k]]] = k
        fill[where[k]] += 1
    out = np.zeros(n, np.uint8)
    for k in range(n):
        if not standing[k] or away[k] > reach:
            continue
        wide, high = _BESIDE / away[k], _ABOVE / away[k]
        low_bin = max(_fall_bin(fall[k] - high) - 1, 0)
        high_bin = min(_fall_bin(fall[k] + high) + 1, _FALLS - 1)
        ended = passed = 0
        for b in range(int(np.floor((azimuth[k] - wide) / width)), int(np.floor((azimuth[k] + wide) / width)) + 1):
            row = (b % _BINS) * _FALLS
            for i in range(begin[row + low_bin], begin[row + high_bin + 1]):
                j = order[i]
                if away[j] < away[k] - _THICK or abs(fall[j] - fall[k]) > high:
                    continue
                off = abs(azimuth[j] - azimuth[k])
                if min(off, 2.0 * np.pi - off) > wide:
                    continue
                if away[j] <= away[k] + _THICK:
                    ended += 1
                else:
                    passed += 1
        if passed >= _PASSED and ended - 1 < share * (ended - 1 + passed):
            out[k] = _ALONE if ended == 1 else _DROP
    return out


@njit(cache=True)
def _fall_bin(fall: float):  # type: ignore[no-untyped-def]
    return min(max(int((fall - _FALL_LO) / _FALL_STEP), 0), _FALLS - 1)
