"""Scenery: the same for every ride, and never in the way of traffic."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from sim_scenery_map import crossing_map

from robotaxi.hdmap.lane_map import LaneMap, MapError
from robotaxi.sim.mesh import Material, box, normals
from robotaxi.sim.scenery import Scenery, SceneryConfig, build_scenery
from robotaxi.sim.scenery.layout import lane_polygon


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    return build_scenery(crossing_map())


def _outlines(boxes: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(boxes["yaw"]), np.sin(boxes["yaw"])
    rings = []
    for u, v in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
        along, across = u * boxes["length"], v * boxes["width"]
        rings.append(np.stack([boxes["x"] + along * cos - across * sin, boxes["y"] + along * sin + across * cos], 1))
    return shapely.polygons(np.stack(rings, axis=1))


def test_same_map_gives_the_same_bytes(scenery: Scenery) -> None:
    again = build_scenery(crossing_map())
    assert again.mesh.triangles.tobytes() == scenery.mesh.triangles.tobytes()
    assert again.obstacles.tobytes() == scenery.obstacles.tobytes()
    assert again.parked.tobytes() == scenery.parked.tobytes()
    assert again.shadows.shade.tobytes() == scenery.shadows.shade.tobytes()


def test_another_seed_gives_another_town(scenery: Scenery) -> None:
    other = build_scenery(crossing_map(), SceneryConfig(seed=8))
    assert other.obstacles.tobytes() != scenery.obstacles.tobytes()


def test_nothing_stands_on_a_lane_a_bay_or_a_crosswalk(scenery: Scenery) -> None:
    lane_map = crossing_map()
    regions = [lane_polygon(lane) for lane in lane_map.lanes.values()]
    regions += [shapely.Polygon(p.polygon[:, :2]) for p in lane_map.stopping_places.values()]
    regions += [shapely.Polygon(c.polygon[:, :2]) for c in lane_map.crosswalks.values()]
    gap = shapely.distance(shapely.union_all(regions), _outlines(scenery.obstacles))
    assert gap.min() >= 0.5
    buildings = scenery.obstacles["kind"] == "building"
    assert gap[buildings].min() > 4.0


def test_every_kind_of_thing_is_there(scenery: Scenery) -> None:
    assert {"building", "tree", "lamp", "mast", "parked"} <= set(scenery.obstacles["kind"].tolist())
    needed = {Material.ROAD, Material.MARKING, Material.PAVEMENT, Material.KERB, Material.GRASS, Material.HOUSING}
    assert needed <= set(scenery.mesh.material.tolist())
    assert np.unique(scenery.parked["id"]).size == len(scenery.parked) > 5
    assert set(scenery.parked["id"].tolist()) | {0} == set(scenery.instance.tolist())


def test_each_signal_has_its_own_mast_beside_the_road(scenery: Scenery) -> None:
    assert scenery.placement.masts["signal_id"].tolist() == [200, 201, 202, 203]


def test_ground_is_watertight_and_level_with_the_lanes(scenery: Scenery) -> None:
    """The road's triangles cover each lane without gap or overlap and lie at the lane's height."""
    road = scenery.mesh.triangles[scenery.mesh.material == Material.ROAD]
    assert np.abs(road[:, :, 2]).max() == 0.0
    area = 0.5 * np.abs(np.cross(road[:, 1] - road[:, 0], road[:, 2] - road[:, 0])[:, 2]).sum()
    assert area == pytest.approx(scenery.layout.surface.area, rel=1e-3)
    assert shapely.difference(scenery.layout.drivable, scenery.layout.surface).area < 1e-6
    up = normals(road)[:, 2]
    assert up.min() > 0.99


def test_box_faces_outwards() -> None:
    triangles = box((-1.0, 1.0), (-2.0, 2.0), (0.0, 3.0))
    outward = triangles.mean(axis=1) - np.array([0.0, 0.0, 1.5])
    assert (np.einsum("ij,ij->i", normals(triangles), outward) > 0.0).all()


def test_a_map_with_one_lane_and_nothing_else_works() -> None:
    lane = crossing_map().lanes[1]
    small = build_scenery(LaneMap("one", (0.0, 0.0, 0.0), {1: lane}))
    assert len(small.mesh) > 0 and small.signals == ()


def test_hilly_road_lies_on_its_lane() -> None:
    lane_map = crossing_map()
    lift = lambda points: points + np.outer(0.05 * points[:, 0], [0.0, 0.0, 1.0])  # noqa: E731
    lanes = {
        i: type(lane)(**{**lane.__dict__, "centerline": lift(lane.centerline), "left": lift(lane.left),
                         "right": lift(lane.right)})
        for i, lane in lane_map.lanes.items()
    }  # fmt: skip
    road = build_scenery(LaneMap("hill", lane_map.origin, lanes)).mesh
    corners = road.triangles[road.material == Material.ROAD].reshape(-1, 3)
    assert np.abs(corners[:, 2] - 0.05 * corners[:, 0]).max() < 0.3


def test_a_map_without_lanes_is_refused() -> None:
    with pytest.raises(MapError, match="no lanes"):
        build_scenery(LaneMap("empty", (0.0, 0.0, 0.0), {}))
