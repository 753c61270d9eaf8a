"""Lights and signs of an OpenDRIVE file -> stop lines and signals of the lanes that they control."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.polyline import arc_length, interpolate
from robotaxi.hdmap.assemble import LaneDraft
from robotaxi.hdmap.lane_map import Signal, StopLine
from robotaxi.hdmap.opendrive_lanes import LaneKey, LaneNet
from robotaxi.hdmap.opendrive_roads import Road
from robotaxi.hdmap.xml_source import XmlSource
from robotaxi.types import LightShape

FloatArray = NDArray[np.float64]

KINDS = {"1000001": "signal", "1000011": "signal", "206": "stop", "205": "yield"}  # numbers of the German catalogue
ARROW_HEAD = "1000011"
ARROWS = {"10": LightShape.LEFT_ARROW, "20": LightShape.RIGHT_ARROW, "30": LightShape.UP_ARROW}  # by subtype
STRENGTH = ("signal", "stop", "yield")  # what counts where a lane has several
FIRST_STOP_LINE, FIRST_SIGNAL = 10001, 40001
NEAR_END = 25.0  # m: a sign without references controls its road when it stands this near to the end
POLE_FOOT = 2.0  # m: a light given lower than this is given by its pole
POST_HEIGHT = 3.0  # m: height of the head on such a pole
SIGHT = 4.0  # m from a stop line to a light: nearer, its colour leaves the driver's field of view
SIGHT_SLOPE = 0.6  # tangent of the half angle (31 degrees) that a driver, or a camera, looks at
EYE = 3.0  # m that it is behind the stop line when the car stands there
WHEELS = 5.0  # m, and the rear wheels, which give the car its heading
BACK_OFF_STEP = 0.1  # m
MAX_BACK_OFF = 10.0  # m that a line is drawn back for that
HEAD_HEIGHT, HEAD_WIDTH = 1.0, 0.35  # m, where the file gives no size


@dataclass
class _Control:
    element: ET.Element
    road: Road
    kind: str
    number: int
    lanes: set[LaneKey] = field(default_factory=set)  # approach lanes


def read_control(source: XmlSource, roads: dict[str, Road], net: LaneNet) -> tuple[list[StopLine], list[Signal]]:
    """Stop lines lie across the ends of the lanes that lead to a light or sign, or where the light is still seen."""
    controls = _controls(source, roads)
    referenced: set[str] = set()
    for road in roads.values():
        for reference in road.references:
            signal_id = source.text(reference, "id")
            if signal_id in controls:
                found = _approach_lanes(source, road, reference, net)
                controls[signal_id].lanes.update(found)
                referenced.add(signal_id)
    for signal_id, control in controls.items():
        if signal_id not in referenced:
            control.lanes.update(_approach_lanes(source, control.road, control.element, net, by_side=True))
    return _stop_lines(source, net, list(controls.values()))


def _controls(source: XmlSource, roads: dict[str, Road]) -> dict[str, _Control]:
    out: dict[str, _Control] = {}
    taken = {int(e.get("id", "")) for r in roads.values() for e in r.signals if e.get("id", "").isdigit()}
    following = max(FIRST_SIGNAL, max(taken, default=0) + 1)
    for road in roads.values():
        for element in road.signals:
            kind = KINDS.get(element.get("type", ""))
            if kind is None:
                continue
            text = source.text(element, "id")
            if text.isdigit() and int(text) > 0:
                number = int(text)
            else:
                number, following = following, following + 1
            out[text] = _Control(element, road, kind, number)
    return out


def _approach_lanes(
    source: XmlSource, road: Road, element: ET.Element, net: LaneNet, by_side: bool = False
) -> list[LaneKey]:
    """Lanes that end at what ``element``, a signal or a reference on ``road``, stands for."""
    numbers: set[int] = set()
    for validity in element.findall("validity"):
        low, high = sorted((source.integer(validity, "fromLane"), source.integer(validity, "toLane")))
        numbers.update(k for k in range(low, high + 1) if k != 0)
    s = source.number(element, "s")
    if by_side and not numbers:
        # A bare sign: RoadRunner's orientations contradict each other, so it is for the side it stands on.
        forward = (source.number(element, "t") < 0.0) != road.left_hand
        if (road.length - s if forward else s) > NEAR_END:
            return []
    else:
        forward = element.get("orientation", "+") != "-"
    keys = [key for key in net.drafts if key[0] == road.id]
    if numbers:
        keys = [key for key in keys if key[2] in numbers]
    else:
        keys = [key for key in keys if road.forward(key[2]) == forward]
    out: set[LaneKey] = set()
    for key in keys:
        if road.in_junction:
            out.update(net.approaches(key))
        elif key[1] == (len(road.sections) - 1 if road.forward(key[2]) else 0):
            out.add(key)
    return sorted(out)


def _stop_lines(source: XmlSource, net: LaneNet, controls: list[_Control]) -> tuple[list[StopLine], list[Signal]]:
    by_lane: dict[LaneKey, tuple[str, tuple[int, ...]]] = {}
    for kind in STRENGTH:
        lanes = sorted({key for control in controls if control.kind == kind for key in control.lanes})
        for key in lanes:
            if key not in by_lane:
                heads = sorted(c.number for c in controls if c.kind == kind and key in c.lanes)
                by_lane[key] = (kind, tuple(heads) if kind == "signal" else ())
    groups: dict[tuple[str, int, bool, str, tuple[int, ...]], list[LaneKey]] = {}
    for key, (kind, numbers) in by_lane.items():
        groups.setdefault((key[0], key[1], key[2] > 0, kind, numbers), []).append(key)
    base = max(FIRST_STOP_LINE, max((c.number for c in controls), default=0) + 1)
    order = sorted(groups.items(), key=lambda item: min(net.drafts[k].id for k in item[1]))
    lines: list[StopLine] = []
    line_of: dict[int, StopLine] = {}
    for (*_, kind, numbers), keys in order:
        drafts = sorted((net.drafts[k] for k in keys), key=lambda d: d.id)
        back = _back_off(source, drafts, [c for c in controls if c.number in numbers]) if kind == "signal" else 0.0
        line = StopLine(base + len(lines), _across(drafts, back), kind, tuple(d.id for d in drafts), tuple(numbers))
        lines.append(line)
        for number in numbers:
            line_of.setdefault(number, line)
    signals = [_signal(source, control, line_of[control.number]) for control in controls if control.number in line_of]
    return lines, signals


def _back_off(source: XmlSource, drafts: list[LaneDraft], heads: list[_Control]) -> float:
    """Metres before the lanes' end where drivers still see a light beside that end, or far aside behind it.

    A driver needs one head in view; the lane that sees worst decides for the line.
    """
    places = [h.road.point(source.number(h.element, "s"), source.number(h.element, "t"))[0][:2] for h in heads]
    if not places:
        return 0.0
    return max(_back_off_of(draft, np.array(places)) for draft in drafts)


def _back_off_of(draft: LaneDraft, places: FloatArray) -> float:
    """Of one lane, with heads at ``places`` (N, 2): the first line from which one is in view, else the best."""
    middle = ((draft.left + draft.right) / 2.0)[:, :2]
    s = arc_length(middle)
    back = np.arange(0.0, min(MAX_BACK_OFF, 0.5 * float(s[-1])) + BACK_OFF_STEP, BACK_OFF_STEP)
    line, eye = interpolate(middle, s, s[-1] - back), interpolate(middle, s, s[-1] - back - EYE)
    along = line - interpolate(middle, s, s[-1] - back - WHEELS)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    ahead = np.einsum("bni,bi->bn", places[None] - line[:, None], along)
    aside = np.abs(np.einsum("bni,bi->bn", (places[None] - eye[:, None])[..., ::-1] * (1.0, -1.0), along))
    slope = np.where(ahead > SIGHT - 1e-6, aside / (np.maximum(ahead, 0.0) + EYE), np.inf).min(axis=1)
    seen = np.flatnonzero(slope < SIGHT_SLOPE)
    if len(seen):
        return float(back[seen[0]])
    return float(back[np.argmin(slope)]) if np.isfinite(slope).any() else float(back[-1])


def _across(drafts: list[LaneDraft], back: float = 0.0) -> FloatArray:
    """The widest line across the ends of adjoining lanes, ``back`` metres before them, from left to right."""
    ends = [(_before_end(d.left, back), _before_end(d.right, back)) for d in drafts]
    return max(
        (np.stack([left, right]) for left, _ in ends for _, right in ends),
        key=lambda line: float(np.hypot(*(line[1] - line[0])[:2])),
    )


def _before_end(points: FloatArray, back: float) -> FloatArray:
    s = arc_length(points)
    return np.asarray(interpolate(points, s, [max(float(s[-1]) - back, 0.0)])[0])


def _signal(source: XmlSource, control: _Control, line: StopLine) -> Signal:
    """A head, turned toward its own stop line's traffic whatever heading the file gives."""
    element = control.element
    position, _ = control.road.point(source.number(element, "s"), source.number(element, "t"))
    height = source.number(element, "height", 0.0) or HEAD_HEIGHT
    width = source.number(element, "width", 0.0) or HEAD_WIDTH
    bottom = source.number(element, "zOffset", 0.0)
    position[2] += bottom + height / 2.0 if bottom >= POLE_FOOT else POST_HEIGHT
    across = line.points[1] - line.points[0]
    shape = LightShape.CIRCLE
    if element.get("type") == ARROW_HEAD:
        shape = ARROWS.get(element.get("subtype", ""), shape)
    yaw = math.atan2(-across[0], across[1])
    return Signal(control.number, position, yaw, line.id, None, width, height, shape)
