"""Bends in which the body would leave the road are driven otherwise: turned into later or earlier, further to one side.

The rear axle on the middle of a narrow bend takes the outer front corner over its edge: what a car sweeps there is
wider than the car. The path gets lateral offsets that take the body back, with as little change of curvature from one
place to the next as that allows, for the tyres turn at a limited speed. It is the minimum-curvature problem of racing
lines (Heilmeier et al., "Minimum curvature trajectory planning and control for an autonomous race car", 2020) with the
change of curvature in place of the curvature, penalties in place of bounds, and the corners of the body at its edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import piqp
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from robotaxi.planning.tight_bends import bends, tightest_bend
from robotaxi.types import VehicleParams

FloatArray = NDArray[np.floating[Any]]
OnRoad = Callable[[FloatArray], NDArray[np.bool_]]

CLEARANCE = 0.1  # m that the body keeps from the edge
BEND = 0.03  # 1/m, gentler bends stay as they are
AROUND = 6.0  # m before and behind a bend that are looked at too
MARGIN = 9.0  # m before and behind what is looked at that may move as well
BLEND = 8.0  # m from the path's fixed ends over which it may grow
AIM = 0.97  # of the tightest bend that each solution aims at
BEND_RESERVE = 1.1  # of the tightest bend, which leaves more of the steering to the controller than that
ROOM_STEP, ROOM_STEPS = 0.1, 12  # m, and how often: as far as one looks for the edge
ROUNDS = 6  # linearisations
# what each thing may be before it counts as 1 (squared):
OFFSET = 2.0  # m
CURVATURE_CHANGE = 0.1  # 1/m^2
OUTSIDE = 0.01  # m
TOO_TIGHT = 0.003  # 1/m
FIXED = 1e6  # weight of the points that stay


def kept_on_road(
    points: FloatArray, spacing: float, body: VehicleParams, on_road: OnRoad, first: int, last: int
) -> FloatArray:
    """``points`` (N, 3) of the rear axle, about ``spacing`` m apart, moved to the side in bends until the body stays
    on the road, or as near to that as its steering allows. Points up to ``first`` and from ``last`` on stay.

    ``on_road``: mask (M,) of points (M, 2).
    """
    bend = bends(points)
    index = np.arange(len(points))
    free = np.clip(np.minimum(index - first, last - index) * spacing / BLEND, 0.0, 1.0)
    looked_at = maximum_filter1d(bend > BEND, 2 * round(AROUND / spacing) + 1) & (free > 0.0)
    where = np.flatnonzero(looked_at)
    if not where.size:
        return points
    out = np.array(points, np.float64)
    margin = round(MARGIN / spacing)
    for group in np.split(where, np.flatnonzero(np.diff(where) > 1) + 1):
        part = slice(max(int(group[0]) - margin, 0), int(group[-1]) + margin + 1)
        tightest = BEND_RESERVE * max(tightest_bend(body), float(bend[part].max()))
        out[part] = _bend_on_road(out[part], body, on_road, free[part], looked_at[part], tightest)
    return out


def _bend_on_road(
    points: FloatArray,
    body: VehicleParams,
    on_road: OnRoad,
    free: FloatArray,
    looked_at: NDArray[np.bool_],
    tightest: float,
) -> FloatArray:
    """One bend: of the paths on the way to the solution the one with the least of the body outside."""
    best, least = points, math.inf
    moved, offset = np.array(points, np.float64), np.zeros(len(points))
    stays = np.where(free > 0.0, 1.0 / (OFFSET * np.maximum(free, 0.05)) ** 2, FIXED)
    stays[[0, 1, -2, -1]] = FIXED
    for _ in range(ROUNDS + 1):
        room = _room(moved, body, on_road, looked_at)
        outside = -float(np.minimum(room, 0.0).sum())
        if outside < least and bends(moved).max() <= tightest:
            best, least = moved.copy(), outside
        if outside == 0.0:
            break
        step = _step(_arc(moved), _curvature(moved), room, offset, stays, body, AIM * tightest)
        moved[:, :2] += _normals(moved) * step[:, None]
        offset += step
    return best


def _abreast(body: VehicleParams) -> tuple[float, ...]:
    """Where along the body (m ahead of the rear axle) its sides are held against the edges."""
    return (-body.rear_overhang - CLEARANCE, 0.0, 0.5 * body.front, body.front + CLEARANCE)


def _room(points: FloatArray, body: VehicleParams, on_road: OnRoad, looked_at: NDArray[np.bool_]) -> FloatArray:
    """(2, A, N) m that the left and the right side of the body, `CLEARANCE` included, may go outwards before they leave
    the road; negative where they are outside. Not looked at: as far as one looks."""
    most = ROOM_STEP * ROOM_STEPS
    normals = _normals(points)
    at, left = points[looked_at, :2], normals[looked_at]
    ahead = np.stack([left[:, 1], -left[:, 0]], axis=1)
    half = body.width / 2.0 + CLEARANCE
    room = np.full((2, len(_abreast(body)), len(points)), most)
    reach = ROOM_STEP * np.arange(-ROOM_STEPS, ROOM_STEPS + 1)
    for side, sign in enumerate((1.0, -1.0)):
        for k, along in enumerate(_abreast(body)):
            corner = at + along * ahead + sign * half * left
            places = corner[None] + sign * reach[:, None, None] * left[None]
            on = on_road(places.reshape(-1, 2)).reshape(len(reach), -1)
            within = np.where(on[ROOM_STEPS], _run(on[ROOM_STEPS + 1 :]), -1 - _run(~on[:ROOM_STEPS][::-1]))
            room[side, k, looked_at] = ROOM_STEP * within
    return room


def _run(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many from the first row on are true, for each column."""
    return np.asarray(np.where(mask.all(axis=0), len(mask), (~mask).argmax(axis=0)), np.int64)


def _step(
    s: FloatArray,
    curvature: FloatArray,
    room: FloatArray,
    offset: FloatArray,
    stays: FloatArray,
    body: VehicleParams,
    tightest: float,
) -> FloatArray:
    """Further offsets (N,) to the left that minimise offset, change of curvature, and what is outside or too tight."""
    n = len(curvature)
    apart = np.diff(s)
    rows, before, after = np.arange(n - 2), apart[:-1], apart[1:]
    second = np.zeros((n - 2, n))
    second[rows, rows] = 2.0 / (before * (before + after))
    second[rows, rows + 1] = -2.0 / (before * after)
    second[rows, rows + 2] = 2.0 / (after * (before + after))
    third = np.diff(second, axis=0) / apart[1:-1, None]
    change = np.diff(curvature[1:-1]) / apart[1:-1]
    slope = np.gradient(np.eye(n), s, axis=0)
    near = room < ROOM_STEP * ROOM_STEPS
    held = [(sign, k, along) for sign in (0, 1) for k, along in enumerate(_abreast(body))]
    sides = np.concatenate([(1 - 2 * sign) * (np.eye(n) + along * slope)[near[sign, k]] for sign, k, along in held])
    over = np.concatenate([np.eye(n)[near[sign, k]] for sign, k, _ in held])
    # x: offsets (n), m outside at each point (n), 1/m too tight (1)
    quadratic = np.diag(np.concatenate([stays, np.full(n, OUTSIDE**-2), [TOO_TIGHT**-2]]))
    quadratic[:n, :n] += third.T @ third / CURVATURE_CHANGE**2
    linear = np.zeros(2 * n + 1)
    linear[:n] = np.where(stays < FIXED, stays * offset, 0.0) + third.T @ change / CURVATURE_CHANGE**2
    one = np.ones((n - 2, 1))
    bounded = np.block([[sides, -over, np.zeros((len(sides), 1))],
                        [second, np.zeros((n - 2, n)), -one],
                        [-second, np.zeros((n - 2, n)), -one]])  # fmt: skip
    bound = np.concatenate([room[near], tightest - curvature[1:-1], tightest + curvature[1:-1]])
    solver = piqp.DenseSolver()
    solver.setup(quadratic, linear, G=bounded, h_u=bound)
    return np.asarray(solver.result.x[:n]) if solver.solve() == piqp.PIQP_SOLVED else np.zeros(n)


def _curvature(points: FloatArray) -> FloatArray:
    """Signed curvature (N,), left positive, 0 at both ends."""
    turn = np.zeros(len(points))
    d = np.diff(points[:, :2], axis=0)
    turn[1:-1] = np.sign(d[:-1, 0] * d[1:, 1] - d[:-1, 1] * d[1:, 0])
    return turn * bends(points)


def _arc(points: FloatArray) -> FloatArray:
    steps = np.hypot(*np.diff(points[:, :2], axis=0).T)
    return np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-3))])


def _normals(points: FloatArray) -> FloatArray:
    """Unit vectors (N, 2) to the left of the path."""
    along = np.gradient(points[:, :2], _arc(points), axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    return np.stack([-along[:, 1], along[:, 0]], axis=1)
