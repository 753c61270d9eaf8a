"""Which objects count: those on the drivable road or close beside it."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike, NDArray

from robotaxi.hdmap.drivable import MAX_MARGIN, DrivableArea
from robotaxi.hdmap.lane_map import LaneMap


@dataclass(frozen=True)
class RoadFilter:
    """The map's drivable area grown by ``margin`` (m)."""

    area: DrivableArea
    margin: float

    @staticmethod
    def from_lane_map(lane_map: LaneMap, margin: float) -> RoadFilter:
        """Raises ValueError for a margin below 0 or above 10 m."""
        if not 0.0 <= margin <= MAX_MARGIN:
            raise ValueError(f"road margin is {margin}, allowed is 0 to {MAX_MARGIN:g} m")
        return RoadFilter(lane_map.drivable_area, margin)

    def contains(self, points: ArrayLike) -> NDArray:
        """Mask (N,) of points (N, 2) in map that lie on the road or within the margin beside it."""
        return self.area.contains(points, self.margin)
