"""The mesh for CARLA's pedestrians: its polygons and the bytes that Detour reads."""

import struct

import numpy as np
import pytest

pytest.importorskip("msgpack", reason="the extra 'carla' is not installed")

from robotaxi.carla_link.server.detour import NavigationMesh, encode, merged
from robotaxi.carla_link.server.navigation import Area, navigation_mesh
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.view import AGENT_DTYPE

SQUARE = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.5, 0.0]])
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [1, 4, 2]])
HEAD, TILE = 40 + 8, 100


def test_triangles_of_one_group_become_convex_polygons() -> None:
    polygons, groups = merged(SQUARE, TRIANGLES, np.array([1, 1, 1]))
    assert len(polygons) == 1 and set(polygons[0]) == {0, 1, 2, 3, 4} and groups == [1]
    polygons, groups = merged(SQUARE, TRIANGLES, np.array([1, 1, 2]))
    assert sorted(len(p) for p in polygons) == [3, 4] and groups == [1, 2]
    dented = SQUARE.copy()
    dented[2] = 0.3, 0.3, 0.0
    assert len(merged(dented, TRIANGLES[:2], np.array([1, 1]))[0]) == 2


def test_bytes_hold_polygons_with_their_neighbours_and_a_tree() -> None:
    data = encode(NavigationMesh(SQUARE, [(0, 1, 2, 3), (1, 4, 2)], [Area.PAVEMENT, Area.ROAD], [2, 8]))
    magic, version, tiles = struct.unpack_from("<3i", data)
    assert magic == int.from_bytes(b"MSET", "big") and (version, tiles) == (1, 1)
    reference, size = struct.unpack_from("<Ii", data, HEAD - 8)
    assert reference and size == len(data) - HEAD
    fields = struct.unpack_from("<5iI9i", data, HEAD)
    assert fields[0] == int.from_bytes(b"DNAV", "big") and fields[6:9] == (2, 5, 2) and fields[12] == 3
    points = np.frombuffer(data, "<f4", 15, HEAD + TILE).reshape(5, 3)
    np.testing.assert_allclose(points[4], [2.0, 0.0, -0.5])  # x, up, CARLA's y
    link, *rest = struct.unpack_from("<I6H6H2H", data, HEAD + TILE + 60)[:14]
    assert link == 0xFFFFFFFF and rest[:4] == [0, 1, 2, 3] and rest[6:10] == [0, 2, 0, 0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="0 polygons"):
        encode(NavigationMesh(SQUARE, [], [], []))


@pytest.mark.parametrize("name", ["town"])
def test_a_towns_mesh_joins_pavements_by_its_crosswalks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[NavigationMesh] = []

    def keep(mesh: NavigationMesh) -> bytes:
        kept.append(mesh)
        return b"mesh"

    monkeypatch.setattr("robotaxi.carla_link.server.navigation.encode", keep)
    assert navigation_mesh(load_map(name), None, np.zeros(0, AGENT_DTYPE)) == b"mesh"
    mesh = kept[0]
    sides = {(a, b): k for k, p in enumerate(mesh.polygons) for a, b in zip(p, p[1:] + p[:1], strict=True)}
    areas = np.array(mesh.areas)
    touching = {
        k: {areas[sides[b, a]] for a, b in zip(p, p[1:] + p[:1], strict=True) if (b, a) in sides}
        for k, p in enumerate(mesh.polygons)
    }
    crosswalks = np.flatnonzero(areas == Area.CROSSWALK)
    assert len(crosswalks) >= 20
    assert sum(Area.PAVEMENT in touching[k] for k in crosswalks.tolist()) >= 20


def test_a_map_without_lanes_has_no_mesh_to_walk_on() -> None:
    from robotaxi.hdmap.lane_map import MapError

    with pytest.raises(MapError, match="no lanes"):
        navigation_mesh(LaneMap("empty", (0.0, 0.0, 0.0), {}), None, np.zeros(0, AGENT_DTYPE))
