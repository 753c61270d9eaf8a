"""Mission: from the goal to a route round what is closed, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from robotaxi.geometry.polyline import project
from robotaxi.hdmap.closures import Circle, Closures, closed_for, meets
from robotaxi.hdmap.lane_map import LaneMap, LaneMatch, Route, RouteError
from robotaxi.hdmap.routing import lengthened
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.reference import Reference
from robotaxi.types import EgoState, Goal, MissionState, MissionStatus, Pose2

RETRY_NS = 1_000_000_000  # a goal without a route is tried again this often
CREEP = 0.5  # m/s; from a slower car a new route may turn off at once
REACTION = 1.0  # s of driving in which a new route does not turn off yet
SAME_PLACE = 0.1  # m between two goals that are one place
BLOCKED_RADIUS = 2.0  # m around what blocks a lane that are closed for another way
BLOCKED_NS = 600_000_000_000  # how long they stay closed


@dataclass(frozen=True)
class Progress:
    """Where on its path the car is: base_link at arc length ``s`` of ``path``."""

    path: Reference
    s: float


@dataclass
class Mission:
    """Keeps the route to the present goal. `update` once a cycle, then `progress`."""

    lane_map: LaneMap
    config: PlannerConfig
    goal: Goal | None = None
    route: Route | None = None
    status: MissionStatus = field(default_factory=lambda: MissionStatus(MissionState.IDLE))
    blocked_since_ns: int = -1
    tried_ns: int = 0
    blocked: tuple[tuple[Circle, int], ...] = ()  # places that another way was asked for, and until when (ns)

    @property
    def holding(self) -> bool:
        """Stand still: no goal, told to hold, arrived, or nowhere to go."""
        return self.status.state != MissionState.DRIVING

    def update(self, goal: Goal | None, state: EgoState, at: Progress | None = None) -> bool:
        """Take the goal of this cycle; true when there is a new route. ``at``: the path that is driven."""
        if goal is None or goal.hold:
            reason = "told to stand still" if goal is not None else "no goal"
            self.status = MissionStatus(MissionState.IDLE, goal.goal_id if goal else "", 0.0, reason)
            if goal is None:
                self.goal, self.route = None, None
            return False
        before, under_way = self.goal, self.status.state == MissionState.DRIVING
        same = before is not None and _same_place(before, goal)
        if same and self.route is not None:
            assert before is not None
            self.goal = goal
            if before.goal_id != goal.goal_id or self.status.state == MissionState.IDLE:
                self.status = MissionStatus(MissionState.DRIVING, goal.goal_id, self.route.length)
            return before.avoid != goal.avoid and self._leave(state, at, not set(before.avoid) <= set(goal.avoid))
        same_area = before is not None and before.avoid == goal.avoid
        if same and same_area and self.status.state == MissionState.UNREACHABLE:
            soon = state.stamp_ns - self.tried_ns < RETRY_NS
            if soon or state.speed > CREEP:  # while it still rolls a route might turn off too soon for it
                return False
        again = before is not None and under_way and _distance(before, goal) < SAME_PLACE and self.route is not None
        self.goal = goal
        return self.plan(state, at if under_way else None, another_way=again)

    def plan(self, state: EgoState, at: Progress | None = None, another_way: bool = False) -> bool:
        """Find a route from where the car is; false with the reason in ``status`` where there is none.

        ``at``: the car moves along that path and keeps to it for as long as it needs to slow down.
        ``another_way``: not the present one, unless the others are much longer.
        """
        assert self.goal is not None
        goal, self.tried_ns, self.blocked_since_ns = self.goal, state.stamp_ns, -1
        shunned = self.route.lane_ids if another_way and self.route is not None else ()
        try:
            if not all(map(math.isfinite, (goal.x, goal.y, goal.yaw))):
                raise RouteError(f"goal '{goal.goal_id}' is not a finite pose")
            self.route = self._route(goal, state, at, shunned)
        except RouteError as error:
            self.route = None
            self.status = MissionStatus(MissionState.UNREACHABLE, goal.goal_id, 0.0, str(error))
            return False
        self.status = MissionStatus(MissionState.DRIVING, goal.goal_id, self.route.length)
        return True

    def go_another_way(self, x: float, y: float, state: EgoState, at: Progress) -> str:
        """A new route that does not lead over the place ``x, y`` (map); "" or why there is none: then the old stays."""
        before = self.route, self.status, self.blocked
        self.blocked = (*self.blocked, ((x, y, BLOCKED_RADIUS), state.stamp_ns + BLOCKED_NS))
        if self.plan(state, at):
            return ""
        reason = self.status.reason
        self.route, self.status, self.blocked = before
        return reason

    def ways_without(self, place: tuple[float, float] | None, state: EgoState) -> Callable[[LaneMatch], float | None]:
        """How long the route is from a place on a lane, None where there is none; none leads over ``place`` (map)."""
        assert self.goal is not None
        goal, there = self.goal, Pose2(self.goal.x, self.goal.y, self.goal.yaw)
        circles: list[Circle] = [*goal.avoid, *(circle for circle, _ in self.blocked)]
        if place is not None:
            circles.append((*place, BLOCKED_RADIUS))
        closed = closed_for(self.lane_map, tuple(circles), state.x, state.y)

        def length(match: LaneMatch) -> float | None:
            try:
                return self.lane_map.route(match, there, closed).length
            except RouteError:
                return None

        return length

    def turns_round(self, why: str) -> None:
        """The car is about to leave the lanes: the mission goes on."""
        assert self.goal is not None
        self.status = MissionStatus(MissionState.DRIVING, self.goal.goal_id, self.status.distance_to_go, why)

    def gives_up(self, reason: str) -> None:
        """No manoeuvre leads out: as before it."""
        state = MissionState.DRIVING if self.route is not None else MissionState.UNREACHABLE
        self.status = replace(self.status, state=state, reason=reason)

    def leave(self, place: tuple[float, float] | None, state: EgoState) -> bool:
        """After a manoeuvre: a route from where it has ended, which does not lead over ``place``."""
        if place is not None:
            self.blocked = (*self.blocked, ((*place, BLOCKED_RADIUS), state.stamp_ns + BLOCKED_NS))
        return self.plan(state)

    def progress(self, to_go: float, time_to_go: float, speed: float, blocked: bool, stamp_ns: int) -> None:
        """Arrived? ``to_go``: metres along the path; ``blocked``: something stands in the way."""
        if self.status.state != MissionState.DRIVING:
            return
        config = self.config
        standing = abs(speed) < config.standstill_speed
        if not (standing and blocked and abs(to_go) <= config.goal_blocked_tolerance):
            self.blocked_since_ns = -1
        elif self.blocked_since_ns < 0:
            self.blocked_since_ns = stamp_ns
        waited = (stamp_ns - self.blocked_since_ns) * 1e-9 if self.blocked_since_ns >= 0 else 0.0
        arrived = standing and abs(to_go) <= config.goal_tolerance
        state, reason = MissionState.DRIVING, ""
        if arrived or waited >= config.goal_blocked_time:
            state = MissionState.ARRIVED
            reason = "" if arrived else f"the place is occupied; standing {abs(to_go):.1f} m before it"
        self.status = MissionStatus(state, self.status.goal_id, max(to_go, 0.0), reason, time_to_go)

    def stuck(self, blocked_by: str, ways_out: tuple[str, ...], reason: str) -> None:
        """The car stands for something and cannot pass by itself; ``reason``: why a permission did not help."""
        self.status = replace(self.status, blocked_by=blocked_by, ways_out=ways_out, reason=reason)

    # ------------------------------------------------------------------ inside

    def _leave(self, state: EgoState, at: Progress | None, opened: bool) -> bool:
        """Areas have been closed or ``opened``: a new route where the present one leads into a closed one, or where
        there may be a shorter one now."""
        assert self.route is not None
        closed = self._closed(state)
        first, s = self._place(at, at.s) if at is not None else (0, self.route.start_s)
        if self.holding or not (opened or meets(self.route, closed, first, s)):
            return False
        return self.plan(state, at)

    def _closed(self, state: EgoState) -> Closures:
        """What is closed for the car now."""
        assert self.goal is not None
        self.blocked = tuple(item for item in self.blocked if item[1] > state.stamp_ns)
        circles = (*self.goal.avoid, *(circle for circle, _ in self.blocked))
        return closed_for(self.lane_map, circles, state.x, state.y)

    def _route(self, goal: Goal, state: EgoState, at: Progress | None, shunned: tuple[int, ...]) -> Route:
        closed, there = self._closed(state), Pose2(goal.x, goal.y, goal.yaw)
        if at is not None and self.route is not None and state.speed > CREEP:
            far = at.s + state.speed * REACTION + state.speed**2 / (2.0 * self.config.deceleration)
            for change in at.path.changes:  # what has been begun is finished
                if change.start_s < far and change.end_s > at.s:
                    far = max(far, change.end_s)
            first, s = self._place(at, at.s)
            last, from_s = self._place(at, min(far, at.path.goal_s))
            begin = LaneMatch(self.route.lane_ids[last], from_s, 0.0, 0.0)
            onward = self.lane_map.route(begin, there, closed, shunned)
            route = lengthened(self.lane_map, self.route, first, s, last, onward)
            if meets(route, closed, 0, s):
                raise RouteError(f"an area {far - at.s:.0f} m ahead or nearer has been closed")
            return route
        return self.lane_map.route(state.pose, there, closed, shunned)

    def _place(self, at: Progress, s: float) -> tuple[int, float]:
        """Number of the route's lane at arc length ``s`` of the path, and the arc length on that lane."""
        assert self.route is not None
        k = at.path.index(s)
        number = min(int(at.path.lane[k]), len(self.route.lane_ids) - 1)
        lane = self.lane_map.lanes[self.route.lane_ids[number]]
        foot = project(lane.centerline, [[float(at.path.x[k]), float(at.path.y[k])]], lane.s)
        return number, float(foot.s[0])


def _distance(a: Goal, b: Goal) -> float:
    return math.hypot(a.x - b.x, a.y - b.y)


def _same_place(a: Goal, b: Goal) -> bool:
    return a.goal_id == b.goal_id and _distance(a, b) < SAME_PLACE
