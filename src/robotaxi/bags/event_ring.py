"""The event recorder's disk: a ring of short bags, of which those around an event are kept as one bag.

The ring is on the disk, not in memory: sweeps of 90 s are a gigabyte, and what was written survives the loss of
power. A package shares its files with the ring (hard links), so overlapping events cost nothing twice.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robotaxi.bags.reader import table_topic
from robotaxi.bags.repair import repair
from robotaxi.bags.transforms import TF_STATIC
from robotaxi.bags.writer import BagError, BagFormat, BagWriter, bag_metadata, header_stamp_ns, type_store
from robotaxi.interfaces import INTERFACES, Qos

RING = "ring"
EVENT = "event.yaml"
_INFORMATION = "rosbag2_bagfile_information"
_NEVER_NS = -(1 << 62)


@dataclass
class _Segment:
    writer: BagWriter
    first_ns: int
    last_ns: int


@dataclass
class _Wanted:
    """A package to be: ``name`` of its folder, span of stamps, and what event.yaml will say, asked at its end."""

    name: str
    from_ns: int
    to_ns: int
    story: Callable[[], Mapping[str, Any]]


class EventRing:
    """Takes messages as `BagWriter` does, and keeps the newest.

    ``folder`` gets ``ring/`` and one bag for each event. A ring that is there already was left by a recorder that
    died: it becomes the package ``interrupted-N``, whatever can be read of it. Raises OSError when the disk is full.
    """

    def __init__(
        self, folder: Path, form: BagFormat, custom: Mapping[str, str], before_ns: int, after_ns: int, segment_ns: int
    ) -> None:
        self.path = Path(folder)
        self._form, self._custom = form, dict(custom)
        self._before_ns, self._after_ns, self._segment_ns = before_ns, after_ns, segment_ns
        self._topics: dict[str, str] = {}
        self._latched: dict[str, bytes | None] = {}  # what is said once is in every segment
        self._segments: deque[_Segment] = deque()
        self._number = 0
        self._newest_ns = _NEVER_NS
        self._wanted: list[_Wanted] = []
        self.packages: list[Path] = []
        self._save_what_was_left()
        (self.path / RING).mkdir(parents=True)

    def add_topic(self, topic: str, message_type: str) -> None:
        self._topics[topic] = message_type
        if topic == TF_STATIC or INTERFACES[table_topic(topic)].qos is Qos.LATCHED:
            self._latched[topic] = None

    @property
    def types(self) -> Any:
        """rosbags' message classes by name."""
        return type_store(self._form).types

    def write(self, topic: str, cdr: bytes | memoryview, stamp_ns: int | None = None) -> None:
        """Append one serialised message; completes the packages whose time is over."""
        stamp_ns = header_stamp_ns(cdr) if stamp_ns is None else stamp_ns
        if stamp_ns == 0 and self._segments:  # said without a time
            stamp_ns = self._newest_ns
        if stamp_ns < self._newest_ns - self._before_ns:
            self._clock_restarted()
        self._newest_ns = max(self._newest_ns, stamp_ns)
        if not self._segments or stamp_ns - self._segments[-1].first_ns >= self._segment_ns:
            self._turn(stamp_ns)
        if topic in self._latched:
            self._latched[topic] = bytes(cdr)
        segment = self._segments[-1]
        segment.writer.write(topic, cdr, stamp_ns)
        segment.first_ns, segment.last_ns = min(segment.first_ns, stamp_ns), max(segment.last_ns, stamp_ns)
        if self._wanted and self._newest_ns > self._wanted[0].to_ns:
            self._pack_due(self._newest_ns)

    def write_message(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Append one message of rosbags' types."""
        self.write(topic, bytes(type_store(self._form).serialize_cdr(message, self._topics[topic])), stamp_ns)

    def keep(self, name: str, stamp_ns: int, story: Callable[[], Mapping[str, Any]]) -> Path:
        """Make a package of what is around ``stamp_ns``, once its time is over; returns its folder to be."""
        known = {wanted.name for wanted in self._wanted} | {path.name for path in self.path.iterdir()}
        name = next(n for k in range(1, 1 << 30) if (n := name if k == 1 else f"{name}-{k}") not in known)
        span = stamp_ns - self._before_ns, stamp_ns + self._after_ns
        self._wanted.append(_Wanted(name, *span, story))
        self._wanted.sort(key=lambda wanted: wanted.to_ns)
        return self.path / name

    def close(self) -> None:
        """Complete every package with what is there, and drop the ring."""
        if self._segments:
            self._pack_due(1 << 62)
            self._segments[-1].writer.close()
        shutil.rmtree(self.path / RING)

    # ------------------------------------------------------------------ inside

    def _open(self, stamp_ns: int) -> None:
        self._number += 1
        writer = BagWriter(self.path / RING / f"segment_{self._number:06d}", self._form, self._custom)
        for topic, kind in self._topics.items():
            writer.add_topic(topic, kind)
        for topic, cdr in self._latched.items():
            if cdr is not None:
                writer.write(topic, cdr, stamp_ns)
        self._segments.append(_Segment(writer, stamp_ns, stamp_ns))

    def _turn(self, stamp_ns: int) -> None:
        if self._segments:
            self._segments[-1].writer.close()
        self._open(stamp_ns)
        needed_ns = min([stamp_ns - self._before_ns, *(wanted.from_ns for wanted in self._wanted)])
        while len(self._segments) > 1 and self._segments[0].last_ns < needed_ns:
            shutil.rmtree(self._segments.popleft().writer.path)

    def _pack_due(self, now_ns: int) -> None:
        self._segments[-1].writer.close()
        while self._wanted and self._wanted[0].to_ns < now_ns:
            wanted = self._wanted.pop(0)
            parts = [
                s.writer.path for s in self._segments if s.last_ns >= wanted.from_ns and s.first_ns <= wanted.to_ns
            ]
            if parts:
                self.packages.append(pack(self.path / wanted.name, parts, wanted.story()))
        self._open(self._newest_ns)

    def _clock_restarted(self) -> None:
        """Time went back by more than the ring holds: what was is over."""
        self._pack_due(1 << 62)
        self._segments[-1].writer.close()
        while self._segments:
            shutil.rmtree(self._segments.popleft().writer.path)
        self._newest_ns = _NEVER_NS

    def _save_what_was_left(self) -> None:
        ring = self.path / RING
        if not ring.is_dir():
            return
        parts = []
        for segment in sorted(ring.iterdir()):
            if not (segment / "metadata.yaml").is_file():
                mended = ring / f"{segment.name}_mended"
                try:
                    repair(segment, mended)
                except (BagError, OSError):
                    shutil.rmtree(mended, ignore_errors=True)
                    continue
                segment = mended
            if _information(segment)["message_count"]:
                parts.append(segment)
        if parts:
            numbers = (k for k in range(1, 1 << 30) if not (self.path / f"interrupted-{k}").exists())
            story = {"kind": "interrupted", "sentence": "The recorder ended without being asked to: what it had."}
            self.packages.append(pack(self.path / f"interrupted-{next(numbers)}", parts, story))
        shutil.rmtree(ring)


def pack(package: Path, segments: list[Path], story: Mapping[str, Any]) -> Path:
    """One bag of several finished ones in order of time, sharing their files; ``story`` becomes event.yaml."""
    draft = package.with_name(package.name + ".part")
    draft.mkdir(parents=True)
    parts = [_information(segment) for segment in segments]
    rows: dict[str, dict[str, Any]] = {}
    spans: list[tuple[str, int, int, int]] = []
    for segment, part in zip(segments, parts, strict=True):
        for row in part["topics_with_message_count"]:
            whole = rows.setdefault(row["topic_metadata"]["name"], {**row, "message_count": 0})
            whole["message_count"] += row["message_count"]
        for file in part["files"]:
            path = f"{package.name}_{len(spans)}{Path(file['path']).suffix}"
            os.link(segment / file["path"], draft / path)
            first_ns = file["starting_time"]["nanoseconds_since_epoch"]
            spans.append((path, first_ns, first_ns + file["duration"]["nanoseconds"], file["message_count"]))
    form = BagFormat(parts[-1]["storage_identifier"], parts[-1]["version"])
    metadata = bag_metadata(form, list(rows.values()), spans, parts[-1]["custom_data"])
    (draft / EVENT).write_text(yaml.safe_dump(dict(story), sort_keys=False), encoding="utf-8")
    (draft / "metadata.yaml").write_text(yaml.safe_dump({_INFORMATION: metadata}, sort_keys=False), encoding="utf-8")
    draft.rename(package)
    return package


def _information(segment: Path) -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load((segment / "metadata.yaml").read_text(encoding="utf-8"))[_INFORMATION]
    return whole


def stories(folder: Path) -> list[dict[str, Any]]:
    """event.yaml of every package in ``folder``, with its name as ``package``."""
    files = sorted(folder.glob(f"*/{EVENT}"))
    return [{"package": file.parent.name, **yaml.safe_load(file.read_text(encoding="utf-8"))} for file in files]
