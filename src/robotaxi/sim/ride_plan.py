"""Where a ride of the built-in simulator starts and where its rider gets in and out, from a seed."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from robotaxi.hdmap.lane_map import LaneMap, RouteError
from robotaxi.types import Pose2

_TRIES = 200  # pairs of stops
_STARTS = 40  # starts tried for each pair
_JUNCTION_CLEARANCE = 25.0  # m between a roadside stop and either end of its lane
_APART = 20.0  # m between two stops: across a road a rider would board at the one that is not his
_MIN_LEG = 150.0  # m, shortest way to the pick-up and with the rider


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
    """Three places whose two routes add up to ``min_length`` to ``max_length`` metres.

    The rider gets in and out at the map's pick-up bays (or beside lanes where it has none); the car
    starts in a bay or at the roadside. Raises RouteError when the map offers no such ride.
    """
    rng = np.random.default_rng([seed, zlib.crc32(b"ride_plan")])
    lane_places, bays = _lane_places(lane_map), _bays(lane_map)
    stops = bays if len(bays) >= 2 else lane_places
    starts = bays + lane_places
    if len(stops) < 2 or len(starts) < 3:
        raise RouteError(f"map '{lane_map.name}' has {len(starts)} places to stop at, a ride needs 3")
    for _ in range(_TRIES):
        (b_name, b), (c_name, c) = (stops[i] for i in rng.choice(len(stops), 2, replace=False))
        if math.dist((b.x, b.y), (c.x, c.y)) < _APART:
            continue
        with_rider = _length(lane_map, b, c)
        if not _MIN_LEG <= with_rider <= max_length - _MIN_LEG:
            continue
        for index in rng.permutation(len(starts))[:_STARTS]:
            a = starts[index][1]
            if not _APART <= math.dist((a.x, a.y), (b.x, b.y)) <= max_length - with_rider:
                continue
            to_pickup = _length(lane_map, a, b)
            if to_pickup >= _MIN_LEG and min_length <= to_pickup + with_rider <= max_length:
                return RidePlan(a, b, c, b_name, c_name, to_pickup + with_rider)
    raise RouteError(
        f"no ride of {min_length:.0f} to {max_length:.0f} m found on map '{lane_map.name}' for seed {seed}"
    )


def _length(lane_map: LaneMap, start: Pose2, goal: Pose2) -> float:
    try:
        return lane_map.route(start, goal).length
    except RouteError:
        return math.inf


def _bays(lane_map: LaneMap) -> list[tuple[str, Pose2]]:
    return [(place.name, Pose2(*place.pose)) for _, place in sorted(lane_map.stopping_places.items())]


def _lane_places(lane_map: LaneMap) -> list[tuple[str, Pose2]]:
    """The middle of every long enough rightmost lane outside junctions."""
    places = []
    for lane_id, lane in sorted(lane_map.lanes.items()):
        if lane.junction_id is not None or lane.right_neighbour is not None or lane.length < 2.5 * _JUNCTION_CLEARANCE:
            continue
        at = int(np.searchsorted(lane.s, lane.length / 2.0))
        (x0, y0), (x1, y1) = lane.centerline[at - 1, :2], lane.centerline[at, :2]
        places.append((f"lane {lane_id}", Pose2(float(x0), float(y0), math.atan2(y1 - y0, x1 - x0))))
    return places
