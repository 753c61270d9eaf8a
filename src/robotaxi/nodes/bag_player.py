"""Bag player node: recorded sensor data behind `sensing/...`, owner of the clock in mode:=bag.

Nothing is dropped or reordered: the messages of one stamp go out together, and the next stamp waits
for the objects of the sweep before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosgraph_msgs.msg import Clock

from robotaxi.bags.writer import header_stamp_ns
from robotaxi.interfaces import INTERFACES, VEHICLE, Interface, outputs_of
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_time
from robotaxi.nodes.runtime import steady_clock
from robotaxi.params import ParameterError

_SWEEP, _OBJECTS = "sensing/lidar/top/pointcloud", "perception/objects"
_PERIOD_S = 0.02
_PATIENCE_S = 10.0  # wall time a sweep's objects may take before they are given up


class BagPlayerNode(Node):
    """Plays the topics of the interface table that the running nodes read."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("bag_player", **node_options)
        self.declare_parameter("bag", "")
        self.declare_parameter("rate", 0.0)
        self.declare_parameter("peers", [""])
        self.finished = False
        self.given_up = 0

    def autostart(self) -> None:
        path = Path(self.get_parameter("bag").value)
        self._reader = open_bag(path)
        self._sent = 0.0
        self._peers = {name for name in self.get_parameter("peers").value if name} - {VEHICLE}
        self._not_ready = set(self._peers)
        self._played: dict[str, tuple[Interface, Any]] = {}
        self._connections: dict[str, Connection] = {}
        for connection in self._reader.connections:
            item = INTERFACES.get(connection.topic.lstrip("/"))
            if item is None or connection.msgtype != item.type or not self._peers & set(item.consumers):
                continue
            publisher = self.create_publisher(
                message_type(item.type), item.topic, qos_profile(item.qos, lockstep=True, publisher=True)
            )
            self._played[connection.topic] = (item, publisher)
            self._connections[connection.topic] = connection
        recorded = {item.topic for item, _ in self._played.values()}
        # an end that the stack expects of a vehicle exists also where the bag has nothing for it
        self._silent = [
            self.create_publisher(message_type(i.type), i.topic, qos_profile(i.qos, lockstep=True, publisher=True))
            for i in outputs_of(VEHICLE)
            if i.topic not in recorded and self._peers & set(i.consumers)
        ]
        if not any(item.topic == _SWEEP for item, _ in self._played.values()):
            topics = ", ".join(sorted(c.topic for c in self._reader.connections)) or "none"
            raise ParameterError(f"bag {path}: has no lidar sweeps on '/{_SWEEP}'; its topics are: {topics}")
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        objects, ready = INTERFACES[_OBJECTS], INTERFACES["system/ready"]
        self.create_subscription(
            message_type(objects.type), _OBJECTS, self._on_objects,
            qos_profile(objects.qos, lockstep=True, publisher=False), raw=True,
        )  # fmt: skip
        self.create_subscription(
            message_type(ready.type), ready.topic, lambda message: self._not_ready.discard(message.status[0].name),
            qos_profile(ready.qos, lockstep=True, publisher=False),
        )  # fmt: skip
        self._groups: Iterator[tuple[int, list[tuple[str, bytes]]]] | None = None
        self._awaited: int | None = None
        self._begun = 0.0
        self._first_ns = 0
        self._next: tuple[int, list[tuple[str, bytes]]] | None = None  # the group to publish when it is due
        self.create_timer(_PERIOD_S, self._advance, clock=steady_clock())

    def _on_objects(self, cdr: bytes) -> None:
        if self._awaited is not None and header_stamp_ns(cdr) >= self._awaited:
            self._awaited = None
            self._advance()

    def _connected(self) -> bool:
        return not self._not_ready and all(
            publisher.get_subscription_count() >= len(self._peers & set(item.consumers))
            for item, publisher in self._played.values()
        )

    def _advance(self) -> None:
        if self._groups is None:
            if not self._connected():
                return
            self._groups = self._grouped()
            self._begun = time.monotonic()
            self._next = next(self._groups, None)
            self._first_ns = self._next[0] if self._next else 0
        if self._awaited is not None and time.monotonic() - self._sent < _PATIENCE_S:
            return
        if self._awaited is not None:
            self.given_up += 1
            self.get_logger().warning(f"no objects for the sweep at {self._awaited / 1e9:.2f} s, going on without them")
            self._awaited = None
        while self._next is not None and self._awaited is None:
            stamp_ns, messages = self._next
            rate = float(self.get_parameter("rate").value)
            if rate > 0.0 and time.monotonic() - self._begun < (stamp_ns - self._first_ns) / 1e9 / rate:
                return
            self._publish(stamp_ns, messages)
            assert self._groups is not None
            self._next = next(self._groups, None)
        if self._next is None and self._awaited is None:
            self.finished = True

    def _publish(self, stamp_ns: int, messages: list[tuple[str, bytes]]) -> None:
        self._clock_publisher.publish(Clock(clock=to_time(stamp_ns)))
        self._sent = time.monotonic()
        # the state first: perception takes the pose of the sweep's own time
        for topic, cdr in sorted(messages, key=lambda pair: self._played[pair[0]][0].topic == _SWEEP):
            item, publisher = self._played[topic]
            if item.topic == _SWEEP:
                self._awaited = stamp_ns
            publisher.publish(cdr)

    def _grouped(self) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
        rows = ((header_stamp_ns(raw), c.topic, bytes(raw))
                for c, _, raw in self._reader.messages(list(self._connections.values())))  # fmt: skip
        for stamp_ns, group in groupby(rows, key=lambda row: row[0]):
            yield stamp_ns, [(topic, cdr) for _, topic, cdr in group]

    def close(self) -> None:
        if hasattr(self, "_reader"):
            self._reader.close()


def open_bag(path: Path) -> Reader:
    """An opened reader. ParameterError names what is wrong with the bag."""
    if not path.exists():
        raise ParameterError(f"bag {path} does not exist")
    reader = Reader(path)
    try:
        reader.open()
    except (ReaderError, OSError, ValueError) as error:
        raise ParameterError(f"bag {path} cannot be read: {error}") from error
    return reader
