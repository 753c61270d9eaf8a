"""Faults on purpose, where messages leave a node: of the fault campaign and of a ride's events, never set otherwise.

The parameter ``inject`` holds rows 'kind target from_s until_s value' (times on the ride's clock).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.interfaces import INTERFACES
from robotaxi.nodes import broken_sensors
from robotaxi.nodes.records import NS_PER_S, TYPES, to_ns

_HUGE = 1e6
_BLIND_POINTS = 20


@dataclass(frozen=True)
class Injection:
    kind: str
    target: str
    from_ns: int
    until_ns: int
    value: float

    @staticmethod
    def parse(row: str) -> Injection:
        """ValueError for a row that is none."""
        kind, target, start, end, value = row.split()
        return Injection(kind, target, round(float(start) * 1e9), round(float(end) * 1e9), float(value))

    def active(self, now_ns: int) -> bool:
        return self.from_ns <= now_ns < self.until_ns


class Injector:
    """Of one node. Without rows it does nothing and costs nothing."""

    def __init__(self, rows: Sequence[str], role: str) -> None:
        found = [Injection.parse(row) for row in rows if row]
        self._on_messages = [item for item in found if item.kind != "slow"]
        self._slow = [item for item in found if item.kind == "slow" and item.target == role]
        self._last: dict[str, Any] = {}
        self._held: dict[str, list[tuple[int, Any]]] = {}

    @property
    def idle(self) -> bool:
        return not self._on_messages

    def drag(self, at_ns: int, took_s: float) -> None:
        """Make an activation last ``value`` times as long."""
        for item in self._slow:
            if item.active(at_ns):
                time.sleep((item.value - 1.0) * max(took_s, 1e-3))

    def outgoing(self, topic: str, message: Any) -> Iterator[Any]:
        """What is published instead of the message."""
        now_ns = to_ns(message.header.stamp) if hasattr(message, "header") else 0
        mine = [item for item in self._on_messages if item.target == topic and item.active(now_ns)]
        if any(item.target == topic for item in self._on_messages):
            message = _as_rosbags(topic, message)
        copies = 1
        for item in mine:
            match item.kind:
                case "drop":
                    copies = 0
                case "duplicate":
                    copies = 2
                case "delay" | "reorder":
                    self._held.setdefault(topic, []).append((now_ns + round(item.value * 1e9), message))
                    copies = 0
                case "freeze":
                    message = _restamped(self._last.get(topic, message), now_ns)
                case "clock_jump":
                    message = _restamped(message, now_ns + round(item.value * 1e9))
                case _:
                    message = bent(item, message, now_ns)
        if not any(item.kind == "freeze" for item in mine):
            self._last[topic] = message
        for _ in range(copies):
            yield message
        waiting = self._held.get(topic)
        if waiting:
            self._held[topic] = [row for row in waiting if row[0] > now_ns]
            yield from (row[1] for row in waiting if row[0] <= now_ns)


def bent(item: Injection, message: Any, now_ns: int = 0) -> Any:
    """A message (rosbags' type) with broken contents, by kind and type."""
    value = math.nan if item.kind.endswith("nan") else _HUGE
    match item.kind, message.__msgtype__.rpartition("/")[2]:
        case "camera_black", _:
            message.data = np.zeros_like(message.data)
        case "lidar_blind", _:
            message.width = min(message.width, _BLIND_POINTS)
            message.row_step = message.width * message.point_step
            message.data = message.data[: message.row_step]
        case "gnss_lost", _:
            message.status.status = -1
        case "wheel_stuck" | "wheel_scaled", _:
            message.velocity = np.asarray(message.velocity) * item.value
        case "camera_shifted", _:
            broken_sensors.shifted_image(message, item.value)
        case "camera_dirty", _:
            broken_sensors.dirty_image(message, item.value)
        case "lidar_sector", _:
            broken_sensors.lidar_without_sector(message, item.value)
        case "lidar_tilted", _:
            broken_sensors.tilted_lidar(message, item.value)
        case "gnss_jump", _:
            broken_sensors.moved_fix(message, item.value)
        case "gnss_drift", _:
            broken_sensors.moved_fix(message, item.value * (now_ns - item.from_ns) * 1e-9)
        case "imu_bias", _:
            broken_sensors.biased_imu(message, item.value)
        case _, "PointCloud2":
            raw = np.array(message.data, np.uint8)
            if raw.size:
                raw.reshape(-1, message.point_step)[:, :4] = np.frombuffer(np.float32(value).tobytes(), np.uint8)
            else:  # nothing in it to be wrong: a point is announced that does not come
                message.width, message.row_step = 1, message.point_step
            message.data = raw
        case _, "Odometry":
            message.pose.pose.position.x = value
        case _, "Imu":
            message.linear_acceleration.x = value
        case _, "NavSatFix":
            message.latitude = value
        case _, "JointState":
            message.velocity = np.full(len(message.velocity), value)
        case _, "JointTrajectory":
            for point in message.points:
                point.positions = np.full(len(point.positions), value)
                point.accelerations = np.full(len(point.accelerations), value)
        case _, "DiagnosticArray":
            message.status = []
    return message


def _as_rosbags(topic: str, message: Any) -> Any:
    """A copy of the message as rosbags' type, whatever it was made as."""
    if hasattr(message, "__msgtype__"):
        return copy.deepcopy(message)
    from rclpy.serialization import serialize_message

    return TYPES.deserialize_cdr(serialize_message(message), INTERFACES[topic].type)


def _restamped(message: Any, stamp_ns: int) -> Any:
    message = copy.deepcopy(message)
    message.header.stamp = type(message.header.stamp)(*divmod(max(stamp_ns, 0), NS_PER_S))
    return message
