"""Map matching node: sweeps and the localization map to `localization/scan_match`."""

from __future__ import annotations

from robotaxi.geometry.se3 import transform
from robotaxi.interfaces import MS
from robotaxi.localization.map_match import MatchConfig, PoseFix, no_match, warm_up
from robotaxi.localization.relocalizer import RoughPose
from robotaxi.localization.sweep_match import SweepMatcher
from robotaxi.localization.tiles import read_info
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_sensor_rig
from robotaxi.nodes.runtime import StackNode
from robotaxi.stack import ODOMETRY_ONLY
from robotaxi.types import LidarSweep

_SWEEP, _STATE, _GIVEN = "sensing/lidar/top/pointcloud", "localization/kinematic_state", "initialpose"


class MapMatcherNode(StackNode):
    role = "map_matcher"
    trigger = _SWEEP
    period_ns = 100 * MS
    wait_timeout_s = 2.5

    def setup(self) -> None:
        folder, info = self.parameter("localization_map", ""), None
        if folder != ODOMETRY_ONLY:
            info = read_info(folder)
            info.check_origin(load_lane_map(self).origin)
        self._matcher = SweepMatcher(self.config(MatchConfig), info)
        self._given: RoughPose | None = None
        warm_up()
        self._T_base_lidar = load_sensor_rig(self).T_base_lidar

    def activate(self, at_ns: int) -> None:
        fix = self._match(at_ns)
        faults = self._matcher.faults
        on_map = fix.accepted and fix.frame == "map"
        sentence = fix.reason or "; ".join(faults) or ("running" if on_map else self._by_odometry())
        self.set_status(on_map and not faults, sentence)
        self.write("localization/scan_match", convert.scan_match(fix))

    def _by_odometry(self) -> str:
        return "carried on by lidar odometry" + (f": {self._matcher.note}" if self._matcher.note else "")

    def _match(self, at_ns: int) -> PoseFix:
        points, state, given = self.read(_SWEEP, at_ns), self.read(_STATE, at_ns), self.read(_GIVEN, at_ns)
        if given is not None and given is not self._given:
            self._matcher.look_near(given)
        self._given = given
        if points is None or not {"x", "y", "z"} <= set(points.dtype.names or ()):
            return no_match(at_ns, "the sweep's cloud cannot be read")
        guess = None if state is None else transform(state.x, state.y, state.z, yaw=state.yaw)
        return self._matcher.step(LidarSweep(at_ns, points, self._T_base_lidar), guess)
