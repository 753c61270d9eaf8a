"""A few plans on made-up data, so that nothing is compiled while the car drives."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning.freespace.follow import legs_of
from robotaxi.planning.freespace.hybrid_astar import Search
from robotaxi.planning.freespace.in_the_way import first_in_the_way
from robotaxi.planning.freespace.space import Space
from robotaxi.planning.path_math import swept_gap
from robotaxi.planning.planner import Planner, PlanningInput
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, EgoState, Goal, Pose2

_PERIOD_NS = 100_000_000


def warm_up(planner: Planner, lane_map: LaneMap) -> None:
    """Plan a little way along the longest lane, so that nothing is compiled while the car drives."""
    lane = max(lane_map.lanes.values(), key=lambda item: (item.length, item.id))
    (x0, y0), (x1, y1) = lane.centerline[0, :2], lane.centerline[1, :2]
    yaw = math.atan2(y1 - y0, x1 - x0)
    x, y = lane.centerline[-1, :2]
    goal = Goal("warm-up", float(x), float(y), yaw)
    others = np.zeros(1, OBJECT_DTYPE)
    others["x"], others["y"], others["yaw"], others["length"], others["width"] = x0 + 15.0, y0, yaw, 4.0, 1.8
    lights = np.zeros(0, LIGHT_DTYPE)
    one = np.ones(1)
    swept_gap(x0 * one, y0 * one, yaw * one, 1.0, 3.8, 0.95, one, one, one, one, one)
    for k in range(3):
        stamp_ns = k * _PERIOD_NS
        state = EgoState(stamp_ns, float(x0), float(y0), yaw, 3.0)
        planner.step(PlanningInput(stamp_ns, state, others, stamp_ns, lights, stamp_ns, goal))
    yard = Space(np.full((80, 80), 9.0, np.float32), np.array([-10.0, -10.0, 0.25]))
    found = Search(yard, planner.vehicle, Pose2(0.0, 0.0, 0.0), np.array([[-3.0, 0.5, 0.0, 0.0]])).go_on(200)
    assert found is not None
    first_in_the_way(legs_of(found, planner.config, planner.vehicle)[0], 0.0, others, planner.vehicle, 1.0)
