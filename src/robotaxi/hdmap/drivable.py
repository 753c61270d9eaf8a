"""Where one may drive: the union of all lanes and stopping places, as a test for many points at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from robotaxi.hdmap.lane_map import LaneMap

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CELL = 4.0  # m
MAX_MARGIN = 10.0  # m
SEAM = 0.01  # m that polygons which meet may be apart: rounding, or the drawing of a curve


class DrivableArea:
    """Polygons in a grid. Lanes enter as the quadrilaterals between their points."""

    def __init__(self, lane_map: LaneMap) -> None:
        quads = [
            np.stack([lane.left[:-1], lane.left[1:], lane.right[1:], lane.right[:-1]], axis=1)[:, :, :2].reshape(-1, 2)
            for lane in lane_map.lanes.values()
        ]
        places = [place.polygon[:, :2] for place in lane_map.stopping_places.values()]
        vertices = np.concatenate([*quads, *places])
        sizes = [4] * (sum(len(q) for q in quads) // 4) + [len(p) for p in places]
        self._vertices = np.ascontiguousarray(vertices)
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        low = np.minimum.reduceat(vertices, self._first[:-1])
        high = np.maximum.reduceat(vertices, self._first[:-1])
        self._low = low.min(axis=0)
        cell_low = np.floor((low - self._low) / CELL).astype(np.int64)
        cell_high = np.floor((high - self._low) / CELL).astype(np.int64)
        self._columns, self._rows = (int(n) + 1 for n in cell_high.max(axis=0))
        span = cell_high - cell_low + 1
        count = span[:, 0] * span[:, 1]
        polygon = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(polygon)) - np.repeat(np.cumsum(count) - count, count)
        column = cell_low[polygon, 0] + within % span[polygon, 0]
        row = cell_low[polygon, 1] + within // span[polygon, 0]
        number = row * self._columns + column
        order = np.argsort(number, kind="stable")
        self._members = polygon[order].astype(np.int64)
        self._cells = np.searchsorted(number[order], np.arange(self._columns * self._rows + 1)).astype(np.int64)

    def contains(self, points: ArrayLike, margin: float = 0.0) -> NDArray[np.bool_]:
        """Mask (N,) of points (N, 2+) in the area grown by ``margin``, at least by `SEAM`; points that are not finite
        are not.

        Raises ValueError for a negative margin or one above 10 m.
        """
        if not 0.0 <= margin <= MAX_MARGIN:
            raise ValueError(f"margin is {margin}, allowed is 0 to {MAX_MARGIN:g} m")
        p = np.asarray(points, dtype=np.float64)
        if p.size == 0:
            return np.zeros(0, dtype=np.bool_)
        p = np.ascontiguousarray(np.atleast_2d(p)[:, :2])
        inside = self._within(p, margin)
        if margin < SEAM and not inside.all():
            inside[~inside] = self._within(p[~inside], SEAM)
        return inside

    def _within(self, points: FloatArray, margin: float) -> NDArray[np.bool_]:
        return np.asarray(
            _contains(
                points, margin, self._low, CELL, self._columns, self._rows, self._cells, self._members, self._first,
                self._vertices,
            )
        )  # fmt: skip


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _contains(
    points: FloatArray,
    margin: float,
    low: FloatArray,
    cell: float,
    columns: int,
    rows: int,
    cells: IntArray,
    members: IntArray,
    first: IntArray,
    vertices: FloatArray,
) -> NDArray[np.bool_]:
    out = np.zeros(len(points), dtype=np.bool_)
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        c0 = max(0, math.floor((x - margin - low[0]) / cell))
        c1 = min(columns - 1, math.floor((x + margin - low[0]) / cell))
        r0 = max(0, math.floor((y - margin - low[1]) / cell))
        r1 = min(rows - 1, math.floor((y + margin - low[1]) / cell))
        for row in range(r0, r1 + 1):
            for column in range(c0, c1 + 1):
                number = row * columns + column
                for k in range(cells[number], cells[number + 1]):
                    if _in_polygon(x, y, margin, first[members[k]], first[members[k] + 1], vertices):
                        out[i] = True
                        break
                if out[i]:
                    break
            if out[i]:
                break
    return out


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _in_polygon(x: float, y: float, margin: float, begin: int, end: int, vertices: FloatArray) -> bool:
    """Crossing number, or within ``margin`` of an edge."""
    inside = False
    j = end - 1
    for k in range(begin, end):
        ax, ay = vertices[j, 0], vertices[j, 1]
        bx, by = vertices[k, 0], vertices[k, 1]
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
        if margin > 0.0:
            dx, dy = bx - ax, by - ay
            squared = dx * dx + dy * dy
            t = 0.0
            if squared > 0.0:
                t = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / squared))
            gx, gy = x - ax - t * dx, y - ay - t * dy
            if gx * gx + gy * gy <= margin * margin:
                return True
        j = k
    return inside
