"""Planner node: goal, state, objects and lights to trajectory, explanation and mission status."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_vehicle_params
from robotaxi.nodes.records import to_cloud
from robotaxi.nodes.runtime import StackNode
from robotaxi.planning import Planner, PlannerConfig, PlanningInput
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, EgoState, Goal

_STATE, _STATUS = "localization/kinematic_state", "vehicle/status"
_OBJECTS, _LIGHTS, _GOAL = "perception/objects", "perception/traffic_lights", "dispatch/goal"
_ROUTE_DTYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("lane_id", "<u4")])


class PlannerNode(StackNode):
    role = "planner"
    trigger = _STATE
    period_ns = 100 * MS
    phase_ns = 60 * MS
    wait_timeout_s = 5.0

    def setup(self) -> None:
        self._lane_map = load_lane_map(self)
        config, vehicle = self.config(PlannerConfig), load_vehicle_params(self)
        warm_up(Planner(config, self._lane_map, vehicle), self._lane_map)
        self._planner = Planner(config, self._lane_map, vehicle)
        self._route: object = None

    def activate(self, at_ns: int) -> None:
        state = convert.with_report(self.read(_STATE, at_ns), self.read(_STATUS, at_ns))
        objects, lights = self.read_stamped(_OBJECTS, at_ns), self.read_stamped(_LIGHTS, at_ns)
        output = self._planner.step(
            PlanningInput(
                stamp_ns=at_ns,
                state=state,
                objects=objects[1] if objects else None,
                objects_stamp_ns=objects[0] if objects else 0,
                lights=lights[1] if lights else None,
                lights_stamp_ns=lights[0] if lights else 0,
                goal=self.read(_GOAL, at_ns),
            )
        )
        self.write("planning/trajectory", convert.trajectory_cloud(output.trajectory, at_ns))
        self.write("planning/explanation", convert.explanation_record(output.explanation, at_ns))
        self.write("planning/mission", convert.mission_record(output.mission, at_ns))
        if output.route is not None and output.route != self._route:
            self._route = output.route
            starts = [(*self._lane_map.lanes[i].centerline[0], i) for i in output.route.lane_ids]
            self.write("planning/route", to_cloud(np.array(starts, _ROUTE_DTYPE), at_ns, "map"))


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
    for k in range(3):
        stamp_ns = k * 100 * MS
        state = EgoState(stamp_ns, float(x0), float(y0), yaw, 3.0)
        planner.step(PlanningInput(stamp_ns, state, others, stamp_ns, lights, stamp_ns, goal))
