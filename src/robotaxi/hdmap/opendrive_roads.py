"""OpenDRIVE roads as read from the file: reference line, lane sections, widths, links."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.polyline import densified_stations
from robotaxi.hdmap.plan_view import PlanElement, evaluate, kinks
from robotaxi.hdmap.xml_source import XmlSource

FloatArray = NDArray[np.float64]
Cubics = list[tuple[float, float, float, float, float]]  # (start station, a, b, c, d), sorted

DRIVABLE_TYPES = frozenset(
    ("driving", "entry", "exit", "onRamp", "offRamp", "connectingRamp", "slipLane", "bus", "taxi", "HOV")
)
STRAIGHT_STEP, CURVED_STEP, TIGHT_STEP = 2.0, 1.6, 1.0  # m between the points of a lane
TIGHT = 1.0 / 40.0  # 1/m: curves tighter than this get the shortest step
LONGEST_ROAD = 100_000.0  # m
MIN_STEP = 0.05  # m, closer breakpoints are merged
SPEED_UNITS = {"m/s": 1.0, "km/h": 1.0 / 3.6, "kph": 1.0 / 3.6, "mph": 0.44704}


@dataclass
class LaneRecord:
    id: int
    type: str
    widths: Cubics  # stations from the section's start
    borders: Cubics
    predecessor: int | None
    successor: int | None
    speed: float | None
    change_inward: bool  # whether lane changes over its outer mark are allowed, toward and
    change_outward: bool  # away from the reference line

    @property
    def drivable(self) -> bool:
        return self.type in DRIVABLE_TYPES


@dataclass
class Section:
    start: float
    end: float
    lanes: dict[int, LaneRecord]


@dataclass(frozen=True)
class RoadLink:
    is_junction: bool
    id: str
    at_end: bool  # of the other road


@dataclass
class Road:
    element: ET.Element
    id: str
    length: float
    junction: str
    left_hand: bool
    plan: list[PlanElement]
    elevation: Cubics
    lane_offset: Cubics
    speeds: list[tuple[float, float]]  # (station, m/s) by road type
    sections: list[Section]
    predecessor: RoadLink | None = None
    successor: RoadLink | None = None
    signals: list[ET.Element] = field(default_factory=list)
    references: list[ET.Element] = field(default_factory=list)
    objects: list[ET.Element] = field(default_factory=list)

    @property
    def in_junction(self) -> bool:
        return self.junction != "-1"

    def forward(self, lane_id: int) -> bool:
        """Whether the lane is driven in the direction of the reference line."""
        return (lane_id > 0) if self.left_hand else (lane_id < 0)

    def point(self, s: float, t: float) -> tuple[FloatArray, float]:
        """Map position (3,) and heading of the reference line at a station and lateral offset."""
        at = np.array([min(max(s, 0.0), self.length)])
        x, y, heading, _ = evaluate(self.plan, at)[0]
        over = s - at[0]
        z = float(cubic(self.elevation, at)[0])
        forward, left = (np.cos(heading), np.sin(heading)), (-np.sin(heading), np.cos(heading))
        return np.array([x + over * forward[0] + t * left[0], y + over * forward[1] + t * left[1], z]), float(heading)


def cubic(pieces: Cubics, s: FloatArray) -> FloatArray:
    """Piecewise cubic at stations ``s``; 0 where there is none."""
    if not pieces:
        return np.zeros_like(s)
    table = np.array(pieces)
    index = np.clip(np.searchsorted(table[:, 0], s + 1e-9, side="right") - 1, 0, len(table) - 1)
    start, a, b, c, d = table[index].T
    ds = s - start
    return np.asarray(a + ds * (b + ds * (c + ds * d)))


def lane_boundaries(road: Road, section: Section) -> dict[int, tuple[FloatArray, FloatArray]]:
    """(inner, outer) boundary (N, 3) of each drivable lane of a section, along the reference line."""
    s = _stations(road, section)
    x, y, heading, _ = evaluate(road.plan, s).T
    z = cubic(road.elevation, s)
    base = cubic(road.lane_offset, s)
    sin, cos = np.sin(heading), np.cos(heading)
    out = {}
    for side in (1, -1):
        inner = base
        for lane_id in sorted((k for k in section.lanes if k * side > 0), key=abs):
            lane = section.lanes[lane_id]
            if lane.borders and not lane.widths:
                outer = base + cubic(lane.borders, s - section.start)
            else:
                outer = inner + side * np.maximum(cubic(lane.widths, s - section.start), 0.0)
            if lane.drivable:
                out[lane_id] = (
                    np.stack([x - inner * sin, y + inner * cos, z], axis=-1),
                    np.stack([x - outer * sin, y + outer * cos, z], axis=-1),
                )
            inner = outer
    return out


def _stations(road: Road, section: Section) -> FloatArray:
    """Stations to sample a section at: all its breakpoints, and steps between them."""
    breaks = {section.start, section.end}
    step = STRAIGHT_STEP
    for element in road.plan:
        if element.s < section.end and element.s + element.length > section.start:
            step = min(step, _step(element))
            breaks.add(element.s)
    for kink in kinks(road.plan):
        if kink.end > section.start and kink.start < section.end:
            step = TIGHT_STEP
    changing = [piece for piece in road.lane_offset if piece[2] or piece[3] or piece[4]]
    for lane in section.lanes.values():
        if lane.drivable:
            changing += [(w[0] + section.start, *w[1:]) for w in lane.widths if w[2] or w[3] or w[4]]
    if any(section.start <= piece[0] < section.end for piece in changing):
        step = min(step, TIGHT_STEP)
    breaks.update(piece[0] for piece in changing)
    inside = sorted(s for s in breaks if section.start < s < section.end)
    kept = [section.start]
    for s in inside:
        if s - kept[-1] > MIN_STEP and section.end - s > MIN_STEP:
            kept.append(s)
    return densified_stations(np.array([*kept, section.end]), step)


def _step(element: PlanElement) -> float:
    if element.kind == "line":
        return STRAIGHT_STEP
    if element.kind in ("arc", "spiral") and max(abs(k) for k in element.values) <= TIGHT:
        return CURVED_STEP
    return TIGHT_STEP


def read_road(source: XmlSource, element: ET.Element) -> Road:
    length = source.number(element, "length")
    if not 0.0 <= length <= LONGEST_ROAD:
        raise source.error(element, f"attribute length='{length:g}': allowed is 0 to {LONGEST_ROAD:g} m")
    plan = _plan_view(source, source.child(element, "planView"))
    if not plan:
        raise source.error(element, "has no geometry in its <planView>")
    lanes = source.child(element, "lanes")
    road = Road(
        element=element,
        id=source.text(element, "id"),
        length=length,
        junction=element.get("junction", "-1"),
        left_hand=element.get("rule", "RHT") == "LHT",
        plan=plan,
        elevation=_cubics(source, element.findall("elevationProfile/elevation"), "s"),
        lane_offset=_cubics(source, lanes.findall("laneOffset"), "s"),
        speeds=_road_speeds(source, element),
        sections=_sections(source, lanes, length),
        signals=element.findall("signals/signal"),
        references=element.findall("signals/signalReference"),
        objects=element.findall("objects/object"),
    )
    if not road.sections:
        raise source.error(lanes, "has no <laneSection>")
    for tag in ("predecessor", "successor"):
        link = element.find(f"link/{tag}")
        if link is not None:
            kind = source.text(link, "elementType")
            target = RoadLink(
                kind == "junction", source.text(link, "elementId"), link.get("contactPoint", "start") == "end"
            )
            setattr(road, tag, target)
    return road


def _plan_view(source: XmlSource, plan: ET.Element) -> list[PlanElement]:
    out = []
    for geometry in plan.findall("geometry"):
        s, x, y, heading, length = (source.number(geometry, key) for key in ("s", "x", "y", "hdg", "length"))
        if length <= 0.0:
            continue
        shape = next((child for child in geometry if child.tag in _SHAPES), None)
        if shape is None:
            known = ", ".join(sorted(_SHAPES))
            raise source.error(geometry, f"has none of the known shapes: {known}")
        keys = _SHAPES[shape.tag]
        values = tuple(source.number(shape, key) for key in keys)
        if shape.tag == "paramPoly3":
            values += (0.0 if shape.get("pRange", "normalized") == "arcLength" else 1.0,)
        out.append(PlanElement(s, x, y, heading, length, shape.tag, values))
    return sorted(out, key=lambda e: e.s)


_SHAPES = {
    "line": (),
    "arc": ("curvature",),
    "spiral": ("curvStart", "curvEnd"),
    "poly3": ("a", "b", "c", "d"),
    "paramPoly3": ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV"),
}


def _cubics(source: XmlSource, elements: list[ET.Element], station: str) -> Cubics:
    return sorted(
        (
            source.number(e, station),
            source.number(e, "a"),
            source.number(e, "b"),
            source.number(e, "c"),
            source.number(e, "d"),
        )
        for e in elements
    )


def speed_value(source: XmlSource, element: ET.Element) -> float | None:
    """m/s of a <speed> element; None for 'no limit' and 'undefined'."""
    text = source.text(element, "max")
    if text in ("no limit", "undefined"):
        return None
    unit = element.get("unit", "m/s")
    if unit not in SPEED_UNITS:
        raise source.error(element, f"unknown unit '{unit}', known are: {', '.join(SPEED_UNITS)}")
    value = source.number(element, "max") * SPEED_UNITS[unit]
    return value if value > 0.0 else None


def _road_speeds(source: XmlSource, road: ET.Element) -> list[tuple[float, float]]:
    out = []
    for road_type in road.findall("type"):
        speed = road_type.find("speed")
        value = speed_value(source, speed) if speed is not None else None
        if value is not None:
            out.append((source.number(road_type, "s"), value))
    return sorted(out)


def _sections(source: XmlSource, lanes: ET.Element, length: float) -> list[Section]:
    elements = lanes.findall("laneSection")
    starts = [source.number(e, "s") for e in elements]
    ends = [*starts[1:], length]
    out = []
    for element, start, end in zip(elements, starts, ends, strict=True):
        if end < start - 1e-6:
            raise source.error(element, f"starts at {start:g} m, after its end at {end:g} m")
        records = {}
        for lane in element.iter("lane"):
            record = _lane_record(source, lane)
            records[record.id] = record
        _lane_changes(element, records)
        out.append(Section(start, end, records))
    return out


def _lane_record(source: XmlSource, lane: ET.Element) -> LaneRecord:
    def linked(tag: str) -> int | None:
        element = lane.find(f"link/{tag}")
        return None if element is None else source.integer(element, "id")

    speed = lane.find("speed")
    return LaneRecord(
        id=source.integer(lane, "id"),
        type=lane.get("type", "none"),
        widths=_cubics(source, lane.findall("width"), "sOffset"),
        borders=_cubics(source, lane.findall("border"), "sOffset"),
        predecessor=linked("predecessor"),
        successor=linked("successor"),
        speed=speed_value(source, speed) if speed is not None else None,
        change_inward=True,
        change_outward=True,
    )


def _lane_changes(section: ET.Element, records: dict[int, LaneRecord]) -> None:
    """Which lane changes the outer marks of each lane allow: by laneChange where given, else by paint."""
    for lane in section.iter("lane"):
        mark = lane.find("roadMark")
        record = records[int(lane.get("id", "0"))]
        if mark is None:
            continue
        rule = mark.get("laneChange")
        if rule in ("none", "increase", "decrease", "both"):
            increase, decrease = rule in ("increase", "both"), rule in ("decrease", "both")
            record.change_outward = increase if record.id > 0 else decrease
            record.change_inward = decrease if record.id > 0 else increase
        else:
            open_mark = "solid" not in mark.get("type", "none")
            record.change_inward = record.change_outward = open_mark
