"""Writes bags that ROS 2's own tools read, from serialised messages or from rosbags' types.

mcap (zstd) or sqlite3, in one file or split by size and time, metadata version 8 or 9. What is written
stays readable whatever happens to the process: see `storage` and `repair`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2.metadata import dump_qos_v8, dump_qos_v9
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.storage import STORAGES

_STAMP = struct.Struct("<iI")
_ENCAPSULATION_BYTES = 4
_NS_PER_S = 1_000_000_000
_TF_PERIOD_NS = 100_000_000
_STATE_TOPIC = "localization/kinematic_state"
_IDL_MARK = "=" * 80 + "\nIDL: "
VERSIONS = (8, 9)
NATIVE, KEYS_VERSION = "robotaxi", "1"  # custom data that tells our bags: stored under their header's stamps
ORIGIN = "origin.yaml"  # the custom data, in a file of its own


class BagError(ValueError):
    """A bag that cannot be written or read; the message names the file, what is wrong and what helps."""


def header_stamp_ns(cdr: bytes | memoryview) -> int:
    """Stamp of a serialised message that begins with a std_msgs/Header (little endian CDR)."""
    sec, nanosec = _STAMP.unpack_from(cdr, _ENCAPSULATION_BYTES)
    return int(sec) * _NS_PER_S + int(nanosec)


def with_stamp(cdr: bytes | memoryview, stamp_ns: int) -> bytes:
    """The same message with another header stamp."""
    out = bytearray(cdr)
    _STAMP.pack_into(out, _ENCAPSULATION_BYTES, *divmod(stamp_ns, _NS_PER_S))
    return bytes(out)


@dataclass(frozen=True)
class BagFormat:
    """How a bag is stored. ``version``: of metadata.yaml, 8 for Humble, 9 for Jazzy and later.

    A file is closed and the next one begun at ``split_mb`` or ``split_s`` (recorded time); 0 never.
    """

    storage: str = "mcap"
    version: int = 9
    compress: bool = True
    split_mb: float = 0.0
    split_s: float = 0.0

    def __post_init__(self) -> None:
        if self.storage not in STORAGES:
            raise BagError(f"bag storage '{self.storage}' is unknown; known are: {', '.join(STORAGES)}")
        if self.version not in VERSIONS:
            raise BagError(
                f"bag metadata version {self.version} is unknown; known are: 8 (Humble), 9 (Jazzy and later)"
            )


def type_store(form: BagFormat) -> Any:
    """rosbags' types of the distribution that the format is for."""
    return get_typestore(Stores.ROS2_HUMBLE if form.version == 8 else Stores.ROS2_KILTED)


@dataclass
class _File:
    path: Path
    storage: Any
    first_ns: int = 1 << 62
    last_ns: int = 0
    counts: dict[int, int] = field(default_factory=dict)


class BagWriter:
    """One bag under way. Messages are stamped with their header's time, so a bag does not depend on the wall clock.

    ``/tf`` (map to base_link, 10 Hz) is made from the localization state: the bag library knows the
    type even where tf2_msgs is not installed. ``native``: stored under
    header stamps, as this stack does. ``custom``: what metadata.yaml says of the bag's origin.
    Raises BagError when ``path`` exists: nothing is overwritten.
    """

    def __init__(
        self,
        path: Path,
        form: BagFormat | None = None,
        custom: Mapping[str, str] | None = None,
        tf: bool = True,
        native: bool = True,
    ) -> None:
        self.path, self.form = Path(path), form or BagFormat()
        self._types = type_store(self.form)
        self._custom = {**({NATIVE: KEYS_VERSION} if native else {}), **(custom or {})}
        self._makes_tf = tf
        self._connections: dict[str, Connection] = {}
        self._files: list[_File] = []
        self._next_tf_ns = -(1 << 62)
        self.count = 0
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise BagError(f"bag {self.path} exists already; nothing is overwritten, choose another name") from None
        # beside the storage from the first moment: metadata.yaml comes at the end, or never
        (self.path / ORIGIN).write_text(yaml.safe_dump(self._custom, sort_keys=True), encoding="utf-8")

    @property
    def types(self) -> Any:
        """rosbags' message classes by name."""
        return self._types.types

    def note(self, key: str, value: str) -> None:
        """One more line of custom data for metadata.yaml."""
        self._custom[key] = value

    def add_topic(self, topic: str, message_type: str, definition: tuple[str, str] | None = None) -> None:
        """``topic`` absolute, e.g. '/vehicle/command'. ``definition``: (text, hash) of a type that is not known here.

        Raises BagError for an unknown type without a definition.
        """
        if definition is None:
            if message_type not in self._types.types:
                raise BagError(f"topic '{topic}': message type '{message_type}' is not known and has no definition")
            text, _ = self._types.generate_msgdef(message_type, ros_version=2)
            definition = text, self._types.hash_rihs01(message_type)
        kind = MessageDefinitionFormat.IDL if definition[0].startswith(_IDL_MARK) else MessageDefinitionFormat.MSG
        connection = Connection(
            len(self._connections) + 1, topic, message_type, MessageDefinition(kind, definition[0]), definition[1], 0,
            ConnectionExtRosbag2("cdr", []), self,
        )  # fmt: skip
        self._connections[topic] = connection
        if self._files:
            self._introduce(self._files[-1], [connection])

    def write(self, topic: str, cdr: bytes | memoryview, stamp_ns: int | None = None) -> None:
        """Append one serialised message; without ``stamp_ns`` the header's stamp is used. OSError: disk full."""
        if stamp_ns is None:
            stamp_ns = header_stamp_ns(cdr)
        stamp_ns = max(stamp_ns, 0)  # no format knows a time before 0; the header keeps what was said
        connection, file = self._connections[topic], self._file_for(stamp_ns)
        file.storage.write(connection, stamp_ns, cdr)
        file.first_ns, file.last_ns = min(file.first_ns, stamp_ns), max(file.last_ns, stamp_ns)
        file.counts[connection.id] = file.counts.get(connection.id, 0) + 1
        self.count += 1
        if self._makes_tf and stamp_ns >= self._next_tf_ns and topic.endswith(_STATE_TOPIC):
            self._next_tf_ns = stamp_ns + _TF_PERIOD_NS
            self._write_tf(topic.removesuffix(_STATE_TOPIC), cdr, stamp_ns)

    def write_message(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Append one message of rosbags' types."""
        cdr = self._types.serialize_cdr(message, self._connections[topic].msgtype)
        self.write(topic, bytes(cdr), stamp_ns)

    def counts(self, topic: str) -> int:
        """Messages of the topic so far."""
        number = self._connections[topic].id
        return sum(file.counts.get(number, 0) for file in self._files)

    def close(self) -> None:
        """Finish the last file and write metadata.yaml. A file whose disk is full is left as it is."""
        if not self._files:
            self._new_file()
        try:
            self._close_file(self._files[-1])
            text = yaml.safe_dump({"rosbag2_bagfile_information": self._metadata(self._files)}, sort_keys=False)
            draft = self.path / "metadata.yaml.tmp"
            draft.write_text(text, encoding="utf-8")
            draft.replace(self.path / "metadata.yaml")
        except OSError:
            self._files[-1].storage.abandon()
            raise

    # ------------------------------------------------------------------ files

    def _file_for(self, stamp_ns: int) -> _File:
        if not self._files:
            return self._new_file()
        file, form = self._files[-1], self.form
        too_big = form.split_mb > 0.0 and file.storage.size >= form.split_mb * 1e6
        too_long = form.split_s > 0.0 and file.counts and stamp_ns - file.first_ns >= form.split_s * 1e9
        if not (too_big or too_long):
            return file
        self._close_file(file)
        return self._new_file()

    def _new_file(self) -> _File:
        make, suffix = STORAGES[self.form.storage]
        path = self.path / f"{self.path.name}_{len(self._files)}{suffix}"
        file = _File(path, make(path, self.form.compress))
        self._files.append(file)
        self._introduce(file, list(self._connections.values()))
        return file

    def _introduce(self, file: _File, connections: list[Connection]) -> None:
        known = {c.msgtype for c in self._connections.values() if c.id in file.counts}
        for connection in connections:
            if connection.msgtype not in known:
                known.add(connection.msgtype)
                file.storage.add_msgtype(connection)
            file.storage.add_connection(connection, "")
            file.counts[connection.id] = 0

    def _close_file(self, file: _File) -> None:
        file.storage.close(self.form.version, yaml.safe_dump(self._metadata([file]), sort_keys=False).strip())

    def _metadata(self, files: list[_File]) -> dict[str, Any]:
        rows = [
            topic_row(connection, sum(f.counts.get(connection.id, 0) for f in files), self.form.version)
            for connection in self._connections.values()
        ]
        spans = [(f.path.name, f.first_ns, f.last_ns, sum(f.counts.values())) for f in files]
        return bag_metadata(self.form, rows, spans, self._custom)

    def _write_tf(self, prefix: str, odometry_cdr: bytes | memoryview, stamp_ns: int) -> None:
        types = self._types.types
        state: Any = self._types.deserialize_cdr(odometry_cdr, "nav_msgs/msg/Odometry")
        position, orientation = state.pose.pose.position, state.pose.pose.orientation
        if not math.isfinite(position.x) or state.pose.covariance[0] < 0.0:
            return
        if "/tf" not in self._connections:
            self.add_topic("/tf", "tf2_msgs/msg/TFMessage")
        translation = types["geometry_msgs/msg/Vector3"](x=position.x, y=position.y, z=position.z)
        transform = types["geometry_msgs/msg/TransformStamped"](
            header=state.header,
            child_frame_id=prefix.strip("/") + "/base_link" if prefix.strip("/") else "base_link",
            transform=types["geometry_msgs/msg/Transform"](translation=translation, rotation=orientation),
        )
        self.write_message("/tf", types["tf2_msgs/msg/TFMessage"](transforms=[transform]), stamp_ns)


def topic_row(connection: Connection, count: int, version: int) -> dict[str, Any]:
    """One topic of metadata.yaml."""
    dump_qos: Any = dump_qos_v9 if version >= 9 else dump_qos_v8
    qos = connection.ext.offered_qos_profiles if isinstance(connection.ext, ConnectionExtRosbag2) else []
    return {
        "topic_metadata": {
            "name": connection.topic,
            "type": connection.msgtype,
            "serialization_format": "cdr",
            "offered_qos_profiles": dump_qos(list(qos)),
            "type_description_hash": connection.digest,
        },
        "message_count": count,
    }


def bag_metadata(
    form: BagFormat, rows: list[dict[str, Any]], spans: list[tuple[str, int, int, int]], custom: Mapping[str, str]
) -> dict[str, Any]:
    """metadata.yaml's content. ``spans``: (file name, first stamp, last stamp, messages)."""

    def span(first_ns: int, last_ns: int) -> dict[str, Any]:
        known = first_ns <= last_ns
        return {
            "duration": {"nanoseconds": last_ns - first_ns if known else 0},
            "starting_time": {"nanoseconds_since_epoch": first_ns if known else 0},
        }

    return {
        "version": form.version,
        "storage_identifier": form.storage,
        "relative_file_paths": [name for name, *_ in spans],
        **span(min(first for _, first, _, _ in spans), max(last for _, _, last, _ in spans)),
        "message_count": sum(count for *_, count in spans),
        "topics_with_message_count": rows,
        "compression_format": "",
        "compression_mode": "",
        "files": [{"path": name, **span(first, last), "message_count": count} for name, first, last, count in spans],
        "custom_data": dict(custom),
        "ros_distro": "humble" if form.version == 8 else "kilted",
    }
