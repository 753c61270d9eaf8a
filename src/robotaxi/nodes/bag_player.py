"""Bag player node: recorded inputs for the nodes that run, owner of the clock in mode:=bag.

Nothing is dropped or reordered. The messages of one stamp go out together, and the player is never
further ahead than a bounded time of the oldest output that is still to come, so the nodes work as fast
as they can, in parallel, and make the same bytes whatever the load. What they make is captured as a bag.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from robotaxi.bags.plan import NEVER_NS, ReplayPlan, plan_replay
from robotaxi.bags.provenance import captured
from robotaxi.bags.reader import open_bag, ordered, span, stamps_by_topic, table_topic
from robotaxi.bags.remote import GO, PAUSE, STEP, RemoteEnd
from robotaxi.bags.writer import BagWriter, header_stamp_ns
from robotaxi.interfaces import INTERFACES, MS
from robotaxi.nodes.clocks import steady_clock
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_time

_LOOK_AHEAD_NS = 300 * MS  # keeps every node busy; far below the depth of the topics' queues
_WATCH_PERIOD_S = 0.1
_PATIENCE_S = 120.0  # wall time an output may take before it is given up
_CLOCK_PERIOD_NS = 100 * MS
_CAPTURE_DEPTH = 2000
_DIAGNOSTICS = INTERFACES["diagnostics"]


class BagPlayerNode(Node):
    """Plays what the running nodes read and nobody else writes.

    ``rate``: recorded seconds a wall second, 0 as fast as the nodes go, below 0 one stamp a `step` service call.
    """

    drain_s = 0.3  # silence after which every aperiodic output has arrived

    def __init__(self, **node_options: Any) -> None:
        super().__init__("bag_player", **node_options)
        self.declare_parameter("bag", "")
        self.declare_parameter("capture", "")
        self.declare_parameter("params_file", "")
        self.declare_parameter("rate", 0.0)
        self.declare_parameter("from_ns", -NEVER_NS)
        self.declare_parameter("to_ns", NEVER_NS)
        self.declare_parameter("peers", [""])
        self.declare_parameter("remote", "")  # folder of a remote control, see bags.remote
        self.finished = False
        self.last_message = -1e9
        self._given_up: list[str] = []
        self._paused, self._steps = False, 0
        self._open = ExitStack()
        self._remote: RemoteEnd | None = None
        self._writer: BagWriter | None = None

    def autostart(self) -> None:
        path = Path(self.get_parameter("bag").value)
        roles = [name for name in self.get_parameter("peers").value if name]
        self._reader = self._open.enter_context(open_bag(path))
        stamps = {table_topic(topic): found for topic, found in stamps_by_topic(path).items() if table_topic(topic)}
        self._from_ns, self._to_ns = self.get_parameter("from_ns").value, self.get_parameter("to_ns").value
        self._plan: ReplayPlan = plan_replay(roles, stamps, self._from_ns, self._to_ns)
        for sentence in self._plan.warnings():
            self.get_logger().warning(sentence)
        self._not_ready = set(self._plan.roles)
        self._rate = float(self.get_parameter("rate").value)
        self._ends = {
            topic: self.create_publisher(
                message_type(INTERFACES[topic].type),
                topic,
                qos_profile(INTERFACES[topic].qos, lockstep=True, publisher=True),
            )
            for topic in self._plan.played
        }
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        self._capture(path)
        ready = INTERFACES["system/ready"]
        self.create_subscription(
            message_type(ready.type), ready.topic, lambda message: self._not_ready.discard(message.status[0].name),
            qos_profile(ready.qos, lockstep=True, publisher=False),
        )  # fmt: skip
        self._make_services()
        if remote := self.get_parameter("remote").value:
            self._remote = RemoteEnd(Path(remote))
            self._open.callback(self._remote.close)
        self._groups: Iterator[tuple[int, list[tuple[str, bytes]]]] | None = None
        self._next: tuple[int, list[tuple[str, bytes]]] | None = None
        self._next_clock_ns = -NEVER_NS
        self._begun = self._progress = time.monotonic()
        self._first_ns = 0
        self._pace: Any = None
        self.create_timer(_WATCH_PERIOD_S, self._on_watch, clock=steady_clock())

    # ------------------------------------------------------------------ what the nodes make

    def _capture(self, path: Path) -> None:
        """Subscribe to every fresh topic: the periodic ones pace the player, all are written down."""
        self._due: dict[str, Any] = {}  # periodic fresh topic -> its stamps to come
        self._cursor: dict[str, int] = {}
        target = self.get_parameter("capture").value
        if target:
            self._writer = BagWriter(
                Path(target), custom=captured(path, self._plan.roles, self.get_parameter("params_file").value)
            )
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=_CAPTURE_DEPTH, reliability=ReliabilityPolicy.RELIABLE
        )
        for topic in (*self._plan.fresh, _DIAGNOSTICS.topic):
            item = INTERFACES[topic]
            if topic in self._plan.stamps:
                self._due[topic] = self._plan.stamps[topic]
                self._cursor[topic] = 0
            if self._writer is not None:
                self._writer.add_topic("/" + topic, item.type)
            depth = profile if item.period_ms else qos_profile(item.qos, lockstep=True, publisher=False)
            self.create_subscription(message_type(item.type), topic, self._on_output(topic), depth, raw=True)

    def _on_output(self, topic: str) -> Any:
        paced = topic in self._due

        def on_message(cdr: bytes) -> None:
            self.last_message = time.monotonic()
            if self._writer is not None:
                self._writer.write("/" + topic, cdr)
            if paced:
                self._progress = self.last_message
                self._cursor[topic] = int(np.searchsorted(self._due[topic], header_stamp_ns(cdr), "right"))
                self._advance()

        return on_message

    def _oldest_due_ns(self) -> int:
        return min(
            (int(stamps[at]) for topic, stamps in self._due.items() if (at := self._cursor[topic]) < len(stamps)),
            default=NEVER_NS,
        )

    # ------------------------------------------------------------------ playing

    def _connected(self) -> bool:
        roles = set(self._plan.roles)
        return not self._not_ready and all(
            publisher.get_subscription_count() >= len(roles & set(INTERFACES[topic].consumers))
            for topic, publisher in self._ends.items()
        )

    def _start(self) -> None:
        self._groups = self._grouped()
        self._next = next(self._groups, None)
        self._begun = self._progress = time.monotonic()
        self._first_ns = self._next[0] if self._next else 0

    def _on_watch(self) -> None:
        if self._groups is None:
            if not self._connected():
                return
            self._start()
        if self._remote is not None:
            for word in self._remote.words():
                self._obey(word)
            self._remote.tell(self._next[0] if self._next else self._plan.last_ns)
        if time.monotonic() - self._progress > _PATIENCE_S and not (self._paused or self._rate < 0.0):
            self._give_up()
        self._advance()

    def _give_up(self) -> None:
        """The node that owes the oldest output does not answer: its outputs are no longer waited for."""
        oldest = self._oldest_due_ns()
        for topic in [t for t, at in self._cursor.items() if at < len(self._due[t]) and self._due[t][at] == oldest]:
            self._given_up.append(f"{topic} at {oldest / 1e9:.2f} s from {INTERFACES[topic].producer}")
            self._cursor[topic] = len(self._due[topic])
        self.get_logger().warning(f"given up: {self._given_up[-1]}")
        self._progress = time.monotonic()

    def _advance(self) -> None:
        if self._groups is None or self.finished:
            return
        while self._next is not None:
            stamp_ns, messages = self._next
            if self._oldest_due_ns() < stamp_ns - _LOOK_AHEAD_NS or not self._may_go(stamp_ns):
                return
            self._publish(stamp_ns, messages)
            self._next = next(self._groups, None)
        if self._oldest_due_ns() == NEVER_NS:
            self._played_s = time.monotonic() - self._begun
            self.finished = True

    def _may_go(self, stamp_ns: int) -> bool:
        if self._rate < 0.0 or self._paused:
            if self._steps <= 0:
                return False
            self._steps -= 1
            return True
        if self._rate == 0.0:
            return True
        ahead = (stamp_ns - self._first_ns) / 1e9 / self._rate - (time.monotonic() - self._begun)
        if ahead <= 0.0:
            return True
        if self._pace is None:
            self._pace = self.create_timer(ahead, self._on_pace, clock=steady_clock())
        return False

    def _on_pace(self) -> None:
        self.destroy_timer(self._pace)
        self._pace = None
        self._advance()

    def _publish(self, stamp_ns: int, messages: list[tuple[str, bytes]]) -> None:
        if stamp_ns >= self._next_clock_ns:
            self._clock_publisher.publish(Clock(clock=to_time(stamp_ns)))
            self._next_clock_ns = stamp_ns + _CLOCK_PERIOD_NS
        for topic, cdr in messages:
            self._ends[topic].publish(cdr)

    def _grouped(self) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
        wanted = [c for c in self._reader.connections if table_topic(c.topic) in self._ends]
        rows = ordered(self._reader, wanted, *span(self._from_ns, self._to_ns))
        rows = (row for row in rows if self._from_ns <= row[0] <= self._to_ns)
        for stamp_ns, group in groupby(rows, key=lambda row: row[0]):
            yield stamp_ns, [(table_topic(topic), cdr) for _, topic, cdr in group]

    # ------------------------------------------------------------------ pause and step

    def _make_services(self) -> None:
        try:
            from std_srvs.srv import SetBool, Trigger
        except ImportError:  # a minimal ROS without them plays all the same
            return
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_service(Trigger, "~/step", self._on_step)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        self._begun = time.monotonic() - ((self._next[0] - self._first_ns) / 1e9 / self._rate
                                          if self._next and self._rate > 0.0 else 0.0)  # fmt: skip
        self._progress = time.monotonic()

    def _obey(self, word: str) -> None:
        if word in (PAUSE, GO):
            self._pause(word == PAUSE)
        elif word == STEP:
            self._pause(True)
            self._steps = 1

    def _on_pause(self, request: Any, response: Any) -> Any:
        self._pause(request.data)
        response.success, response.message = True, "paused" if self._paused else "playing"
        self._advance()
        return response

    def _on_step(self, request: Any, response: Any) -> Any:
        self._steps = 1
        self._advance()
        response.success = self._steps == 0
        response.message = f"next is {self._next[0] / 1e9:.2f} s" if self._next else "the bag has ended"
        return response

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            figures = {
                "played_s": round(getattr(self, "_played_s", 0.0), 3),
                "recorded_s": round((self._plan.last_ns - self._first_ns) / 1e9, 3),
                "given_up": self._given_up,
                "complete": self.finished and not self._given_up,
            }
            (self._writer.path / "replay.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        self._open.close()
