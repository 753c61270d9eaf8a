"""Proposals that end in the goal itself: at a place of it, at a time, a speed and a heading that it allows."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.planning.motion.proposal_search import ROW

if TYPE_CHECKING:
    from robotaxi.planning.motion.proposals import Limits, PathArrays, PathState, Target

FloatArray = NDArray[np.floating[Any]]

SOONEST = 0.3  # s; nothing is aimed at that is nearer
MIN_WAY = 1.0  # m
MAX_TURN = 1.0  # rad between the heading that is wanted and the path
BOWED = 0.3  # of the mean speed; no profile dips or rises more on its way
MUCH = 1.0  # m/s^2 on average, from which the acceleration may change at once
JUMP = 3.0  # m/s^2 that it may change by: brakes and motor build up within 0.1 to 0.3 s
LOOKS = 9  # at the acceleration of a profile
_BOW = 30.0  # one over the integral of u^2 (1 - u)^2


def aimed(path: PathArrays, state: PathState, target: Target, limits: Limits, horizon: float) -> FloatArray:
    """Rows (N, 7) as `proposal_search.roll` takes them; none where the goal has no place or lies beyond the horizon.

    The speed is a cubic over time that reaches the place on time, or one that ends at a wanted speed with a bow that
    makes up for the difference in way; the offset is a quintic over the way that ends in the wanted heading.
    """
    none = np.zeros((0, ROW))
    places = (target.s_in, target.s_out, target.d_lo, target.d_hi)
    first, last = max(target.t_in, SOONEST), min(target.t_out, horizon)
    if not all(map(math.isfinite, places)) or first > last:
        return none
    stretch = _turned_right(path, target)
    if stretch[1] - state.s < MIN_WAY:
        return none
    times = sorted({first, 0.5 * (first + last), last})
    stations = [s for s in np.linspace(*stretch, 3) if s - state.s >= MIN_WAY]
    offsets = (target.d_lo, 0.5 * (target.d_lo + target.d_hi), target.d_hi)
    rows = []
    for s in stations:
        way, slope = float(s) - state.s, _slope(path, float(s), target)
        ends = [
            (v, t, slope, bow, jump) for t in times for jump in _jumps(state, way, t)
            for v, bow in _speeds(state, way, t, target, jump)
        ]  # fmt: skip
        rows += [(d, way, *end) for d, end in product(offsets, ends)]
    return _possible(np.array(rows, float), state, limits) if rows else none


def _possible(rows: FloatArray, state: PathState, limits: Limits) -> FloatArray:
    """Those whose acceleration the car has all the way: a short one may ask for more between two coarse looks."""
    v1, t, bow = (rows[:, k, None] for k in (2, 3, 5))
    rise, push = v1 - state.speed, (state.acceleration + rows[:, 6, None]) * t
    u = np.linspace(0.0, 1.0, LOOKS)[None, 1:]
    a = (push + 2.0 * (3.0 * rise - 2.0 * push) * u + 3.0 * (push - 2.0 * rise) * u * u) / t
    a = a + bow * 2.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / t
    return np.asarray(rows[((a <= limits.acceleration) & (a >= -limits.deceleration)).all(axis=1)], float)


def _turned_right(path: PathArrays, target: Target) -> tuple[float, float]:
    """The part of the goal's stretch where the path itself has a heading that is wanted; all of it if none has."""
    if not math.isfinite(target.yaw_lo):
        return target.s_in, target.s_out
    index = np.arange(math.ceil(target.s_in / path.spacing), math.floor(target.s_out / path.spacing) + 1)
    s = index[(index >= 0) & (index < path.yaw.size)]
    good = s[_off(path.yaw[s], target) <= 0.0]
    if not good.size:
        return target.s_in, target.s_out
    return float(good[0] * path.spacing), float(good[-1] * path.spacing)


def _off(yaw: Any, target: Target) -> Any:
    """How far headings are outside of those wanted (rad), negative inside."""
    middle, half = 0.5 * (target.yaw_lo + target.yaw_hi), 0.5 * (target.yaw_hi - target.yaw_lo)
    return np.abs((yaw - middle + math.pi) % math.tau - math.pi) - half


def _slope(path: PathArrays, s: float, target: Target) -> float:
    """Slope against the path at ``s`` with which the heading is just what is wanted; 0 if it is anyway."""
    if not math.isfinite(target.yaw_lo):
        return 0.0
    yaw = float(path.yaw[min(max(round(s / path.spacing), 0), path.yaw.size - 1)])
    middle = 0.5 * (target.yaw_lo + target.yaw_hi)
    half = 0.5 * (target.yaw_hi - target.yaw_lo)
    turn = (middle - yaw + math.pi) % math.tau - math.pi
    needed = math.copysign(max(abs(turn) - half, 0.0), turn)
    return math.tan(min(max(needed, -MAX_TURN), MAX_TURN))


def _jumps(state: PathState, way: float, t: float) -> tuple[float, ...]:
    """Changes of acceleration to begin with: none, and a sudden one where the goal asks for much."""
    wanted = 2.0 * (way / t - state.speed) / t
    return (0.0, math.copysign(JUMP, wanted)) if abs(wanted - state.acceleration) > MUCH else (0.0,)


def _speeds(state: PathState, way: float, t: float, target: Target, jump: float) -> list[tuple[float, float]]:
    """End speeds and bows that cover ``way`` in ``t``."""
    mean = way / t
    push = (state.acceleration + jump) * t / 12.0
    plain = state.speed + 2.0 * (mean - state.speed - push)
    out = [(plain, 0.0)] if plain >= 0.0 else []
    if math.isfinite(target.v_lo):
        ends = np.clip([target.v_lo, 0.5 * (target.v_lo + target.v_hi), target.v_hi], 0.0, None)
    else:
        ends = np.array([0.7, 1.0, 1.3]) * mean
    for v in ends:
        bow = _BOW * (mean - 0.5 * (state.speed + float(v)) - push)
        if abs(bow) / 16.0 <= BOWED * max(mean, 3.0):
            out.append((float(v), bow))
    return out
