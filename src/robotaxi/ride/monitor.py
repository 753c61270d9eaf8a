"""Follows a running stack for the terminal: a node with a few low-rate subscriptions."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robotaxi.environment import stack_environment
from robotaxi.interfaces import INTERFACES, Interface
from robotaxi.nodes import convert
from robotaxi.nodes.host import make_executor
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_ns
from robotaxi.types import Health, MissionStatus, SystemMode, TripState, said_by_car


@dataclass
class Progress:
    """What is known of the ride right now. ``started``: monotonic time of the first message, 0 before."""

    stamp_ns: int = 0
    started: float = 0.0
    trip: TripState = TripState.IDLE
    trip_reason: str = ""
    distance_to_go: float = 0.0
    speed: float = 0.0
    sentence: str = ""
    mode: SystemMode = SystemMode.STOP
    mode_reason: str = ""
    health: Health = field(default_factory=lambda: Health(0))

    @property
    def said(self) -> str:
        """Why it drives as it does."""
        return said_by_car(self.mode, self.mode_reason, self.health, self.sentence)

    @property
    def real_time_factor(self) -> float:
        elapsed = time.monotonic() - self.started
        return self.stamp_ns / 1e9 / elapsed if self.started and elapsed > 0.0 else 0.0


class Monitor:
    """Context manager around the node; `poll` handles what has arrived within the given time."""

    def __init__(self, domain_id: int, namespace: str = "") -> None:
        self.progress = Progress()
        self.ready: set[str] = set()
        self._domain_id = domain_id
        self._namespace = namespace

    def __enter__(self) -> Monitor:
        os.environ.update(stack_environment(self._domain_id))
        self._context = Context()
        rclpy.init(
            args=["robotaxi"],
            context=self._context,
            domain_id=self._domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = Node("ride_monitor", context=self._context, namespace=self._namespace)
        self._executor = make_executor(self._context)
        handlers = {
            "planning/mission": self._on_mission,
            "planning/explanation": self._on_explanation,
            "dispatch/trip": self._on_trip,
            "system/mode": self._on_mode,
            "system/health": self._on_health,
            "system/ready": self._on_ready,
        }
        for topic, handler in handlers.items():
            item = INTERFACES[topic]
            profile = qos_profile(item.qos, lockstep=True, publisher=False)
            self._node.create_subscription(message_type(item.type), topic, handler, profile)
        self._executor.add_node(self._node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.remove_node(self._node)
        self._node.destroy_node()
        self._executor.shutdown()
        self._context.try_shutdown()

    def listen(self, item: Interface, handler: Callable[[Any], None], profile: Any) -> None:
        """Hear a further topic; ``handler`` is called from `poll`."""
        self._node.create_subscription(message_type(item.type), item.topic, handler, profile)

    def poll(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left)

    def _on_mission(self, message: Any) -> None:
        status: MissionStatus = convert.mission_status(message)
        self.progress.distance_to_go = status.distance_to_go

    def _on_explanation(self, message: Any) -> None:
        self.progress.sentence = convert.explanation(message).sentence

    def _on_trip(self, message: Any) -> None:
        event = convert.trip_event(message)
        self.progress.trip, self.progress.trip_reason = event.state, event.reason

    def _on_mode(self, message: Any) -> None:
        self.progress.mode, self.progress.mode_reason = convert.system_mode(message)
        self._seen(to_ns(message.header.stamp))

    def _on_health(self, message: Any) -> None:
        self.progress.health = convert.health(message)
        self._seen(to_ns(message.header.stamp))

    def _on_ready(self, message: Any) -> None:
        self.ready.add(message.status[0].name)

    def _seen(self, stamp_ns: int) -> None:
        """The ride's time, by the two that the vehicle's own reports drive: others stamp as localization does."""
        if not self.progress.started:
            self.progress.started = time.monotonic()
        self.progress.stamp_ns = max(self.progress.stamp_ns, stamp_ns)
