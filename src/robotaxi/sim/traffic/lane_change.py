"""Whether a driver changes lanes: MOBIL (Kesting, Treiber, Helbing 2007, Transportation Research Record 1999, 86-94).

A lane is better when what the driver gains in acceleration outweighs, by more than a threshold, what a politeness
factor makes of the losses of who follows there and of the gains of who followed here; it is safe when nobody there
has to brake harder than a limit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robotaxi.sim.traffic.drivers import follow
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import Body, Presence

if TYPE_CHECKING:
    from robotaxi.sim.traffic.traffic import Traffic

_POLITENESS = 0.3
_THRESHOLD = 0.3  # m/s^2, against changes for nothing
_SAFE = 2.5  # m/s^2 that who follows in the new lane has to brake at most
_ROOM_AHEAD, _ROOM_BEHIND = 60.0, 10.0  # m to the ends of the lane: no changes right before or behind a junction
_SLOWEST = 2.0  # m/s; who stands in a queue stays in it
_WIDEST = 5.0  # m between two lanes that can be changed
_HARD = 8.0  # m/s^2


def better_lane(traffic: Traffic, i: int, presence: Presence) -> tuple[int, float, float] | None:
    """(lane, s on it, offset to the left that the vehicle has from it) to change to now, None to stay."""
    fleet, net = traffic.fleet, traffic.net
    lane, s = fleet.path[i][1], float(fleet.s[i])
    free = net.length[lane] - s > _ROOM_AHEAD and s > _ROOM_BEHIND and not net.junction[lane]
    if not free or fleet.grants[i] or fleet.shift[i] != 0.0 or fleet.speed[i] < _SLOWEST:
        return None
    half = float(fleet.records["length"][i]) / 2.0
    speed, leaving = float(fleet.speed[i]), _follower(presence, lane, s, i)
    now = _acceleration(traffic, i, lane, s, _leader(presence, net, lane, s, i), half)
    best: tuple[float, tuple[int, float, float]] | None = None
    for other in net.neighbours[lane]:
        at, offset = net.beside(lane, s, other)
        if not traffic.usable[other] or abs(offset) > _WIDEST or net.length[other] - at < _ROOM_AHEAD:
            continue
        ahead, behind = _leader(presence, net, other, at, i), _follower(presence, other, at, i)
        if (ahead is not None and ahead.rear < at + half + 2.0) or (
            behind is not None and behind.front > at - half - 2.0
        ):
            continue
        then = _acceleration(traffic, i, other, at, ahead, half)
        cost = 0.0
        if behind is not None:
            squeezed = _behind(traffic, behind, at - half - behind.front, speed)
            if squeezed < -_SAFE:
                continue
            before = _behind(traffic, behind, ahead.rear - behind.front, ahead.speed) if ahead is not None else 0.0
            cost += before - squeezed
        if leaving is not None:
            freed = _leader(presence, net, lane, s, i)
            after = _behind(traffic, leaving, freed.rear - leaving.front, freed.speed) if freed is not None else 0.0
            cost -= after - _behind(traffic, leaving, s - half - leaving.front, speed)
        gain = then - now - _POLITENESS * cost
        if gain > _THRESHOLD and (best is None or gain > best[0]):
            best = gain, (other, at, offset)
    return best[1] if best else None


def _leader(presence: Presence, net: RoadNetwork, lane: int, s: float, i: int) -> Body | None:
    """Who is next on the lane itself; what lies beyond is the same for both lanes."""
    ahead = (body for body in presence.bodies.get(lane, ()) if body.who != i and body.mid >= s)
    return next(ahead, None)


def _follower(presence: Presence, lane: int, s: float, i: int) -> Body | None:
    behind = [body for body in presence.bodies.get(lane, ()) if body.who != i and body.mid < s]
    return behind[-1] if behind else None


def _acceleration(traffic: Traffic, i: int, lane: int, s: float, ahead: Body | None, half: float) -> float:
    fleet, net, config = traffic.fleet, traffic.net, traffic.config
    at = min(max(int(s / net.step[lane]), 0), net.count[lane] - 1)
    desired = net.speed[net.first[lane] + at] * float(fleet.speed_factor[i])
    gap, speed = (ahead.rear - s - half, ahead.speed) if ahead is not None else (math.inf, 0.0)
    return follow(
        float(fleet.speed[i]), desired, gap, speed, float(fleet.headway[i]), config.traffic_standstill_gap,
        config.traffic_acceleration, config.traffic_deceleration, _HARD,
    )  # fmt: skip


def _behind(traffic: Traffic, body: Body, gap: float, leader_speed: float) -> float:
    """Acceleration of somebody behind a leader; the ego too is taken for an average driver."""
    config = traffic.config
    headway = 0.5 * (config.traffic_headway_min + config.traffic_headway_max)
    return follow(
        body.speed, max(body.speed, 1.0), gap, leader_speed, headway, config.traffic_standstill_gap,
        config.traffic_acceleration, config.traffic_deceleration, _HARD,
    )  # fmt: skip
