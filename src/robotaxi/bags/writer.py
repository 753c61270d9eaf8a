"""Writes mcap bags that ROS 2's own tools read, from serialised messages or from rosbags' types."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

_STAMP = struct.Struct("<iI")
_ENCAPSULATION_BYTES = 4
_NS_PER_S = 1_000_000_000
_TF_PERIOD_NS = 100_000_000
_STATE_TOPIC = "localization/kinematic_state"


def header_stamp_ns(cdr: bytes) -> int:
    """Stamp of a serialised message that begins with a std_msgs/Header (little endian CDR)."""
    sec, nanosec = _STAMP.unpack_from(cdr, _ENCAPSULATION_BYTES)
    return int(sec) * _NS_PER_S + int(nanosec)


class BagWriter:
    """One bag under way. Messages are stamped with their header's time, so a bag does not depend on the wall clock.

    ``/tf`` (map to base_link, 10 Hz) is made from the localization state: the bag library knows the
    type even where tf2_msgs is not installed.
    """

    def __init__(self, path: Path, version: int = 9) -> None:
        self._types = get_typestore(Stores.ROS2_HUMBLE if version == 8 else Stores.ROS2_KILTED)
        self._writer = Writer(path, version=version, storage_plugin=StoragePlugin.MCAP)  # type: ignore[arg-type]
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        self._next_tf_ns = 0
        self.count = 0

    def add_topic(self, topic: str, message_type: str) -> None:
        """``topic`` absolute, e.g. '/vehicle/command'."""
        self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=self._types)

    def write(self, topic: str, cdr: bytes, stamp_ns: int | None = None) -> None:
        """Append one serialised message; without ``stamp_ns`` the header's stamp is used."""
        if stamp_ns is None:
            stamp_ns = header_stamp_ns(cdr)
        self._writer.write(self._connections[topic], stamp_ns, cdr)
        self.count += 1
        if topic.endswith(_STATE_TOPIC) and stamp_ns >= self._next_tf_ns:
            self._next_tf_ns = stamp_ns + _TF_PERIOD_NS
            self._write_tf(topic.removesuffix(_STATE_TOPIC), cdr, stamp_ns)

    def write_message(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Append one message of rosbags' types."""
        cdr = self._types.serialize_cdr(message, self._connections[topic].msgtype)
        self.write(topic, bytes(cdr), stamp_ns)

    def close(self) -> None:
        self._writer.close()

    def _write_tf(self, prefix: str, odometry_cdr: bytes, stamp_ns: int) -> None:
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
