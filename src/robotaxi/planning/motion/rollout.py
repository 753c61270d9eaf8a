"""A first speed profile: as fast as every constraint allows, one step after the other.

It ignores jerk, which `speed_qp` then limits, and says which constraint binds at each step.
Leads are followed with the safe speed of Gipps (1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.constraint import Constraint, Kind
from robotaxi.planning.reference import SPACING, Reference

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

FREE = -1  # bound by the acceleration only
ROAD = -2  # bound by speed limit or curve
URGENT = 1.4  # times normal braking needed from which a stop is braked for harder
REACTION = 0.4  # s that pass until braking has built up
EMERGENCY = 1.001  # times the hardest braking planned otherwise: the least that counts as an emergency
TOUCH = 1.0  # m before a thing, in an emergency


@dataclass(frozen=True)
class Rollout:
    """(N+1,) each: arc length, speed, and the index of the binding constraint, FREE or ROAD."""

    s: FloatArray
    speed: FloatArray
    binding: IntArray
    allowed: FloatArray  # speed that the binding constraint allowed
    braking: float  # hardest deceleration that a constraint asks for; above max_deceleration: an emergency


def roll_out(
    reference: Reference,
    road: FloatArray,
    constraints: list[Constraint],
    s: float,
    speed: float,
    acceleration: float,
    times: FloatArray,
    config: PlannerConfig,
) -> Rollout:
    """Drive along ``reference`` from ``s`` at ``speed`` and ``acceleration``; ``times`` (N+1,) from 0."""
    lo = reference.index(s - SPACING)
    hi = min(reference.s.size, reference.index(s + config.look_ahead) + 2)
    grid = reference.s[lo:hi]
    allowed = road[lo:hi].copy()
    binding = np.full(grid.size, ROAD, np.int64)
    braking = max([config.deceleration, *(_emergency(item, speed, acceleration, config) for item in constraints)])
    leads = []
    for index, item in enumerate(constraints):
        if item.kind == Kind.LEAD:
            leads.append((item.s, max(item.speed, 0.0), float(index)))
            closing = max(speed - item.speed, 0.0)
            needed = closing**2 / (2.0 * max(item.s - s, 0.3))
        elif item.kind == Kind.STOP:
            needed = speed**2 / (2.0 * max(item.s - s, 0.05)) if speed > config.standstill_speed else 0.0
            end = item.s
            if needed > URGENT * config.deceleration and item.deceleration > config.max_deceleration:
                needed = braking_for(item.s - s, speed, acceleration)
                end = min(s + speed**2 / (2.0 * needed), item.s)  # what is lost now counts, and is won back later
            rate = min(needed, item.deceleration) if needed > URGENT * config.deceleration else config.deceleration
            curve = np.sqrt(2.0 * rate * np.maximum(end - grid, 0.0))
            lower = curve < allowed
            allowed[lower], binding[lower] = curve[lower], index
        else:
            needed = 0.0
            rate = config.deceleration
            curve = np.sqrt(item.speed**2 + 2.0 * rate * np.maximum(item.s - grid, 0.0))
            lower = (curve < allowed) & (grid <= item.s_end)
            allowed[lower], binding[lower] = curve[lower], index
        braking = max(braking, min(needed, item.deceleration, config.max_deceleration))
    lead = np.array(leads, float).reshape(-1, 3)
    s_out, speed_out, bound, bound_speed = _march(
        grid, allowed, binding, lead, s, speed, times, config.acceleration,
        max(config.max_deceleration, braking), config.deceleration, config.time_gap,
    )  # fmt: skip
    return Rollout(s_out, speed_out, bound, bound_speed, braking)


def _emergency(item: Constraint, speed: float, acceleration: float, config: PlannerConfig) -> float:
    """Braking without which the thing would be hit, where what is planned otherwise comes too late; else 0."""
    if item.kind == Kind.CAP or item.deceleration <= config.max_deceleration:
        return 0.0
    closing, room = max(speed - item.speed, 0.0), item.distance - TOUCH
    needed = closing**2 / (2.0 * max(room - REACTION * closing, 0.3))
    if needed <= config.max_deceleration and _planned_distance(closing, acceleration, config) <= room:
        return 0.0
    return min(max(needed, EMERGENCY * config.max_deceleration), item.deceleration)


def _planned_distance(speed: float, acceleration: float, config: PlannerConfig) -> float:
    """Metres until ``speed`` is gone with the hardest braking and jerk planned otherwise, from ``acceleration`` on."""
    ramp = max(acceleration + config.max_deceleration, 0.0) / config.max_jerk
    begin = max(speed + REACTION * acceleration, 0.0)
    end = begin + acceleration * ramp - config.max_jerk * ramp**2 / 2.0
    before = REACTION * (speed + begin) / 2.0
    building = ramp * (begin + acceleration * ramp / 2.0 - config.max_jerk * ramp**2 / 6.0)
    return before + building + max(end, 0.0) ** 2 / (2.0 * config.max_deceleration)


def braking_for(room: float, speed: float, acceleration: float) -> float:
    """Constant braking (m/s^2) that stops within ``room`` though it takes `REACTION` to build up from coasting.

    From ``acceleration`` on, ``REACTION * (1 + acceleration / braking)`` seconds are lost; solved for the braking.
    """
    plain = speed**2 / (2.0 * max(room, 0.05))
    share = 1.0 + 2.0 * REACTION * acceleration / speed
    if acceleration <= -plain or share <= 0.0:
        return plain  # it has built up, or the speed is gone before it does
    left = (room - REACTION * speed) / share
    return max(speed**2 / (2.0 * max(left, 0.05)), plain)


@njit(cache=True)
def _march(grid, allowed, binding, lead, s0, v0, times, acceleration, max_deceleration, comfort, gap):  # type: ignore[no-untyped-def]
    n = times.shape[0]
    s, v = np.empty(n), np.empty(n)
    bound, bound_speed = np.empty(n, np.int64), np.empty(n)
    s[0], v[0] = s0, v0
    for k in range(n):
        dt = times[k] - times[k - 1] if k > 0 else 0.0
        start = v[k - 1] if k > 0 else v0
        at = s[k - 1] + start * dt if k > 0 else s0
        position = (at - grid[0]) / (grid[1] - grid[0])
        cell = min(max(int(position), 0), grid.shape[0] - 2)
        w = min(max(position - cell, 0.0), 1.0)
        limit = (1.0 - w) * allowed[cell] + w * allowed[cell + 1]
        who = binding[cell + 1] if allowed[cell + 1] < allowed[cell] else binding[cell]
        for j in range(lead.shape[0]):
            room = lead[j, 0] + lead[j, 1] * times[k] - at
            bt = comfort * gap
            under = bt * bt + lead[j, 1] ** 2 + 2.0 * comfort * room
            safe = -bt + math.sqrt(under) if under > 0.0 else 0.0
            safe = max(safe, 0.0)
            if safe < limit:
                limit, who = safe, int(lead[j, 2])
        bound_speed[k] = limit
        if k == 0:
            bound[0] = who if limit < v0 + 0.3 else FREE
            continue
        top = start + acceleration * dt
        if limit < top:
            bound[k] = who
            v[k] = max(limit, start - max_deceleration * dt, 0.0)
        else:
            bound[k] = FREE
            v[k] = top
        s[k] = s[k - 1] + 0.5 * (start + v[k]) * dt
    return s, v, bound, bound_speed
