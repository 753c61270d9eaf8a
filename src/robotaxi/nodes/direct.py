"""Nodes without middleware: one process hands their serialised messages from node to node.

The nodes are those of a ride, with the same parameters, buffers and logical execution times; only the
transport is a queue. A replay at full speed runs on it, in a chain of stages that work in parallel:
``python -m robotaxi.nodes.direct --ros-args ...`` is one stage. The first reads the bag, each hands on what later ones
need through a pipe, and the last writes what all of them made to the capture.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import struct
import sys
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)

import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message

from robotaxi.bags.plan import plan_replay
from robotaxi.bags.provenance import captured
from robotaxi.bags.reader import open_bag, ordered, span, stamps_by_topic, table_topic
from robotaxi.bags.remote import Pace, RemoteEnd
from robotaxi.bags.writer import BagWriter
from robotaxi.environment import keep_memory
from robotaxi.interfaces import INTERFACES, Interface
from robotaxi.nodes.__main__ import EXECUTABLES, load_node
from robotaxi.nodes.cdr import decoder

_HEAD = struct.Struct("<qHI")  # stamp, topic number, size
_DONE, _END = 0xFFFFFFFF, 0xFFFFFFFE  # sizes that say: the stamp is done; all is done, after so many ns of processor
_PIPE_BYTES = 1 << 20  # Linux allows so much to everybody: stages wait less for each other
_SHARED = 32  # decoded messages of a topic that are kept for the next node that reads them
Groups = Iterator[tuple[int, Iterator[tuple[str, bytes]]]]
_TOPICS = list(INTERFACES)
_EXIT_CONFIG = 2


class Bus:
    """Delivers each message to whoever subscribed, in the order of publishing. ``sinks`` get every message."""

    def __init__(self) -> None:
        self._readers: dict[str, list[Callable[[bytes], None]]] = defaultdict(list)
        self._queue: deque[tuple[str, bytes]] = deque()
        self.sinks: list[Callable[[str, bytes], None]] = []
        self._decoders: dict[str, Callable[[bytes], Any]] = {}

    def decoder(self, item: Interface) -> Callable[[bytes], Any]:
        """Like `cdr.decoder`, but what several nodes read is decoded once."""
        if item.topic not in self._decoders:
            self._decoders[item.topic] = _remembering(decoder(item))
        return self._decoders[item.topic]

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


def _remembering(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The same function; the newest messages (told by identity: they are handed on, not copied) are not read again."""
    known: OrderedDict[int, tuple[bytes, Any]] = OrderedDict()

    def read(cdr: bytes) -> Any:
        found = known.get(id(cdr))
        if found is None or found[0] is not cdr:
            found = known[id(cdr)] = cdr, decode(cdr)
            if len(known) > _SHARED:
                known.popitem(last=False)
        return found[1]

    return read


def _serialised(message: Any) -> bytes:
    """What the middleware would send."""
    return bytes(serialize_message(message))


def main() -> int:
    """One stage. Parameters as for the bag player; ``own``, ``later``: the nodes of this stage and of those after it;
    ``first``, ``last``: whether it is that in the chain."""
    keep_memory()
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
    path, own, later = Path(value("bag", "")), set(value("own", [""])), set(value("later", [""]))
    roles, first, last = value("roles", [""]), bool(value("first", True)), bool(value("last", True))
    stamps = {table_topic(topic): found for topic, found in stamps_by_topic(path).items() if table_topic(topic)}
    from_ns, to_ns = value("from_ns", 0), value("to_ns", 0)
    plan = plan_replay(roles, stamps, from_ns, to_ns)
    played = set(plan.played)
    bus = Bus()
    nodes = [node() for node in _classes(list(own))]
    for node in nodes:
        node.start_on(bus)
    gc.collect()
    gc.freeze()
    out = None if last else _Downstream(os.fdopen(os.dup(1), "wb", buffering=_PIPE_BYTES))
    writer: BagWriter | None = None
    if last:
        writer = BagWriter(Path(value("capture", "")), custom=captured(path, roles, value("params_file", "")))
        for topic in (*plan.fresh, "diagnostics"):
            writer.add_topic("/" + topic, INTERFACES[topic].type)
    keep = _capture(writer) if writer is not None else out.send  # type: ignore[union-attr]
    bus.sinks.append(keep)
    here = {topic for topic in played if own & set(INTERFACES[topic].consumers)}
    there = {topic for topic in played if later & set(INTERFACES[topic].consumers)}
    hand = Pace(RemoteEnd(Path(remote))) if first and (remote := value("remote", "")) else None
    upstream = None if first else _Upstream(os.fdopen(os.dup(0), "rb", buffering=_PIPE_BYTES))
    begun, used, seen = 0.0, 0.0, -1
    for stamp_ns, messages in upstream.groups() if upstream else _groups(path, played, from_ns, to_ns):
        if hand is not None:
            hand.hold(stamp_ns)
        if seen < 0:
            begun, used, seen = time.monotonic(), time.process_time(), stamp_ns
        for topic, cdr in messages:
            if topic not in played:
                keep(topic, cdr)
                bus.play(topic, cdr)
                continue
            if topic in there and out is not None:
                out.send(topic, cdr)
            if topic in here:
                bus.play(topic, cdr)
        if out is not None:
            out.done(stamp_ns)
    played_s = time.monotonic() - begun if seen >= 0 else 0.0
    used = time.process_time() - used + (upstream.used_s if upstream else 0.0)
    if out is not None:
        out.end(used)
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


class _Downstream:
    """What goes to the next stage."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        with suppress(OSError):  # no pipe, or a kernel with a lower limit
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, topic: str, cdr: bytes) -> None:
        self._stream.write(_HEAD.pack(0, _TOPICS.index(topic), len(cdr)))
        self._stream.write(cdr)

    def done(self, stamp_ns: int) -> None:
        self._stream.write(_HEAD.pack(stamp_ns, 0, _DONE))
        self._stream.flush()

    def end(self, used_s: float) -> None:
        self._stream.write(_HEAD.pack(round(used_s * 1e9), 0, _END))
        self._stream.close()


class _Upstream:
    """What comes from the stage before. ``used_s``: its processor time and that of those before it, at the end."""

    used_s = 0.0

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._stamp_ns: int | None = None

    def groups(self) -> Groups:
        """The messages of a stamp, and then the stamp itself, as `_groups` gives them."""
        while (messages := list(self._until_done())) or self._stamp_ns is not None:
            assert self._stamp_ns is not None
            yield self._stamp_ns, iter(messages)

    def _until_done(self) -> Iterator[tuple[str, bytes]]:
        self._stamp_ns = None
        while True:
            head = self._stream.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise ValueError("the stage of the replay before this one has ended early")
            stamp, number, size = _HEAD.unpack(head)
            if size == _END:
                self.used_s = stamp / 1e9
                return
            if size == _DONE:
                self._stamp_ns = stamp
                return
            yield _TOPICS[number], self._stream.read(size)


def _groups(path: Path, topics: set[str], first_ns: int, last_ns: int) -> Groups:
    with open_bag(path) as reader:
        chosen = [c for c in reader.connections if table_topic(c.topic) in topics]
        rows = (row for row in ordered(reader, chosen, *span(first_ns, last_ns)) if first_ns <= row[0] <= last_ns)
        for stamp_ns, group in groupby(rows, key=lambda row: row[0]):
            yield stamp_ns, ((table_topic(topic), cdr) for _, topic, cdr in group)


if __name__ == "__main__":
    sys.exit(main())
