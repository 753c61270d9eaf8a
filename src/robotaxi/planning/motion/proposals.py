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
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

SPEED_CHANGES = (-12.0, -8.0, -5.0, -3.0, -1.5, -0.6, 0.0, 0.6, 1.5, 3.0, 5.0)  # m/s
SPEED_TIMES = (1.5, 3.5)  # s
SHIFT_TIMES = (2.0, 4.0)  # s
OFFSETS = (0.0, 0.5, -0.5, 1.1, -1.1, 2.0, -2.0, 3.4, -3.4, 5.0, -5.0)  # m
MIN_SHIFT = 7.0  # m
HIT_COST = 1.0e4  # added where a coarse sample is not free
MAX_CHECKS = 300  # proposals looked at closely
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
    """The chosen proposal, (K,) each every ``step``; ``free_for``: seconds without contact; ``checked``: proposals."""

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


def propose(
    path: PathArrays,
    state: PathState,
    target: Target,
    limits: Limits,
    others: Others,
    ground: FloatArray,
    step: float,
    horizon: float,
) -> Motion:
    """The cheapest proposal that stays clear for the whole horizon, else the one that stays clear the longest.

    ``ground``: (G, G2, 5) drivable raster, see `raster`: distance is not needed, only inside or not.
    """
    steps = max(round(horizon / step), 2) + 1
    stride = max(round(COARSE / step), 1)
    offsets = _offsets(target, state)
    lengths = np.maximum(np.array(SHIFT_TIMES) * state.speed, MIN_SHIFT)
    speeds = _speeds(target, state, limits)
    best, checked, free_steps, total = _search(
        path.x, path.y, path.yaw, path.curvature, path.spacing, _vector(state), _vector(target), _vector(limits),
        offsets, lengths, speeds, others.x, others.y, others.yaw, others.length, others.width, others.margin,
        ground, step, steps, stride,
    )  # fmt: skip
    out = np.empty((12, steps))
    _roll(
        path.x, path.y, path.yaw, path.curvature, path.spacing, _vector(state), best[0], best[1], best[2], best[3],
        step, steps, 1, out,
    )  # fmt: skip
    rest: tuple[Any, ...] = (free_steps * step, int(total), int(checked))
    return Motion(*out, *rest)


def raster(inside: NDArray[np.bool_], low_x: float, low_y: float, cell: float) -> FloatArray:
    """Drivable ground as an array for `propose`: the first row holds origin and cell size."""
    out = np.zeros((inside.shape[0] + 1, max(inside.shape[1], 3)))
    out[0, :3] = low_x, low_y, cell
    out[1:, : inside.shape[1]] = inside
    return out


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
    ends_array = np.unique(np.round(np.clip(np.array(ends), 0.0, 50.0), 2))
    rows = []
    for end in ends_array:
        for t in SPEED_TIMES:
            rows.append((end, t))
    # the quickest way to each: at the limit of the car
    for end in ends_array:
        change = end - state.speed
        t = 1.5 * abs(change) / (0.95 * (limits.acceleration if change > 0 else limits.deceleration))
        if 0.3 < t < SPEED_TIMES[0]:
            rows.append((end, t))
    return np.array(rows)


@njit(cache=True)
def _roll(px, py, pyaw, pbend, spacing, state, d1, length, v1, t1, step, steps, stride, out):  # type: ignore[no-untyped-def]
    """x, y, yaw, speed, acceleration, curvature, s, d, slope, bend at every ``stride``-th step and the last."""
    s0, v0, a0, d0, slope0, bend0 = state[0], state[1], state[2], state[3], state[4], state[5]
    r = d1 - d0
    b1, b2 = slope0 * length, bend0 * length * length
    c3 = 10.0 * r - 6.0 * b1 - 1.5 * b2
    c4 = -15.0 * r + 8.0 * b1 + 1.5 * b2
    c5 = 6.0 * r - 3.0 * b1 - 0.5 * b2
    n = px.shape[0]
    count = 0
    s, v, a = s0, v0, a0
    stopped = False
    for k in range(steps):
        if k > 0:
            t = k * step
            u = min(t / t1, 1.0)
            # cubic in speed: from v0 with a0 to v1 with none
            m = a0 * t1
            rise = v1 - v0
            v_new = v0 + m * u + (3.0 * rise - 2.0 * m) * u * u + (m - 2.0 * rise) * u * u * u
            a = (m + 2.0 * (3.0 * rise - 2.0 * m) * u + 3.0 * (m - 2.0 * rise) * u * u) / t1 if u < 1.0 else 0.0
            if stopped or v_new <= 0.0:
                v_new, a = 0.0, 0.0
                stopped = v1 < 0.01 or stopped
            s += 0.5 * (v + v_new) * step
            v = v_new
        if (steps - 1 - k) % stride:
            continue
        w = (s - s0) / length
        if w >= 1.0:
            d, slope, bend = d1, 0.0, 0.0
        else:
            d = d0 + w * (b1 + w * (0.5 * b2 + w * (c3 + w * (c4 + w * c5))))
            slope = (b1 + w * (b2 + w * (3.0 * c3 + w * (4.0 * c4 + w * 5.0 * c5)))) / length
            bend = (b2 + w * (6.0 * c3 + w * (12.0 * c4 + w * 20.0 * c5))) / (length * length)
        at = s / spacing
        i = min(max(int(at), 0), n - 2)
        f = at - i
        rx, ry = px[i] + f * (px[i + 1] - px[i]), py[i] + f * (py[i + 1] - py[i])
        theta = pyaw[i] + min(max(f, 0.0), 1.0) * (pyaw[i + 1] - pyaw[i])
        kappa = pbend[i] + min(max(f, 0.0), 1.0) * (pbend[i + 1] - pbend[i])
        stretch = max(1.0 - kappa * d, 0.1)
        angle = math.atan2(slope, stretch)
        out[0, count], out[1, count] = rx - math.sin(theta) * d, ry + math.cos(theta) * d
        out[2, count] = theta + angle
        along = math.hypot(stretch, slope)
        out[3, count], out[4, count] = v * along, a * along
        out[5, count] = (bend * stretch + 2.0 * slope * slope * kappa + stretch * stretch * kappa) / along**3
        out[6, count], out[7, count], out[8, count], out[9, count] = s, d, slope, bend
        out[10, count], out[11, count] = v, a
        count += 1
    return count


@njit(cache=True)
def _search(  # type: ignore[no-untyped-def]
    px, py, pyaw, pbend, spacing, state, target, limits, offsets, lengths, speeds,
    ox, oy, oyaw, olength, owidth, margin, ground, step, steps, stride,
):  # fmt: skip
    total = offsets.shape[0] * lengths.shape[0] * speeds.shape[0]
    cost = np.empty(total)
    rows = np.empty((total, 4))
    coarse = np.empty((12, steps // stride + 2))
    number = 0
    for i in range(offsets.shape[0]):
        for j in range(lengths.shape[0]):
            for k in range(speeds.shape[0]):
                rows[number, 0], rows[number, 1] = offsets[i], lengths[j]
                rows[number, 2], rows[number, 3] = speeds[k, 0], speeds[k, 1]
                n = _roll(
                    px,
                    py,
                    pyaw,
                    pbend,
                    spacing,
                    state,
                    offsets[i],
                    lengths[j],
                    speeds[k, 0],
                    speeds[k, 1],
                    step,
                    steps,
                    stride,
                    coarse,
                )
                cost[number] = _cost(coarse, n, target, limits, step * stride, step * (steps - 1))
                if np.isfinite(cost[number]):
                    # a look at the coarse samples keeps those that run into something out of the close look
                    first = steps - 1 - (n - 1) * stride
                    free = _free(coarse, n, first, stride, limits, ox, oy, oyaw, olength, owidth, margin, ground)
                    if free < n:
                        cost[number] += HIT_COST * (1.0 + (n - free) / n)
                number += 1
    order = np.argsort(cost, kind="mergesort")
    full = np.empty((12, steps))
    best, best_free, checked = order[0], -1, 0
    for number in order:
        if checked >= MAX_CHECKS or (not np.isfinite(cost[number])):
            break
        row = rows[number]
        _roll(px, py, pyaw, pbend, spacing, state, row[0], row[1], row[2], row[3], step, steps, 1, full)
        free = _free(full, steps, 0, 1, limits, ox, oy, oyaw, olength, owidth, margin, ground)
        checked += 1
        if free > best_free:
            best, best_free = number, free
        if free >= steps:
            break
    return rows[best], checked, best_free, total


@njit(cache=True)
def _cost(path, n, target, limits, dt, t_end):  # type: ignore[no-untyped-def]
    s_in, s_out, d_lo, d_hi = target[0], target[1], target[2], target[3]
    t_in, t_out, v_lo, v_hi, cruise = target[4], target[5], target[6], target[7], target[10]
    comfort = 0.0
    reached = np.inf
    for k in range(n):
        v, a, bend = path[3, k], path[4, k], path[5, k]
        if a > limits[2] * 1.02 or a < -limits[3] * 1.02 or abs(bend) > limits[4]:
            return np.inf
        lateral = v * v * bend
        if abs(lateral) > limits[5]:
            return np.inf
        comfort += (a * a + 0.7 * lateral * lateral) * dt
        t = t_end - (n - 1 - k) * dt
        if t_in - dt <= t <= t_out + 1e-6:
            miss = _miss(path, k, target)
            reached = min(reached, miss)
    end = n - 1
    if t_end < t_out:
        # beyond the horizon: what average speed does the rest ask for?
        left = t_out - t_end
        sooner = max(t_in - t_end, 0.0)
        v = path[3, end]
        miss = _side(path[7, end], d_lo, d_hi) * 0.5
        if np.isfinite(s_in):
            s = path[6, end]
            slowest = (s_in - s) / max(left, 0.2)
            fastest = (s_out - s) / max(sooner, 0.2) if s_out > s else -1.0
            miss += 1.5 * max(slowest - v, 0.0) + 1.5 * max(v - max(fastest, slowest), 0.0)
            if s > s_out:
                miss += 2.0 + (s - s_out)
        elif np.isfinite(cruise):
            miss += 0.3 * abs(v - cruise)
        if np.isfinite(v_lo) and left < 3.0:
            miss += (max(v_lo - v, 0.0) + max(v - v_hi, 0.0)) * 0.5
        reached = min(reached, miss)
    if not np.isfinite(reached):
        reached = 50.0
    track = 0.0
    middle = 0.5 * (d_lo + d_hi) if np.isfinite(d_lo) and np.isfinite(d_hi) else 0.0
    for k in range(n):
        off = path[7, k] - middle
        track += off * off * dt
    last = path[7, end] - middle
    speed_off = path[3, end] - cruise if np.isfinite(cruise) and not np.isfinite(s_in) else 0.0
    return 20.0 * reached + 0.12 * comfort + 0.15 * track / (n * dt) + 0.4 * last * last + 0.05 * speed_off * speed_off


@njit(cache=True)
def _side(value, lo, hi):  # type: ignore[no-untyped-def]
    return max(lo - value, 0.0) + max(value - hi, 0.0)


@njit(cache=True)
def _miss(path, k, target):  # type: ignore[no-untyped-def]
    """How far sample ``k`` is from the goal: metres, m/s and radians added up."""
    miss = 0.0
    if np.isfinite(target[0]):
        miss += _side(path[6, k], target[0], target[1])
    if np.isfinite(target[2]):
        miss += 2.0 * _side(path[7, k], target[2], target[3])
    if np.isfinite(target[6]):
        miss += _side(path[3, k], target[6], target[7])
    if np.isfinite(target[8]):
        middle, half = 0.5 * (target[8] + target[9]), 0.5 * (target[9] - target[8])
        off = abs((path[2, k] - middle + math.pi) % (2.0 * math.pi) - math.pi)
        miss += 10.0 * max(off - half, 0.0)
    return miss


@njit(cache=True)
def _free(path, count, first, stride, limits, ox, oy, oyaw, olength, owidth, margin, ground):  # type: ignore[no-untyped-def]
    """Samples until the first contact or the first corner off the ground; ``count`` for none.

    Sample ``k`` of ``path`` is at step ``first + k * stride`` of the others.
    """
    half_length, half_width = 0.5 * limits[0], 0.5 * limits[1]
    reach = math.hypot(half_length, half_width)
    low_x, low_y, cell = ground[0, 0], ground[0, 1], ground[0, 2]
    off_before = False
    for k in range(count):
        at = first + k * stride
        x, y, yaw = path[0, k], path[1, k], path[2, k]
        c, s = math.cos(yaw), math.sin(yaw)
        if cell > 0.0:
            off = False
            for u in (-1.0, -0.33, 0.33, 1.0):
                for w in (-1.0, 1.0):
                    qx = x + u * half_length * c - w * (half_width + 0.05) * s
                    qy = y + u * half_length * s + w * (half_width + 0.05) * c
                    i, j = int((qy - low_y) / cell) + 1, int((qx - low_x) / cell)
                    if qy < low_y or qx < low_x or i >= ground.shape[0] or j >= ground.shape[1] or ground[i, j] < 0.5:
                        off = True
            if off and not off_before and at > 0:
                return k
            off_before = off if k == 0 else off_before and off
        for i in range(ox.shape[0]):
            bx, by = ox[i, at], oy[i, at]
            if not np.isfinite(bx):
                continue
            hl, hw = 0.5 * olength[i] + margin[at], 0.5 * owidth[i] + 0.5 * margin[at]
            dx, dy = bx - x, by - y
            far = reach + math.hypot(hl, hw)
            if dx * dx + dy * dy > far * far:
                continue
            cc, ss = math.cos(oyaw[i, at]), math.sin(oyaw[i, at])
            cr, sr = abs(c * cc + s * ss), abs(c * ss - s * cc)
            if abs(dx * c + dy * s) > half_length + hl * cr + hw * sr:
                continue
            if abs(-dx * s + dy * c) > half_width + hl * sr + hw * cr:
                continue
            if abs(dx * cc + dy * ss) > hl + half_length * cr + half_width * sr:
                continue
            if abs(-dx * ss + dy * cc) > hw + half_length * sr + half_width * cr:
                continue
            if at == 0:
                continue  # in contact already: margins only
            return k
    return count
