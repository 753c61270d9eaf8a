"""Geometry of a town: every road, junction lane, signal, crosswalk and bay placed on the ground.

The result is plain data in OpenDRIVE's own terms (reference lines, lane numbers, links), so that
writing it down needs no further thought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from robotaxi.geometry.se2 import compose, relative, wrap_angle
from robotaxi.hdmap.plan_view import PlanElement
from robotaxi.sim.town.alignment import align, circle_arc, pose_at, straight_spans, total_length, turn
from robotaxi.sim.town.network import Bay, Node, Road, Town
from robotaxi.types import Pose2

LANE_WIDTH = 3.5  # m
CROSSWALK_WIDTH = 3.0  # m, along the road
CROSSWALK_SETBACK = 1.0  # m from the stop line to a junction's crosswalk
CROSSWALK_OVERHANG = 0.5  # m beyond the outer lane edges
SIGNAL_HEIGHT = 1.0  # m, of the head
SIGNAL_WIDTH = 0.35  # m
SIGNAL_CENTER = 5.0  # m above the road
SIGNAL_CLEARANCE = 1.2  # m between a signal's pole and the nearest lane
BAY_DEPTH = 3.0  # m from the lane's edge
BAY_TAPER = 18.0  # m, entry and exit
BAY_STRAIGHT = 16.0  # m at full depth
BAY_REAR_AXLE = 6.0  # m from the start of full depth to base_link of a stopped car
BAY_OFFSET = 3.0  # m from the lane's centre to base_link of a stopped car
BAY_JUNCTION_DISTANCE = 30.0  # m at least between a bay and a junction
RING_RADIUS = 22.0  # m, lane centre of a roundabout
RING_ANGLE = math.radians(28.0)  # from a roundabout arm's axis to where its lanes leave and join the ring
RING_SPEED = 25.0  # km/h
STRAIGHT_ANGLE = math.radians(30.0)  # smaller changes of direction are no turn
FIRST_RING_ROAD, FIRST_CONNECTING_ROAD, FIRST_JUNCTION = 101, 1001, 201
FIRST_SIGNAL, FIRST_CONTROLLER, FIRST_OBJECT = 5001, 7001, 8001
SIGN_TYPES = {"signal": "1000001", "stop": "206", "yield": "205"}  # as in CARLA's towns


@dataclass(frozen=True)
class Link:
    """What a road's end is connected to: ``kind`` 'road' or 'junction'; ``contact`` for roads."""

    kind: str
    id: int
    contact: str = ""


@dataclass(frozen=True)
class PlacedSignal:
    """A light or sign. ``s``, ``t``, ``turn``: on the road that carries it; ``turn`` is the heading of
    the traffic it is for, relative to that road."""

    id: int
    kind: str
    s: float
    t: float
    turn: float


@dataclass(frozen=True)
class PlacedObject:
    """A crosswalk or a bay: origin (``s``, ``t``, ``turn``) on its road and outline in its own axes."""

    id: int
    kind: str
    name: str
    s: float
    t: float
    turn: float
    outline: tuple[tuple[float, float], ...]


@dataclass
class LaidRoad:
    """A road in OpenDRIVE's terms; ``left`` and ``right`` count driving lanes."""

    id: int
    name: str
    elements: list[PlanElement]
    left: int
    right: int
    lane_offset: float
    speeds: tuple[tuple[float, float], ...]
    junction: int = -1
    predecessor: Link | None = None
    successor: Link | None = None
    lane_links: tuple[int, int] | None = None  # of lane -1 to (predecessor, successor), connecting roads only
    signals: list[PlacedSignal] = field(default_factory=list)
    references: list[int] = field(default_factory=list)  # signals that control lane -1
    objects: list[PlacedObject] = field(default_factory=list)

    @property
    def length(self) -> float:
        return total_length(self.elements)


@dataclass
class LaidJunction:
    id: int
    connections: list[tuple[int, int, int]] = field(default_factory=list)  # incoming road, connecting road, from lane
    controllers: list[int] = field(default_factory=list)


@dataclass
class LaidTown:
    name: str
    origin: tuple[float, float, float]
    roads: list[LaidRoad]
    junctions: list[LaidJunction]
    controllers: list[tuple[int, tuple[int, ...]]]  # id, signals that switch together


@dataclass(frozen=True)
class _Arm:
    """A road's end at a node. ``pose``: the road's axis there, looking into the node."""

    road: LaidRoad
    at_end: bool
    lanes: int
    pose: Pose2
    control: str

    @property
    def contact(self) -> str:
        return "end" if self.at_end else "start"

    def lane_in(self, k: int) -> int:
        """OpenDRIVE number of the k-th lane from the axis that leads into the node."""
        return -k if self.at_end else k

    def lane_out(self, k: int) -> int:
        return k if self.at_end else -k

    def pose_in(self, k: int) -> Pose2:
        return compose(self.pose, Pose2(0.0, -(k - 0.5) * LANE_WIDTH, 0.0))

    def pose_out(self, k: int) -> Pose2:
        return compose(self.pose, Pose2(0.0, (k - 0.5) * LANE_WIDTH, math.pi))


def lay_out(town: Town) -> LaidTown:
    """Place everything. Raises ValueError where the town's data contradict each other."""
    return _Layout(town).laid


class _Layout:
    def __init__(self, town: Town) -> None:
        self.laid = LaidTown(town.name, town.origin, [], [], [])
        self._next_ring, self._next_connecting = FIRST_RING_ROAD, FIRST_CONNECTING_ROAD
        self._next_junction, self._next_signal = FIRST_JUNCTION, FIRST_SIGNAL
        self._next_controller, self._next_object = FIRST_CONTROLLER, FIRST_OBJECT
        placed = {road.id: self._place_road(town, road) for road in town.roads}
        for node in town.nodes:
            arms = [
                _arm(placed[r.id], r, node, end) for r in town.roads for end in (False, True) if _ends(r, node, end)
            ]
            arms.sort(key=lambda arm: wrap_angle(arm.pose.yaw + math.pi) % (2.0 * math.pi))
            if node.roundabout:
                self._roundabout(node, arms)
            else:
                self._crossing(node, arms)

    # ------------------------------------------------------------------ roads, crosswalks, bays

    def _place_road(self, town: Town, road: Road) -> LaidRoad:
        a, b = town.node(road.a), town.node(road.b)
        after_a = (road.bends[0].x, road.bends[0].y) if road.bends else (b.x, b.y)
        before_b = (road.bends[-1].x, road.bends[-1].y) if road.bends else (a.x, a.y)
        elements = align(_toward(a, after_a), road.bends, _toward(b, before_b))
        laid = LaidRoad(road.id, road.name, elements, road.lanes, road.lanes, 0.0, road.speeds)
        half_width = road.lanes * LANE_WIDTH
        for s in road.crosswalks:
            laid.objects.append(self._crosswalk(s, half_width))
        for bay in road.bays:
            laid.objects.append(self._bay(laid, bay, half_width))
        self.laid.roads.append(laid)
        return laid

    def _crosswalk(self, s: float, half_width: float) -> PlacedObject:
        u, v = CROSSWALK_WIDTH / 2.0, half_width + CROSSWALK_OVERHANG
        return PlacedObject(self._object_id(), "crosswalk", "", s, 0.0, 0.0, ((-u, -v), (u, -v), (u, v), (-u, v)))

    def _bay(self, road: LaidRoad, bay: Bay, half_width: float) -> PlacedObject:
        rear = BAY_TAPER + BAY_REAR_AXLE
        ahead = BAY_STRAIGHT - BAY_REAR_AXLE + BAY_TAPER
        sign = 1.0 if bay.side == "right" else -1.0
        first, last = sorted((bay.s - sign * rear, bay.s + sign * ahead))
        if first < BAY_JUNCTION_DISTANCE or last > road.length - BAY_JUNCTION_DISTANCE:
            raise ValueError(
                f"bay at {bay.s:.0f} m of {road.name} lies less than {BAY_JUNCTION_DISTANCE:.0f} m "
                f"from a junction (road is {road.length:.0f} m long)"
            )
        if not any(a <= first and last <= b for a, b in straight_spans(road.elements)):
            raise ValueError(f"bay at {bay.s:.0f} m of {road.name} is not on a straight piece of it")
        edge = BAY_OFFSET - LANE_WIDTH / 2.0  # lane edge seen from the stopped car's base_link, to the left
        outline = (
            (-rear, edge),
            (-BAY_REAR_AXLE, edge - BAY_DEPTH),
            (BAY_STRAIGHT - BAY_REAR_AXLE, edge - BAY_DEPTH),
            (ahead, edge),
        )
        number = self._object_id()
        t = -sign * (half_width - LANE_WIDTH / 2.0 + BAY_OFFSET)
        name = f"{road.name} {bay.s:.0f} {bay.side}"
        return PlacedObject(number, "parkingSpace", name, bay.s, t, 0.0 if sign > 0 else math.pi, outline)

    # ------------------------------------------------------------------ junctions

    def _crossing(self, node: Node, arms: Sequence[_Arm]) -> None:
        junction = self._junction()
        for arm in arms:
            _attach(arm, Link("junction", junction.id))
        from_arm: list[list[LaidRoad]] = []
        for i, arm in enumerate(arms):
            exits = [(j, wrap_angle(arms[j].pose.yaw + math.pi - arm.pose.yaw)) for j in range(len(arms)) if j != i]
            has_straight = any(abs(angle) < STRAIGHT_ANGLE for _, angle in exits)
            roads = []
            for j, angle in exits:
                for k_in, k_out in _lane_pairs(arm.lanes, arms[j].lanes, angle, has_straight):
                    roads.append(self._connect(junction, arm, k_in, arms[j], k_out))
            from_arm.append(roads)
        straight = [r for roads in from_arm for r in roads if r.elements[0].kind == "line" and len(r.elements) == 1]
        phases: dict[int, list[int]] = {}
        for arm, roads in zip(arms, from_arm, strict=True):
            if arm.control:
                signal = self._signal(node, arm, arms, straight)
                for road in roads:
                    road.references.append(signal)
                if arm.control == "signal":
                    phases.setdefault(round(arm.pose.yaw / (math.pi / 2.0)) % 2, []).append(signal)
            if any(a.control == "signal" for a in arms):
                self._junction_crosswalk(arm, roads[0])
        for axis in sorted(phases):
            self.laid.controllers.append((self._next_controller, tuple(phases[axis])))
            junction.controllers.append(self._next_controller)
            self._next_controller += 1

    def _roundabout(self, node: Node, arms: Sequence[_Arm]) -> None:
        center = (node.x, node.y)
        count = len(arms)
        axis = [wrap_angle(arm.pose.yaw + math.pi) for arm in arms]
        first = self._next_ring
        self._next_ring += count
        for i, arm in enumerate(arms):
            junction = self._junction()
            leaves, joins = axis[i] - RING_ANGLE, axis[i] + RING_ANGLE
            ring_before, ring_after = first + (i - 1) % count, first + i
            elements = circle_arc(center, RING_RADIUS, joins, axis[(i + 1) % count] - RING_ANGLE)
            ring = LaidRoad(ring_after, f"Roundabout {i + 1}", elements, 0, 1, LANE_WIDTH / 2.0, ((0.0, RING_SPEED),))
            ring.predecessor = Link("junction", junction.id)
            ring.successor = Link("junction", junction.id - i + (i + 1) % count)
            self.laid.roads.append(ring)
            _attach(arm, Link("junction", junction.id))
            before, after = Link("road", ring_before, "end"), Link("road", ring_after, "start")
            arm_link = Link("road", arm.road.id, arm.contact)
            through = circle_arc(center, RING_RADIUS, leaves, joins)
            self._connecting(junction, through, before, -1, after, -1, RING_SPEED)
            at_exit, at_entry = _on_circle(center, leaves), _on_circle(center, joins)
            exit_path = turn(at_exit, _tuple(arm.pose_out(1)))
            self._connecting(junction, exit_path, before, -1, arm_link, arm.lane_out(1), RING_SPEED)
            entry_path = turn(_tuple(arm.pose_in(1)), at_entry)
            entry = self._connecting(junction, entry_path, arm_link, arm.lane_in(1), after, -1, RING_SPEED)
            if arm.control:
                place = compose(arm.pose, Pose2(0.0, -arm.lanes * LANE_WIDTH - SIGNAL_CLEARANCE, 0.0))
                entry.references.append(self._add_signal(arm.control, place, arm.pose.yaw, arm.road))

    def _connect(self, junction: LaidJunction, arm: _Arm, k_in: int, out: _Arm, k_out: int) -> LaidRoad:
        elements = turn(_tuple(arm.pose_in(k_in)), _tuple(out.pose_out(k_out)))
        start, end = Link("road", arm.road.id, arm.contact), Link("road", out.road.id, out.contact)
        speed = min(_end_speed(arm), _end_speed(out))
        return self._connecting(junction, elements, start, arm.lane_in(k_in), end, out.lane_out(k_out), speed)

    def _connecting(
        self,
        junction: LaidJunction,
        elements: list[PlanElement],
        start: Link,
        lane_from: int,
        end: Link,
        lane_to: int,
        speed: float,
    ) -> LaidRoad:
        road = LaidRoad(
            self._next_connecting,
            "",
            elements,
            0,
            1,
            LANE_WIDTH / 2.0,
            ((0.0, speed),),
            junction.id,
            start,
            end,
            (lane_from, lane_to),
        )
        self._next_connecting += 1
        junction.connections.append((start.id, road.id, lane_from))
        self.laid.roads.append(road)
        return road

    def _junction(self) -> LaidJunction:
        junction = LaidJunction(self._next_junction)
        self._next_junction += 1
        self.laid.junctions.append(junction)
        return junction

    def _junction_crosswalk(self, arm: _Arm, host: LaidRoad) -> None:
        """Across one arm, just inside the junction, written on a lane that starts there."""
        u0, u1 = CROSSWALK_SETBACK, CROSSWALK_SETBACK + CROSSWALK_WIDTH
        v = arm.lanes * LANE_WIDTH + CROSSWALK_OVERHANG
        start = pose_at(host.elements, 0.0)
        axis = relative(Pose2(*start), arm.pose)
        outline = tuple((u, w + axis.y) for u, w in ((u0, -v), (u1, -v), (u1, v), (u0, v)))
        host.objects.append(PlacedObject(self._object_id(), "crosswalk", "", 0.0, 0.0, 0.0, outline))

    # ------------------------------------------------------------------ signals and signs

    def _signal(self, node: Node, arm: _Arm, arms: Sequence[_Arm], straight: Sequence[LaidRoad]) -> int:
        if arm.control != "signal":
            place = compose(arm.pose, Pose2(0.0, -arm.lanes * LANE_WIDTH - SIGNAL_CLEARANCE, 0.0))
            return self._add_signal(arm.control, place, arm.pose.yaw, arm.road)
        place = compose(Pose2(node.x, node.y, arm.pose.yaw), _far_side(node, arm, arms))
        host = min(straight, key=lambda road: abs(_on_line(road, place).y))
        return self._add_signal("signal", place, arm.pose.yaw, host)

    def _add_signal(self, kind: str, place: Pose2, heading: float, host: LaidRoad) -> int:
        signal = self._next_signal
        self._next_signal += 1
        local = _on_line(host, place)
        host.signals.append(PlacedSignal(signal, kind, local.x, local.y, wrap_angle(heading - (place.yaw - local.yaw))))
        return signal

    def _object_id(self) -> int:
        self._next_object += 1
        return self._next_object - 1


def _far_side(node: Node, arm: _Arm, arms: Sequence[_Arm]) -> Pose2:
    """Where an approach's light stands: beyond the crossing road, at its right, on the ground.

    Relative to the node's centre, x in driving direction.
    """
    by_turn = {
        round(wrap_angle(a.pose.yaw + math.pi - arm.pose.yaw) / (math.pi / 2.0)): a for a in arms if a is not arm
    }
    ahead, right = by_turn.get(0), by_turn.get(-1)
    crossing = max(a.lanes for turn_index, a in by_turn.items() if turn_index in (-1, 1))
    if ahead is None:
        return Pose2(crossing * LANE_WIDTH + 2.0, -LANE_WIDTH, 0.0)
    outer = (max(ahead.lanes, right.lanes if right else 0) - 0.5) * LANE_WIDTH
    reach = node.radius - outer - LANE_WIDTH / 2.0 - SIGNAL_CLEARANCE  # inside of the right turn's curb
    corner = node.radius - reach / math.sqrt(2.0)
    if right is None:
        return Pose2(corner, -arm.lanes * LANE_WIDTH - 2.0, 0.0)
    return Pose2(corner, -corner, 0.0)


def _lane_pairs(lanes_in: int, lanes_out: int, angle: float, has_straight: bool) -> list[tuple[int, int]]:
    """Lanes (counted from the axis) joined by one movement: left from the left lane, right from the
    right lane, straight from all."""
    if abs(angle) < STRAIGHT_ANGLE:
        return [(k, k) for k in range(1, min(lanes_in, lanes_out) + 1)]
    if angle > 0.0:
        return [(1, 1)]
    return [(lanes_in, lanes_out)]


def _ends(road: Road, node: Node, at_end: bool) -> bool:
    return (road.b if at_end else road.a) == node.id


def _arm(laid: LaidRoad, road: Road, node: Node, at_end: bool) -> _Arm:
    x, y, heading = laid.elements[-1].end if at_end else pose_at(laid.elements, 0.0)
    # Roads meet their nodes along the axes; the exact angle keeps rounding out of the junction.
    yaw = wrap_angle(round((heading if at_end else heading + math.pi) / (math.pi / 2.0)) * math.pi / 2.0)
    return _Arm(laid, at_end, road.lanes, Pose2(x, y, yaw), road.control_b if at_end else road.control_a)


def _attach(arm: _Arm, link: Link) -> None:
    if arm.at_end:
        arm.road.successor = link
    else:
        arm.road.predecessor = link


def _end_speed(arm: _Arm) -> float:
    return arm.road.speeds[-1 if arm.at_end else 0][1]


def _toward(node: Node, point: tuple[float, float]) -> tuple[float, float]:
    dx, dy = point[0] - node.x, point[1] - node.y
    distance = math.hypot(dx, dy)
    return node.x + dx / distance * node.radius, node.y + dy / distance * node.radius


def _on_circle(center: tuple[float, float], angle: float) -> tuple[float, float, float]:
    x, y = center[0] + RING_RADIUS * math.cos(angle), center[1] + RING_RADIUS * math.sin(angle)
    return x, y, wrap_angle(angle + math.pi / 2.0)


def _on_line(road: LaidRoad, place: Pose2) -> Pose2:
    """``place`` seen from the road's last straight end when it lies there, else from its start."""
    start = Pose2(*pose_at(road.elements, 0.0))
    local = relative(start, place)
    if local.x >= 0.0 and len(road.elements) == 1:
        return local
    end = Pose2(*pose_at(road.elements, road.length))
    from_end = relative(end, place)
    if abs(from_end.x) < abs(local.x):
        return Pose2(road.length + from_end.x, from_end.y, from_end.yaw)
    return local


def _tuple(pose: Pose2) -> tuple[float, float, float]:
    return pose.x, pose.y, pose.yaw
