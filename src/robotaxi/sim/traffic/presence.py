"""Who is where on the lanes at one instant: bodies that block, and who is on the way to each lane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from robotaxi.sim.traffic.network import RoadNetwork

EGO = -1  # ``who`` of the ego; others are indices into the traffic
WRECK = -2  # ``who`` of whatever stands on the road and will not leave

_EGO_LANE_RADIUS = 2.0  # m from a centreline within which the ego counts as on that lane
_FORWARD = 1 << 30


class Body(NamedTuple):
    """Interval of a lane that one road user takes, centre first. ``crossing``: it drives across."""

    mid: float
    rear: float
    front: float
    speed: float
    who: int
    crossing: bool = False


@dataclass
class Presence:
    """``bodies`` by lane in order of their centres; ``coming`` by lane: (centre relative to the
    lane's start, who) of everybody on it or on the way to it."""

    bodies: dict[int, list[Body]] = field(default_factory=dict)
    coming: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    ego_half_length: float = 0.0
    ego_speed: float = 0.0

    def add_vehicle(
        self, net: RoadNetwork, who: int, path: Sequence[int], s: float, length: float, speed: float, horizon: float
    ) -> None:
        """A vehicle on its path: ``path[0]`` behind it (or -1), ``path[1]`` under its centre at ``s``."""
        half = length / 2.0
        if path[0] >= 0 and s < half:
            at = s + net.length[path[0]]
            self._cover(net, who, path[0], at, half, speed)
            self.coming.setdefault(path[0], []).append((at, who))
        at = s
        for lane in path[1:]:
            self.coming.setdefault(lane, []).append((at, who))
            if at + half > 0.0:
                self._cover(net, who, lane, at, half, speed)
            at -= net.length[lane]
            if -at > horizon:
                break

    def add_beside(self, net: RoadNetwork, who: int, path: Sequence[int], record: np.void, speed: float) -> None:
        """The lanes beside its path that a vehicle (AGENT_DTYPE) still takes while it changes lanes."""
        x, y, yaw, length, width = (float(record[k]) for k in ("x", "y", "yaw", "length", "width"))
        for lane, (low, high) in net.touched_by(x, y, yaw, length, width).items():
            if lane not in path:
                self.bodies.setdefault(lane, []).append(Body((low + high) / 2.0, low, high, speed, who))

    def add_ego(
        self, net: RoadNetwork, x: float, y: float, yaw: float, size: tuple[float, float], speed: float, horizon: float
    ) -> None:
        """The ego by the pose of its box centre: nobody knows its path, so every way on counts."""
        length, width = size
        self.ego_half_length, self.ego_speed = length / 2.0, speed
        for lane, (low, high) in net.touched_by(x, y, yaw, length, width).items():
            middle = (low + high) / 2.0
            heading = net.yaw[net.first[lane] + min(int(middle / net.step[lane]), net.count[lane] - 1)]
            along = max(speed * math.cos(heading - yaw), 0.0)
            self.bodies.setdefault(lane, []).append(Body(middle, low, high, along, EGO))
        found: dict[int, float] = {}
        queue = [(lane, s) for lane, s, _ in net.lanes_at(x, y, yaw, _EGO_LANE_RADIUS)]
        while queue:
            lane, at = queue.pop(0)
            if at <= found.get(lane, -math.inf):
                continue
            found[lane] = at
            beyond = at - net.length[lane]
            if -beyond < horizon:
                queue.extend((following, beyond) for following in net.successors[lane])
        for lane, at in found.items():
            self.coming.setdefault(lane, []).append((at, EGO))

    def add_wreck(self, net: RoadNetwork, x: float, y: float, yaw: float, length: float, width: float) -> None:
        for lane, (low, high) in net.touched_by(x, y, yaw, length, width).items():
            self.bodies.setdefault(lane, []).append(Body((low + high) / 2.0, low, high, 0.0, WRECK))

    def close(self) -> None:
        """Sort, so that leaders are found in driving order. Call once after everybody is in."""
        for group in self.bodies.values():
            group.sort(key=lambda body: (body.mid, body.who % _FORWARD))

    def _cover(self, net: RoadNetwork, who: int, lane: int, at: float, half: float, speed: float) -> None:
        rear, front = at - half, at + half
        self.bodies.setdefault(lane, []).append(Body(at, rear, front, speed, who))
        for zone in net.zones[lane]:
            if front <= zone.start or rear >= zone.end:
                continue
            if zone.kind == "cross":
                middle = (zone.other_start + zone.other_end) / 2.0
                body = Body(middle, zone.other_start, zone.other_end, 0.0, who, True)
            else:
                shift = zone.other_end - zone.end if zone.kind == "merge" else zone.other_start - zone.start
                body = Body(at + shift, rear + shift, front + shift, speed, who)
            self.bodies.setdefault(zone.other, []).append(body)
