"""Lists of records as sensor_msgs/PointCloud2, single records as diagnostic_msgs/DiagnosticArray.

Big or frequent messages are made as rosbags' types (see `cdr`): without a copy of their data, and at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rosbags.typesys import Stores, get_typestore

from robotaxi import pointcloud2
from robotaxi.types import RecordArray

NS_PER_S = 1_000_000_000
TYPES = get_typestore(Stores.ROS2_KILTED)
_TIME, _HEADER = TYPES.types["builtin_interfaces/msg/Time"], TYPES.types["std_msgs/msg/Header"]


class RecordError(ValueError):
    """A message whose fields are not those that the topic promises."""


def to_time(stamp_ns: int) -> Time:
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return Time(sec=sec, nanosec=nanosec)


def to_ns(time: Time) -> int:
    return int(time.sec) * NS_PER_S + int(time.nanosec)


def header(stamp_ns: int, frame: str) -> Any:
    """A header of rosbags' types."""
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return _HEADER(stamp=_TIME(sec=sec, nanosec=nanosec), frame_id=frame)


def to_cloud(records: RecordArray, stamp_ns: int, frame: str) -> Any:
    """Structured array (N,) as a cloud (of rosbags' types) whose fields are the array's."""
    return pointcloud2.to_cloud(TYPES.types, header(stamp_ns, frame), records)


def to_record(name: str, sentence: str, values: Mapping[str, object], stamp_ns: int, level: bytes = b"\0",
              frame: str = "") -> DiagnosticArray:  # fmt: skip
    """One record: ``sentence`` for people, ``values`` for programs. Floats keep every digit."""
    message = DiagnosticArray()
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame
    pairs = [KeyValue(key=key, value=repr(v) if isinstance(v, float) else str(v)) for key, v in values.items()]
    message.status = [DiagnosticStatus(level=level, name=name, message=sentence, values=pairs)]
    return message


def from_record(message: DiagnosticArray) -> tuple[str, dict[str, str]]:
    """(sentence, values) of the first status; RecordError when the message is empty."""
    if not message.status:
        raise RecordError("record message carries no status")
    status = message.status[0]
    return status.message, {pair.key: pair.value for pair in status.values}
