"""The scripted road users and things of a ride in the simulated world: who is there, and what they do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.sim.contact import Box, overlap
from robotaxi.sim.events.actors import KINDS, Actor
from robotaxi.sim.events.conditions import CLEAR, Conditions, worst
from robotaxi.sim.events.movers import SPACING, Mover, Way
from robotaxi.sim.events.script import Lines, Script
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import Presence
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import FloatArray, LightState, RecordArray

FIRST_ID = 500_000  # agent id of the first scripted actor
_OPENS = 110.0  # m of way before its place that a scene is set up: beyond what the sensors make out
_CLOSES = 100.0  # m of way behind it that it is taken away
_SEARCH = 60  # samples of the way that the ego may have come on
_ON_WAY = 12.0  # m from the way within which the ego is on it
_TOO_LATE = 10.0  # m beyond its place from which on nobody comes any more
_ROOM = 1.0  # m around somebody who is put on the road
_STANDSTILL = 2.5  # m that a scripted driver keeps from who stands ahead
_HARDEST = 7.0  # m/s^2
_LOOK = 45.0  # m
_LANE = 1.4  # m beside its middle
_MEETING_SPEED = 4.0  # m/s at which the ego is reckoned to come at least
_CUT_IN_SPEED = 0.7  # of the ego's, of who has cut in
_SLOW_FOR = 5.0  # s
_AWAY = 15.0  # m/s of who drives off
_PERSON = ("pedestrian",)
_THINGS = ("box", "cone", "barrier", "door")


class Player(Mover):
    """A mover among traffic: it stays off who is ahead and stops at red lights of the ride's way."""

    def __init__(
        self,
        actor: Actor,
        way: Way,
        key: int,
        rng: np.random.Generator,
        lines: Lines,
    ) -> None:
        super().__init__(actor, way, key, rng)
        self.entered = self.left = self.knocked = False
        self.vx = self.vy = 0.0
        self._lines = lines if actor.heading == "same" and not actor.comes_from else ()
        self._at_once = math.isinf(actor.trigger)
        self._ahead = -math.inf  # m of way before the ego
        self._merged_for = 0.0

    @property
    def there(self) -> bool:
        return self.entered and not self.left

    @property
    def box(self) -> Box:
        _, length, width, _ = KINDS[self.actor.kind]
        return Box(self.x, self.y, self.yaw, length, width)

    @property
    def along(self) -> float:
        """Metres of its way behind it."""
        return self._s

    def waits_off_stage(self) -> bool:
        """Whether it comes only when it is called."""
        return self.actor.appears or (self._at_once and not self._stands())

    def _stands(self) -> bool:
        return self.actor.kind in _THINGS or (self._wanted <= 0.0 and math.isnan(self.actor.over))

    def called(self, ego: tuple[float, float, float], to_place: float) -> bool:
        """Whether the ego is near enough for it to begin: by distance, or, coming from a side of a junction, so that
        both are there at once. ``to_place``: m that the ego has to the scene's place, negative beyond it."""
        if self.actor.comes_from:
            needs = max(to_place, 0.0) / max(ego[2], _MEETING_SPEED)
            return to_place > 0.0 and needs <= abs(self._s - self._way.start_s) / max(self._wanted, 1.0)
        if self._at_once:
            return self._stands() or to_place <= 0.0
        return math.hypot(ego[0] - self.x, ego[1] - self.y) <= self.actor.trigger

    def come(self, ego_speed: float) -> None:
        """Be there."""
        self.entered = True
        if not math.isnan(self.actor.over):
            self._wanted = self.speed = ego_speed + self.actor.over

    def _aim(self) -> float:
        return self.actor.to_offset if self._ahead >= self.actor.merge_ahead else math.nan

    def act(
        self,
        dt: float,
        ego: tuple[float, float, float],
        along: float,
        others: RecordArray,
        lights: dict[int, LightState],
    ) -> None:
        """One tick. ``along``: m of the ride's way behind the ego; ``others``: everybody that it may meet
        (AGENT_DTYPE), the ego among them, itself not."""
        if self.knocked:
            self._slide(dt)
            return
        self._ahead = self._s - along
        self._decide(dt, ego[2])
        x, y, speed = self.x, self.y, self.speed
        self.step(dt, *ego)
        if self.actor.kind not in _PERSON and speed > 0.0:
            self._hold_back(dt, speed, others, lights)
        self.vx, self.vy = (self.x - x) / dt, (self.y - y) / dt

    def _decide(self, dt: float, ego_speed: float) -> None:
        """Who has cut in is slow for a while; who has done what it came for drives off."""
        actor = self.actor
        if math.isfinite(actor.merge_ahead) and self._ahead >= actor.merge_ahead:
            if self._merged_for == 0.0:
                self._wanted = _CUT_IN_SPEED * ego_speed
            self._merged_for += dt
            if self._merged_for > _SLOW_FOR:
                self._wanted = _AWAY
        gone_on = actor.stop_after + actor.go_on_after
        if self._since is not None and math.isfinite(gone_on) and self._since > actor.delay + gone_on:
            self._wanted = _AWAY

    def _hold_back(self, dt: float, before: float, others: RecordArray, lights: dict[int, LightState]) -> None:
        """Take back what `step` gave, where somebody is ahead or a light is red."""
        allowed = math.inf
        gap = self._gap(others)
        line = self._red_line(lights)
        for room in (gap, line):
            if room < _LOOK:
                # the speed from which it can stop in the room that is left
                allowed = min(allowed, math.sqrt(max(2.0 * 3.0 * (room - _STANDSTILL), 0.0)))
        if allowed < self.speed:
            kept = max(allowed, before - _HARDEST * dt, 0.0)
            if kept < self.speed:
                self._s -= math.cos(self._turn) * (self.speed - kept) * dt
                self.speed = kept
                self._place()

    def _gap(self, others: RecordArray) -> float:
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = others["x"] - self.x, others["y"] - self.y
        ahead, aside = c * dx + s * dy, c * dy - s * dx
        turned = np.abs(np.cos(others["yaw"] - self.yaw))
        half = 0.5 * (others["length"] * turned + others["width"] * (1.0 - turned))
        reach = 0.5 * (others["width"] * turned + others["length"] * (1.0 - turned))
        own = KINDS[self.actor.kind][1] / 2.0
        inside = (ahead > 0.0) & (ahead < _LOOK) & (np.abs(aside) < reach + _LANE - 0.4)
        return float((ahead - half)[inside].min()) - own if inside.any() else math.inf

    def _red_line(self, lights: dict[int, LightState]) -> float:
        front = self._s + KINDS[self.actor.kind][1] / 2.0
        for at, ids in self._lines:
            red = any(lights.get(i) in (LightState.RED, LightState.AMBER) for i in ids)
            if red and -1.0 < at - front < _LOOK:
                return at - front + _STANDSTILL - 0.5
        return math.inf

    def _slide(self, dt: float) -> None:
        speed = math.hypot(self.vx, self.vy)
        left = max(speed - 6.0 * dt, 0.0) / max(speed, 1e-6)
        self.vx, self.vy = self.vx * left, self.vy * left
        self.x, self.y = self.x + self.vx * dt, self.y + self.vy * dt
        self.speed = math.hypot(self.vx, self.vy)

    def row(self, z: float) -> tuple[Any, ...]:
        """As AGENT_DTYPE."""
        label, length, width, height = KINDS[self.actor.kind]
        size = length, width, height
        return (self.key, label, self.key % 12, self.x, self.y, z, self.yaw, *size, self.vx, self.vy, 0.0)


@dataclass
class Stage:
    """All that changes. ``players``: of each scene; ``progress``: the ego's place on the way, in samples."""

    players: list[list[Player]]
    progress: int = 0


class Director:
    """Runs a `Script` in a world. `step` once a tick, before the contacts."""

    def __init__(self, script: Script, net: RoadNetwork) -> None:
        self._script, self._net = script, net
        key, casts = FIRST_ID, []
        for number, scene in enumerate(script.scenes):
            rng = np.random.default_rng([script.seed, number, 0x5CE2E])
            cast = []
            for actor, way in scene.parts:
                cast.append(Player(actor, way, key, rng, script.lines))
                key += 1
            casts.append(cast)
        self.stage = Stage(casts)

    def enter(self, presence: Presence) -> None:
        """Make the traffic see who is there."""
        for player in self._present():
            box = player.box
            presence.add_wreck(self._net, box.x, box.y, box.yaw, box.length, box.width)

    def step(self, dt: float, ego: Box, ego_speed: float, agents: RecordArray, lights: dict[int, LightState]) -> None:
        """``ego``: its box; ``agents``: the unscripted road users (AGENT_DTYPE)."""
        stage = self.stage
        along = self._follow(ego.x, ego.y)
        me = np.zeros(1, AGENT_DTYPE)
        for name in ("x", "y", "yaw", "length", "width"):
            me[name] = getattr(ego, name)
        everybody = np.concatenate([agents, me])
        for scene, cast in zip(self._script.scenes, stage.players, strict=True):
            if along >= scene.at - _OPENS:
                gate = not scene.gate or all(lights.get(i) is LightState.GREEN for i in scene.gate)
                for player in cast:
                    if not player.left:
                        self._play(player, scene.at, gate, along, (ego.x, ego.y, ego_speed), everybody, lights, dt)

    def _play(
        self,
        player: Player,
        place: float,
        gate: bool,
        along: float,
        ego: tuple[float, float, float],
        everybody: RecordArray,
        lights: dict[int, LightState],
        dt: float,
    ) -> None:
        if not player.entered:
            called = player.called(ego, place - along) and (gate or not player.actor.comes_from)
            if (called or not player.waits_off_stage()) and _is_free(player, everybody):
                player.come(ego[2])
            elif along > place + _TOO_LATE:
                player.left = True
            return
        player.act(dt, ego, along, self._others(player, everybody), lights)
        own = player.along if not player.actor.comes_from else place
        player.left = player.gone or along > max(own, place) + _CLOSES or own > along + _OPENS + _CLOSES

    def _others(self, player: Player, everybody: RecordArray) -> RecordArray:
        rows = [other.row(0.0) for other in self._present() if other is not player]
        return np.concatenate([everybody, np.array(rows, AGENT_DTYPE)]) if rows else everybody

    def _follow(self, x: float, y: float) -> float:
        """Metres of the way that the ego has behind it; it stays where the ego leaves the way."""
        stage, way = self.stage, self._script.way
        window = way[stage.progress : stage.progress + _SEARCH]
        away = np.hypot(window[:, 0] - x, window[:, 1] - y)
        nearest = int(np.argmin(away))
        if away[nearest] < _ON_WAY:
            stage.progress += nearest
        return stage.progress * SPACING

    def _present(self) -> list[Player]:
        return [player for cast in self.stage.players for player in cast if player.there]

    def records(self, ground: FloatArray | float) -> RecordArray:
        """Who is there (AGENT_DTYPE), on ground of that height."""
        rows = [player.row(float(ground)) for player in self._present()]
        return np.array(rows, AGENT_DTYPE) if rows else np.zeros(0, AGENT_DTYPE)

    def hit(self, k: int, vx: float, vy: float, dx: float, dy: float) -> None:
        """Who is ``k``th of `records` was hit: shifted, and thrown at a velocity (map, m/s)."""
        player = self._present()[k]
        player.x, player.y = player.x + dx, player.y + dy
        player.knocked, player.vx, player.vy = True, vx, vy

    def conditions(self, t: float) -> Conditions | None:
        """Weather and light where the ego is at ``t`` seconds; None for a clear day."""
        along = self.stage.progress * SPACING
        now = ((along if spell.along else t, spell) for spell in self._script.spells)
        found = [spell.conditions for where, spell in now if spell.start <= where < spell.end]
        here = worst(found) if found else CLEAR
        return None if here == CLEAR else here


def _is_free(player: Player, everybody: RecordArray) -> bool:
    box = player.box
    near = everybody[np.hypot(everybody["x"] - box.x, everybody["y"] - box.y) < 25.0]
    if not len(near):
        return True
    grown = Box(box.x, box.y, box.yaw, box.length + 2.0 * _ROOM, box.width + 2.0 * _ROOM)
    mask, _, _ = overlap(grown, near)
    return not bool(mask.any())
