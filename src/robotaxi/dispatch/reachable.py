"""Whether one place can be driven to from another, areas that are closed now left out."""

from __future__ import annotations

from robotaxi.dispatch.decisions import Reachable
from robotaxi.hdmap.closures import closed_for
from robotaxi.hdmap.lane_map import LaneMap, RouteError
from robotaxi.types import EgoState, Goal, Pose2


def reachable_on(lane_map: LaneMap) -> Reachable:
    """For a bridge: ``goal.avoid`` closes lanes, but for an area that the start lies in."""

    def reachable(start: Goal, goal: Goal, state: EgoState) -> str | None:
        closed = closed_for(lane_map, goal.avoid, start.x, start.y)
        try:
            lane_map.route(Pose2(start.x, start.y, start.yaw), Pose2(goal.x, goal.y, goal.yaw), closed)
        except RouteError as error:
            return str(error)
        return None

    return reachable
