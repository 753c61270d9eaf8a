"""Localization node: IMU, wheels and GNSS to `localization/kinematic_state`."""

from __future__ import annotations

from typing import Any

from robotaxi.interfaces import TICK_NS
from robotaxi.localization import LocalizationConfig, Localizer, RoughPose
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map, load_sensor_rig, load_vehicle_params
from robotaxi.nodes.runtime import StackNode

_IMU, _STATUS, _GNSS = "sensing/imu/data", "vehicle/status", "sensing/gnss/fix"
_MATCH, _GIVEN = "localization/scan_match", "initialpose"


class LocalizationNode(StackNode):
    role = "localization"
    trigger = _IMU
    period_ns = TICK_NS
    wait_timeout_s = 3.0

    def setup(self) -> None:
        lane_map, rig = load_lane_map(self), load_sensor_rig(self)
        wheelbase = load_vehicle_params(self).wheelbase
        self._localizer = Localizer(self.config(LocalizationConfig), lane_map.origin, rig.gnss_lever_arm, wheelbase)
        self._used_ns = {_GNSS: -1, _MATCH: -1}
        self._given: RoughPose | None = None

    def activate(self, at_ns: int) -> None:
        imu = self.read(_IMU, at_ns)
        if imu is None:
            return
        given, before = self.read(_GIVEN, at_ns), self._given
        self._given = given
        result = self._localizer.step(
            imu, self.read(_STATUS, at_ns), self._fresh(_GNSS, at_ns), self._fresh(_MATCH, at_ns),
            None if given is before else given,
        )  # fmt: skip
        self.set_status(result.status == "good", result.reason or result.status)
        self.write("localization/kinematic_state", convert.odometry(result.state, at_ns))

    def _fresh(self, topic: str, at_ns: int) -> list[Any]:
        """What counts at ``at_ns`` and was not used before: one reading or none."""
        found = self.read_stamped(topic, at_ns)
        if found is None or found[1] is None or found[0] <= self._used_ns[topic]:
            return []
        self._used_ns[topic] = found[0]
        return [found[1]]
