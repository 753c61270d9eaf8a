"""Pulling over: while it is asked for, the goal is the next place to stand beside the road instead of the trip's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robotaxi.geometry.polyline import points_in_polygon
from robotaxi.hdmap.lane_map import LaneMap, StoppingPlace
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.mission import Progress
from robotaxi.types import EgoState, Goal, RecordArray, SystemMode

PULL_OVER = "/pull_over"  # how the ids of such goals end
REACTION = 1.0  # s driven before braking begins
BESIDE_GOAL = 2.0  # m between a place and the trip's goal that are one


@dataclass
class PullOver:
    """`goal` once a cycle. A place once chosen is kept until the car drives itself on, or stops elsewhere."""

    lane_map: LaneMap
    config: PlannerConfig
    place: StoppingPlace | None = None

    def goal(
        self, mode: SystemMode, goal: Goal | None, state: EgoState, at: Progress | None, objects: RecordArray | None
    ) -> Goal | None:
        """The trip's ``goal``, or the place to stand. Without one in reach the car drives on, slowly, as the gate lets
        it, and then stops in its lane."""
        wanted = mode is SystemMode.PULL_OVER or (mode is SystemMode.STOP and self.place is not None)
        if not wanted or goal is None or goal.hold:
            self.place = None
            return goal
        if self.place is None and at is not None:
            self.place = self._next(state, at, objects)
        if self.place is None:
            return goal
        x, y, yaw = self.place.pose
        if np.hypot(x - goal.x, y - goal.y) < BESIDE_GOAL:
            return goal
        return replace(goal, goal_id=goal.goal_id + PULL_OVER, x=x, y=y, yaw=yaw)

    def _next(self, state: EgoState, at: Progress, objects: RecordArray | None) -> StoppingPlace | None:
        """The nearest free place on the way that can be braked for and driven into, no farther than the trip's goal."""
        path, config = at.path, self.config
        braking = state.speed * REACTION + state.speed**2 / (2.0 * config.deceleration)
        first, last = at.s + max(braking, config.bay_shift_length), min(at.s + config.pull_over_reach, path.goal_s)
        found: list[tuple[float, StoppingPlace]] = []
        for place in self.lane_map.stopping_places.values():
            if place.lane_id not in path.route.lane_ids:
                continue
            on_lane = path.lane_span(path.route.lane_ids.index(place.lane_id))
            s, offset, _ = path.locate(*place.pose[:2])
            # an offset much unlike the place's: the path runs elsewhere there, or turns back near it
            if on_lane is None or not on_lane[0] <= s <= on_lane[1] or abs(offset - place.offset) > BESIDE_GOAL:
                continue
            if first <= s <= last and not _occupied(place, objects):
                found.append((s, place))
        return min(found, key=lambda row: row[0])[1] if found else None


def _occupied(place: StoppingPlace, objects: RecordArray | None) -> bool:
    if objects is None or not len(objects):
        return False
    centers = np.column_stack([objects["x"], objects["y"]]).astype(np.float64)
    return bool(points_in_polygon(centers, place.polygon[:, :2]).any())
