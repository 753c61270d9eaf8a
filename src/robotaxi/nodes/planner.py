"""Planner node: goal, state, objects and lights to trajectory, explanation and mission status."""

from __future__ import annotations

import numpy as np

from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_vehicle_params
from robotaxi.nodes.records import to_cloud
from robotaxi.nodes.runtime import StackNode
from robotaxi.planning import Planner, PlannerConfig, PlanningInput
from robotaxi.planning.warm_up import warm_up
from robotaxi.types import SystemMode

_STATE, _STATUS = "localization/kinematic_state", "vehicle/status"
_OBJECTS, _LIGHTS, _GOAL = "perception/objects", "perception/traffic_lights", "dispatch/goal"
_MODE = "system/mode"
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
        report = self.read(_STATUS, at_ns)
        state = convert.with_report(self.read(_STATE, at_ns), report)
        mode = self.read(_MODE, at_ns)
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
                door_open=report is not None and report.door_open,
                mode=mode[0] if mode is not None else SystemMode.AUTONOMOUS,
                mode_reason=mode[1] if mode is not None else "",
            )
        )
        self.write("planning/trajectory", convert.trajectory_cloud(output.trajectory, at_ns))
        self.write("planning/explanation", convert.explanation_record(output.explanation, at_ns))
        self.write("planning/mission", convert.mission_record(output.mission, at_ns))
        if output.route is not None and output.route != self._route:
            self._route = output.route
            starts = [(*self._lane_map.lanes[i].centerline[0], i) for i in output.route.lane_ids]
            self.write("planning/route", to_cloud(np.array(starts, _ROUTE_DTYPE), at_ns, "map"))
