"""A road that passes over another: neither stands in the other's way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from sim_maps import lane_from

from robotaxi.evaluation.perfect import Blur, Perceiver
from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.sim.scenery import Scenery, build_scenery
from robotaxi.sim.scenery.bridges import ABUTMENT, find_bridges
from robotaxi.sim.terrain import ground_heights
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, Pose2
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
ALONE = WorldConfig(traffic_cars=0, pedestrian_count=0)
TOP = 8.0  # m


def over_and_under() -> LaneMap:
    """A level road east along y = 0 and one north along x = 0 that climbs from 100 m away to 8 m above it."""
    along = np.arange(-150.0, 151.0, 2.0)
    level = lane_from(np.column_stack([along, 0.0 * along]), 1)
    climbing = lane_from(np.column_stack([0.0 * along, along]), 2)
    height = np.clip(TOP * (120.0 - np.abs(along)) / 90.0, 0.0, TOP)

    def raised(line: np.ndarray) -> np.ndarray:
        return np.column_stack([line[:, :2], height])

    over = replace(
        climbing,
        centerline=raised(climbing.centerline), left=raised(climbing.left), right=raised(climbing.right),
    )  # fmt: skip
    return LaneMap("over_and_under", (0.0, 0.0, 0.0), {1: level, 2: over})


@pytest.fixture(scope="module")
def crossing() -> LaneMap:
    return over_and_under()


@pytest.fixture(scope="module")
def scenery(crossing: LaneMap) -> Scenery:
    return build_scenery(crossing)


def _lanes(lane_map: LaneMap) -> list[Lane]:
    return [lane_map.lanes[k] for k in sorted(lane_map.lanes)]


def test_only_what_passes_over_another_road_is_carried(crossing: LaneMap) -> None:
    bridges = find_bridges(_lanes(crossing))
    below, above = bridges.carried
    assert not below.any()
    y = crossing.lanes[2].centerline[:, 1]
    assert above[np.abs(y[:-1]) < 8.0].all() and not above[np.abs(y[:-1]) > ABUTMENT + 3.0].any()


def test_level_roads_have_no_bridges(crossing: LaneMap) -> None:
    flat = [replace(lane, centerline=lane.centerline * [1.0, 1.0, 0.0]) for lane in _lanes(crossing)]
    bridges = find_bridges(flat)
    assert bridges.area.is_empty and not len(bridges.decks()) and bridges.landings(3.0, 0.2).is_empty


def test_a_bridge_that_begins_where_a_lane_does_has_a_landing_there(crossing: LaneMap) -> None:
    level, over = _lanes(crossing)
    at = int(np.argmin(np.abs(over.centerline[:, 1] + ABUTMENT)))
    parts = (slice(None, at + 1), slice(at, None))
    before, after = (
        replace(over, id=k, centerline=over.centerline[p], left=over.left[p], right=over.right[p], s=over.s[p])
        for k, p in zip((2, 3), parts, strict=True)
    )
    split = find_bridges([level, replace(before, successors=(3,)), replace(after, predecessors=(2,))])
    assert not split.carried[1].any() and split.carried[2][0]
    whole = find_bridges([level, over])
    assert shapely.equals_exact(split.landings(3.0, 0.2).normalize(), whole.landings(3.0, 0.2).normalize(), 1e-6)


def test_nothing_stands_in_the_way_below(scenery: Scenery) -> None:
    lane = shapely.box(-60.0, -1.7, 60.0, 1.7)
    triangles = scenery.mesh.triangles
    over_it = shapely.intersects(shapely.polygons(triangles[:, :, :2]), lane)
    z = triangles[over_it, :, 2].astype(float)
    low, high = z.min(axis=1), z.max(axis=1)
    assert ((high < 0.5) | (low > TOP - 1.5)).all(), "ground below, bridge above, nothing between"


def test_the_way_over_it_is_whole_and_smooth(scenery: Scenery) -> None:
    triangles = scenery.mesh.triangles.astype(float)
    for y in np.arange(-59.93, 60.0, 0.7):
        inside = shapely.contains_xy(shapely.polygons(triangles[:, :, :2]), 0.3, y)
        faces = triangles[inside]
        corner, u, v = faces[:, 0], faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]
        normal = np.cross(u, v)
        z = corner[:, 2] - (normal[:, 0] * (0.3 - corner[:, 0]) + normal[:, 1] * (y - corner[:, 1])) / normal[:, 2]
        road = np.clip(TOP * (120.0 - abs(y)) / 90.0, 0.0, TOP)
        assert np.isclose(z, road, atol=0.35).any() and not ((z > road + 0.35) & (z < road + 4.0)).any(), y


@pytest.mark.parametrize(("start", "height"), [(Pose2(-12.0, 0.0, 0.0), 0.0), (Pose2(0.0, -12.0, math.pi / 2.0), TOP)])
def test_who_drives_stays_on_its_own_road(crossing: LaneMap, start: Pose2, height: float) -> None:
    world = World(crossing, CAR, ALONE, 1, start)
    heights = []
    for _ in range(250):
        world.step(Command(world.stamp_ns, 0.0, 2.0))
        heights.append(world.view().ego.z)
    assert np.hypot(world.view().ego.x - start.x, world.view().ego.y - start.y) > 18.0
    assert np.allclose(heights, height)


@pytest.mark.parametrize(("height", "hits"), [(0.0, True), (TOP, False)])
def test_only_who_is_on_the_same_road_can_be_hit_or_seen(crossing: LaneMap, height: float, hits: bool) -> None:
    standing = np.zeros(1, AGENT_DTYPE)
    for name, value in {"id": 9, "z": height, "length": 4.5, "width": 1.8, "height": 1.5, "yaw": math.pi / 2.0}.items():
        standing[name] = value
    world = World(crossing, CAR, ALONE, 1, Pose2(-12.0, 0.0, 0.0), parked=standing)
    assert bool(len(Perceiver(standing, 1, Blur()).objects(world.view()))) is hits
    for _ in range(300):
        world.step(Command(world.stamp_ns, 0.0, 2.0))
    assert bool(world.infractions) is hits


def test_lanes_that_a_map_lets_cross_at_different_heights_make_no_step() -> None:
    along = np.arange(-60.0, 61.0, 2.0)
    level, lower = (np.column_stack([a, b, c]) for a, b, c in (
        (along, 0.0 * along, 0.0 * along), (0.0 * along, along, 0.0 * along - 0.67)))  # fmt: skip
    z = ground_heights(np.concatenate([level, lower]))
    assert np.abs(np.diff(z[: len(along)])).max() < 0.2, "less than one in ten"
    at_the_crossing = len(along) // 2
    assert abs(z[at_the_crossing] - z[len(along) + at_the_crossing]) < 0.01
    assert abs(z[0]) < 0.01 and abs(z[-1] + 0.67) < 0.01
    over = np.concatenate([level, np.add(lower, (0.0, 0.0, TOP))])
    assert np.abs(ground_heights(over) - over[:, 2]).max() < 1e-9
    flat = np.concatenate([level, lower * [1.0, 1.0, 0.3]])
    assert np.array_equal(ground_heights(flat), flat[:, 2])
