"""LaneMap -> Lanelet2 OSM with Autoware's tags, always the same bytes for the same map.

Lanelets keep the lanes' ids; stop lines, lights and stopping places keep theirs as ways. Beyond the
standard tags we write ``junction_id`` on lanelets, ``arrow`` on lights whose lamps are arrows, and closed
ways of ``type=stopping_place`` with ``name``, ``lanelet_id``, ``pose_x``, ``pose_y``, ``pose_yaw``
(base_link of a car stopped there).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import ARROWS, Lane, LaneMap, Signal, StopLine

FloatArray = NDArray[np.float64]

SAME_POINT = 0.01  # m: boundary ends this near are one node, so that lanelets connect
STRAIGHT_TOLERANCE = 2e-4  # m a left-out point may lie beside the line
FIRST_WAY, FIRST_REGULATORY, FIRST_NODE = 100_001, 200_001, 1_000_001


def to_lanelet2(lane_map: LaneMap) -> bytes:
    """The whole .osm file."""
    return _Writer(lane_map).bytes()


class _Writer:
    def __init__(self, lane_map: LaneMap) -> None:
        self._map = lane_map
        self._frame = LocalFrame(*lane_map.origin)
        self._nodes: list[FloatArray] = []
        self._node_at: dict[tuple[int, int, int], int] = {}
        self._ways: list[ET.Element] = []
        self._way_of: dict[tuple[int, ...], int] = {}
        self._relations: list[ET.Element] = []
        taken = [*lane_map.stop_lines, *lane_map.signals, *lane_map.stopping_places, 0]
        self._next_way = max(FIRST_WAY, max(taken) + 1)
        taken = [*lane_map.lanes, *lane_map.crosswalks, 0]
        self._next_regulatory = max(FIRST_REGULATORY, max(taken) + 1)
        self._regulations: dict[int, list[int]] = {lane_id: [] for lane_id in lane_map.lanes}

    def bytes(self) -> bytes:
        boundaries = self._boundaries()
        self._furniture()
        regulatory = self._regulatory_elements()
        lanelets = [self._lanelet(lane, *boundaries[lane.id]) for lane in self._map.lanes.values()]
        root = ET.Element("osm", version="0.6", generator="robotaxi")
        latitude, longitude, altitude = self._map.origin
        ET.SubElement(
            root,
            "MetaInfo",
            format_version="1",
            map_version="1",
            origin_lat=repr(latitude),
            origin_lon=repr(longitude),
            origin_ele=repr(altitude),
        )
        for k, point in enumerate(self._nodes):
            lat, lon, _ = self._frame.to_geodetic(*point.tolist())
            node = ET.SubElement(root, "node", id=str(FIRST_NODE + k), lat=f"{lat:.11f}", lon=f"{lon:.11f}")
            _tags(node, local_x=_fix(point[0]), local_y=_fix(point[1]))
            if point[2]:  # every reader takes a missing height for 0
                _tags(node, ele=_fix(point[2]))
        root.extend([*self._ways, *lanelets, *self._relations, *regulatory])
        ET.indent(root, " ")
        return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"

    # ------------------------------------------------------------------ geometry

    def _boundaries(self) -> dict[int, tuple[int, int]]:
        """(left, right) way of each lane. Lanes that share a boundary share its way."""
        lanes = list(self._map.lanes.values())
        keep = {lane.id: _needed_points(lane) for lane in lanes}
        sharing: dict[tuple[tuple[int, int], tuple[int, int]], list[int]] = {}
        for lane in lanes:
            for side in (lane.left, lane.right):
                ends = tuple(sorted((_rounded(side[0]), _rounded(side[-1]))))
                sharing.setdefault((ends[0], ends[1]), []).append(lane.id)
        changed = True
        while changed:
            changed = False
            for members in sharing.values():
                changed |= _unite(self._map, keep, members)
        out = {}
        for lane in lanes:
            ways = []
            for side, neighbour, inner in (
                (lane.left, lane.left_neighbour, True),
                (lane.right, lane.right_neighbour, False),
            ):
                nodes = tuple(self._node(p) for p in side[keep[lane.id]])
                ways.append(self._boundary_way(nodes, lane, neighbour is not None, inner))
            out[lane.id] = (ways[0], ways[1])
        return out

    def _boundary_way(self, nodes: tuple[int, ...], lane: Lane, may_cross: bool, inner: bool) -> int:
        for candidate in (nodes, nodes[::-1]):
            if candidate in self._way_of:
                return self._way_of[candidate]
        if lane.junction_id is not None:
            tags = {"type": "virtual"}
        elif may_cross:
            tags = {"type": "line_thin", "subtype": "dashed"}
        else:
            tags = {"type": "line_thin", "subtype": "solid"}
        self._way_of[nodes] = self._way(nodes, tags)
        return self._way_of[nodes]

    def _node(self, point: FloatArray) -> int:
        x, y, z = (round(float(v), 4) for v in point)
        cx, cy, cz = (math.floor(v / SAME_POINT) for v in (x, y, z))
        for dx in (0, -1, 1):
            for dy in (0, -1, 1):
                for dz in (0, -1, 1):
                    found = self._node_at.get((cx + dx, cy + dy, cz + dz))
                    if found is not None and np.abs(self._nodes[found - FIRST_NODE] - (x, y, z)).max() <= SAME_POINT:
                        return found
        self._nodes.append(np.array([x, y, z]))
        number = FIRST_NODE + len(self._nodes) - 1
        self._node_at[(cx, cy, cz)] = number
        return number

    def _own_node(self, point: Iterable[float]) -> int:
        """A node that no boundary shares."""
        self._nodes.append(np.array([round(float(v), 4) for v in point]))
        return FIRST_NODE + len(self._nodes) - 1

    def _way(self, nodes: Iterable[int], tags: dict[str, str], number: int | None = None) -> int:
        if number is None:
            number, self._next_way = self._next_way, self._next_way + 1
        way = ET.Element("way", id=str(number))
        for node in nodes:
            ET.SubElement(way, "nd", ref=str(node))
        _tags(way, **tags)
        self._ways.append(way)
        return number

    # ------------------------------------------------------------------ furniture

    def _furniture(self) -> None:
        for line in self._map.stop_lines.values():
            self._way([self._own_node(p) for p in line.points], {"type": "stop_line"}, line.id)
        for signal in self._map.signals.values():
            tags = {"type": "traffic_light", "subtype": "red_yellow_green", "height": _fix(signal.height)}
            arrow = next((name for name, shape in ARROWS.items() if shape == signal.shape), None)
            tags |= {"arrow": arrow} if arrow else {}
            self._way([self._own_node(p) for p in _bottom_edge(signal)], tags, signal.id)
        for place in self._map.stopping_places.values():
            x, y, yaw = place.pose
            tags = {
                "type": "stopping_place",
                "area": "yes",
                "name": place.name,
                "lanelet_id": str(place.lane_id),
                "pose_x": _fix(x),
                "pose_y": _fix(y),
                "pose_yaw": f"{yaw:.9f}",
            }
            nodes = [self._own_node(p) for p in place.polygon]
            self._way([*nodes, nodes[0]], tags, place.id)
        for crosswalk in self._map.crosswalks.values():
            quad = crosswalk.polygon
            right = self._way([self._own_node(p) for p in quad[:2]], {"type": "zebra_marking"})
            left = self._way([self._own_node(p) for p in (quad[3], quad[2])], {"type": "zebra_marking"})
            tags = {
                "type": "lanelet",
                "subtype": "crosswalk",
                "location": "urban",
                "one_way": "no",
                "participant:pedestrian": "yes",
                "speed_limit": "10",
            }
            self._relations.append(_relation(crosswalk.id, [("way", left, "left"), ("way", right, "right")], tags))

    def _regulatory_elements(self) -> list[ET.Element]:
        out: list[ET.Element] = []
        for line in self._map.stop_lines.values():
            if line.kind == "signal":
                members = [("way", number, "refers") for number in line.signal_ids] + [("way", line.id, "ref_line")]
                self._regulate(out, "traffic_light", members, line.lane_ids)
            else:
                sign = self._sign(line)
                members = [("way", sign, "refers"), ("way", line.id, "ref_line")]
                self._regulate(out, "traffic_sign", members, line.lane_ids)
        for lane in self._map.lanes.values():
            if not lane.yield_to:
                continue
            members = [("relation", lane.id, "yield")]
            members += [("relation", other, "right_of_way") for other in lane.yield_to]
            approach = next((self._map.lanes[p] for p in lane.predecessors), None)
            if approach is not None and approach.stop_line_id is not None:
                members.append(("way", approach.stop_line_id, "ref_line"))
            self._regulate(out, "right_of_way", members, (lane.id,))
        for crosswalk in self._map.crosswalks.values():
            self._regulate(out, "crosswalk", [("relation", crosswalk.id, "refers")], crosswalk.lane_ids)
        return out

    def _regulate(
        self, out: list[ET.Element], subtype: str, members: list[tuple[str, int, str]], lane_ids: Iterable[int]
    ) -> None:
        number, self._next_regulatory = self._next_regulatory, self._next_regulatory + 1
        out.append(_relation(number, members, {"type": "regulatory_element", "subtype": subtype}))
        for lane_id in lane_ids:
            self._regulations[lane_id].append(number)

    def _sign(self, line: StopLine) -> int:
        """A sign's plate over the right end of its stop line."""
        across = (line.points[1] - line.points[0])[:2] / np.hypot(*(line.points[1] - line.points[0])[:2])
        right = line.points[1] + np.array([*across, 2.0])
        edge = np.array([*(0.375 * across), 0.0])
        subtype = "stop_sign" if line.kind == "stop" else "yield_sign"
        nodes = [self._own_node(right - edge), self._own_node(right + edge)]
        return self._way(nodes, {"type": "traffic_sign", "subtype": subtype})

    def _lanelet(self, lane: Lane, left: int, right: int) -> ET.Element:
        members = [("way", left, "left"), ("way", right, "right")]
        members += [("relation", number, "regulatory_element") for number in self._regulations[lane.id]]
        tags = {
            "type": "lanelet",
            "subtype": "road",
            "location": "urban",
            "one_way": "yes",
            "participant:vehicle": "yes",
            "speed_limit": f"{lane.speed_limit * 3.6:.6g}",
        }
        if lane.junction_id is not None:
            tags["turn_direction"] = lane.turn_direction
            tags["junction_id"] = str(lane.junction_id)
        return _relation(lane.id, members, tags)


def _needed_points(lane: Lane) -> NDArray[np.bool_]:
    """Mask of the points that straight interpolation between their neighbours does not give anyway."""
    keep = np.ones(len(lane.s), dtype=bool)
    for side in (lane.left, lane.right):
        a, b, c = side[:-2], side[1:-1], side[2:]
        u = (np.linalg.norm(b - a, axis=1) / np.maximum(np.linalg.norm(c - a, axis=1), 1e-9))[:, None]
        beside = np.linalg.norm(b - (a + u * (c - a)), axis=1)
        keep[1:-1] &= beside <= STRAIGHT_TOLERANCE
    keep[1:-1] = ~keep[1:-1]
    return keep


def _unite(lane_map: LaneMap, keep: dict[int, NDArray[np.bool_]], members: list[int]) -> bool:
    """Lanes beside each other keep the same points; true when that changed one."""
    if len({len(keep[m]) for m in members}) != 1 or len(members) < 2:
        return False
    first = lane_map.lanes[members[0]]
    direction = first.centerline[-1] - first.centerline[0]
    masks = {}
    for member in members:
        center = lane_map.lanes[member].centerline
        same = float(np.dot(center[-1] - center[0], direction)) >= 0.0
        masks[member] = keep[member] if same else keep[member][::-1]
    union = np.logical_or.reduce(list(masks.values()))
    changed = False
    for member in members:
        same = masks[member] is keep[member]
        new = union if same else union[::-1]
        changed |= bool((new != keep[member]).any())
        keep[member] = new.copy()
    return changed


def _rounded(point: FloatArray) -> tuple[int, int]:
    return round(float(point[0]) / SAME_POINT), round(float(point[1]) / SAME_POINT)


def _bottom_edge(signal: Signal) -> FloatArray:
    """The lower edge of a head from left to right as its traffic sees it, (2, 3)."""
    right = np.array([-math.sin(signal.yaw), math.cos(signal.yaw), 0.0])
    bottom = signal.position - np.array([0.0, 0.0, signal.height / 2.0])
    return np.stack([bottom - right * signal.width / 2.0, bottom + right * signal.width / 2.0])


def _relation(number: int, members: list[tuple[str, int, str]], tags: dict[str, str]) -> ET.Element:
    relation = ET.Element("relation", id=str(number))
    for kind, ref, role in members:
        ET.SubElement(relation, "member", type=kind, ref=str(ref), role=role)
    _tags(relation, **tags)
    return relation


def _tags(element: ET.Element, **tags: str) -> None:
    for key, value in tags.items():
        ET.SubElement(element, "tag", k=key, v=value)


def _fix(value: float) -> str:
    text = f"{float(value):.4f}"
    return text[1:] if text == "-0.0000" else text
