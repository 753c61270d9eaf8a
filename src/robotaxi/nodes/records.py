"""Lists of records as sensor_msgs/PointCloud2, single records as diagnostic_msgs/DiagnosticArray.

Big or frequent messages are made as rosbags' types (see `cdr`): without a copy of their data, and at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import PointField

from robotaxi.types import RecordArray

_FIELD_OF = {
    "i1": PointField.INT8, "u1": PointField.UINT8, "i2": PointField.INT16, "u2": PointField.UINT16,
    "i4": PointField.INT32, "u4": PointField.UINT32, "f4": PointField.FLOAT32, "f8": PointField.FLOAT64,
}  # fmt: skip
_DTYPE_OF = {field: "<" + code for code, field in _FIELD_OF.items()}
NS_PER_S = 1_000_000_000
TYPES = get_typestore(Stores.ROS2_KILTED)
_TIME, _HEADER = TYPES.types["builtin_interfaces/msg/Time"], TYPES.types["std_msgs/msg/Header"]
_CLOUD, _FIELD = TYPES.types["sensor_msgs/msg/PointCloud2"], TYPES.types["sensor_msgs/msg/PointField"]


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


def _fields(dtype: np.dtype) -> list[Any]:
    out = []
    for name in dtype.names or ():
        kind, offset = dtype.fields[name][:2]  # type: ignore[index]
        out.append(_FIELD(name=name, offset=int(offset), datatype=_FIELD_OF[kind.str[1:]], count=1))
    return out


def to_cloud(records: RecordArray, stamp_ns: int, frame: str) -> Any:
    """Structured array (N,) as a cloud (of rosbags' types) whose fields are the array's."""
    step = records.dtype.itemsize
    return _CLOUD(
        header=header(stamp_ns, frame),
        height=1,
        width=len(records),
        fields=_fields(records.dtype),
        is_bigendian=False,
        point_step=step,
        row_step=step * len(records),
        data=np.ascontiguousarray(records).view(np.uint8).reshape(-1),
        is_dense=True,
    )


def from_cloud(message: Any, required: np.dtype | None = None) -> RecordArray:
    """The cloud's points as a structured array (N,), without copying.

    Raises RecordError when the sizes disagree or a field of ``required`` is missing or of another type.
    """
    count = message.width * message.height
    if message.point_step == 0 and count == 0:
        return np.zeros(0, required if required is not None else [("x", "<f4")])
    if len(message.data) < count * message.point_step:
        raise RecordError(f"cloud of {count} points needs {count * message.point_step} bytes, has {len(message.data)}")
    names, formats, offsets = [], [], []
    for item in message.fields:
        if item.datatype not in _DTYPE_OF or item.count > 1:
            continue
        names.append(item.name)
        formats.append(_DTYPE_OF[item.datatype].replace("<", ">") if message.is_bigendian else _DTYPE_OF[item.datatype])
        offsets.append(item.offset)
    try:
        dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": message.point_step})  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise RecordError(f"cloud fields do not fit a point of {message.point_step} bytes: {error}") from error
    for name in (required.names or ()) if required is not None else ():
        if name not in names:
            raise RecordError(f"cloud has no field '{name}', only {', '.join(names) or 'none'}")
    points: RecordArray = np.frombuffer(message.data, dtype=dtype, count=count)
    if required is not None and dtype != required:
        points = np.rec.fromarrays([points[n] for n in required.names], dtype=required).view(np.ndarray)  # type: ignore
    return points


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
