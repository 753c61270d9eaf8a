"""Where a ride of the built-in simulator starts and where its rider gets in and out, from a seed."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from robotaxi.hdmap.lane_map import Lane, LaneMap, RouteError
from robotaxi.types import Pose2

_TRIES = 200  # pairs of stops
_STARTS = 40  # starts tried for each pair
_JUNCTION_CLEARANCE = 25.0  # m between a roadside stop and either end of its lane
_APART = 20.0  # m between two stops: across a road a rider would board at the one that is not his
_MIN_LEG = 150.0  # m, shortest way to the pick-up and with the rider
_SHORT_LEGS = (150.0, 100.0, 60.0, 35.0)  # m, on maps too small for that
_DENSE_CLEARANCE, _DENSE_SPACING = 12.0, 20.0  # m from the ends of a lane, and between places on it

Places = list[tuple[str, Pose2]]


@dataclass(frozen=True)
class RidePlan:
    """``start``: base_link at rest; ``pickup`` and ``dropoff``: base_link when stopped there (map)."""

    start: Pose2
    pickup: Pose2
    dropoff: Pose2
    pickup_name: str
    dropoff_name: str
    length: float


def plan_ride(lane_map: LaneMap, seed: int, min_length: float = 600.0, max_length: float = 1200.0) -> RidePlan:
    """Three places whose two routes add up to ``min_length`` to ``max_length`` metres, or less on a small map.

    The rider gets in and out at the map's pick-up bays (or beside lanes where it has none); the car
    starts in a bay or at the roadside. Raises RouteError when the map offers no ride of even 70 m.
    """
    rng = np.random.default_rng([seed, zlib.crc32(b"ride_plan")])
    lane_places, bays = _lane_places(lane_map), _bays(lane_map)
    stops = bays if len(bays) >= 2 else lane_places
    plan = _search(lane_map, rng, stops, bays + lane_places, _MIN_LEG, min_length, max_length)
    if plan is not None:
        return plan
    dense = _dense_places(lane_map)
    for min_leg in _SHORT_LEGS:
        plan = _search(lane_map, rng, dense, dense, min_leg, 2.0 * min_leg, max_length)
        if plan is not None:
            return plan
    raise RouteError(
        f"map '{lane_map.name}' is too small for a ride (seed {seed}): "
        f"it needs three places beside a road, each at least {_SHORT_LEGS[-1]:.0f} m of way from the one before"
    )


def _search(
    lane_map: LaneMap, rng: np.random.Generator, stops: Places, starts: Places, min_leg: float, min_length: float,
    max_length: float,
) -> RidePlan | None:  # fmt: skip
    """The first of many random rides that is as long as wanted, with ``min_leg`` m at least to the pick-up and on."""
    if len(stops) < 2 or len(starts) < 3:
        return None
    for _ in range(_TRIES):
        (b_name, b), (c_name, c) = (stops[i] for i in rng.choice(len(stops), 2, replace=False))
        if math.dist((b.x, b.y), (c.x, c.y)) < _APART:
            continue
        with_rider = _length(lane_map, b, c)
        if not min_leg <= with_rider <= max_length - min_leg:
            continue
        for index in rng.permutation(len(starts))[:_STARTS]:
            a = starts[index][1]
            if not _APART <= math.dist((a.x, a.y), (b.x, b.y)) <= max_length - with_rider:
                continue
            to_pickup = _length(lane_map, a, b)
            if to_pickup >= min_leg and min_length <= to_pickup + with_rider <= max_length:
                return RidePlan(a, b, c, b_name, c_name, to_pickup + with_rider)
    return None


def _length(lane_map: LaneMap, start: Pose2, goal: Pose2) -> float:
    try:
        return lane_map.route(start, goal).length
    except RouteError:
        return math.inf


def _bays(lane_map: LaneMap) -> Places:
    return [(place.name, Pose2(*place.pose)) for _, place in sorted(lane_map.stopping_places.items())]


def _lane_places(lane_map: LaneMap) -> Places:
    """The middle of every long enough rightmost lane outside junctions."""
    return [_place(lane, lane.length / 2.0) for lane in _roadside(lane_map) if lane.length >= 2.5 * _JUNCTION_CLEARANCE]


def _dense_places(lane_map: LaneMap) -> Places:
    """Places all along every rightmost lane outside junctions."""
    places: Places = []
    for lane in _roadside(lane_map):
        room = lane.length - 2.0 * _DENSE_CLEARANCE
        count = int(room // _DENSE_SPACING) + 1 if room >= 0.0 else 0
        places += [_place(lane, _DENSE_CLEARANCE + i * _DENSE_SPACING) for i in range(count)]
    return places


def _roadside(lane_map: LaneMap) -> list[Lane]:
    return [
        lane for _, lane in sorted(lane_map.lanes.items()) if lane.junction_id is None and lane.right_neighbour is None
    ]


def _place(lane: Lane, s: float) -> tuple[str, Pose2]:
    at = max(int(np.searchsorted(lane.s, s)), 1)
    (x0, y0), (x1, y1) = lane.centerline[at - 1, :2], lane.centerline[at, :2]
    return f"lane {lane.id}", Pose2(float(x0), float(y0), math.atan2(y1 - y0, x1 - x0))
