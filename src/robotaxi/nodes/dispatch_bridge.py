"""Dispatch bridge node: orders in, goals to the planner, trip events and state to the cloud."""

from __future__ import annotations

from pathlib import Path

from robotaxi.dispatch.bridge import Bridge, BridgeConfig, BridgeInput
from robotaxi.dispatch.commands import DEFAULT_PKI
from robotaxi.dispatch.decisions import STANDSTILL_SPEED
from robotaxi.dispatch.outbox import Outbox, OutboxConfig
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.dispatch.signing import FolderVerifier
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.hdmap.lane_map import RouteError
from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map
from robotaxi.nodes.runtime import StackNode
from robotaxi.params import ParameterError, build
from robotaxi.types import Cause, EgoState, Goal, Pose2, SystemMode

_STATUS, _STATE, _MODE = "vehicle/status", "localization/kinematic_state", "system/mode"
_MISSION, _EXPLANATION = "planning/mission", "planning/explanation"


class DispatchBridgeNode(StackNode):
    role = "dispatch_bridge"
    trigger = _STATUS
    period_ns = 100 * MS
    wait_timeout_s = 4.0

    def setup(self) -> None:
        self._lane_map = load_lane_map(self)
        config = self.config(BridgeConfig, "bridge")
        host, _, port = str(self.parameter("broker", "localhost:8883")).rpartition(":")
        if not host or not port.isdigit():
            raise ParameterError(
                f"node 'dispatch_bridge': parameter 'broker' is {self.parameter('broker', '')!r}, expected host:port"
            )
        state = Path.home() / ".local" / "state" / "robotaxi"
        pki = Path(self.parameter("pki", "") or DEFAULT_PKI).expanduser()
        outbox = Path(self.parameter("outbox", "") or state / f"{config.vehicle}.outbox")
        outbox.parent.mkdir(parents=True, exist_ok=True)
        files = make_test_pki(pki, config.operator, [config.vehicle])
        identity = files.vehicle(config.vehicle)
        link = MqttLink(
            build(MqttConfig, {"host": host, "port": int(port)}, "node 'dispatch_bridge'"), identity, config.vehicle
        )
        self._wait_for_order = bool(self.parameter("wait_for_order", False))
        self._bridge = Bridge(
            config,
            self._lane_map.origin,
            link,
            Outbox(outbox, self.config(OutboxConfig, "outbox_limits")),
            self._reachable,
            FolderVerifier(files.signers, files.ca, files.crl, config.operator),
        )

    def _reachable(self, start: Goal, goal: Goal, state: EgoState) -> str | None:
        try:
            self._lane_map.route(Pose2(start.x, start.y, start.yaw), Pose2(goal.x, goal.y, goal.yaw))
        except RouteError as error:
            return str(error)
        return None

    def is_ready(self) -> bool:
        """A ride starts with its order in hand, so that every step after it is a function of the seed."""
        return not self._wait_for_order or self._bridge.wait_for_order(0.0)

    def activate(self, at_ns: int) -> None:
        mode = self.read(_MODE, at_ns)
        explanation = self.read(_EXPLANATION, at_ns)
        report = self.read(_STATUS, at_ns)
        stands = report is not None and abs(report.speed) < STANDSTILL_SPEED
        blocked = explanation is not None and explanation.cause is Cause.OBSTACLE and stands
        output = self._bridge.step(
            BridgeInput(
                stamp_ns=at_ns,
                state=self.read(_STATE, at_ns),
                mission=self.read(_MISSION, at_ns),
                report=report,
                mode=mode[0] if mode else SystemMode.STOP,
                mode_reason=mode[1] if mode else "",
                sentence=explanation.sentence if explanation else "",
                blocked_by=explanation.sentence if blocked else "",
            )
        )
        self.set_status(not self._bridge.problem, self._bridge.problem or self._bridge.link_detail)
        self.write("dispatch/goal", convert.goal_record(output.goal, at_ns))
        for event in output.events:
            self.write("dispatch/trip", convert.trip_record(event))

    def close(self) -> None:
        if hasattr(self, "_bridge"):
            self._bridge.close()
