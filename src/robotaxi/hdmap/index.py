"""Where a point lies among the lanes: a grid over all centre line segments, built once per map."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.lane_map import Lane, LaneMatch

FloatArray = NDArray[np.float64]

CELL = 8.0  # m
YAW_METRES = 2.0  # m of distance that count as much as one radian of heading difference


class LaneIndex:
    """Answers in tens of microseconds whatever the size of the map."""

    def __init__(self, lanes: Mapping[int, Lane]) -> None:
        starts, deltas, owner, s0 = [], [], [], []
        for lane in lanes.values():
            xy = lane.centerline[:, :2]
            starts.append(xy[:-1])
            deltas.append(xy[1:] - xy[:-1])
            owner.append(np.full(len(xy) - 1, lane.id, dtype=np.int64))
            s0.append(lane.s[:-1])
        start, delta = np.concatenate(starts), np.concatenate(deltas)
        lane_id, s = np.concatenate(owner), np.concatenate(s0)
        length = np.maximum(np.hypot(delta[:, 0], delta[:, 1]), 1e-9)
        self._reach = float(length.max()) / 2.0  # from a segment's middle, by which it is filed, to its ends
        middle = start + delta / 2.0
        self._low = middle.min(axis=0)
        cell = np.floor((middle - self._low) / CELL).astype(np.int64)
        self._columns, self._rows = (int(n) + 1 for n in cell.max(axis=0))
        number = cell[:, 1] * self._columns + cell[:, 0]
        order = np.argsort(number, kind="stable")
        self._first = np.searchsorted(number[order], np.arange(self._columns * self._rows + 1))
        self._start, self._delta, self._length = start[order], delta[order], length[order]
        self._lane_id, self._s = lane_id[order], s[order]
        self._yaw = np.arctan2(self._delta[:, 1], self._delta[:, 0])

    def near(self, x: float, y: float, yaw: float | None, max_distance: float) -> list[LaneMatch]:
        """Each lane within ``max_distance``, nearest first; see `LaneMap.nearest_lanes`."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return []
        rows = self._segments(x, y, max_distance + self._reach)
        if not len(rows):
            return []
        rx, ry = x - self._start[rows, 0], y - self._start[rows, 1]
        dx, dy, length = self._delta[rows, 0], self._delta[rows, 1], self._length[rows]
        t = np.clip((rx * dx + ry * dy) / length**2, 0.0, 1.0)
        distance = np.hypot(rx - t * dx, ry - t * dy)
        lane_id = self._lane_id[rows]
        order = np.lexsort((self._s[rows], distance, lane_id))
        best = order[np.concatenate([[True], lane_id[order][1:] != lane_id[order][:-1]])]
        found: list[tuple[float, int, LaneMatch]] = []
        for k in best.tolist():
            if distance[k] > max_distance:
                continue
            error = 0.0 if yaw is None else wrap_angle(yaw - float(self._yaw[rows[k]]))
            if abs(error) > math.pi / 2.0:
                continue
            offset = float((dx[k] * ry[k] - dy[k] * rx[k]) / length[k])
            match = LaneMatch(int(lane_id[k]), float(self._s[rows[k]] + t[k] * length[k]), offset, error)
            found.append((float(distance[k]) + YAW_METRES * abs(error), match.lane_id, match))
        return [match for _, _, match in sorted(found, key=lambda item: item[:2])]

    def distance(self, x: float, y: float) -> float:
        """Metres to the nearest centre line, however far it is."""
        rx, ry = x - self._start[:, 0], y - self._start[:, 1]
        dx, dy = self._delta[:, 0], self._delta[:, 1]
        t = np.clip((rx * dx + ry * dy) / self._length**2, 0.0, 1.0)
        return float(np.hypot(rx - t * dx, ry - t * dy).min())

    def _segments(self, x: float, y: float, radius: float) -> NDArray[np.int64]:
        low_x, low_y = float(self._low[0]), float(self._low[1])
        c0 = max(0, math.floor((x - radius - low_x) / CELL))
        c1 = min(self._columns - 1, math.floor((x + radius - low_x) / CELL))
        r0 = max(0, math.floor((y - radius - low_y) / CELL))
        r1 = min(self._rows - 1, math.floor((y + radius - low_y) / CELL))
        if c0 > c1 or r0 > r1:
            return np.zeros(0, dtype=np.int64)
        spans = [
            np.arange(self._first[row * self._columns + c0], self._first[row * self._columns + c1 + 1])
            for row in range(r0, r1 + 1)
        ]
        return np.concatenate(spans)
