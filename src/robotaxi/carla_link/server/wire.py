"""CARLA 0.9.16 on the wire: bytes of stream messages, and values of RPC replies. Pure functions.

RPC is msgpack-rpc over TCP. A stream message is `frame_of(header(...) + payload)`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray

VERSION = "0.9.16"
WORLD_STREAM = 1


class Stream(IntEnum):
    """Sensor types as they stand in a stream header."""

    COLLISION = 0
    DEPTH = 1
    GNSS = 4
    IMU = 5
    OBSTACLE = 7
    RADAR = 9
    SEMANTIC_LIDAR = 10
    LIDAR = 11
    RGB = 13
    SEMANTIC = 14
    INSTANCE = 15
    WORLD = 17


_HEADER = struct.Struct("<QQd6f")
_WORLD = struct.Struct("<Qdf3iI")
_TOKEN = struct.Struct("<IHBB16s")
_IMAGE = struct.Struct("<IIf")
_TCP, _V4, _V6 = 1, 1, 2
ACTIVE = 1  # anything else makes TrafficManager teleport the car

_COMMON = [
    ("id", "<u4"),
    ("state", "u1"),
    ("transform", "<f4", 6),  # x, y, z, pitch, yaw, roll; degrees
    ("velocity", "<f4", 3),
    ("angular_velocity", "<f4", 3),  # degrees per second
    ("acceleration", "<f4", 3),
]
ACTOR_DTYPE = np.dtype([*_COMMON, ("rest", "V54")])
VEHICLE_DTYPE = np.dtype(
    [
        *_COMMON,
        ("throttle", "<f4"),
        ("steer", "<f4"),
        ("brake", "<f4"),
        ("hand_brake", "?"),
        ("reverse", "?"),
        ("manual_gear", "?"),
        ("gear", "<i4"),
        ("speed_limit", "<f4"),  # km/h
        ("light_state", "u1"),
        ("has_light", "?"),
        ("light_id", "<u4"),
        ("rest", "V25"),
    ]
)
LIGHT_DTYPE = np.dtype(
    [
        *_COMMON,
        ("sign_id", "S32"),
        ("green_time", "<f4"),
        ("yellow_time", "<f4"),
        ("red_time", "<f4"),
        ("elapsed_time", "<f4"),
        ("pole_index", "<u4"),
        ("frozen", "?"),
        ("light", "u1"),
    ]
)
SIGN_DTYPE = np.dtype([*_COMMON, ("sign_id", "S32"), ("rest", "V22")])
WALKER_DTYPE = np.dtype([*_COMMON, ("direction", "<f4", 3), ("speed", "<f4"), ("jump", "?"), ("rest", "V37")])
assert {d.itemsize for d in (ACTOR_DTYPE, VEHICLE_DTYPE, LIGHT_DTYPE, SIGN_DTYPE, WALKER_DTYPE)} == {119}


def token(stream_id: int, port: int, address: str) -> bytes:
    """The 24 bytes by which a client finds a stream."""
    ip = ipaddress.ip_address(address)
    return _TOKEN.pack(stream_id, port, _TCP, _V4 if ip.version == 4 else _V6, ip.packed.ljust(16, b"\0"))


def header(kind: Stream, frame: int, timestamp: float, pose: Sequence[float]) -> bytes:
    """``pose``: CARLA x, y, z, pitch, yaw, roll of the sensor."""
    return _HEADER.pack(kind, frame, timestamp, *pose)


def frame_of(message: bytes) -> bytes:
    """A message as it goes over a stream: its length before it."""
    return struct.pack("<I", len(message)) + message


def world_state(
    episode: int, platform_time: float, delta: float, actors: Sequence[NDArray[np.void]], *, map_change: bool
) -> bytes:
    """Payload of the world's own stream; ``actors`` are records of the 119-byte kinds above."""
    head = _WORLD.pack(episode, platform_time, delta, 0, 0, 0, 1 if map_change else 0)
    return head + b"".join(part.tobytes() for part in actors)


def image(pixels: NDArray[np.uint8], fov_deg: float) -> bytes:
    """``pixels`` (H, W, 4) BGRA."""
    height, width = pixels.shape[:2]
    return _IMAGE.pack(width, height, fov_deg) + pixels.tobytes()


def lidar(horizontal_angle: float, counts: Sequence[int], points: NDArray[np.float32]) -> bytes:
    """``points`` (N, 4): x, y, z, intensity in CARLA's sensor frame, channel after channel."""
    head = struct.pack(f"<fI{len(counts)}I", horizontal_angle, len(counts), *counts)
    return head + np.ascontiguousarray(points, "<f4").tobytes()


SEMANTIC_POINT_DTYPE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("cosine", "<f4"), ("object", "<u4"), ("tag", "<u4")]
)


def semantic_lidar(horizontal_angle: float, counts: Sequence[int], points: NDArray[np.void]) -> bytes:
    """``points`` of SEMANTIC_POINT_DTYPE, channel after channel."""
    return struct.pack(f"<fI{len(counts)}I", horizontal_angle, len(counts), *counts) + points.tobytes()


def gnss(latitude_deg: float, longitude_deg: float, altitude: float) -> bytes:
    return pack([latitude_deg, longitude_deg, altitude])


def imu(accelerometer: Sequence[float], gyroscope: Sequence[float], compass: float) -> bytes:
    return pack([list(accelerometer), list(gyroscope), compass])


def radar(detections: FloatArray) -> bytes:
    """``detections`` (N, 4): velocity, azimuth, altitude (rad), depth."""
    return np.ascontiguousarray(detections, "<f4").tobytes()


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


# ---------------------------------------------------------------------- RPC


def reply(call_id: int, result: Any) -> bytes:
    return pack([1, call_id, None, result])


def refusal(call_id: int, message: str) -> bytes:
    """The error of the RPC layer itself: a call that is not known, or no call at all."""
    return pack([1, call_id, message, None])


def good(value: Any) -> list[Any]:
    return [[1, value]]


def bad(message: str) -> list[Any]:
    return [[0, [message]]]


def done() -> list[Any]:
    """A call without a value that went well."""
    return [[False]]


def optional(value: Any | None) -> list[Any]:
    return [False] if value is None else [True, value]


def transform(location: Sequence[float], rotation_deg: Sequence[float]) -> list[list[float]]:
    return [[float(v) for v in location], [float(v) for v in rotation_deg]]


def bounding_box(
    location: Sequence[float], extent: Sequence[float], rotation_deg: Sequence[float] = (0.0, 0.0, 0.0), actor: int = 0
) -> list[Any]:
    return [list(location), list(extent), list(rotation_deg), actor]
