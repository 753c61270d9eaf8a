"""A localization map on disk: tiles of points with their planes, read as the car goes.

A folder with `pointcloud_map_metadata.yaml` as Autoware's map loader reads it, one binary PCD a tile (x y z
normal_x normal_y normal_z curvature, float32, map frame; every point lies on its plane; curvature 1 marks
points without one), and `map.yaml` with origin, version, and the checksum of each tile.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from robotaxi.localization.point_map import PLANE, SCATTER, PointMap
from robotaxi.types import FloatArray

VERSION = 1
METADATA, OWN = "pointcloud_map_metadata.yaml", "map.yaml"
_FIELDS = ("x", "y", "z", "normal_x", "normal_y", "normal_z", "curvature")
_NEAR = 0.5  # share of the reach within which tiles are loaded at once
_DTYPE = np.dtype([(name, "<f4") for name in _FIELDS])


class LocalizationMapError(ValueError):
    """A map or tile that cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class MapInfo:
    """``tiles``: (column, row) -> file and sha256; ``origin`` as of the lane map that it belongs to."""

    folder: Path
    tile_size: float
    voxel_size: float
    spacing: float
    origin: tuple[float, float, float]
    tiles: dict[tuple[int, int], tuple[str, str]]
    drives: list[str] = field(default_factory=list)

    def check_origin(self, origin: tuple[float, float, float]) -> None:
        """LocalizationMapError unless the lane map has the same origin: else the two lie apart."""
        apart = max(abs(a - b) for a, b in zip(self.origin[:2], origin[:2], strict=True))
        if apart > 1e-7:
            raise LocalizationMapError(
                f"{self.folder / OWN}: origin is {self.origin[0]:.6f}, {self.origin[1]:.6f}, the lane map's is "
                f"{origin[0]:.6f}, {origin[1]:.6f}: it is a map of another place"
            )


def write_map(
    folder: str | Path,
    points: FloatArray,
    plane: FloatArray,
    kind: NDArray[np.int8],
    origin: tuple[float, float, float],
    tile_size: float,
    voxel_size: float,
    spacing: float,
    drives: list[str],
) -> MapInfo:
    """Write points (N, 3) with planes (N, 4) and kinds (N,) as tiles. The metadata comes last, whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    offset = np.einsum("ij,ij->i", plane[:, :3], points) - plane[:, 3]
    flat = kind == PLANE
    points = points - np.where(flat, offset, 0.0)[:, None] * plane[:, :3]
    cell = np.floor(points[:, :2] / tile_size).astype(np.int64)
    order = np.lexsort((points[:, 2], points[:, 1], points[:, 0], cell[:, 1], cell[:, 0]))
    tiles: dict[tuple[int, int], tuple[str, str]] = {}
    metadata: dict[str, Any] = {"x_resolution": float(tile_size), "y_resolution": float(tile_size)}
    edges = np.flatnonzero(np.any(np.diff(cell[order], axis=0), axis=1)) + 1
    for part in np.split(order, edges) if len(order) else ():
        ix, iy = (int(v) for v in cell[part[0]])
        records = np.zeros(len(part), _DTYPE)
        for k, name in enumerate("xyz"):
            records[name] = points[part, k]
            records[f"normal_{name}"] = np.where(flat[part], plane[part, k], 0.0)
        records["curvature"] = np.where(flat[part], 0.0, 1.0)  # map points without a plane: foliage, poles
        name = f"tile_{ix}_{iy}.pcd"
        content = _pcd(records)
        (folder / name).write_bytes(content)
        tiles[ix, iy] = name, hashlib.sha256(content).hexdigest()
        metadata[name] = [ix * float(tile_size), iy * float(tile_size)]
    own = {
        "version": VERSION, "tile_size": float(tile_size), "voxel_size": float(voxel_size), "spacing": float(spacing),
        "origin": [float(v) for v in origin], "points": len(points), "drives": drives,
        "tiles": {name: {"cell": list(c), "sha256": digest} for c, (name, digest) in tiles.items()},
    }  # fmt: skip
    for name, document in ((METADATA, metadata), (OWN, own)):
        partial = folder / (name + ".partial")
        partial.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        partial.replace(folder / name)
    return read_info(folder)


def read_info(folder: str | Path) -> MapInfo:
    """What the map's own YAML says. LocalizationMapError names the file, the key and the cure."""
    folder = Path(folder)
    path = folder / OWN
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = getattr(error, "strerror", None) or "not valid YAML"
        raise LocalizationMapError(f"{path}: cannot be read: {why}; make a map with 'robotaxi map build'") from error
    try:
        if document["version"] != VERSION:
            raise LocalizationMapError(f"{path}: version {document['version']}, expected {VERSION}; build it again")
        tile_size, voxel_size, spacing = (float(document[key]) for key in ("tile_size", "voxel_size", "spacing"))
        latitude, longitude, altitude = (float(v) for v in document["origin"])
        tiles = {
            (int(entry["cell"][0]), int(entry["cell"][1])): (str(name), str(entry["sha256"]))
            for name, entry in document["tiles"].items()
        }
        drives = [str(d) for d in document.get("drives", [])]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, LocalizationMapError):
            raise
        raise LocalizationMapError(f"{path}: is no localization map: {error!r}; build it again") from error
    sizes, origin = (tile_size, voxel_size, spacing), (latitude, longitude, altitude)
    if not all(map(math.isfinite, (*sizes, *origin))) or min(sizes) <= 0.0:
        raise LocalizationMapError(f"{path}: sizes and origin must be finite numbers; build it again")
    return MapInfo(folder, tile_size, voxel_size, spacing, origin, tiles, drives)


def read_tile(info: MapInfo, cell: tuple[int, int]) -> tuple[FloatArray, FloatArray, NDArray[np.int8]]:
    """Points (N, 3), planes (N, 4) and kinds (N,). LocalizationMapError for a missing or changed file."""
    name, digest = info.tiles[cell]
    path = info.folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LocalizationMapError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise LocalizationMapError(f"{path}: is not the file that was written (checksum differs)")
    end = content.index(b"DATA binary\n") + len(b"DATA binary\n")
    records = np.frombuffer(content, _DTYPE, offset=end)
    points = np.stack([records[n] for n in "xyz"], axis=1).astype(np.float64)
    normal = np.stack([records[f"normal_{n}"] for n in "xyz"], axis=1).astype(np.float64)
    plane = np.concatenate([normal, np.einsum("ij,ij->i", normal, points)[:, None]], axis=1)
    kind = np.where(records["curvature"] < 0.5, PLANE, SCATTER).astype(np.int8)
    return points, plane, kind


def _pcd(records: NDArray[np.void]) -> bytes:
    n, count = len(records), len(_FIELDS)
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", "FIELDS " + " ".join(_FIELDS),
        "SIZE" + " 4" * count, "TYPE" + " F" * count, "COUNT" + " 1" * count, f"WIDTH {n}", "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {n}", "DATA binary",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode("ascii") + records.tobytes()


_Tile = tuple[FloatArray, FloatArray, NDArray[np.int8]]


class TileCache:
    """The tiles around the car as one `PointMap`. ``faults``: tiles that could not be read, with the reason.

    Work is spread over the sweeps: a call loads what is near at once, and of what is farther off one tile. Forgetting
    builds the next map beside the one in use, tile by tile, and then changes over.
    """

    def __init__(self, info: MapInfo, reach: float, per_voxel: int = 20) -> None:
        self._info, self._reach, self._per_voxel = info, reach, per_voxel
        self._loaded: dict[tuple[int, int], _Tile] = {}
        self.faults: dict[tuple[int, int], str] = {}
        self.points = self._empty()
        self._next: PointMap | None = None
        self._moved: dict[tuple[int, int], None] = {}  # tiles that the next map holds

    def around(self, x: float, y: float) -> int:
        """Load what is within reach of (x, y), forget what is far from it. Returns the tiles held."""
        size, reach = self._info.tile_size, self._reach
        known = self._loaded.keys() | self.faults.keys()
        wanted = sorted((self._distance(c, x, y), c) for c in self._cells(x, y, reach) if c not in known)
        for n, (distance, cell) in enumerate(wanted):
            if distance > _NEAR * reach and n > 0:
                break
            self._load(cell)
        if not wanted:
            self._forget([c for c in self._loaded if self._distance(c, x, y) > reach + size])
        return len(self._loaded)

    def _forget(self, stale: list[tuple[int, int]]) -> None:
        """One step towards a map without the ``stale`` tiles."""
        if not stale:
            self._next, self._moved = None, {}
            return
        if self._next is None:
            self._next, self._moved = self._empty(), {}
        missing = [c for c in self._loaded if c not in self._moved and c not in stale]
        if missing:
            self._next.insert(*self._loaded[missing[0]])
            self._moved[missing[0]] = None
            return
        for cell in stale:
            del self._loaded[cell]
        if any(cell not in self._loaded for cell in self._moved):  # the car has turned round meanwhile
            self._next, self._moved = None, {}
            self.points = self._empty()
            for tile in self._loaded.values():
                self.points.insert(*tile)
            return
        self.points, self._next, self._moved = self._next, None, {}

    def _empty(self) -> PointMap:
        return PointMap(self._info.voxel_size, self._per_voxel, 0.0, self._info.voxel_size, capacity=1 << 15)

    def _cells(self, x: float, y: float, reach: float) -> list[tuple[int, int]]:
        size = self._info.tile_size
        low = math.floor((x - reach) / size), math.floor((y - reach) / size)
        high = math.floor((x + reach) / size), math.floor((y + reach) / size)
        cells = [(i, j) for i in range(low[0], high[0] + 1) for j in range(low[1], high[1] + 1)]
        return [c for c in cells if c in self._info.tiles and self._distance(c, x, y) <= reach]

    def _distance(self, cell: tuple[int, int], x: float, y: float) -> float:
        size = self._info.tile_size
        dx = max(cell[0] * size - x, 0.0, x - (cell[0] + 1) * size)
        dy = max(cell[1] * size - y, 0.0, y - (cell[1] + 1) * size)
        return math.hypot(dx, dy)

    def _load(self, cell: tuple[int, int]) -> None:
        try:
            tile = read_tile(self._info, cell)
        except (LocalizationMapError, ValueError) as error:
            self.faults[cell] = str(error)
            return
        self.points.insert(*tile)
        self._loaded[cell] = tile
