"""Shortest curves of a car that drives forwards and backwards with a least turning radius.

J. A. Reeds and L. A. Shepp, "Optimal paths for a car that goes both forwards and backwards", Pacific Journal of
Mathematics 145 (1990): the shortest one is among 48 words of at most five pieces, arcs to the left or right and
straights. Eight formulas (numbered there 8.1 to 8.11) give them all, by driving each word the other way, in a mirror,
or from its end. Lengths here are in turning radii, positive forwards.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

PIECES = 5
FORMULAS = 8
LEFT, STRAIGHT, RIGHT = 1.0, 0.0, -1.0
_NOTHING = 1e-9  # radii, shorter is no piece


@njit(cache=True)
def _wrap(angle: float) -> float:
    return math.pi - (math.pi - angle) % (2.0 * math.pi)


@njit(cache=True)
def _turns(u: float, v: float, xi: float, eta: float, phi: float):  # type: ignore[no-untyped-def]
    """First and last arc round two arcs ``u`` and ``v`` in the middle."""
    delta = _wrap(u - v)
    a, b = math.sin(u) - math.sin(delta), math.cos(u) - math.cos(delta) - 1.0
    t = math.atan2(eta * a - xi * b, xi * a + eta * b)
    if 2.0 * (math.cos(delta) - math.cos(v) - math.cos(u)) + 3.0 < 0.0:
        t += math.pi
    t = _wrap(t)
    return t, _wrap(t - u + v - phi)


@njit(cache=True)
def _word(number, x, y, phi, turn, length):  # type: ignore[no-untyped-def]
    """Pieces of one formula into ``turn`` and ``length``; how many, 0 where it has no solution."""
    s, c = math.sin(phi), math.cos(phi)
    same = number in (0, 2, 5)  # it ends turning as it began
    xi, eta = (x - s, y - 1.0 + c) if same else (x + s, y - 1.0 - c)
    rho, theta = math.hypot(xi, eta), math.atan2(eta, xi)
    half = 0.5 * math.pi
    turn[0] = LEFT
    if number == 0:  # L S L
        t, u = _wrap(theta), rho
        v = _wrap(phi - t)
        turn[1], turn[2] = STRAIGHT, LEFT
        length[0], length[1], length[2] = t, u, v
        return 3 if t >= 0.0 and v >= 0.0 else 0
    if number == 1:  # L S R
        if rho < 2.0:
            return 0
        u = math.sqrt(rho * rho - 4.0)
        t = _wrap(theta + math.atan2(2.0, u))
        v = _wrap(t - phi)
        turn[1], turn[2] = STRAIGHT, RIGHT
        length[0], length[1], length[2] = t, u, v
        return 3 if t >= 0.0 and v >= 0.0 else 0
    if number == 2:  # L R- L
        if rho > 4.0:
            return 0
        u = -2.0 * math.asin(0.25 * rho)
        t = _wrap(theta + 0.5 * u + math.pi)
        v = _wrap(phi - t + u)
        turn[1], turn[2] = RIGHT, LEFT
        length[0], length[1], length[2] = t, u, v
        return 3 if t >= 0.0 else 0
    if number == 3 or number == 4:  # L R(u) L-(u) R-, L R-(u) L-(u) R
        share = 0.25 * (2.0 + rho) if number == 3 else (20.0 - rho * rho) / 16.0
        if share > 1.0 or share < 0.0:
            return 0
        u = math.acos(share) if number == 3 else -math.acos(share)
        other = -u if number == 3 else u
        t, v = _turns(u, other, xi, eta, phi)
        turn[1], turn[2], turn[3] = RIGHT, LEFT, RIGHT
        length[0], length[1], length[2], length[3] = t, u, other, v
        return 4 if t >= 0.0 and (v <= 0.0 if number == 3 else v >= 0.0) else 0
    if rho < 2.0:
        return 0
    if number == 5:  # L R-(quarter) S- L-
        r = math.sqrt(rho * rho - 4.0)
        u = 2.0 - r
        t = _wrap(theta + math.atan2(r, -2.0))
        v = _wrap(phi - half - t)
        turn[1], turn[2], turn[3] = RIGHT, STRAIGHT, LEFT
        length[0], length[1], length[2], length[3] = t, -half, u, v
        return 4 if t >= 0.0 and u <= 0.0 and v <= 0.0 else 0
    if number == 6:  # L R-(quarter) S- R-
        t, u = math.atan2(xi, -eta), 2.0 - rho
        v = _wrap(t + half - phi)
        turn[1], turn[2], turn[3] = RIGHT, STRAIGHT, RIGHT
        length[0], length[1], length[2], length[3] = t, -half, u, v
        return 4 if t >= 0.0 and u <= 0.0 and v <= 0.0 else 0
    # L R-(quarter) S- L-(quarter) R
    u = 4.0 - math.sqrt(rho * rho - 4.0)
    if u > 0.0:
        return 0
    t = _wrap(math.atan2((4.0 - u) * xi - 2.0 * eta, -2.0 * xi + (u - 4.0) * eta))
    v = _wrap(t - phi)
    turn[1], turn[2], turn[3], turn[4] = RIGHT, STRAIGHT, LEFT, RIGHT
    length[0], length[1], length[2], length[3], length[4] = t, -half, u, -half, v
    return 5 if t >= 0.0 and v >= 0.0 else 0


@njit(cache=True)
def best_word(x, y, phi, before, back_weight, change_cost, shortest_run, turn, length):  # type: ignore[no-untyped-def]
    """The cheapest word to pose ``x, y`` (radii), ``phi`` into ``turn`` and ``length`` (5,); (cost, pieces).

    Backwards counts ``back_weight`` times its length, each change of direction ``change_cost`` (radii), also one from
    ``before`` (1 forwards, -1 backwards, 0 neither). No run in one direction is shorter than ``shortest_run``. The cost
    is infinite where there is none.
    """
    t, u = np.empty(PIECES), np.empty(PIECES)
    best, pieces = math.inf, 0
    s, c = math.sin(phi), math.cos(phi)
    for number in range(FORMULAS):
        for from_end in range(2):
            if from_end == 1 and number not in (2, 5, 6):
                continue
            x0, y0 = (x * c + y * s, x * s - y * c) if from_end == 1 else (x, y)
            for way in (1.0, -1.0):
                for side in (1.0, -1.0):
                    n = _word(number, x0 * way, y0 * side, phi * way * side, t, u)
                    if n == 0:
                        continue
                    cost, direction, run, fits = 0.0, before, math.inf, True
                    for i in range(n):
                        k = n - 1 - i if from_end == 1 else i
                        piece = u[k] * way
                        if abs(piece) < _NOTHING:
                            continue
                        now = 1.0 if piece > 0.0 else -1.0
                        if now != direction:
                            cost += change_cost if direction != 0.0 else 0.0
                            fits = fits and run >= shortest_run
                            direction, run = now, 0.0
                        run += abs(piece)
                        cost += abs(piece) * (back_weight if now < 0.0 else 1.0)
                    if not fits or run < shortest_run or cost >= best - _NOTHING:
                        continue
                    best, pieces = cost, n
                    for i in range(n):
                        k = n - 1 - i if from_end == 1 else i
                        turn[i], length[i] = t[k] * side, u[k] * way
    return best, pieces


@njit(cache=True)
def go(x, y, yaw, bend, way):  # type: ignore[no-untyped-def]
    """The pose after ``way`` m (negative: backwards) with curvature ``bend`` (1/m)."""
    turned = way * bend
    if abs(turned) < 1e-9:
        return x + way * math.cos(yaw), y + way * math.sin(yaw), yaw
    return (
        x + (math.sin(yaw + turned) - math.sin(yaw)) / bend,
        y - (math.cos(yaw + turned) - math.cos(yaw)) / bend,
        yaw + turned,
    )


def shortest(x: float, y: float, yaw: float, radius: float) -> tuple[FloatArray, FloatArray]:
    """The shortest curve from the origin to a pose (m, rad): curvatures (N,) in 1/m and signed lengths (N,) in m."""
    turn, length = np.zeros(PIECES), np.zeros(PIECES)
    _, n = best_word(x / radius, y / radius, yaw, 0.0, 1.0, 0.0, 0.0, turn, length)
    return turn[:n] / radius, length[:n] * radius
