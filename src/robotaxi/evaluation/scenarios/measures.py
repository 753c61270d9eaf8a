"""What triggers measure between entities: distances, headway, time to collision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robotaxi.evaluation.scenarios.story import Measured
from robotaxi.geometry.boxes import distance
from robotaxi.types import Pose2

SAME = 1e-3  # difference up to which numbers are equal


@dataclass(frozen=True)
class Body:
    """``x, y, yaw``: the reference point; ``ahead``: m from it to the box's middle; ``travelled`` m, ``stood`` s."""

    x: float
    y: float
    yaw: float
    speed: float
    length: float
    width: float
    ahead: float
    travelled: float = 0.0
    stood: float = 0.0

    def box(self) -> np.ndarray:
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([self.x + self.ahead * c, self.y + self.ahead * s, self.yaw, self.length, self.width])


def meets(value: float, rule: str, wanted: float) -> bool:
    """Whether ``value`` is in the relation ``rule`` (of OpenSCENARIO) to ``wanted``."""
    equal = abs(value - wanted) <= SAME
    if rule in ("equalTo", "notEqualTo"):
        return equal == (rule == "equalTo")
    if rule in ("greaterOrEqual", "lessOrEqual") and equal:
        return True
    return value > wanted if rule.startswith("greater") else value < wanted


def measure(test: Measured, body: Body, other: Body | None) -> float:
    """What ``test`` looks at, for ``body``, towards ``other`` or the test's place; inf where it is never met."""
    if test.what == "speed":
        return body.speed
    if test.what == "travelled":
        return body.travelled
    if test.what == "standstill":
        return body.stood
    if test.what == "relative_speed":
        return body.speed - other.speed if other is not None else 0.0
    gap = _gap(test, body, other)
    if test.what == "distance":
        return gap
    if test.what == "headway":
        return gap / body.speed if body.speed > SAME else math.inf
    closing = body.speed - (other.speed * math.cos(other.yaw - body.yaw) if other is not None else 0.0)
    if not _is_ahead(test, body, other):
        closing = -closing
    return gap / closing if closing > SAME else math.inf


def _target(test: Measured, other: Body | None) -> Pose2:
    if other is not None:
        return Pose2(other.x, other.y, other.yaw)
    assert test.place is not None
    return test.place


def _is_ahead(test: Measured, body: Body, other: Body | None) -> bool:
    to = _target(test, other)
    return math.cos(body.yaw) * (to.x - body.x) + math.sin(body.yaw) * (to.y - body.y) >= 0.0


def _gap(test: Measured, body: Body, other: Body | None) -> float:
    """Metres between the reference points, with ``freespace`` between the boxes."""
    own = body.box()
    if test.freespace:
        to = other.box() if other is not None else np.array([*_flat(_target(test, other)), 0.0, 0.0])
        if test.along == "cartesian":
            return float(distance(own, to))
        start = own[:2]
    else:
        to, start = np.array([*_flat(_target(test, other)), 0.0, 0.0]), np.array([body.x, body.y])
    dx, dy = float(to[0] - start[0]), float(to[1] - start[1])
    if test.along == "cartesian":
        return math.hypot(dx, dy)
    c, s = math.cos(body.yaw), math.sin(body.yaw)
    lengthwise = test.along == "longitudinal"
    gap = abs(c * dx + s * dy) if lengthwise else abs(-s * dx + c * dy)
    if not test.freespace:
        return gap
    turned = abs(math.cos(float(to[2]) - body.yaw)), abs(math.sin(float(to[2]) - body.yaw))
    others = turned[0] * to[3] + turned[1] * to[4] if lengthwise else turned[0] * to[4] + turned[1] * to[3]
    return max(gap - 0.5 * (body.length if lengthwise else body.width) - 0.5 * float(others), 0.0)


def _flat(pose: Pose2) -> tuple[float, float, float]:
    return pose.x, pose.y, pose.yaw
