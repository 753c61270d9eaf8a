"""Dispatch bridge node: orders in, goals to the planner, trip events and state to the cloud."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from robotaxi.dispatch.bridge import Bridge, BridgeConfig, BridgeInput
from robotaxi.dispatch.clock import trusted_clock
from robotaxi.dispatch.commands import DEFAULT_PKI
from robotaxi.dispatch.messages import Factsheet
from robotaxi.dispatch.outbox import Outbox, OutboxConfig
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.dispatch.reachable import reachable_on
from robotaxi.dispatch.signing import FolderVerifier
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.interfaces import MS
from robotaxi.nodes import convert
from robotaxi.nodes.common import load_lane_map
from robotaxi.nodes.runtime import StackNode
from robotaxi.nodes.snapshot import Snapshot
from robotaxi.params import ParameterError, build
from robotaxi.types import Health, SystemMode, Trajectory, said_by_car

_STATUS, _STATE, _MODE = "vehicle/status", "localization/kinematic_state", "system/mode"
_MISSION, _EXPLANATION, _TRAJECTORY = "planning/mission", "planning/explanation", "planning/trajectory"
_HEALTH, _RIDER_CODE = "system/health", "vehicle/rider_code"
_LOOK_BEFORE_NS = 5000 * MS  # standing so long for something, the car looks: it may have to ask soon


class DispatchBridgeNode(StackNode):
    role = "dispatch_bridge"
    trigger = _STATUS
    period_ns = 100 * MS
    wait_timeout_s = 4.0

    def setup(self) -> None:
        lane_map = load_lane_map(self)
        config = self._config = self.config(BridgeConfig, "bridge")
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
        self._snapshot = Snapshot(self)
        self._stands_since_ns = -1
        self._bridge = Bridge(
            config,
            lane_map.origin,
            link,
            Outbox(outbox, self.config(OutboxConfig, "outbox_limits")),
            reachable_on(lane_map),
            FolderVerifier(files.signers, files.ca, files.crl, config.operator),
            clock=trusted_clock if self.parameter("trust_clock", False) else None,
            factsheet=Factsheet(
                software=_software(),
                map_name=lane_map.name,
                map_sha256=lane_map.checksum,
                odd=config.odd,
            ),
        )

    def is_ready(self) -> bool:
        """A ride starts with its order in hand, so that every step after it is a function of the seed."""
        return not self._wait_for_order or self._bridge.wait_for_order(0.0)

    def activate(self, at_ns: int) -> None:
        mode, explanation, mission = (self.read(topic, at_ns) for topic in (_MODE, _EXPLANATION, _MISSION))
        report, health = self.read(_STATUS, at_ns), self.read(_HEALTH, at_ns)
        now, why = mode or (SystemMode.STOP, "")
        energy = report.energy if report is not None else -1.0
        self._look(bool(mission and mission.blocked_by), at_ns)
        output = self._bridge.step(
            BridgeInput(
                stamp_ns=at_ns,
                state=convert.with_report(self.read(_STATE, at_ns), report),
                mission=mission,
                report=report,
                mode=now,
                mode_reason=why,
                sentence=said_by_car(now, why, health, explanation.sentence if explanation else ""),
                trajectory=_points(self.read(_TRAJECTORY, at_ns)),
                energy=energy,
                range=energy * self._config.full_range if energy >= 0.0 else -1.0,
                faults=_faults(health),
                code_shown=self.read(_RIDER_CODE, at_ns),
                picture_jpeg=self._snapshot.jpeg,
            )
        )
        self.set_status(not self._bridge.problem, self._bridge.problem or self._bridge.link_detail)
        self.write("dispatch/goal", convert.goal_record(output.goal, at_ns))
        for event in output.events:
            self.write("dispatch/trip", convert.trip_record(event))
        if output.doors:
            self.write("dispatch/doors", convert.doors_record(output.doors, at_ns))

    def _look(self, blocked: bool, at_ns: int) -> None:
        """Have a picture at hand before a person is asked; nobody pays for it while the car drives."""
        if not blocked:
            self._stands_since_ns = -1
            self._snapshot.stop()
        elif self._stands_since_ns < 0:
            self._stands_since_ns = at_ns
        elif at_ns - self._stands_since_ns >= _LOOK_BEFORE_NS:
            self._snapshot.start()

    def close(self) -> None:
        if hasattr(self, "_bridge"):
            self._bridge.close()


def _points(trajectory: Trajectory | None) -> tuple[tuple[float, float], ...]:
    """x, y (m, map) of the trajectory, half a second apart."""
    if trajectory is None:
        return ()
    points = trajectory.points
    step = max(round(0.5 / float(points["t"][1])), 1) if len(points) > 1 and points["t"][1] > 0.0 else 1
    return tuple(zip(points["x"][::step].tolist(), points["y"][::step].tolist(), strict=True))


def _faults(health: Health | None) -> tuple[str, ...]:
    if health is None:
        return ()
    return tuple(text for text in (health.sentence if health.part else "", *health.lost) if text)


def _software() -> str:
    try:
        return f"robotaxi {metadata.version('robotaxi')}"
    except metadata.PackageNotFoundError:  # run from its source folder
        return "robotaxi, not installed"
