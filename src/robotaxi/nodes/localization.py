"""Localization node: IMU, wheels and GNSS to `localization/kinematic_state`."""

from __future__ import annotations

from robotaxi.interfaces import TICK_NS
from robotaxi.localization import LocalizationConfig, Localizer
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_sensor_rig
from robotaxi.nodes.runtime import StackNode

_IMU, _STATUS, _GNSS = "sensing/imu/data", "vehicle/status", "sensing/gnss/fix"


class LocalizationNode(StackNode):
    role = "localization"
    trigger = _IMU
    period_ns = TICK_NS
    wait_timeout_s = 3.0

    def setup(self) -> None:
        lane_map, rig = load_lane_map(self), load_sensor_rig(self)
        self._localizer = Localizer(self.config(LocalizationConfig), lane_map.origin, rig.gnss_lever_arm)
        self._used_fix_ns = -1

    def activate(self, at_ns: int) -> None:
        imu = self.read(_IMU, at_ns)
        if imu is None:
            return
        fix = self.read_stamped(_GNSS, at_ns)
        fresh = fix is not None and fix[1] is not None and fix[0] > self._used_fix_ns
        if fresh and fix is not None:
            self._used_fix_ns = fix[0]
        result = self._localizer.step(imu, self.read(_STATUS, at_ns), [fix[1]] if fresh and fix else [])
        self.set_status(result.status == "good", result.reason or result.status)
        self.write("localization/kinematic_state", convert.odometry(result.state, at_ns))
