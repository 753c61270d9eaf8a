"""Command gate node: the last one before the actuators."""

from __future__ import annotations

from dataclasses import replace

from robotaxi.interfaces import INTERFACES, TICK_NS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_sensor_rig, load_vehicle_params
from robotaxi.nodes.let import is_scheduled
from robotaxi.nodes.runtime import StackNode
from robotaxi.safety import CommandGate, GateConfig, GateInput
from robotaxi.types import LidarSweep

_STATUS, _RAW = "vehicle/status", "control/command_raw"
_STATE, _TRAJECTORY, _SWEEP = "localization/kinematic_state", "planning/trajectory", "sensing/lidar/top/pointcloud"
_MODE = INTERFACES["system/mode"]


class CommandGateNode(StackNode):
    role = "command_gate"
    trigger = _STATUS
    period_ns = TICK_NS
    wait_timeout_s = 7.0

    def setup(self) -> None:
        self._gate = CommandGate(self.config(GateConfig), load_vehicle_params(self))
        self._gate.warm_up()
        self._T_base_lidar = load_sensor_rig(self).T_base_lidar
        self._seen_sweep_ns = -1
        self._mode: object = None

    def activate(self, at_ns: int) -> None:
        report = self.read(_STATUS, at_ns)
        if report is None:
            return
        sweep = None
        newest = self.read_stamped(_SWEEP, at_ns)
        if newest and newest[1] is not None and newest[0] > self._seen_sweep_ns:
            self._seen_sweep_ns = newest[0]
            sweep = LidarSweep(newest[0], newest[1], self._T_base_lidar)
        output = self._gate.step(
            GateInput(
                stamp_ns=at_ns,
                report=report,
                command=self.read(_RAW, at_ns),
                state=convert.with_report(self.read(_STATE, at_ns), report),
                trajectory=self.read(_TRAJECTORY, at_ns),
                sweep=sweep,
                inputs_lost=self.lost_inputs(),
            )
        )
        self.set_status(True, output.reason)
        self.write("vehicle/command", convert.joint_trajectory(replace(output.command, stamp_ns=at_ns)))
        if is_scheduled(at_ns, _MODE.period_ns, _MODE.phase_ns):
            self.write("system/mode", convert.mode_record(output.mode, output.reason, at_ns))
        if output.mode is not self._mode:
            self._mode = output.mode
            self.get_logger().info(f"mode {output.mode.name}: {output.reason}")
