"""Getting out where no lane leads on: from standing, over a manoeuvre in both gears, to a lane that leads to the goal.

It begins where the planner has found no other way (`planner.Planner`), tells why, drives at walking pace, waits for
whoever is or comes in its way, and ends at rest on a lane, where planning along lanes goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.lane_map import LaneMap, LaneMatch
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.freespace.follow import Leg, Profile, along, legs_of, speeds, trajectory_on
from robotaxi.planning.freespace.hybrid_astar import Search
from robotaxi.planning.freespace.in_the_way import MOVES, InTheWay, first_in_the_way
from robotaxi.planning.freespace.space import Space, body_of, room, space_round
from robotaxi.planning.motion.trajectory import standing
from robotaxi.planning.scene import CLASS_NAMES
from robotaxi.types import (
    Cause,
    EgoState,
    Explanation,
    Goal,
    ObjectClass,
    Pose2,
    RecordArray,
    Trajectory,
    VehicleParams,
)

REACH = 60.0  # m round the car where a manoeuvre may lead
APART = 2.0  # m between the places on a lane that it may end at
LANE_END = 3.0  # m before a lane's end where it does not end any more
WAY_WEIGHT = 0.15  # m of a manoeuvre that a metre of the route after it counts as
STATES = 300  # of the search in a cycle: about 20 ms
ANNOUNCED = 3.0  # s that the car says what it is about to do before it moves
SHIFT = 1.2  # s in each gear before it moves: the tyres turn
THERE = 0.5  # m from the end of a leg where a car that stands is there: it does not creep
WORTH = 1.0  # m that must be free before a car that stands drives off: it takes no shorter ways
OFF = 0.6  # m beside the leg, farther off the search begins anew
KEEP = 0.4  # m between plan and car up to which the next plan goes on from the last one
STOP_GAP, PERSON_STOP_GAP = 0.7, 1.5  # m kept to what is in the way
BEFORE_MOVING, UNDER_WAY = 8.0, 5.0  # s after the car at a place in which others may not come there
TOO_SHORT = 4.0  # s that the car does not move although it may: what is left is too short to drive off for
PATIENCE = 15.0  # s of waiting for one who stands before a way round is looked for


@dataclass
class _Drive:
    """The legs, which of them is driven, when it may begin and the plan of the last cycle."""

    legs: list[Leg]
    number: int = 0
    from_ns: int = 0
    begun: bool = False
    free_ns: int | None = None  # since when the car stands although it may go
    plan: tuple[int, Profile] | None = None

    @property
    def leg(self) -> Leg:
        return self.legs[self.number]


class WayOut:
    """`begin` once, then `step` each cycle while `active`."""

    def __init__(self, lane_map: LaneMap, vehicle: VehicleParams, config: PlannerConfig) -> None:
        self._map, self._vehicle, self._config = lane_map, vehicle, config
        self._body = body_of(vehicle)
        self.goal: Goal | None = None
        self.done = False  # it has ended where it was to lead
        self._search: Search | None = None
        self._drive: _Drive | None = None
        self._why, self._subject, self._begun_ns = "", 0, 0
        self._ways: Callable[[LaneMatch], float | None] = lambda match: None
        self._named: tuple[Pose2, ...] = ()
        self._waits: tuple[int, int] | None = None  # for whom and since when (ns)
        self._around: set[int] = set()  # people who stood in the way for long

    @property
    def active(self) -> bool:
        return self.goal is not None

    def begin(
        self, state: EgoState, objects: RecordArray, goal: Goal, ways: Callable[[LaneMatch], float | None], why: str,
        subject: int = 0, places: tuple[Pose2, ...] = (),
    ) -> bool:  # fmt: skip
        """Look for a way to one of ``places``; without any to lanes: ``ways`` tells how long the route from a place on
        one is, None where there is none."""
        self._ways, self._named, self._why, self._subject, self._begun_ns = ways, places, why, subject, state.stamp_ns
        self._around, self._waits, self._drive, self.done = set(), None, None, False
        if not self._look(state, objects):
            return False
        self.goal = goal
        return True

    def cancel(self) -> None:
        self.goal, self._search, self._drive = None, None, None

    def step(self, stamp_ns: int, state: EgoState, objects: RecordArray) -> tuple[Trajectory, Explanation]:
        """Trajectory and reason of this cycle. It is over when `active` no longer holds."""
        if self._search is not None:
            found = self._search.go_on(STATES)
            if found is not None:
                self._drive = _Drive(legs_of(found, self._config, self._vehicle))
                self._drive.from_ns = max(self._begun_ns + round(ANNOUNCED * 1e9), stamp_ns + round(SHIFT * 1e9))
                self._search = None
            elif self._search.done:
                self.cancel()
                return self._stand(stamp_ns, state), self._says("Standing", "there is no room for it")
        if self._drive is None:
            return self._stand(stamp_ns, state), self._says("Standing", "looking for a way out")
        return self._follow(self._drive, stamp_ns, state, objects)

    def halt(self, stamp_ns: int, state: EgoState) -> Trajectory:
        """Come to rest on the way that is driven."""
        drive = self._drive
        if drive is None or abs(state.speed) < self._config.standstill_speed:
            if drive is not None:
                drive.plan, drive.begun = None, False
                drive.from_ns = stamp_ns + round(SHIFT * 1e9)
            return self._stand(stamp_ns, state)
        s, v, a = self._start(drive, stamp_ns, state)
        return self._to(drive, stamp_ns, state, s, v, a, s + v * v / 3.0, 0.0)

    # ------------------------------------------------------------------ where to

    def _look(self, state: EgoState, objects: RecordArray) -> bool:
        speed = np.hypot(objects["vx"], objects["vy"])
        passing = (objects["label"] == int(ObjectClass.PEDESTRIAN)) | (speed > MOVES)
        passing &= ~np.isin(objects["id"], sorted(self._around))
        gap = self._config.manoeuvre_clearance
        space = space_round(self._map, state.x, state.y, REACH, objects[~passing], gap)
        if room(space.clearance, space.frame, self._body, state.x, state.y, state.yaw) < 0.0:
            # too near to something already: what it touches is kept to as it is, no closer
            gap = 0.1
            space = space_round(self._map, state.x, state.y, REACH, objects[~passing], gap)
        goals = self._places(state, space)
        self._search = Search(space, self._vehicle, state.pose, goals) if len(goals) else None
        return self._search is not None

    def _places(self, state: EgoState, space: Space) -> np.ndarray:
        """(G, 4) poses on lanes that lead to the goal, and the length of the route from there, weighed."""
        if self._named:
            fits = [
                (place.x, place.y, place.yaw, 0.0)
                for place in self._named
                if room(space.clearance, space.frame, self._body, place.x, place.y, place.yaw) >= 0.0
            ]
            return np.array(fits).reshape(-1, 4)
        found = []
        middle = self._vehicle.center_offset
        c, s = math.cos(state.yaw), math.sin(state.yaw)
        joined = space.joined(state.x + c * middle, state.y + s * middle, 0.5 * self._vehicle.width)
        for near in self._map.nearest_lanes(state.x, state.y, None, REACH):
            lane = self._map.lanes[near.lane_id]
            if lane.junction_id is not None or lane.speed_limit > self._config.manoeuvre_limit:
                continue
            for s in np.arange(2.0, lane.length - LANE_END, APART).tolist():
                point = self._map.lane_point(lane.id, s)
                yaw = self._map.lane_yaw(lane.id, s)
                x, y = float(point[0]), float(point[1])
                if math.hypot(x - state.x, y - state.y) > REACH:
                    continue
                reached = joined[space.cell(x + math.cos(yaw) * middle, y + math.sin(yaw) * middle)]
                if not reached or room(space.clearance, space.frame, self._body, x, y, yaw) < 0.0:
                    continue
                length = self._ways(LaneMatch(lane.id, s, 0.0, 0.0))
                if length is not None:
                    found.append((x, y, yaw, WAY_WEIGHT * length))
        out = np.array(found).reshape(-1, 4)
        if len(out):
            out[:, 3] -= out[:, 3].min()
        return out

    # ------------------------------------------------------------------ driving

    def _follow(
        self, drive: _Drive, stamp_ns: int, state: EgoState, objects: RecordArray
    ) -> tuple[Trajectory, Explanation]:
        still = abs(state.speed) < self._config.standstill_speed
        s, aside = drive.leg.locate(state.x, state.y)
        if still and drive.begun and drive.leg.length - s < THERE:
            if drive.number + 1 == len(drive.legs):
                self.cancel()
                self.done = True
                return self._stand(stamp_ns, state), self._says("Standing", "it is done")
            drive.number, drive.plan, drive.begun = drive.number + 1, None, False
            drive.from_ns = stamp_ns + round(SHIFT * 1e9)
            s, aside = drive.leg.locate(state.x, state.y)
        if aside > OFF or self._turned(drive.leg, s, state):
            if still:
                return self._anew(stamp_ns, state, objects)
            return self.halt(stamp_ns, state), self._says("Stopping", "the car has left its way")
        s, v, a = self._start(drive, stamp_ns, state)
        met = first_in_the_way(drive.leg, s, objects, self._vehicle, UNDER_WAY if v > 0.0 else BEFORE_MOVING)
        stop = drive.leg.length
        if met is not None:
            person = int(objects["label"][met.who]) == int(ObjectClass.PEDESTRIAN)
            stop = max(min(stop, met.s - (PERSON_STOP_GAP if person else STOP_GAP)), s)
        waits = met is not None and stop - s < (WORTH if still else THERE)
        if waits and still:
            assert met is not None
            if self._waited(stamp_ns, objects, met):
                return self._anew(stamp_ns, state, objects)
            drive.plan = drive.free_ns = None
            return self._stand(stamp_ns, state), self._waiting(drive.leg, s, objects, met)
        self._waits = None
        drive.begun = True
        wait = max((drive.from_ns - stamp_ns) * 1e-9, 0.0)
        if not still or wait > 0.0:
            drive.free_ns = None
        elif drive.free_ns is None:
            drive.free_ns = stamp_ns
        elif stamp_ns - drive.free_ns > TOO_SHORT * 1e9:
            return self._anew(stamp_ns, state, objects)
        trajectory = self._to(drive, stamp_ns, state, s, v, a, stop, wait)
        if met is not None and stop < drive.leg.length - THERE and met.s - s < 2.0 * PERSON_STOP_GAP + v * v:
            return trajectory, self._waiting(drive.leg, s, objects, met)
        left = sum(leg.length for leg in drive.legs[drive.number :]) - s
        what = "Reversing" if drive.leg.back else "Moving up" if self._named else "Turning round"
        return trajectory, self._says(f"{what}, {max(left, 0.0):.0f} m to go", "")

    def _start(self, drive: _Drive, stamp_ns: int, state: EgoState) -> tuple[float, float, float]:
        """Where on the leg the plan begins, its speed and acceleration."""
        s, _ = drive.leg.locate(state.x, state.y)
        if drive.plan is not None:
            stamp, (t, ps, pv, pa) = drive.plan
            dt = (stamp_ns - stamp) * 1e-9
            if 0.0 <= dt <= float(t[-1]):
                planned = [float(np.interp(dt, t, p)) for p in (ps, pv, pa)]
                if abs(planned[0] - s) < KEEP:
                    return planned[0] + 0.1 * (s - planned[0]), planned[1], planned[2]
        v = max(along(drive.leg, state), 0.0)
        return s, v if v > 0.05 else 0.0, 0.0

    def _to(
        self, drive: _Drive, stamp_ns: int, state: EgoState, s: float, v: float, a: float, stop: float, wait: float
    ) -> Trajectory:
        profile = speeds(drive.leg, s, v, a, stop, wait, self._config.horizon)
        drive.plan = (stamp_ns, profile)
        return trajectory_on(drive.leg, stamp_ns, state.z, profile)

    def _turned(self, leg: Leg, s: float, state: EgoState) -> bool:
        yaw = float(np.interp(s, leg.s, np.unwrap(leg.yaw)))
        return abs(wrap_angle(state.yaw - yaw)) > 0.5

    def _anew(self, stamp_ns: int, state: EgoState, objects: RecordArray) -> tuple[Trajectory, Explanation]:
        """Search again from here."""
        self._drive, self._waits = None, None
        if not self._look(state, objects):
            self.cancel()
            return self._stand(stamp_ns, state), self._says("Standing", "there is no room for it")
        return self._stand(stamp_ns, state), self._says("Standing", "looking for a way out")

    def _waited(self, stamp_ns: int, objects: RecordArray, met: InTheWay) -> bool:
        """Whether one who stands there has been waited for long enough to look for a way round."""
        who = int(objects["id"][met.who])
        if self._waits is None or self._waits[0] != who:
            self._waits = (who, stamp_ns)
        stands = math.hypot(float(objects["vx"][met.who]), float(objects["vy"][met.who])) <= MOVES
        if not stands or stamp_ns - self._waits[1] < PATIENCE * 1e9:
            return False
        self._around.add(who)
        return True

    def _stand(self, stamp_ns: int, state: EgoState) -> Trajectory:
        return standing(state, stamp_ns, self._config.horizon)

    # ------------------------------------------------------------------ saying why

    def _says(self, what: str, detail: str) -> Explanation:
        sentence = f"{what}: {self._why}{'; ' + detail if detail else ''}."
        return Explanation(Cause.MANOEUVRE, sentence, True, self._subject)

    def _waiting(self, leg: Leg, s: float, objects: RecordArray, met: InTheWay) -> Explanation:
        label, who = int(objects["label"][met.who]), int(objects["id"][met.who])
        away = max(met.s - s, 0.0)
        where = "behind the car" if leg.back else "ahead of the car"
        sentence = f"Waiting: {CLASS_NAMES.get(label, 'obstacle')} {who} is in the way {where}, {away:.0f} m away."
        return Explanation(Cause.OBSTACLE, sentence, True, who, away)
