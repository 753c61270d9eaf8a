"""Going round what stands in the way: when, on which side, and waiting for those who need the same ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.planning.behaviour.lead import in_the_way, is_standing
from robotaxi.planning.behaviour.overtake import beside, slow_leader, swept
from robotaxi.planning.behaviour.signal import LightMemory
from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.motion.detour import Detour, DetourSearch, Extent, extent_of
from robotaxi.planning.motion.lateral_shift import bearable, blend, shifted, shifted_points, state_at
from robotaxi.planning.reference import Reference
from robotaxi.planning.route_features import RouteFeatures
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, LightState, ObjectClass, Pose2

FloatArray = NDArray[np.floating[Any]]

SAME_PLACE = 1.5  # m between two sightings of one standing object
FORGET = 3.0  # s after which a place is forgotten
QUEUE_GAP = 12.0  # m between two standing vehicles of one queue
NEAR_LINE = 30.0  # m before a line, crosswalk or conflict where standing vehicles are taken for a queue
ROADSIDE = 1.1  # m beside the middle of the lane from which a vehicle stands at the roadside
GONE_CYCLES = 8  # plans without anything in the way until the detour is given up
PASSED = 1.0  # m
PERMITTED_AROUND = 6.0  # m around what a person said may be overtaken: its box may move as more of it is seen
PERMITTED_NS = 60_000_000_000  # how long that holds
ENTRY_GAP = 1.0  # m between front bumper and borrowed ground when waiting
ONCOMING_WIDTH = 6.0  # m beside the path within which traffic may be oncoming
MIN_BACK, BACK_TIME = 12.0, 2.5  # m, s at the present speed: shortest way back into the lane
BACK_LENGTHS = (1.0, 1.5, 2.0, 3.0)  # times that
LEFT_LANE = 0.02  # m from the full offset up to which the car is not on its way back
BEGUN = 1.0  # m of the way back after which there is no waiting any more
FURTHER_BACK = (3.0, 4.5, 6.0, 8.0)  # m behind the car from where it is looked whether there is room to go round
SIDE_ROOM = 1.8  # m beside the shifted body that others need


@dataclass
class _Stand:
    x: float
    y: float
    since_ns: int
    last_ns: int


@dataclass
class PassBy:
    """The detour that is driven. ``base``: the path without it; ``arc`` (P,): where its samples lie on the shifted;
    ``no_way_id``: what stands in the way and cannot be gone round, 0 for nothing."""

    search: DetourSearch
    base: Reference | None = None
    base_features: RouteFeatures | None = None
    profile: FloatArray = field(default_factory=lambda: np.zeros(0))
    arc: FloatArray = field(default_factory=lambda: np.zeros(0))
    detour: Detour | None = None
    free_cycles: int = 0
    no_way_id: int = 0
    stands: list[_Stand] = field(default_factory=list)
    slow_id: int = 0  # who is driven behind, and since when
    slow_since_ns: int = 0
    passing_id: int = 0  # who moves and is overtaken, and whether the car lets him go first again
    waits: bool = False
    speeds: tuple[float, float] = (0.0, 0.0)  # m/s on the way out and back
    permitted: tuple[float, float, int] | None = None  # x, y (map), until (ns)

    def reset(self, base: Reference, features: RouteFeatures) -> None:
        """A new path without detours."""
        self.base, self.base_features = base, features
        self.profile, self.arc, self.detour, self.free_cycles = np.zeros(base.s.size), base.s, None, 0
        self.passing_id = 0

    def shifted_at(self, s: float) -> bool:
        """Whether the path from ``s`` on is shifted."""
        return self.detour is not None and self._base_s(s) < self.detour.end_s

    def permit(self, place: tuple[float, float] | None, stamp_ns: int) -> None:
        """A person allows to overtake what stands at ``place`` (map): no patience, no queue is suspected there.
        Room, clearance and those who come the other way are looked at as ever."""
        if place is not None:
            self.permitted = (*place, stamp_ns + PERMITTED_NS)

    def waits_for_light(self, scene: Scene, i: int, lights: LightMemory) -> bool:
        """Whether object ``i`` is part of a queue before a light that is not green."""
        assert self.base is not None
        extent = extent_of(self.base, scene.objects[i], self._base_s(scene.s))
        return extent is not None and self._waits_at_line(scene, self._head_of_queue(scene, i, extent), lights)

    def update(self, scene: Scene, lights: LightMemory) -> Reference | None:
        """The path to drive from now on, None when it stays as it is."""
        assert self.base is not None and self.base_features is not None
        self._remember(scene)
        s = self._base_s(scene.s)
        blocker = self._blocker(scene)
        self.no_way_id = 0
        if blocker is None:
            return self._give_up(scene, s) if self.detour is not None else self._overtake(scene, s)
        self.free_cycles = 0
        if not self._may_pass(scene, blocker, lights):
            return None
        standing = np.flatnonzero([is_standing(scene, i) for i in range(scene.objects.size)])
        detour = self.search.find(
            self.base, self.base_features, self.profile, s, scene.speed,
            scene.objects[standing], int(np.flatnonzero(standing == blocker)[0]),
        )  # fmt: skip
        if detour is None:
            self.no_way_id = int(scene.objects["id"][blocker])
        if detour is None or self._too_late_to_wait(scene, detour):
            return None
        self.detour, self.passing_id = detour, 0
        return self._take(detour.profile)

    def _too_late_to_wait(self, scene: Scene, detour: Detour) -> bool:
        """Whether somebody needs the borrowed ground and the car could only brake hard before it: it then stays in
        its lane, stops behind what stands there and goes round it later. Never where it is on its way round."""
        if detour.borrowed is None or (self.detour is not None and self._base_s(scene.s) > self.detour.start_s):
            return False
        s_in, s_out = map(self._new_s, detour.borrowed)
        late = scene.s > s_in or scene.needed_deceleration(s_in - ENTRY_GAP) > scene.config.detour_deceleration
        return late and self._needed_by(scene, detour, s_in, s_out) is not None

    def from_further_back(self, scene: Scene) -> tuple[Pose2, ...]:
        """Where on the path behind the car there would be room to go round what is too near to go round from here."""
        found = np.flatnonzero(scene.objects["id"] == self.no_way_id)
        if not self.no_way_id or not found.size or self.base is None or self.base_features is None:
            return ()
        s, base = self._base_s(scene.s), self.base
        standing = np.flatnonzero([is_standing(scene, i) for i in range(scene.objects.size)])
        first = np.flatnonzero(standing == found[0])
        out = []
        for back in FURTHER_BACK if first.size else ():
            at, plain = s - back, np.zeros(base.s.size)
            if at < 0.0:
                continue
            things = scene.objects[standing]
            if self.search.find(base, self.base_features, plain, at, 0.0, things, int(first[0])) is not None:
                k = base.index(at)
                out.append(Pose2(float(base.x[k]), float(base.y[k]), float(base.yaw[k])))
        return tuple(out)

    def constraints(self, scene: Scene) -> list[Constraint]:
        """Pass at a moderate speed, and before borrowed ground wait until nobody needs it."""
        detour = self.detour
        if detour is None or self.base is None:
            return []
        s = self._base_s(scene.s)
        if s > detour.end_s:
            return []
        subject = detour.subjects[0]
        start, end = self._new_s(detour.start_s), self._new_s(detour.end_s)
        distance = max(start - scene.s, 0.0)
        side = "left" if detour.offset > 0.0 else "right"
        said = f"Passing object {subject} on the {side}."
        out = [
            Constraint(Kind.CAP, begin, Cause.OBSTACLE, said, subject, distance, speed, to)
            for begin, to, speed in self._caps(scene, detour, start, end)
        ]  # fmt: skip
        if detour.borrowed is not None:
            out += self._wait(scene, detour, detour.borrowed)
        return out + self._let_pass(scene)

    def _caps(self, scene: Scene, detour: Detour, start: float, end: float) -> list[tuple[float, float, float]]:
        """(from, to, m/s): as slow as the wheels need it; beside somebody who moves that is only on the way out and
        back."""
        if not self.passing_id:
            return [(start, end, detour.speed)]
        out_s, back_s = map(self._new_s, self._beside(detour))
        return [
            (start, out_s, self.speeds[0]),
            (out_s, back_s, scene.config.detour_speed),
            (back_s, end, self.speeds[1]),
        ]

    # ------------------------------------------------------------------ inside

    def _base_s(self, s: float) -> float:
        assert self.base is not None
        return float(np.interp(s, self.arc, self.base.s))

    def _new_s(self, s: float) -> float:
        assert self.base is not None
        return float(np.interp(s, self.base.s, self.arc))

    def _take(self, profile: FloatArray) -> Reference:
        assert self.base is not None
        self.profile = profile
        path, self.arc = shifted(self.base, profile)
        return path

    def _remember(self, scene: Scene) -> None:
        now = scene.stamp_ns
        for i in range(scene.objects.size):
            if not is_standing(scene, i):
                continue
            x, y = float(scene.objects["x"][i]), float(scene.objects["y"][i])
            for stand in self.stands:
                if abs(stand.x - x) < SAME_PLACE and abs(stand.y - y) < SAME_PLACE:
                    stand.x, stand.y, stand.last_ns = x, y, now
                    break
            else:
                self.stands.append(_Stand(x, y, now, now))
        self.stands = [item for item in self.stands if now - item.last_ns < FORGET * 1e9]

    def _stood_for(self, scene: Scene, i: int) -> float:
        x, y = float(scene.objects["x"][i]), float(scene.objects["y"][i])
        times = [s.since_ns for s in self.stands if abs(s.x - x) < SAME_PLACE and abs(s.y - y) < SAME_PLACE]
        return (scene.stamp_ns - min(times)) * 1e-9 if times else 0.0

    def _blocker(self, scene: Scene) -> int | None:
        """The nearest standing object that the path runs into."""
        best, best_s = None, scene.front_s + scene.config.detour_range
        for i in range(scene.objects.size):
            if scene.objects["label"][i] == int(ObjectClass.PEDESTRIAN) or not is_standing(scene, i):
                continue
            if in_the_way(scene, i) and scene.now[i, 0] < best_s:
                best, best_s = i, float(scene.now[i, 0])
        return best

    def _may_pass(self, scene: Scene, i: int, lights: LightMemory) -> bool:
        """Parked things soon, standing vehicles after a while, queues before lines hardly ever."""
        config = scene.config
        assert self.base is not None
        extent = extent_of(self.base, scene.objects[i], self._base_s(scene.s))
        if extent is None or extent.s_lo > self.base.goal_s - 1.0:
            return False
        stood = self._stood_for(scene, i)
        label = int(scene.objects["label"][i])
        if self._permitted(scene, i):
            return True
        roadside = abs(extent.d_lo + extent.d_hi) / 2.0 > ROADSIDE
        if roadside or label == int(ObjectClass.UNKNOWN):
            return stood >= config.detour_patience_obstacle
        head = self._head_of_queue(scene, i, extent)
        if self._waits_at_line(scene, head, lights):
            return False
        if self._before_conflict(scene, head):
            return stood >= config.detour_patience_junction
        never_moved = bool(scene.objects["static"][i])
        return stood >= (config.detour_patience_parked if never_moved else config.detour_patience_stopped)

    def _permitted(self, scene: Scene, i: int) -> bool:
        if self.permitted is None or scene.stamp_ns > self.permitted[2]:
            return False
        x, y = float(scene.objects["x"][i]), float(scene.objects["y"][i])
        return math.hypot(x - self.permitted[0], y - self.permitted[1]) <= PERMITTED_AROUND

    def _head_of_queue(self, scene: Scene, i: int, extent: Extent) -> float:
        """Arc length on the shifted path of the front of the standing queue that ``i`` ends."""
        head = float(scene.now[i, 1])
        for k in sorted(range(scene.objects.size), key=lambda k: (float(scene.centre_s[k]), k)):
            if k == i or not is_standing(scene, k) or math.isnan(scene.now[k, 0]):
                continue
            if scene.now[k, 1] > head and scene.now[k, 0] - head < QUEUE_GAP:
                head = float(scene.now[k, 1])
        return head

    def _waits_at_line(self, scene: Scene, head: float, lights: LightMemory) -> bool:
        """Whether a light that is not green holds them."""
        for item in scene.features.lines:
            if item.line.kind == "signal" and 0.0 < item.s - head + 2.0 < NEAR_LINE:
                state = lights.state(item, scene.stamp_ns, scene.config)
                if state not in (LightState.GREEN, LightState.OFF):
                    return True
        return False

    def _before_conflict(self, scene: Scene, head: float) -> bool:
        near = [item.s for item in scene.features.lines]
        near += [item.s_in for item in scene.features.crosswalks]
        near += [zone.own_in for crossing in scene.features.crossings for zone in crossing.zones]
        return any(-4.0 < s - head < NEAR_LINE for s in near)

    def _give_up(self, scene: Scene, s: float) -> Reference | None:
        """Back into the lane once nothing stands on the plain path any more."""
        detour = self.detour
        if detour is None or self.base is None:
            return None
        if s > detour.end_s:
            self.detour = None
            return None
        for i in range(scene.objects.size):
            extent = extent_of(self.base, scene.objects[i], s) if abs(scene.offset[i]) < 8.0 else None
            if extent is None or extent.s_hi < s - PASSED or extent.s_lo > detour.end_s:
                continue
            half = scene.vehicle.width / 2.0 + scene.config.detour_clearance_min
            if extent.d_lo < half and extent.d_hi > -half:
                self.free_cycles = 0
                return None
        self.free_cycles += 1
        if self.free_cycles < GONE_CYCLES:
            return None
        self.free_cycles = 0
        start = s + 0.5 + 0.25 * scene.speed
        if start > detour.end_s:
            return None
        profile = self._back(scene, s, start)
        if profile is None:
            return None
        self.detour = None
        return self._take(profile)

    def _back(self, scene: Scene, s: float, start: float) -> FloatArray | None:
        """Offsets that lead from ``start`` on back onto the plain path; None where that would be a swerve."""
        assert self.base is not None
        config, base = scene.config, self.base
        beginning = state_at(self.profile, start)
        for share in BACK_LENGTHS:
            end = start + share * max(MIN_BACK, BACK_TIME * scene.speed)
            profile = np.where(base.s < start, self.profile, blend(base.s, start, end, beginning, 0.0))
            _, _, _, arc, bend = shifted_points(base, profile, base.index(s), base.index(end + 5.0) + 1)
            if bearable(arc, bend, scene.speed, config.detour_lateral_most, config.detour_deceleration):
                return profile
        return None

    def _overtake(self, scene: Scene, s: float) -> Reference | None:
        """Past somebody slow on a free lane of the same direction: oncoming ones cannot be seen far enough."""
        assert self.base is not None and self.base_features is not None
        leader = slow_leader(scene)
        who = int(scene.objects["id"][leader]) if leader is not None else 0
        if leader is None or who != self.slow_id:
            self.slow_id, self.slow_since_ns = who, scene.stamp_ns
            return None
        if scene.stamp_ns - self.slow_since_ns < scene.config.overtake_patience * 1e9:
            return None
        detour = self._round(scene, s, leader, scene.config.detour_speed, 0.0)
        if detour is not None:
            out_s, _ = self._beside(detour)
            out_speed = self.search.fastest(self.base, detour, detour.start_s, out_s)
            detour = self._round(scene, s, leader, out_speed, out_s - s)
        if detour is None or detour.oncoming or detour.offset < 0.0:
            return None
        if detour.borrowed is not None and self._needed_by(scene, detour, *map(self._new_s, detour.borrowed)):
            return None
        self.detour, self.passing_id, self.waits = detour, who, False
        out_s, back_s = self._beside(detour)
        self.speeds = (
            self.search.fastest(self.base, detour, detour.start_s, out_s),
            self.search.fastest(self.base, detour, back_s, detour.end_s),
        )
        return self._take(detour.profile)

    def _beside(self, detour: Detour) -> tuple[float, float]:
        """Where on the plain path the car is fully beside what it passes, first and last."""
        assert self.base is not None
        full = np.flatnonzero(np.abs(detour.profile - detour.offset) < LEFT_LANE)
        return float(self.base.s[full[0]]), float(self.base.s[full[-1]])

    def _round(self, scene: Scene, s: float, leader: int, out_speed: float, out_length: float) -> Detour | None:
        """Past the leader and what stands there; see `swept`."""
        assert self.base is not None and self.base_features is not None
        ground = swept(scene, leader, out_speed, out_length)
        if ground is None:
            return None
        standing = scene.objects[[i for i in range(scene.objects.size) if is_standing(scene, i)]]
        return self.search.find(
            self.base, self.base_features, self.profile, s, scene.speed, np.concatenate([ground, standing]), 0,
            (scene.config.overtake_clearance,),
        )  # fmt: skip

    def _let_pass(self, scene: Scene) -> list[Constraint]:
        """Who was to be overtaken and is still beside the car where it comes back goes first."""
        if not self.passing_id or self.detour is None:
            return []
        back_s = self._new_s(self._beside(self.detour)[1])
        found = np.flatnonzero(scene.objects["id"] == self.passing_id)
        if not found.size or scene.s > back_s + BEGUN or not beside(scene, int(found[0]), back_s, self.waits):
            self.waits = False
            return []
        i, distance = int(found[0]), max(back_s - scene.s, 0.0)
        self.waits = scene.needed_deceleration(back_s) > scene.config.deceleration
        sentence = stop_sentence(scene.standing, f"{scene.name(i)} is beside the car where it comes back", distance)
        return [Constraint(Kind.STOP, max(back_s, scene.s), Cause.LANE_CHANGE, sentence, self.passing_id, distance)]

    # ------------------------------------------------------------------ others on the same ground

    def _wait(self, scene: Scene, detour: Detour, borrowed: tuple[float, float]) -> list[Constraint]:
        s_in, s_out = self._new_s(borrowed[0]), self._new_s(borrowed[1])
        if scene.s > s_in:
            return []
        stop = s_in - ENTRY_GAP
        if not scene.standing and scene.needed_deceleration(stop) > scene.config.commit_deceleration:
            return []
        who = self._needed_by(scene, detour, s_in, s_out)
        if who is None:
            return []
        i, what = who
        distance = max(stop - scene.s, 0.0)
        sentence = stop_sentence(
            scene.standing, f"{scene.name(i)} {what} before passing object {detour.subjects[0]}", distance
        )
        return [Constraint(Kind.STOP, max(stop, scene.s), Cause.YIELD, sentence, int(scene.objects["id"][i]), distance)]

    def _needed_by(self, scene: Scene, detour: Detour, s_in: float, s_out: float) -> tuple[int, str] | None:
        """Who drives towards the borrowed ground or up from behind on it."""
        config = scene.config
        gone_s = s_out + scene.vehicle.rear_overhang
        t_clear = _time_to(scene, gone_s - scene.s)
        for i in range(scene.objects.size):
            if scene.objects["label"][i] == int(ObjectClass.PEDESTRIAN) or is_standing(scene, i):
                continue
            if abs(scene.offset[i]) > ONCOMING_WIDTH:
                continue
            half = 0.5 * float(scene.objects["length"][i])
            along, at = float(scene.along[i]), float(scene.centre_s[i])
            if detour.oncoming and along < -config.priority_speed:
                if at + half > s_in and at - half + along * (t_clear + config.gap_before) < gone_s:
                    return i, "comes towards the car"
            elif along > config.priority_speed:
                beside = (float(scene.offset[i]) - detour.offset * 0.5) * math.copysign(1.0, detour.offset)
                behind = scene.s - scene.vehicle.rear_overhang - (at + half)
                if beside < -SIDE_ROOM or behind < -(scene.vehicle.length + 2.0):
                    continue
                t_enter = _time_to(scene, s_in - scene.s) + 2.0
                if beside > 0.0 and behind < max(2.5, (along - scene.speed) * t_enter + config.gap_before * 2.0):
                    return i, "comes from behind"
        return None


def _time_to(scene: Scene, distance: float) -> float:
    """Seconds to drive ``distance`` at the speed of a detour."""
    top, a = scene.config.detour_speed, scene.config.acceleration
    if distance <= 0.0:
        return 0.0
    if scene.speed >= top:
        return distance / top
    ramp = (top * top - scene.speed**2) / (2.0 * a)
    start = 0.6 if scene.standing else 0.0
    if ramp >= distance:
        return start + (math.sqrt(scene.speed**2 + 2.0 * a * distance) - scene.speed) / a
    return start + (top - scene.speed) / a + (distance - ramp) / top
