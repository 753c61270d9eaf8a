"""How old are the gate's commands at the actuator? Its own process, on the wall clock, beside busy loops."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.environment import reserve_domain, stack_environment
from robotaxi.interfaces import INTERFACES
from robotaxi.precedence import take_precedence
from robotaxi.stack import Executable, StackArguments
from robotaxi.supervisor import Supervisor
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    Health,
    Trajectory,
    VehicleReport,
)

_START_S = 90.0
_SETTLE_S = 2.0  # of driving that do not count
_PERIOD_S = 0.02
_SPEED = 5.0  # m/s
_ROAD = 80.0  # m, driven again and again: the gate notices a jump, and answers all the same


def measure(vehicle: str, seconds: float, busy: int | None = None) -> dict[str, Any]:
    """Feed a gate process for ``seconds`` while ``busy`` loops (default: one a core) run. Ages in milliseconds."""
    busy = multiprocessing.cpu_count() if busy is None else busy
    reservation = reserve_domain()
    hogs = [multiprocessing.Process(target=_loop, daemon=True) for _ in range(busy)]
    try:
        with tempfile.TemporaryDirectory() as folder, Supervisor(reservation.domain_id, Path(folder) / "log") as stack:
            arguments = StackArguments(mode="vehicle", vehicle=vehicle, use_sim_time=False)
            gate = Executable("safety", "safety", ("command_gate",))
            stack.start_stack(arguments, [gate], parameter_folder=Path(folder))
            os.environ.update(stack_environment(reservation.domain_id))
            feeder = _Feeder(reservation.domain_id)
            try:
                feeder.wait_for_gate(_START_S)
                for hog in hogs:
                    hog.start()
                take_precedence()  # a vehicle's interface has a computer of its own
                feeder.drive(seconds)
            finally:
                feeder.close()
    finally:
        for hog in hogs:
            if hog.pid is not None:
                hog.kill()
        reservation.release()
    ages = np.array(feeder.ages_ms)
    answered = len(ages) / max(feeder.sent, 1)
    return {
        "age_ms_p50": round(float(np.percentile(ages, 50)), 2) if len(ages) else None,
        "age_ms_p99": round(float(np.percentile(ages, 99)), 2) if len(ages) else None,
        "age_ms_max": round(float(ages.max()), 2) if len(ages) else None,
        "rate_hz": round(answered / _PERIOD_S, 2),
        "mode_rate_hz": round(feeder.modes / max(feeder.sent, 1) / _PERIOD_S, 2),
        "samples": len(ages),
        "load_processes": busy,
    }


def _loop() -> None:
    while True:
        sum(range(100_000))


class _Feeder:
    """The vehicle, localization, planner and controller as far as the gate sees them, at 50 Hz of wall time."""

    def __init__(self, domain_id: int) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.node import Node
        from rclpy.signals import SignalHandlerOptions

        from robotaxi.nodes.host import make_executor
        from robotaxi.nodes.messages import message_type
        from robotaxi.nodes.qos import qos_profile

        self.ages_ms: list[float] = []
        self.sent = self.modes = 0
        self._counting = False
        self._context = Context()
        rclpy.init(args=["bench"], context=self._context, domain_id=domain_id,
                   signal_handler_options=SignalHandlerOptions.NO)  # fmt: skip
        self._node = Node("controller", context=self._context)
        self._executor = make_executor(self._context)
        self._executor.add_node(self._node)
        self._ends = {}
        for topic in ("vehicle/status", "localization/kinematic_state", "planning/trajectory", "control/command_raw",
                      "system/health"):  # fmt: skip
            item = INTERFACES[topic]
            profile = qos_profile(item.qos, lockstep=False, publisher=True)
            self._ends[topic] = self._node.create_publisher(message_type(item.type), topic, profile)
        for topic, callback in (("vehicle/command", self._on_command), ("system/mode", self._on_mode)):
            item = INTERFACES[topic]
            profile = qos_profile(item.qos, lockstep=False, publisher=False)
            self._node.create_subscription(message_type(item.type), item.topic, callback, profile)
        self._began_ns = time.time_ns()
        self._points = np.zeros(40, TRAJECTORY_DTYPE)
        self._points["x"], self._points["speed"] = np.arange(40) * 2.0, _SPEED

    def _on_command(self, message: Any) -> None:
        from robotaxi.nodes.records import to_ns

        if self._counting:
            self.ages_ms.append((time.time_ns() - to_ns(message.header.stamp)) * 1e-6)

    def _on_mode(self, message: Any) -> None:
        self.modes += self._counting

    def wait_for_gate(self, patience_s: float) -> None:
        """Until the gate listens. TimeoutError when it does not."""
        deadline = time.monotonic() + patience_s
        while self._ends["vehicle/status"].get_subscription_count() == 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the gate's process was not ready within {patience_s:.0f} s")
            self._executor.spin_once(timeout_sec=0.1)

    def drive(self, seconds: float) -> None:
        start = due = time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds + _SETTLE_S:
            self._counting = elapsed >= _SETTLE_S
            self._send()
            self.sent += self._counting
            due = max(due + _PERIOD_S, time.monotonic())  # what a starved feeder has missed is not made up for
            self._executor.spin_once(timeout_sec=0.0)
            while (left := due - time.monotonic()) > 0.0:
                self._executor.spin_once(timeout_sec=left)
        self._executor.spin_once(timeout_sec=_PERIOD_S)

    def _send(self) -> None:
        from robotaxi.nodes import convert
        from robotaxi.nodes.cdr import publishable

        now = time.time_ns()
        x = (now - self._began_ns) * 1e-9 * _SPEED % _ROAD
        messages = {
            "localization/kinematic_state": convert.odometry(EgoState(now, x, 0.0, 0.0, _SPEED), now),
            "planning/trajectory": convert.trajectory_cloud(Trajectory(now, self._points), now),
            "control/command_raw": convert.joint_trajectory(Command(now, 0.0, 0.0, _SPEED)),
            "system/health": convert.health_record(Health(now)),
            "vehicle/status": convert.joint_state(VehicleReport(now, _SPEED, 0.0)),  # the trigger last
        }
        for topic, message in messages.items():
            self._ends[topic].publish(publishable(message))

    def close(self) -> None:
        self._executor.remove_node(self._node)
        self._node.destroy_node()
        self._executor.shutdown()
        self._context.try_shutdown()
