"""The simulated world: the ego and everybody else on one map, advanced tick by tick.

The same map, vehicle, config, seed, start and commands give the same states bit by bit. All state that
changes is in `World.snapshot`, plain and picklable; the rest is built from the constructor's arguments.
"""

from __future__ import annotations

import copy
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import TICK_NS
from robotaxi.sim import contact
from robotaxi.sim.battery import Battery
from robotaxi.sim.cabin import Cabin, RiderPlan
from robotaxi.sim.contact import Box
from robotaxi.sim.ego import AX, AY, DRIVE, VX, VY, YAW, YAW_RATE, EgoVehicle, X, Y
from robotaxi.sim.events.script import Script
from robotaxi.sim.events.stage import Director
from robotaxi.sim.infractions import Infraction, Referee
from robotaxi.sim.lights import Lights
from robotaxi.sim.pedestrians import Pedestrians
from robotaxi.sim.terrain import STOREY, ground_heights
from robotaxi.sim.traffic.network import RoadNetwork, points_in_polygon
from robotaxi.sim.traffic.presence import Presence
from robotaxi.sim.traffic.traffic import Surroundings, spawn
from robotaxi.sim.view import AGENT_DTYPE, REMEMBERED_NS, EgoTruth, Moment, WorldView
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, LightState, ObjectClass, Pose2, RecordArray, VehicleParams, VehicleReport

FloatArray = NDArray[np.float64]

_DT = TICK_NS * 1e-9
_REMEMBERED = REMEMBERED_NS // TICK_NS  # moments
_GROUND_RADIUS = 30.0  # m within which the nearest lane gives the height of the ground
_LANE = 4.0  # m beside the nearest lane that others are looked for at the start
_WALKING_ROOM = 0.5  # m between a walker's line and what stands there
_FALLEN_SIZE = 1.5  # m, what a person on the ground takes
_KIND = {int(ObjectClass.PEDESTRIAN): "collision_pedestrian"}
_NAME = {
    int(ObjectClass.CAR): "a car",
    int(ObjectClass.TRUCK): "a truck",
    int(ObjectClass.BICYCLE): "a motorbike",
    int(ObjectClass.PEDESTRIAN): "a pedestrian",
}

__all__ = ["Infraction", "RiderPlan", "World"]


@dataclass
class Clock:
    """``touching``: agent id -> time (ns) of the last contact with it."""

    tick: int
    touching: dict[int, int]


class World:
    """See the module. ``parked`` and ``obstacles`` (AGENT_DTYPE) stand still for ever; an obstacle's
    label is UNKNOWN. ``script``: what shall happen besides. Raises ValueError for a start that is not finite or a
    map without lanes."""

    def __init__(
        self,
        lane_map: LaneMap,
        vehicle: VehicleParams,
        config: WorldConfig,
        seed: int,
        start: Pose2,
        riders: tuple[RiderPlan, ...] = (),
        parked: RecordArray | None = None,
        obstacles: RecordArray | None = None,
        script: Script | None = None,
    ) -> None:
        empty = np.zeros(0, dtype=AGENT_DTYPE)
        self._map, self._vehicle, self._config = lane_map, vehicle, config
        self._static = np.concatenate(
            [
                _checked(parked if parked is not None else empty, "parked"),
                _checked(obstacles if obstacles is not None else empty, "obstacles"),
            ]
        )
        self._static_reach = _reach(self._static)
        self._ego = EgoVehicle(vehicle, config, start)
        self._net = RoadNetwork(lane_map, config)
        self._lights = Lights(lane_map, config, _stream(seed, "lights"))
        blocked = self._net.blocked_by(self._static)
        self._traffic = spawn(self._net, config, _stream(seed, "traffic"), blocked, (start.x, start.y))
        self._pedestrians = Pedestrians(
            lane_map, self._net, self._lights, config, _stream(seed, "pedestrians"), self._is_free
        )
        self._referee = Referee(lane_map, self._net, config)
        self._cabin = Cabin(tuple(riders))
        self._battery = Battery(config.battery_at_start)
        self._clock = Clock(0, {})
        self._director = Director(script, self._net) if script is not None else None
        self._ground_z = ground_heights(self._net.samples)
        self._height = self._start_height(start)
        self._past: list[Moment] = []
        self._shown: RecordArray | None = None
        self._shining: tuple[int, dict[int, LightState]] = (-1, {})

    # ------------------------------------------------------------------ public

    @property
    def stamp_ns(self) -> int:
        return self._clock.tick * TICK_NS

    @property
    def infractions(self) -> list[Infraction]:
        """In order of their beginning. The ``value`` of the last off_road entry grows while it lasts."""
        return self._referee.offences.infractions

    @property
    def rejected_commands(self) -> int:
        """Commands that held NaN or infinity and were not followed."""
        return self._ego.motion.rejected_commands

    @property
    def signal_plans(self) -> Lights:
        return self._lights

    def step(self, command: Command | None) -> None:
        """Advance by TICK_NS. None holds the last command; before the first, the brakes are held."""
        config, clock = self._config, self._clock
        self._remember()
        self._shown = None
        clock.tick += 1
        t = self.stamp_ns * 1e-9
        lights = self._signals()

        before = self._ego.rear_axle()
        self._ego.step(command)
        x, y, yaw, speed, _ = self._ego.rear_axle()
        box = self._box()

        fleet = self._traffic.fleet
        presence = Presence()
        presence.add_ego(self._net, box.x, box.y, yaw, (box.length, box.width), speed, config.traffic_horizon)
        self._traffic.locate(presence)
        for x_fallen, y_fallen in self._pedestrians.fallen():
            presence.add_wreck(self._net, x_fallen, y_fallen, 0.0, _FALLEN_SIZE, _FALLEN_SIZE)
        if self._director is not None:
            self._director.enter(presence)
        presence.close()
        waiting, walking = self._pedestrians.claims()
        self._pedestrians.step(
            clock.tick, t, _DT, presence, fleet.speed.tolist(), (fleet.records["length"] / 2.0).tolist()
        )
        self._traffic.step(clock.tick, _DT, Surroundings(presence, lights, waiting, walking))

        if self._director is not None:
            agents = np.concatenate([fleet.records, self._pedestrians.crowd.records])
            self._director.step(_DT, self._box(), speed, agents, lights)
        self._contacts()
        box = self._box()
        x, y, _, speed, _ = self._ego.rear_axle()
        self._cabin.step(box.x, box.y, speed, _DT, config)
        self._battery.step(speed, self._ego.rear_accelerations()[0], _DT, config)
        moved = math.hypot(x - before[0], y - before[1])
        self._referee.watch(self.stamp_ns, box, speed, self._cabin.door_open, moved, lights, presence)
        self._height = self._ground(x, y)

    def view(self) -> WorldView:
        """The moving agents are a copy that cannot be changed; parked ones are the caller's own."""
        x, y, yaw, speed, lateral_speed = self._ego.rear_axle()
        acceleration, lateral_acceleration = self._ego.rear_accelerations()
        vector = self._ego.motion.vector
        truth = EgoTruth(
            stamp_ns=self.stamp_ns,
            x=x,
            y=y,
            z=self._height,
            yaw=yaw,
            speed=speed,
            lateral_speed=lateral_speed,
            acceleration=acceleration,
            lateral_acceleration=lateral_acceleration,
            yaw_rate=float(vector[YAW_RATE]),
            steering=self._ego.steering,
        )
        t = self.stamp_ns * 1e-9
        conditions = None if self._director is None else self._director.conditions(t)
        return WorldView(self.stamp_ns, truth, self._agents(), self._signals(), conditions, tuple(self._past))

    def report(self) -> VehicleReport:
        """What the vehicle's own bus says, without sensor noise."""
        cabin = self._cabin
        return VehicleReport(
            stamp_ns=self.stamp_ns,
            speed=self._ego.rear_axle()[3],
            steering=self._ego.steering,
            acceleration=self._ego.rear_accelerations()[0],
            door_open=cabin.door_open,
            seat_occupied=cabin.seat_occupied,
            belt_fastened=cabin.belt_fastened,
            energy=self._battery.charge,
        )

    def ask_doors(self, wanted_open: bool) -> bool:
        """Open or close the doors from outside; false where the car moves or a rider has the door in hand."""
        return self._cabin.ask_doors(wanted_open, self._ego.rear_axle()[3], self._config)

    def snapshot(self) -> dict[str, Any]:
        """All state that changes, as plain picklable objects independent of this world."""
        return copy.deepcopy(self._state())

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot` of a world made from the same arguments.

        Raises ValueError when it does not fit this world.
        """
        state = copy.deepcopy(snapshot)
        missing = sorted(set(self._state()) - set(state))
        if missing:
            raise ValueError(f"snapshot: '{missing[0]}' is missing")
        for name, now in (("traffic", self._traffic.fleet.records), ("pedestrians", self._pedestrians.crowd.records)):
            if len(state[name].records) != len(now):
                raise ValueError(f"snapshot: {len(state[name].records)} {name}, this world has {len(now)}")
        self._clock = state["clock"]
        self._ego.motion = state["ego"]
        self._traffic.fleet = state["traffic"]
        self._pedestrians.crowd = state["pedestrians"]
        self._cabin = state["cabin"]
        self._battery = state["battery"]
        self._referee.offences = state["offences"]
        self._height, self._past, self._shown = state["height"], state["past"], None
        if self._director is not None:
            self._director.stage = state["stage"]

    # ------------------------------------------------------------------ inside

    def _agents(self) -> RecordArray:
        """A copy of all who move, the ego not among them: one a tick, for all who ask, and not to be changed."""
        if self._shown is None:
            groups = [self._traffic.fleet.records, self._pedestrians.crowd.records]
            if self._director is not None:
                groups.append(self._director.records(self._height))
            # np.concatenate would work out the common type of the records each time, in Python
            shown: RecordArray = np.empty(sum(len(group) for group in groups), AGENT_DTYPE)
            begin = 0
            for group in groups:
                shown[begin : begin + len(group)] = group
                begin += len(group)
            shown.flags.writeable = False
            self._shown = shown
        return self._shown

    def _signals(self) -> dict[int, LightState]:
        """What the signals show: worked out once a tick, and not to be changed."""
        if self._shining[0] != self.stamp_ns:
            self._shining = self.stamp_ns, self._lights.states(self.stamp_ns * 1e-9)
        return self._shining[1]

    def _remember(self) -> None:
        """Keep this moment for who looks back from a later one."""
        x, y, yaw, _, _ = self._ego.rear_axle()
        self._past.append(Moment(self.stamp_ns, (x, y, self._height, yaw), self._agents()))
        if len(self._past) > _REMEMBERED:
            self._past.pop(0)

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"stage": self._director.stage} if self._director is not None else {}
        return state | {
            "clock": self._clock,
            "ego": self._ego.motion,
            "traffic": self._traffic.fleet,
            "pedestrians": self._pedestrians.crowd,
            "cabin": self._cabin,
            "battery": self._battery,
            "offences": self._referee.offences,
            "height": self._height,
            "past": self._past,
        }

    def _box(self) -> Box:
        x, y, yaw, _, _ = self._ego.rear_axle()
        offset = self._vehicle.center_offset
        return Box(
            x + offset * math.cos(yaw), y + offset * math.sin(yaw), yaw, self._vehicle.length, self._vehicle.width
        )

    def _start_height(self, start: Pose2) -> float:
        """Of the road that leads where the car points, where one passes over another."""
        distance, nearest = self._net.nearby.nearest(start.x, start.y, _GROUND_RADIUS)
        if nearest < 0:
            return 0.0
        near = self._net.nearby.within(start.x, start.y, distance + _LANE)
        if np.ptp(self._ground_z[near]) > STOREY:
            nearest = int(near[np.argmax(np.cos(self._net.yaw[near] - start.yaw))])
        return float(self._ground_z[nearest])

    def _ground(self, x: float, y: float) -> float:
        """Height of the road there; where one road passes over another, of the one that is driven on."""
        _, nearest = self._net.nearby.nearest(x, y, _GROUND_RADIUS)
        if nearest < 0:
            return 0.0
        height = float(self._ground_z[nearest])
        if abs(height - self._height) > STOREY:
            near = self._net.nearby.within(x, y, _GROUND_RADIUS)
            near = near[np.abs(self._ground_z[near] - self._height) <= STOREY]
            if near.size:
                away = np.hypot(self._net.samples[near, 0] - x, self._net.samples[near, 1] - y)
                height = float(self._ground_z[near[np.argmin(away)]])
        return height

    def _is_free(self, points: FloatArray) -> bool:
        """Whether somebody can walk along ``points`` (N, 2): off the road and off what stands there."""
        if self._map.drivable(points).any():
            return False
        reach = np.hypot(self._static["length"], self._static["width"]) / 2.0 + _WALKING_ROOM
        low, high = points.min(axis=0), points.max(axis=0)
        near = (self._static["x"] > low[0] - reach) & (self._static["x"] < high[0] + reach)
        near &= (self._static["y"] > low[1] - reach) & (self._static["y"] < high[1] + reach)
        for box in self._static[near]:
            c, s = math.cos(box["yaw"]), math.sin(box["yaw"])
            dx, dy = points[:, 0] - box["x"], points[:, 1] - box["y"]
            room_x, room_y = box["length"] / 2.0 + _WALKING_ROOM, box["width"] / 2.0 + _WALKING_ROOM
            if ((np.abs(c * dx + s * dy) < room_x) & (np.abs(c * dy - s * dx) < room_y)).any():
                return False
        return True

    # ------------------------------------------------------------------ contact

    def _contacts(self) -> None:
        box = self._box()
        reach = math.hypot(box.length, box.width) / 2.0
        for group, records in self._others().items():
            x, y, radius = self._static_reach if group == "static" else _reach(records)
            near = _within_reach(x, y, radius, box.x, box.y, reach)
            if near.size:
                near = near[np.abs(records["z"][near] - self._height) < STOREY]  # not on the bridge above
            if not near.size:
                continue
            mask, depth, normal = contact.overlap(box, records[near])
            for k in np.flatnonzero(mask).tolist():
                self._touch(group, int(near[k]), float(depth[k]), normal[k])

    def _others(self) -> dict[str, RecordArray]:
        """Whom the ego may touch, by group."""
        groups = {
            "traffic": self._traffic.fleet.records,
            "people": self._pedestrians.crowd.records,
            "static": self._static,
        }
        if self._director is not None:
            groups["scripted"] = self._director.records(self._height)
        return groups

    def _touch(self, group: str, k: int, depth: float, normal: FloatArray) -> None:
        record = self._others()[group][k]
        motion = self._ego.motion.vector
        c, s = math.cos(motion[YAW]), math.sin(motion[YAW])
        velocity = np.array([c * motion[VX] - s * motion[VY], s * motion[VX] + c * motion[VY]])
        other_velocity = np.array([record["vx"], record["vy"]]) if group != "static" else np.zeros(2)
        box = self._box()
        other = Box(*(float(record[name]) for name in ("x", "y", "yaw", "length", "width")))
        self._judge(record, box, other, velocity, other_velocity, normal, group)

        # the contact: the other's centre drawn into the ego's box
        local = np.array([c * (other.x - box.x) + s * (other.y - box.y), c * (other.y - box.y) - s * (other.x - box.x)])
        local = np.clip(local, [-box.length / 2.0, -box.width / 2.0], [box.length / 2.0, box.width / 2.0])
        at = np.array([box.x + c * local[0] - s * local[1], box.y + s * local[0] + c * local[1]])
        mass = math.inf if group == "static" else contact.MASS.get(int(record["label"]), math.inf)
        new, yaw_rate, other_new = contact.impulse(
            normal,
            at - motion[[X, Y]],
            velocity,
            float(motion[YAW_RATE]),
            self._ego.mass,
            self._ego.yaw_inertia,
            other_velocity,
            mass,
            self._config.contact_restitution,
        )
        # part the two: the lighter one gives way
        share = 0.0 if mass < 0.5 * self._ego.mass else 1.0 if math.isinf(mass) else mass / (mass + self._ego.mass)
        motion[[X, Y]] += normal * depth * share
        if group != "static":
            if group == "scripted":
                assert self._director is not None
                shift = -normal * depth * (1.0 - share)
                self._director.hit(k, float(other_new[0]), float(other_new[1]), float(shift[0]), float(shift[1]))
            elif group == "traffic":
                self._traffic.knock(k, float(other_new[0]), float(other_new[1]))
            else:
                self._pedestrians.push(k, -normal[0] * depth * (1.0 - share), -normal[1] * depth * (1.0 - share))
                self._pedestrians.knock(k, float(other_new[0]), float(other_new[1]))
            record["x"] -= normal[0] * depth * (1.0 - share)
            record["y"] -= normal[1] * depth * (1.0 - share)
        motion[VX], motion[VY] = c * new[0] + s * new[1], c * new[1] - s * new[0]
        motion[YAW_RATE] = yaw_rate
        motion[AX] = motion[AX] + (c * (new - velocity)[0] + s * (new - velocity)[1]) / _DT
        motion[AY] = motion[AY] + (c * (new - velocity)[1] - s * (new - velocity)[0]) / _DT
        motion[DRIVE] = min(motion[DRIVE], 0.0)

    def _judge(
        self,
        record: np.void,
        box: Box,
        other: Box,
        velocity: FloatArray,
        other_velocity: FloatArray,
        normal: FloatArray,
        group: str,
    ) -> None:
        """Record the collision unless it is the same one going on."""
        who, now = int(record["id"]), self.stamp_ns
        key = who if group != "static" else -1 - who
        last = self._clock.touching.get(key)
        self._clock.touching[key] = now
        if last is not None and now - last <= self._config.contact_repeat_time * 1e9:
            return
        speed, other_speed = float(np.hypot(*velocity)), float(np.hypot(*other_velocity))
        side = contact.touched_side(box, other)
        fault = contact.at_fault(side, speed, other_speed, self._astray(box), self._config.contact_stopped_speed)
        label = int(record["label"])
        kind = _KIND.get(label, "collision_vehicle" if group == "traffic" or label in _NAME else "collision_static")
        name = _NAME.get(label, "an obstacle")
        closing = max(0.0, -float((velocity - other_velocity) @ normal))
        detail = (
            f"{side.value} met {name} (id {who}) at {closing:.1f} m/s; "
            f"ego at {speed:.1f} m/s, the other at {other_speed:.1f} m/s"
        )
        self._referee.add(Infraction(now, kind, fault, who, box.x, box.y, detail, closing))

    def _astray(self, box: Box) -> bool:
        """nuPlan's condition for blame in a lateral collision: astride two lanes or off the road."""
        corners = box.corners()
        if not self._map.drivable(corners).all():
            return True
        polygons = (np.concatenate([lane.left, lane.right[::-1]])[:, :2] for lane in self._map.lanes.values())
        return not any(points_in_polygon(corners, polygon).all() for polygon in polygons)


def _stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each part of the world, so that one does not disturb another."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _reach(records: RecordArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centres and radii of the circles that hold the boxes."""
    radius = 0.5 * np.hypot(records["length"], records["width"])
    return np.ascontiguousarray(records["x"]), np.ascontiguousarray(records["y"]), radius


@njit(cache=True)  # type: ignore[untyped-decorator]
def _within_reach(
    x: FloatArray, y: FloatArray, radius: FloatArray, at_x: float, at_y: float, reach: float
) -> NDArray[np.int64]:
    """Indices of the circles that may reach one of radius ``reach`` about a point."""
    found = np.empty(len(x), np.int64)
    count = 0
    for k in range(len(x)):
        if max(abs(x[k] - at_x), abs(y[k] - at_y)) < radius[k] + reach:
            found[count] = k
            count += 1
    return found[:count]


def _checked(boxes: RecordArray, name: str) -> RecordArray:
    boxes = np.asarray(boxes)
    if boxes.dtype != AGENT_DTYPE:
        raise ValueError(f"{name}: expected records of AGENT_DTYPE, found {boxes.dtype}")
    for key in ("x", "y", "yaw", "length", "width"):
        if not np.isfinite(boxes[key]).all():
            raise ValueError(f"{name}: '{key}' of record {int(np.argmin(np.isfinite(boxes[key])))} is not finite")
    return boxes
