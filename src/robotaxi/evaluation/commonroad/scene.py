"""A CommonRoad scenario in our nouns: lane map, path to the goal, target, and everybody's boxes over time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from robotaxi.hdmap.lane_map import Lane, LaneMap, Route, RouteError
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.motion.ground import Ground, clearances, ground_beside
from robotaxi.planning.motion.proposal_search import places_off
from robotaxi.planning.motion.proposals import PathArrays
from robotaxi.planning.reference import SPACING, Reference, build_reference
from robotaxi.planning.road_edges import kept_on_road
from robotaxi.planning.tight_bends import eased
from robotaxi.types import Pose2, VehicleParams

FloatArray = NDArray[np.float64]

MIN_LIMIT, MAX_LIMIT = 6.0, 25.0  # m/s, of the lanes: sets how long lane changes are
EASY_BENDS = (0.12, 0.17, 0.24, math.inf)  # 1/m; lanes are often drawn tighter than anybody drives
CELL = 0.12  # m, of the drivable ground
SEAM = 0.1  # m that lanes are grown by, over gaps between them that the checker knows no edge at
EDGE_STEP, EDGE_REACH = 0.04, 1.5  # m between points of the edge, and up to which distances to it are told
AROUND = 14.0  # m beside the path that it covers
AHEAD = 60.0  # m of path beyond what the time allows
OFFSETS = np.arange(-7.0, 7.01, 0.25)  # m beside the path where the goal is looked for


def lane_map_of(network: Any, speed: float) -> LaneMap:
    """Lanelets as lanes; neighbours of the same direction may be changed to."""
    limit = float(np.clip(speed, MIN_LIMIT, MAX_LIMIT))
    ids = {item.lanelet_id for item in network.lanelets}
    lanes = {}
    for item in network.lanelets:
        left, right = _even(item.left_vertices, item.right_vertices)
        centre = 0.5 * (left + right)
        s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(centre[:, :2], axis=0).T))])
        if s[-1] < 0.1:
            continue
        lanes[item.lanelet_id] = Lane(
            item.lanelet_id, centre, left, right, s, limit,
            successors=tuple(sorted(set(item.successor) & ids)),
            predecessors=tuple(sorted(set(item.predecessor) & ids)),
            left_neighbour=item.adj_left if item.adj_left in ids and item.adj_left_same_direction else None,
            right_neighbour=item.adj_right if item.adj_right in ids and item.adj_right_same_direction else None,
        )  # fmt: skip
    return LaneMap("commonroad", (0.0, 0.0, 0.0), {key: _only(lane, set(lanes)) for key, lane in lanes.items()})


def _only(lane: Lane, known: set[int]) -> Lane:
    return replace(
        lane,
        successors=tuple(i for i in lane.successors if i in known),
        predecessors=tuple(i for i in lane.predecessors if i in known),
        left_neighbour=lane.left_neighbour if lane.left_neighbour in known else None,
        right_neighbour=lane.right_neighbour if lane.right_neighbour in known else None,
    )


def _even(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both bounds with the same number of points, at most 1 m apart, of height 0; vertex k lies opposite vertex k."""
    longest = max(float(np.hypot(*np.diff(v[:, :2], axis=0).T).sum()) for v in (left, right))
    n = max(2, math.ceil(longest) + 1, len(left))
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(np.asarray(left, float)[:, :2], axis=0).T))])
    number = np.interp(np.linspace(0.0, 1.0, n), arc / max(float(arc[-1]), 1e-9), np.arange(len(arc)))
    out = []
    for vertices in (left, right):
        points = np.asarray(vertices, float)[:, :2]
        columns = [np.interp(number, np.arange(len(points)), points[:, i]) for i in range(2)]
        out.append(np.column_stack([*columns, np.zeros(n)]))
    return out[0], out[1]


def find_path(lane_map: LaneMap, start: Pose2, goal: tuple[float, float] | None, reach: float) -> Reference:
    """Path from ``start`` (centre of the car) to ``goal``, or ``reach`` metres ahead where there is none.

    Raises RouteError where no lane is near the start.
    """
    route: Route | None = None
    if goal is not None:
        try:
            route = lane_map.route(start, goal)
        except RouteError:
            route = None
    if route is None:
        route = _straight_on(lane_map, start, goal, reach)
    first = route.lane_ids[0]
    point = lane_map.lane_point(first, route.start_s)
    from_pose = Pose2(float(point[0]), float(point[1]), lane_map.lane_yaw(first, route.start_s))
    config = PlannerConfig(lane_change_time=3.0, lane_change_length_min=18.0, max_speed=40.0)
    return build_reference(lane_map, route, from_pose, config)


def _straight_on(lane_map: LaneMap, start: Pose2, goal: tuple[float, float] | None, reach: float) -> Route:
    """Along successors, at each fork the one nearer to the goal or the straightest."""
    matches = lane_map.nearest_lanes(start.x, start.y, start.yaw, 12.0)
    if not matches:
        raise RouteError(f"no lane near ({start.x:.1f}, {start.y:.1f})")
    match = matches[0]
    ids, covered = [match.lane_id], lane_map.lanes[match.lane_id].length - match.s
    while covered < reach and len(ids) < 60:
        following = [i for i in lane_map.lanes[ids[-1]].successors if i not in ids]
        if not following:
            break
        heading = lane_map.lane_yaw(ids[-1], lane_map.lanes[ids[-1]].length)

        def worth(i: int, heading: float = heading) -> tuple[float, int]:
            lane = lane_map.lanes[i]
            if goal is not None:
                return float(np.hypot(*(lane.centerline[-1, :2] - np.asarray(goal)))), i
            turn = lane_map.lane_yaw(i, lane.length) - heading
            return abs(math.remainder(turn, math.tau)), i

        ids.append(min(following, key=worth))
        covered += lane_map.lanes[ids[-1]].length
    last = lane_map.lanes[ids[-1]]
    s_end = max(last.length - 0.1, match.s + 0.5 if len(ids) == 1 else 0.1)
    return Route(
        tuple(ids), (False,) * (len(ids) - 1), match.s, min(s_end, last.length), 0.0,
        lane_map.lane_yaw(last.id, last.length), max(covered, 1.0),
    )  # fmt: skip


def arrays_of(reference: Reference) -> PathArrays:
    """The path, continued straight on at its end."""
    n = round(AHEAD / SPACING)
    ahead = np.arange(1, n + 1) * SPACING
    yaw = float(reference.yaw[-1])
    return PathArrays(
        SPACING,
        np.concatenate([reference.x, reference.x[-1] + np.cos(yaw) * ahead]),
        np.concatenate([reference.y, reference.y[-1] + np.sin(yaw) * ahead]),
        np.concatenate([reference.yaw, np.full(n, yaw)]),
        np.concatenate([reference.curvature, np.zeros(n)]),
    )


def eased_path(path: PathArrays, ground: Ground, body: VehicleParams, first: float, last: float) -> PathArrays:
    """The path with its bends eased, and ``body`` kept on the ground in them, as far as that takes less of it off the
    ground between the arc lengths ``first`` and ``last`` than the path as it is drawn."""
    drawn = np.column_stack([path.x, path.y, 0.0 * path.x])

    def on_ground(points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        return clearances(ground, points) > 0.0

    tried: list[tuple[int, int, PathArrays]] = []
    for limit in EASY_BENDS:
        smooth = eased(drawn, SPACING, limit)
        for points in (kept_on_road(smooth, SPACING, body, on_ground, 0, len(drawn) - 1), smooth):
            found = _sampled(points)
            part = slice(max(round(first / SPACING), 0), round(last / SPACING) + 1)
            outside = places_off(
                found.x[part], found.y[part], found.yaw[part], 0.5 * body.length, 0.5 * body.width,
                ground.index, ground.tiles, ground.frame,
            )  # fmt: skip
            if outside == 0:
                return found
            tried.append((int(outside), -len(tried), found))
    return min(tried)[2]


def _sampled(points: NDArray[np.floating[Any]]) -> PathArrays:
    """A path (N, 3) sampled anew."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points[:, :2], axis=0).T))])
    s = np.arange(0.0, arc[-1], SPACING)
    x, y = np.interp(s, arc, points[:, 0]), np.interp(s, arc, points[:, 1])
    yaw = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    curvature = gaussian_filter1d(np.gradient(yaw, SPACING), 1.0 / SPACING, mode="nearest")
    return PathArrays(SPACING, x, y, yaw, curvature)


def ground_of(scenario: Any, lane_map: LaneMap, path: PathArrays) -> Ground:
    """Drivable ground around the path: the lanes, up to the edges that the official road check knows."""
    edges = cKDTree(_edge_points(scenario))

    def inside(points: NDArray[np.floating[Any]]) -> FloatArray:
        away, _ = edges.query(points, distance_upper_bound=EDGE_REACH)
        away = np.minimum(away, EDGE_REACH)
        on = lane_map.drivable(points) | ((away > 2.0 * SEAM) & lane_map.drivable(points, margin=SEAM))
        return np.where(on, away, -away)

    return ground_beside(path.x, path.y, AROUND, inside, CELL)


def _edge_points(scenario: Any) -> FloatArray:
    """Points (N, 2) on the edges of the road that the closed loop checks against."""
    from commonroad_dc.boundary.boundary import create_road_boundary_obstacle

    _, edges = create_road_boundary_obstacle(scenario, method="obb_rectangles")
    parts = []
    for edge in edges.unpack():
        along = np.linspace(-1.0, 1.0, max(math.ceil(2.0 * edge.r_x() / EDGE_STEP), 1) + 1) * edge.r_x()
        yaw = edge.orientation()
        parts.append(np.asarray(edge.center()) + along[:, None] * np.array([math.cos(yaw), math.sin(yaw)]))
    return np.concatenate(parts) if parts else np.full((1, 2), 1e9)


def goal_extent(path: PathArrays, region: Any) -> tuple[float, float, float, float] | None:
    """Arc lengths and offsets of a shapely region seen from the path; None where the path passes it by."""
    import shapely

    s = np.arange(path.x.size) * path.spacing
    x = path.x[:, None] - np.sin(path.yaw)[:, None] * OFFSETS[None, :]
    y = path.y[:, None] + np.cos(path.yaw)[:, None] * OFFSETS[None, :]
    shapely.prepare(region)
    inside = shapely.contains_xy(region, x.ravel(), y.ravel()).reshape(x.shape)
    if not inside.any():
        return None
    counts = inside.sum(axis=0)
    column = int(min(np.flatnonzero(counts >= 0.8 * counts.max()), key=lambda k: abs(OFFSETS[k])))
    where = np.flatnonzero(inside[:, column])
    part = max(np.split(where, np.flatnonzero(np.diff(where) > 1) + 1), key=len)
    row = int(part[len(part) // 2])
    across = np.flatnonzero(inside[row])
    run = next(p for p in np.split(across, np.flatnonzero(np.diff(across) > 1) + 1) if column in p)
    return float(s[part[0]]), float(s[part[-1]]), float(OFFSETS[run[0]]), float(OFFSETS[run[-1]])


def body_of(vehicle: Any) -> VehicleParams:
    """The closed loop's vehicle, its middle where our paths have the rear axle: there it is planned for its middle."""
    length = float(vehicle.length)
    return VehicleParams(
        "commonroad", float(vehicle.wheelbase), length, float(vehicle.width), 1.5, 0.5 * length,
        float(vehicle.max_steer), 1.0, float(vehicle.max_accel), float(vehicle.max_decel), 0.0, 0.0, 0.0, 0.0,
    )  # fmt: skip


def straight(start: Pose2) -> PathArrays:
    """Straight ahead of a pose, where no lane leads on."""
    s = np.arange(-20.0, 200.0, SPACING)
    x, y = start.x + math.cos(start.yaw) * s, start.y + math.sin(start.yaw) * s
    return PathArrays(SPACING, x, y, np.full(s.size, start.yaw), 0.0 * s)
