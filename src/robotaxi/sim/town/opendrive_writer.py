"""A laid-out town as OpenDRIVE 1.6, always the same bytes for the same town.

Lights and signs follow CARLA's towns: the head stands where it is, with validity 0; signalReference
elements on the junction's lanes say whom it is for. A bay is a parkingSpace object whose origin is
the stopped car's base_link and whose userData names it.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from robotaxi.hdmap.opendrive import BAY_CODE
from robotaxi.sim.town.layout import (
    LANE_WIDTH,
    SIGN_TYPES,
    SIGNAL_CENTER,
    SIGNAL_HEIGHT,
    SIGNAL_WIDTH,
    LaidRoad,
    LaidTown,
    Link,
    PlacedObject,
    PlacedSignal,
)

SIGN_SIZE = 0.75  # m
SIGN_BOTTOM = 2.0  # m above the road
BAY_HEIGHT = 0.02  # m, paint


def to_opendrive(town: LaidTown) -> bytes:
    """The whole file."""
    root = ET.Element("OpenDRIVE")
    header = ET.SubElement(root, "header", revMajor="1", revMinor="6", name=town.name, version="1.0")
    latitude, longitude, altitude = town.origin
    ET.SubElement(header, "geoReference").text = (
        f"+proj=tmerc +lat_0={_num(latitude)} +lon_0={_num(longitude)} +k=1 +x_0=0 +y_0=0 "
        f"+h_0={_num(altitude)} +datum=WGS84 +units=m +no_defs"
    )
    for road in town.roads:
        _road(root, road)
    for controller, signals in town.controllers:
        element = ET.SubElement(root, "controller", id=str(controller), name=f"phase {controller}", sequence="0")
        for signal in signals:
            ET.SubElement(element, "control", signalId=str(signal), type="0")
    for junction in town.junctions:
        element = ET.SubElement(root, "junction", id=str(junction.id), name=f"junction {junction.id}")
        for k, (incoming, connecting, lane) in enumerate(junction.connections):
            connection = ET.SubElement(
                element,
                "connection",
                id=str(k),
                incomingRoad=str(incoming),
                connectingRoad=str(connecting),
                contactPoint="start",
            )
            ET.SubElement(connection, "laneLink", attrib={"from": str(lane), "to": "-1"})
        for k, controller in enumerate(junction.controllers):
            ET.SubElement(element, "controller", id=str(controller), type="0", sequence=str(k))
    ET.indent(root, " ")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _num(value: float) -> str:
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _road(root: ET.Element, road: LaidRoad) -> None:
    element = ET.SubElement(
        root, "road", name=road.name, length=_num(road.length), id=str(road.id), junction=str(road.junction), rule="RHT"
    )
    link = ET.SubElement(element, "link")
    for tag, target in (("predecessor", road.predecessor), ("successor", road.successor)):
        if target:
            _link(link, tag, target)
    road_type = ET.SubElement(element, "type", s="0", type="town")
    ET.SubElement(road_type, "speed", max=_num(road.speeds[0][1]), unit="km/h")
    plan = ET.SubElement(element, "planView")
    for piece in road.elements:
        geometry = ET.SubElement(
            plan,
            "geometry",
            s=_num(piece.s),
            x=_num(piece.x),
            y=_num(piece.y),
            hdg=f"{piece.heading:.12f}",
            length=_num(piece.length),
        )
        if piece.kind == "spiral":
            ET.SubElement(geometry, "spiral", curvStart=f"{piece.values[0]:.12f}", curvEnd=f"{piece.values[1]:.12f}")
        elif piece.kind == "arc":
            ET.SubElement(geometry, "arc", curvature=f"{piece.values[0]:.12f}")
        else:
            ET.SubElement(geometry, "line")
    profile = ET.SubElement(element, "elevationProfile")
    ET.SubElement(profile, "elevation", s="0", a="0", b="0", c="0", d="0")
    _lanes(element, road)
    if road.objects:
        objects = ET.SubElement(element, "objects")
        for item in road.objects:
            _object(objects, item)
    if road.signals or road.references:
        signals = ET.SubElement(element, "signals")
        for signal in road.signals:
            _signal(signals, signal)
        for signal_id in road.references:
            reference = ET.SubElement(signals, "signalReference", id=str(signal_id), s="0", t="0", orientation="+")
            ET.SubElement(reference, "validity", fromLane="-1", toLane="-1")


def _link(parent: ET.Element, tag: str, target: Link) -> None:
    attributes = {"elementType": target.kind, "elementId": str(target.id)}
    if target.contact:
        attributes["contactPoint"] = target.contact
    ET.SubElement(parent, tag, attrib=attributes)


def _lanes(element: ET.Element, road: LaidRoad) -> None:
    lanes = ET.SubElement(element, "lanes")
    if road.lane_offset:
        ET.SubElement(lanes, "laneOffset", s="0", a=_num(road.lane_offset), b="0", c="0", d="0")
    last = len(road.speeds) - 1
    for k, (s, speed) in enumerate(road.speeds):
        section = ET.SubElement(lanes, "laneSection", s=_num(s))
        if road.left:
            side = ET.SubElement(section, "left")
            for lane in range(road.left, 0, -1):
                _lane(side, road, lane, road.left, speed, k > 0, k < last)
        center = ET.SubElement(ET.SubElement(section, "center"), "lane", id="0", type="none", level="false")
        _mark(center, "broken" if road.left == 1 else "solid" if road.left else "none", "none")
        side = ET.SubElement(section, "right")
        for lane in range(-1, -road.right - 1, -1):
            _lane(side, road, lane, -road.right, speed, k > 0, k < last)


def _lane(side: ET.Element, road: LaidRoad, lane: int, outermost: int, speed: float, before: bool, after: bool) -> None:
    element = ET.SubElement(side, "lane", id=str(lane), type="driving", level="false")
    link = ET.SubElement(element, "link")
    if road.lane_links:
        ET.SubElement(link, "predecessor", id=str(road.lane_links[0]))
        ET.SubElement(link, "successor", id=str(road.lane_links[1]))
    if before:
        ET.SubElement(link, "predecessor", id=str(lane))
    if after:
        ET.SubElement(link, "successor", id=str(lane))
    ET.SubElement(element, "width", sOffset="0", a=_num(LANE_WIDTH), b="0", c="0", d="0")
    if road.junction >= 0:
        _mark(element, "none", "none")
    else:
        _mark(element, *(("solid", "none") if lane == outermost else ("broken", "both")))
    ET.SubElement(element, "speed", sOffset="0", max=_num(speed), unit="km/h")


def _mark(lane: ET.Element, kind: str, change: str) -> None:
    ET.SubElement(
        lane, "roadMark", sOffset="0", type=kind, weight="standard", color="standard", width="0.12", laneChange=change
    )


def _signal(signals: ET.Element, signal: PlacedSignal) -> None:
    light = signal.kind == "signal"
    height = SIGNAL_HEIGHT if light else SIGN_SIZE
    bottom = SIGNAL_CENTER - SIGNAL_HEIGHT / 2.0 if light else SIGN_BOTTOM
    element = ET.SubElement(
        signals,
        "signal",
        name=f"{signal.kind} {signal.id}",
        id=str(signal.id),
        s=_num(signal.s),
        t=_num(signal.t),
        zOffset=_num(bottom),
        hOffset=f"{signal.turn:.9f}",
        roll="0",
        pitch="0",
        orientation="+",
        dynamic="yes" if light else "no",
        country="OpenDRIVE",
        type=SIGN_TYPES[signal.kind],
        subtype="-1",
        value="-1",
        text="",
        height=_num(height),
        width=_num(SIGNAL_WIDTH if light else SIGN_SIZE),
    )
    ET.SubElement(element, "validity", fromLane="0", toLane="0")


def _object(objects: ET.Element, item: PlacedObject) -> None:
    us, vs = [u for u, _ in item.outline], [v for _, v in item.outline]
    length, width = max(us) - min(us), max(vs) - min(vs)
    element = ET.SubElement(
        objects,
        "object",
        id=str(item.id),
        name=item.name or f"{item.kind} {item.id}",
        type=item.kind,
        s=_num(item.s),
        t=_num(item.t),
        zOffset="0",
        hdg=f"{item.turn:.12f}",
        roll="0",
        pitch="0",
        orientation="-" if abs(item.turn) > math.pi / 2.0 else "+",
        length=_num(length),
        width=_num(width),
        height=_num(BAY_HEIGHT),
    )
    outline = ET.SubElement(element, "outline")
    for u, v in item.outline:
        ET.SubElement(outline, "cornerLocal", u=_num(u), v=_num(v), z="0", height="0")
    if item.kind == "parkingSpace":
        ET.SubElement(element, "parkingSpace", access="all")
        ET.SubElement(element, "userData", code=BAY_CODE, value=item.name)
