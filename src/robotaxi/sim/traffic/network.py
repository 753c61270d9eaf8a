"""The LaneMap compiled for traffic: lanes as indices, sampled poses, speed profiles, conflict zones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.sim.traffic.nearby import Nearby
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import RecordArray

FloatArray = NDArray[np.float64]

SPACING = 1.0  # m, between samples of a lane
CLEARANCE = 2.7  # m between centrelines: two vehicles (2.5 m at most) pass each other
BODY_HALF_WIDTH = 1.1  # m, half of a vehicle and a bit: what a box must leave free beside a centreline
_SAME_WAY = math.radians(60.0)


@dataclass(frozen=True)
class Zone:
    """Where a lane and an ``other`` one are too close for two vehicles: arc lengths on both.

    ``kind``: 'cross', 'merge' (same successor) or 'fork' (same predecessor).
    """

    other: int
    start: float
    end: float
    other_start: float
    other_end: float
    kind: str


@dataclass(frozen=True)
class Gate:
    """What stands at the end of a lane: kind '' (nothing), 'signal', 'stop' or 'yield'."""

    kind: str = ""
    signal_ids: tuple[int, ...] = ()
    stop_line_id: int = 0


class RoadNetwork:
    """Immutable. Lanes by index in ascending order of id; lists are indexed by lane."""

    def __init__(self, lane_map: LaneMap, config: WorldConfig) -> None:
        self.ids = tuple(sorted(lane_map.lanes))
        if not self.ids:
            raise ValueError(f"map '{lane_map.name}' has no lanes")
        self.index = {lane_id: k for k, lane_id in enumerate(self.ids)}
        lanes = [lane_map.lanes[lane_id] for lane_id in self.ids]
        self.successors = [self._indices(lane.successors) for lane in lanes]
        self.neighbours = [
            self._indices(tuple(n for n in (lane.left_neighbour, lane.right_neighbour) if n is not None))
            for lane in lanes
        ]
        self.predecessors = [self._indices(lane.predecessors) for lane in lanes]
        self.junction = [lane.junction_id is not None for lane in lanes]
        self.length = [float(lane.s[-1]) for lane in lanes]
        self.lengths = np.array(self.length)
        self._sample(lanes)
        self._profile(lanes, config)
        self.gates = [_gate(lane_map, lane) for lane in lanes]
        self.zones = self._find_zones(lanes)
        self.yields = self._right_of_way(lanes)
        self.crossings = self._find_crossings(lane_map)
        self.needs_grant = [
            bool(self.junction[k] and any(zone.kind != "fork" for zone in self.zones[k]))
            or any(self.gates[p].kind for p in self.predecessors[k])
            for k in range(len(lanes))
        ]

    # ------------------------------------------------------------------ queries

    def poses_on(self, lane: int, s: float) -> tuple[float, float, float, float]:
        """x, y, z, yaw of the centreline at ``s``, extended straight beyond both ends."""
        first, count = self.first[lane], self.count[lane]
        at = s / self.step[lane]
        k = min(max(int(at), 0), count - 2)
        f = at - k
        p, q = self.samples[first + k], self.samples[first + k + 1]
        return (
            float(p[0] + f * (q[0] - p[0])),
            float(p[1] + f * (q[1] - p[1])),
            float(p[2] + min(max(f, 0.0), 1.0) * (q[2] - p[2])),
            math.atan2(float(q[1] - p[1]), float(q[0] - p[0])),
        )

    def beside(self, lane: int, s: float, other: int) -> tuple[float, float]:
        """Arc length on ``other`` next to ``s`` on ``lane``, and how far left of it that point lies."""
        x, y, _, _ = self.poses_on(lane, s)
        first, count = self.first[other], self.count[other]
        points = self.samples[first : first + count, :2] - (x, y)
        nearest = int(np.argmin(np.einsum("ij,ij->i", points, points)))
        u, v, _, yaw = self.poses_on(other, nearest * self.step[other])
        along = math.cos(yaw) * (x - u) + math.sin(yaw) * (y - v)
        return nearest * self.step[other] + along, math.cos(yaw) * (y - v) - math.sin(yaw) * (x - u)

    def touched_by(self, x: float, y: float, yaw: float, length: float, width: float) -> dict[int, tuple[float, float]]:
        """Lanes that a box keeps others from driving on: lane -> first and last arc length.

        ``length`` and ``width`` are of the box itself; the room another vehicle needs is added.
        """
        half_length = length / 2.0 + SPACING / 2.0
        return self.nearby.under(x, y, yaw, half_length, width / 2.0, BODY_HALF_WIDTH)

    def lanes_at(self, x: float, y: float, yaw: float, radius: float) -> list[tuple[int, float, float]]:
        """(lane, s, distance) of each lane within ``radius`` that leads the same way, nearest first."""
        best: dict[int, tuple[float, float]] = {}
        for sample in self.nearby.within(x, y, radius).tolist():
            if math.cos(self.yaw[sample] - yaw) < math.cos(_SAME_WAY):
                continue
            lane = self.lane_of[sample]
            distance = math.hypot(self.samples[sample, 0] - x, self.samples[sample, 1] - y)
            if lane not in best or distance < best[lane][1]:
                best[lane] = ((sample - self.first[lane]) * self.step[lane], distance)
        return sorted(((lane, s, d) for lane, (s, d) in best.items()), key=lambda item: (item[2], item[0]))

    def living(self, blocked: set[int]) -> list[bool]:
        """Lanes from which one can drive on for ever without a blocked lane or a dead end."""
        alive = [k not in blocked for k in range(len(self.ids))]
        changed = True
        while changed:
            changed = False
            for k, successors in enumerate(self.successors):
                if alive[k] and not any(alive[n] for n in successors):
                    alive[k] = False
                    changed = True
        return alive

    def blocked_by(self, boxes: RecordArray) -> set[int]:
        """Lanes on which standing ``boxes`` (x, y, yaw, length, width) leave no way through."""
        blocked: set[int] = set()
        for box in boxes:
            touched = self.touched_by(*(float(box[name]) for name in ("x", "y", "yaw", "length", "width")))
            blocked.update(touched)
        return blocked

    # ------------------------------------------------------------------ construction

    def _indices(self, lane_ids: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.index[i] for i in sorted(lane_ids) if i in self.index)

    def _sample(self, lanes: list[Lane]) -> None:
        self.first, self.count, self.step = [], [], []
        points: list[FloatArray] = []
        yaws: list[FloatArray] = []
        total = 0
        for lane in lanes:
            length = float(lane.s[-1])
            count = max(math.ceil(length / SPACING) + 1, 2)
            at = np.linspace(0.0, length, count)
            sampled = np.stack([np.interp(at, lane.s, lane.centerline[:, k]) for k in range(3)], axis=1)
            delta = np.diff(sampled[:, :2], axis=0)
            yaw = np.unwrap(np.arctan2(delta[:, 1], delta[:, 0]))
            yaws.append(np.interp(np.arange(count), np.arange(count - 1) + 0.5, yaw))
            points.append(sampled)
            self.first.append(total)
            self.count.append(count)
            self.step.append(length / (count - 1))
            total += count
        # the same as arrays, for those who look up many lanes at once
        self.sampling = (np.array(self.first, np.int64), np.array(self.count, np.int64), np.array(self.step))
        self.samples = np.concatenate(points)
        self.yaw = np.concatenate(yaws)
        self.lane_of = np.repeat(np.arange(len(lanes)), self.count).tolist()
        along = [np.arange(n) * step for n, step in zip(self.count, self.step, strict=True)]
        arc = np.concatenate(along).astype(np.float64)
        self.nearby = Nearby(self.samples[:, :2], self.yaw, np.array(self.lane_of, np.int64), arc)
        self._yaws = yaws

    def _profile(self, lanes: list[Lane], config: WorldConfig) -> None:
        """Speed at each sample: the limit and the curve, reached with comfortable braking."""
        profile: list[FloatArray] = []
        for lane, yaw, step in zip(lanes, self._yaws, self.step, strict=True):
            # curvature over 4 m, so that the corners of a polyline do not count as bends
            span = max(round(4.0 / step), 1)
            k = np.arange(len(yaw))
            ahead, behind = np.minimum(k + span // 2 + 1, len(yaw) - 1), np.maximum(k - span // 2, 0)
            curvature = np.abs(yaw[ahead] - yaw[behind]) / (np.maximum(ahead - behind, 1) * step)
            speed = np.minimum(
                lane.speed_limit, np.sqrt(config.traffic_lateral_acceleration / np.maximum(curvature, 1e-4))
            )
            for n in range(len(speed) - 2, -1, -1):
                speed[n] = min(speed[n], math.sqrt(speed[n + 1] ** 2 + 2.0 * config.traffic_deceleration * step))
            profile.append(speed)
        self.speed = [float(value) for value in np.concatenate(profile)]
        self.speed_limit = [lane.speed_limit for lane in lanes]

    def _find_zones(self, lanes: list[Lane]) -> list[tuple[Zone, ...]]:
        zones: list[list[Zone]] = [[] for _ in lanes]
        conflicts = [set(self._indices(lane.conflicts)) for lane in lanes]
        for a, group in enumerate([sorted(group) for group in conflicts]):
            for b in group:
                conflicts[b].add(a)
        for a in range(len(lanes)):
            others = set(conflicts[a])
            for neighbour in self.predecessors[a]:
                others.update(self.successors[neighbour])
            for neighbour in self.successors[a]:
                others.update(self.predecessors[neighbour])
            others.discard(a)
            for b in sorted(others):
                zone = self._zone(a, b)
                if zone is not None:
                    zones[a].append(zone)
        return [tuple(found) for found in zones]

    def _zone(self, a: int, b: int) -> Zone | None:
        p = self.samples[self.first[a] : self.first[a] + self.count[a], :2]
        q = self.samples[self.first[b] : self.first[b] + self.count[b], :2]
        close = np.hypot(p[:, None, 0] - q[None, :, 0], p[:, None, 1] - q[None, :, 1]) < CLEARANCE
        on_a, on_b = np.flatnonzero(close.any(axis=1)), np.flatnonzero(close.any(axis=0))
        if not on_a.size:
            return None
        if set(self.predecessors[a]) & set(self.predecessors[b]):
            kind = "fork"
        elif set(self.successors[a]) & set(self.successors[b]):
            kind = "merge"
        else:
            kind = "cross"
        return Zone(
            b,
            float(on_a[0] * self.step[a]),
            float(on_a[-1] * self.step[a]),
            float(on_b[0] * self.step[b]),
            float(on_b[-1] * self.step[b]),
            kind,
        )

    def _right_of_way(self, lanes: list[Lane]) -> list[frozenset[int]]:
        """The map's yield_to, and where it is silent: left turns give way to oncoming traffic."""
        yields = [set(self._indices(lane.yield_to)) for lane in lanes]
        for a, lane in enumerate(lanes):
            if lane.turn_direction != "left" or not self.junction[a]:
                continue
            for zone in self.zones[a]:
                b = zone.other
                oncoming = math.cos(self.yaw[self.first[a]] - self.yaw[self.first[b]]) < -0.7
                if oncoming and lanes[b].turn_direction != "left" and a not in yields[b]:
                    yields[a].add(b)
        return [frozenset(group) for group in yields]

    def _find_crossings(self, lane_map: LaneMap) -> list[tuple[tuple[int, float, float], ...]]:
        """Per lane: (crosswalk id, first and last arc length on it), in driving order."""
        found: list[list[tuple[int, float, float]]] = [[] for _ in self.ids]
        for crosswalk_id in sorted(lane_map.crosswalks):
            crosswalk = lane_map.crosswalks[crosswalk_id]
            for lane in self._indices(crosswalk.lane_ids):
                first = self.first[lane]
                inside = np.flatnonzero(
                    points_in_polygon(self.samples[first : first + self.count[lane], :2], crosswalk.polygon[:, :2])
                )
                if inside.size:
                    low, high = float(inside[0] * self.step[lane]), float(inside[-1] * self.step[lane])
                    found[lane].append((crosswalk_id, low, high))
        return [tuple(sorted(group, key=lambda item: (item[1], item[0]))) for group in found]


def points_in_polygon(points: FloatArray, polygon: FloatArray) -> NDArray[np.bool_]:
    """(N,) whether each of (N, 2) points lies in the polygon (M, 2); even-odd rule."""
    x, y = points[:, 0:1], points[:, 1:2]
    x0, y0 = polygon[:, 0], polygon[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    spans = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return np.asarray((spans & (x < cut)).sum(axis=1) % 2 == 1)


def _gate(lane_map: LaneMap, lane: Lane) -> Gate:
    if lane.stop_line_id is None or lane.stop_line_id not in lane_map.stop_lines:
        return Gate()
    stop_line = lane_map.stop_lines[lane.stop_line_id]
    return Gate(stop_line.kind, tuple(sorted(stop_line.signal_ids)), stop_line.id)
