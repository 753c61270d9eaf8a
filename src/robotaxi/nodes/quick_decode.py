"""The nouns of what nodes hear often, read at a glance (see `bags.quick_read`): the same values in a tenth of the time.

Each decoder gives `NOT_READ` for a message that is not laid out as usual; rosbags and `convert` then have the word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from robotaxi.bags.quick_read import CloudReader, JointReader, odometry
from robotaxi.nodes import convert
from robotaxi.nodes.records import TYPES
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, TRAJECTORY_DTYPE, Trajectory

Decode = Callable[[bytes, int], Any]  # of a message and its stamp (ns)
NOT_READ: Final = object()
_AFTER_STAMP = 12


def quick_decoder(topic: str) -> Decode | None:
    """A decoder of its own for each caller, None for a topic that has none."""
    match topic:
        case "localization/kinematic_state":
            return _state
        case "vehicle/status":
            return _status(JointReader())
        case "planning/trajectory":
            return _trajectory(_cloud(TRAJECTORY_DTYPE))
        case "perception/objects":
            return _cloud(OBJECT_DTYPE)
        case "perception/traffic_lights":
            return _cloud(LIGHT_DTYPE)
        case _:
            return None


def _state(cdr: bytes, stamp_ns: int) -> Any:
    numbers = odometry(cdr)
    if numbers is None:
        return NOT_READ
    x, y, z, *turn = numbers[:7].tolist()
    return convert.state_of(stamp_ns, x, y, z, turn, numbers[7:43], float(numbers[43]), float(numbers[48]))


def _status(joints: JointReader) -> Decode:
    def decode(cdr: bytes, stamp_ns: int) -> Any:
        found = joints.read(cdr)
        return NOT_READ if found is None else convert.report_of(stamp_ns, found[0], *found[1])

    return decode


def _cloud(dtype: np.dtype[Any]) -> Decode:
    reader = CloudReader(lambda cdr: TYPES.deserialize_cdr(cdr, "sensor_msgs/msg/PointCloud2"))

    def decode(cdr: bytes, _: int) -> Any:
        points = reader.read(cdr)
        return points if points.dtype == dtype else NOT_READ

    return decode


def _trajectory(cloud: Decode) -> Decode:
    def decode(cdr: bytes, stamp_ns: int) -> Any:
        points = cloud(cdr, stamp_ns)
        if points is NOT_READ:
            return NOT_READ
        return Trajectory(stamp_ns, points) if len(points) else None

    return decode


def unchanged(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """``decode`` for messages whose noun says nothing of the stamp: one that says the same as the last is not read."""
    last: tuple[bytes, Any] = (b"", None)

    def read(cdr: bytes) -> Any:
        nonlocal last
        said = cdr[_AFTER_STAMP:]
        if not said or said != last[0]:
            last = said, decode(cdr)
        return last[1]

    return read
