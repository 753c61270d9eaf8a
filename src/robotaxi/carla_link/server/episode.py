"""One episode: a town with its lights and the actors that clients put into it, stepped frame by frame.

The same town, seed and calls give the same states and the same sensor data, bit by bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robotaxi.carla_link.frames import carla_from_map, map_from_carla, planar, planar_many
from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.blueprints import Blueprint, Body, Tag, build_library
from robotaxi.carla_link.server.collisions import Touch, Walls, overlaps, resolve
from robotaxi.carla_link.server.lights import Light, TrafficLights
from robotaxi.carla_link.server.records import Records
from robotaxi.carla_link.server.sensors import Sensor, SensorError, Sight, make_sensor
from robotaxi.carla_link.server.surroundings import Surroundings
from robotaxi.carla_link.server.town import Town
from robotaxi.carla_link.server.vehicles import CONTROL_SIZE, MAX_STEER_DEG, REVERSE, Fleet
from robotaxi.sim.ego import AX, AY, VX, VY, YAW, YAW_RATE, X, Y
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import FloatArray, ObjectClass, RecordArray

SPECTATOR = 1
FIRST_LIGHT = 2
_FIRST_STREAM = 2
_LABEL = {
    Tag.CAR: ObjectClass.CAR,
    Tag.TRUCK: ObjectClass.TRUCK,
    Tag.BUS: ObjectClass.TRUCK,
    Tag.MOTORCYCLE: ObjectClass.BICYCLE,
    Tag.BICYCLE: ObjectClass.BICYCLE,
    Tag.PEDESTRIANS: ObjectClass.PEDESTRIAN,
}
_BEFORE_LINE = 1.0  # m from a stop line to the middle of the box that a light watches
_REMEMBERED = 10_000  # boxes of actors that are gone
_STREAMLESS = ("sensor.other.lane_invasion",)
_LARGEST = 1e7  # of any number that a client sends, in SI units
_ACKERMANN_GAIN = 0.6  # pedal per m/s that the speed differs
_SPAWN_HEIGHT = 3.0  # m: what is farther above or below is not in the way
_CLEAR_NOON = [10.0, 0.0, 0.0, 10.0, -1.0, 45.0, 2.0, 0.75, 0.1, 0.0, 1.0, 0.03, 0.0331, 0.0]


class ActorError(ValueError):
    """A call about an actor that cannot be followed; the message goes to the client."""


class Episode:
    """A town with what surrounds its lanes; ``number`` counts the episodes of a server."""

    def __init__(self, town: Town, seed: int, number: int, surroundings: Surroundings) -> None:
        self.town, self.seed, self.number, self.surroundings = town, seed, number, surroundings
        self.blueprints: dict[str, Blueprint] = build_library()
        self.actors: dict[int, Actor] = {}
        self.sensors: dict[int, Sensor] = {}
        self.fleet = Fleet.empty()
        self.walls = Walls(surroundings.walls)
        self.frame, self.time, self.delta = 0, 0.0, 0.0
        self.weather = list(_CLEAR_NOON)
        self.touches: list[Touch] = []
        self._yaw_rate_before: dict[int, float] = {}
        self.records = Records(self)
        self._ackermann: dict[int, tuple[float, float]] = {}
        self._gone: dict[int, Any] = {}
        start = town.spawn_points[0] if town.spawn_points else None
        pose = planar(start.x, start.y, start.z + 30.0, start.yaw, 0.9) if start else np.eye(4)
        self.actors[SPECTATOR] = Actor(SPECTATOR, "spectator", [0, "spectator", []], {}, pose)
        self.lights = TrafficLights(town, FIRST_LIGHT)
        for light in self.lights.lights.values():
            self._add_light(light)
        first_sign = FIRST_LIGHT + len(self.lights.lights)
        self.signs = dict(enumerate(town.signs, first_sign))
        for number, sign in self.signs.items():
            box = wire.bounding_box((sign.watched[0], -sign.watched[1], sign.watched[2]), sign.extent, actor=number)
            self.actors[number] = Actor(number, sign.kind, [0, sign.kind, []], {}, sign.T, box=box)
        self._next_actor = self._first_own = first_sign + len(self.signs)
        self._next_stream = _FIRST_STREAM

    def _add_light(self, light: Light) -> None:
        """x of a light points to the right of its traffic; its box lies over the lanes before the stop line."""
        signal = self.town.lane_map.signals[light.signal]
        x, y, z = signal.position.tolist()
        T = planar(x, y, z, signal.yaw + math.pi / 2.0)
        line = self.town.lane_map.stop_lines[signal.stop_line_id].points
        back = np.array([math.cos(signal.yaw), math.sin(signal.yaw), 0.0])
        middle = T[:3, :3].T @ (line.mean(axis=0) + _BEFORE_LINE * back - T[:3, 3])
        extent = (0.5 * float(np.linalg.norm(line[1] - line[0])), _BEFORE_LINE, 1.0)
        box = wire.bounding_box((float(middle[0]), -float(middle[1]), float(middle[2])), extent, actor=light.actor)
        name = "traffic.traffic_light"
        self.actors[light.actor] = Actor(light.actor, name, [0, name, []], {}, T, box=box)

    # ------------------------------------------------------------------ actors

    def actor(self, number: Any) -> Actor:
        found = self.actors.get(number) if isinstance(number, int) else None
        if found is None:
            raise ActorError(f"unable to find actor {number!r}")
        return found

    def box(self, number: Any) -> Any:
        """The bounding box of an actor, also of one that is gone: a client's TrafficManager asks for what it saw in the
        frame before, and a refusal ends that client."""
        return self._gone[number] if number in self._gone else self.actor(number).wire(b"")[3]

    def vehicle(self, number: Any) -> tuple[Actor, int]:
        """The actor and its row in the fleet."""
        actor = self.actor(number)
        if actor.kind != "vehicle":
            raise ActorError(f"actor {number} is a '{actor.type_id}', not a vehicle")
        return actor, self.fleet.row(actor.id)

    def spawn(self, description: Any, transform: Any, parent: int = 0) -> Actor:
        """Raises ActorError: unknown blueprint or parent, wrong attributes, no room."""
        name, attributes = self._described(description)
        blueprint = self.blueprints[name]
        pose = read_transform(transform)
        number = self._next_actor
        actor = Actor(number, name, [blueprint.uid, name, description[2]], attributes, pose, blueprint.body)
        if parent:
            actor.parent = self.actor(parent).id
            actor.T_parent = pose
            actor.T = self.actors[parent].T @ pose
        self._place(actor)
        if actor.kind == "sensor":
            if name.split(".")[1] in ("camera", "lidar") or name == "sensor.other.radar":
                if self.surroundings.scene is None:
                    raise ActorError(f"'{name}' needs something to see, and this server runs with --no-rendering")
                try:
                    self.sensors[number] = make_sensor(self.surroundings.scene, actor, self.seed)
                except SensorError as error:
                    raise ActorError(str(error)) from error
            actor.due = self.time
            if name not in _STREAMLESS:
                actor.stream, self._next_stream = self._next_stream, self._next_stream + 1
        self.actors[number] = actor
        self._next_actor += 1
        return actor

    def _described(self, description: Any) -> tuple[str, dict[str, str]]:
        if not (isinstance(description, list) and len(description) == 3 and isinstance(description[2], list)):
            raise ActorError("malformed actor description: expected [uid, id, [attributes]]")
        name = description[1]
        if name not in self.blueprints:
            raise ActorError(f"there is no blueprint '{name}'; see world.get_blueprint_library()")
        attributes = {a.id: a.value for a in self.blueprints[name].attributes}
        for item in description[2]:
            if not (isinstance(item, list) and len(item) == 3 and all(isinstance(item[k], str) for k in (0, 2))):
                raise ActorError(f"blueprint '{name}': malformed attribute {item!r}: expected [id, type, value]")
            attributes[item[0]] = item[2]
        return name, attributes

    def _place(self, actor: Actor) -> None:
        """Put a body on the ground where there is room for it."""
        body = actor.body
        if body is None or actor.parent:
            return
        x, y, z, yaw = pose_of(actor.T)
        others = self.agents()
        others = others[np.abs(others["z"] - z) < _SPAWN_HEIGHT]
        k = overlaps(x, y, yaw, body.size, others)
        if k is not None:
            number = int(others["id"][k])
            raise ActorError(
                f"Spawn failed because of collision at spawn position: '{actor.type_id}' would overlap "
                f"'{self.actors[number].type_id}' (actor {number})"
            )
        ground = float(self.town.ground(np.array([[x, y]]))[0][0])
        if actor.kind == "vehicle":
            self.fleet.add(actor.id, body, x, y, yaw, self._label(actor))
            actor.T = planar(x, y, ground, yaw)
        elif actor.kind == "walker":
            actor.T = planar(x, y, ground + body.size[2] / 2.0, yaw)
        else:
            actor.T = planar(x, y, ground, yaw)

    def destroy(self, number: Any) -> list[int]:
        """Streams that end with the actor. Raises ActorError when there is none."""
        actor = self.actor(number)
        if number < self._first_own:
            raise ActorError(f"actor {number} is a '{actor.type_id}', part of the town, and stays")
        for child in self.actors.values():
            if child.parent == number:
                child.parent, child.T_parent = 0, None
        self.fleet.remove(actor.id)
        self.walls.forget(actor.id)
        self._ackermann.pop(actor.id, None)
        self.sensors.pop(actor.id, None)
        self._gone[actor.id] = actor.wire(b"")[3]
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        del self.actors[actor.id]
        return [actor.stream] if actor.stream else []

    # ------------------------------------------------------------------ what clients tell actors to do

    def move(self, number: Any, transform: Any) -> None:
        actor, pose = self.actor(number), read_transform(transform)
        if actor.parent:
            actor.T_parent = pose
            actor.T = self.actors[actor.parent].T @ pose
            return
        actor.T = pose
        if actor.kind == "vehicle":
            row = self.fleet.row(actor.id)
            x, y, z, yaw = pose_of(pose)
            self.fleet.state[row, [X, Y, YAW]] = x, y, yaw
            self.fleet.ground[row] = z, 0.0
            if self.fleet.physics[row]:
                self._settle(np.array([row]))

    def relocate(self, number: Any, location: Any) -> None:
        actor = self.actor(number)
        _, rotation = actor.carla_pose()
        if actor.parent and actor.T_parent is not None:
            rotation = carla_from_map(actor.T_parent)[1]
        self.move(number, [location, rotation])

    def control(self, number: Any, values: Any) -> None:
        _, row = self.vehicle(number)
        _check_numbers(values, CONTROL_SIZE, "vehicle control")
        throttle, steer, brake = (min(max(v, low), 1.0) for v, low in zip(values, (0.0, -1.0, 0.0), strict=False))
        self.fleet.control[row] = (throttle, steer, brake, *values[3:])
        self._ackermann.pop(number, None)

    def ackermann(self, number: Any, values: Any) -> None:
        """[steer (rad), steer speed, speed (m/s), acceleration, jerk]: followed by a proportional controller
        until other pedals come."""
        vehicle, _ = self.vehicle(number)
        steer, _, speed, _, _ = read_numbers(values, 5, "Ackermann control").tolist()
        self._ackermann[vehicle.id] = (steer, speed)

    def _follow_ackermann(self) -> None:
        for number, (steer, speed) in self._ackermann.items():
            row = self.fleet.row(number)
            wanted = abs(speed) - abs(float(self.fleet.state[row, VX]))
            pedal = max(-1.0, min(1.0, _ACKERMANN_GAIN * wanted))
            control = np.zeros(CONTROL_SIZE)
            control[:3] = max(pedal, 0.0), max(-1.0, min(1.0, steer / math.radians(MAX_STEER_DEG))), max(-pedal, 0.0)
            control[REVERSE] = 1.0 if speed < 0.0 else 0.0
            self.fleet.control[row] = control

    def walk(self, number: Any, values: Any) -> None:
        actor = self._walker(number)
        if not (isinstance(values, list) and len(values) == 3):
            raise ActorError("malformed walker control: expected [direction, speed, jump]")
        direction = read_numbers(values[0], 3, "walker direction") * np.array([1.0, -1.0, 1.0])
        length = float(np.linalg.norm(direction))
        actor.direction = direction / length if length > 0.0 else direction
        actor.speed, actor.jump = float(read_numbers([values[1]], 1, "walker speed")[0]), bool(values[2])

    def walker_state(self, number: Any, transform: Any, speed: Any) -> None:
        """What the client's walker navigation sends: where the feet are."""
        actor = self._walker(number)
        before, pose = actor.T[:3, 3].copy(), read_transform(transform)
        pose[2, 3] += actor.body.size[2] / 2.0 if actor.body else 0.0
        actor.T = pose
        actor.speed = float(read_numbers([speed], 1, "walker speed")[0])
        actor.velocity = (pose[:3, 3] - before) / self.delta if self.delta > 0.0 else np.zeros(3)

    def _walker(self, number: Any) -> Actor:
        actor = self.actor(number)
        if actor.kind != "walker":
            raise ActorError(f"actor {number} is a '{actor.type_id}', not a walker")
        return actor

    def set_velocity(self, number: Any, vector: Any, *, constant: bool = False) -> None:
        """``constant``: in the body's frame and kept up until told otherwise."""
        actor = self.actor(number)
        v = read_numbers(vector, 3, "velocity") * np.array([1.0, -1.0, 1.0])
        if actor.kind == "vehicle":
            row = self.fleet.row(actor.id)
            if constant:
                self.fleet.constant_speed[row] = v[:2]
                self.fleet.state[row, [VX, VY]] = v[:2]
                return
            yaw = self.fleet.state[row, YAW]
            c, s = math.cos(yaw), math.sin(yaw)
            self.fleet.state[row, [VX, VY]] = c * v[0] + s * v[1], c * v[1] - s * v[0]
        actor.velocity = v

    def end_constant_velocity(self, number: Any) -> None:
        _, row = self.vehicle(number)
        self.fleet.constant_speed[row] = np.nan

    def set_angular_velocity(self, number: Any, vector: Any) -> None:
        actor = self.actor(number)
        rate = np.radians(read_numbers(vector, 3, "angular velocity")) * np.array([-1.0, 1.0, -1.0])
        if actor.kind == "vehicle":
            self.fleet.state[self.fleet.row(actor.id), YAW_RATE] = rate[2]
        actor.angular_velocity = rate

    def push(self, number: Any, vector: Any, seconds: float | None = None) -> None:
        """An impulse (N s), or a force (N) for ``seconds``."""
        actor = self.actor(number)
        impulse = read_numbers(vector, 3, "impulse") * np.array([1.0, -1.0, 1.0])
        if actor.kind == "vehicle":
            row = self.fleet.row(actor.id)
            change = impulse * (1.0 if seconds is None else seconds) / self.fleet.constants[row, 0]
            yaw = self.fleet.state[row, YAW]
            c, s = math.cos(yaw), math.sin(yaw)
            self.fleet.state[row, VX] += c * change[0] + s * change[1]
            self.fleet.state[row, VY] += c * change[1] - s * change[0]

    def twist(self, number: Any, vector: Any, seconds: float | None = None) -> None:
        """An angular impulse (kg m^2 deg/s), or a torque for ``seconds``, about the upright axis."""
        actor = self.actor(number)
        impulse = math.radians(-float(read_numbers(vector, 3, "angular impulse")[2]))
        if actor.kind == "vehicle":
            row = self.fleet.row(actor.id)
            inertia = self.fleet.constants[row, 1]
            self.fleet.state[row, YAW_RATE] += impulse * (1.0 if seconds is None else seconds) / inertia

    def simulate_physics(self, number: Any, on: Any) -> None:
        actor = self.actor(number)
        actor.physics = bool(on)
        if actor.kind == "vehicle":
            self.fleet.physics[self.fleet.row(actor.id)] = bool(on)

    # ------------------------------------------------------------------ time

    def step(self, dt: float) -> None:
        """Advance by one frame of ``dt`` seconds."""
        self.frame += 1
        self.time += dt
        self.delta = dt
        self.lights.step(dt)
        self._follow_ackermann()
        before = self.fleet.state[:, YAW_RATE].copy()
        self.fleet.step(dt)
        self._yaw_rate_before = dict(zip(self.fleet.ids.tolist(), before.tolist(), strict=True))
        for actor in self.actors.values():
            if actor.kind == "walker" and not actor.parent:
                self._walk_on(actor, dt)
        agents = self.agents()
        masses = {k: self._mass(k) for k in agents["id"].tolist()}
        self.touches = resolve(self.fleet, agents, masses, self.walls)
        for k in range(len(self.fleet), len(agents)):
            actor = self.actors[int(agents["id"][k])]
            if actor.T[0, 3] != agents["x"][k] or actor.T[1, 3] != agents["y"][k]:
                actor.T = actor.T.copy()
                actor.T[:2, 3] = agents["x"][k], agents["y"][k]
        self._settle(np.flatnonzero(self.fleet.physics))
        for actor in self.actors.values():
            if actor.parent and actor.T_parent is not None:
                actor.T = self.actors[actor.parent].T @ actor.T_parent

    def _mass(self, number: int) -> float:
        body = self.actors[number].body
        return body.mass if body else math.inf

    def _walk_on(self, actor: Actor, dt: float) -> None:
        if not actor.physics:
            return
        step = actor.direction * actor.speed
        actor.velocity = np.array([step[0], step[1], 0.0])
        if actor.speed > 0.0 and np.hypot(step[0], step[1]) > 0.0:
            x, y = actor.T[:2, 3] + step[:2] * dt
            height = actor.body.size[2] / 2.0 if actor.body else 0.9
            ground = float(self.town.ground(np.array([[x, y]]))[0][0])
            actor.T = planar(float(x), float(y), ground + height, math.atan2(step[1], step[0]))

    def _settle(self, rows: Any) -> None:
        """Cars stand on the ground, tilted as it is along them."""
        if not len(rows):
            return
        state = self.fleet.state[rows]
        half = 0.3 * self.fleet.size[rows, 0]
        ahead = np.stack([np.cos(state[:, YAW]), np.sin(state[:, YAW])], axis=1) * half[:, None]
        middle = state[:, [X, Y]]
        heights, limits = self.town.ground(np.concatenate([middle, middle + ahead, middle - ahead]))
        z, front, rear = heights.reshape(3, -1)
        self.fleet.limit[rows] = limits[: len(rows)]
        pitch = -np.arctan2(np.clip(front - rear, -half, half), 2.0 * half)
        self.fleet.ground[rows] = np.stack([z, pitch], axis=1)
        poses = planar_many(state[:, X], state[:, Y], z, state[:, YAW], pitch)
        for number, pose in zip(self.fleet.ids[rows].tolist(), poses, strict=True):
            self.actors[number].T = pose

    # ------------------------------------------------------------------ what is seen

    def agents(self) -> RecordArray:
        """All bodies (AGENT_DTYPE), the fleet's first in its order; z is the ground below them."""
        count = len(self.fleet)
        others = [a for a in self.actors.values() if a.body is not None and a.kind != "vehicle"]
        out = np.zeros(count + len(others), AGENT_DTYPE)
        cars, fleet = out[:count], self.fleet
        velocity, _ = fleet.motion()
        cars["id"], cars["color"] = fleet.ids, fleet.ids % 12
        cars["x"], cars["y"], cars["yaw"], cars["yaw_rate"] = fleet.state[:, [X, Y, YAW, YAW_RATE]].T
        cars["length"], cars["width"], cars["height"] = fleet.size.T
        cars["vx"], cars["vy"], cars["z"] = velocity[:, 0], velocity[:, 1], fleet.ground[:, 0]
        cars["label"] = fleet.label
        for k, actor in enumerate(others, count):
            body: Body = actor.body  # type: ignore[assignment]
            x, y, z, yaw = pose_of(actor.T)
            if actor.kind == "walker":
                z -= body.size[2] / 2.0
            v = actor.velocity
            out[k] = (actor.id, self._label(actor), actor.id % 12, x, y, z, yaw, *body.size, v[0], v[1], 0.0)
        return out

    def _label(self, actor: Actor) -> int:
        return int(_LABEL.get(actor.body.tag, ObjectClass.UNKNOWN)) if actor.body else 0

    def sight(self, actor: Actor, agents: RecordArray, dt: float) -> Sight:
        tags = {a.id: int(a.body.tag) for a in self.actors.values() if a.body is not None}
        stamp_ns = round(self.time * 1e9)
        lights = self.lights.states()
        own = self.root(actor)
        return Sight(self.frame, stamp_ns, dt, actor.T, agents, tags, lights, self.weather, own)

    def root(self, actor: Actor) -> int:
        """The actor that carries a sensor, 0 for none."""
        while actor.parent in self.actors:
            actor = self.actors[actor.parent]
            if actor.body is not None:
                return actor.id
        return 0

    def motion_at(self, actor: Actor) -> tuple[FloatArray, FloatArray]:
        """Acceleration (3,) without gravity and angular rate (3,) rad/s of a sensor, in map."""
        carrier = self.actors.get(self.root(actor))
        if carrier is None or carrier.kind != "vehicle":
            return np.zeros(3), np.zeros(3)
        row = self.fleet.row(carrier.id)
        s, half = self.fleet.state[row], self.fleet.constants[row, 3]
        R = carrier.T[:3, :3]
        lever = R.T @ (actor.T[:3, 3] - carrier.T[:3, 3])  # from the centre of mass
        rate = float(s[YAW_RATE])
        turn = (rate - self._yaw_rate_before.get(carrier.id, rate)) / self.delta if self.delta > 0.0 else 0.0
        # the state's AX is at the centre of mass, its AY at the rear axle
        along = s[AX] - rate * rate * lever[0] - turn * lever[1]
        aside = s[AY] + turn * (lever[0] + half) - rate * rate * lever[1]
        return R @ np.array([along, aside, 0.0]), R @ np.array([0.0, 0.0, rate])


def pose_of(T: FloatArray) -> tuple[float, float, float, float]:
    """x, y, z and yaw of a transform."""
    return float(T[0, 3]), float(T[1, 3]), float(T[2, 3]), math.atan2(float(T[1, 0]), float(T[0, 0]))


def read_numbers(values: Any, count: int, what: str) -> FloatArray:
    """Finite numbers (count,) from a message. Raises ActorError."""
    _check_numbers(values, count, what)
    return np.array([float(v) for v in values])


def _check_numbers(values: Any, count: int, what: str) -> None:
    if not isinstance(values, list) or len(values) != count:
        raise ActorError(f"malformed {what}: expected {count} numbers; this server speaks CARLA {wire.VERSION}")
    for value in values:
        if not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:  # NaN is not between them either
            raise ActorError(f"malformed {what}: {values!r} are not {count} finite numbers below {_LARGEST:g}")


def read_transform(value: Any) -> FloatArray:
    """T (4x4) in map of a CARLA transform as it stands in a message. Raises ActorError."""
    if not (isinstance(value, list) and len(value) == 2):
        raise ActorError("malformed transform: expected [[x, y, z], [pitch, yaw, roll]]")
    return map_from_carla(
        read_numbers(value[0], 3, "location").tolist(), read_numbers(value[1], 3, "rotation").tolist()
    )


__all__ = ["SPECTATOR", "ActorError", "Episode", "pose_of", "read_numbers", "read_transform"]
