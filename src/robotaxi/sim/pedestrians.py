"""People on foot: some keep crossing at crosswalks, the others stroll beside the road.

Whoever wants to cross waits at the kerb. With signals they go when the lights of the traffic that
drives straight over the crosswalk stay red long enough; without, when every vehicle is far enough, or
visibly slows down for them. On the crosswalk they still look before each lane. They never step in
front of somebody who cannot stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.lights import Lights
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import EGO, WRECK, Presence
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import ObjectClass, RecordArray

FloatArray = NDArray[np.float64]
FreeCheck = Callable[[FloatArray], bool]

FIRST_ID = 2000  # agent id of the first pedestrian
_DECIDE_EVERY = 5  # ticks
_LANE_HALF = 2.2  # m either side of a lane's middle that a walker wants free
_LOOK_AHEAD = 0.8  # m before a lane's edge where a walker looks
_CROSSING_SOON = 6.0  # s: drivers give way to a walker who reaches their lane within this
_STANDING = 0.5  # m/s: a vehicle that waits
_SLOW = 3.0  # m/s: slow enough to believe that the driver gives way
_GENTLE = 1.0  # m/s^2: braking that a driver who gives way still needs
_EASY = 2.5  # m/s^2: braking that every driver with a red light or a walker ahead can be trusted with
_PATIENT_WAIT = (1.0, 4.0)  # s at the kerb before one looks for a chance
_BEAT_OFFSET = 1.6  # m from the edge of the road to a stroller
_REST = (3.0, 15.0)  # s at the end of a stroll


class Phase(IntEnum):
    STROLLING = 0
    RESTING = 1
    WAITING = 2
    CROSSING = 3
    FALLEN = 4


@dataclass(frozen=True)
class Crossing:
    """A crosswalk for walkers: the line from kerb to kerb and what drives over it.

    ``lanes``: (lane, metres from the first kerb to its middle, first and last arc length on the lane).
    ``signal_ids``: lights that must be red to cross; empty where there are none.
    """

    id: int
    start: tuple[float, float]
    direction: tuple[float, float]
    length: float
    lanes: tuple[tuple[int, float, float, float], ...]
    signal_ids: tuple[int, ...]


@dataclass
class Walker:
    """One person. ``crossing`` -1: strolls only. ``along``: metres from the kerb they stepped off;
    ``forward``: from the first kerb to the second. ``way``: points still to walk to, nearest
    first. ``beat``: what a stroller walks up and down."""

    x: float
    y: float
    z: float
    speed: float
    crossing: int = -1
    phase: Phase = Phase.RESTING
    timer: float = 0.0
    along: float = 0.0
    forward: bool = True
    halted: bool = False
    way: list[tuple[float, float]] = field(default_factory=list)
    beat: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Crowd:
    """All mutable state of the pedestrians."""

    rng: np.random.Generator
    records: RecordArray
    walkers: list[Walker] = field(default_factory=list)


class Pedestrians:
    """Moves the crowd and tells drivers whom to wait for."""

    def __init__(
        self,
        lane_map: LaneMap,
        net: RoadNetwork,
        lights: Lights,
        config: WorldConfig,
        rng: np.random.Generator,
        is_free: FreeCheck,
    ) -> None:
        self._net, self._lights, self._config, self._is_free = net, lights, config, is_free
        self.crossings = [c for c in (_crossing(lane_map, net, config, k) for k in sorted(lane_map.crosswalks)) if c]
        self.crowd = Crowd(rng, np.zeros(0, dtype=AGENT_DTYPE))
        self._populate(lane_map)

    # ------------------------------------------------------------------ for drivers

    def claims(self) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """(crosswalk, lane) pairs with somebody waiting who has priority, and with somebody walking."""
        waiting: set[tuple[int, int]] = set()
        walking: set[tuple[int, int]] = set()
        for walker in self.crowd.walkers:
            if walker.phase not in (Phase.WAITING, Phase.CROSSING):
                continue
            crossing = self.crossings[walker.crossing]
            if walker.phase is Phase.WAITING:
                if not crossing.signal_ids and walker.timer <= 0.0:
                    waiting.update((crossing.id, lane) for lane, _, _, _ in crossing.lanes)
                continue
            for lane, middle, _, _ in crossing.lanes:
                ahead = (middle if walker.forward else crossing.length - middle) - walker.along
                if -_LANE_HALF < ahead < walker.speed * _CROSSING_SOON + _LANE_HALF:
                    walking.add((crossing.id, lane))
        return waiting, walking

    def fallen(self) -> list[tuple[float, float]]:
        """Where people lie on the ground (map)."""
        return [(w.x, w.y) for w in self.crowd.walkers if w.phase is Phase.FALLEN]

    # ------------------------------------------------------------------ one tick

    def step(
        self, tick: int, t: float, dt: float, presence: Presence, speeds: list[float], halves: list[float]
    ) -> None:
        """Advance to time ``t``; ``speeds`` and ``halves`` (half lengths) are of the traffic."""
        x, y, yaw, vx, vy = (self.crowd.records[name] for name in ("x", "y", "yaw", "vx", "vy"))
        for k, walker in enumerate(self.crowd.walkers):
            if walker.phase is Phase.FALLEN:
                self._slide(k, walker, dt)
                continue
            decides = tick % _DECIDE_EVERY == k % _DECIDE_EVERY
            before = (walker.x, walker.y)
            self._move(walker, t, dt, decides, presence, speeds, halves)
            moved = walker.x - before[0], walker.y - before[1]
            x[k], y[k], vx[k], vy[k] = walker.x, walker.y, moved[0] / dt, moved[1] / dt
            if moved != (0.0, 0.0):
                yaw[k] = math.atan2(moved[1] / dt, moved[0] / dt)

    def knock(self, k: int, vx: float, vy: float) -> None:
        """A blow throws walker ``k`` down at the velocity given (map, m/s)."""
        self.crowd.walkers[k].phase = Phase.FALLEN
        self.crowd.records["vx"][k], self.crowd.records["vy"][k] = vx, vy

    def push(self, k: int, dx: float, dy: float) -> None:
        """Shift walker ``k`` out of the way of what hit them."""
        self.crowd.walkers[k].x += dx
        self.crowd.walkers[k].y += dy

    # ------------------------------------------------------------------ behaviour

    def _move(
        self,
        walker: Walker,
        t: float,
        dt: float,
        decides: bool,
        presence: Presence,
        speeds: list[float],
        halves: list[float],
    ) -> None:
        rng = self.crowd.rng
        if walker.phase is Phase.STROLLING:
            if self._walk(walker, dt):
                to_kerb = walker.crossing >= 0 and self._at_kerb(walker)
                walker.phase = Phase.WAITING if to_kerb else Phase.RESTING
                walker.timer = float(rng.uniform(*(_PATIENT_WAIT if to_kerb else _REST)))
        elif walker.phase is Phase.RESTING:
            walker.timer -= dt
            if walker.timer <= 0.0:
                walker.phase = Phase.STROLLING
                walker.way = self._next_stroll(walker)
        elif walker.phase is Phase.WAITING:
            walker.timer -= dt
            if decides and walker.timer <= 0.0 and self._may_start(walker, t, presence, speeds, halves):
                walker.phase, walker.along, walker.halted = Phase.CROSSING, 0.0, False
        elif walker.phase is Phase.CROSSING:
            crossing = self.crossings[walker.crossing]
            if decides:
                walker.halted = self._must_halt(walker, crossing, presence, speeds, halves)
            if not walker.halted:
                walker.along = min(walker.along + walker.speed * dt, crossing.length)
                walker.x, walker.y = _point(crossing, walker.along, walker.forward)
                if walker.along >= crossing.length:
                    walker.forward = not walker.forward
                    walker.phase = Phase.RESTING
                    walker.timer = float(rng.uniform(*_REST))

    def _may_start(
        self, walker: Walker, t: float, presence: Presence, speeds: list[float], halves: list[float]
    ) -> bool:
        crossing, margin = self.crossings[walker.crossing], self._config.pedestrian_gap_margin
        signalled = bool(crossing.signal_ids)
        if signalled and self._lights.red_for(crossing.signal_ids, t) < crossing.length / walker.speed + margin:
            return False
        for lane, middle, start, end in crossing.lanes:
            leaves = ((middle if walker.forward else crossing.length - middle) + _LANE_HALF) / walker.speed
            for distance, speed in _approaching(lane, start, end, presence, speeds, halves):
                if distance < 0.0:
                    return False
                if speed < _STANDING or distance / speed > leaves + margin:
                    continue
                braking = speed * speed / (2.0 * distance)
                believable = braking < _EASY if signalled else speed < _SLOW and braking < _GENTLE
                if not believable:
                    return False
        return True

    def _must_halt(
        self, walker: Walker, crossing: Crossing, presence: Presence, speeds: list[float], halves: list[float]
    ) -> bool:
        """Whether the lane that the walker is about to enter is taken, or about to be."""
        for lane, middle, start, end in crossing.lanes:
            edge = (middle if walker.forward else crossing.length - middle) - _LANE_HALF - walker.along
            if not 0.0 <= edge < _LOOK_AHEAD:
                continue
            for distance, speed in _approaching(lane, start, end, presence, speeds, halves):
                if distance < 0.0 or speed * speed / (2.0 * distance + 0.01) > 2.0 * _EASY:
                    return True
        return False

    def _at_kerb(self, walker: Walker) -> bool:
        kerb = _point(self.crossings[walker.crossing], 0.0, walker.forward)
        return math.hypot(walker.x - kerb[0], walker.y - kerb[1]) < 0.5

    def _walk(self, walker: Walker, dt: float) -> bool:
        """Walk on towards the next point; true when none is left."""
        left = walker.speed * dt
        while walker.way and left > 0.0:
            dx, dy = walker.way[0][0] - walker.x, walker.way[0][1] - walker.y
            distance = math.hypot(dx, dy)
            if distance <= left:
                walker.x, walker.y = walker.way.pop(0)
                left -= distance
            else:
                walker.x += dx / distance * left
                walker.y += dy / distance * left
                left = 0.0
        return not walker.way

    def _next_stroll(self, walker: Walker) -> list[tuple[float, float]]:
        """From the kerb: away beside the road and back. For others: back to the other end."""
        rng = self.crowd.rng
        if walker.crossing < 0:
            walker.forward = not walker.forward
            return list(walker.beat if walker.forward else reversed(walker.beat))
        crossing = self.crossings[walker.crossing]
        kerb = _point(crossing, 0.0, walker.forward)
        side = 1.0 if rng.random() < 0.5 else -1.0
        reach = float(rng.uniform(2.0, self._config.pedestrian_stroll))
        away = (kerb[0] - side * crossing.direction[1] * reach, kerb[1] + side * crossing.direction[0] * reach)
        line = np.linspace(kerb, away, max(int(reach / 0.5), 2)).astype(np.float64)
        return [away, kerb] if self._is_free(line) else [kerb]

    def _slide(self, k: int, walker: Walker, dt: float) -> None:
        records = self.crowd.records
        speed = math.hypot(records["vx"][k], records["vy"][k])
        left = max(speed - self._config.contact_friction_deceleration * dt, 0.0) / max(speed, 1e-6)
        for name in ("vx", "vy"):
            records[name][k] *= left
        walker.x += float(records["vx"][k]) * dt
        walker.y += float(records["vy"][k]) * dt
        records["x"][k], records["y"][k] = walker.x, walker.y

    # ------------------------------------------------------------------ construction

    def _populate(self, lane_map: LaneMap) -> None:
        config, rng = self._config, self.crowd.rng
        beats = _beats(lane_map, self._is_free)
        usable = [
            k
            for k, crossing in enumerate(self.crossings)
            if all(self._is_free(np.array([_point(crossing, 0.0, forward)])) for forward in (True, False))
        ]
        walkers = self.crowd.walkers
        for _ in range(config.pedestrian_count):
            speed = float(rng.uniform(config.pedestrian_speed_min, config.pedestrian_speed_max))
            crosses = bool(rng.random() < config.pedestrian_crosser_share)
            if usable and (crosses or not beats):
                k = usable[int(rng.integers(len(usable)))]
                forward = bool(rng.random() < 0.5)
                x, y = _point(self.crossings[k], 0.0, forward)
                walkers.append(Walker(x, y, self._ground(x, y), speed, k, forward=forward))
            elif beats:
                beat = beats[int(rng.integers(len(beats)))]
                beat = beat[int(rng.integers(len(beat) // 2 + 1)) :]
                x, y = beat[0]
                walkers.append(Walker(x, y, self._ground(x, y), speed, beat=beat, forward=False))
            else:
                break
            walkers[-1].timer = float(rng.uniform(0.0, _REST[1]))
        records = np.zeros(len(walkers), dtype=AGENT_DTYPE)
        n = len(walkers)
        records["id"], records["label"] = FIRST_ID + np.arange(n), ObjectClass.PEDESTRIAN
        records["color"] = rng.integers(0, 8, n)
        records["length"], records["width"] = rng.uniform(0.4, 0.6, n), rng.uniform(0.5, 0.7, n)
        records["height"], records["yaw"] = rng.uniform(1.5, 1.9, n), rng.uniform(-math.pi, math.pi, n)
        for name in ("x", "y", "z"):
            records[name] = [getattr(walker, name) for walker in walkers]
        self.crowd.records = records

    def _ground(self, x: float, y: float) -> float:
        """Height of the nearest lane: kerbs are level with the road here."""
        return float(self._net.samples[self._net.nearby.nearest(x, y, math.inf)[1], 2])


def _point(crossing: Crossing, along: float, forward: bool) -> tuple[float, float]:
    u = along if forward else crossing.length - along
    return crossing.start[0] + crossing.direction[0] * u, crossing.start[1] + crossing.direction[1] * u


def _approaching(
    lane: int, start: float, end: float, presence: Presence, speeds: list[float], halves: list[float]
) -> list[tuple[float, float]]:
    """(metres from the front bumper to the crosswalk, speed) of all who have still to clear it;
    negative metres: on it. Wrecks and an ego that stands across the lane count where they are."""
    found, ego_drives_here = [], False
    for at, who in presence.coming.get(lane, ()):
        half = presence.ego_half_length if who == EGO else halves[who]
        ego_drives_here |= who == EGO
        if at - half <= end:
            found.append((start - at - half, presence.ego_speed if who == EGO else speeds[who]))
    for body in presence.bodies.get(lane, ()):
        strays = body.who == WRECK or (body.who == EGO and not ego_drives_here)
        if strays and body.rear <= end and body.front >= start:
            found.append((-1.0, body.speed))
    return found


def _crossing(lane_map: LaneMap, net: RoadNetwork, config: WorldConfig, crosswalk_id: int) -> Crossing | None:
    """The walkers' view of a crosswalk; None where it crosses no lane."""
    crosswalk = lane_map.crosswalks[crosswalk_id]
    a, b = crosswalk.axis[0, :2], crosswalk.axis[-1, :2]
    width = float(np.hypot(*(b - a)))
    if width < 1.0:
        return None
    direction = (b - a) / width
    start = a - direction * config.pedestrian_kerb_setback
    lanes, signals = [], set()
    for lane_id in sorted(set(crosswalk.lane_ids) & set(net.index)):
        lane = net.index[lane_id]
        for found, low, high in net.crossings[lane]:
            if found != crosswalk_id:
                continue
            x, y, _, _ = net.poses_on(lane, (low + high) / 2.0)
            middle = float((np.array([x, y]) - start) @ direction)
            lanes.append((lane, middle, low, high))
            signals.update(_signals_against(lane_map, net, lane, low, high))
    if not lanes:
        return None
    lanes.sort(key=lambda item: (item[1], item[0]))
    return Crossing(
        crosswalk_id,
        (float(start[0]), float(start[1])),
        (float(direction[0]), float(direction[1])),
        width + 2.0 * config.pedestrian_kerb_setback,
        tuple(lanes),
        tuple(sorted(signals)),
    )


def _signals_against(lane_map: LaneMap, net: RoadNetwork, lane: int, low: float, high: float) -> set[int]:
    """Signals whose traffic drives over this stretch of ``lane`` without turning first."""
    found: set[int] = set()
    gate = net.gates[lane]
    if gate.kind == "signal" and net.length[lane] - high < 15.0:
        found.update(gate.signal_ids)
    feeders = [lane] if net.junction[lane] else [p for p in net.predecessors[lane] if net.junction[p] and low < 15.0]
    for feeder in feeders:
        straight = lane_map.lanes[net.ids[feeder]].turn_direction == "straight"
        if not straight and (feeder != lane or low > 8.0):
            continue
        for before in net.predecessors[feeder]:
            if net.gates[before].kind == "signal":
                found.update(net.gates[before].signal_ids)
    return found


def _beats(lane_map: LaneMap, is_free: FreeCheck) -> list[list[tuple[float, float]]]:
    """Stretches beside the right edge of the road where one can walk up and down."""
    beats = []
    for lane_id in sorted(lane_map.lanes):
        lane = lane_map.lanes[lane_id]
        if lane.right_neighbour is not None or lane.junction_id is not None or lane.length < 30.0:
            continue
        at = np.arange(8.0, min(lane.length - 8.0, 80.0), 2.0)
        edge = np.stack([np.interp(at, lane.s, lane.right[:, k]) for k in (0, 1)], axis=1)
        middle = np.stack([np.interp(at, lane.s, lane.centerline[:, k]) for k in (0, 1)], axis=1)
        outward = edge - middle
        line = edge + outward / np.maximum(np.hypot(outward[:, 0], outward[:, 1]), 0.1)[:, None] * _BEAT_OFFSET
        if is_free(line):
            beats.append([(float(x), float(y)) for x, y in line])
    return beats
