"""OpenDRIVE (1.4 to 1.8) -> LaneMap.

Read are: plan view (line, arc, spiral, poly3, paramPoly3), elevation, lane offsets, sections, widths
and borders, links, junctions, speeds (lane, road type, sign 274), crosswalks, CARLA's lights
(1000001) and signs (205 yield, 206 stop) with their references, and our own pick-up bays:
``parkingSpace`` objects with ``<userData code="robotaxi:stopping_place" value="name"/>`` whose origin
is base_link of a stopped car. Superelevation and lane heights are ignored.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.assemble import BayDraft, MapDraft, assemble
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.hdmap.opendrive_control import read_control
from robotaxi.hdmap.opendrive_lanes import LaneNet, build_lane_net
from robotaxi.hdmap.opendrive_roads import Road, read_road
from robotaxi.hdmap.xml_source import XmlSource

FloatArray = NDArray[np.float64]

BAY_CODE = "robotaxi:stopping_place"
FIRST_CROSSWALK, FIRST_BAY = 20001, 30001


def read_opendrive(
    path: str | Path, name: str | None = None, origin: tuple[float, float, float] | None = None
) -> LaneMap:
    """Load a .xodr file. ``origin`` overrides the file's geoReference.

    Raises MapError naming file, line, element and reason.
    """
    source = XmlSource(path, "OpenDRIVE")
    roads: dict[str, Road] = {}
    for element in source.root.findall("road"):
        road = read_road(source, element)
        if road.id in roads:
            raise source.error(element, "this id is used twice")
        roads[road.id] = road
    net = build_lane_net(source, roads)
    stop_lines, signals = read_control(source, roads, net)
    draft = MapDraft(
        name=name or source.path.stem,
        origin=origin or _origin(source),
        checksum=source.checksum,
        lanes=list(net.drafts.values()),
        stop_lines=stop_lines,
        signals=signals,
    )
    for road in roads.values():
        for item in road.objects:
            if item.get("type") == "crosswalk":
                outline = _outline(source, road, item)
                if len(outline) >= 3:
                    draft.crosswalk_polygons.append((FIRST_CROSSWALK + len(draft.crosswalk_polygons), outline))
            elif item.get("type") == "parkingSpace":
                _add_bay(source, road, item, net, draft)
    return assemble(draft)


def _origin(source: XmlSource) -> tuple[float, float, float]:
    text = source.root.findtext("header/geoReference") or ""
    found = {key: float(value) for key, value in re.findall(r"\+(lat_0|lon_0|h_0)=([-+0-9.eE]+)", text)}
    return found.get("lat_0", 0.0), found.get("lon_0", 0.0), found.get("h_0", 0.0)


def _outline(source: XmlSource, road: Road, item: ET.Element) -> FloatArray:
    """Corners (N, 3) in map of an object's outline."""
    s, t = source.number(item, "s"), source.number(item, "t")
    place, road_heading = road.point(s, t)
    heading = road_heading + source.number(item, "hdg", 0.0)
    c, sin = np.cos(heading), np.sin(heading)
    z = place[2] + source.number(item, "zOffset", 0.0)
    corners = []
    for corner in item.iter("cornerLocal"):
        u, v = source.number(corner, "u"), source.number(corner, "v")
        corners.append([place[0] + c * u - sin * v, place[1] + sin * u + c * v, z])
    for corner in item.iter("cornerRoad"):
        point, _ = road.point(source.number(corner, "s"), source.number(corner, "t"))
        corners.append(list(point))
    return np.array(corners).reshape(-1, 3)


def _add_bay(source: XmlSource, road: Road, item: ET.Element, net: LaneNet, draft: MapDraft) -> None:
    data = next((e for e in item.findall("userData") if e.get("code") == BAY_CODE), None)
    if data is None:
        return
    place, road_heading = road.point(source.number(item, "s"), source.number(item, "t"))
    yaw = float(np.arctan2(*_sin_cos(road_heading + source.number(item, "hdg", 0.0))))
    pose = (float(place[0]), float(place[1]), yaw)
    number = FIRST_BAY + len(draft.bays)
    draft.bays.append(BayDraft(number, source.text(data, "value"), pose, _outline(source, road, item)))


def _sin_cos(angle: float) -> tuple[float, float]:
    return float(np.sin(angle)), float(np.cos(angle))
