"""Positions of OpenSCENARIO as poses in the map."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robotaxi.evaluation.scenarios.openscenario.document import Document
from robotaxi.evaluation.scenarios.ways import along_lanes, beside, pose_on
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.hdmap.opendrive_roads import Road, Section, cubic, read_road
from robotaxi.hdmap.xml_source import XmlSource
from robotaxi.types import Pose2

POSITIONS = ("WorldPosition", "LanePosition", "RoadPosition", "RelativeLanePosition", "RelativeWorldPosition",
             "RelativeObjectPosition")  # fmt: skip


@dataclass
class Places:
    """``roads``: of an OpenDRIVE map by id, {} for other maps; ``entities``: poses known so far; ``mirrored``: the
    file counts y to the right, as CARLA does."""

    lane_map: LaneMap
    roads: Mapping[str, Road]
    mirrored: bool = False
    entities: dict[str, Pose2] = field(default_factory=dict)

    def pose(self, document: Document, parent: ET.Element) -> Pose2:
        """The pose that the position below ``parent`` means. Raises MapError."""
        element = document.only_child(parent)
        if element.tag == "WorldPosition":
            sign = -1.0 if self.mirrored else 1.0
            x, y = document.number(element, "x"), document.number(element, "y")
            return Pose2(x, sign * y, sign * document.number(element, "h", 0.0))
        if element.tag in ("LanePosition", "RoadPosition"):
            return self._on_road(document, element)
        if element.tag == "RelativeLanePosition":
            return self._beside(document, element)
        if element.tag in ("RelativeWorldPosition", "RelativeObjectPosition"):
            return self._from(document, element)
        raise document.unknown(element, POSITIONS)

    def _on_road(self, document: Document, element: ET.Element) -> Pose2:
        key, s = document.text(element, "roadId"), document.number(element, "s")
        if not self.roads:
            raise document.error(element, "needs an OpenDRIVE map as LogicFile; or give it as WorldPosition")
        road = self.roads.get(key)
        if road is None:
            raise document.error(element, f"the map has no road '{key}'")
        if not 0.0 <= s <= road.length + 0.01:
            raise document.error(element, f"s={s:g} is not on road '{key}', which is {road.length:.1f} m long")
        turn, t = 0.0, 0.0
        if element.tag == "LanePosition":
            lane = document.text(element, "laneId")
            section = _section(road, s)
            if not lane.lstrip("-").isdigit() or int(lane) not in section.lanes:
                known = ", ".join(str(k) for k in sorted(section.lanes))
                raise document.error(element, f"road '{key}' has no lane '{lane}' at s={s:g}; it has {known}")
            t = _middle(road, section, int(lane), s) + document.number(element, "offset", 0.0)
            turn = 0.0 if road.forward(int(lane)) else math.pi
        else:
            t = document.number(element, "t")
        place, heading = road.point(s, t)
        return Pose2(float(place[0]), float(place[1]), _turned(document, element, heading, turn))

    def _beside(self, document: Document, element: ET.Element) -> Pose2:
        start = self._reference(document, element)
        ds = document.number(element, "ds") if element.get("ds") else document.number(element, "dsLane", 0.0)
        lanes = round(document.number(element, "dLane", 0.0))
        way = along_lanes(self.lane_map, start)
        if way is None:
            raise document.error(element, "the entity that it is relative to is on no lane")
        offset = beside(self.lane_map, start, lanes) + document.number(element, "offset", 0.0)
        pose = pose_on(way, way.start_s + ds, offset)
        if pose is None:
            raise document.error(element, f"there is no lane {ds:g} m from there")
        match = self.lane_map.nearest_lanes(pose.x, pose.y, None, 3.0)
        yaw = pose.yaw  # on a lane of the other direction it faces as that lane does
        if lanes and match and math.cos(self.lane_map.lane_yaw(match[0].lane_id, match[0].s) - yaw) < 0.0:
            yaw += math.pi
        return Pose2(pose.x, pose.y, _turned(document, element, yaw, 0.0))

    def _from(self, document: Document, element: ET.Element) -> Pose2:
        start = self._reference(document, element)
        sign = -1.0 if self.mirrored else 1.0
        dx, dy = document.number(element, "dx"), sign * document.number(element, "dy")
        if element.tag == "RelativeObjectPosition":
            c, s = math.cos(start.yaw), math.sin(start.yaw)
            dx, dy = c * dx - s * dy, s * dx + c * dy
        return Pose2(start.x + dx, start.y + dy, _turned(document, element, start.yaw, 0.0))

    def _reference(self, document: Document, element: ET.Element) -> Pose2:
        name = document.text(element, "entityRef")
        if name not in self.entities:
            known = ", ".join(self.entities) or "none"
            raise document.error(element, f"'{name}' is not placed before this; placed are: {known}")
        return self.entities[name]


def read_roads(map_file: Path) -> dict[str, Road]:
    """The roads of an OpenDRIVE file. Raises MapError."""
    source = XmlSource(map_file, "OpenDRIVE")
    return {road.id: road for road in (read_road(source, item) for item in source.root.findall("road"))}


def _section(road: Road, s: float) -> Section:
    return road.sections[max(bisect_right([item.start for item in road.sections], s) - 1, 0)]


def _middle(road: Road, section: Section, lane_id: int, s: float) -> float:
    """Lateral place of a lane's middle, from the reference line to the left."""
    at, inside = np.array([s]), np.array([s - section.start])
    inner = outer = base = float(cubic(road.lane_offset, at)[0])
    side = 1 if lane_id > 0 else -1
    for key in range(side, lane_id + side, side):
        lane = section.lanes.get(key)
        if lane is None:
            continue
        inner = outer
        if lane.borders and not lane.widths:
            outer = base + float(cubic(lane.borders, inside)[0])
        else:
            outer = inner + side * max(float(cubic(lane.widths, inside)[0]), 0.0)
    return 0.5 * (inner + outer)


def _turned(document: Document, element: ET.Element, heading: float, turn: float) -> float:
    """``heading + turn``, or as the position's <Orientation> says: absolute, or relative to ``heading``."""
    orientation = element.find("Orientation")
    if orientation is None:
        return heading + turn
    h = document.number(orientation, "h", 0.0)
    kind = document.choice(orientation, "type", ("absolute", "relative"), "absolute")
    return h if kind == "absolute" else heading + h
