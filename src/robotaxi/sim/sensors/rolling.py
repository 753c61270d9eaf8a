"""Where the car and the others were while a turning lidar took its sweep, told by what the world remembers.

A sweep covers the period that ends at its stamp, since the world knows the past and not the future: times are seconds
since the stamp, 0 or less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.sim.view import WorldView
from robotaxi.types import FloatArray, RecordArray

_ROUNDS = 2  # of "when does the beam pass it, where is it then"; a third moves nothing by a millimetre


@dataclass(frozen=True)
class Motion:
    """``times`` (M,) rising to 0; x, y, z, yaw in map of the car (M, 4) and of the agents (M, N, 4) at these times, the
    yaw without jumps. Before the first time all stood still as far as anybody knows."""

    times: FloatArray
    ego: FloatArray
    agents: FloatArray

    def ego_at(self, times: FloatArray) -> FloatArray:
        """(K, 4) at ``times`` (K,)."""
        return np.stack([np.interp(times, self.times, self.ego[:, k]) for k in range(4)], axis=1)

    def agents_at(self, times: FloatArray) -> FloatArray:
        """(N, 4), each agent at a time of its own."""
        if len(self.times) == 1:
            return self.agents[0].copy()
        times = np.maximum(times, self.times[0])
        before = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 2)
        share = (times - self.times[before]) / (self.times[before + 1] - self.times[before])
        who = np.arange(self.agents.shape[1])
        first, second = self.agents[before, who], self.agents[before + 1, who]
        return np.asarray(first + share[:, None] * (second - first))


def recent_motion(view: WorldView) -> Motion:
    """The motion that ``view`` remembers. Who was not there yet counts as standing where it appeared."""
    e = view.ego
    times = [(moment.stamp_ns - view.stamp_ns) * 1e-9 for moment in view.past]
    ego = np.array([*(moment.ego for moment in view.past), (e.x, e.y, e.z, e.yaw)])
    ego[:, 3] = np.unwrap(ego[:, 3])
    ids = view.agents["id"]
    agents = np.empty((len(times) + 1, len(ids), 4))
    agents[-1] = _poses(view.agents)
    for k in range(len(times) - 1, -1, -1):
        then = view.past[k].agents
        if np.array_equal(then["id"], ids):
            agents[k] = _poses(then)
            continue
        agents[k] = agents[k + 1]
        _, now_at, then_at = np.intersect1d(ids, then["id"], return_indices=True)
        agents[k, now_at] = _poses(then)[then_at]
    agents[..., 3] = np.unwrap(agents[..., 3], axis=0)
    return Motion(np.array([*times, 0.0]), ego, agents)


def mounted(poses: FloatArray, mounting: FloatArray) -> FloatArray:
    """(K, 3) x, y, yaw in map of what sits at ``mounting`` (x, y, yaw in base_link) of a car at ``poses`` (K, 4)."""
    cos, sin = np.cos(poses[:, 3]), np.sin(poses[:, 3])
    x, y = poses[:, 0] + cos * mounting[0] - sin * mounting[1], poses[:, 1] + sin * mounting[0] + cos * mounting[1]
    return np.stack([x, y, poses[:, 3] + mounting[2]], axis=1)


def as_passed(motion: Motion, period: float, first: float, mounting: FloatArray) -> FloatArray:
    """(N,) times at which the beam passes the middle of each agent. A sweep begins nearly a ``period`` before the
    stamp, looking along the azimuth ``first`` of a lidar at ``mounting``, and turns to the left."""
    times: FloatArray = np.zeros(motion.agents.shape[1])
    for _ in range(_ROUNDS):
        there, here = motion.agents_at(times), mounted(motion.ego_at(times), mounting)
        azimuth = np.arctan2(there[:, 1] - here[:, 1], there[:, 0] - here[:, 0]) - here[:, 2]
        times = period * (((azimuth - first) % (2.0 * math.pi)) / (2.0 * math.pi) - 1.0)
    return times


def placed(agents: RecordArray, poses: FloatArray) -> RecordArray:
    """A copy of the agents at other ``poses`` (N, 4)."""
    out = agents.copy()
    for k, name in enumerate(("x", "y", "z", "yaw")):
        out[name] = poses[:, k]
    return out


def _poses(agents: RecordArray) -> FloatArray:
    return np.stack([agents["x"], agents["y"], agents["z"], agents["yaw"]], axis=1)


def columns_towards(
    east: FloatArray, north: FloatArray, size: FloatArray, heading: FloatArray, count: int, drift: tuple[float, float]
) -> NDArray[np.bool_]:
    """(count,) columns, counted to the left, that may meet one of the circles (``east`` and ``north`` of the lidar,
    radius ``size``), the first column being at ``heading``. ``drift``: metres and radians that the lidar moves by in a
    whole turn, which makes a circle wider the longer the beam takes to pass it."""
    columns = np.zeros(count, bool)
    step = 2.0 * math.pi / count
    for x, y, radius, yaw in zip(east.tolist(), north.tolist(), size.tolist(), heading.tolist(), strict=True):
        away = math.hypot(x, y)
        middle = (math.atan2(y, x) - yaw) % (2.0 * math.pi)
        at_seam = min(middle, 2.0 * math.pi - middle) <= _half(radius + drift[0], away) + drift[1] + 2.0 * step
        share = 1.0 if at_seam else _half(radius, away) / math.pi
        half = _half(radius + share * drift[0], away) + share * drift[1] + 2.0 * step
        low, high = math.floor((middle - half) / step), math.ceil((middle + half) / step)
        columns[np.arange(low, min(high, low + count - 1) + 1) % count] = True
    return columns


def _half(radius: float, away: float) -> float:
    """Half the angle under which a circle is seen."""
    return math.pi if away <= radius else math.asin(radius / away)
