"""Mission: from the goal to a route, and how far it has come."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from robotaxi.hdmap.lane_map import Lane, LaneMap, Route, RouteError
from robotaxi.planning.config import PlannerConfig
from robotaxi.types import EgoState, Goal, MissionState, MissionStatus, Pose2

RETRY_NS = 1_000_000_000  # a goal without a route is tried again this often


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
    closed: frozenset[int] = frozenset()  # lanes not to be driven, and the map without them
    open_map: LaneMap | None = None

    @property
    def holding(self) -> bool:
        """Stand still: no goal, told to hold, arrived, or nowhere to go."""
        return self.status.state != MissionState.DRIVING

    def update(self, goal: Goal | None, state: EgoState) -> bool:
        """Take the goal of this cycle; true when there is a new route."""
        if goal is None or goal.hold:
            reason = "told to stand still" if goal is not None else "no goal"
            self.status = MissionStatus(MissionState.IDLE, goal.goal_id if goal else "", 0.0, reason)
            if goal is None:
                self.goal, self.route = None, None
            return False
        same = self.goal is not None and _same_place(self.goal, goal)
        if same and self.route is not None:
            assert self.goal is not None
            if self.goal.goal_id != goal.goal_id or self.status.state == MissionState.IDLE:
                self.goal = goal
                self.status = MissionStatus(MissionState.DRIVING, goal.goal_id, self.route.length)
            return False
        if same and self.status.state == MissionState.UNREACHABLE and state.stamp_ns - self.tried_ns < RETRY_NS:
            return False
        self.goal = goal
        return self.plan(state)

    def plan(self, state: EgoState) -> bool:
        """Find a route from where the car is; false with the reason in ``status`` where there is none."""
        assert self.goal is not None
        goal, self.tried_ns, self.blocked_since_ns = self.goal, state.stamp_ns, -1
        try:
            if not all(map(math.isfinite, (goal.x, goal.y, goal.yaw))):
                raise RouteError(f"goal '{goal.goal_id}' is not a finite pose")
            roads = self._open_roads(goal, state)
            self.route = roads.route(state.pose, Pose2(goal.x, goal.y, goal.yaw))
        except RouteError as error:
            self.route = None
            self.status = MissionStatus(MissionState.UNREACHABLE, goal.goal_id, 0.0, str(error))
            return False
        self.status = MissionStatus(MissionState.DRIVING, goal.goal_id, self.route.length)
        return True

    def _open_roads(self, goal: Goal, state: EgoState) -> LaneMap:
        """The map without the lanes that lead into closed areas; lanes under the car stay."""
        if not goal.avoid:
            return self.lane_map
        here = {match.lane_id for match in self.lane_map.nearest_lanes(state.x, state.y, state.yaw)}
        closed = frozenset(i for i, lane in self.lane_map.lanes.items() if _enters(lane, goal.avoid)) - here
        if closed != self.closed:
            self.closed, self.open_map = closed, without(self.lane_map, closed)
        return self.open_map if self.open_map is not None else self.lane_map

    def progress(self, to_go: float, speed: float, blocked: bool, stamp_ns: int) -> None:
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
        self.status = MissionStatus(state, self.status.goal_id, max(to_go, 0.0), reason)


def _same_place(a: Goal, b: Goal) -> bool:
    return a.goal_id == b.goal_id and math.hypot(a.x - b.x, a.y - b.y) < 0.1 and a.avoid == b.avoid


def _enters(lane: Lane, circles: tuple[tuple[float, float, float], ...]) -> bool:
    return any(bool((np.hypot(*(lane.centerline[:, :2] - (x, y)).T) < radius).any()) for x, y, radius in circles)


def without(lane_map: LaneMap, closed: frozenset[int]) -> LaneMap:
    """The map without these lanes and every way into them."""

    def open_only(ids: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(i for i in ids if i not in closed)

    def neighbour(lane_id: int | None) -> int | None:
        return None if lane_id in closed else lane_id

    lanes = {
        i: replace(
            lane, successors=open_only(lane.successors), predecessors=open_only(lane.predecessors),
            left_neighbour=neighbour(lane.left_neighbour), right_neighbour=neighbour(lane.right_neighbour),
        )
        for i, lane in lane_map.lanes.items() if i not in closed
    }  # fmt: skip
    return replace(lane_map, lanes=lanes)
