"""Reads the frequent messages of a bag at a glance: where the numbers stand follows from the bytes before them.

Each function gives None for a message that is not laid out as usual (another byte order, bytes too many or too few);
rosbags, which takes every message apart in ten times the time, then has the word.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.pointcloud2 import from_cloud

_LITTLE = b"\x00\x01"  # CDR, little endian
_BEGIN, _AFTER_STAMP = 4, 12  # of the message, of what follows its stamp
_U32, _U32_PAIR = struct.Struct("<I"), struct.Struct("<II")
_ODOMETRY_NUMBERS = 7 + 36 + 6 + 36  # pose, covariance, twist, covariance


def odometry(cdr: bytes) -> NDArray[np.float64] | None:
    """The 85 numbers of a nav_msgs/Odometry: position, orientation (x, y, z, w), covariance, linear and angular twist,
    covariance."""
    try:
        if cdr[:2] != _LITTLE:
            return None
        at = _aligned(_after_text(cdr, _aligned(_after_text(cdr, _AFTER_STAMP), 4)), 8)
        if at + 8 * _ODOMETRY_NUMBERS != len(cdr):
            return None
        return np.frombuffer(cdr, "<f8", _ODOMETRY_NUMBERS, at)
    except (struct.error, ValueError, IndexError):
        return None


def record(cdr: bytes) -> tuple[str, dict[str, str]] | None:
    """(sentence, values) of a diagnostic_msgs/DiagnosticArray with one status."""
    try:
        at = _aligned(_after_text(cdr, _AFTER_STAMP), 4)
        if cdr[:2] != _LITTLE or _U32.unpack_from(cdr, at) != (1,):
            return None
        at = _after_text(cdr, _aligned(at + 5, 4))  # a count and a level before it: the name
        begin = _aligned(at, 4)
        at = _after_text(cdr, begin)
        sentence = cdr[begin + 4 : at - 1].decode("utf-8")
        at = _aligned(_after_text(cdr, _aligned(at, 4)), 4)  # the hardware
        (count,) = _U32.unpack_from(cdr, at)
        at += 4
        values = {}
        for _ in range(min(count, len(cdr))):
            begin = _aligned(at, 4)
            middle = _after_text(cdr, begin)
            other = _aligned(middle, 4)
            at = _after_text(cdr, other)
            values[cdr[begin + 4 : middle - 1].decode("utf-8")] = cdr[other + 4 : at - 1].decode("utf-8")
        return (sentence, values) if 0 <= len(cdr) - at < 4 else None
    except (struct.error, ValueError, IndexError):
        return None


class JointReader:
    """Reads sensor_msgs/JointState; the names, which hardly ever change, once."""

    def __init__(self) -> None:
        self._head, self._end = b"", 0
        self._names: tuple[str, ...] = ()

    def read(self, cdr: bytes) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]] | None:
        """(names, (positions, velocities, efforts))."""
        try:
            if cdr[:2] != _LITTLE:
                return None
            if not self._head or cdr[_AFTER_STAMP : self._end] != self._head:
                self._learn(cdr)
            at, columns = self._end, []
            for _ in range(3):
                at = _aligned(at, 4)
                (count,) = _U32.unpack_from(cdr, at)
                at += 4
                if count > len(cdr):
                    return None
                if count:
                    at = _aligned(at, 8)
                columns.append(struct.unpack_from(f"<{count}d", cdr, at))
                at += 8 * count
            return (self._names, tuple(columns)) if at == len(cdr) else None
        except (struct.error, ValueError, IndexError):
            return None

    def _learn(self, cdr: bytes) -> None:
        at = _aligned(_after_text(cdr, _AFTER_STAMP), 4)
        (count,) = _U32.unpack_from(cdr, at)
        at += 4
        names = []
        for _ in range(min(count, len(cdr))):
            begin = _aligned(at, 4)
            at = _after_text(cdr, begin)
            names.append(cdr[begin + 4 : at - 1].decode("utf-8"))
        self._head, self._end, self._names = cdr[_AFTER_STAMP:at], at, tuple(names)


class CloudReader:
    """Reads sensor_msgs/PointCloud2 as `from_cloud` does; the fields, which hardly ever change, once."""

    def __init__(self, parse: Callable[[bytes], Any]) -> None:
        self._parse = parse  # bytes to a message
        self._fields = b""
        self._dtype: np.dtype[Any] = np.dtype("u1")

    def read(self, cdr: bytes) -> Any:
        """Structured array (N,), read only. Raises what ``parse`` and `from_cloud` raise."""
        points = self._at_a_glance(cdr) if self._fields else None
        return self._taken_apart(cdr) if points is None else points

    def _at_a_glance(self, cdr: bytes) -> Any:
        try:
            at = _aligned(_after_text(cdr, _AFTER_STAMP), 4)
            height, width = _U32_PAIR.unpack_from(cdr, at)
            at, end = at + 8, at + 8 + len(self._fields)
            _, size = _U32_PAIR.unpack_from(cdr, end)
            count = height * width
            if (
                cdr[:2] != _LITTLE
                or cdr[at:end] != self._fields
                or size != count * self._dtype.itemsize
                or not 0 <= len(cdr) - (end + 8 + size + 1) < 4  # the middleware fills up to whole words
            ):
                return None
            return np.frombuffer(cdr, self._dtype, count, end + 8)
        except (struct.error, ValueError, IndexError):
            return None

    def _taken_apart(self, cdr: bytes) -> Any:
        message = self._parse(cdr)
        points = from_cloud(message)
        if cdr[:2] == _LITTLE and message.point_step == points.dtype.itemsize and not message.is_bigendian:
            at = _aligned(_after_text(cdr, _AFTER_STAMP), 4) + 8
            end = at + 4
            for _ in message.fields:
                end = _aligned(_aligned(_after_text(cdr, _aligned(end, 4)), 4) + 5, 4) + 4
            end = _aligned(end + 1, 4) + 4  # byte order, bytes of a point
            self._fields, self._dtype = cdr[at:end], points.dtype
        return points


def _aligned(at: int, size: int) -> int:
    """The next place from ``at`` on where something of this size may begin."""
    return _BEGIN + (at - _BEGIN + size - 1) // size * size


def _after_text(cdr: bytes, at: int) -> int:
    (size,) = _U32.unpack_from(cdr, at)
    end: int = at + 4 + size
    if size == 0 or end > len(cdr) or cdr[end - 1] != 0:
        raise ValueError("no text")
    return end
