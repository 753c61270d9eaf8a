"""Point clouds of rosbags' types as structured arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # sensor_msgs/PointField


def cloud_records(message: Any) -> np.ndarray:
    """The points of a PointCloud2 as a structured array (N,), read only. ValueError when sizes disagree."""
    order = ">" if message.is_bigendian else "<"
    fields = [field for field in message.fields if field.count == 1 and field.datatype in _DTYPES]
    dtype = np.dtype(
        {
            "names": [field.name for field in fields],
            "formats": [order + _DTYPES[field.datatype] for field in fields],
            "offsets": [field.offset for field in fields],
            "itemsize": message.point_step,
        }
    )  # type: ignore[call-overload]
    count = message.width * message.height
    if count == 0:
        return np.zeros(0, dtype)
    points: np.ndarray = np.frombuffer(message.data, dtype, count)
    return points
