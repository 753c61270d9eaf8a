"""The LaneMap: what the road is, where one may drive and who goes first. All in frame ``map``.

Sources: Lanelet2 (`lanelet2_io`) and OpenDRIVE (`opendrive`). Both give the same nouns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotaxi.geometry.polyline import headings, interpolate
from robotaxi.types import LightShape, Pose2

if TYPE_CHECKING:
    from robotaxi.hdmap.closures import Closures
    from robotaxi.hdmap.drivable import DrivableArea
    from robotaxi.hdmap.index import LaneIndex
    from robotaxi.hdmap.route_path import PathConfig, RoutePath

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Lane:
    """One drivable lanelet, driven from the first to the last point.

    ``centerline``, ``left``, ``right``: (N, 3), same N, points at most 2 m apart, ``s``: (N,) arc
    length of the centerline. Neighbours are lanes of the same direction that may be changed to.
    """

    id: int
    centerline: FloatArray
    left: FloatArray
    right: FloatArray
    s: FloatArray
    speed_limit: float  # m/s
    turn_direction: str = "straight"  # straight | left | right
    successors: tuple[int, ...] = ()
    predecessors: tuple[int, ...] = ()
    left_neighbour: int | None = None
    right_neighbour: int | None = None
    stop_line_id: int | None = None  # stop line that ends this lane, if any
    junction_id: int | None = None  # set for lanes inside a junction
    yield_to: tuple[int, ...] = ()  # lanes that have right of way over this one
    conflicts: tuple[int, ...] = ()  # lanes of the same junction whose area this one crosses or joins

    @property
    def length(self) -> float:
        return float(self.s[-1])


@dataclass(frozen=True)
class StopLine:
    """``kind``: 'signal' (stop on red), 'stop' (always stop) or 'yield' (stop if somebody comes)."""

    id: int
    points: FloatArray  # (2, 3)
    kind: str
    lane_ids: tuple[int, ...]
    signal_ids: tuple[int, ...] = ()


ARROWS = {"left": LightShape.LEFT_ARROW, "right": LightShape.RIGHT_ARROW, "up": LightShape.UP_ARROW}
"""Arrow lamps by their names in Autoware's maps."""


@dataclass(frozen=True)
class Signal:
    """A traffic light head. ``position`` is its centre; ``yaw`` points from the head to its traffic. ``shape`` of its
    lamps: arrows are for those alone who drive where they point."""

    id: int
    position: FloatArray  # (3,)
    yaw: float
    stop_line_id: int
    junction_id: int | None = None
    width: float = 0.35
    height: float = 1.0
    shape: LightShape = LightShape.CIRCLE


@dataclass(frozen=True)
class Crosswalk:
    """``polygon`` (N, 3); ``lane_ids`` the lanes that it crosses; ``axis`` (2, 3) the walking line."""

    id: int
    polygon: FloatArray
    axis: FloatArray
    lane_ids: tuple[int, ...]


@dataclass(frozen=True)
class StoppingPlace:
    """A pick-up bay beside a lane. ``pose`` is base_link when stopped in it: (x, y, yaw)."""

    id: int
    name: str
    pose: tuple[float, float, float]
    lane_id: int
    s: float  # of pose, along the lane's centerline
    offset: float  # of pose from the centerline, left positive (bays on the right: negative)
    polygon: FloatArray  # (N, 3), drivable


@dataclass(frozen=True)
class Route:
    """Lane-level route. ``lane_ids`` in driving order; between two of them lies either a successor
    edge or a lane change (``change[i]`` true: lane i+1 is a neighbour of lane i).

    ``start_s`` on the first lane, ``goal_s`` on the last; ``goal_offset`` lateral, left positive;
    ``length`` in metres from start to goal.
    """

    lane_ids: tuple[int, ...]
    change: tuple[bool, ...]
    start_s: float
    goal_s: float
    goal_offset: float
    goal_yaw: float
    length: float


@dataclass(frozen=True)
class LaneMatch:
    """A pose projected on a lane: arc length, lateral offset (left positive), heading difference."""

    lane_id: int
    s: float
    offset: float
    yaw_error: float


class MapError(ValueError):
    """A map that cannot be used; the message names file, element and reason."""


class RouteError(ValueError):
    """No lane-level route; the message says from where to where and why."""


@dataclass(frozen=True)
class LaneMap:
    """Everything known of the road, immutable. ``origin`` (lat_deg, lon_deg, alt) of map (0, 0, 0)."""

    name: str
    origin: tuple[float, float, float]
    lanes: dict[int, Lane]
    stop_lines: dict[int, StopLine] = field(default_factory=dict)
    signals: dict[int, Signal] = field(default_factory=dict)
    crosswalks: dict[int, Crosswalk] = field(default_factory=dict)
    stopping_places: dict[int, StoppingPlace] = field(default_factory=dict)
    checksum: str = ""  # sha256 of the file it came from

    def nearest_lanes(self, x: float, y: float, yaw: float | None = None, max_distance: float = 5.0) -> list[LaneMatch]:
        """Lanes whose centre line lies within ``max_distance`` of a point, best first.

        With ``yaw`` only lanes within 90 degrees of it, and a radian of difference counts as 2 m.
        A point that is not finite matches nothing.
        """
        return self.index.near(x, y, yaw, max_distance)

    def lane_at(self, x: float, y: float, yaw: float | None = None) -> LaneMatch | None:
        """The best lane whose area holds the point, None off the lanes."""
        for match in self.nearest_lanes(x, y, yaw, _WIDEST_LANE / 2.0):
            lane = self.lanes[match.lane_id]
            k = int(np.clip(np.searchsorted(lane.s, match.s), 0, len(lane.s) - 1))
            half = float(np.hypot(*(lane.left[k] - lane.right[k])[:2])) / 2.0
            if self.gap(match, x, y) <= half:
                return match
        return None

    def gap(self, match: LaneMatch, x: float, y: float) -> float:
        """Metres from a point to the foot of its match; more than the offset beyond a lane's ends."""
        foot = self.lane_point(match.lane_id, match.s)
        return float(np.hypot(foot[0] - x, foot[1] - y))

    def lane_point(self, lane_id: int, s: float, offset: float = 0.0) -> FloatArray:
        """Point (3,) at arc length ``s`` of a lane, ``offset`` to its left."""
        lane = self.lanes[lane_id]
        point = interpolate(lane.centerline, lane.s, [s])[0]
        if offset:
            yaw = self.lane_yaw(lane_id, s)
            point[:2] += offset * np.array([-np.sin(yaw), np.cos(yaw)])
        return point

    def lane_yaw(self, lane_id: int, s: float) -> float:
        """Heading of a lane at arc length ``s``."""
        lane = self.lanes[lane_id]
        yaw = float(np.interp(s, lane.s, headings(lane.centerline)))
        return (yaw + np.pi) % (2.0 * np.pi) - np.pi

    def route(
        self,
        start: Pose2 | LaneMatch,
        goal: StoppingPlace | Pose2 | Sequence[float],
        closed: Closures | None = None,
        shunned: Collection[int] = (),
    ) -> Route:
        """Fastest lane-level route to a stopping place, a pose or (x, y[, yaw]).

        A goal within 1 m of a stopping place's pose means that place; any other goal is reached in
        the middle of its lane. ``closed`` stretches (`closures.closed_stretches`) are not driven, ``shunned``
        lanes only where the other ways are much longer. Raises RouteError saying from where to where and why not.
        """
        from robotaxi.hdmap.routing import find_route

        return find_route(self, start, goal, closed, shunned)

    def route_path(
        self,
        route: Route,
        start_offset: float = 0.0,
        config: PathConfig | None = None,
    ) -> RoutePath:
        """The line to drive along a route; ``start_offset``: where in the first lane the car stands."""
        from robotaxi.hdmap.route_path import PathConfig, build_path

        return build_path(self, route, start_offset, config or PathConfig())

    def stop_lines_on(self, route: Route | RoutePath) -> list[tuple[float, StopLine]]:
        """(s along the path, stop line) for each line still to cross, in driving order."""
        from robotaxi.hdmap.route_path import stop_lines_on

        return stop_lines_on(self, self._path(route))

    def signals_on(self, route: Route | RoutePath) -> list[tuple[float, Signal]]:
        """(s of its stop line along the path, light), in driving order."""
        from robotaxi.hdmap.route_path import signals_on

        return signals_on(self, self._path(route))

    def crosswalks_on(self, route: Route | RoutePath) -> list[tuple[float, float, Crosswalk]]:
        """(s where the path enters, s where it leaves, crosswalk), in driving order."""
        from robotaxi.hdmap.route_path import crosswalks_on

        return crosswalks_on(self, self._path(route))

    def junctions_on(self, route: Route | RoutePath) -> list[tuple[float, float, int]]:
        """(s where the path enters, s where it leaves, junction id), in driving order."""
        from robotaxi.hdmap.route_path import junctions_on

        return junctions_on(self, self._path(route))

    def _path(self, route: Route | RoutePath) -> RoutePath:
        return self.route_path(route) if isinstance(route, Route) else route

    def has_oncoming(self, lane_id: int, s: float) -> bool:
        """Whether the lane on the left, at arc length ``s``, is driven the other way."""
        lane = self.lanes[lane_id]
        k = int(np.abs(lane.s - s).argmin())
        x, y = (2.0 * lane.left[k] - lane.centerline[k])[:2]
        return bool(self.nearest_lanes(float(x), float(y), self.lane_yaw(lane_id, float(lane.s[k])) + np.pi, 0.8))

    def drivable(self, points: ArrayLike, margin: float = 0.0) -> NDArray[np.bool_]:
        """Mask (N,) of points (N, 2+) on a lane or in a stopping place, grown by ``margin``."""
        return self.drivable_area.contains(points, margin)

    @cached_property
    def index(self) -> LaneIndex:
        from robotaxi.hdmap.index import LaneIndex

        return LaneIndex(self.lanes)

    @cached_property
    def drivable_area(self) -> DrivableArea:
        from robotaxi.hdmap.drivable import DrivableArea

        return DrivableArea(self)


_WIDEST_LANE = 12.0  # m
