"""Nodes without middleware: one process hands their serialised messages from node to node.

The nodes are those of a ride, with the same parameters, buffers and logical execution times; only the
transport is a queue. A replay at full speed runs on it, in one stage, or in two that work in parallel:
``python -m robotaxi.nodes.direct --ros-args ...`` reads the bag itself, writes the outputs of its nodes to the
capture, and, as the first stage, to the standard output for the second.
"""

from __future__ import annotations

import gc
import json
import os
import struct
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)

import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message

from robotaxi.bags.plan import plan_replay
from robotaxi.bags.provenance import captured
from robotaxi.bags.reader import open_bag, ordered, stamps_by_topic, table_topic
from robotaxi.bags.writer import BagWriter, header_stamp_ns
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes.__main__ import EXECUTABLES, load_node

_HEAD = struct.Struct("<qHI")  # stamp, topic number, size; size 0xffffffff: the stamp is done
_DONE = 0xFFFFFFFF
_TOPICS = list(INTERFACES)
_EXIT_CONFIG = 2


class Bus:
    """Delivers each message to whoever subscribed, in the order of publishing. ``sinks`` get every message."""

    def __init__(self) -> None:
        self._readers: dict[str, list[Callable[[bytes], None]]] = defaultdict(list)
        self._queue: deque[tuple[str, bytes]] = deque()
        self.sinks: list[Callable[[str, bytes], None]] = []

    def publisher(self, topic: str) -> _Publisher:
        return _Publisher(self, topic)

    def subscribe(self, topic: str, callback: Callable[[bytes], None]) -> None:
        self._readers[topic].append(callback)

    def put(self, topic: str, cdr: bytes) -> None:
        self._queue.append((topic, cdr))

    def play(self, topic: str, cdr: bytes) -> None:
        """Deliver a recorded message and all that follows from it."""
        for callback in self._readers[topic]:
            callback(cdr)
        while self._queue:
            made, message = self._queue.popleft()
            for sink in self.sinks:
                sink(made, message)
            for callback in self._readers[made]:
                callback(message)


class _Publisher:
    """A publisher's side of the bus."""

    def __init__(self, bus: Bus, topic: str) -> None:
        self._bus, self._topic = bus, topic

    def publish(self, message: Any) -> None:
        self._bus.put(self._topic, message if isinstance(message, bytes) else _serialised(message))

    def get_subscription_count(self) -> int:
        return 1


def _serialised(message: Any) -> bytes:
    """What the middleware would send."""
    return bytes(serialize_message(message))


def main() -> int:
    """One stage. Parameters as for the bag player, and ``stage``: 'only', 'first' or 'second'."""
    rclpy.init(args=sys.argv)
    settings = Node("bag_player")
    value = _parameters(settings)
    try:
        return _run(value)
    except (ValueError, OSError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return _EXIT_CONFIG
    finally:
        settings.destroy_node()
        rclpy.try_shutdown()


def _parameters(node: Node) -> Callable[[str, Any], Any]:
    def value(name: str, default: Any) -> Any:
        if not node.has_parameter(name):
            node.declare_parameter(name, default)
        return node.get_parameter(name).value

    return value


def _run(value: Callable[[str, Any], Any]) -> int:
    path, stage = Path(value("bag", "")), value("stage", "only")
    roles, own = value("roles", [""]), value("own", [""])
    stamps = {table_topic(topic): found for topic, found in stamps_by_topic(path).items() if table_topic(topic)}
    first_ns, last_ns = value("from_ns", 0), value("to_ns", 0)
    plan = plan_replay(roles, stamps, first_ns, last_ns)
    bus = Bus()
    nodes = [node() for node in _classes(own)]
    for node in nodes:
        node.start_on(bus)
    gc.collect()
    gc.freeze()
    upstream: BinaryIO | None = None
    out: BinaryIO | None = None
    writer: BagWriter | None = None
    if stage == "first":
        out = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
        bus.sinks.append(lambda topic, cdr: _send(out, topic, cdr))
    else:
        writer = BagWriter(Path(value("capture", "")), custom=captured(path, roles, value("params_file", "")))
        for topic in (*plan.fresh, "diagnostics"):
            writer.add_topic("/" + topic, INTERFACES[topic].type)
        bus.sinks.append(_capture(writer))
    if stage == "second":
        upstream = sys.stdin.buffer
    wanted = {topic for topic in plan.played if set(own) & set(INTERFACES[topic].consumers)}
    begun, used, seen, count = 0.0, 0.0, first_ns, 0
    for stamp_ns, messages in _groups(path, set(plan.played), first_ns, last_ns):
        if count == 0:
            seen = stamp_ns
        if upstream is not None:
            _follow(upstream, stamp_ns, bus, writer)
        if count == 0:
            begun, used = time.monotonic(), time.process_time()
        count += 1
        for topic, cdr in messages:
            if topic in wanted:
                bus.play(topic, cdr)
        if out is not None:
            out.write(_HEAD.pack(stamp_ns, 0, _DONE))
            out.flush()
    played_s = time.monotonic() - begun if count else 0.0
    used = time.process_time() - used
    if out is not None:
        out.write(_HEAD.pack(round(used * 1e9), 0, _DONE))
        out.close()
    if upstream is not None:
        used += _HEAD.unpack(upstream.read(_HEAD.size))[0] / 1e9
    if writer is not None:
        writer.close()
        due = {t: s for t, s in plan.stamps.items() if t in plan.fresh}
        lacking = [f"{t} from {INTERFACES[t].producer}" for t in due if writer.counts("/" + t) < len(due[t])]
        figures = {
            "played_s": round(played_s, 3), "recorded_s": round((plan.last_ns - seen) / 1e9, 3), "given_up": lacking,
            "cpu_s": round(used, 3),
            "complete": not lacking,
        }  # fmt: skip
        (writer.path / "replay.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for node in nodes:
        node.destroy_node()
    return 0


_STAND_INS = ("simulator", "bag_player", "recorder")  # executables of the world, not of the stack


def _classes(roles: list[str]) -> list[Any]:
    """The node classes of the roles, in the order of the stack."""
    targets = [target for name, group in EXECUTABLES.items() if name not in _STAND_INS for target in group]
    return [node for node in map(load_node, targets) if node.role in roles]


def _capture(writer: BagWriter) -> Callable[[str, bytes], None]:
    def write(topic: str, cdr: bytes) -> None:
        if topic != "system/ready":
            writer.write("/" + topic, cdr)

    return write


def _send(out: Any, topic: str, cdr: bytes) -> None:
    out.write(_HEAD.pack(header_stamp_ns(cdr), _TOPICS.index(topic), len(cdr)))
    out.write(cdr)


def _follow(upstream: BinaryIO, stamp_ns: int, bus: Bus, writer: BagWriter | None) -> None:
    """Take over what the first stage made of the stamp."""
    while True:
        head = upstream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ValueError("the first stage of the replay has ended early")
        stamp, number, size = _HEAD.unpack(head)
        if size == _DONE:
            if stamp != stamp_ns:
                raise ValueError(f"the stages of the replay are apart: {stamp} and {stamp_ns}")
            return
        topic, cdr = _TOPICS[number], upstream.read(size)
        if writer is not None and topic != "system/ready":
            writer.write("/" + topic, cdr)
        bus.play(topic, cdr)


def _groups(path: Path, topics: set[str], first_ns: int, last_ns: int) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    with open_bag(path) as reader:
        chosen = [c for c in reader.connections if table_topic(c.topic) in topics]
        rows = (row for row in ordered(reader, chosen) if first_ns <= row[0] <= last_ns)
        for stamp_ns, group in groupby(rows, key=lambda row: row[0]):
            yield stamp_ns, [(table_topic(topic), cdr) for _, topic, cdr in group]


if __name__ == "__main__":
    sys.exit(main())
