"""Named places for the desk: from a file, or from the stopping places of a map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from robotaxi.dispatch.messages import DATUM, Place, Position
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.params import ParameterError, load_yaml


def load_places(path: Path) -> dict[str, Place]:
    """Read ``{"name": {"lat": .., "lon": .., "heading_deg": ..}}`` from a JSON or YAML file.

    Raises ParameterError naming file and place.
    """
    values = load_yaml(path)
    if not isinstance(values, Mapping):
        raise ParameterError(f"{path}: expected 'name: {{lat: .., lon: ..}}' lines")
    places = {}
    for name, value in values.items():
        try:
            position = Position(datum=DATUM, lat=float(value["lat"]), lon=float(value["lon"]))
            heading = value.get("heading_deg")
            heading_deg = None if heading is None else float(heading)
            places[str(name)] = Place(position=position, heading_deg=heading_deg, name=str(name))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ParameterError(f"{path}: place {name!r}: needs lat and lon in degrees ({error})") from error
    return places


def places_of_map(lane_map: LaneMap) -> dict[str, dict[str, float]]:
    """The map's stopping places by name, as `load_places` reads them from a JSON file."""
    frame = LocalFrame(*lane_map.origin)
    places = {}
    for stopping_place in lane_map.stopping_places.values():
        x, y, yaw = stopping_place.pose
        lat, lon, _ = frame.to_geodetic(x, y)
        heading = (90.0 - math.degrees(yaw)) % 360.0
        places[stopping_place.name] = {"lat": lat, "lon": lon, "heading_deg": heading}
    return places
