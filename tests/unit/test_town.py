"""The built-in town: what it holds, that it drives, and that its two files say the same."""

import math
from collections import deque
from dataclasses import fields

import numpy as np
import pytest

from robotaxi.geometry import boxes, polyline
from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap import load_map
from robotaxi.resources import config_dir
from robotaxi.sim.town import build_town
from robotaxi.types import Pose2

FOLDER = config_dir() / "maps" / "town"


@pytest.fixture(scope="module")
def town():
    return load_map("town")


@pytest.fixture(scope="module")
def twin():
    return load_map(FOLDER / "town.xodr")


def test_the_code_gives_the_committed_bytes(tmp_path):
    build_town(tmp_path)
    for name in ("town.xodr", "town.osm", "map.yaml"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), f"{name} is not what the code builds"


def test_both_files_give_the_same_map(town, twin):
    for table in ("lanes", "stop_lines", "signals", "crosswalks", "stopping_places"):
        ours, theirs = getattr(town, table), getattr(twin, table)
        assert ours.keys() == theirs.keys()
        for number, item in ours.items():
            for field in fields(item):
                a, b = getattr(item, field.name), getattr(theirs[number], field.name)
                if isinstance(a, np.ndarray) and table == "lanes":
                    continue
                if isinstance(a, np.ndarray | float) or field.name == "pose":
                    assert np.allclose(a, b, atol=2e-3), (table, number, field.name)
                else:
                    assert a == b, (table, number, field.name)
    for number, lane in town.lanes.items():
        other = twin.lanes[number]
        assert polyline.project(other.centerline, lane.centerline, other.s).distance.max() < 0.05


def test_contents(town):
    low = np.min([lane.centerline.min(axis=0) for lane in town.lanes.values()], axis=0)
    high = np.max([lane.centerline.max(axis=0) for lane in town.lanes.values()], axis=0)
    assert min((high - low)[:2]) >= 1500.0
    limits = {round(lane.speed_limit * 3.6) for lane in town.lanes.values()}
    assert {20, 30, 40, 50, 60} <= limits
    assert {line.kind for line in town.stop_lines.values()} == {"signal", "stop", "yield"}
    assert len(town.stopping_places) >= 16
    assert any(lane.left_neighbour is not None for lane in town.lanes.values())
    assert any(len(c.lane_ids) == 2 for c in town.crosswalks.values()), "a mid-block crosswalk"


def test_lanes_join_smoothly(town):
    for lane in town.lanes.values():
        assert np.diff(lane.s).max() <= 2.001
        for successor in lane.successors:
            following = town.lanes[successor]
            assert np.linalg.norm(lane.centerline[-1] - following.centerline[0]) < 0.05
            bend = wrap_angle(_end_heading(lane.centerline) - _start_heading(following.centerline))
            assert abs(bend) < math.radians(2.0), (lane.id, successor)


def _start_heading(points):
    """Tangent at the first point of a curve: as far before the first chord as the second point's is after it."""
    yaw = polyline.headings(points)
    return 2.0 * yaw[0] - yaw[1]


def _end_heading(points):
    return _start_heading(points[::-1]) + math.pi


def test_everything_can_be_reached_from_everything(town):
    def reached(edges):
        first = min(town.lanes)
        seen, queue = {first}, deque([first])
        while queue:
            for other in edges(town.lanes[queue.popleft()]):
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
        return seen

    beside = lambda lane: [n for n in (lane.left_neighbour, lane.right_neighbour) if n is not None]  # noqa: E731
    assert reached(lambda lane: [*lane.successors, *beside(lane)]) == set(town.lanes)
    assert reached(lambda lane: [*lane.predecessors, *beside(lane)]) == set(town.lanes)


def test_turns_leave_from_the_right_lane(town):
    for lane in town.lanes.values():
        before = town.lanes[lane.predecessors[0]]
        if lane.turn_direction == "left":
            assert before.left_neighbour is None
        if lane.turn_direction == "right" and town.lanes[lane.successors[0]].junction_id is None:
            assert before.right_neighbour is None


def test_priority_rules(town):
    for lane in town.lanes.values():
        assert set(lane.yield_to) <= set(lane.conflicts)
        for other in lane.conflicts:
            assert lane.id in town.lanes[other].conflicts
        for other in lane.yield_to:
            assert lane.id not in town.lanes[other].yield_to, "two lanes must not wait for each other"
    approaches = [town.lanes[k] for line in town.stop_lines.values() if line.kind == "yield" for k in line.lane_ids]
    assert all(any(town.lanes[s].yield_to for s in lane.successors) for lane in approaches)
    lefts = [lane for lane in town.lanes.values() if lane.turn_direction == "left" and _at_light(town, lane)]
    assert any(lane.yield_to for lane in lefts)


def _at_light(town, lane):
    line = town.stop_lines.get(town.lanes[lane.predecessors[0]].stop_line_id or 0)
    return line is not None and line.kind == "signal"


def test_lights_face_their_traffic_and_stand_off_the_lanes(town):
    for signal in town.signals.values():
        line = town.stop_lines[signal.stop_line_id]
        assert signal.id in line.signal_ids and signal.junction_id is not None
        lane = town.lanes[line.lane_ids[0]]
        heading = town.lane_yaw(lane.id, lane.length)
        assert abs(wrap_angle(signal.yaw - heading - math.pi)) < 1e-3
        ahead = signal.position[:2] - line.points.mean(axis=0)[:2]
        assert 12.0 <= ahead @ [math.cos(heading), math.sin(heading)] <= 32.0
        assert signal.position[2] == pytest.approx(5.0)
        assert not town.drivable([signal.position], margin=0.9)[0]


def test_stop_lines_end_their_lanes(town):
    for line in town.stop_lines.values():
        for lane_id in line.lane_ids:
            lane = town.lanes[lane_id]
            assert lane.stop_line_id == line.id
            assert polyline.project(line.points, lane.centerline[-1:]).distance[0] < 0.01


def test_bays_lie_beside_a_straight_lane_away_from_junctions(town):
    for place in town.stopping_places.values():
        lane = town.lanes[place.lane_id]
        assert place.offset == pytest.approx(-3.0, abs=1e-3) and lane.junction_id is None
        assert abs(wrap_angle(place.pose[2] - town.lane_yaw(lane.id, place.s))) < 1e-3
        body = boxes.corners([*_center(place.pose, 1.4), place.pose[2], 4.9, 2.0])
        assert polyline.points_in_polygon(body, place.polygon).all()
        inside = [town.lanes[k] for k in town.lanes if town.lanes[k].junction_id is not None]
        nearest = min(np.hypot(*(other.centerline[:, :2] - place.pose[:2]).T).min() for other in inside)
        assert nearest >= 30.0


def _center(pose, ahead):
    return pose[0] + ahead * math.cos(pose[2]), pose[1] + ahead * math.sin(pose[2])


def test_rides_stay_on_the_road(town):
    """A 4.9 x 2.1 m car whose rear axle follows the path, out of one bay and into another."""
    places = list(town.stopping_places.values())
    rides = 0
    for k, a in enumerate(places):
        for b in places[k % 5 :: 5]:
            route = town.route(Pose2(*a.pose), b) if a is not b else None
            if route is None or not 600.0 <= route.length <= 1200.0:
                continue
            rides += 1
            path = town.route_path(route, a.offset)
            assert np.hypot(*(path.points[0, :2] - a.pose[:2])) < 0.05
            assert np.hypot(*(path.points[-1, :2] - b.pose[:2])) < 0.05
            assert np.abs(path.curvature).max() < 0.12
            assert path.length == pytest.approx(route.length, abs=3.0)
            assert town.drivable(boxes.corners(_bodies(path)).reshape(-1, 2)).all(), (a.name, b.name)
    assert rides >= 20


def _bodies(path):
    x, y = path.points[:, 0] + 1.35 * np.cos(path.yaw), path.points[:, 1] + 1.35 * np.sin(path.yaw)
    return np.stack([x, y, path.yaw, np.full_like(x, 4.9), np.full_like(x, 2.1)], axis=-1)


def test_the_genuine_lanelet2_library_sees_the_same_lanes(town):
    lanelet2 = pytest.importorskip("lanelet2", reason="the lanelet2 wheel is not installed")
    origin = lanelet2.io.Origin(town.origin[0], town.origin[1])
    # The plain library rejects Autoware's own regulatory element 'crosswalk', hence loadRobust.
    theirs, _ = lanelet2.io.loadRobust(str(FOLDER / "town.osm"), lanelet2.projection.LocalCartesianProjector(origin))
    rules = lanelet2.traffic_rules.create(
        lanelet2.traffic_rules.Locations.Germany, lanelet2.traffic_rules.Participants.Vehicle
    )
    graph = lanelet2.routing.RoutingGraph(theirs, rules)
    for lane in town.lanes.values():
        lanelet = theirs.laneletLayer[lane.id]
        assert tuple(sorted(x.id for x in graph.following(lanelet))) == lane.successors
        left, right = graph.left(lanelet), graph.right(lanelet)
        assert (left.id if left else None, right.id if right else None) == (lane.left_neighbour, lane.right_neighbour)
        first = lanelet.leftBound[0]
        assert np.hypot(first.x - lane.left[0, 0], first.y - lane.left[0, 1]) < 0.01
    a, b = sorted(town.lanes)[0], sorted(town.lanes)[-1]
    assert graph.getRoute(theirs.laneletLayer[a], theirs.laneletLayer[b]) is not None
