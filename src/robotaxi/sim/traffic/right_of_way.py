"""Who may enter a junction lane: grants, so that no two vehicles ever hold paths that meet.

A vehicle asks when it comes within braking distance of the junction. It gets the grant when the light
allows it, there is room behind the junction (nobody blocks the box), nobody who holds a grant for a
conflicting lane has still to leave the conflict area, and whoever goes first by `Lane.yield_to` is far
enough away (gap acceptance). The ego holds no grants; it counts as having one when it is in the
junction or can no longer stop before it. Whoever has waited longer than their patience goes before
those who have no grant yet, which undoes circular waits and starving; before the ego only if it stands. And
others who can stop with ease let those in who have waited far too long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robotaxi.sim.lights import worst
from robotaxi.sim.traffic.drivers import time_to_cover
from robotaxi.sim.traffic.network import Zone
from robotaxi.sim.traffic.presence import EGO
from robotaxi.types import LightState

if TYPE_CHECKING:
    from robotaxi.sim.traffic.traffic import Surroundings, Traffic

_STANDING = 0.3  # m/s
_FIRM_BRAKING = 4.0  # m/s^2: who needs more to stop before a junction counts as inside
_FLOWING = 3.0  # m/s: whoever drives on at this speed does not block the exit
_OVERDUE = 1.5  # patience, times: from then on others let one in
_LATE = 3.0  # patience, times: from then on grants of those who stand outside are taken over


def must_keep_grant(traffic: Traffic, i: int, k: int, distance: float, around: Surroundings) -> bool:
    """Whether a vehicle outside the junction still uses its grant for ``path[k]``."""
    if distance < 0.0:
        return True
    speed = float(traffic.fleet.speed[i])
    if speed * speed / (2.0 * distance + 0.01) > _FIRM_BRAKING:
        return True
    return _light_allows(traffic, i, k, distance, around) and not _ego_blocks(traffic, i, k, around)


def may_enter(traffic: Traffic, i: int, k: int, base: float, distance: float, around: Surroundings) -> bool:
    """Whether vehicle ``i`` gets the grant for ``path[k]``, which starts ``base`` m after its lane's
    start and ``distance`` m (less the stopping margin) ahead of its bumper."""
    fleet, net = traffic.fleet, traffic.net
    path = fleet.path[i]
    lane = path[k]
    if not _light_allows(traffic, i, k, distance, around):
        return False
    if not net.junction[path[k - 1]] and net.junction[lane] and not _room_behind(traffic, i, k, base, around):
        return False
    if _ego_blocks(traffic, i, k, around):
        return False
    zones = [zone for zone in net.zones[lane] if zone.kind != "fork"]
    if _others_turn(traffic, i, zones, distance):
        return False
    if all(_zone_free(traffic, i, k, base, zone, around) for zone in zones):
        return True
    if fleet.waited[i] > _OVERDUE * fleet.patience[i]:
        fleet.overdue[i] = lane
    return False


def _others_turn(traffic: Traffic, i: int, zones: list[Zone], distance: float) -> bool:
    """Whether a driver who can stop with ease lets one in who has waited for far too long."""
    fleet = traffic.fleet
    late = {lane for lane in fleet.overdue if lane >= 0}
    if not late or not late.intersection(zone.other for zone in zones):
        return False
    speed = float(fleet.speed[i])
    if speed * speed / (2.0 * max(distance, 0.1)) > traffic.config.traffic_deceleration:
        return False
    conflicting = {zone.other for zone in zones}
    return any(
        fleet.overdue[j] in conflicting and fleet.waited[j] > fleet.waited[i]
        for j in range(len(fleet.overdue))
        if j != i
    )


def _light_allows(traffic: Traffic, i: int, k: int, distance: float, around: Surroundings) -> bool:
    gate = traffic.net.gates[traffic.fleet.path[i][k - 1]]
    if gate.kind != "signal":
        return True
    shown = worst(around.lights, gate.signal_ids)
    if shown is LightState.RED:
        return False
    if shown is LightState.AMBER:
        speed = float(traffic.fleet.speed[i])
        return speed * speed / (2.0 * max(distance, 0.1)) > traffic.config.traffic_amber_deceleration
    return True


def _room_behind(traffic: Traffic, i: int, k: int, base: float, around: Surroundings) -> bool:
    """Whether the whole vehicle fits on the first lane behind the junction."""
    net, fleet, config = traffic.net, traffic.fleet, traffic.config
    path, records = fleet.path[i], fleet.records
    exit_at = next((m for m in range(k + 1, len(path)) if not net.junction[path[m]]), None)
    if exit_at is None:
        return True
    need = float(records["length"][i]) + config.traffic_standstill_gap
    for at, who in around.presence.coming.get(path[exit_at], ()):
        if who in (EGO, i) or not fleet.grants[who]:
            continue
        if at < float(records["length"][who]) / 2.0:
            need += float(records["length"][who]) + config.traffic_standstill_gap
    beyond = 0.0
    for lane in path[exit_at:]:
        for body in around.presence.bodies.get(lane, ()):
            if body.who != i and body.speed < _FLOWING and body.rear >= 0.0 and not body.crossing:
                return beyond + body.rear >= need
            if body.who != i and body.speed < _FLOWING and body.mid > 0.0 and not body.crossing:
                return False
        beyond += net.length[lane]
        if beyond > need:
            break
    return True


def _ego_blocks(traffic: Traffic, i: int, k: int, around: Surroundings) -> bool:
    """Whether the ego is in a conflict area of ``path[k]`` or bound to drive into it."""
    presence, net = around.presence, traffic.net
    half, speed = presence.ego_half_length, presence.ego_speed
    for zone in net.zones[traffic.fleet.path[i][k]]:
        if zone.kind == "fork":
            continue
        for at, who in presence.coming.get(zone.other, ()):
            if who != EGO or at - half > zone.other_end:
                continue
            if zone.kind == "merge" and at + half > zone.other_start:
                continue  # on the common stretch: followed as a leader
            if at + half > zone.other_start:
                return True
            outside = -(at + half)
            if speed > _STANDING and (outside < 0.0 or speed * speed / (2.0 * outside + 0.01) > _FIRM_BRAKING):
                return True
    return False


def _zone_free(traffic: Traffic, i: int, k: int, base: float, zone: Zone, around: Surroundings) -> bool:
    """Whether nobody holds ``zone`` against vehicle ``i`` and nobody with priority comes too soon."""
    net, fleet, config, other = traffic.net, traffic.fleet, traffic.config, zone.other
    gives_way = other in net.yields[fleet.path[i][k]]
    waited, patience = float(fleet.waited[i]), float(fleet.patience[i])
    clear = -1.0
    for at, who in around.presence.coming.get(other, ()):
        if who == i:
            continue
        half = around.presence.ego_half_length if who == EGO else float(fleet.records["length"][who]) / 2.0
        if at - half > zone.other_end:
            continue
        speed = around.presence.ego_speed if who == EGO else float(fleet.speed[who])
        if who != EGO and other in fleet.grants[who]:
            if zone.kind == "merge" and at + half > zone.other_start:
                continue
            if at + half < 0.0 and speed < _STANDING and waited > _LATE * patience:
                fleet.grants[who].remove(other)
                continue
            return False
        if not gives_way or (at > 0.0 and who != EGO):
            continue
        if waited > patience and (who != EGO or speed < _STANDING):
            continue  # without a grant they will have to wait in turn
        if _held_by_light(traffic, who, other, -(at + half), speed, around):
            continue
        if clear < 0.0:
            length = float(fleet.records["length"][i])
            to_clear = base + zone.end + length / 2.0 - float(fleet.s[i])
            lane_top = net.speed_limit[fleet.path[i][k]]
            clear = time_to_cover(to_clear, float(fleet.speed[i]), lane_top, config.traffic_acceleration)
        arrives = time_to_cover(
            zone.other_start - at - half, speed, net.speed_limit[other], config.traffic_acceleration
        )
        if arrives < clear + config.traffic_gap_margin:
            return False
    return True


def _held_by_light(traffic: Traffic, who: int, lane: int, outside: float, speed: float, around: Surroundings) -> bool:
    """Whether a red light keeps ``who`` out of ``lane``, whose start is ``outside`` m ahead of them."""
    net = traffic.net
    if who == EGO:
        before = list(net.predecessors[lane])
    else:
        path = traffic.fleet.path[who]
        place = path.index(lane, 1) if lane in path[1:] else 0
        before = [path[place - 1]] if place > 1 else []
    if not before or outside < 0.0:
        return False
    if speed * speed / (2.0 * outside + 0.01) > _FIRM_BRAKING:
        return False
    return all(
        net.gates[lane_before].kind == "signal"
        and worst(around.lights, net.gates[lane_before].signal_ids) in (LightState.RED, LightState.AMBER)
        for lane_before in before
    )
