"""Recorder node: raw subscriptions to a bag."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from robotaxi.bags.profiles import BULKY, PROFILES
from robotaxi.bags.provenance import origin as origin_of
from robotaxi.bags.transforms import TF_STATIC, TF_TYPE, static_transforms
from robotaxi.bags.writer import BagFormat, BagWriter, header_stamp_ns
from robotaxi.interfaces import INTERFACES, Qos
from robotaxi.nodes.clocks import steady_clock
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_record
from robotaxi.params import ParameterError
from robotaxi.sensor_rig import load_rig

_DEPTH, _BULKY_DEPTH = 2000, 100  # of the queues: some ten seconds of what is big, at most 200 MB
_WATCH_PERIOD_S = 0.1


class RecorderNode(Node):
    """Writes every message of the profile's topics; says it is ready once it hears every publisher that is due."""

    drain_s = 0.3  # silence after which a stopping recorder has everything

    role = "recorder"
    profile = "drive"  # unless the parameter says otherwise

    def __init__(self, **node_options: Any) -> None:
        super().__init__(self.role, **node_options)
        self.declare_parameter("bag", "")
        self.declare_parameter("record_profile", self.profile)
        self.declare_parameter("peers", [""])
        for name, default in (("storage", "mcap"), ("split_mb", 0.0), ("split_s", 0.0), ("metadata_version", 9)):
            self.declare_parameter(name, default)
        for name, default in (("map", ""), ("vehicle", ""), ("sensors", ""), ("odd", ""), ("params_file", "")):
            self.declare_parameter(name, default)
        self.declare_parameter("seed", -1)
        self.declare_parameter("camera", True)
        self.declare_parameter("record_s", 0.0)  # wall time after which it ends by itself; 0 never
        self.finished = False
        self._full = False
        self._transforms: Any = None  # written before the first message, under its stamp
        self.last_message = time.monotonic()
        self._announced = False

    def autostart(self) -> None:
        topics = self.topics()
        self._writer = self.open_writer()
        for topic in topics:
            item = INTERFACES[topic]
            absolute = self.resolve_topic_name(topic)
            self._writer.add_topic(absolute, item.type)
            durable = item.qos in (Qos.LATCHED, Qos.EVENT)
            profile_qos = (
                qos_profile(item.qos, lockstep=True, publisher=False)
                if durable
                else QoSProfile(
                    history=HistoryPolicy.KEEP_LAST,
                    depth=_BULKY_DEPTH if topic in BULKY else _DEPTH,
                    reliability=ReliabilityPolicy.RELIABLE,
                )
            )
            self.create_subscription(
                message_type(item.type), topic, self._on_message(topic, absolute), profile_qos, raw=True
            )
        if self._value("sensors"):
            self._writer.add_topic(TF_STATIC, TF_TYPE)
            self._transforms = static_transforms(load_rig(str(self._value("sensors"))), self._writer.types)
        if float(self._value("record_s")) > 0.0:
            self.create_timer(float(self._value("record_s")), self._on_end, clock=steady_clock())
        ready = INTERFACES["system/ready"]
        self._ready = self.create_publisher(
            message_type(ready.type), ready.topic, qos_profile(ready.qos, lockstep=True, publisher=True)
        )
        self._watched = [INTERFACES[topic] for topic in topics if INTERFACES[topic].producer]
        self.create_timer(_WATCH_PERIOD_S, self._on_watch, clock=steady_clock())

    def topics(self) -> list[str]:
        """What is recorded, by the names of the interface table."""
        profile = self._value("record_profile")
        if profile not in PROFILES:
            known = ", ".join(sorted(PROFILES))
            raise ParameterError(
                f"node '{self.role}': parameter 'record_profile' is {profile!r}, allowed is one of {known}"
            )
        return sorted(PROFILES[profile])

    def open_writer(self) -> Any:
        """Where messages go: a `BagWriter`, or what takes them in the same way."""
        return BagWriter(Path(self.folder()), self.form(), self.origin())

    def hear(self, topic: str, cdr: bytes) -> bool:
        """Called with each message before it is written; False keeps it out."""
        return True

    def folder(self) -> str:
        """The parameter 'bag'. Raises ParameterError when it is empty."""
        bag = str(self._value("bag"))
        if not bag:
            raise ParameterError(f"node '{self.role}': parameter 'bag' is empty, expected the path of a new bag")
        return bag

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def form(self) -> BagFormat:
        return BagFormat(
            str(self._value("storage")),
            int(self._value("metadata_version")),
            split_mb=float(self._value("split_mb")),
            split_s=float(self._value("split_s")),
        )

    def origin(self) -> dict[str, str]:
        seed = int(self._value("seed"))
        return origin_of(
            str(self._value("map")),
            str(self._value("vehicle")),
            str(self._value("sensors")),
            seed=None if seed < 0 else seed,
            params_file=str(self._value("params_file")),
            camera=bool(self._value("camera")),
            odd=str(self._value("odd")),
        )

    def _on_message(self, topic: str, absolute: str) -> Callable[[Any], None]:
        def write(cdr: bytes) -> None:
            self.last_message = time.monotonic()
            if self._full:
                return
            try:
                if not self.hear(topic, cdr):
                    return
                if self._transforms is not None:
                    self._writer.write_message(TF_STATIC, self._transforms, header_stamp_ns(cdr))
                    self._transforms = None
                self._writer.write(absolute, cdr)
            except struct.error:
                self.get_logger().warning(
                    f"'{topic}': a message of {len(cdr)} bytes has no header; not recorded", throttle_duration_sec=1.0
                )
            except OSError as error:
                # the ride goes on without its recording rather than end with it
                self._full = True
                self.get_logger().error(f"recording to {self._writer.path} stopped, what was written is kept: {error}")

        return write

    def _on_end(self) -> None:
        self.finished = True

    def _on_watch(self) -> None:
        peers = set(self.get_parameter("peers").value)
        heard = all(self.count_publishers(item.topic) for item in self._watched if item.producer in peers)
        if not self._announced and heard:
            self._announced = True
            self._ready.publish(to_record(self.role, "ready", {}, 0))

    def close(self) -> None:
        if not hasattr(self, "_writer"):
            return
        try:
            self._writer.close()
        except OSError as error:
            self.get_logger().error(
                f"bag {self._writer.path} is not finished ({error}); `robotaxi bag repair` reads what was written"
            )
