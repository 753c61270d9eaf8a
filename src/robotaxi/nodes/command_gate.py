"""Command gate node: the last one before the actuators."""

from __future__ import annotations

import time
from dataclasses import replace

from robotaxi.interfaces import INTERFACES, TICK_NS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_sensor_rig, load_vehicle_params
from robotaxi.nodes.pace import Pace
from robotaxi.nodes.runtime import StackNode
from robotaxi.precedence import take_precedence
from robotaxi.safety import CommandGate, GateConfig, GateInput
from robotaxi.safety.publishers import GUARDED, PublisherWatch
from robotaxi.types import Health, LidarSweep, Permit, Request

_STATUS, _RAW = "vehicle/status", "control/command_raw"
_STATE, _TRAJECTORY, _SWEEP = "localization/kinematic_state", "planning/trajectory", "sensing/lidar/top/pointcloud"
_HEALTH, _MANUAL, _REQUEST = "system/health", "control/manual_command", "system/request"
_MODE = INTERFACES["system/mode"]
_NO_HEALTH_YET = "Cannot go yet: waiting for health_monitor."


class CommandGateNode(StackNode):
    role = "command_gate"
    trigger = _STATUS
    period_ns = TICK_NS
    self_paced = True
    wait_timeout_s = 7.0

    def setup(self) -> None:
        self._gate = CommandGate(self.config(GateConfig), load_vehicle_params(self))
        self._gate.warm_up()
        if not self.lockstep:  # on a car nothing on this computer is more urgent
            take_precedence()
        self._T_base_lidar = load_sensor_rig(self).T_base_lidar
        self._seen_sweep_ns = -1
        self._mode: object = None
        self._mode_pace = Pace(_MODE.period_ns, _MODE.phase_ns, self.lockstep)
        self._publisher_watch = PublisherWatch()
        self._alarms: tuple[str, ...] = ()

    def activate(self, at_ns: int) -> None:
        report = self.read(_STATUS, at_ns)
        if report is None:
            return
        request, request_reason = self.read(_REQUEST, at_ns) or (Request.AUTONOMOUS, "")
        output = self._gate.step(
            GateInput(
                stamp_ns=at_ns,
                report=report,
                command=self.read(_RAW, at_ns),
                state=convert.with_report(self.read(_STATE, at_ns), report),
                trajectory=self.read(_TRAJECTORY, at_ns),
                sweep=self._fresh_sweep(at_ns),
                inputs_lost=self.lost_inputs(),
                health=self._health(at_ns),
                manual=self.read(_MANUAL, at_ns),
                request=request,
                request_reason=request_reason,
                alarms=self._alarms,
            )
        )
        self.set_status(True, output.reason)
        self.write("vehicle/command", convert.joint_trajectory(replace(output.command, stamp_ns=at_ns)))
        if self._mode_pace.due(at_ns):
            self.write("system/mode", convert.mode_record(output.mode, output.reason, at_ns, output.source))
        if output.mode is not self._mode:
            self._mode = output.mode
            self.get_logger().info(f"mode {output.mode.name}: {output.reason}")

    def _fresh_sweep(self, at_ns: int) -> LidarSweep | None:
        """The newest sweep, once."""
        newest = self.read_stamped(_SWEEP, at_ns)
        if newest is None or newest[1] is None or newest[0] <= self._seen_sweep_ns:
            return None
        self._seen_sweep_ns = newest[0]
        return LidarSweep(newest[0], newest[1], self._T_base_lidar)

    def _health(self, at_ns: int) -> Health | None:
        """The health monitor's word; None only where this run has no such monitor."""
        if _HEALTH in self.absent_inputs:
            return None
        return self.read(_HEALTH, at_ns) or Health(at_ns, Permit.STOP, "health_monitor", _NO_HEALTH_YET)

    def _on_watch(self) -> None:
        super()._on_watch()
        names = {
            topic: [info.node_name for info in self.get_publishers_info_by_topic(self.resolve_topic_name(topic))]
            for topic in GUARDED
        }
        self._alarms = self._publisher_watch.step(time.monotonic(), names)
