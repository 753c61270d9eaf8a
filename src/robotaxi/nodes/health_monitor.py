"""Health monitor node: every watched topic to `system/health`, ten times a second."""

from __future__ import annotations

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.geometry.polyline import densify
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map
from robotaxi.nodes.runtime import StackNode
from robotaxi.odd_file import load_odd
from robotaxi.safety import HealthConfig, HealthMonitor
from robotaxi.safety.health import HEARD
from robotaxi.safety.odd import OddWatch
from robotaxi.types import Permit

_HEALTH = INTERFACES["system/health"]
_LANE_SPACING = 5.0  # m between the points by which the nearest lane is found


class HealthMonitorNode(StackNode):
    role = "health_monitor"
    trigger = "vehicle/status"
    period_ns = _HEALTH.period_ns
    phase_ns = _HEALTH.phase_ns
    self_paced = True
    wait_timeout_s = 6.5  # after whom it watches has given up his own inputs, before the gate gives up on it

    def setup(self) -> None:
        self._config = self.config(HealthConfig)
        self._odd = self._odd_watch()
        self._monitor: HealthMonitor | None = None
        self._said = ""

    def _odd_watch(self) -> OddWatch:
        """Over the operational design domain that the parameter ``odd`` names."""
        lane_map = load_lane_map(self)
        domain = load_odd(self.parameter("odd", "robotaxi"), LocalFrame(*lane_map.origin))
        lanes = [densify(lane.centerline, _LANE_SPACING)[:, :2] for lane in lane_map.lanes.values()]
        return OddWatch(domain, np.concatenate(lanes), lane_map.checksum)

    def activate(self, at_ns: int) -> None:
        if self._monitor is None:  # who takes part is known once everybody is connected
            self._monitor = HealthMonitor(self._config, self.absent_inputs, self._odd)
        readings = {topic: self.read_stamped(topic, at_ns) for topic in HEARD}
        health = self._monitor.step(at_ns, readings, self.lost_inputs(), self.early_inputs(at_ns))
        self.set_status(health.permit is Permit.DRIVE, health.sentence)
        self.write(_HEALTH.topic, convert.health_record(health))
        if health.sentence != self._said:
            self._said = health.sentence
            self.get_logger().info(f"{health.permit.name}: {health.sentence}")
