"""Which points lie on the road: inside any lane or pick-up bay. Exact, and fast for a few points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.traffic.network import points_in_polygon

FloatArray = NDArray[np.float64]

_CELL = 20.0  # m, edge of a cell of the index
_MARGIN = 1.0  # m around each polygon, so that edge points find it


class DrivableArea:
    """The union of lane and bay polygons, indexed by square cells. Frame ``map``."""

    def __init__(self, lane_map: LaneMap) -> None:
        self._polygons = [
            np.concatenate([lane.left[:, :2], lane.right[::-1, :2]])
            for lane in (lane_map.lanes[k] for k in sorted(lane_map.lanes))
        ]
        self._polygons += [lane_map.stopping_places[k].polygon[:, :2] for k in sorted(lane_map.stopping_places)]
        self._cells: dict[tuple[int, int], list[int]] = {}
        for k, polygon in enumerate(self._polygons):
            low = np.floor((polygon.min(axis=0) - _MARGIN) / _CELL).astype(int)
            high = np.floor((polygon.max(axis=0) + _MARGIN) / _CELL).astype(int)
            for i in range(low[0], high[0] + 1):
                for j in range(low[1], high[1] + 1):
                    self._cells.setdefault((i, j), []).append(k)

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """(N,) whether each of ``points`` (N, 2) lies on the road."""
        inside = np.zeros(len(points), dtype=np.bool_)
        cells = np.floor(points / _CELL).astype(int)
        for cell in dict.fromkeys(map(tuple, cells.tolist())):
            members = np.flatnonzero((cells == cell).all(axis=1))
            for k in self._cells.get(cell, ()):
                members = members[~inside[members]]
                if not members.size:
                    break
                inside[members] |= points_in_polygon(points[members], self._polygons[k])
        return inside

    def lanes_under(self, point: FloatArray) -> tuple[int, ...]:
        """Positions (lanes by ascending id, then bays) of the polygons that hold ``point`` (2,)."""
        i, j = np.floor(point / _CELL).astype(int).tolist()
        return tuple(
            k for k in self._cells.get((i, j), ()) if bool(points_in_polygon(point[None, :], self._polygons[k])[0])
        )
