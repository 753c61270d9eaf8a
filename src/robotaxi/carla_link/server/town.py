"""One town of the server: its OpenDRIVE text, the lanes read from it, where cars start, what the ground is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from robotaxi.carla_link.server.signs import Sign, read_signs
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap, MapError
from robotaxi.params import load_yaml
from robotaxi.resources import config_dir
from robotaxi.types import FloatArray

_SPAWN_SPACING = 20.0  # m between two spawn points of one lane
_SPAWN_ROOM = 8.0  # m from a spawn point to the ends of its lane
_SPAWN_LIFT = 0.3  # m above the ground
_GROUND_REACH = 40.0  # m within which the nearest lane gives the height of the ground
_ZONE_REACH = 60.0  # m before a stop line that belong to it
_ZONE_ASIDE = 2.0  # m from the centre line
_MERCATOR_RADIUS = 6378137.0 * 0.9996  # m: the client's sphere and scale, whatever the file says
_DEFAULT_REFERENCE = (42.0, 2.0)  # deg, the client's where the file has none
_DEFAULT_LIMIT = 30.0  # km/h off the roads, as in CARLA


@dataclass(frozen=True)
class SpawnPoint:
    x: float
    y: float
    z: float
    yaw: float


class Town:
    """Immutable. ``name`` is the file's, as a client sees it."""

    def __init__(self, name: str, opendrive: str, lane_map: LaneMap, signs: list[Sign]) -> None:
        self.name, self.opendrive, self.lane_map, self.signs = name, opendrive, lane_map, signs
        lanes = [lane_map.lanes[i] for i in sorted(lane_map.lanes)]
        if not lanes:
            raise MapError(f"map '{name}' has no drivable lanes")
        self._samples = np.concatenate([lane.centerline for lane in lanes])
        self._limits = np.concatenate([np.full(len(lane.centerline), lane.speed_limit * 3.6) for lane in lanes])
        self._tree = cKDTree(self._samples[:, :2])
        self.spawn_points = _spawn_points(lane_map)
        self._find_zones()
        self.latitude_deg, self.longitude_deg = _reference(opendrive)

    def ground(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Height (N,) and speed limit (N,) km/h at points (N, 2)."""
        distance, nearest = self._tree.query(points, distance_upper_bound=_GROUND_REACH)
        inside = np.isfinite(distance)
        nearest = np.where(inside, nearest, 0)
        height = np.where(inside, self._samples[nearest, 2], 0.0)
        return height, np.where(inside, self._limits[nearest], _DEFAULT_LIMIT)

    def lights_ahead(self, x: FloatArray, y: FloatArray, yaw: FloatArray, speed: FloatArray) -> NDArray[np.int64]:
        """Signal id (N,) whose stop line each car is about to cross; -1 for none."""
        out = np.full(len(x), -1, np.int64)
        if self._zone_tree is None or not len(x):
            return out
        distance, nearest = self._zone_tree.query(np.stack([x, y], axis=1), distance_upper_bound=_ZONE_ASIDE)
        found = np.flatnonzero(np.isfinite(distance))
        for k in found.tolist():
            sample = self._zones[int(nearest[k])]
            if sample["left"] < 8.0 + speed[k] ** 2 / 10.0 and math.cos(sample["yaw"] - yaw[k]) > 0.5:
                out[k] = sample["signal"]
        return out

    def geodetic(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Latitude, longitude (deg) and altitude of a point in ``map``, as the client's own
        `Map.transform_to_geolocation` has them: a transverse Mercator on a sphere, fed with CARLA's y."""
        across, along = x / _MERCATOR_RADIUS, -y / _MERCATOR_RADIUS + math.radians(self.latitude_deg)
        latitude = math.asin(math.sin(along) / math.cosh(across))
        longitude = math.atan2(math.sinh(across), math.cos(along))
        return math.degrees(latitude), self.longitude_deg + math.degrees(longitude), z

    def _find_zones(self) -> None:
        rows = []
        for _, line in sorted(self.lane_map.stop_lines.items()):
            if line.kind != "signal" or not line.signal_ids:
                continue
            for lane_id in line.lane_ids:
                lane = self.lane_map.lanes[lane_id]
                left = lane.s[-1] - lane.s
                ahead = np.diff(lane.centerline[:, :2], axis=0)
                yaw = np.arctan2(ahead[:, 1], ahead[:, 0])
                for k in np.flatnonzero(left[:-1] < _ZONE_REACH).tolist():
                    rows.append((*lane.centerline[k, :2], left[k], yaw[k], line.signal_ids[0]))
        kind = [("x", "<f8"), ("y", "<f8"), ("left", "<f8"), ("yaw", "<f8"), ("signal", "<i8")]
        self._zones = np.array(rows, kind)
        self._zone_tree = cKDTree(np.stack([self._zones["x"], self._zones["y"]], axis=1)) if rows else None


def load_town(name_or_path: str) -> Town:
    """By the name of a map in ``config/maps`` or the path of a .xodr file. Raises MapError."""
    path = Path(name_or_path)
    if path.suffix != ".xodr":
        description = config_dir() / "maps" / name_or_path / "map.yaml"
        if not description.is_file():
            raise MapError(f"'{name_or_path}' is neither a map in {config_dir() / 'maps'} nor an OpenDRIVE .xodr file")
        entry = load_yaml(description)
        file = entry.get("opendrive") if isinstance(entry, dict) else None
        if not isinstance(file, str):
            raise MapError(f"{description}: this map has no 'opendrive' file, which a CARLA server needs")
        path = description.parent / file
    lane_map = load_map(path)
    return Town(path.stem, path.read_text(encoding="utf-8", errors="replace"), lane_map, read_signs(path))


def _spawn_points(lane_map: LaneMap) -> list[SpawnPoint]:
    """Along the lanes outside junctions, evenly."""
    out = []
    for lane_id, lane in sorted(lane_map.lanes.items()):
        room = lane.length - 2.0 * _SPAWN_ROOM
        if lane.junction_id is not None or room < 0.0:
            continue
        count = int(room // _SPAWN_SPACING) + 1
        for s in np.linspace(_SPAWN_ROOM, lane.length - _SPAWN_ROOM, count) if count > 1 else [lane.length / 2.0]:
            x, y, z = lane_map.lane_point(lane_id, float(s)).tolist()
            out.append(SpawnPoint(x, y, z + _SPAWN_LIFT, lane_map.lane_yaw(lane_id, float(s))))
    return out


def _reference(opendrive: str) -> tuple[float, float]:
    found = re.search(r"<geoReference>(.*?)</geoReference>", opendrive, re.DOTALL)
    text = found.group(1) if found else ""
    values = [re.search(rf"\+{key}=([-+0-9.eE]+)", text) for key in ("lat_0", "lon_0")]
    if values[0] is None or values[1] is None:
        return _DEFAULT_REFERENCE
    latitude, longitude = float(values[0].group(1)), float(values[1].group(1))
    return (latitude, longitude) if abs(latitude) < 90.0 else _DEFAULT_REFERENCE
