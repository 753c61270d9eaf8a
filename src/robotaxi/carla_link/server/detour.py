"""A navigation mesh as Detour reads it: one tile of convex polygons. Pure functions of arrays.

CARLA's client walks its pedestrians with Detour (zlib licence, Recast Navigation) and loads what this writes: a set
header ('MSET'), one tile header, one tile ('DNAV' version 7, 32-bit references). Axes are Detour's: x, up, CARLA's y.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray

MAX_CORNERS = 6
MAX_POLYGONS, MAX_VERTICES = 0x7FFE, 0xFFFE  # what 16-bit indices of a tile can name
_SET_MAGIC, _SET_VERSION = 0x4D534554, 1  # 'MSET'
_TILE_MAGIC, _TILE_VERSION = 0x444E4156, 7  # 'DNAV'
_NO_LINK = 0xFFFFFFFF
_AGENT = (1.8, 0.3, 0.5)  # m: height, radius and climb of who walks on it
_HIGH = 4.0  # m: a mesh is at least so high, so that flat ones have a box
_POLYGON = np.dtype(
    [("link", "<u4"), ("corners", "<u2", MAX_CORNERS), ("neighbours", "<u2", MAX_CORNERS), ("flags", "<u2"),
     ("count", "u1"), ("area", "u1")]
)  # fmt: skip
_DETAIL = np.dtype([("vertex", "<u4"), ("triangle", "<u4"), ("vertices", "u1"), ("triangles", "u1"), ("", "V2")])
_NODE = np.dtype([("low", "<u2", 3), ("high", "<u2", 3), ("index", "<i4")])
_LINK_BYTES = 12


@dataclass(frozen=True)
class NavigationMesh:
    """``vertices`` (V, 3) x, y, z in map; ``polygons`` corners of each, counter-clockwise seen from above, convex;
    ``areas`` and ``flags`` one for each."""

    vertices: FloatArray
    polygons: Sequence[tuple[int, ...]]
    areas: Sequence[int]
    flags: Sequence[int]


def encode(mesh: NavigationMesh) -> bytes:
    """The bytes of a mesh. Raises ValueError when it is empty or has more than a tile can hold."""
    count = len(mesh.polygons)
    if not 0 < count <= MAX_POLYGONS or len(mesh.vertices) > MAX_VERTICES:
        raise ValueError(f"{count} polygons with {len(mesh.vertices)} vertices do not fit into one tile")
    points = np.ascontiguousarray(mesh.vertices[:, [0, 2, 1]] * (1.0, 1.0, -1.0), "<f4")
    low, high = points.min(axis=0), points.max(axis=0)
    high[1] = max(high[1], low[1] + _HIGH)
    polygons, edges = _polygons(mesh)
    details, triangles = _details(mesh)
    quantum = 60000.0 / float((high - low).max())
    nodes = _tree(_boxes(points, mesh.polygons, low, quantum))
    head = struct.pack(
        "<5iI9i10f", _TILE_MAGIC, _TILE_VERSION, 0, 0, 0, 0, count, len(points), edges, count, 0, len(triangles),
        len(nodes), 0, count, *_AGENT, *low.tolist(), *high.tolist(), quantum,
    )  # fmt: skip
    links = bytes(_LINK_BYTES * edges)  # filled in by the reader
    parts = (head, points, polygons, links, details, triangles, nodes)
    tile = b"".join(p if isinstance(p, bytes) else p.tobytes() for p in parts)
    polygon_bits = max(1, (count - 1).bit_length())
    size = high - low
    params = struct.pack("<5f2i", *low.tolist(), float(size[0]), float(size[2]), 1, 1 << polygon_bits)
    reference = 1 << polygon_bits  # first version of tile 0
    return struct.pack("<3i", _SET_MAGIC, _SET_VERSION, 1) + params + struct.pack("<Ii", reference, len(tile)) + tile


def _polygons(mesh: NavigationMesh) -> tuple[NDArray[np.void], int]:
    """The polygons with their neighbours, and how many edges have one."""
    sides: dict[tuple[int, int], tuple[int, int]] = {}
    for number, corners in enumerate(mesh.polygons):
        for k, a in enumerate(corners):
            sides[a, corners[(k + 1) % len(corners)]] = number, k
    out = np.zeros(len(mesh.polygons), _POLYGON)
    out["link"], out["flags"], out["area"] = _NO_LINK, mesh.flags, mesh.areas
    shared = 0
    for number, corners in enumerate(mesh.polygons):
        record = out[number]
        record["count"], record["corners"][: len(corners)] = len(corners), corners
        for k, a in enumerate(corners):
            other = sides.get((corners[(k + 1) % len(corners)], a))
            if other is not None:
                record["neighbours"][k] = other[0] + 1
                shared += 1
    return out, shared


def _details(mesh: NavigationMesh) -> tuple[NDArray[np.void], NDArray[np.uint8]]:
    """Each polygon as a fan of triangles over its own corners; a triangle's last byte marks edges of the outline."""
    details = np.zeros(len(mesh.polygons), _DETAIL)
    triangles: list[tuple[int, int, int, int]] = []
    for record, corners in zip(details, mesh.polygons, strict=True):
        record["triangle"], record["triangles"] = len(triangles), len(corners) - 2
        for k in range(1, len(corners) - 1):
            outline = (k == 1) | 1 << 2 | (k == len(corners) - 2) << 4
            triangles.append((0, k, k + 1, outline))
    return details, np.array(triangles, np.uint8)


def _boxes(
    points: NDArray[np.float32], polygons: Sequence[tuple[int, ...]], low: NDArray[np.float32], quantum: float
) -> NDArray[np.int64]:
    """(N, 2, 3) quantised bounds of the polygons."""
    out = np.empty((len(polygons), 2, 3))
    for box, corners in zip(out, polygons, strict=True):
        at = points[list(corners)]
        box[0], box[1] = at.min(axis=0), at.max(axis=0)
    scaled = (out - low) * quantum
    return np.clip(np.stack([np.floor(scaled[:, 0]), np.ceil(scaled[:, 1])], axis=1), 0, 0xFFFF).astype(np.int64)


def _tree(boxes: NDArray[np.int64]) -> NDArray[np.void]:
    """A tree of bounds in depth-first order: a leaf names its polygon, any other how many nodes it holds."""
    nodes: list[tuple[NDArray[np.int64], NDArray[np.int64], int]] = []

    def add(members: NDArray[np.int64]) -> None:
        low, high = boxes[members, 0].min(axis=0), boxes[members, 1].max(axis=0)
        if len(members) == 1:
            nodes.append((low, high, int(members[0])))
            return
        here = len(nodes)
        nodes.append((low, high, 0))
        axis = int(np.argmax(high - low))
        order = members[np.argsort(boxes[members, 0, axis] + boxes[members, 1, axis], kind="stable")]
        add(order[: len(order) // 2])
        add(order[len(order) // 2 :])
        nodes[here] = (low, high, -(len(nodes) - here))

    add(np.arange(len(boxes)))
    out = np.zeros(len(nodes), _NODE)
    for record, (low, high, index) in zip(out, nodes, strict=True):
        record["low"], record["high"], record["index"] = low, high, index
    return out


def merged(
    vertices: FloatArray, triangles: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Convex polygons of up to six corners from counter-clockwise ``triangles`` (T, 3) of one group each: across the
    longest shared edges first. Second: the group of each."""
    polygons: dict[int, tuple[int, ...]] = dict(enumerate(map(tuple, triangles.tolist())))
    owner = np.arange(len(triangles)).tolist()
    sides: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, corners in polygons.items():
        for k in range(3):
            a, b = corners[k], corners[(k + 1) % 3]
            sides[min(a, b), max(a, b)].append(number)
    shared = [(a, b, *pair) for (a, b), pair in sides.items() if len(pair) == 2 and groups[pair[0]] == groups[pair[1]]]
    xy = vertices[:, :2].tolist()
    shared.sort(key=lambda e: (-np.hypot(xy[e[0]][0] - xy[e[1]][0], xy[e[0]][1] - xy[e[1]][1]), e))

    def root(number: int) -> int:
        while owner[number] != number:
            owner[number] = owner[owner[number]]
            number = owner[number]
        return number

    for a, b, i, j in shared:
        i, j = root(i), root(j)
        if i == j:
            continue
        whole = _joined(polygons[i], polygons[j], a, b)
        if len(whole) <= MAX_CORNERS and _convex(xy, whole):
            polygons[i] = whole
            del polygons[j]
            owner[j] = i
    return list(polygons.values()), [int(groups[number]) for number in polygons]


def _joined(first: tuple[int, ...], second: tuple[int, ...], a: int, b: int) -> tuple[int, ...]:
    """Two polygons that share the edge a-b as one."""
    k = first.index(a)
    if first[(k + 1) % len(first)] != b:
        k = first.index(b)
    k = (k + 1) % len(first)
    rest = first[k:] + first[:k]  # from the edge's end round to its beginning
    m = second.index(rest[-1])
    return rest + (second[m:] + second[:m])[1:-1]


def _convex(xy: list[list[float]], corners: tuple[int, ...]) -> bool:
    count = len(corners)
    if len(set(corners)) != count:
        return False
    for k in range(count):
        (ax, ay), (bx, by), (cx, cy) = (xy[corners[(k + n) % count]] for n in range(3))
        if (bx - ax) * (cy - ay) - (cx - ax) * (by - ay) < 1e-6:
            return False
    return True
