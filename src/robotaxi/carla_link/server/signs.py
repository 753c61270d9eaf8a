"""Signs of an OpenDRIVE file as CARLA has them: actors that stand beside the road and watch the lane before them."""

from __future__ import annotations

import logging
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from robotaxi.carla_link.frames import planar
from robotaxi.hdmap.lane_map import MapError
from robotaxi.hdmap.opendrive_roads import SPEED_UNITS, Road, read_road
from robotaxi.hdmap.xml_source import XmlSource
from robotaxi.types import FloatArray

LOG = logging.getLogger("robotaxi.carla_server")
_KINDS = {"206": "traffic.stop", "205": "traffic.yield"}
_LIMIT = "274"
_WATCHED = (3.0, 1.5, 1.0)  # m: half length across the lane, half depth along it, half height of the watched box


@dataclass(frozen=True)
class Sign:
    """``id``: of the signal in the file. ``T`` (4x4): in map, x to the right of the traffic that it is for.
    ``watched``: middle of the watched box in the sign's own frame."""

    id: str
    kind: str
    T: FloatArray
    watched: tuple[float, float, float]
    extent: tuple[float, float, float] = _WATCHED


def read_signs(path: Path) -> list[Sign]:
    """Stop, yield and speed limit signs of a file, in its order; one that says not where it stands is left out.

    Raises MapError for a file or a road that cannot be read.
    """
    source = XmlSource(path, "OpenDRIVE")
    signs = []
    for element in source.root.findall("road"):
        wanted = [e for e in element.iter("signal") if _kind(e)]
        if wanted:
            road = read_road(source, element)
            for sign in wanted:
                try:
                    signs.append(_sign(source, road, sign))
                except MapError as error:
                    LOG.warning("left out: %s", error)
    return signs


def _kind(element: ET.Element) -> str | None:
    kind = element.get("type", "")
    if kind != _LIMIT:
        return _KINDS.get(kind)
    try:
        value = float(element.get("value", ""))
    except ValueError:
        return None
    kmh = value * SPEED_UNITS.get(element.get("unit", "km/h"), 1.0 / 3.6) * 3.6
    return f"traffic.speed_limit.{round(kmh)}" if 0.0 < kmh < 1000.0 else None


def _sign(source: XmlSource, road: Road, element: ET.Element) -> Sign:
    s, t = source.number(element, "s"), source.number(element, "t")
    place, heading = road.point(s, t)
    x, y, z = place.tolist()
    ahead = heading if element.get("orientation", "+") != "-" else heading + math.pi
    T = planar(x, y, z + source.number(element, "zOffset", 0.0), ahead - math.pi / 2.0)
    # the lane lies between the sign and the middle of its road
    aside = max(min(0.5 * t, 3.0), -3.0)
    middle, _ = road.point(s, aside)
    watched = T[:3, :3].T @ (middle - T[:3, 3])
    return Sign(
        source.text(element, "id"), str(_kind(element)), T, (float(watched[0]), float(watched[1]), float(watched[2]))
    )
