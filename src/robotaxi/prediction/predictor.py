"""Lane-following prediction for vehicles on lanes, constant velocity for everybody else.

Lane following beats constant velocity in closed loop (nuPlan's PDM, Dauner et al. 2023). Every
branch at a junction becomes a path of its own; what decides among them is left to the consumer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from robotaxi.prediction.config import PredictionConfig
from robotaxi.prediction.lane_graph import FloatArray, IntArray, LaneGraph
from robotaxi.types import ObjectClass, RecordArray


@dataclass(frozen=True)
class Predictions:
    """Predicted paths, frame map.

    ``times`` (K,) seconds from the objects' stamp; ``owner`` (P,) index of the object;
    ``probability`` (P,) sums to one over the paths of an object; ``x, y, yaw`` (P, K).
    ``chains``: lane indices of the LaneGraph that the path follows, () for constant velocity;
    ``start_s`` (P,) arc length of the object on the first lane of its chain.
    """

    times: FloatArray
    owner: IntArray
    probability: FloatArray
    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    chains: tuple[tuple[int, ...], ...]
    start_s: FloatArray
    speed: FloatArray  # (P,)
    match_lane: IntArray  # (N, 4) lanes under each object, best first, -1 none
    match_s: FloatArray  # (N, 4)

    @property
    def size(self) -> int:
        return int(self.owner.size)


def predict(objects: RecordArray, graph: LaneGraph, config: PredictionConfig) -> Predictions:
    """Predict ``objects`` (OBJECT_DTYPE, all values finite) over ``config.horizon``."""
    times = np.arange(0.0, config.horizon + 1e-9, config.step)
    n = objects.size
    x, y = objects["x"].astype(float), objects["y"].astype(float)
    vx, vy = objects["vx"].astype(float), objects["vy"].astype(float)
    speed = np.hypot(vx, vy)
    moving = (speed >= config.moving_speed) & (objects["static"] == 0)
    heading = np.where(speed > 2.0 * config.moving_speed, np.arctan2(vy, vx), objects["yaw"].astype(float))
    vehicle = objects["label"] != int(ObjectClass.PEDESTRIAN)
    lanes, arcs, offsets, costs = graph.match(x, y, heading, ~moving, config.max_yaw_error, config.lane_margin)

    owner: list[int] = []
    probability: list[float] = []
    chains: list[tuple[int, ...]] = []
    start_s: list[float] = []
    start_offset: list[float] = []
    for i in range(n):
        found: list[tuple[float, tuple[int, ...], float, float]] = []
        if vehicle[i]:
            reach = float(speed[i] * config.chain_time + config.chain_margin)
            for slot in range(lanes.shape[1]):
                lane = int(lanes[i, slot])
                if lane < 0 or len(found) >= config.max_paths:
                    break
                weight = math.exp(-float(costs[i, slot]))
                branches = lane_chains(graph, lane, float(arcs[i, slot]), reach, config.max_paths - len(found))
                found += [
                    (weight / len(branches), chain, float(arcs[i, slot]), float(offsets[i, slot])) for chain in branches
                ]
        if not found:
            found = [(1.0, (), 0.0, 0.0)]
        total = sum(item[0] for item in found)
        for weight, chain, arc, offset in found:
            owner.append(i)
            probability.append(weight / total)
            chains.append(chain)
            start_s.append(arc)
            start_offset.append(offset)

    who = np.array(owner, np.int64)
    paths, steps = len(owner), times.size
    chain_start = np.zeros(paths + 1, np.int64)
    chain_start[1:] = np.cumsum([len(c) for c in chains]) if paths else 0
    flat = np.array([lane for chain in chains for lane in chain], np.int64)
    px = np.empty((paths, steps))
    py = np.empty((paths, steps))
    pyaw = np.empty((paths, steps))
    _roll(
        times, x[who], y[who], objects["yaw"].astype(float)[who], vx[who], vy[who], moving[who],
        flat, chain_start, np.array(start_s, float), np.array(start_offset, float),
        graph.start, graph.count, graph.spacing, graph.x, graph.y, graph.yaw, graph.curvature,
        config.lateral_return_time, config.curve_lateral_acceleration, config.curve_deceleration, px, py, pyaw,
    )  # fmt: skip
    return Predictions(
        times, who, np.array(probability, float), px, py, pyaw, tuple(chains), np.array(start_s, float), speed[who],
        np.where(vehicle[:, None], lanes, -1), arcs,
    )  # fmt: skip


def lane_chains(graph: LaneGraph, lane: int, arc: float, reach: float, limit: int) -> list[tuple[int, ...]]:
    """Sequences of lanes ahead of ``arc`` on ``lane`` that cover ``reach`` metres, at most ``limit``."""
    done: list[tuple[int, ...]] = []
    open_chains: list[tuple[tuple[int, ...], float]] = [((lane,), float(graph.length[lane]) - arc)]
    while open_chains:
        chain, covered = open_chains.pop(0)
        following = graph.successors[chain[-1]]
        if covered >= reach or not following or len(chain) > 12:
            done.append(chain)
            continue
        room = max(1, limit - len(done) - len(open_chains))
        for lane_ahead in following[:room]:
            open_chains.append(((*chain, lane_ahead), covered + float(graph.length[lane_ahead])))
    return done[: max(limit, 1)]


@njit(cache=True)
def _roll(  # type: ignore[no-untyped-def]
    times, x, y, yaw, vx, vy, moving, flat, chain_start, start_s, start_offset,
    lane_start, lane_count, lane_spacing, lx, ly, lyaw, lcurv, return_time, lateral_limit, deceleration, px, py, pyaw,
):  # fmt: skip
    for p in range(x.shape[0]):
        speed = math.hypot(vx[p], vy[p])
        first, last = chain_start[p], chain_start[p + 1]
        link, arc = first, start_s[p]
        for k in range(times.shape[0]):
            dt = times[k] - times[k - 1] if k > 0 else 0.0
            if not moving[p]:
                px[p, k], py[p, k], pyaw[p, k] = x[p], y[p], yaw[p]
                continue
            if first == last:
                px[p, k], py[p, k] = x[p] + vx[p] * times[k], y[p] + vy[p] * times[k]
                pyaw[p, k] = math.atan2(vy[p], vx[p]) if speed > 1.0 else yaw[p]
                continue
            arc += speed * dt
            lane = flat[link]
            while arc > (lane_count[lane] - 1) * lane_spacing[lane] and link + 1 < last:
                arc -= (lane_count[lane] - 1) * lane_spacing[lane]
                link += 1
                lane = flat[link]
            position = arc / lane_spacing[lane]
            cell = min(int(position), lane_count[lane] - 2)
            w = position - cell
            a = lane_start[lane] + cell
            direction = lyaw[a] + min(w, 1.0) * (lyaw[a + 1] - lyaw[a])
            offset = start_offset[p] * math.exp(-times[k] / return_time)
            px[p, k] = lx[a] + w * (lx[a + 1] - lx[a]) - offset * math.sin(direction)
            py[p, k] = ly[a] + w * (ly[a + 1] - ly[a]) + offset * math.cos(direction)
            pyaw[p, k] = direction
            bend = abs(lcurv[a])
            if bend > 1e-4:
                allowed = math.sqrt(lateral_limit / bend)
                if speed > allowed:
                    speed = max(allowed, speed - deceleration * (times[1] - times[0]))
