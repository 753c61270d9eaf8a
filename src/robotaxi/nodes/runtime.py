"""The one base of every node: ends from the interface table, logical execution time, life cycle.

A node names its trigger (the input whose arrival starts an activation), its period, and `activate`.
The base subscribes to what the table says the node reads, publishes what it writes, and calls
`activate(u)` once every input that counts at ``u`` is here. Nothing ever blocks: an activation that
waits is taken up by the arrival that completes it, so many nodes can share one executor.

Under simulated time (``use_sim_time``) inputs are exact (lock step). A wait is bounded: after
``wait_timeout_s`` of wall time the missing input is declared late and the node goes on without it.
The bounds grow along the chain (perception before planning before control before the gate), so one
dead node is found by its direct consumers and by nobody else.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robotaxi import params
from robotaxi.bags.profiles import records
from robotaxi.interfaces import INTERFACES, Interface, inputs_of, outputs_of
from robotaxi.nodes.cdr import CdrError, decoder, publishable, stamp_ns
from robotaxi.nodes.clocks import steady_clock
from robotaxi.nodes.inject import Injector
from robotaxi.nodes.let import InputBuffer
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.pace import Pace
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_record

T = TypeVar("T")
_WATCH_PERIOD_S = 0.1
_CONNECT_PATIENCE_S = 15.0  # then a node says which ends are not matched
_SAME_CLOCK_NS = 10_000_000_000  # a trigger farther back was stamped by another clock than ours
_EARLY_NS = 500_000_000  # no node runs so far ahead of another
_DIAGNOSTIC_PERIOD_NS = 1_000_000_000
_REPLAY_PATIENCE = 10.0
_READY = INTERFACES["system/ready"]
_DIAGNOSTICS = INTERFACES["diagnostics"]


class StackNode(LifecycleNode):
    """Base of the stack's nodes. Subclasses set the class attributes and implement `setup` and `activate`."""

    role: str  # name in the interface table
    trigger: str  # topic whose messages start activations
    period_ns: int
    phase_ns: int = 0
    trigger_counts_at_once: bool = True
    wait_timeout_s: float = 4.0
    self_paced: bool = False  # on the wall clock it runs also while its trigger is silent

    def __init__(self, name: str | None = None, **node_options: Any) -> None:
        super().__init__(name or self.role, **node_options)
        self.lockstep = bool(self.get_parameter("use_sim_time").value)
        self.declare_parameter("autostart", True)
        self.declare_parameter("peers", [""])
        self.declare_parameter("record_profile", "")
        self.declare_parameter("left_out", [""])
        self.declare_parameter("played", [""])
        self.declare_parameter("gaps", [""])
        self._played = {topic for topic in self.get_parameter("played").value if topic}
        if self._played:  # whoever plays the bag watches over the processes: a slow machine is no dead node
            self.wait_timeout_s *= _REPLAY_PATIENCE
        self._bus: Any = None
        self._pacer: Any = None
        self.declare_parameter("inject", [""])
        self._injector = Injector(self.get_parameter("inject").value, self.role)
        self._inputs: dict[str, InputBuffer] = {}
        self.absent_inputs: set[str] = set()  # no node of this run writes them
        self._outputs: dict[str, Any] = {}
        self._input_ends: list[Any] = []
        self._pending: deque[int] = deque()
        self._waiting_since: float | None = None
        self._active = False
        self._announced = False
        self._active_since = 0.0
        self._told_missing = False
        self._pumping = False
        self._activation_pace = Pace(self.period_ns, self.phase_ns, self.lockstep)
        self._latency_ms: list[float] = []
        self._failure: Exception | None = None
        self._last_diagnostic_ns = 0
        self._status = (b"\0", "running")

    # ------------------------------------------------------------------ for subclasses

    def setup(self) -> None:
        """Read parameters, load maps, build the core, warm it up. Raise ValueError with a sentence if it cannot be."""
        raise AssertionError("a node must implement setup")

    def activate(self, at_ns: int) -> None:
        """Run once at logical time ``at_ns``: read with `read`, write with `write`."""
        raise AssertionError("a node must implement activate")

    def config(self, config_type: type[T], prefix: str = "") -> T:
        """Declare every field of a config dataclass as a ROS parameter and return the checked values.

        Raises params.ParameterError naming node, parameter, value and allowed range.
        """
        values: dict[str, Any] = {}
        for spec in dataclasses.fields(config_type):  # type: ignore[arg-type]
            name = f"{prefix}.{spec.name}" if prefix else spec.name
            values[spec.name] = self.parameter(name, spec.default)
        return params.build(config_type, values, f"node '{self.get_name()}'")

    def parameter(self, name: str, default: Any) -> Any:
        """Declare one parameter (any type, so that a wrong one is named rather than raised by rcl)."""
        if not self.has_parameter(name):
            from rcl_interfaces.msg import ParameterDescriptor

            self.declare_parameter(name, default, ParameterDescriptor(dynamic_typing=True))
        return self.get_parameter(name).value

    def read(self, topic: str, at_ns: int) -> Any:
        """Decoded message of the topic that counts at ``at_ns``; None if there is none."""
        found = self._inputs[topic].get(at_ns)
        return None if found is None else found[1]

    def read_stamped(self, topic: str, at_ns: int) -> tuple[int, Any] | None:
        """Like `read`, with the message's stamp."""
        return self._inputs[topic].get(at_ns)

    def lost_inputs(self) -> tuple[str, ...]:
        """Topics that were waited for in vain and have not come back; not those that nobody of this run writes."""
        return tuple(topic for topic, buffer in self._inputs.items() if buffer.late and topic not in self.absent_inputs)

    def early_inputs(self, at_ns: int) -> dict[str, int]:
        """Topics whose newest stamp is far ahead of ``at_ns``, and by how much (ns): their clock is wrong. None where
        most are: then this node is behind."""
        ahead = {topic: buffer.newest_ns - at_ns for topic, buffer in self._inputs.items()}
        early = {topic: by_ns for topic, by_ns in ahead.items() if by_ns > _EARLY_NS}
        return early if 2 * len(early) < len(ahead) else {}

    def write(self, topic: str, message: Any) -> None:
        if self._injector.idle:
            self._outputs[topic].publish(publishable(message))
            return
        for item in self._injector.outgoing(topic, message):
            self._outputs[topic].publish(publishable(item))

    def set_status(self, ok: bool, sentence: str) -> None:
        """What the node says of itself in /diagnostics."""
        self._status = (b"\0" if ok else b"\1", sentence)

    def measurements(self) -> dict[str, str]:
        """Further values for the node's diagnostics, taken once a second."""
        return {}

    def listened_to(self, topic: str) -> bool:
        """Whether anybody subscribes to an output of this node (pictures for people are made only then)."""
        return self._outputs[topic].get_subscription_count() > 0

    # ------------------------------------------------------------------ life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self.setup()
        except Exception as error:
            self._failure = error
            self.get_logger().error(f"cannot be configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._failure = None
        self._outputs = {item.topic: self._publisher(item) for item in (*outputs_of(self.role), _DIAGNOSTICS, _READY)}
        gaps = self._gaps()
        for item in inputs_of(self.role):
            at_once = item.topic == self.trigger and self.trigger_counts_at_once
            decode = self._bus.decoder(item) if self._bus is not None else decoder(item)
            self._inputs[item.topic] = InputBuffer(
                item, decode, self.lockstep, 0 if at_once else item.let_ns, gaps=gaps.get(item.topic, ())
            )
            self._subscribe(item, self._on_input(item.topic))
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = True
        self._active_since = time.monotonic()
        self._watch = self.create_timer(_WATCH_PERIOD_S, self._on_watch, clock=steady_clock())
        if self.self_paced and not self.lockstep and self._bus is None:
            self._pacer = self.create_timer(self.period_ns * 1e-9, self._on_pace, clock=steady_clock())
        return super().on_activate(state)

    def _on_pace(self) -> None:
        """The trigger of a node that may not stop has ceased: run without it."""
        now_ns = self.get_clock().now().nanoseconds
        silent_ns = now_ns - self._activation_pace.last_ns
        silent = 1.5 * self.period_ns < silent_ns < _SAME_CLOCK_NS and not self._pending
        if silent and self._activation_pace.due(now_ns):
            self._pending.append(now_ns)
            self._pump()

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = False
        self.destroy_timer(self._watch)
        if self._pacer is not None:
            self.destroy_timer(self._pacer)
            self._pacer = None
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        for publisher in self._outputs.values():
            self.destroy_publisher(publisher)
        for subscription in self._input_ends:
            self.destroy_subscription(subscription)
        self._outputs.clear()
        self._input_ends.clear()
        self._inputs.clear()
        self._pending.clear()
        return TransitionCallbackReturn.SUCCESS

    def autostart(self) -> None:
        """Configure and activate unless the parameters say otherwise; raises what `setup` raised."""
        if not self.get_parameter("autostart").value or self.role in self.get_parameter("left_out").value:
            return
        self.trigger_configure()
        if self._failure is not None:
            raise self._failure
        self.trigger_activate()

    def start_on(self, bus: Any) -> None:
        """Like `autostart`, but hears and speaks on ``bus`` (see `nodes.direct`) instead of the middleware."""
        self._bus = bus
        self.autostart()
        self._expect_nothing_of_the_absent()

    # ------------------------------------------------------------------ inside

    def _publisher(self, item: Interface) -> Any:
        if self._bus is not None:
            return self._bus.publisher(item.topic)
        return self.create_publisher(
            message_type(item.type), item.topic, qos_profile(item.qos, lockstep=self.lockstep, publisher=True)
        )

    def _subscribe(self, item: Interface, callback: Callable[[bytes], None]) -> None:
        if self._bus is not None:
            self._bus.subscribe(item.topic, callback)
            return
        profile = qos_profile(item.qos, lockstep=self.lockstep, publisher=False)
        end = self.create_subscription(message_type(item.type), item.topic, callback, profile, raw=True)
        self._input_ends.append(end)

    def _on_input(self, topic: str) -> Callable[[bytes], None]:
        def on_message(cdr: bytes) -> None:
            if not self._active:
                return
            try:
                at_ns = stamp_ns(cdr)
            except CdrError as error:
                self.get_logger().warning(f"'{topic}': {error}; ignored", throttle_duration_sec=1.0)
                return
            self.absent_inputs.discard(topic)
            if back_ns := self._inputs[topic].push(at_ns, cdr):
                self.get_logger().warning(
                    f"'{topic}': time has gone back by {back_ns * 1e-9:.1f} s; what came before is forgotten"
                )
            if topic == self.trigger and self._activation_pace.due(at_ns):
                self._pending.append(at_ns)
            self._pump()

        return on_message

    def _expect_nothing_of_the_absent(self) -> None:
        """An input that no node of this run writes is not waited for (no dispatch bridge: no goal)."""
        peers = {name for name in self.get_parameter("peers").value if name}
        for topic, buffer in self._inputs.items():
            given = buffer.interface.producer in peers or topic in self._played
            if peers and not given and self.count_publishers(topic) == 0:
                buffer.late = True
                self.absent_inputs.add(topic)

    def _gaps(self) -> dict[str, list[tuple[int, int]]]:
        """What a replay says of stamps that will not come: 'topic first last', sorted."""
        out: dict[str, list[tuple[int, int]]] = {}
        for row in filter(None, self.get_parameter("gaps").value):
            topic, first, last = row.split()
            out.setdefault(topic, []).append((int(first), int(last)))
        return out

    def _pump(self) -> None:
        """Run every pending activation whose inputs are here, in order."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._pending and all(buffer.ready(self._pending[0]) for buffer in self._inputs.values()):
                self._waiting_since = None
                at_ns = self._pending.popleft()
                started = time.perf_counter()
                self.activate(at_ns)
                self._injector.drag(at_ns, time.perf_counter() - started)
                self._latency_ms.append((time.perf_counter() - started) * 1e3)
                self._diagnose(at_ns)
        finally:
            self._pumping = False
        if self._pending and self._waiting_since is None:
            self._waiting_since = time.monotonic()

    def _on_watch(self) -> None:
        if not self._announced:
            self._announce()
        if self._waiting_since is None or time.monotonic() - self._waiting_since < self.wait_timeout_s:
            return
        at_ns = self._pending[0]
        for topic, buffer in self._inputs.items():
            if not buffer.ready(at_ns):
                buffer.late = True
                self.get_logger().warning(
                    f"Nothing on '{topic}' for {self.wait_timeout_s:g} s, "
                    f"due at t={at_ns / 1e9:.2f} s: going on without it."
                )
        self._waiting_since = None
        self._pump()

    def _announce(self) -> None:
        """Say that this node is ready once its ends are matched, or what they still lack."""
        missing = self._missing_ends()
        if not missing and self.is_ready():
            self._announced = True
            self._expect_nothing_of_the_absent()
            self.write(_READY.topic, to_record(self.get_name(), "ready", {}, 0))
        elif missing and not self._told_missing and time.monotonic() - self._active_since > _CONNECT_PATIENCE_S:
            self._told_missing = True
            self.get_logger().warning(f"not connected after {_CONNECT_PATIENCE_S:g} s: {'; '.join(missing)}")

    def is_ready(self) -> bool:
        """Whether more than connections is in place; subclasses may add conditions."""
        return True

    def _missing_ends(self) -> list[str]:
        """Ends of the table that are not matched with a living peer, as people read it."""
        peers = {name for name in self.get_parameter("peers").value if name}
        if not peers:
            return []
        profile = self.get_parameter("record_profile").value
        missing = []
        for item in inputs_of(self.role):
            if (item.producer in peers or item.topic in self._played) and self.count_publishers(item.topic) == 0:
                missing.append(f"nobody writes {item.topic} ({item.producer})")
        for item in outputs_of(self.role):
            consumers = [consumer for consumer in item.consumers if consumer in peers]
            if self._played or (profile and records(profile, item.topic)):
                consumers.append("bag_player" if self._played else "recorder")
            heard = self._outputs[item.topic].get_subscription_count()
            if heard < len(consumers):
                missing.append(f"{heard} of {len(consumers)} hear {item.topic} ({', '.join(consumers)})")
        return missing

    def _diagnose(self, at_ns: int) -> None:
        if 0 <= at_ns - self._last_diagnostic_ns < _DIAGNOSTIC_PERIOD_NS:
            return
        self._last_diagnostic_ns = at_ns
        level, sentence = self._status
        lost = self.lost_inputs()
        if lost:
            level, sentence = b"\2", "no data on " + ", ".join(lost)
        values = {"latency_ms": joined(self._latency_ms), **self.measurements()}
        self._latency_ms.clear()
        self.write(_DIAGNOSTICS.topic, to_record(self.get_name(), sentence, values, at_ns, level))


def joined(samples: Sequence[float]) -> str:
    """Samples as one value of a diagnostic message."""
    return ",".join(f"{value:.2f}" for value in samples)
