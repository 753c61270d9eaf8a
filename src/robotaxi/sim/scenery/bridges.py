"""Roads that pass over others: which stretches of the lanes are carried by a bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from robotaxi.hdmap.lane_map import Lane
from robotaxi.sim.terrain import STOREY
from robotaxi.types import FloatArray

ABUTMENT = 10.0  # m beside the lower road from which the upper one rests on the ground
_SEVERAL = 64  # neighbours of a point that are looked at


@dataclass(frozen=True)
class Bridges:
    """``carried``: for each lane (by its place in the sequence) a mask over its pieces between two points.

    ``area``: what they cover in the plane.
    """

    lanes: tuple[Lane, ...]
    carried: tuple[NDArray[np.bool_], ...]
    area: shapely.Geometry

    def grounded(self) -> list[shapely.Geometry]:
        """Outlines in the plane of what rests on the ground, lane by lane."""
        return [_outline(lane, first, last) for lane, mask in self._each() for first, last in _runs(~mask)]

    def ground_points(self) -> FloatArray:
        """Points (N, 3) of the lanes that rest on the ground; of all lanes where none does."""
        out = []
        for lane, mask in self._each():
            on_ground = np.ones(len(lane.centerline), np.bool_)
            on_ground[:-1] &= ~mask
            on_ground[1:] &= ~mask
            out += [line[on_ground] for line in (lane.left, lane.centerline, lane.right)]
        points = np.concatenate(out)
        if len(points):
            return points
        return np.concatenate([line for lane in self.lanes for line in (lane.left, lane.centerline, lane.right)])

    def decks(self) -> FloatArray:
        """(M, 4, 3): the carried pieces, counter-clockwise from above, first along their right side."""
        pieces = [
            np.stack([lane.right[:-1], lane.right[1:], lane.left[1:], lane.left[:-1]], axis=1)[mask]
            for lane, mask in self._each()
        ]
        return np.concatenate(pieces)

    def landings(self, along: float, beside: float) -> shapely.Geometry:
        """Around where a bridge begins or ends: so far along the lanes, and so far beside them."""
        carried = {lane.id: mask for lane, mask in self._each()}
        lines = []
        for lane, mask in self._each():
            ends = (np.flatnonzero(np.diff(mask.astype(np.int8))) + 1).tolist()
            if mask[0] and not all(carried[k][-1] for k in lane.predecessors if k in carried):
                ends.append(0)
            if mask[-1] and not all(carried[k][0] for k in lane.successors if k in carried):
                ends.append(len(mask))
            lines += [shapely.LineString([lane.left[k, :2], lane.right[k, :2]]) for k in ends]
        return shapely.intersection(shapely.union_all(shapely.buffer(lines, along)), shapely.buffer(self.area, beside))

    def _each(self) -> list[tuple[Lane, NDArray[np.bool_]]]:
        return list(zip(self.lanes, self.carried, strict=True))


def find_bridges(lanes: Sequence[Lane]) -> Bridges:
    """Pieces of ``lanes`` that lie more than `STOREY` above a lane within `ABUTMENT` in the plane."""
    masks = [np.zeros(len(lane.centerline) - 1, np.bool_) for lane in lanes]
    points = np.concatenate([lane.centerline for lane in lanes])
    if np.ptp(points[:, 2]) > STOREY:
        above = _above_others(points)
        first = 0
        for mask, lane in zip(masks, lanes, strict=True):
            flags = above[first : first + len(lane.centerline)]
            mask[:] = flags[:-1] | flags[1:]
            first += len(lane.centerline)
    area = [_outline(lane, a, b) for lane, mask in zip(lanes, masks, strict=True) for a, b in _runs(mask)]
    return Bridges(tuple(lanes), tuple(masks), shapely.union_all(area) if area else shapely.Polygon())


def _above_others(points: FloatArray) -> NDArray[np.bool_]:
    tree = cKDTree(points[:, :2])
    several = min(_SEVERAL, len(points))
    distance, index = tree.query(points[:, :2], k=several, distance_upper_bound=ABUTMENT)
    height = np.append(points[:, 2], np.inf)[index.reshape(len(points), several)]
    lower = (height < points[:, 2:] - STOREY).any(axis=1)
    full = np.isfinite(distance.reshape(len(points), several)[:, -1])
    for k in np.flatnonzero(full & ~lower).tolist():  # more neighbours than were looked at
        near = tree.query_ball_point(points[k, :2], ABUTMENT)
        lower[k] = bool((points[near, 2] < points[k, 2] - STOREY).any())
    return lower


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last point of each row of pieces that the mask holds for."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(change[::2], change[1::2], strict=True)]


def _outline(lane: Lane, first: int, last: int) -> shapely.Geometry:
    part = slice(first, last + 1)
    return shapely.make_valid(shapely.Polygon(np.concatenate([lane.left[part, :2], lane.right[part, :2][::-1]])))
