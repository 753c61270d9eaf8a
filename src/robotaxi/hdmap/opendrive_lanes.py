"""The lane graph of an OpenDRIVE file: every drivable lane of every section, and what it leads to."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.polyline import arc_length
from robotaxi.hdmap.assemble import LaneDraft, pair_boundaries
from robotaxi.hdmap.opendrive_roads import Road, Section, lane_boundaries
from robotaxi.hdmap.xml_source import XmlSource

FloatArray = NDArray[np.float64]
LaneKey = tuple[str, int, int]  # road id, section index, lane number

DEFAULT_SPEED = 50.0 / 3.6  # m/s, where the file names none
MIN_LENGTH = 0.05  # m, shorter lanes are skipped over
MIN_WIDTH = 1.0  # m, lanes that never get wider are paint
MAX_EXTENT = 100_000.0  # m from one end of a town to the other
MAX_WIDTH = 60.0  # m, wider lanes are mistakes
MAX_GAP = 1.5  # m between a lane's end and what the file says follows
SPEED_SIGN = "274"


@dataclass
class LaneNet:
    """``drafts`` by key; ``ids`` lane id by key; ``junctions`` lane map id by OpenDRIVE id."""

    drafts: dict[LaneKey, LaneDraft] = field(default_factory=dict)
    predecessors: dict[LaneKey, list[LaneKey]] = field(default_factory=dict)

    def approaches(self, key: LaneKey) -> list[LaneKey]:
        """The lanes outside junctions that lead into a junction lane."""
        found, queue, seen = [], [key], {key}
        while queue:
            for before in self.predecessors.get(queue.pop(0), []):
                if before in seen:
                    continue
                seen.add(before)
                if self.drafts[before].junction_id is None:
                    found.append(before)
                else:
                    queue.append(before)
        return sorted(found)


def build_lane_net(source: XmlSource, roads: dict[str, Road]) -> LaneNet:
    junctions = {road.junction for road in roads.values() if road.in_junction}
    junction_ids = _integer_ids(sorted(junctions))
    net = LaneNet()
    short: set[LaneKey] = set()
    for road in roads.values():
        for index, section in enumerate(road.sections):
            for lane_id, (inner, outer) in sorted(lane_boundaries(road, section).items(), key=lambda item: -item[0]):
                key = (road.id, index, lane_id)
                width = float(np.hypot(*(inner - outer)[:, :2].T).max())
                if width < MIN_WIDTH:
                    continue
                if not width <= MAX_WIDTH:
                    raise source.error(
                        road.element,
                        f"lane {lane_id} of section {index} is {width:.3g} m wide, allowed is {MAX_WIDTH:g}",
                    )
                if float(arc_length((inner + outer) / 2.0)[-1]) < MIN_LENGTH:
                    short.add(key)
                    continue
                left, right = (outer, inner) if road.left_hand else (inner, outer)
                if not road.forward(lane_id):
                    left, right = left[::-1], right[::-1]
                left, right = pair_boundaries(left, right)
                net.drafts[key] = LaneDraft(
                    id=len(net.drafts) + 1,
                    left=left,
                    right=right,
                    speed_limit=_speed(source, road, section, lane_id),
                    junction_id=junction_ids.get(road.junction),
                )
    _check_extent(source, net)
    _connect(source, roads, net, short)
    _neighbours(roads, net)
    _inherit_speeds(roads, net)
    return net


def _check_extent(source: XmlSource, net: LaneNet) -> None:
    if not net.drafts:
        return
    ends = np.array([point for draft in net.drafts.values() for point in (draft.left[0, :2], draft.left[-1, :2])])
    extent = float((ends.max(axis=0) - ends.min(axis=0)).max())
    if not extent <= MAX_EXTENT:
        raise source.error(
            source.root, f"its lanes lie {extent / 1000.0:.4g} km apart, allowed is {MAX_EXTENT / 1000.0:g}"
        )


def _integer_ids(names: list[str]) -> dict[str, int]:
    """Positive ids for junctions: their own where they have one, else numbers above them all."""
    own = {name: int(name) for name in names if name.isdigit() and int(name) > 0}
    following = max(own.values(), default=0) + 1
    for name in names:
        if name not in own:
            own[name], following = following, following + 1
    return own


def _connect(source: XmlSource, roads: dict[str, Road], net: LaneNet, short: set[LaneKey]) -> None:
    lane_links = _junction_links(source)
    following: dict[LaneKey, set[LaneKey]] = {}
    known = set(net.drafts) | short
    for key in known:
        for other in _linked(roads, lane_links, key, ahead=True):
            following.setdefault(key, set()).add(other)
        for other in _linked(roads, lane_links, key, ahead=False):
            following.setdefault(other, set()).add(key)
    for key, draft in net.drafts.items():
        queue, seen = sorted(following.get(key, ())), set()
        while queue:
            other = queue.pop(0)
            if other in seen or other not in known:
                continue
            seen.add(other)
            if other in short:
                queue.extend(sorted(following.get(other, ())))
            elif _continues(draft, net.drafts[other]):
                draft.successors.add(net.drafts[other].id)
                net.predecessors.setdefault(other, []).append(key)


def _continues(a: LaneDraft, b: LaneDraft) -> bool:
    gap = (a.left[-1] + a.right[-1] - b.left[0] - b.right[0]) / 2.0
    return a is not b and float(np.hypot(gap[0], gap[1])) <= MAX_GAP


def _junction_links(source: XmlSource) -> dict[tuple[str, str, int], list[tuple[str, bool, int]]]:
    """(junction, incoming road, lane) -> [(connecting road, entered at its end, lane)]."""
    out: dict[tuple[str, str, int], list[tuple[str, bool, int]]] = {}
    for junction in source.root.findall("junction"):
        junction_id = source.text(junction, "id")
        for connection in junction.findall("connection"):
            road = connection.get("connectingRoad")
            if road is None:
                continue
            at_end = connection.get("contactPoint", "start") == "end"
            for link in connection.findall("laneLink"):
                key = (junction_id, source.text(connection, "incomingRoad"), source.integer(link, "from"))
                out.setdefault(key, []).append((road, at_end, source.integer(link, "to")))
    return out


def _linked(
    roads: dict[str, Road],
    lane_links: dict[tuple[str, str, int], list[tuple[str, bool, int]]],
    key: LaneKey,
    ahead: bool,
) -> list[LaneKey]:
    """Lanes that the file links to one end of ``key``: its driving end (``ahead``) or its beginning."""
    road_id, index, lane_id = key
    road = roads[road_id]
    lane = road.sections[index].lanes[lane_id]
    toward_end = road.forward(lane_id) == ahead
    other_lane = lane.successor if toward_end else lane.predecessor
    next_index = index + 1 if toward_end else index - 1
    if 0 <= next_index < len(road.sections):
        return [(road_id, next_index, other_lane)] if other_lane is not None else []
    link = road.successor if toward_end else road.predecessor
    if link is None:
        return []
    if link.is_junction:
        targets = lane_links.get((link.id, road_id, lane_id), [])
    else:
        targets = [(link.id, link.at_end, other_lane)] if other_lane is not None else []
    found = []
    for target_id, at_end, target_lane in targets:
        target = roads.get(target_id)
        # The other lane must be driven away from (ahead) or towards (behind) the point of contact.
        if target is not None and target_lane and target.forward(target_lane) != (at_end == ahead):
            found.append((target_id, len(target.sections) - 1 if at_end else 0, target_lane))
    return found


def _neighbours(roads: dict[str, Road], net: LaneNet) -> None:
    """Adjacent lanes of one direction whose marks allow to change; never inside junctions."""
    for (road_id, index, lane_id), draft in net.drafts.items():
        road = roads[road_id]
        outer = lane_id + (1 if lane_id > 0 else -1)
        other = net.drafts.get((road_id, index, outer))
        if other is None or road.in_junction:
            continue
        lane = road.sections[index].lanes[lane_id]
        outward_is_right = not road.left_hand
        if lane.change_outward:
            if outward_is_right:
                draft.right_neighbour = other.id
            else:
                draft.left_neighbour = other.id
        if lane.change_inward:
            if outward_is_right:
                other.left_neighbour = draft.id
            else:
                other.right_neighbour = draft.id


def _speed(source: XmlSource, road: Road, section: Section, lane_id: int) -> float:
    """By lane, else by the last sign passed on this road, else by road type, else the default."""
    lane = section.lanes[lane_id]
    if lane.speed is not None:
        return lane.speed
    sign = _speed_sign(source, road, section, lane_id)
    if sign is not None:
        return sign
    middle = (section.start + section.end) / 2.0
    passed = [speed for s, speed in road.speeds if s <= middle]
    return passed[-1] if passed else road.speeds[0][1] if road.speeds else DEFAULT_SPEED


def _inherit_speeds(roads: dict[str, Road], net: LaneNet) -> None:
    """Junction lanes whose road says nothing go as fast as what leads into them."""
    for key, draft in net.drafts.items():
        road = roads[key[0]]
        if road.in_junction and not road.speeds and road.sections[key[1]].lanes[key[2]].speed is None:
            leading = [net.drafts[k].speed_limit for k in net.approaches(key)]
            draft.speed_limit = min(leading, default=draft.speed_limit)


def _speed_sign(source: XmlSource, road: Road, section: Section, lane_id: int) -> float | None:
    forward = road.forward(lane_id)
    best: tuple[float, float] | None = None
    for sign in road.signals:
        if sign.get("type") != SPEED_SIGN or (source.number(sign, "t") < 0.0) != (forward != road.left_hand):
            continue
        s = source.number(sign, "s")
        value = source.number(sign, "value", 0.0) * _sign_unit(sign)
        along = s if forward else -s
        entered = section.start if forward else -section.end
        if value > 0.0 and along <= entered + 1.0 and (best is None or along > best[0]):
            best = (along, value)
    return None if best is None else best[1]


def _sign_unit(sign: ET.Element) -> float:
    return 0.44704 if sign.get("unit") == "mph" else 1.0 if sign.get("unit") == "m/s" else 1.0 / 3.6
