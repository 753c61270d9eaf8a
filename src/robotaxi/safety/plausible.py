"""Can these contents be true at all, and are they the same as the last ones?"""

from __future__ import annotations

import dataclasses
import math
import zlib

import numpy as np

from robotaxi.types import Command, EgoState, GnssFix, Goal, ImuSample, Trajectory, VehicleReport

_FASTEST = 70.0  # m/s
_FARTHEST = 1e6  # m from the map's origin
_HARDEST = 50.0  # m/s^2 along or across
_FASTEST_TURN = 10.0  # rad/s
_WIDEST = math.pi / 2.0  # rad, tyre angle
_SHARPEST = 1.0  # 1/m, curvature of a path that a car can drive
_MAY_BE_EMPTY = frozenset({"dispatch/goal"})
_BOUNDS: dict[str, float] = {
    "x": _FARTHEST, "y": _FARTHEST, "z": _FARTHEST, "yaw": 1e3, "t": 60.0, "s": 1e4, "speed": _FASTEST,
    "vx": _FASTEST, "vy": _FASTEST, "acceleration": _HARDEST, "curvature": _SHARPEST,
    "length": 50.0, "width": 20.0, "height": 20.0, "existence": 1.0 + 1e-6, "confidence": 1.0 + 1e-6,
}  # fmt: skip


def implausible(topic: str, content: object) -> str:
    """What is impossible in the contents of a topic; empty if nothing is."""
    if content is None:
        return "" if topic in _MAY_BE_EMPTY else "has no usable contents"
    if isinstance(content, GnssFix) and not content.valid:
        return "has no reception"
    if isinstance(content, Trajectory):
        return "has no points" if len(content.points) == 0 else _records(content.points)
    if isinstance(content, np.ndarray):
        return _records(content)
    for name, value, bound in _numbers(content):
        if not math.isfinite(value):
            return f"has {name} that is not finite"
        if abs(value) > bound:
            return f"has a {name} of {value:.4g}"
    return ""


def _numbers(content: object) -> list[tuple[str, float, float]]:
    match content:
        case EgoState():
            return [("x", content.x, _FARTHEST), ("y", content.y, _FARTHEST), ("yaw", content.yaw, 1e3),
                    ("speed", content.speed, _FASTEST), ("yaw rate", content.yaw_rate, _FASTEST_TURN)]  # fmt: skip
        case VehicleReport():
            return [("speed", content.speed, _FASTEST), ("steering", content.steering, _WIDEST)]
        case Command():
            return [("steering", content.steering, _WIDEST), ("acceleration", content.acceleration, _HARDEST)]
        case ImuSample():
            rows = [("acceleration", float(v), 10.0 * _HARDEST) for v in content.acceleration]
            return rows + [("angular rate", float(v), 10.0 * _FASTEST_TURN) for v in content.angular_rate]
        case GnssFix():
            return [("latitude", content.latitude_deg, 90.0), ("longitude", content.longitude_deg, 180.0)]
        case Goal():
            return [("x", content.x, _FARTHEST), ("y", content.y, _FARTHEST)]
        case _:
            return []


def _records(records: np.ndarray) -> str:
    for name in records.dtype.names or ():
        bound = _BOUNDS.get(name)
        if bound is None or not len(records):
            continue
        worst = float(np.abs(records[name].astype(np.float64)).max())  # NaN if any is
        if not math.isfinite(worst):
            return f"has {name} that is not finite"
        if worst > bound:
            return f"has a {name} of {worst:.4g}"
    return ""


def far_away(content: object, pose: EgoState, horizon: float) -> str:
    """What lies farther from the car than any sensor or plan reaches; "" if nothing does, or the pose is no number."""
    records = content.points if isinstance(content, Trajectory) else content
    if not isinstance(records, np.ndarray) or not len(records) or not {"x", "y"} <= set(records.dtype.names or ()):
        return ""
    dx, dy = (np.abs(records[name].astype(np.float64) - at) for name, at in (("x", pose.x), ("y", pose.y)))
    worst = float(max(dx.max(), dy.max()))
    return f"has something {worst * 1e-3:.4g} km away" if worst > horizon else ""


def fingerprint(content: object) -> int:
    """CRC of the contents without their stamp; 0 for nothing, which never counts as frozen."""
    if content is None:
        return 0
    if isinstance(content, Trajectory):
        content = content.points
    if isinstance(content, np.ndarray):
        return zlib.crc32(content.tobytes()) if len(content) else 0
    values: list[bytes] = []
    if dataclasses.is_dataclass(content):
        for item in dataclasses.fields(content):
            if item.name != "stamp_ns":
                values.append(np.asarray(getattr(content, item.name)).tobytes())
    return zlib.crc32(b"".join(values))
