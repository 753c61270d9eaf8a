"""Event recorder node: the last minute and a half on disk, kept for good when something happens."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any

from robotaxi import params
from robotaxi.bags.event_ring import EventRing
from robotaxi.bags.profiles import PROFILES
from robotaxi.bags.writer import header_stamp_ns
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes.cdr import deserialize
from robotaxi.nodes.convert import imu_sample, vehicle_report
from robotaxi.nodes.recorder import RecorderNode
from robotaxi.nodes.records import RecordError, from_record
from robotaxi.safety.events import Event, EventConfig, EventDetector
from robotaxi.types import SystemMode

_IMAGE = "sensing/camera/front/image_raw"
_KEPT_MODES = 3000  # five minutes of them


class EventRecorderNode(RecorderNode):
    """Every topic, of raw images a few, into an `EventRing`. The parameter ``bag`` is the folder of the packages.

    Each package is a bag with ``event.yaml`` beside it: what happened, when, and who commanded what around it.
    """

    role = "event_recorder"
    profile = "all"

    def __init__(self, **node_options: Any) -> None:
        super().__init__(**node_options)
        values = {}
        for spec in dataclasses.fields(EventConfig):
            self.declare_parameter(spec.name, spec.default)
            values[spec.name] = self.get_parameter(spec.name).value
        self._config = params.build(EventConfig, values, f"node '{self.role}'")
        self._detector = EventDetector(self._config)
        self._modes: deque[dict[str, Any]] = deque(maxlen=_KEPT_MODES)
        self._next_image_ns = -(1 << 62)

    def topics(self) -> list[str]:
        return sorted(PROFILES["all"])

    def open_writer(self) -> EventRing:
        config = self._config
        spans = (round(seconds * 1e9) for seconds in (config.before, config.after, config.segment))
        ring = EventRing(Path(self.folder()), self.form(), self.origin(), *spans)
        for package in ring.packages:
            self.get_logger().warning(f"the last recorder did not end by itself; what it had is in {package}")
        return ring

    def hear(self, topic: str, cdr: bytes) -> bool:
        if topic == _IMAGE:
            stamp_ns = header_stamp_ns(cdr)
            if stamp_ns < self._next_image_ns:
                return False
            self._next_image_ns = stamp_ns + round(self._config.image_period * 1e9)
        event = self._event(topic, cdr)
        if event is not None:
            self._keep(event)
        return True

    def _event(self, topic: str, cdr: bytes) -> Event | None:
        if topic not in ("vehicle/status", "sensing/imu/data", "system/mode", "system/mark"):
            return None
        message = deserialize(INTERFACES[topic], cdr)
        try:
            if topic == "vehicle/status":
                report = vehicle_report(message)
                return None if report is None else self._detector.on_report(report)
            if topic == "sensing/imu/data":
                return self._detector.on_imu(imu_sample(message))
            sentence, values = from_record(message)
            stamp_ns = header_stamp_ns(cdr)
            if topic == "system/mark":
                return self._detector.on_mark(stamp_ns or self._newest_ns(), sentence)
            self._note_mode(stamp_ns, sentence, values)
            return self._detector.on_mode(stamp_ns, SystemMode[values["mode"]], sentence)
        except (RecordError, KeyError, ValueError) as error:
            self.get_logger().warning(f"'{topic}': {error}; no event is looked for in it", throttle_duration_sec=1.0)
            return None

    def _newest_ns(self) -> int:
        return int(self._modes[-1]["stamp_ns"]) if self._modes else 0

    def _note_mode(self, stamp_ns: int, sentence: str, values: Any) -> None:
        row = {
            "stamp_ns": stamp_ns,
            "mode": values["mode"],
            "commanded_by": values.get("source", ""),
            "hazard_lights": values.get("hazard_lights", "") == "1",
            "reason": sentence,
        }
        if not self._modes or any(row[key] != self._modes[-1][key] for key in row if key != "stamp_ns"):
            self._modes.append(row)

    def _keep(self, event: Event) -> None:
        config = self._config
        from_ns = event.stamp_ns - round(config.before * 1e9)

        def story() -> dict[str, Any]:
            earlier = [row for row in self._modes if row["stamp_ns"] < from_ns]
            return {
                "kind": event.kind.value,
                "sentence": event.sentence,
                "stamp_ns": event.stamp_ns,
                "before_s": config.before,
                "after_s": config.after,
                "commands": earlier[-1:] + [row for row in self._modes if row["stamp_ns"] >= from_ns],
            }

        name = f"{event.stamp_ns // 1_000_000_000:06d}s-{event.kind.value}"
        package = self._writer.keep(name, event.stamp_ns, story)
        self.get_logger().warning(f"event: {event.sentence} What is around it will be in {package}")
