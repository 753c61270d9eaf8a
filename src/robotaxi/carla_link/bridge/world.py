"""A CARLA server seen as the built-in world is: `CarlaWorld` steps like `sim.World`, `CarlaRig` measures like
`sim.sensors.SimulatedRig`. What drives is measured by CARLA's sensors; what is judged is read off its snapshots.
"""

from __future__ import annotations

import hashlib
import logging
import math
import queue
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from robotaxi.carla_link.bridge import measure
from robotaxi.carla_link.bridge.actuation import Actuation
from robotaxi.carla_link.bridge.connection import CarlaConnection, CarlaError, CarlaOptions
from robotaxi.carla_link.frames import map_from_carla
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import TICK_NS
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim import contact
from robotaxi.sim.cabin import Cabin, RiderPlan
from robotaxi.sim.contact import Box
from robotaxi.sim.infractions import Infraction, Referee
from robotaxi.sim.sensors.wheels import Wheels
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import Presence
from robotaxi.sim.view import AGENT_DTYPE, EgoTruth, WorldView
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import (
    Command,
    FloatArray,
    GnssFix,
    ImuSample,
    LightState,
    ObjectClass,
    Pose2,
    RecordArray,
    VehicleParams,
    VehicleReport,
)

LOG = logging.getLogger("robotaxi.carla_bridge")
_DT = TICK_NS * 1e-9
_RECONNECT_S = 60.0
_CONTACT_STOPPED = 0.05  # m/s
_LIGHTS = {"Red": LightState.RED, "Yellow": LightState.AMBER, "Green": LightState.GREEN, "Off": LightState.OFF}


class CarlaWorld:
    """``phase_of``: name of a sensor -> stamp (ns) of its first measurement. Raises CarlaError."""

    def __init__(
        self,
        options: CarlaOptions,
        lane_map: LaneMap,
        vehicle: VehicleParams,
        rig: SensorRig,
        config: WorldConfig,
        start: Pose2,
        riders: tuple[RiderPlan, ...],
        phase_of: Callable[[str], int],
        *,
        camera: bool,
    ) -> None:
        self._options, self._map, self._vehicle, self._rig = options, lane_map, vehicle, rig
        self._config, self._phase_of, self._camera = config, phase_of, camera
        self._net = RoadNetwork(lane_map, config)
        self._referee = Referee(lane_map, self._net, config)
        self._cabin = Cabin(tuple(riders))
        self._tick, self._frames = 0, dict[int, int]()
        self._kinds: dict[int, tuple[int, float, float, float]] = {}
        self._touched: dict[int, int] = {}
        self._connect(start)
        if hashlib.sha256(self.connection.map.to_opendrive().encode()).hexdigest() != lane_map.checksum:
            LOG.warning("the map '%s' is not the file that the server drives on; they may differ", lane_map.name)
        self.connection.mount(phase_of, 0)
        self._observe(self.connection.tick(0.0, 0.0, 1.0))

    def _connect(self, start: Pose2) -> None:
        self.connection = CarlaConnection(self._options, self._rig, start, _DT, camera=self._camera)
        self._actuation = Actuation(self._vehicle, self.connection.gear, _DT)
        self._lights = _lights_of(self.connection.world, self._map)
        self._before: tuple[float, float, float] | None = None

    # ------------------------------------------------------------------ as sim.World

    @property
    def stamp_ns(self) -> int:
        return self._tick * TICK_NS

    @property
    def infractions(self) -> list[Infraction]:
        return self._referee.offences.infractions

    def step(self, command: Command | None) -> None:
        """Advance by TICK_NS: pedals, one frame of the server, and what came of it."""
        self._tick += 1
        pedals = self._actuation.step(command, self._view.ego.speed)
        try:
            self.connection.mount(self._phase_of, self.stamp_ns)
            snapshot = self.connection.tick(*pedals, reverse=self._actuation.reverse)
        except RuntimeError as error:
            snapshot = self._reconnect(error)
        before = self._view.ego
        self._observe(snapshot)
        ego = self._view.ego
        box = self._box(ego)
        self._cabin.step(box.x, box.y, ego.speed, _DT, self._config)
        self._judge_contacts(box)
        presence = Presence()
        presence.add_ego(
            self._net, box.x, box.y, ego.yaw, (box.length, box.width), ego.speed, self._config.traffic_horizon
        )
        near = np.hypot(self._view.agents["x"] - box.x, self._view.agents["y"] - box.y) < 60.0
        for other in self._view.agents[near]:
            presence.add_wreck(self._net, *(float(other[k]) for k in ("x", "y", "yaw", "length", "width")))
        presence.close()
        moved = math.hypot(ego.x - before.x, ego.y - before.y)
        self._referee.watch(self.stamp_ns, box, ego.speed, self._cabin.door_open, moved, self._view.lights, presence)

    def view(self) -> WorldView:
        return self._view

    def report(self) -> VehicleReport:
        cabin, ego = self._cabin, self._view.ego
        return VehicleReport(
            stamp_ns=self.stamp_ns,
            speed=ego.speed,
            steering=ego.steering,
            acceleration=ego.acceleration,
            door_open=cabin.door_open,
            seat_occupied=cabin.seat_occupied,
            belt_fastened=cabin.belt_fastened,
        )

    def ask_doors(self, wanted_open: bool) -> bool:
        return self._cabin.ask_doors(wanted_open, self._view.ego.speed, self._config)

    def frame_at(self, stamp_ns: int) -> int:
        """The server's frame of a stamp."""
        return self._frames[stamp_ns]

    def close(self) -> None:
        self.connection.close()

    # ------------------------------------------------------------------ inside

    def _reconnect(self, error: RuntimeError) -> Any:
        """The server went away: wait for it, put the car where it was, and go on."""
        LOG.error("the CARLA server is gone (%s); waiting for it to come back", str(error).splitlines()[0])
        ego, end = self._view.ego, time.monotonic() + _RECONNECT_S
        while True:
            try:
                self._connect(Pose2(ego.x, ego.y, ego.yaw))
                self.connection.mount(lambda _: 0, 0)
                LOG.warning("reconnected; the car goes on from where it was")
                return self.connection.tick(0.0, 0.0, 1.0)
            except (RuntimeError, CarlaError) as again:
                if time.monotonic() > end:
                    raise CarlaError(f"the CARLA server did not come back: {again}") from again
                time.sleep(1.0)

    def _observe(self, snapshot: Any) -> None:
        """Read the truth of a frame off its snapshot."""
        connection, stamp_ns = self.connection, self.stamp_ns
        self._frames[stamp_ns] = snapshot.frame
        self._frames.pop(stamp_ns - 100 * TICK_NS, None)
        me = snapshot.find(connection.ego.id)
        if me is None:
            raise CarlaError(f"actor {connection.ego.id}, the car, is no longer on the server")
        T = connection.base_pose(me.get_transform())
        v, w, a = me.get_velocity(), me.get_angular_velocity(), me.get_acceleration()
        yaw = math.atan2(T[1, 0], T[0, 0])
        c, s = math.cos(yaw), math.sin(yaw)
        rate = -math.radians(w.z)
        along, aside = c * v.x - s * v.y, -s * v.x - c * v.y
        ahead, across = c * a.x - s * a.y, -s * a.x - c * a.y
        ego = EgoTruth(
            stamp_ns=stamp_ns,
            x=float(T[0, 3]),
            y=float(T[1, 3]),
            z=float(T[2, 3]),
            yaw=yaw,
            speed=along,
            lateral_speed=aside + rate * connection.rear,
            acceleration=ahead - rate * rate * connection.rear,
            lateral_acceleration=across,
            yaw_rate=rate,
            steering=self._actuation.steering,
        )
        lights = {}
        for signal, actor in self._lights:
            state = snapshot.find(actor.id)
            lights[signal] = _LIGHTS.get(str(actor.get_state()), LightState.UNKNOWN) if state else LightState.UNKNOWN
        self._view = WorldView(stamp_ns, ego, self._agents(snapshot), lights)

    def _agents(self, snapshot: Any) -> RecordArray:
        rows = []
        for state in snapshot:
            kind = self._kinds.get(state.id)
            if kind is None:
                kind = self._kinds[state.id] = self._kind(state.id)
            if kind[1] <= 0.0 or state.id == self.connection.ego.id:
                continue
            t, v, w = state.get_transform(), state.get_velocity(), state.get_angular_velocity()
            r = t.rotation
            T = map_from_carla((t.location.x, t.location.y, t.location.z), (r.pitch, r.yaw, r.roll))
            z = T[2, 3] - (kind[3] / 2.0 if kind[0] == int(ObjectClass.PEDESTRIAN) else 0.0)
            yaw = math.atan2(T[1, 0], T[0, 0])
            size, rate = kind[1:], -math.radians(w.z)
            rows.append((state.id, kind[0], state.id % 12, T[0, 3], T[1, 3], z, yaw, *size, v.x, -v.y, rate))
        return np.array(rows, AGENT_DTYPE) if rows else np.zeros(0, AGENT_DTYPE)

    def _kind(self, number: int) -> tuple[int, float, float, float]:
        """Label and size of an actor; size 0 for what is not on the road."""
        actor = self.connection.world.get_actor(number)
        if actor is None or not actor.type_id.startswith(("vehicle.", "walker.")):
            return (0, 0.0, 0.0, 0.0)
        e = actor.bounding_box.extent
        if actor.type_id.startswith("walker."):
            label = ObjectClass.PEDESTRIAN
        elif actor.attributes.get("number_of_wheels") == "2":
            label = ObjectClass.BICYCLE
        else:
            heavy = actor.attributes.get("base_type") in ("truck", "bus")
            label = ObjectClass.TRUCK if heavy else ObjectClass.CAR
        return (int(label), max(2.0 * e.x, 0.3), max(2.0 * e.y, 0.3), 2.0 * e.z)

    def _box(self, ego: EgoTruth) -> Box:
        length, width, _ = self.connection.size
        offset = -self.connection.rear  # the box is about the actor's origin
        return Box(ego.x + offset * math.cos(ego.yaw), ego.y + offset * math.sin(ego.yaw), ego.yaw, length, width)

    def _judge_contacts(self, box: Box) -> None:
        ego, now = self._view.ego, self.stamp_ns
        while True:
            try:
                event = self.connection.collisions.get_nowait()
            except queue.Empty:
                return
            other = event.other_actor
            number = int(other.id) if other is not None else 0
            last = self._touched.get(number)
            self._touched[number] = now
            if last is not None and now - last <= self._config.contact_repeat_time * 1e9:
                continue
            row = self._view.agents[self._view.agents["id"] == number]
            speed, other_speed, side = math.hypot(ego.speed, ego.lateral_speed), 0.0, contact.Side.FRONT
            if len(row):
                other_speed = math.hypot(float(row["vx"][0]), float(row["vy"][0]))
                names = ("x", "y", "yaw", "length", "width")
                side = contact.touched_side(box, Box(*(float(row[k][0]) for k in names)))
            fault = contact.at_fault(side, speed, other_speed, False, _CONTACT_STOPPED)
            name = str(other.type_id) if other is not None else "something"
            walker = name.startswith("walker.")
            kind = "pedestrian" if walker else "vehicle" if name.startswith("vehicle.") else "static"
            i = event.normal_impulse
            detail = (
                f"{side.value} met {name} (id {number}); ego at {speed:.1f} m/s, the other at {other_speed:.1f} m/s"
            )
            strength = math.hypot(i.x, i.y) / 1500.0
            self._referee.add(Infraction(now, f"collision_{kind}", fault, number, box.x, box.y, detail, strength))


def _lights_of(world: Any, lane_map: LaneMap) -> list[tuple[int, Any]]:
    """(signal id of the map, traffic light actor), ascending."""
    found = {}
    for actor in world.get_actors().filter("traffic.traffic_light*"):
        text = actor.get_opendrive_id()
        if text.isdecimal() and int(text) in lane_map.signals:
            found[int(text)] = actor
    return sorted(found.items(), key=lambda item: item[0])


class CarlaRig:
    """The measurements of a `CarlaWorld`'s sensors as the stack's own types."""

    def __init__(self, world: CarlaWorld, rig: SensorRig, origin: tuple[float, float, float], seed: int) -> None:
        self._world, self._rig = world, rig
        self._frame = LocalFrame(*origin)
        self._wheels = Wheels(rig.wheels, seed)
        self._mirrored: bool | None = None

    def lidar(self, view: WorldView) -> RecordArray:
        """One sweep (sim.sensors.lidar.POINT_DTYPE) in the frame of the first lidar."""
        spec = next(iter(self._rig.lidars.values()))
        parts = []
        for name in self._world.connection.names("lidar/"):
            data = self._measured(name, view)
            points = np.frombuffer(data.raw_data, np.float32).reshape(-1, 4)
            counts = [data.get_point_count(channel) for channel in range(data.channels)]
            parts.append((int(name.split("/")[1]), points, counts))
        return measure.sweep(spec, parts)

    def camera(self, name: str, view: WorldView) -> Any:
        """(H, W, 3) BGR."""
        data = self._measured("camera", view)
        return measure.bgr(bytes(data.raw_data), data.width, data.height)

    def gnss(self, view: WorldView) -> GnssFix:
        data = self._measured("gnss", view)
        connection = self._world.connection
        place = connection.map.geolocation_to_transform(_geolocation(data))
        x, y, z = place.x, place.y, place.z
        if self._mirrored is None:  # releases differ in the sign of a map's northing
            truth = data.transform.location
            self._mirrored = abs(y - truth.y) > abs(-y - truth.y)
        return measure.fix(view.stamp_ns, self._rig.gnss, self._frame, (x, -y if self._mirrored else y, z))

    def imu(self, view: WorldView) -> ImuSample:
        data = self._measured("imu", view)
        force, rate = data.accelerometer, data.gyroscope
        return measure.imu(
            view.stamp_ns, self._rig.imu, (force.x, force.y, force.z), (rate.x, rate.y, rate.z), data.compass
        )

    def wheels(self, view: WorldView, report: VehicleReport) -> VehicleReport:
        return self._wheels.measure(
            view.ego,
            door_open=report.door_open,
            seat_occupied=report.seat_occupied,
            belt_fastened=report.belt_fastened,
        )

    def _measured(self, name: str, view: WorldView) -> Any:
        return self._world.connection.measurement(name, self._world.frame_at(view.stamp_ns))


def _geolocation(data: Any) -> Any:
    import carla

    return carla.GeoLocation(data.latitude, data.longitude, data.altitude)


__all__ = ["CarlaRig", "CarlaWorld", "FloatArray"]
