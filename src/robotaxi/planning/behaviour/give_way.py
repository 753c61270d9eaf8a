"""Stop signs, giving way at crossings, roundabouts and turns, by predicted time windows.

Where the lights are out of order (``dark``, ids of their lines) all stop and none has priority: the car lets everybody
go who moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.route_features import Crossing, RouteLine, Zone
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

MINOR = ("yield", "stop")
ZONE_GAP = 1.0  # m between front bumper and a conflict zone when waiting inside a junction
EDGE_GAP = 0.2  # m, the least of it
LINE_TOLERANCE = 0.3  # m beyond a line where the car still waits at it
HESITATION = 0.5  # s more than needed before a standing car sets off
CLEARING_DECELERATION = 3.0  # m/s^2 at which traffic without priority could still stop for us
CLEARING_SPEED = 1.0  # m/s
SET_OFF = 0.5  # m/s^2 that slow traffic is expected to gain
LEAST_WORTH = 4.0  # m/s^2 that giving way is worth in any case
BODY_GAP = 3.0  # m between two cars after a merge


@dataclass
class LineMemory:
    """Stop lines at which the car stood still already."""

    stood_at: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Arrival:
    """When a road user is expected in a zone, seconds from now; ``speed`` then, ``i`` its index."""

    i: int
    t_in: float
    t_out: float
    speed: float


def halt_at_stop_signs(scene: Scene, memory: LineMemory, dark: frozenset[int] = frozenset()) -> list[Constraint]:
    """A full standstill at each line of kind 'stop', or whose lights are ``dark``."""
    out = []
    for item in scene.features.lines:
        distance = item.s - scene.front_s
        if item.line.kind != "stop" and item.line.id not in dark:
            continue
        if distance > scene.config.look_ahead or item.line.id in memory.stood_at:
            continue
        if distance < -LINE_TOLERANCE:
            continue
        if scene.speed < scene.config.stop_sign_speed and distance < scene.config.stop_sign_range:
            memory.stood_at.add(item.line.id)
            continue
        what = "stop sign" if item.line.kind == "stop" else "traffic light out of order"
        out.append(_stop_at_line(scene, item, Cause.STOP_SIGN, f"{what} at line {item.line.id}"))
    for item in scene.features.lines:
        if item.s < scene.s - scene.vehicle.rear_overhang:
            memory.stood_at.discard(item.line.id)
    return out


def _stop_at_line(scene: Scene, item: RouteLine, cause: Cause, what: str) -> Constraint:
    distance = item.s - scene.front_s
    return Constraint(
        Kind.STOP,
        item.s - scene.config.line_gap - scene.vehicle.front,
        cause,
        stop_sentence(scene.standing, what, distance),
        item.line.id,
        distance,
    )


def give_way(scene: Scene, dark: frozenset[int] = frozenset()) -> list[Constraint]:
    """Wait at crossings while somebody with priority comes, and for those who are still clearing."""
    out = []
    for crossing in scene.features.crossings:
        last = max(zone.own_out for zone in crossing.zones)
        if last < scene.s or crossing.line_s - scene.front_s > scene.config.look_ahead / 2:
            continue
        out += _approach(scene, crossing)
        stop = crossing.line is not None and crossing.line.id in dark
        if stop:
            crossing = replace(crossing, zones=tuple(replace(zone, priority=True) for zone in crossing.zones))
        blocked = _blocked_by(scene, crossing, stop)
        if blocked is not None:
            out += _wait(scene, crossing, *blocked)
    return out


def _approach(scene: Scene, crossing: Crossing) -> list[Constraint]:
    """Not faster over a yield line than one can look."""
    line = crossing.line
    if line is None or line.kind != "yield" or scene.front_s > crossing.line_s:
        return []
    s = crossing.line_s - scene.vehicle.front
    distance = crossing.line_s - scene.front_s
    sentence = f"Slowing to give way at line {line.id}, {distance:.0f} m ahead."
    speed = scene.config.yield_speed
    return [Constraint(Kind.CAP, s - 2.0, Cause.YIELD, sentence, line.id, distance, speed, s + 2.0)]


def _blocked_by(scene: Scene, crossing: Crossing, stop: bool) -> tuple[Zone, Arrival, bool] | None:
    """The first zone that is not free, with the road user it is kept free for, and whether both would be in it at the
    same time. ``stop``: as at a stop sign."""
    for zone in crossing.zones:
        if zone.own_in < scene.front_s:
            continue  # already in it: leave it
        t_in = scene.time_to(zone.own_in - scene.front_s)
        signed = stop or (crossing.line is not None and crossing.line.kind in MINOR)
        minor = signed and scene.front_s < crossing.line_s
        t_behind = scene.time_to(crossing.line_s - scene.front_s) if minor else t_in
        t_out = scene.time_to(zone.own_out - scene.s + scene.vehicle.rear_overhang)
        if scene.standing:
            t_out += HESITATION
        for arrival in arrivals(scene, zone, minor):
            meet = arrival.t_in < t_out and arrival.t_out > t_in
            if meet or (zone.priority and not _fits(scene, zone, arrival, t_behind, t_in, t_out)):
                return zone, arrival, meet and not zone.merging
    return None


def arrivals(scene: Scene, zone: Zone, waiting: bool = False) -> list[Arrival]:
    """Road users that drive into ``zone``; standing ones do not use their priority.

    ``waiting``: the car is still before its sign. Then whoever has entered the junction and moves goes first, also
    without priority.
    """
    config, out = scene.config, []
    predictions = scene.predictions
    for i in range(scene.objects.size):
        speed = math.hypot(float(scene.objects["vx"][i]), float(scene.objects["vy"][i]))
        if speed < config.priority_speed or scene.objects["static"][i]:
            continue
        if scene.objects["label"][i] == int(ObjectClass.PEDESTRIAN):
            continue
        half = 0.5 * float(scene.objects["length"][i])
        best: Arrival | None = None
        for slot in range(predictions.match_lane.shape[1]):
            lane = int(predictions.match_lane[i, slot])
            if lane < 0 or lane not in zone.upstream:
                continue
            to_zone = zone.upstream[lane] - float(predictions.match_s[i, slot])
            first = waiting and speed > CLEARING_SPEED and to_zone < half  # its front is over its own line
            if not zone.priority and not first and (lane != zone.other or slot > 0):
                continue
            d_in, d_out = to_zone + zone.other_in - half, to_zone + zone.other_out + half
            if d_out < 0.0 or d_in > config.priority_range:
                continue
            if not zone.priority and not first and not _cannot_stop(speed, d_in):
                continue
            arrival = Arrival(i, _earliest(speed, d_in), max(d_out, 0.0) / speed, speed)
            if best is None or arrival.t_in < best.t_in:
                best = arrival
        if best is not None:
            out.append(best)
    return sorted(out, key=lambda arrival: (arrival.t_in, arrival.i))


def _cannot_stop(speed: float, distance: float) -> bool:
    return speed > CLEARING_SPEED and distance < speed**2 / (2.0 * CLEARING_DECELERATION) + 0.3 * speed


def _earliest(speed: float, distance: float) -> float:
    if distance <= 0.0:
        return 0.0
    return (math.sqrt(speed**2 + 2.0 * SET_OFF * distance) - speed) / SET_OFF


def _fits(scene: Scene, zone: Zone, arrival: Arrival, t_behind: float, t_in: float, t_out: float) -> bool:
    """Whether the car passes before or after ``arrival`` with the wanted clear times.

    ``t_behind``: by then ``arrival`` must have left for the car to pass after it; at a sign that is
    when the car crosses its line, not only when it reaches the zone.
    """
    config = scene.config
    if arrival.t_out + config.gap_after < t_behind:
        return True
    if zone.merging:
        return arrival.t_in > t_in + merge_time(scene, arrival.speed, t_in)
    return arrival.t_in > t_out + config.gap_before


def merge_time(scene: Scene, other_speed: float, t_in: float) -> float:
    """Seconds that somebody must arrive after us so that merging asks little braking of them."""
    config = scene.config
    own = min(scene.speed + config.acceleration * (t_in + 1.5), config.max_speed)
    slower = max(other_speed - own, 0.0)
    distance = slower**2 / (2.0 * config.merge_deceleration) + BODY_GAP + scene.vehicle.length
    return config.gap_before + distance / max(other_speed, 1.0)


def _wait(scene: Scene, crossing: Crossing, zone: Zone, arrival: Arrival, meet: bool) -> list[Constraint]:
    """Stop at the line; beyond it before the zone, as near to it as need be; go on where none can be reached.

    ``meet``: going on ends in a collision, which is worth harder braking.
    """
    config = scene.config
    at_line = crossing.line_s - config.line_gap - scene.vehicle.front
    at_zone = zone.own_in - ZONE_GAP - scene.vehicle.front
    at_edge = max(zone.own_in - EDGE_GAP - scene.vehicle.front, scene.s)  # who has crept past the gap still stops
    before_line = scene.front_s < crossing.line_s + LINE_TOLERANCE
    before_zone = scene.front_s < zone.own_in
    places = [
        (at_line, before_line, config.commit_deceleration),
        (at_zone, at_zone > scene.s - LINE_TOLERANCE, config.commit_deceleration),
        (at_edge, before_zone, config.emergency_deceleration if meet else config.commit_deceleration),
    ]
    for s, usable, worth in places:
        if usable and (scene.standing or scene.needed_deceleration(s) <= worth):
            break
    else:
        return []
    i = arrival.i
    side = _side(scene, i)
    place = f"junction {crossing.junction_id}" if crossing.junction_id is not None else f"lane {crossing.lane_id}"
    distance = s + scene.vehicle.front - scene.front_s
    sentence = stop_sentence(scene.standing, f"giving way to {scene.name(i)} {side} at {place}", distance)
    key = int(scene.objects["id"][i])
    return [Constraint(Kind.STOP, s, Cause.YIELD, sentence, key, distance, deceleration=max(worth, LEAST_WORTH))]


def _side(scene: Scene, i: int) -> str:
    """'from the left', 'from the right' or 'ahead', as the driver sees it."""
    k = scene.reference.index(scene.s)
    dx = float(scene.objects["x"][i]) - scene.reference.x[k]
    dy = float(scene.objects["y"][i]) - scene.reference.y[k]
    bearing = math.atan2(dy, dx) - float(scene.reference.yaw[k])
    bearing = (bearing + math.pi) % (2.0 * math.pi) - math.pi
    if abs(bearing) < 0.35:
        return "ahead"
    return "from the left" if bearing > 0.0 else "from the right"
