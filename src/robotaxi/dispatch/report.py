"""What the car knows, as the ``state`` message: map to WGS 84, yaw to heading, nothing that is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotaxi.dispatch import trip as trips
from robotaxi.dispatch.datum import position_as
from robotaxi.dispatch.messages import WGS84, Datum, Position, State, TripReport
from robotaxi.dispatch.protocol import clip, finite
from robotaxi.dispatch.trip import Trip
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.types import MINIMAL_RISK, EgoState, Goal, MissionStatus, SystemMode, VehicleReport

MAP_LIMIT = 1e6  # m from the origin; farther away, or NaN, is no position of a car
TRAJECTORY_POINTS = 12
TYPICAL_SPEED = 6.0  # m/s in town with its stops: what an estimate of the time to go rests on


@dataclass(frozen=True, slots=True)
class BridgeInput:
    """What the car knows at ``stamp_ns``; None where nothing has come yet.

    ``trajectory``: x, y (m, map) of the next seconds. ``energy``: 0 to 1, ``range``: m; negative: unknown.
    ``code_shown``: what the rider showed to the car, None where it cannot ask. ``picture_jpeg``: what it sees.
    """

    stamp_ns: int
    state: EgoState | None = None
    mission: MissionStatus | None = None
    report: VehicleReport | None = None
    mode: SystemMode = SystemMode.STOP
    mode_reason: str = ""
    sentence: str = ""
    trajectory: tuple[tuple[float, float], ...] = ()
    energy: float = -1.0
    range: float = -1.0
    faults: tuple[str, ...] = ()
    code_shown: str | None = None
    picture_jpeg: bytes = b""


@dataclass(frozen=True)
class Earth:
    """Where map lies on earth, and the datum that the platform speaks."""

    frame: LocalFrame
    datum: Datum = WGS84

    def position(self, x: float, y: float, z: float = 0.0, with_altitude: bool = False) -> Position:
        lat, lon, alt = self.frame.to_geodetic(x, y, z)
        wgs84 = Position(datum=WGS84, lat=lat, lon=lon, alt=round(alt, 3) if with_altitude else None)
        position = position_as(wgs84, self.datum)
        return Position(datum=self.datum, lat=round(position.lat, 9), lon=round(position.lon, 9), alt=position.alt)

    def to_map(self, position: Position) -> tuple[float, float]:
        """x, y (m) in map, whatever datum the position names."""
        wgs84 = position_as(position, WGS84)
        x, y, _ = self.frame.to_map(wgs84.lat, wgs84.lon, self.frame.origin[2])
        return x, y


def state_of(
    inputs: BridgeInput, trip: Trip, earth: Earth, *, backlog: int = 0, problem: str = "", avoided: tuple[str, ...] = ()
) -> State:
    """The state message."""
    ego, cabin = inputs.state, inputs.report
    return State(
        stamp_ns=inputs.stamp_ns,
        mode=inputs.mode.name,
        mode_reason=clip(inputs.mode_reason),
        minimal_risk=inputs.mode in MINIMAL_RISK,
        sentence=clip(inputs.sentence),
        position=position_of(ego, earth),
        position_sigma=_sigma(ego),
        heading_deg=(90.0 - math.degrees(finite(ego.yaw))) % 360.0 if ego else 0.0,
        speed=finite(ego.speed) if ego else 0.0,
        acceleration=finite(ego.acceleration) if ego else 0.0,
        energy=finite(inputs.energy),
        range=finite(inputs.range),
        door_open=bool(cabin and cabin.door_open),
        seat_occupied=bool(cabin and cabin.seat_occupied),
        belt_fastened=bool(cabin and cabin.belt_fastened),
        trip=_trip_report(trip, inputs.mission, earth),
        trajectory=_trajectory(inputs, earth),
        faults=tuple(clip(fault) for fault in inputs.faults[:20]),
        avoided=avoided,
        backlog=backlog,
        problem=clip(problem),
    )


def position_of(ego: EgoState | None, earth: Earth) -> Position | None:
    """Where the car is on earth, to the millimetre; None where that is unknown."""
    if ego is None or not all(abs(value) <= MAP_LIMIT for value in (ego.x, ego.y, ego.z)):
        return None
    return earth.position(ego.x, ego.y, ego.z, with_altitude=True)


def _trajectory(inputs: BridgeInput, earth: Earth) -> tuple[tuple[float, float], ...]:
    points = [p for p in inputs.trajectory if abs(p[0]) <= MAP_LIMIT and abs(p[1]) <= MAP_LIMIT]
    if len(points) > TRAJECTORY_POINTS:
        last = len(points) - 1
        points = [points[round(i * last / (TRAJECTORY_POINTS - 1))] for i in range(TRAJECTORY_POINTS)]
    places = [earth.position(x, y) for x, y in points]
    return tuple((round(place.lat, 7), round(place.lon, 7)) for place in places)


def _trip_report(trip: Trip, mission: MissionStatus | None, earth: Earth) -> TripReport | None:
    if trip.ride is None:
        return None
    goal = trips.goal_of(trip)
    current = mission is not None and goal is not None and mission.goal_id == goal.goal_id
    to_go = finite(mission.distance_to_go) if mission is not None and current else 0.0
    return TripReport(
        order_id=trip.ride.order_id,
        state=trip.state.name,
        reason=clip(trip.reason),
        revision=trip.ride.revision,
        distance_to_go=to_go,
        eta_s=_eta(mission, to_go) if mission is not None and current else -1.0,
        pickup=_place(trip.ride.pickup, earth),
        stops=tuple(_place(stop, earth) for stop in trip.ride.stops),
        dropoff=_place(trip.ride.dropoff, earth),
    )


def _eta(mission: MissionStatus, to_go: float) -> float:
    if 0.0 <= mission.time_to_go < math.inf:
        return round(mission.time_to_go, 1)
    return round(to_go / TYPICAL_SPEED, 1)


def _place(goal: Goal, earth: Earth) -> Position:
    return earth.position(goal.x, goal.y)


def _sigma(ego: EgoState | None) -> float:
    """Standard deviation (m) along the longer axis of the error ellipse; 0 where it is unknown."""
    if ego is None:
        return 0.0
    a, b, c = (float(ego.covariance[i, j]) for i, j in ((0, 0), (1, 1), (0, 1)))
    larger = 0.5 * (a + b) + math.hypot(0.5 * (a - b), c)
    return math.sqrt(larger) if 0.0 <= larger < math.inf else 0.0
