"""An interior-point method for speed profiles: time in proportion to the steps, no matrices larger than 3 x 3.

Minimises over speed profiles of constant jerk in each step::

    sum_k  steps_k / 2 (q_s (s - S_k)^2 + q_v (v - V_k)^2 + q_a (a - A_k)^2 + q_j j^2)
           + q_e e^2 / 2 + l_e e + q_f f^2 / 2 + l_f f
    s <= stop + e     s + headway v <= lead_k + e     v <= allowed_k + f     e, f, v >= 0
    floor_k <= a <= ceiling_k     -falling <= j <= rising

Mehrotra's predictor and corrector (SIAM J. Optimization 2, 1992); each Newton step is a linear-quadratic control
problem over the stages, solved by a Riccati recursion (Rao, Wright and Rawlings, J. Optimization Theory and
Applications 99, 1998). The iterates keep to the dynamics, and the overruns e and f are eliminated in their stage.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

MAX_ITERATIONS = 60
_PRECISION = 1e-11  # mean product of slack and multiplier at which the answer is taken
_FEASIBLE = 1e-8  # share of the residuals of the start that may be left then
_FIRST_PRODUCT, _FIRST_SLACK = 10.0, 1.0  # of the start: well inside, so that no bound blocks the first steps
_KEPT = 0.995  # share of the way to the nearest bound that a step takes
_BLOCKED = 0.1  # a step shorter than this is replaced by one back to the middle
_BOUNDS = 10  # stop, lead, allowed, v >= 0, floor, ceiling, falling, rising, e >= 0, f >= 0
STOP, LEAD, ALLOWED, FORWARD, FLOOR, CEILING, FALLING, RISING, OVERRUN, OVERSPEED = range(_BOUNDS)


@njit(cache=True)
def solve_stages(
    steps: FloatArray,
    costs: FloatArray,
    headway: float,
    start: FloatArray,
    wanted: FloatArray,
    limits: FloatArray,
    jerks: FloatArray,
) -> tuple[bool, FloatArray]:
    """(whether it is solved, rows s, v, a, j (4, N) at the end of each step).

    ``steps`` (N,) s; ``costs``: q_s, q_v, q_a, q_j, q_e, q_f, l_e, l_f; ``start``: s, v, a; ``wanted`` (3, N): S, V, A;
    ``limits`` (5, N): stop, lead, allowed, floor, ceiling, infinite where there is none; ``jerks``: falling, rising.
    """
    n = steps.shape[0]
    x = np.empty((6, n))  # s, v, a, j, e, f
    slack, multiplier, residual = np.empty((n, _BOUNDS)), np.zeros((n, _BOUNDS)), np.zeros((n, _BOUNDS))
    on = np.ones((n, _BOUNDS), np.bool_)
    _begin(steps, costs, headway, start, wanted, limits, jerks, x, slack, multiplier, residual, on)
    count = 0
    for k in range(n):
        for i in range(_BOUNDS):
            count += on[k, i]
    gains, coupling, dx = np.empty((n, 4)), np.empty((n, 5)), np.empty((6, n))
    moved, raised, bent = np.empty((n, _BOUNDS)), np.empty((n, _BOUNDS)), np.zeros((n, _BOUNDS))
    left = 1.0
    for _ in range(MAX_ITERATIONS):
        product = _product(slack, multiplier, moved, raised, on, 0.0) / count
        if product < _PRECISION and left < _FEASIBLE:
            return True, x[:4]
        if not math.isfinite(product):
            break
        _factor(steps, costs, headway, slack, multiplier, gains, coupling)
        aim, step = 0.0, 0.0
        bent[:] = 0.0
        for attempt in range(3):  # the predictor, the corrector, and where that is blocked: back to the middle
            step = _direction(
                steps, costs, headway, wanted, x, slack, multiplier, residual, on, aim, bent, gains, coupling,
                dx, moved, raised,
            )  # fmt: skip
            if attempt == 0:
                aim = (_product(slack, multiplier, moved, raised, on, step) / count / product) ** 3 * product
                for k in range(n):
                    for i in range(_BOUNDS):
                        bent[k, i] = step * moved[k, i] * raised[k, i]
            elif step < _BLOCKED:
                aim = 0.5 * product
                bent[:] = 0.0
            else:
                break
        step = min(1.0, _KEPT * step)
        for i in range(6):
            for k in range(n):
                x[i, k] += step * dx[i, k]
        for k in range(n):
            for i in range(_BOUNDS):
                slack[k, i] += step * moved[k, i]
                multiplier[k, i] += step * raised[k, i]
                residual[k, i] *= 1.0 - step
        left *= 1.0 - step
    return False, x[:4]


@njit(cache=True)
def _begin(steps, costs, headway, start, wanted, limits, jerks, x, slack, multiplier, residual, on):  # type: ignore[no-untyped-def]
    """Drive after the wanted acceleration; overruns as large as that asks for."""
    s, v, a = start[0], start[1], start[2]
    for k in range(steps.shape[0]):
        h = steps[k]
        j = min(max((wanted[2, k] - a) / h, -0.9 * jerks[0]), 0.9 * jerks[1])
        s += h * v + h * h / 2.0 * a + h**3 / 6.0 * j
        v += h * a + h * h / 2.0 * j
        a += h * j
        beyond = max(s - limits[STOP, k], s + headway * v - limits[LEAD, k])
        e, f = max(beyond, 0.0) + _FIRST_SLACK, max(v - limits[ALLOWED, k], 0.0) + _FIRST_SLACK
        x[0, k], x[1, k], x[2, k], x[3, k], x[4, k], x[5, k] = s, v, a, j, e, f
        room = slack[k]
        room[STOP], room[LEAD] = limits[STOP, k] - s + e, limits[LEAD, k] - s - headway * v + e
        room[ALLOWED], room[FORWARD] = limits[ALLOWED, k] - v + f, v
        room[FLOOR], room[CEILING] = a - limits[3, k], limits[4, k] - a
        room[FALLING], room[RISING] = j + jerks[0], jerks[1] - j
        room[OVERRUN], room[OVERSPEED] = e, f
        for i in range(_BOUNDS):
            if math.isfinite(room[i]):
                inside = max(room[i], _FIRST_SLACK)
                residual[k, i] = inside - room[i]
                room[i], multiplier[k, i] = inside, _FIRST_PRODUCT / inside
            else:
                on[k, i], room[i] = False, 1.0
        z = multiplier[k]  # what overruns cost, where it is not those limits that ask for them
        z[OVERRUN] = max(costs[4] * e + costs[6] - z[STOP] - z[LEAD], z[OVERRUN])
        z[OVERSPEED] = max(costs[5] * f + costs[7] - z[ALLOWED], z[OVERSPEED])


@njit(cache=True)
def _product(slack, multiplier, moved, raised, on, step):  # type: ignore[no-untyped-def]
    """Sum of slack times multiplier after ``step``."""
    total = 0.0
    for k in range(slack.shape[0]):
        for i in range(_BOUNDS):
            if on[k, i]:
                if step > 0.0:
                    total += (slack[k, i] + step * moved[k, i]) * (multiplier[k, i] + step * raised[k, i])
                else:
                    total += slack[k, i] * multiplier[k, i]
    return total


@njit(cache=True)
def _factor(steps, costs, headway, slack, multiplier, gains, coupling):  # type: ignore[no-untyped-def]
    """Riccati recursion: for each step the feedback of the jerk on s, v, a and its curvature (inverse), and what the
    eliminated overruns have to do with s and v."""
    p00 = p01 = p02 = p11 = p12 = p22 = 0.0
    for k in range(steps.shape[0] - 1, -1, -1):
        h, t, z = steps[k], slack[k], multiplier[k]
        w_stop, w_lead, w_allowed = z[STOP] / t[STOP], z[LEAD] / t[LEAD], z[ALLOWED] / t[ALLOWED]
        soft_e, soft_f = costs[4] + z[OVERRUN] / t[OVERRUN], costs[5] + z[OVERSPEED] / t[OVERSPEED]
        both = w_stop + w_lead
        of_e, of_f = soft_e + both, soft_f + w_allowed
        row = coupling[k]
        row[0], row[1], row[2], row[3], row[4] = of_e, of_f, both, headway * w_lead, w_allowed
        p00 += costs[0] * h + both * soft_e / of_e
        p01 += headway * w_lead * soft_e / of_e
        p11 += costs[1] * h + headway * headway * w_lead * (soft_e + w_stop) / of_e
        p11 += w_allowed * soft_f / of_f + z[FORWARD] / t[FORWARD]
        p22 += costs[2] * h + z[FLOOR] / t[FLOOR] + z[CEILING] / t[CEILING]
        # of a unit of jerk: its effect b on s, v, a, and P b
        b0, b1 = h * h * h / 6.0, h * h / 2.0
        c0, c1, c2 = p00 * b0 + p01 * b1 + p02 * h, p01 * b0 + p11 * b1 + p12 * h, p02 * b0 + p12 * b1 + p22 * h
        of_j = costs[3] * h + z[FALLING] / t[FALLING] + z[RISING] / t[RISING]
        inverse = 1.0 / (of_j + b0 * c0 + b1 * c1 + h * c2)
        u0, u1, u2 = c0, h * c0 + c1, b1 * c0 + h * c1 + c2
        row = gains[k]
        row[0], row[1], row[2], row[3] = -u0 * inverse, -u1 * inverse, -u2 * inverse, inverse
        m01, m02 = p00 * h + p01, p00 * b1 + p01 * h + p02
        r1, r2 = p01 * b1 + p11 * h + p12, p02 * b1 + p12 * h + p22
        m11, m12, m22 = h * m01 + p01 * h + p11, h * m02 + r1, b1 * m02 + h * r1 + r2
        p00, p01, p02 = p00 - u0 * u0 * inverse, m01 - u0 * u1 * inverse, m02 - u0 * u2 * inverse
        p11, p12, p22 = m11 - u1 * u1 * inverse, m12 - u1 * u2 * inverse, m22 - u2 * u2 * inverse


@njit(cache=True)
def _direction(  # type: ignore[no-untyped-def]
    steps, costs, headway, wanted, x, slack, multiplier, residual, on, aim, bent, gains, coupling, dx, moved, raised
):
    """Newton step towards products ``aim`` (less ``bent``, what the last step's curve adds); the longest that keeps
    slacks and multipliers positive, 1 at most."""
    n = steps.shape[0]
    y = np.empty(_BOUNDS)
    p0 = p1 = p2 = 0.0
    for k in range(n - 1, -1, -1):
        h, t, z, row = steps[k], slack[k], multiplier[k], coupling[k]
        for i in range(_BOUNDS):
            y[i] = (aim - bent[k, i] + z[i] * residual[k, i]) / t[i] if on[k, i] else 0.0
        of_e = costs[4] * x[4, k] + costs[6] - y[STOP] - y[LEAD] - y[OVERRUN]
        of_f = costs[5] * x[5, k] + costs[7] - y[ALLOWED] - y[OVERSPEED]
        dx[4, k], dx[5, k] = of_e, of_f
        p0 += costs[0] * h * (x[0, k] - wanted[0, k]) + y[STOP] + y[LEAD] + row[2] * of_e / row[0]
        p1 += costs[1] * h * (x[1, k] - wanted[1, k]) + headway * y[LEAD] + y[ALLOWED] - y[FORWARD]
        p1 += row[3] * of_e / row[0] + row[4] * of_f / row[1]
        p2 += costs[2] * h * (x[2, k] - wanted[2, k]) - y[FLOOR] + y[CEILING]
        b1 = h * h / 2.0
        of_j = costs[3] * h * x[3, k] - y[FALLING] + y[RISING] + h * h * h / 6.0 * p0 + b1 * p1 + h * p2
        gain = gains[k]
        dx[3, k] = -of_j * gain[3]
        p0, p1, p2 = p0 + gain[0] * of_j, h * p0 + p1 + gain[1] * of_j, b1 * p0 + h * p1 + p2 + gain[2] * of_j
    s = v = a = 0.0
    longest = 1.0
    for k in range(n):
        h, t, z, row, gain, move = steps[k], slack[k], multiplier[k], coupling[k], gains[k], moved[k]
        j = dx[3, k] + gain[0] * s + gain[1] * v + gain[2] * a
        s += h * v + h * h / 2.0 * a + h * h * h / 6.0 * j
        v += h * a + h * h / 2.0 * j
        a += h * j
        e = -(dx[4, k] - row[2] * s - row[3] * v) / row[0]
        f = -(dx[5, k] - row[4] * v) / row[1]
        dx[0, k], dx[1, k], dx[2, k], dx[3, k], dx[4, k], dx[5, k] = s, v, a, j, e, f
        move[STOP], move[LEAD], move[ALLOWED], move[FORWARD] = e - s, e - s - headway * v, f - v, v
        move[FLOOR], move[CEILING], move[FALLING], move[RISING], move[OVERRUN], move[OVERSPEED] = a, -a, j, -j, e, f
        for i in range(_BOUNDS):
            if not on[k, i]:
                move[i] = raised[k, i] = 0.0
                continue
            move[i] -= residual[k, i]
            up = (aim - bent[k, i] - z[i] * move[i]) / t[i] - z[i]
            raised[k, i] = up
            if move[i] < 0.0:
                longest = min(longest, -t[i] / move[i])
            if up < 0.0:
                longest = min(longest, -z[i] / up)
    return longest
