"""Where on the way of a ride each event takes place: found on the map, drawn from the seed."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.events.actors import Actor, ActorError
from robotaxi.sim.events.conditions import Conditions
from robotaxi.sim.events.model import SENSOR_FAULTS, Event, Needs
from robotaxi.sim.events.movers import SPACING, Way, way_through
from robotaxi.sim.ride_plan import RidePlan
from robotaxi.types import FloatArray

_END_ROOM = 30.0  # m that stay free before a pick-up or drop-off
_APART = 45.0  # m between the places of two events
_STEP = 2.0  # m in which a place is looked for


Lines = tuple[tuple[float, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Spell:
    """``conditions`` from ``start`` to ``end``: seconds, or with ``along`` metres of the way."""

    conditions: Conditions
    start: float
    end: float
    along: bool


@dataclass(frozen=True)
class Scene:
    """``at``: metres along the ride's way; ``parts``: each actor with the way that it keeps to; ``gate``: lights that
    must be green for the ego before anybody comes from a side."""

    name: str
    at: float
    parts: tuple[tuple[Actor, Way], ...]
    gate: tuple[int, ...] = ()


@dataclass(frozen=True)
class Script:
    """``way`` (N, 2): where the ride leads, a point every `SPACING` metres; ``lines``: (metres along it, lights) of
    stop lines; ``injections``: rows of `nodes.inject`."""

    way: FloatArray
    lines: Lines
    scenes: tuple[Scene, ...]
    spells: tuple[Spell, ...]
    injections: tuple[str, ...]
    seed: int


def write_script(events: tuple[Event, ...], lane_map: LaneMap, plan: RidePlan, seed: int) -> Script:
    """The events at their places. Raises ActorError naming the event that finds none on this way, RouteError."""
    road = _Road(lane_map, plan)
    scenes: list[Scene] = []
    spells, injections = [], []
    for number, event in enumerate(events):
        rng = np.random.default_rng([seed, number, zlib.crc32(event.name.encode())])
        at = float(rng.uniform(*event.at))
        if event.weather is not None:
            weather = event.weather
            start = at if weather.along else float(rng.uniform(*weather.start))
            last = weather.end[0] if math.isinf(weather.end[1]) else float(rng.uniform(*weather.end))
            spells.append(Spell(weather.conditions, start, start + last if weather.along else last, weather.along))
        if event.fault is not None:
            kind, topic, _ = SENSOR_FAULTS[event.fault.kind]
            start, end = float(rng.uniform(*event.fault.start)), float(rng.uniform(*event.fault.end))
            injections.append(f"{kind} {topic} {start:.3f} {end:.3f} {event.fault.value:g}")
        if event.actors:
            scenes.append(road.scene(event, at, [scene.at for scene in scenes]))
    scenes.sort(key=lambda scene: scene.at)
    return Script(road.points, road.lines, tuple(scenes), tuple(spells), tuple(injections), seed)


class _Road:
    """The ride's two legs as one line, with what its lanes are."""

    def __init__(self, lane_map: LaneMap, plan: RidePlan) -> None:
        self._map = lane_map
        legs = (plan.start, plan.pickup), (plan.pickup, plan.dropoff)
        paths = [lane_map.route_path(lane_map.route(a, b)) for a, b in legs]
        points, lane_id, lane_s, ends, lines = [], [], [], [], []
        total = 0.0
        for path in paths:
            at = np.arange(0.0, path.length, SPACING)
            near = np.clip(np.searchsorted(path.s, at), 0, len(path.s) - 1)
            points.append(np.column_stack([np.interp(at, path.s, path.points[:, k]) for k in (0, 1)]))
            lane_id.append(path.lane_id[near])
            lane_s.append(path.lane_s[near])
            lines += [(total + s, line.signal_ids) for s, line in lane_map.stop_lines_on(path) if line.signal_ids]
            total += SPACING * len(at)
            ends.append(total)
        self.points: FloatArray = np.concatenate(points)
        self.lines = tuple((s, ids) for s, ids in lines)
        self._lane_id: NDArray[np.int64] = np.concatenate(lane_id)
        self._lane_s: FloatArray = np.concatenate(lane_s)
        self._ends = ends
        x, y = self.points.T
        self._way = Way(x, y, np.unwrap(np.arctan2(np.gradient(y), np.gradient(x))), 0.0)
        self._clear = self._clear_places()

    def _clear_places(self) -> NDArray[np.bool_]:
        """Outside junctions and crosswalks."""
        lanes = self._map.lanes
        clear = np.array([lanes[int(i)].junction_id is None for i in self._lane_id])
        for crosswalk in self._map.crosswalks.values():
            middle = crosswalk.axis[:, :2].mean(axis=0)
            reach = np.hypot(*(crosswalk.axis[1, :2] - crosswalk.axis[0, :2])) / 2.0
            clear &= np.hypot(*(self.points - middle).T) > min(reach, 5.0)
        return clear

    def scene(self, event: Event, at: float, taken: list[float]) -> Scene:
        """The first place that fits from ``at`` on; one that keeps off those that are ``taken``, if there is one."""
        at_junction = event.needs.junction or any(actor.comes_from for actor in event.actors)
        found = None
        for s in np.arange(at, self._ends[-1] - _END_ROOM, _STEP).tolist():
            here = self._junction_scene(event, s) if at_junction else self._road_scene(event, s)
            if here is not None and all(abs(here.at - other) >= _APART for other in taken):
                return here
            found = found or here
        if found is not None:
            return found
        raise ActorError(
            f"{event.source}: no place for it on this way of {self._ends[-1]:.0f} m from {at:.0f} m on; "
            "try a smaller 'at', another seed, or less in 'needs'"
        )

    def _road_scene(self, event: Event, s: float) -> Scene | None:
        needs = event.needs
        if not self._fits(needs, s):
            return None
        way = Way(self._way.x, self._way.y, self._way.yaw, s)
        return Scene(event.name, s, tuple((actor, way) for actor in event.actors))

    def _fits(self, needs: Needs, s: float) -> bool:
        first, last = s - needs.before, s + needs.ahead
        if first < 0.0 or any(first < end < last + _END_ROOM for end in self._ends):
            return False
        span = slice(int(first / SPACING), int(last / SPACING) + 1)
        if not self._clear[span].all():
            return False
        lane = self._map.lanes[int(self._lane_id[int(s / SPACING)])]
        if needs.neighbour is not None and needs.neighbour != bool(lane.left_neighbour or lane.right_neighbour):
            return False
        k = int(s / SPACING)
        return needs.oncoming is None or needs.oncoming == self._map.has_oncoming(lane.id, float(self._lane_s[k]))

    def _junction_scene(self, event: Event, s: float) -> Scene | None:
        """The next junction that the way enters within a step, where everybody can come as they should."""
        k = int(s / SPACING)
        ahead = self._lane_id[k : k + int(_STEP / SPACING) + 1]
        junction = [self._map.lanes[int(i)].junction_id for i in ahead]
        enters = next((j for j in range(1, len(ahead)) if junction[j] is not None and junction[j - 1] is None), None)
        if enters is None:
            return None
        lane, at = self._map.lanes[int(ahead[enters])], s + enters * SPACING
        gate: tuple[int, ...] = next((ids for where, ids in self.lines if abs(where - at) < 25.0), ())
        if event.needs.junction and not gate:
            return None
        parts = []
        own = Way(self._way.x, self._way.y, self._way.yaw, at)
        for actor in event.actors:
            way = way_through(self._map, lane, actor.comes_from, actor.turn) if actor.comes_from else own
            if way is None:
                return None
            parts.append((actor, way))
        return Scene(event.name, at, tuple(parts), gate)
