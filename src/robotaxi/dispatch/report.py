"""What the car knows, as the ``state`` message: map to WGS 84, yaw to heading, nothing that is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotaxi.dispatch import trip as trips
from robotaxi.dispatch.protocol import DATUM, Position, State, TripReport, clip, finite
from robotaxi.dispatch.trip import Trip
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.types import EgoState, Goal, MissionStatus, SystemMode, VehicleReport

MAP_LIMIT = 1e6  # m from the origin; farther away, or NaN, is no position of a car


@dataclass(frozen=True, slots=True)
class BridgeInput:
    """What the car knows at ``stamp_ns``; None where nothing has come yet."""

    stamp_ns: int
    state: EgoState | None = None
    mission: MissionStatus | None = None
    report: VehicleReport | None = None
    mode: SystemMode = SystemMode.STOP
    mode_reason: str = ""
    sentence: str = ""


def state_of(inputs: BridgeInput, trip: Trip, frame: LocalFrame, backlog: int, problem: str) -> State:
    """The state message."""
    ego, cabin = inputs.state, inputs.report
    return State(
        stamp_ns=inputs.stamp_ns,
        mode=inputs.mode.name,
        mode_reason=clip(inputs.mode_reason),
        sentence=clip(inputs.sentence),
        position=position_of(ego, frame),
        position_sigma=_sigma(ego),
        heading_deg=(90.0 - math.degrees(finite(ego.yaw))) % 360.0 if ego else 0.0,
        speed=finite(ego.speed) if ego else 0.0,
        acceleration=finite(ego.acceleration) if ego else 0.0,
        door_open=bool(cabin and cabin.door_open),
        seat_occupied=bool(cabin and cabin.seat_occupied),
        belt_fastened=bool(cabin and cabin.belt_fastened),
        trip=_trip_report(trip, inputs.mission, frame),
        backlog=backlog,
        problem=clip(problem),
    )


def position_of(ego: EgoState | None, frame: LocalFrame) -> Position | None:
    """Where the car is on earth, to the millimetre; None where that is unknown."""
    if ego is None or not all(abs(value) <= MAP_LIMIT for value in (ego.x, ego.y, ego.z)):
        return None
    lat, lon, alt = frame.to_geodetic(ego.x, ego.y, ego.z)
    return Position(datum=DATUM, lat=round(lat, 9), lon=round(lon, 9), alt=round(alt, 3))


def _trip_report(trip: Trip, mission: MissionStatus | None, frame: LocalFrame) -> TripReport | None:
    if trip.ride is None:
        return None
    goal = trips.goal_of(trip)
    current = mission is not None and goal is not None and mission.goal_id == goal.goal_id
    return TripReport(
        order_id=trip.ride.order_id,
        state=trip.state.name,
        reason=clip(trip.reason),
        distance_to_go=finite(mission.distance_to_go) if mission is not None and current else 0.0,
        pickup=_place(trip.ride.pickup, frame),
        dropoff=_place(trip.ride.dropoff, frame),
    )


def _place(goal: Goal, frame: LocalFrame) -> Position:
    lat, lon, _ = frame.to_geodetic(goal.x, goal.y)
    return Position(datum=DATUM, lat=round(lat, 9), lon=round(lon, 9))


def _sigma(ego: EgoState | None) -> float:
    """Standard deviation (m) along the worse of the map's axes; 0 where it is unknown."""
    if ego is None:
        return 0.0
    larger = max(float(ego.covariance[0, 0]), float(ego.covariance[1, 1]))
    return math.sqrt(larger) if 0.0 <= larger < math.inf else 0.0
