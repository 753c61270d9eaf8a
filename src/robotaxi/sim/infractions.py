"""What the ego did wrong, by the definitions of the CARLA leaderboard, seen from the true state.

* red_light: the front bumper crosses the stop line of the ego's lane while its light is red.
* stop_line: it crosses a stop sign's line without having stood (slower than ``stop_sign_speed``) in
  the ``stop_sign_zone`` before it; or a yield line while somebody with right of way over every way on
  comes and is nearer than ``yield_time``; whoever has come before is followed.
* off_road: a corner of the body is outside the road; ``value`` grows with the metres driven so.
* door_open: the ego moves while the door is open.
* collision_*: recorded by the world from `contact`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap, StopLine
from robotaxi.sim.contact import Box
from robotaxi.sim.lights import worst
from robotaxi.sim.traffic.drivers import time_to_cover
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import EGO, Presence
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import LightState

FloatArray = NDArray[np.float64]

_LINE_MARGIN = 0.5  # m by which a stop line is lengthened at both ends
_SAME_WAY = math.cos(math.radians(60.0))
_PRIORITY_ACCELERATION = 0.5  # m/s^2 that one with right of way is expected to gain


@dataclass(frozen=True)
class Infraction:
    """One infraction at ``x, y`` (map). ``subject_id``: agent, stop line or 0. ``value``: metres off
    the road, or the closing speed (m/s) of a collision."""

    stamp_ns: int
    kind: str
    at_fault: bool
    subject_id: int
    x: float
    y: float
    detail: str
    value: float = 0.0


@dataclass
class Offences:
    """Mutable state. ``stood``: stop signs at which the ego has stood since it last crossed one.
    ``off_road_at``: index of the excursion in progress, or -1."""

    infractions: list[Infraction] = field(default_factory=list)
    front: tuple[float, float] | None = None
    stood: list[int] = field(default_factory=list)
    off_road_at: int = -1
    door_reported: bool = False


class Referee:
    """Watches stop lines, the edge of the road and the door."""

    def __init__(self, lane_map: LaneMap, net: RoadNetwork, config: WorldConfig) -> None:
        self._map, self._net, self._config = lane_map, net, config
        self._lines: list[tuple[StopLine, FloatArray, tuple[int, ...], float]] = []
        for line_id in sorted(lane_map.stop_lines):
            line = lane_map.stop_lines[line_id]
            lanes = tuple(net.index[k] for k in sorted(line.lane_ids) if k in net.index)
            if lanes:
                yaw = float(net.yaw[net.first[lanes[0]] + net.count[lanes[0]] - 1])
                self._lines.append((line, line.points[:, :2], lanes, yaw))
        self._middles = np.array([points.mean(axis=0) for _, points, _, _ in self._lines]).reshape(-1, 2)
        self.offences = Offences()

    def watch(
        self,
        stamp_ns: int,
        box: Box,
        speed: float,
        door_open: bool,
        moved: float,
        lights: dict[int, LightState],
        presence: Presence,
    ) -> None:
        """``box``: the ego's body now; ``moved``: metres driven in this tick."""
        c, s = math.cos(box.yaw), math.sin(box.yaw)
        front = (box.x + c * box.length / 2.0, box.y + s * box.length / 2.0)
        if self._lines:
            self._stop_lines(stamp_ns, front, box.yaw, speed, lights, presence)
        self.offences.front = front
        self._edge(stamp_ns, box, moved)
        moving = abs(speed) > self._config.cabin_standing_speed
        if door_open and moving and not self.offences.door_reported:
            detail = f"moved at {speed:.1f} m/s while the door was open"
            self.add(Infraction(stamp_ns, "door_open", True, 0, box.x, box.y, detail))
        self.offences.door_reported = door_open and (moving or self.offences.door_reported)

    def add(self, infraction: Infraction) -> int:
        """Record it; returns its index."""
        self.offences.infractions.append(infraction)
        return len(self.offences.infractions) - 1

    # ------------------------------------------------------------------ stop lines

    def _stop_lines(
        self,
        stamp_ns: int,
        front: tuple[float, float],
        yaw: float,
        speed: float,
        lights: dict[int, LightState],
        presence: Presence,
    ) -> None:
        before = self.offences.front or front
        reach = self._config.stop_sign_zone + 10.0
        near = np.flatnonzero(np.abs(self._middles - front).max(axis=1) < reach)
        for k in near.tolist():
            line, points, lanes, line_yaw = self._lines[k]
            if math.cos(yaw - line_yaw) < _SAME_WAY:
                continue
            ahead, across = _to_line(front, points, line_yaw)
            if not across:
                continue
            stands = abs(speed) < self._config.stop_sign_speed and 0.0 <= ahead <= self._config.stop_sign_zone
            if line.kind == "stop" and stands and line.id not in self.offences.stood:
                self.offences.stood.append(line.id)
            was_ahead, _ = _to_line(before, points, line_yaw)
            if was_ahead > 0.0 >= ahead:
                self._cross(stamp_ns, line, lanes, front, speed, lights, presence)

    def _cross(
        self,
        stamp_ns: int,
        line: StopLine,
        lanes: tuple[int, ...],
        front: tuple[float, float],
        speed: float,
        lights: dict[int, LightState],
        presence: Presence,
    ) -> None:
        x, y = front
        if line.kind == "signal" and worst(lights, line.signal_ids) is LightState.RED:
            detail = f"crossed stop line {line.id} on red at {speed:.1f} m/s"
            self.add(Infraction(stamp_ns, "red_light", True, line.id, x, y, detail))
        elif line.kind == "stop":
            if line.id not in self.offences.stood:
                detail = f"crossed the stop sign's line {line.id} at {speed:.1f} m/s without having stood"
                self.add(Infraction(stamp_ns, "stop_line", True, line.id, x, y, detail))
            self.offences.stood = []
        elif line.kind == "yield" and self._cuts_in(lanes, presence):
            detail = f"crossed yield line {line.id} less than {self._config.yield_time:g} s ahead of priority traffic"
            self.add(Infraction(stamp_ns, "stop_line", True, line.id, x, y, detail))

    def _cuts_in(self, lanes: tuple[int, ...], presence: Presence) -> bool:
        """Whether every way on from ``lanes`` cuts in front of somebody with right of way."""
        ways = sorted({way for lane in lanes for way in self._net.successors[lane]})
        return bool(ways) and all(self._has_priority_traffic(way, presence) for way in ways)

    def _has_priority_traffic(self, way: int, presence: Presence) -> bool:
        for zone in self._net.zones[way]:
            if zone.other not in self._net.yields[way]:
                continue
            for body in presence.bodies.get(zone.other, ()):
                distance = zone.other_start - body.front
                if body.who == EGO or body.crossing or distance < 0.0 or body.speed < 1.0:
                    continue  # one who is in the zone already is ahead: the ego follows, it does not cut in
                top = self._net.speed_limit[zone.other]
                if time_to_cover(distance, body.speed, top, _PRIORITY_ACCELERATION) < self._config.yield_time:
                    return True
        return False

    # ------------------------------------------------------------------ edge of the road

    def _edge(self, stamp_ns: int, box: Box, moved: float) -> None:
        tolerance = 2.0 * self._config.off_road_tolerance
        corners = Box(box.x, box.y, box.yaw, box.length - tolerance, box.width - tolerance).corners()
        outside = ~self._map.drivable(corners)
        offences = self.offences
        if not outside.any():
            offences.off_road_at = -1
            return
        if offences.off_road_at < 0:
            x, y = corners[int(np.argmax(outside))].tolist()
            offences.off_road_at = self.add(Infraction(stamp_ns, "off_road", True, 0, x, y, ""))
        entry = offences.infractions[offences.off_road_at]
        value = entry.value + moved
        detail = f"left the road for {value:.1f} m"
        offences.infractions[offences.off_road_at] = replace(entry, value=value, detail=detail)


def _to_line(front: tuple[float, float], points: FloatArray, yaw: float) -> tuple[float, bool]:
    """Metres from ``front`` to the line along the driving direction, and whether it is abreast of it."""
    (ax, ay), (bx, by) = points[0].tolist(), points[-1].tolist()
    ux, uy = bx - ax, by - ay
    length = math.hypot(ux, uy)
    if length < 1e-6:
        return math.inf, False
    ux, uy = ux / length, uy / length
    nx, ny = -uy, ux
    if nx * math.cos(yaw) + ny * math.sin(yaw) < 0.0:
        nx, ny = -nx, -ny
    dx, dy = ax - front[0], ay - front[1]
    along = -(dx * ux + dy * uy)
    return dx * nx + dy * ny, -_LINE_MARGIN <= along <= length + _LINE_MARGIN
