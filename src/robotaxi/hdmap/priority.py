"""Who goes first inside a junction: conflicts from geometry, right of way from signs and turns.

For two conflicting lanes, in this order:

1. traffic from a 'yield' or 'stop' line yields to traffic from a road without one;
2. left turns yield to oncoming traffic that goes straight or right;
3. where neither road has a sign, a light or precedence: right before left. Crossing traffic at
   lights is held by its red light and needs no rule.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry import polyline
from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.lane_map import Lane, StopLine

FloatArray = NDArray[np.float64]
TURN_ANGLE = math.radians(30.0)  # smaller changes of heading through a junction are no turn
OVERLAP_MARGIN = 0.5  # m that two lanes' areas must share to be in conflict
MINOR = ("yield", "stop")
SAMPLE = 1.0  # m
ONCOMING_ANGLE = math.radians(45.0)  # how far from head-on still counts as oncoming


def add_priorities(
    lanes: dict[int, Lane], stop_lines: dict[int, StopLine], said: dict[int, set[int]]
) -> dict[int, Lane]:
    """The lanes with ``conflicts`` and ``yield_to`` filled in; ``said`` holds what the source states."""
    out = dict(lanes)
    for members in _junctions(lanes).values():
        conflicts = _conflicts(members)
        control = {lane.id: _control(lane, lanes, stop_lines) for lane in members}
        for lane in members:
            others = conflicts[lane.id]
            if lane.id in said:
                yields = sorted(said[lane.id] & set(lanes))
            else:
                yields = [other for other in others if _yields(lane, lanes[other], control)]
            out[lane.id] = replace(lane, conflicts=tuple(others), yield_to=tuple(yields))
    return out


def _junctions(lanes: dict[int, Lane]) -> dict[int, list[Lane]]:
    groups: dict[int, list[Lane]] = {}
    for lane in lanes.values():
        if lane.junction_id is not None:
            groups.setdefault(lane.junction_id, []).append(lane)
    return groups


def _conflicts(members: list[Lane]) -> dict[int, list[int]]:
    samples = [polyline.resample(lane.centerline[:, :2], SAMPLE) for lane in members]
    half_width = [float(np.median(np.hypot(*(lane.left - lane.right)[:, :2].T))) / 2.0 for lane in members]
    out: dict[int, list[int]] = {lane.id: [] for lane in members}
    for i, a in enumerate(members):
        for j in range(i + 1, len(members)):
            b = members[j]
            if set(a.predecessors) & set(b.predecessors) or a.id in b.successors or b.id in a.successors:
                continue
            reach = half_width[i] + half_width[j] - OVERLAP_MARGIN
            gap = samples[i][:, None, :] - samples[j][None, :, :]
            # Samples of crossing lines may miss each other by half a step along each.
            if float(np.einsum("ijk,ijk->ij", gap, gap).min()) < reach**2:
                out[a.id].append(b.id)
                out[b.id].append(a.id)
    return out


def _yields(lane: Lane, other: Lane, control: dict[int, str]) -> bool:
    """``control``: what each lane of the junction was entered past, '' for nothing."""
    minor, other_minor = control[lane.id] in MINOR, control[other.id] in MINOR
    if minor != other_minor:
        return minor
    approach = wrap_angle(_heading_in(other) - _heading_in(lane))
    if abs(wrap_angle(approach - math.pi)) < ONCOMING_ANGLE:
        return lane.turn_direction == "left" and other.turn_direction != "left"
    if "signal" in (control[lane.id], control[other.id]):
        return False
    has_precedence = not minor and any(kind in MINOR for kind in control.values())
    return not has_precedence and approach > 0.0


def _control(lane: Lane, lanes: dict[int, Lane], stop_lines: dict[int, StopLine]) -> str:
    kinds = {
        stop_lines[line].kind
        for line in (lanes[p].stop_line_id for p in lane.predecessors)
        if line is not None and line in stop_lines
    }
    return next((kind for kind in ("signal", "stop", "yield") if kind in kinds), "")


def _heading_in(lane: Lane) -> float:
    d = lane.centerline[1] - lane.centerline[0]
    return math.atan2(d[1], d[0])
