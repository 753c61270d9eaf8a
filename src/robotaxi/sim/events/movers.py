"""Scripted road users: along the ego's path, or through the next junction from another side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.sim.events.actors import HEADINGS, KINDS, SIDES, Actor
from robotaxi.types import sure_of

FloatArray = NDArray[np.floating[Any]]

SPACING = 0.5  # m between samples of a way
APPROACH, BEYOND = 120.0, 80.0  # m of way before and after a junction
COMFORT = 2.0  # m/s^2, how hard somebody brakes for an ego that drives into his lane
KEEP_BEHIND = 3.0  # m behind the ego's rear axle that he keeps
LANE_HALF = 1.7  # m beside his middle within which the ego is in his lane
SIDE_ANGLE = 0.7  # rad that a way may differ from coming squarely from its side


@dataclass(frozen=True)
class Way:
    """Samples every 0.5 m; ``start_s``: where an actor with ``s: 0`` is."""

    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    start_s: float


class Mover:
    """One actor: stands, then drives straight on along the way it was put on."""

    def __init__(self, actor: Actor, way: Way, key: int, rng: np.random.Generator) -> None:
        self.actor, self._way, self.key = actor, way, key
        sign = -1.0 if actor.comes_from else 1.0  # metres before the junction count backwards
        self._s = way.start_s + sign * float(rng.uniform(*actor.s))
        self._offset = float(rng.uniform(*actor.offset))
        self._wanted = float(rng.uniform(*actor.speed))
        at_once = math.isinf(actor.trigger)
        self.speed = self._wanted if at_once and actor.delay <= 0.0 else 0.0
        self._since: float | None = 0.0 if at_once else None
        self._turn = HEADINGS[actor.heading]
        self.moved = self.speed > 0.3
        self._drift = 0.0  # m/s to the left, of a change of lanes
        self._place()

    def _place(self) -> None:
        way, last = self._way, self._way.x.size - 1
        at = min(max(self._s / SPACING, 0.0), float(last))
        k = min(int(at), last - 1)
        share = at - k
        theta = float(way.yaw[k] + share * (way.yaw[k + 1] - way.yaw[k]))
        self.x = float(way.x[k] + share * (way.x[k + 1] - way.x[k])) - math.sin(theta) * self._offset
        self.y = float(way.y[k] + share * (way.y[k + 1] - way.y[k])) + math.cos(theta) * self._offset
        self.yaw = theta + self._turn + math.atan2(self._drift, max(self.speed, 1.0))

    @property
    def shape(self) -> tuple[int, float, float, float]:
        """Class, length, width, height."""
        return KINDS[self.actor.kind]

    @property
    def gone(self) -> bool:
        """At an end of its way, a sample early: what lies beyond has no direction. It is taken out."""
        return not SPACING <= self._s <= SPACING * (self._way.x.size - 3)

    def step(self, dt: float, ego_x: float, ego_y: float, ego_speed: float) -> None:
        """Move on; who drives behind the ego in its lane brakes for it, but not hard."""
        if self._since is None:
            if math.hypot(ego_x - self.x, ego_y - self.y) > self.actor.trigger:
                return
            self._since = 0.0
        self._since += dt
        if self._since < self.actor.delay:
            return
        wanted = self._wanted if self._drives(self._since - self.actor.delay) else 0.0
        change = self.actor.acceleration * dt
        braking = self._needed_behind(ego_x, ego_y, ego_speed)
        if braking > 0.0:
            self.speed = max(self.speed - min(braking, COMFORT) * dt, 0.0)
        else:
            down = change if math.isnan(self.actor.braking) else self.actor.braking * dt
            self.speed += min(max(wanted - self.speed, -down), change)
        self.moved = self.moved or self.speed > 0.3
        self._s += math.cos(self._turn) * self.speed * dt
        self._offset += math.sin(self._turn) * self.speed * dt
        aim = self._aim()
        if not math.isnan(aim) and self.speed > 0.0:
            side = min(self.actor.sideways, 0.5 * self.speed) * dt
            shift = min(max(aim - self._offset, -side), side)
            self._offset += shift
            self._drift = shift / dt * math.cos(self._turn)
        self._place()

    def _aim(self) -> float:
        """The offset that it changes to, NaN for none."""
        return self.actor.to_offset

    def _drives(self, since: float) -> bool:
        """Whether it wants to move, ``since`` seconds after it began to."""
        stop = self.actor.stop_after
        return since <= stop or since > stop + self.actor.go_on_after

    def _needed_behind(self, ego_x: float, ego_y: float, ego_speed: float) -> float:
        """Deceleration (m/s^2) that keeps it off the ego ahead in its lane, 0 where none is needed."""
        if self.actor.comes_from or self.actor.heading != "same" or self.speed <= ego_speed:
            return 0.0
        dx, dy = ego_x - self.x, ego_y - self.y
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        gap = c * dx + s * dy - 0.5 * KINDS[self.actor.kind][1] - KEEP_BEHIND
        if gap < -KEEP_BEHIND or abs(c * dy - s * dx) > LANE_HALF:
            return 0.0
        needed = (self.speed - ego_speed) ** 2 / (2.0 * max(gap, 0.2))
        return needed if needed > 0.4 else 0.0

    def record(self) -> tuple[Any, ...]:
        """One row of OBJECT_DTYPE."""
        label, length, width, height = self.shape
        vx, vy = self.speed * math.cos(self.yaw), self.speed * math.sin(self.yaw)
        box = self.x, self.y, 0.0, self.yaw, length, width, height, vx, vy
        return (*box, 1.0, self.key, label, int(not self.moved), *sure_of(label))


def way_through(lane_map: LaneMap, ego: Lane, side: str, turn: str) -> Way | None:
    """From ``side`` (left, right, ahead) of the junction that ``ego`` is a lane of, None where nobody can come so."""
    own = lane_map.lane_yaw(ego.id, 0.0)
    best: tuple[float, int] | None = None
    for key in sorted(lane_map.lanes):
        lane = lane_map.lanes[key]
        if lane.junction_id != ego.junction_id or lane.turn_direction != turn or not lane.predecessors:
            continue
        if set(lane.predecessors) & set(ego.predecessors):
            continue
        # who comes from the left drives to the right
        wanted = own + {"left": -math.pi / 2.0, "right": math.pi / 2.0, "ahead": math.pi}[side]
        off = abs(math.remainder(lane_map.lane_yaw(key, 0.0) - wanted, math.tau))
        if off < SIDE_ANGLE and (best is None or (off, key) < best):
            best = off, key
    if best is None:
        return None
    before: list[Lane] = []
    here = lane_map.lanes[best[1]]
    while sum(lane.length for lane in before) < APPROACH and here.predecessors:
        here = lane_map.lanes[min(here.predecessors, key=lambda i: bend_over(lane_map, i, here.id))]
        before.insert(0, here)
    after = [lane_map.lanes[best[1]]]
    while sum(lane.length for lane in after[1:]) < BEYOND and after[-1].successors:
        last = after[-1]
        after.append(lane_map.lanes[min(last.successors, key=lambda i: bend_over(lane_map, last.id, i))])
    points = np.concatenate([lane.centerline[:, :2] for lane in (*before, *after)])
    keep = np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-3])
    points = points[keep]
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    s = np.arange(0.0, arc[-1], SPACING)
    x, y = np.interp(s, arc, points[:, 0]), np.interp(s, arc, points[:, 1])
    yaw = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    return Way(x, y, yaw, sum(lane.length for lane in before))


def ways_of(lane_map: LaneMap, own: Way, junction_lane: Lane | None, actors: tuple[Actor, ...]) -> list[Way] | None:
    """The way of each actor, None where one of them cannot come as it should."""
    out = []
    for actor in actors:
        if actor.comes_from not in SIDES:
            out.append(own)
            continue
        way = way_through(lane_map, junction_lane, actor.comes_from, actor.turn) if junction_lane is not None else None
        if way is None:
            return None
        out.append(way)
    return out


def bend_over(lane_map: LaneMap, a: int, b: int) -> tuple[float, int]:
    """How much the direction changes from lane ``a`` over lane ``b``."""
    change = lane_map.lane_yaw(b, lane_map.lanes[b].length / 2.0) - lane_map.lane_yaw(a, lane_map.lanes[a].length / 2.0)
    return abs(math.remainder(change, math.tau)), b
