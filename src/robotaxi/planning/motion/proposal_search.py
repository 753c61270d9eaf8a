"""The compiled loops of `proposals`: rolling out, costing and checking every proposal of a cycle."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.planning.motion.ground import clearance

HIT_COST = 1.0e4  # added where a coarse sample is not free
UNDRIVABLE_COST = 1.0e6  # of what the car or its tyres cannot do: taken only where nothing else is left
SLIP, SLIP_COST = 1.2, 300.0  # of the tyres' limit that is left in need, and what each m/s of it costs
JUMP_COST = 2.0  # of each m/s^2 that the acceleration changes at once
SLOW_DOWN = 1.5  # m/s^2 with which a car that is early gets slower
MISS_COST = 0.5  # m, m/s or rad that a goal missed by nothing counts as
ROW = 7  # numbers that a proposal is made of
COLUMNS = 13  # of what is rolled out
MAX_CHECKS = 300  # proposals looked at closely, strictly and less so
EDGE = 0.03  # m of ground beside the car
SIDE_CIRCLE, SIDE_STEP = 0.45, 0.3  # m: circles along its sides that the ground is looked at with, at most so far apart
CORNER_CIRCLE = 0.15  # m: in its corners
SIDE_REACH = 8.0  # m that a proposal may leave the path, with room
BEND_LATERAL, BEND_BRAKING = 6.6, 5.0  # m/s^2 through a bend of the path, and to slow down for it
BEND_BRAKING_MOST = 7.5  # m/s^2 where the car is too fast for the bend already


@njit(cache=True)
def bend_speeds(pbend, spacing):  # type: ignore[no-untyped-def]
    """Speed (N,) at each sample of a path at which its bends there and ahead can be driven."""
    cap = np.empty(pbend.shape[0])
    following = np.inf
    for i in range(pbend.shape[0] - 1, -1, -1):
        here = math.sqrt(BEND_LATERAL / max(abs(pbend[i]), 1e-6))
        following = min(here, math.sqrt(following * following + 2.0 * BEND_BRAKING * spacing))
        cap[i] = following
    return cap


@njit(cache=True)
def roll(px, py, pyaw, pbend, cap, spacing, state, row, step, steps, stride, out):  # type: ignore[no-untyped-def]
    """x, y, yaw, speed, acceleration, curvature, s, d, slope, bend, speed and acceleration along the path, and the
    integral of its square since the sample before, at every ``stride``-th step and the last.

    ``row``: end offset, way to it, end speed, time to it, end slope, bow: what the speed has on top half way, times 16,
    without a change at either end; it moves the place that is reached and keeps the speed there; and what the
    acceleration changes by at once. ``cap``: speeds that bends allow (`bend_speeds`), to which it is braked.
    """
    d1, length, v1, t1, slope1, bow = row[0], row[1], row[2], row[3], row[4], row[5]
    s0, v0, a0, d0, slope0, bend0 = state[0], state[1], state[2] + row[6], state[3], state[4], state[5]
    r = d1 - d0
    b1, b2 = slope0 * length, bend0 * length * length
    c3 = 10.0 * r - 6.0 * b1 - 1.5 * b2
    c4 = -15.0 * r + 8.0 * b1 + 1.5 * b2
    c5 = 6.0 * r - 3.0 * b1 - 0.5 * b2
    turned = slope1 * length
    c3, c4, c5 = c3 - 4.0 * turned, c4 + 7.0 * turned, c5 - 3.0 * turned
    n = px.shape[0]
    count = 0
    s, v, a = s0, v0, a0
    effort = 0.0
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
            v_new += bow * u * u * (1.0 - u) * (1.0 - u)
            a += bow * 2.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / t1
            if stopped or v_new <= 0.0:
                v_new, a = 0.0, 0.0
                stopped = v1 < 0.01 or stopped
            allowed = cap[min(max(int((s + v * step) / spacing), 0), n - 1)]
            if v_new > allowed:
                v_new = max(allowed, min(v - BEND_BRAKING_MOST * step, v_new))
                a = (v_new - v) / step
            s += 0.5 * (v + v_new) * step
            v = v_new
            effort += a * a * step
        if (steps - 1 - k) % stride:
            continue
        w = (s - s0) / length
        if w >= 1.0:
            d, slope, bend = d1 + slope1 * (w - 1.0) * length, slope1, 0.0
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
        out[10, count], out[11, count], out[12, count] = v, a, effort
        effort = 0.0
        count += 1
    return count


@njit(cache=True)
def search(  # type: ignore[no-untyped-def]
    px, py, pyaw, pbend, cap, spacing, state, target, limits, offsets, lengths, speeds, more,
    ox, oy, oyaw, olength, owidth, margin, index, tiles, frame, step, steps, stride,
):  # fmt: skip
    """Cost every proposal, look at them closely in the order of cost.

    Proposals: each offset with each length and each speed, and ``more`` rows. Returns the row of the best as `roll`
    takes it, how many were looked at closely, samples until its first contact, and how many there were.
    """
    mixed = offsets.shape[0] * lengths.shape[0] * speeds.shape[0]
    total = mixed + more.shape[0]
    cost = np.empty(total)
    rows = np.zeros((total, ROW))
    coarse = np.empty((COLUMNS, steps // stride + 2))
    boxes, begin = near_boxes(px, py, spacing, state, limits, ox, oy, oyaw, olength, owidth, margin, step, steps)
    number = 0
    for i in range(offsets.shape[0]):
        for j in range(lengths.shape[0]):
            for k in range(speeds.shape[0]):
                row = rows[number]
                row[0], row[1], row[2], row[3] = offsets[i], lengths[j], speeds[k, 0], speeds[k, 1]
                number += 1
    rows[mixed:] = more
    for number in range(total):
        n = roll(px, py, pyaw, pbend, cap, spacing, state, rows[number], step, steps, stride, coarse)
        cost[number] = _cost(coarse, n, target, limits, step * stride, step * (steps - 1))
        cost[number] += JUMP_COST * abs(rows[number, 6])
        if cost[number] < UNDRIVABLE_COST:
            # a look at the coarse samples keeps those that run into something out of the close look
            first = steps - 1 - (n - 1) * stride
            free = _free(coarse, n, first, stride, limits, boxes, begin, index, tiles, frame, False)
            if free < n:
                cost[number] += HIT_COST * (1.0 + (n - free) / n)
    order = np.argsort(cost, kind="mergesort")
    full = np.empty((COLUMNS, steps))
    best, best_free, checked = order[0], -1, 0
    for strict in (True, False):  # where nothing is free, what only grazes an edge is better than what runs into it
        looked_at = 0
        for number in order:
            if looked_at >= MAX_CHECKS or (looked_at > 0 and cost[number] >= UNDRIVABLE_COST):
                break
            roll(px, py, pyaw, pbend, cap, spacing, state, rows[number], step, steps, 1, full)
            free = _free(full, steps, 0, 1, limits, boxes, begin, index, tiles, frame, strict)
            looked_at += 1
            if free > best_free:
                best, best_free = number, free
            if free >= steps:
                break
        checked += looked_at
        if best_free >= steps:
            break
    return rows[best], checked, best_free, total


@njit(cache=True)
def near_boxes(  # type: ignore[no-untyped-def]
    px, py, spacing, state, limits, ox, oy, oyaw, olength, owidth, margin, step, steps,
):  # fmt: skip
    """The others that the car can possibly meet, by step: rows of (x, y, cos, sin, half length, half width)
    grown by the margin, and (steps + 1,) where those of each step begin."""
    at = min(max(state[0] / spacing, 0.0), px.shape[0] - 2.0)
    i = int(at)
    x0, y0 = px[i] + (at - i) * (px[i + 1] - px[i]), py[i] + (at - i) * (py[i + 1] - py[i])
    own = 0.5 * math.hypot(limits[0], limits[1]) + abs(state[4]) + SIDE_REACH
    boxes = np.empty((ox.shape[0] * steps, 6))
    begin = np.empty(steps + 1, np.int64)
    count = 0
    for k in range(steps):
        begin[k] = count
        t = k * step
        driven = (state[1] * t + 0.5 * limits[2] * t * t) * 1.2 + own
        for n in range(ox.shape[0]):
            x, y = ox[n, k], oy[n, k]
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            hl, hw = 0.5 * olength[n] + margin[k], 0.5 * owidth[n] + 0.5 * margin[k]
            far = driven + math.hypot(hl, hw)
            if (x - x0) ** 2 + (y - y0) ** 2 > far * far:
                continue
            row = boxes[count]
            row[0], row[1], row[2], row[3] = x, y, math.cos(oyaw[n, k]), math.sin(oyaw[n, k])
            row[4], row[5] = hl, hw
            count += 1
    begin[steps] = count
    return boxes, begin


@njit(cache=True)
def _cost(path, n, target, limits, dt, t_end):  # type: ignore[no-untyped-def]
    s_in, s_out, d_lo, d_hi = target[0], target[1], target[2], target[3]
    t_in, t_out, v_lo, v_hi, cruise = target[4], target[5], target[6], target[7], target[10]
    comfort = beyond = slip = 0.0
    reached = np.inf
    for k in range(n):
        v, a, bend = path[3, k], path[4, k], path[5, k]
        lateral = v * v * bend
        beyond += max(a - limits[2] * 1.02, 0.0) + max(-a - limits[3] * 1.02, 0.0)
        beyond += max(abs(bend) / limits[4] - 1.0, 0.0) + max(abs(lateral) - limits[5] * SLIP, 0.0)
        slip += max(abs(lateral) - limits[5], 0.0) * dt
        comfort += path[12, k] + 0.7 * lateral * lateral * dt
        t = t_end - (n - 1 - k) * dt
        if t_in - dt <= t <= t_out + 1e-6:
            miss = _miss(path, k, target)
            reached = min(reached, miss)
    end = n - 1
    if beyond > 0.0:
        return UNDRIVABLE_COST * (1.0 + beyond)
    if 1e-3 < reached < np.inf:
        reached += MISS_COST
    if t_end < t_out:
        # beyond the horizon: what average speed does the rest ask for?
        left = t_out - t_end
        sooner = max(t_in - t_end, 0.0)
        v = path[3, end]
        miss = _side(path[7, end], d_lo, d_hi) * 0.5
        if np.isfinite(s_in):
            s = path[6, end]
            slowest = (s_in - s) / max(left, 0.2)
            # too fast is only who cannot slow down gently and be in time: traffic sets the pace until then
            slowed = min(sooner, v / SLOW_DOWN)
            beyond_it = (v - 0.5 * SLOW_DOWN * slowed) * slowed - max(s_out - s, 0.0)
            miss += 1.5 * max(slowest - v, 0.0) + 1.5 * max(beyond_it, 0.0) / max(sooner, 0.2)
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
    return (
        SLIP_COST * slip
        + 20.0 * reached
        + 0.12 * comfort
        + 0.15 * track / (n * dt)
        + 0.4 * last * last
        + 0.05 * speed_off * speed_off
    )


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
def _free(path, count, first, stride, limits, boxes, begin, index, tiles, frame, strict):  # type: ignore[no-untyped-def]
    """Samples until the first contact or the first corner off the ground; ``count`` for none.

    Sample ``k`` of ``path`` is at step ``first + k * stride`` of the others.
    """
    half_length, half_width = 0.5 * limits[0], 0.5 * limits[1]
    reach = math.hypot(half_length, half_width)
    off_before = False
    for k in range(count):
        at = first + k * stride
        x, y, yaw = path[0, k], path[1, k], path[2, k]
        c, s = math.cos(yaw), math.sin(yaw)
        off = _off_ground(index, tiles, frame, x, y, c, s, half_length, half_width, strict)
        if off and not off_before and at > 0:
            return k
        off_before = off if k == 0 else off_before and off
        if at == 0:
            continue  # in contact already: margins only
        for i in range(begin[at], begin[at + 1]):
            box = boxes[i]
            hl, hw = box[4], box[5]
            dx, dy = box[0] - x, box[1] - y
            far = reach + hl + hw
            if abs(dx) > far or abs(dy) > far:
                continue
            cc, ss = box[2], box[3]
            cr, sr = abs(c * cc + s * ss), abs(c * ss - s * cc)
            if abs(dx * c + dy * s) > half_length + hl * cr + hw * sr:
                continue
            if abs(-dx * s + dy * c) > half_width + hl * sr + hw * cr:
                continue
            if abs(dx * cc + dy * ss) > hl + half_length * cr + half_width * sr:
                continue
            if abs(-dx * ss + dy * cc) > hw + half_length * sr + half_width * cr:
                continue
            return k
    return count


@njit(cache=True)
def places_off(x, y, yaw, half_length, half_width, index, tiles, frame):  # type: ignore[no-untyped-def]
    """At how many poses (N,) a part of the car is off the ground."""
    count = 0
    for k in range(x.shape[0]):
        c, s = math.cos(yaw[k]), math.sin(yaw[k])
        count += _off_ground(index, tiles, frame, x[k], y[k], c, s, half_length, half_width, True)
    return count


@njit(cache=True)
def _off_ground(index, tiles, frame, x, y, c, s, half_length, half_width, strict):  # type: ignore[no-untyped-def]
    """Whether the car leaves the ground: any part of it where it is looked at ``strict``-ly, else some points of it."""
    third = half_length / 1.5
    around = math.hypot(half_length - third, half_width) + EDGE
    for u in (-third, 0.0, third):
        if clearance(index, tiles, frame, x + u * c, y + u * s) < around:
            break
    else:  # three circles that cover the car are clear
        return False
    if not strict:
        for u in (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0):
            for w in (-1.0, 1.0):
                qx = x + u * half_length * c - w * half_width * s
                qy = y + u * half_length * s + w * half_width * c
                if clearance(index, tiles, frame, qx, qy) < EDGE:
                    return True
        return False
    # smaller circles along its sides, which what points into it cannot slip between, and its corners
    r = min(SIDE_CIRCLE, half_width)
    along, across = half_length - r, half_width - r
    count = int(2.0 * along / SIDE_STEP) + 1
    for k in range(count + 1):
        u = along * (2.0 * k / count - 1.0)
        for w in (-across, across):
            if clearance(index, tiles, frame, x + u * c - w * s, y + u * s + w * c) < r + EDGE:
                return True
    for end in (-1.0, 1.0):
        u = end * along
        if clearance(index, tiles, frame, x + u * c, y + u * s) < r + EDGE:
            return True
        for r in (CORNER_CIRCLE, 0.0):
            u = end * (half_length - r)
            for w in (r - half_width, half_width - r):
                if clearance(index, tiles, frame, x + u * c - w * s, y + u * s + w * c) < r + EDGE:
                    return True
    return False
