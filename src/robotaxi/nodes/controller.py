"""Controller node: trajectory and state to `control/command_raw`."""

from __future__ import annotations

from robotaxi.control import ControlConfig, Controller
from robotaxi.interfaces import TICK_NS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_vehicle_params
from robotaxi.nodes.runtime import StackNode
from robotaxi.types import Command

_STATE, _STATUS, _TRAJECTORY = "localization/kinematic_state", "vehicle/status", "planning/trajectory"
_HOLD_ACCELERATION = -2.0  # m/s^2, brakes held while there is no pose


class ControllerNode(StackNode):
    role = "controller"
    trigger = _STATE
    period_ns = TICK_NS
    wait_timeout_s = 6.0

    def setup(self) -> None:
        self._controller = Controller(self.config(ControlConfig), load_vehicle_params(self))
        self._controller.warm_up()

    def activate(self, at_ns: int) -> None:
        report = self.read(_STATUS, at_ns)
        state = convert.with_report(self.read(_STATE, at_ns), report)
        if state is None:
            steering = report.steering if report else 0.0
            self.write("control/command_raw", convert.joint_trajectory(Command(at_ns, steering, _HOLD_ACCELERATION)))
            self.set_status(False, "no pose")
            return
        output = self._controller.step(state, self.read(_TRAJECTORY, at_ns), report)
        self.set_status(True, output.status)
        self.write("control/command_raw", convert.joint_trajectory(output.command))
