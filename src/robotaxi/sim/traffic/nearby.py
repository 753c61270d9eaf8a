"""Which samples of the lanes lie near a point or under a box, from a grid of cells: microseconds where a tree's
query costs tens of them, and the world asks several times a tick."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CELL = 4.0  # m


class Nearby:
    """Points (N, 2) of lanes, with ``yaw`` (N,) of the lane there, ``lane_of`` (N,) and ``at`` (N,), the arc length
    on it. Answers are in ascending order of the points' indices."""

    def __init__(self, points: FloatArray, yaw: FloatArray, lane_of: IntArray, at: FloatArray) -> None:
        self._points = np.ascontiguousarray(points)
        self._yaw, self._lane_of, self._at = yaw, lane_of, at
        self._low = self._points.min(axis=0)
        cell = np.floor((self._points - self._low) / _CELL).astype(np.int64)
        self._columns, self._rows = (int(n) + 1 for n in cell.max(axis=0))
        number = cell[:, 1] * self._columns + cell[:, 0]
        self._members = np.argsort(number, kind="stable").astype(np.int64)
        self._first = np.searchsorted(number[self._members], np.arange(self._columns * self._rows + 1)).astype(np.int64)

    def within(self, x: float, y: float, radius: float) -> IntArray:
        """Indices of all points at most ``radius`` metres away."""
        return np.asarray(
            _within(self._points, self._low, self._columns, self._rows, self._first, self._members, x, y, radius)
        )

    def nearest(self, x: float, y: float, limit: float) -> tuple[float, int]:
        """Metres to the nearest point and its index, the lowest of several; (inf, -1) where none is nearer than
        ``limit``."""
        radius = min(_CELL, limit)
        near = self.within(x, y, radius)
        while not near.size and radius < limit:
            radius = min(2.0 * radius, limit)
            near = self.within(x, y, radius)
        squared, best = _nearest(self._points, near, x, y)
        return math.sqrt(squared), best

    def under(
        self, x: float, y: float, yaw: float, half_length: float, half_width: float, room: float
    ) -> dict[int, tuple[float, float]]:
        """Lanes of which points lie in the box grown by ``room`` to each side of those who drive on them: lane ->
        first and last arc length."""
        reach = math.hypot(half_length, half_width) + room
        near = self.within(x, y, reach)
        lanes, low, high = _under(
            self._points, self._yaw, self._lane_of, self._at, near, x, y, yaw, half_length, half_width, room
        )
        return {
            lane: (first, last)
            for lane, first, last in zip(lanes.tolist(), low.tolist(), high.tolist(), strict=True)
        }  # fmt: skip


@njit(cache=True)  # type: ignore[untyped-decorator]
def _within(
    points: FloatArray,
    low: FloatArray,
    columns: int,
    rows: int,
    first: IntArray,
    members: IntArray,
    x: float,
    y: float,
    radius: float,
) -> IntArray:
    c0 = max(0, math.floor((x - radius - low[0]) / _CELL))
    c1 = min(columns - 1, math.floor((x + radius - low[0]) / _CELL))
    r0 = max(0, math.floor((y - radius - low[1]) / _CELL))
    r1 = min(rows - 1, math.floor((y + radius - low[1]) / _CELL))
    size = 0
    for row in range(r0, r1 + 1):
        for column in range(c0, c1 + 1):
            number = row * columns + column
            size += first[number + 1] - first[number]
    found = np.empty(size, np.int64)
    count = 0
    for row in range(r0, r1 + 1):
        for column in range(c0, c1 + 1):
            number = row * columns + column
            for k in range(first[number], first[number + 1]):
                dx, dy = points[members[k], 0] - x, points[members[k], 1] - y
                if dx * dx + dy * dy <= radius * radius:
                    found[count] = members[k]
                    count += 1
    return np.sort(found[:count])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _nearest(points: FloatArray, near: IntArray, x: float, y: float) -> tuple[float, int]:
    best, least = -1, math.inf
    for k in near:
        dx, dy = points[k, 0] - x, points[k, 1] - y
        if dx * dx + dy * dy < least:
            best, least = k, dx * dx + dy * dy
    return least, best


@njit(cache=True)  # type: ignore[untyped-decorator]
def _under(
    points: FloatArray,
    yaws: FloatArray,
    lane_of: IntArray,
    at: FloatArray,
    near: IntArray,
    x: float,
    y: float,
    yaw: float,
    half_length: float,
    half_width: float,
    room: float,
) -> tuple[IntArray, FloatArray, FloatArray]:
    """``near`` is in ascending order, so the points of a lane come one after the other."""
    lanes, low, high = np.empty(len(near), np.int64), np.empty(len(near)), np.empty(len(near))
    count = 0
    c, s = math.cos(yaw), math.sin(yaw)
    for k in near:
        dx, dy = points[k, 0] - x, points[k, 1] - y
        # a vehicle on the lane keeps its room to each side: across its own heading
        turn = abs(math.sin(yaws[k] - yaw))
        if abs(c * dx + s * dy) > half_length + room * turn:
            continue
        if abs(c * dy - s * dx) > half_width + room * math.sqrt(1.0 - turn * turn):
            continue
        if count and lanes[count - 1] == lane_of[k]:
            high[count - 1] = at[k]
        else:
            lanes[count], low[count], high[count] = lane_of[k], at[k], at[k]
            count += 1
    return lanes[:count], low[:count], high[:count]
