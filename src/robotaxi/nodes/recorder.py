"""Recorder node: raw subscriptions to a bag."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from robotaxi.bags.profiles import PROFILES
from robotaxi.bags.provenance import origin
from robotaxi.bags.transforms import TF_TYPE, static_transforms
from robotaxi.bags.writer import BagFormat, BagWriter, header_stamp_ns
from robotaxi.interfaces import INTERFACES, Qos
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import to_record
from robotaxi.nodes.runtime import steady_clock
from robotaxi.params import ParameterError
from robotaxi.sensor_rig import load_rig

_DEPTH = 2000
_WATCH_PERIOD_S = 0.1


class RecorderNode(Node):
    """Writes every message of the profile's topics; says it is ready once it hears every publisher that is due."""

    drain_s = 0.3  # silence after which a stopping recorder has everything

    def __init__(self, **node_options: Any) -> None:
        super().__init__("recorder", **node_options)
        self.declare_parameter("bag", "")
        self.declare_parameter("record_profile", "drive")
        self.declare_parameter("peers", [""])
        for name, default in (("storage", "mcap"), ("split_mb", 0.0), ("split_s", 0.0), ("metadata_version", 9)):
            self.declare_parameter(name, default)
        for name, default in (("map", ""), ("vehicle", ""), ("sensors", ""), ("params_file", "")):
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
        profile, bag = self.get_parameter("record_profile").value, self.get_parameter("bag").value
        if profile not in PROFILES:
            known = ", ".join(sorted(PROFILES))
            raise ParameterError(
                f"node 'recorder': parameter 'record_profile' is {profile!r}, allowed is one of {known}"
            )
        if not bag:
            raise ParameterError("node 'recorder': parameter 'bag' is empty, expected the path of a new bag")
        self._writer = BagWriter(Path(bag), self._format(), self._origin())
        for topic in sorted(PROFILES[profile]):
            item = INTERFACES[topic]
            absolute = self.resolve_topic_name(topic)
            self._writer.add_topic(absolute, item.type)
            durable = item.qos in (Qos.LATCHED, Qos.EVENT)
            profile_qos = (
                qos_profile(item.qos, lockstep=True, publisher=False)
                if durable
                else QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
            )
            self.create_subscription(message_type(item.type), topic, self._on_message(absolute), profile_qos, raw=True)
        if self._value("sensors"):
            self._writer.add_topic("/tf_static", TF_TYPE)
            self._transforms = static_transforms(load_rig(str(self._value("sensors"))), self._writer.types)
        if float(self._value("record_s")) > 0.0:
            self.create_timer(float(self._value("record_s")), self._on_end, clock=steady_clock())
        ready = INTERFACES["system/ready"]
        self._ready = self.create_publisher(
            message_type(ready.type), ready.topic, qos_profile(ready.qos, lockstep=True, publisher=True)
        )
        self._watched = [INTERFACES[topic] for topic in sorted(PROFILES[profile]) if INTERFACES[topic].producer]
        self.create_timer(_WATCH_PERIOD_S, self._on_watch, clock=steady_clock())

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _format(self) -> BagFormat:
        return BagFormat(
            str(self._value("storage")),
            int(self._value("metadata_version")),
            split_mb=float(self._value("split_mb")),
            split_s=float(self._value("split_s")),
        )

    def _origin(self) -> dict[str, str]:
        seed = int(self._value("seed"))
        return origin(
            str(self._value("map")),
            str(self._value("vehicle")),
            str(self._value("sensors")),
            seed=None if seed < 0 else seed,
            params_file=str(self._value("params_file")),
            camera=bool(self._value("camera")),
        )

    def _on_message(self, topic: str) -> Callable[[Any], None]:
        def write(cdr: bytes) -> None:
            self.last_message = time.monotonic()
            if self._full:
                return
            try:
                if self._transforms is not None:
                    self._writer.write_message("/tf_static", self._transforms, header_stamp_ns(cdr))
                    self._transforms = None
                self._writer.write(topic, cdr)
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
            self._ready.publish(to_record("recorder", "ready", {}, 0))

    def close(self) -> None:
        if not hasattr(self, "_writer"):
            return
        try:
            self._writer.close()
        except OSError as error:
            self.get_logger().error(
                f"bag {self._writer.path} is not finished ({error}); `robotaxi bag repair` reads what was written"
            )
