"""Motion by proposals: many offsets, shift lengths and speed profiles at once, the cheapest safe one wins.

Every proposal is rolled out along the path, costed on a coarse grid in one compiled pass, and checked
for collision and drivable ground in the order of its cost, so that most are never checked (the idea of
FISS, Sun et al., RA-L 2022; proposals scored in batch as in nuPlan's PDM, Dauner et al., CoRL 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.planning.motion.aimed import JUMP, aimed
from robotaxi.planning.motion.ground import Ground
from robotaxi.planning.motion.proposal_search import COLUMNS, ROW, bend_speeds, roll, search

FloatArray = NDArray[np.floating[Any]]

SPEED_CHANGES = (-12.0, -8.0, -5.0, -3.0, -1.5, -0.6, 0.0, 0.6, 1.5, 3.0, 5.0, 8.0)  # m/s
SPEED_TIMES = (1.5, 3.5)  # s
SUDDEN_CHANGES = (-40.0, -8.0, -4.0, 3.0, 6.0, 10.0)  # m/s
SHIFT_TIMES = (2.0, 4.0)  # s
OFFSETS = (0.0, 0.5, -0.5, 1.1, -1.1, 2.0, -2.0, 3.4, -3.4, 5.0, -5.0)  # m
MIN_SHIFT = 7.0  # m
MIN_LEFT, MIN_LEFT_TIME = 0.5, 0.05  # m and s that a shift and a change of speed still take when they are done
COARSE = 0.5  # s between two samples of the first look


@dataclass(frozen=True)
class PathArrays:
    """A path sampled every ``spacing`` metres."""

    spacing: float
    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    curvature: FloatArray


@dataclass(frozen=True)
class PathState:
    """Where the car is: arc length, speed along the path, acceleration; offset with slope and bend over arc length."""

    s: float
    speed: float
    acceleration: float
    d: float
    slope: float
    bend: float


@dataclass(frozen=True)
class Target:
    """What is wanted: to be within ``s_in..s_out`` and ``d_lo..d_hi`` at a time within ``t_in..t_out`` (s from now)
    at ``v_lo..v_hi`` and within ``yaw_lo..yaw_hi`` of map yaw (infinite where it does not matter);
    ``speed``: to cruise at where nothing else asks."""

    s_in: float
    s_out: float
    d_lo: float
    d_hi: float
    t_in: float
    t_out: float
    v_lo: float
    v_hi: float
    yaw_lo: float
    yaw_hi: float
    speed: float


@dataclass(frozen=True)
class Limits:
    """What the car can do and how large it is; ``centre``: from the path point it is planned for to its middle."""

    length: float
    width: float
    acceleration: float
    deceleration: float
    curvature: float
    lateral_acceleration: float


@dataclass(frozen=True)
class Others:
    """Boxes of the others, (N, K) each at the times ``k * step``; NaN where somebody is not there.
    ``margin`` (K,): metres that their boxes are grown by at each time."""

    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    length: FloatArray  # (N,)
    width: FloatArray  # (N,)
    margin: FloatArray


@dataclass(frozen=True)
class Motion:
    """The chosen proposal, (K,) each every ``step``; ``free_for``: seconds without contact; ``checked``: proposals;
    ``row``: what it is made of, as `continued` takes it."""

    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    speed: FloatArray
    acceleration: FloatArray
    curvature: FloatArray
    s: FloatArray
    d: FloatArray
    slope: FloatArray
    bend: FloatArray
    along: FloatArray  # speed and acceleration along the path
    along_acceleration: FloatArray
    free_for: float
    proposals: int
    checked: int
    row: FloatArray


def propose(
    path: PathArrays,
    state: PathState,
    target: Target,
    limits: Limits,
    others: Others,
    ground: Ground,
    step: float,
    horizon: float,
    sample: float | None = None,
    kept: FloatArray | None = None,
) -> Motion:
    """The cheapest proposal that stays clear for the whole horizon, else the one that stays clear the longest.

    ``step``: of the others and of the check; ``sample``: of what is returned, ``step`` if None; ``kept``: the rest of
    the motion that is driven (`continued`), which is a proposal too.
    """
    steps = max(round(horizon / step), 2) + 1
    stride = max(round(COARSE / step), 1)
    lengths = np.maximum(np.array(SHIFT_TIMES) * state.speed, MIN_SHIFT)
    cap = bend_speeds(path.curvature, path.spacing)
    lines = (path.x, path.y, path.yaw, path.curvature, cap, path.spacing, _vector(state))
    best, checked, free_steps, total = search(
        *lines, _vector(target), _vector(limits), _offsets(target, state), lengths, _speeds(target, state, limits),
        _more(path, state, target, limits, horizon, kept),
        others.x, others.y, others.yaw, others.length, others.width, others.margin,
        ground.index, ground.tiles, ground.frame, step, steps, stride,
    )  # fmt: skip
    sample = sample or step
    samples = max(round(horizon / sample), 2) + 1
    out = np.empty((COLUMNS, samples))
    roll(*lines, best, sample, samples, 1, out)
    rest: tuple[Any, ...] = (free_steps * step, int(total), int(checked), best)
    return Motion(*out[:12], *rest)


def continued(row: FloatArray, state: PathState, s: float, dt: float) -> FloatArray:
    """What is left of the motion ``row`` after ``dt``, when the car is at ``state`` and was at ``s``.

    The polynomials of a proposal, begun later, are proposals of the same kind: nothing of a plan is lost or put off.
    """
    d1, way, v1, t1, slope1, bow, _ = (float(value) for value in row)
    left_way, left_time = way - (state.s - s), max(t1 - dt, MIN_LEFT_TIME)
    if left_way < MIN_LEFT:  # at its end it goes on straight
        left_way = MIN_LEFT
        d1 = state.d + slope1 * left_way if slope1 else d1
    return np.array([d1, left_way, v1, left_time, slope1, bow * (left_time / t1) ** 4, 0.0])


def _more(
    path: PathArrays, state: PathState, target: Target, limits: Limits, horizon: float, kept: FloatArray | None
) -> FloatArray:
    """Rows (N, 7) beside the grid: aimed at the goal, sudden changes of speed, and the motion that is driven."""
    parts = [aimed(path, state, target, limits, horizon), _sudden(state, target, limits)]
    return np.concatenate([*parts, kept[None, :]] if kept is not None else parts)


def _sudden(state: PathState, target: Target, limits: Limits) -> FloatArray:
    """Braking and speeding up that begin at once, as far as the pedals can."""
    rows = []
    for change in SUDDEN_CHANGES:
        most = limits.acceleration if change > 0.0 else -limits.deceleration
        end = max(state.speed + change, 0.0)
        jump = math.copysign(JUMP, change)
        jump = min(jump, most - state.acceleration) if change > 0.0 else max(jump, most - state.acceleration)
        if jump * change <= 0.0 or end == state.speed:
            continue
        t = 1.5 * abs(end - state.speed) / (0.95 * abs(most))
        rows += [
            [d, max(SHIFT_TIMES[0] * state.speed, MIN_SHIFT), end, t, 0.0, 0.0, jump] for d in _offsets(target, state)
        ]
    return np.array(rows, float).reshape(-1, ROW)


def _vector(item: PathState | Target | Limits) -> FloatArray:
    return np.array(list(vars(item).values()), float)


def _offsets(target: Target, state: PathState) -> FloatArray:
    """End offsets: those wanted first, and to stay."""
    middle = 0.5 * (target.d_lo + target.d_hi) if math.isfinite(target.d_lo + target.d_hi) else 0.0
    return np.unique(np.round(np.array([*OFFSETS, *(middle + np.array([-0.5, 0.0, 0.5])), state.d]), 3))


def _speeds(target: Target, state: PathState, limits: Limits) -> FloatArray:
    """Rows of (end speed, time to reach it, begin of it)."""
    ends = [state.speed + change for change in SPEED_CHANGES]
    ends += [0.0, target.speed]
    if math.isfinite(target.s_in + target.s_out) and target.t_out > 0.3:
        for s_goal in (target.s_in, 0.5 * (target.s_in + target.s_out), target.s_out):
            for t in (max(target.t_in, 0.5), min(max(0.5 * (target.t_in + target.t_out), 0.5), 30.0)):
                ends.append((s_goal - state.s) / t)
    for v in (target.v_lo, target.v_hi, 0.5 * (target.v_lo + target.v_hi)):
        if math.isfinite(v):
            ends.append(v)
    wanted = np.array([v for v in ends if math.isfinite(v)])
    ends_array = np.unique(np.round(np.clip(wanted, 0.0, 50.0), 2))
    rows = []
    for end in ends_array:
        for t in SPEED_TIMES:
            rows.append((end, t))
    # the quickest way to each: at the limit of the car
    for end in ends_array:
        change = end - state.speed
        t = 1.5 * abs(change) / (0.95 * (limits.acceleration if change > 0 else limits.deceleration))
        if 0.3 < t < SPEED_TIMES[0] or (end == 0.0 and t > SPEED_TIMES[-1]):
            rows.append((end, t))
    return np.array(rows)
