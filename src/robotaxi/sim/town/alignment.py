"""Road alignments from points of intersection: straights joined by clothoid - arc - clothoid.

The classical highway design: a polyline of tangents whose every corner is rounded with a radius and
a transition length, so that heading and curvature are continuous everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.plan_view import PlanElement, evaluate

TURN_TRANSITION = 0.25  # part of a junction turn's angle taken by its two clothoids
_MIN_LENGTH = 1e-6  # m


@dataclass(frozen=True, slots=True)
class Bend:
    """A corner of the tangent polyline: where, arc radius (m), length of each clothoid (m)."""

    x: float
    y: float
    radius: float
    transition: float = 20.0


def align(start: tuple[float, float], bends: Sequence[Bend], end: tuple[float, float]) -> list[PlanElement]:
    """Elements from ``start`` to ``end`` with the tangent polyline's corners rounded.

    Raises ValueError where two bends need more tangent than lies between them.
    """
    corners = [start, *((b.x, b.y) for b in bends), end]
    legs = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(corners)]
    heading = [math.atan2(dy, dx) for dx, dy in legs]
    curves = [
        _bend_curve(wrap_angle(heading[i + 1] - heading[i]), bend.radius, bend.transition)
        for i, bend in enumerate(bends)
    ]
    tangent = [0.0, *(t for t, _ in curves), 0.0]
    elements: list[PlanElement] = []
    pose = (start[0], start[1], heading[0])
    for i, (dx, dy) in enumerate(legs):
        straight = math.hypot(dx, dy) - tangent[i] - tangent[i + 1]
        if straight < -_MIN_LENGTH:
            raise ValueError(f"bends {i} and {i + 1} near {corners[i]} overlap by {-straight:.1f} m")
        # The exact heading of each leg keeps rounding errors from adding up along the road.
        pose = (pose[0], pose[1], heading[i])
        pieces = [PlanElement(0.0, 0.0, 0.0, 0.0, straight)] if straight > _MIN_LENGTH else []
        pieces += curves[i][1] if i < len(curves) else []
        pose = _chain(elements, pieces, pose)
    return elements


def turn(
    start: tuple[float, float, float], end: tuple[float, float, float], transition: float = TURN_TRANSITION
) -> list[PlanElement]:
    """Smooth path between two poses whose lines meet ahead of the start and behind the end.

    The widest clothoid - arc - clothoid that fits, with a straight on the longer side.
    """
    deflection = wrap_angle(end[2] - start[2])
    dx, dy = end[0] - start[0], end[1] - start[1]
    if abs(deflection) < 1e-9:
        return align(start[:2], [], end[:2])
    cross = math.sin(deflection)
    t_in = (dx * math.sin(end[2]) - dy * math.cos(end[2])) / cross
    t_out = (dy * math.cos(start[2]) - dx * math.sin(start[2])) / cross
    if min(t_in, t_out) <= 0.0:
        raise ValueError(f"no single turn leads from {start} to {end}")
    unit, _ = _bend_curve(deflection, 1.0, transition * abs(deflection))
    radius = min(t_in, t_out) / unit
    corner = Bend(
        start[0] + t_in * math.cos(start[2]),
        start[1] + t_in * math.sin(start[2]),
        radius,
        transition * abs(deflection) * radius,
    )
    return align(start[:2], [corner], end[:2])


def circle_arc(center: tuple[float, float], radius: float, from_angle: float, to_angle: float) -> list[PlanElement]:
    """Counter-clockwise arc about ``center``."""
    sweep = (to_angle - from_angle) % (2.0 * math.pi)
    x, y = center[0] + radius * math.cos(from_angle), center[1] + radius * math.sin(from_angle)
    heading = wrap_angle(from_angle + math.pi / 2.0)
    return [PlanElement(0.0, x, y, heading, radius * sweep, "arc", (1.0 / radius,))]


def total_length(elements: Sequence[PlanElement]) -> float:
    return elements[-1].s + elements[-1].length


def _bend_curve(deflection: float, radius: float, transition: float) -> tuple[float, list[PlanElement]]:
    """Tangent length and the elements, in a frame of their own, of one symmetric bend."""
    turn_angle, sign = abs(deflection), math.copysign(1.0, deflection)
    transition = min(transition, turn_angle * radius)
    k = sign / radius
    ease = PlanElement(0.0, 0.0, 0.0, 0.0, transition, "spiral", (0.0, k))
    arc = turn_angle * radius - transition
    x, y, _ = ease.end if transition > _MIN_LENGTH else (0.0, 0.0, 0.0)
    tau = transition / (2.0 * radius)
    shift = abs(y) - radius * (1.0 - math.cos(tau))
    tangent = (radius + shift) * math.tan(turn_angle / 2.0) + x - radius * math.sin(tau)
    pieces = []
    if transition > _MIN_LENGTH:
        pieces.append(ease)
    if arc > _MIN_LENGTH:
        pieces.append(PlanElement(0.0, 0.0, 0.0, 0.0, arc, "arc", (k,)))
    if transition > _MIN_LENGTH:
        pieces.append(PlanElement(0.0, 0.0, 0.0, 0.0, transition, "spiral", (k, 0.0)))
    return tangent, pieces


def _chain(
    elements: list[PlanElement], pieces: Sequence[PlanElement], pose: tuple[float, float, float]
) -> tuple[float, float, float]:
    s = total_length(elements) if elements else 0.0
    for piece in pieces:
        placed = replace(piece, s=s, x=pose[0], y=pose[1], heading=pose[2])
        elements.append(placed)
        pose, s = placed.end, s + placed.length
    return pose


def straight_spans(elements: Sequence[PlanElement]) -> list[tuple[float, float]]:
    """Stations (from, to) of the straight pieces."""
    return [(e.s, e.s + e.length) for e in elements if e.kind == "line"]


def pose_at(elements: Sequence[PlanElement], s: float) -> tuple[float, float, float]:
    """(x, y, heading) at one station."""
    x, y, heading, _ = evaluate(elements, np.array([s]))[0]
    return float(x), float(y), float(heading)
