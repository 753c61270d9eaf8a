"""Lanelet2 OSM -> LaneMap, with the tags of Lanelet2 and of Autoware.

Positions come from ``local_x``, ``local_y``, ``ele`` tags where a node has them, else from latitude and
longitude about ``origin``. Lanes are vehicle lanelets (subtype road, highway, road_shoulder left out).
Read are traffic_light, traffic_sign (stop, yield), right_of_way and all_way_stop, crosswalk lanelets,
and our own ``stopping_place`` areas (`lanelet2_write` describes them). Lanelets are followed by those
that begin with the nodes their boundaries end with, or at the same place (some tools double nodes).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.assemble import BayDraft, LaneDraft, MapDraft, assemble, pair_boundaries
from robotaxi.hdmap.junctions import derive_junctions
from robotaxi.hdmap.lane_map import ARROWS, LaneMap, MapError, Signal, StopLine
from robotaxi.hdmap.xml_source import XmlSource
from robotaxi.types import LightShape

FloatArray = NDArray[np.float64]

VEHICLE_SUBTYPES = ("road", "highway", "bus_lane", "play_street", "exit")
DEFAULT_SPEED = {"urban": 50.0 / 3.6, "nonurban": 100.0 / 3.6}  # m/s, by the location tag (German law)
CHANGEABLE = ("dashed", "dashed_solid", "solid_dashed")
SAME_PLACE = 0.3  # m: lane ends whose corners lie this near meet, where no nodes are shared
MAX_ID = 100_000_000  # ids above this are renumbered, so that they stay easy to read
DEFAULT_HEAD_HEIGHT, DEFAULT_HEAD_WIDTH = 1.0, 0.35  # m
STOP_LINE_REACH = 8.0  # m between a stop line without lanes and the end of the lane it is for


@dataclass
class _Relation:
    element: ET.Element
    id: int
    tags: dict[str, str]
    members: list[tuple[str, int, str]]  # type, ref, role

    def refs(self, role: str, kind: str = "way") -> list[int]:
        return [ref for k, ref, r in self.members if r == role and k == kind]


@dataclass
class _Osm:
    source: XmlSource
    points: FloatArray  # (N, 3), all nodes
    node_index: dict[int, int]  # node id -> row of points
    ways: dict[int, tuple[int, ...]]
    way_tags: dict[int, dict[str, str]]
    relations: dict[int, _Relation]
    arrows: dict[int, str]  # of traffic light bulbs, by node
    origin: tuple[float, float, float]
    elements: dict[int, ET.Element] = field(default_factory=dict)  # ways

    def line(self, ref: int, relation: _Relation) -> FloatArray:
        return self.positions(self.way(ref, relation))

    def positions(self, nodes: tuple[int, ...]) -> FloatArray:
        return self.points[[self.node_index[node] for node in nodes]]

    def way(self, ref: int, relation: _Relation) -> tuple[int, ...]:
        if ref not in self.ways:
            raise self.source.error(relation.element, f"refers to way {ref}, which the file does not have")
        return self.ways[ref]


def read_lanelet2(
    path: str | Path, name: str | None = None, origin: tuple[float, float, float] | None = None
) -> LaneMap:
    """Load a Lanelet2 .osm file. ``origin``: (lat_deg, lon_deg, alt) of map (0, 0, 0).

    Without ``origin`` the file's MetaInfo names it, else, for nodes in latitude and longitude, the
    first node is the origin (rounded to 1e-3 degrees). Raises MapError naming file, element, reason.
    """
    source = XmlSource(path, "osm")
    osm = _read_osm(source, origin)
    lanelets = _vehicle_lanelets(osm)
    lane_ids = _small_ids(sorted(lanelets))
    drafts, ends = _lanes(osm, lanelets, lane_ids)
    _connect(osm, drafts, ends)
    if not any(d.junction_id for d in drafts.values()):
        derive_junctions(drafts.values())
    draft = MapDraft(name or source.path.stem, osm.origin, source.checksum, list(drafts.values()))
    _read_regulations(osm, lanelets, drafts, draft)
    crosswalks = sorted(r.id for r in osm.relations.values() if r.tags.get("subtype") == "crosswalk" and _is_lanelet(r))
    crosswalk_ids = _small_ids(crosswalks)
    for number in crosswalks:
        relation = osm.relations[number]
        left, right = _boundary_refs(osm, relation)
        a, b = osm.line(left, relation), osm.line(right, relation)
        a, b = _aligned(a, b)
        draft.crosswalk_polygons.append((crosswalk_ids[number], np.array([b[0], b[-1], a[-1], a[0]])))
    _read_places(osm, draft, lane_ids)
    return assemble(draft)


def _small_ids(ids: list[int]) -> dict[int, int]:
    """The ids themselves where they are small and positive, else 1, 2, 3 ... in their order."""
    if all(0 < number <= MAX_ID for number in ids):
        return {number: number for number in ids}
    return {number: k for k, number in enumerate(ids, start=1)}


# ---------------------------------------------------------------------------- the file


def _read_osm(source: XmlSource, origin: tuple[float, float, float] | None) -> _Osm:
    osm = _Osm(source, np.zeros((0, 3)), {}, {}, {}, {}, {}, (0.0, 0.0, 0.0))
    rows: list[tuple[float, float, float]] = []
    geodetic: list[int] = []  # rows that hold latitude, longitude, height
    for element in source.root:
        if element.get("action") == "delete":
            continue
        if element.tag == "node":
            osm.node_index[source.integer(element, "id")] = len(rows)
            tags = {tag.get("k"): tag for tag in element}
            if "arrow" in tags:
                osm.arrows[source.integer(element, "id")] = tags["arrow"].get("v", "")
            z = source.number(tags["ele"], "v") if "ele" in tags else 0.0
            if "local_x" in tags and "local_y" in tags:
                rows.append((source.number(tags["local_x"], "v"), source.number(tags["local_y"], "v"), z))
            else:
                geodetic.append(len(rows))
                rows.append((source.number(element, "lat"), source.number(element, "lon"), z))
        elif element.tag == "way":
            number = source.integer(element, "id")
            osm.ways[number] = tuple(source.integer(nd, "ref") for nd in element.findall("nd"))
            osm.way_tags[number] = _tags(element)
            osm.elements[number] = element
        elif element.tag == "relation":
            number = source.integer(element, "id")
            members = [
                (source.text(m, "type"), source.integer(m, "ref"), m.get("role", "")) for m in element.findall("member")
            ]
            osm.relations[number] = _Relation(element, number, _tags(element), members)
    osm.origin = origin or _origin(source, rows[geodetic[0]] if geodetic else None)
    frame = LocalFrame(*osm.origin)
    for row in geodetic:
        latitude, longitude, z = rows[row]
        x, y, _ = frame.to_map(latitude, longitude, osm.origin[2])
        rows[row] = (x, y, z)
    osm.points = np.array(rows).reshape(-1, 3)
    for number, nodes in osm.ways.items():
        missing = next((n for n in nodes if n not in osm.node_index), None)
        if missing is not None:
            raise source.error(osm.elements[number], f"refers to node {missing}, which the file does not have")
    return osm


def _tags(element: ET.Element) -> dict[str, str]:
    return {tag.get("k", ""): tag.get("v", "") for tag in element.findall("tag")}


def _origin(source: XmlSource, first: tuple[float, float, float] | None) -> tuple[float, float, float]:
    meta = source.root.find("MetaInfo")
    if meta is not None and meta.get("origin_lat") is not None:
        return (
            source.number(meta, "origin_lat"),
            source.number(meta, "origin_lon"),
            source.number(meta, "origin_ele", 0.0),
        )
    if first is None:
        return 0.0, 0.0, 0.0
    return round(first[0], 3), round(first[1], 3), 0.0


# ---------------------------------------------------------------------------- lanelets


def _is_lanelet(relation: _Relation) -> bool:
    return relation.tags.get("type") == "lanelet"


def _vehicle_lanelets(osm: _Osm) -> dict[int, _Relation]:
    out = {}
    for number, relation in osm.relations.items():
        if not _is_lanelet(relation) or relation.tags.get("subtype", "road") not in VEHICLE_SUBTYPES:
            continue
        if relation.tags.get("participant:vehicle") == "no":
            continue
        out[number] = relation
    if not out:
        raise MapError(f"{osm.source.path}: the map has no lanelet that vehicles may drive on")
    return out


def _boundary_refs(osm: _Osm, relation: _Relation) -> tuple[int, int]:
    left, right = relation.refs("left"), relation.refs("right")
    if len(left) != 1 or len(right) != 1:
        raise osm.source.error(
            relation.element, f"needs one left and one right boundary, has {len(left)} and {len(right)}"
        )
    for ref in (left[0], right[0]):
        if len(osm.way(ref, relation)) < 2:
            raise osm.source.error(relation.element, f"boundary way {ref} has fewer than two nodes")
    return left[0], right[0]


def _aligned(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both boundaries in driving direction: with the left one really on the left."""
    a, b = left[:, :2], right[:, :2]
    same = np.hypot(*(a[0] - b[0])) + np.hypot(*(a[-1] - b[-1]))
    opposite = np.hypot(*(a[0] - b[-1])) + np.hypot(*(a[-1] - b[0]))
    if opposite < same:
        right = right[::-1]
        b = b[::-1]
    loop = np.concatenate([b, a[::-1]])
    following = np.roll(loop, -1, axis=0)
    area = float(np.sum(loop[:, 0] * following[:, 1] - loop[:, 1] * following[:, 0]))
    return (left, right) if area >= 0.0 else (left[::-1], right[::-1])


_Ends = dict[int, tuple[tuple[int, int], tuple[int, int], int, int]]


def _lanes(osm: _Osm, lanelets: dict[int, _Relation], lane_ids: dict[int, int]) -> tuple[dict[int, LaneDraft], _Ends]:
    """Drafts by relation id, and each one's first nodes, last nodes, left way and right way."""
    drafts: dict[int, LaneDraft] = {}
    ends: _Ends = {}
    for number in sorted(lanelets):
        relation = lanelets[number]
        left_ref, right_ref = _boundary_refs(osm, relation)
        left, right = osm.line(left_ref, relation), osm.line(right_ref, relation)
        left_nodes, right_nodes = osm.ways[left_ref], osm.ways[right_ref]
        new_left, new_right = _aligned(left, right)
        left_nodes = left_nodes if np.array_equal(new_left, left) else left_nodes[::-1]
        right_nodes = right_nodes if np.array_equal(new_right, right) else right_nodes[::-1]
        try:
            new_left, new_right = pair_boundaries(new_left, new_right)
        except ValueError as error:
            raise osm.source.error(relation.element, str(error)) from None
        turn = relation.tags.get("turn_direction")
        junction = relation.tags.get("junction_id")
        drafts[number] = LaneDraft(
            id=lane_ids[number],
            left=new_left,
            right=new_right,
            speed_limit=_speed(osm, relation),
            junction_id=int(junction) if junction and junction.isdigit() else None,
            turn_direction=turn if turn in ("left", "right", "straight") else None,
        )
        ends[number] = ((left_nodes[0], right_nodes[0]), (left_nodes[-1], right_nodes[-1]), left_ref, right_ref)
    return drafts, ends


def _speed(osm: _Osm, relation: _Relation) -> float:
    """km/h without a unit, else as written ('30 mph')."""
    text = relation.tags.get("speed_limit")
    if not text:
        return DEFAULT_SPEED.get(relation.tags.get("location", "urban"), DEFAULT_SPEED["urban"])
    number, _, unit = text.replace("km/h", " km/h").replace("mph", " mph").partition(" ")
    factor = {"": 1.0 / 3.6, "km/h": 1.0 / 3.6, "mph": 0.44704, "m/s": 1.0}.get(unit.strip())
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if factor is None or not (math.isfinite(value) and value > 0.0):
        raise osm.source.error(relation.element, f"speed_limit '{text}' is not a speed")
    return value * factor


def _connect(osm: _Osm, drafts: dict[int, LaneDraft], ends: _Ends) -> None:
    starting: dict[tuple[int, int], list[int]] = {}
    left_of: dict[int, list[int]] = {}
    for number, (first, _, left, _) in ends.items():
        starting.setdefault(first, []).append(number)
        left_of.setdefault(left, []).append(number)
    numbers = sorted(ends)
    begins = np.array([[drafts[n].left[0, :2], drafts[n].right[0, :2]] for n in numbers])
    for number, (_, last, _, right) in ends.items():
        following = starting.get(last)
        if following is None:
            draft = drafts[number]
            gap = begins - np.array([draft.left[-1, :2], draft.right[-1, :2]])
            meets = np.flatnonzero(np.hypot(gap[:, :, 0], gap[:, :, 1]).max(axis=1) <= SAME_PLACE)
            following = [numbers[k] for k in meets.tolist()]
        drafts[number].successors.update(drafts[n].id for n in following if n != number)
        # The lane to the right begins where this one's right boundary lies on its left, same direction.
        for other in left_of.get(right, ()):
            if other == number or ends[other][0][0] != ends[number][0][1]:
                continue
            tags = osm.way_tags[right]
            if tags.get("lane_change") == "yes" or tags.get("subtype") in CHANGEABLE:
                drafts[number].right_neighbour = drafts[other].id
                drafts[other].left_neighbour = drafts[number].id


# ---------------------------------------------------------------------------- rules and furniture


def _read_regulations(osm: _Osm, lanelets: dict[int, _Relation], drafts: dict[int, LaneDraft], out: MapDraft) -> None:
    subject: dict[int, list[int]] = {}
    for number, relation in sorted(lanelets.items()):
        for ref in relation.refs("regulatory_element", "relation"):
            subject.setdefault(ref, []).append(number)
    lines: dict[int, tuple[FloatArray, str, set[int], set[int]]] = {}
    lights: dict[int, tuple[FloatArray, int]] = {}
    for number, relation in sorted(osm.relations.items()):
        if relation.tags.get("type") != "regulatory_element":
            continue
        subtype = relation.tags.get("subtype", "")
        if subtype in ("right_of_way", "all_way_stop"):
            _read_right_of_way(relation, drafts)
        kind = _line_kind(osm, relation, subtype)
        if kind is None:
            continue
        for ref in relation.refs("ref_line"):
            points = osm.line(ref, relation)
            if len(points) < 2:
                continue
            lanes = {drafts[n].id for n in subject.get(number, ()) if _ends_at(drafts[n], points)}
            lanes |= set() if lanes else _lanes_ending_at(drafts, points)
            entry = lines.setdefault(ref, (points[[0, -1]], kind, set(), set()))
            entry[2].update(lanes)
            if kind == "signal":
                for light in relation.refs("refers"):
                    if osm.way_tags.get(light, {}).get("type", "traffic_light") == "traffic_light":
                        lights.setdefault(light, (osm.line(light, relation), ref))
                        entry[3].add(light)
    line_ids = _small_ids(sorted(lines))
    light_ids = _small_ids(sorted(lights))
    by_id = {d.id: d for d in drafts.values()}
    taken: set[int] = set()
    for ref, (points, kind, lanes, heads) in sorted(lines.items()):
        lanes -= taken
        if not lanes:
            continue
        taken |= lanes
        across = _left_to_right(points, by_id[min(lanes)])
        signal_ids = tuple(sorted(light_ids[h] for h in heads))
        out.stop_lines.append(StopLine(line_ids[ref], across, kind, tuple(sorted(lanes)), signal_ids))
    known = {line.id: line for line in out.stop_lines}
    shapes = _shapes(osm)
    for ref, (points, line_ref) in sorted(lights.items()):
        line = known.get(line_ids[line_ref])
        if line is not None:
            signal = _signal(light_ids[ref], points, osm.way_tags.get(ref, {}), line)
            out.signals.append(replace(signal, shape=shapes.get(ref, signal.shape)))


def _shapes(osm: _Osm) -> dict[int, LightShape]:
    """Arrow of each head, by its way, that has a tag for it or of which every bulb (Autoware's ``light_bulbs``) has."""
    out = {way: ARROWS[tags["arrow"]] for way, tags in osm.way_tags.items() if tags.get("arrow") in ARROWS}
    for way, tags in osm.way_tags.items():
        if tags.get("type") == "light_bulbs" and tags.get("traffic_light_id", "").isdigit():
            named = {osm.arrows.get(bulb, "") for bulb in osm.ways[way]}
            arrow = named.pop() if len(named) == 1 else ""
            if arrow in ARROWS:
                out[int(tags["traffic_light_id"])] = ARROWS[arrow]
    return out


def _line_kind(osm: _Osm, relation: _Relation, subtype: str) -> str | None:
    if subtype == "traffic_light":
        return "signal"
    if subtype == "all_way_stop":
        return "stop"
    if subtype == "right_of_way":
        return None
    if subtype == "traffic_sign":
        for ref in relation.refs("refers"):
            sign = osm.way_tags.get(ref, {}).get("subtype", "")
            if sign in ("stop_sign", "de206", "usR1-1"):
                return "stop"
            if sign in ("yield_sign", "de205", "usR1-2"):
                return "yield"
    return None


def _read_right_of_way(relation: _Relation, drafts: dict[int, LaneDraft]) -> None:
    first = [drafts[n].id for n in relation.refs("right_of_way", "relation") if n in drafts]
    for number in relation.refs("yield", "relation"):
        if number in drafts:
            draft = drafts[number]
            draft.yield_to = (draft.yield_to or set()) | set(first)


def _ends_at(draft: LaneDraft, line: FloatArray) -> bool:
    middle = line[:, :2].mean(axis=0)
    return float(np.hypot(*(draft.center[-1, :2] - middle))) <= STOP_LINE_REACH + np.hypot(*(line[-1] - line[0])[:2])


def _lanes_ending_at(drafts: dict[int, LaneDraft], line: FloatArray) -> set[int]:
    """The lanes whose end lies nearest behind a stop line."""
    middle = line[:, :2].mean(axis=0)
    across = (line[-1] - line[0])[:2]
    found = []
    for draft in drafts.values():
        end = draft.center[-1, :2]
        direction = end - draft.center[-2, :2]
        square = abs(float(across @ direction)) < 0.5 * float(np.hypot(*across) * np.hypot(*direction))
        distance = float(np.hypot(*(end - middle)))
        if square and distance <= STOP_LINE_REACH:
            found.append((distance, draft.id))
    return {min(found)[1]} if found else set()


def _left_to_right(points: FloatArray, lane: LaneDraft) -> FloatArray:
    heading = lane.center[-1, :2] - lane.center[-2, :2]
    across = (points[1] - points[0])[:2]
    return points if heading[0] * across[1] - heading[1] * across[0] < 0.0 else points[::-1].copy()


def _signal(number: int, points: FloatArray, tags: dict[str, str], line: StopLine) -> Signal:
    """A head from its lower edge; it faces the traffic of its stop line."""
    try:
        height = float(tags.get("height", ""))
    except ValueError:
        height = DEFAULT_HEAD_HEIGHT
    span = float(np.hypot(*(points[-1] - points[0])[:2]))
    edge = points[[0, -1]]
    position = edge.mean(axis=0) + np.array([0.0, 0.0, height / 2.0])
    across = line.points[1] - line.points[0]
    yaw = math.atan2(-across[0], across[1])
    return Signal(number, position, yaw, line.id, None, width=round(span, 4) or DEFAULT_HEAD_WIDTH, height=height)


def _read_places(osm: _Osm, draft: MapDraft, lane_ids: dict[int, int]) -> None:
    places = sorted(n for n, tags in osm.way_tags.items() if tags.get("type") == "stopping_place")
    numbers = _small_ids(places)
    for number in places:
        element, nodes = osm.elements[number], osm.ways[number]
        tags = {tag.get("k", ""): tag for tag in element.findall("tag")}
        for key in ("pose_x", "pose_y", "pose_yaw"):
            if key not in tags:
                raise osm.source.error(element, f"a stopping_place needs the tag '{key}'")
        pose = tuple(osm.source.number(tags[key], "v") for key in ("pose_x", "pose_y", "pose_yaw"))
        lane_ref = tags.get("lanelet_id")
        lane_id = lane_ids.get(osm.source.integer(lane_ref, "v")) if lane_ref is not None else None
        corners = nodes[:-1] if nodes[0] == nodes[-1] else nodes
        name = osm.way_tags[number].get("name", f"place {number}")
        polygon = osm.positions(corners)
        draft.bays.append(BayDraft(numbers[number], name, (pose[0], pose[1], pose[2]), polygon, lane_id))
