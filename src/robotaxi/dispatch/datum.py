"""WGS 84 <-> GCJ-02, the datum of Chinese map and ride-hailing platforms. Used at the dispatch edge, nowhere else.

GCJ-02 shifts WGS 84 by up to about 700 m with a fixed, published-by-use polynomial and sine series on the
Krasovsky ellipsoid. The shift is smooth, so the way back converges by fixed-point iteration to well below a
millimetre. Outside the mainland's bounding box both datums are the same, as platforms treat it.
"""

from __future__ import annotations

import math
from typing import Any

from robotaxi.dispatch.messages import GCJ02, WGS84, Datum, Position

SEMI_MAJOR = 6378245.0  # m, Krasovsky 1940
ECCENTRICITY_2 = 0.00669342162296594323
ITERATIONS = 12  # the shift changes by at most about 1e-3 a metre: each brings three more digits


def inside_gcj02(lat: float, lon: float) -> bool:
    """Where GCJ-02 differs from WGS 84 by convention."""
    return 72.004 <= lon <= 137.8347 and 0.8293 <= lat <= 55.8271


def gcj02_from_wgs84(lat: float, lon: float) -> tuple[float, float]:
    """Degrees to degrees."""
    if not inside_gcj02(lat, lon):
        return lat, lon
    d_lat, d_lon = _shift(lat, lon)
    return lat + d_lat, lon + d_lon


def wgs84_from_gcj02(lat: float, lon: float) -> tuple[float, float]:
    """Degrees to degrees; the inverse of `gcj02_from_wgs84` to well below a millimetre."""
    if not inside_gcj02(lat, lon):
        return lat, lon
    wgs_lat, wgs_lon = lat, lon
    for _ in range(ITERATIONS):
        d_lat, d_lon = _shift(wgs_lat, wgs_lon)
        wgs_lat, wgs_lon = lat - d_lat, lon - d_lon
    return wgs_lat, wgs_lon


def position_as(position: Position, datum: Datum) -> Position:
    """The same place in ``datum``."""
    if position.datum == datum:
        return position
    convert = gcj02_from_wgs84 if datum == GCJ02 else wgs84_from_gcj02
    lat, lon = convert(position.lat, position.lon)
    return Position(datum=datum, lat=lat, lon=lon, alt=position.alt)


def as_wgs84(position: Position) -> Position:
    return position_as(position, WGS84)


def told_in_wgs84(told: Any) -> Any:
    """A message body as JSON has it, with every position, and a state's trajectory, in WGS 84."""
    if isinstance(told, list):
        return [told_in_wgs84(part) for part in told]
    if not isinstance(told, dict):
        return told
    if {"datum", "lat", "lon"} <= told.keys():
        position = as_wgs84(Position(datum=told["datum"], lat=told["lat"], lon=told["lon"]))
        return {**told, "datum": position.datum, "lat": position.lat, "lon": position.lon}
    parts = {name: told_in_wgs84(part) for name, part in told.items()}
    if told.get("trajectory") and (told.get("position") or {}).get("datum") == GCJ02:
        parts["trajectory"] = [list(wgs84_from_gcj02(lat, lon)) for lat, lon in told["trajectory"]]
    return parts


def _shift(lat: float, lon: float) -> tuple[float, float]:
    """(latitude, longitude) degrees to add to WGS 84."""
    x, y = lon - 105.0, lat - 35.0
    root = math.sqrt(abs(x))
    common = (20.0 * math.sin(6.0 * x * math.pi) + 20.0 * math.sin(2.0 * x * math.pi)) * 2.0 / 3.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + common
    north += (20.0 * math.sin(y * math.pi) + 40.0 * math.sin(y / 3.0 * math.pi)) * 2.0 / 3.0
    north += (160.0 * math.sin(y / 12.0 * math.pi) + 320.0 * math.sin(y * math.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + common
    east += (20.0 * math.sin(x * math.pi) + 40.0 * math.sin(x / 3.0 * math.pi)) * 2.0 / 3.0
    east += (150.0 * math.sin(x / 12.0 * math.pi) + 300.0 * math.sin(x / 30.0 * math.pi)) * 2.0 / 3.0
    latitude = math.radians(lat)
    w = 1.0 - ECCENTRICITY_2 * math.sin(latitude) ** 2
    meridian = SEMI_MAJOR * (1.0 - ECCENTRICITY_2) / (w * math.sqrt(w))
    parallel = SEMI_MAJOR / math.sqrt(w) * math.cos(latitude)
    return math.degrees(north / meridian), math.degrees(east / parallel)
