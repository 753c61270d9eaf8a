"""sensor_msgs/PointCloud2 as structured arrays and back: the one place that knows its layout.

Messages are duck-typed: rclpy's and rosbags' are read alike; written are rosbags', whose data need no copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from robotaxi.types import LATER_FIELDS, RecordArray

_CODES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # of sensor_msgs/PointField
_DATATYPES = {code: datatype for datatype, code in _CODES.items()}

POINT_DTYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])


class CloudError(ValueError):
    """A cloud whose sizes disagree, or that lacks a field."""


def from_cloud(message: Any, required: np.dtype | None = None) -> RecordArray:
    """The cloud's points as a structured array (N,), without copying: read only, fields of one value each.

    Raises CloudError when the sizes disagree or a field of ``required`` is missing. `LATER_FIELDS` may be: they are 0.
    """
    count = message.width * message.height
    if message.point_step == 0 and count == 0:
        return np.zeros(0, required if required is not None else [("x", "<f4")])
    if len(message.data) < count * message.point_step:
        raise CloudError(f"cloud of {count} points needs {count * message.point_step} bytes, has {len(message.data)}")
    order = ">" if message.is_bigendian else "<"
    fields = [item for item in message.fields if item.datatype in _CODES and item.count <= 1]
    try:
        dtype = np.dtype(
            {
                "names": [item.name for item in fields],
                "formats": [order + _CODES[item.datatype] for item in fields],
                "offsets": [item.offset for item in fields],
                "itemsize": message.point_step,
            }
        )  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise CloudError(f"cloud fields do not fit a point of {message.point_step} bytes: {error}") from error
    require(dtype, required.names or () if required is not None else ())
    points: RecordArray = np.frombuffer(message.data, dtype=dtype, count=count)
    if required is not None and dtype != required:
        whole: RecordArray = np.zeros(count, required)
        for name in set(required.names or ()) & set(points.dtype.names or ()):
            whole[name] = points[name]
        return whole
    return points


def require(dtype: np.dtype, names: tuple[str, ...]) -> None:
    """Raises CloudError where a field is missing that is not one of `LATER_FIELDS`."""
    has = dtype.names or ()
    for name in names:
        if name not in has and name not in LATER_FIELDS:
            raise CloudError(f"cloud has no field '{name}', only {', '.join(has) or 'none'}")


def to_cloud(types: Mapping[str, Any], header: Any, records: RecordArray) -> Any:
    """Structured array (N,) as a cloud of rosbags' ``types`` whose fields are the array's."""
    step = records.dtype.itemsize
    return types["sensor_msgs/msg/PointCloud2"](
        header=header,
        height=1,
        width=len(records),
        fields=list(_fields(types["sensor_msgs/msg/PointField"], records.dtype)),
        is_bigendian=False,
        point_step=step,
        row_step=step * len(records),
        data=np.ascontiguousarray(records).view(np.uint8).reshape(-1),
        is_dense=True,
    )


@lru_cache(maxsize=32)
def _fields(field: Any, dtype: np.dtype) -> tuple[Any, ...]:
    """The messages of type ``field`` that describe the array's; those that publish often need them each time."""
    places = ((name, *dtype.fields[name][:2]) for name in dtype.names or ())  # type: ignore[index]
    return tuple(
        field(name=name, offset=int(offset), datatype=_DATATYPES[kind.str[1:]], count=1)
        for name, kind, offset in places
    )
