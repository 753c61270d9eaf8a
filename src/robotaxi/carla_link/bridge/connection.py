"""The client's side of a CARLA server: connect, spawn or adopt the car, mount its sensors, tick."""

from __future__ import annotations

import logging
import math
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from robotaxi.carla_link.bridge.actuation import SteeringGear
from robotaxi.carla_link.bridge.guard import TrafficGuard
from robotaxi.carla_link.bridge.measure import beam_groups, rear_axle
from robotaxi.carla_link.frames import carla_from_map, map_from_carla, planar
from robotaxi.sensor_rig import Mounting, SensorRig
from robotaxi.types import FloatArray, Pose2

LOG = logging.getLogger("robotaxi.carla_bridge")
_CONNECT_S = 30.0
_TIMEOUT_S = 60.0  # a server on a busy machine may take that long for a frame
_FAREWELL_S = 5.0
_SENSOR_TIMEOUT_S = 60.0
_SETTLE_TICKS = 10
_LIFT = 0.3  # m above the road where the car is put down
_CLEARANCE = 25.0  # m between the car and traffic at the start
_METRES_PER_DEGREE = 111_320.0
_MISSING = "mode:=carla needs the CARLA client, which is not installed: pip install robotaxi[carla]"


class CarlaError(ValueError):
    """The server cannot be used; the message says why and what helps."""


@dataclass(frozen=True)
class CarlaOptions:
    """``traffic``: cars for TrafficManager to drive; ``blueprint``: what to spawn when no actor has ``role_name``."""

    host: str = "127.0.0.1"
    port: int = 2000
    role_name: str = "hero"
    blueprint: str = "vehicle.tesla.model3"
    traffic: int = 0
    seed: int = 0


def carla_module() -> Any:
    try:
        import carla
    except ModuleNotFoundError as error:
        raise CarlaError(_MISSING) from error
    return carla


def leave(status: int) -> NoReturn:
    """End a process that has used CARLA's client: its threads need not be waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def parse_address(text: str) -> tuple[str, int]:
    """'host:port'. Raises CarlaError."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise CarlaError(f"'{text}' is not the address of a CARLA server, expected host:port")
    return host, int(port)


def connect(host: str, port: int, patience_s: float = _CONNECT_S) -> Any:
    """A client of the server there. Raises CarlaError when nobody answers within ``patience_s``."""
    carla = carla_module()
    end = time.monotonic() + patience_s
    while True:
        client = carla.Client(host, port)
        client.set_timeout(min(5.0, max(patience_s, 0.5)))
        try:
            theirs, ours = client.get_server_version(), client.get_client_version()
            break
        except RuntimeError as error:
            if time.monotonic() > end:
                raise CarlaError(f"no CARLA server answers at {host}:{port}: {error}") from error
            time.sleep(0.2)
    if theirs != ours:
        LOG.warning("the server at %s:%d is CARLA %s, this client is %s: they may not get on", host, port, theirs, ours)
    client.set_timeout(_TIMEOUT_S)
    return client


def fetch_opendrive(host: str, port: int, folder: Path, patience_s: float = _CONNECT_S) -> Path:
    """Write the server's OpenDRIVE into ``folder`` and return its path. Raises CarlaError."""
    world = connect(host, port, patience_s).get_world()
    try:
        town = world.get_map()
    except RuntimeError as error:
        raise CarlaError(f"the server at {host}:{port} sent no map: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{town.name.rsplit('/', 1)[-1]}.xodr"
    path.write_text(town.to_opendrive(), encoding="utf-8")
    return path


def fetch_opendrive_apart(host: str, port: int, folder: Path) -> Path:
    """`fetch_opendrive` in a process of its own: CARLA's client and rclpy do not end well in one process."""
    command = [sys.executable, "-m", "robotaxi.carla_link.bridge", f"{host}:{port}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise CarlaError(words[0].removeprefix("robotaxi: "))
    return Path(done.stdout.strip().splitlines()[-1])


class CarlaConnection:
    """One ego with its sensors on one server, in synchronous mode with ``tick_s``."""

    def __init__(self, options: CarlaOptions, rig: SensorRig, start: Pose2, tick_s: float, *, camera: bool) -> None:
        self._carla = carla_module()
        self._options, self._rig, self._tick_s, self._camera = options, rig, tick_s, camera
        self.client = connect(options.host, options.port)
        self.world = self.client.get_world()
        self.map = self.world.get_map()
        self._before = self.world.get_settings()
        self._synchronise()
        self._owned: list[Any] = []
        self._sensors: list[Any] = []
        self._data: dict[str, queue.SimpleQueue[Any]] = {}
        self._held: dict[str, Any] = {}
        self.collisions: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._manager: Any = None
        self._guard: TrafficGuard | None = None
        try:
            self.ego = self._adopt() or self._spawn(start)
            self._spawn_traffic(start)
            for _ in range(_SETTLE_TICKS):
                self.ego.apply_control(self._carla.VehicleControl(brake=1.0))
                with self._guard or nullcontext():
                    self.world.tick()
            self._survey()
        except Exception:
            self.close()
            raise

    # ------------------------------------------------------------------ set-up

    def _synchronise(self) -> None:
        settings = self.world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, self._tick_s
        self.world.apply_settings(settings)

    def _adopt(self) -> Any | None:
        for actor in self.world.get_actors().filter("vehicle.*"):
            if actor.attributes.get("role_name") == self._options.role_name:
                LOG.warning("adopted actor %d, whose role is '%s'", actor.id, self._options.role_name)
                return actor
        return None

    def _spawn(self, start: Pose2) -> Any:
        library = self.world.get_blueprint_library()
        try:
            blueprint = library.find(self._options.blueprint)
        except (IndexError, RuntimeError) as error:
            raise CarlaError(f"the server has no blueprint '{self._options.blueprint}'") from error
        blueprint.set_attribute("role_name", self._options.role_name)
        near = self.map.get_waypoint(self._carla.Location(start.x, -start.y, 0.0))
        height = near.transform.location.z if near is not None else 0.0
        # its rear axle is not known before it is there: put it down once, measure, move
        pose = self._transform(planar(start.x, start.y, height + _LIFT, start.yaw))
        try:
            ego = self.world.spawn_actor(blueprint, pose)
        except RuntimeError as error:
            raise CarlaError(f"the car could not be put down at the start: {error}") from error
        self._owned.append(ego)
        self.world.tick()
        rear, _ = self._axles(ego)
        T = planar(start.x - rear * math.cos(start.yaw), start.y - rear * math.sin(start.yaw), height, start.yaw)
        ego.set_transform(self._transform(T))
        self.world.tick()
        return ego

    def _spawn_traffic(self, start: Pose2) -> None:
        count = self._options.traffic
        if count <= 0:
            return
        carla = self._carla
        self._manager = self.client.get_trafficmanager(_free_port())
        self._manager.set_synchronous_mode(True)
        self._manager.set_random_device_seed(self._options.seed)
        rng = np.random.default_rng([self._options.seed, 77])
        library = self.world.get_blueprint_library().filter("vehicle.*")
        cars = sorted((b for b in library if _is_car(b)), key=lambda b: b.id)
        points = [
            p
            for p in self.map.get_spawn_points()
            if math.hypot(p.location.x - start.x, -p.location.y - start.y) > _CLEARANCE
        ]
        order = rng.permutation(len(points))[:count]
        chosen = [cars[int(rng.integers(len(cars)))] for _ in order]
        batch = [
            carla.command.SpawnActor(blueprint, points[int(k)]).then(
                carla.command.SetAutopilot(carla.command.FutureActor, True, self._manager.get_port())
            )
            for blueprint, k in zip(chosen, order, strict=True)
        ]
        self._guard = TrafficGuard(self.world, self._manager)
        with self._guard:
            responses = self.client.apply_batch_sync(batch, True)
        for response in responses:
            if not response.error:
                self._owned.append(self.world.get_actor(response.actor_id))

    def _axles(self, ego: Any) -> tuple[float, float]:
        wheels = ego.get_physics_control().wheels
        places = [[w.position.x / 100.0, w.position.y / 100.0, w.position.z / 100.0] for w in wheels]
        return rear_axle(places, np.array(ego.get_transform().get_matrix()))

    def _survey(self) -> None:
        """What the actuation and the mounting of sensors need to know of the car."""
        physics = self.ego.get_physics_control()
        self.rear, wheelbase = self._axles(self.ego)
        angle = max(math.radians(w.max_steer_angle) for w in physics.wheels)
        curve = tuple((float(p.x), float(p.y)) for p in physics.steering_curve)
        self.gear = SteeringGear(wheelbase, angle, curve)
        box = self.ego.bounding_box
        self.size = (2.0 * box.extent.x, 2.0 * box.extent.y, 2.0 * box.extent.z)

    # ------------------------------------------------------------------ sensors

    def mount(self, phase_of: Callable[[str], int], stamp_ns: int) -> None:
        """Mount every sensor whose first measurement is due at ``stamp_ns``: the coming tick."""
        rig, spec = self._rig, next(iter(self._rig.lidars.values()))
        if phase_of("lidar") == stamp_ns:
            elevation = np.degrees(spec.elevations)
            for first, last in beam_groups(spec):
                self._mount(
                    f"lidar/{first}",
                    "sensor.lidar.ray_cast",
                    spec,
                    channels=last - first,
                    lower_fov=elevation[first],
                    upper_fov=elevation[last - 1],
                    range=spec.range_max,
                    rotation_frequency=spec.rate_hz,
                    points_per_second=round((last - first) * spec.azimuths * spec.rate_hz),
                    dropoff_general_rate=0.0,
                    dropoff_intensity_limit=0.0,
                    dropoff_zero_intensity=0.0,
                    noise_stddev=spec.range_sigma,
                    sensor_tick=1.0 / spec.rate_hz,
                )
        if phase_of("gnss") == stamp_ns:
            gnss = rig.gnss
            degrees = gnss.sigma_horizontal / _METRES_PER_DEGREE
            self._mount(
                "gnss",
                "sensor.other.gnss",
                gnss,
                noise_lat_stddev=degrees,
                noise_lon_stddev=degrees,
                noise_alt_stddev=gnss.sigma_vertical,
                sensor_tick=1.0 / gnss.rate_hz,
            )
        if stamp_ns == 0:
            sigma, turn = rig.imu.acceleration_sigma, rig.imu.angular_rate_sigma
            self._mount(
                "imu",
                "sensor.other.imu",
                rig.imu,
                **{f"noise_accel_stddev_{axis}": sigma for axis in "xyz"},
                **{f"noise_gyro_stddev_{axis}": turn for axis in "xyz"},
            )
            self._mount("collision", "sensor.other.collision", Mounting())
        if self._camera and phase_of("camera") == stamp_ns:
            camera = rig.cameras["front"]
            self._mount(
                "camera",
                "sensor.camera.rgb",
                camera,
                image_size_x=camera.width,
                image_size_y=camera.height,
                fov=camera.hfov_deg,
                sensor_tick=1.0 / camera.rate_hz,
            )

    def _mount(self, name: str, blueprint: str, place: Mounting, **attributes: float) -> None:
        made = self.world.get_blueprint_library().find(blueprint)
        for key, value in attributes.items():
            if made.has_attribute(key):
                made.set_attribute(key, str(value))
        T_car_base = planar(self.rear, 0.0, 0.0, 0.0)
        pose = self._transform(T_car_base @ place.T_base_sensor)
        sensor = self.world.spawn_actor(made, pose, attach_to=self.ego)
        self._sensors.append(sensor)
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._data[name] = self.collisions if name == "collision" else inbox
        sensor.listen(self._data[name].put)

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._data if name.startswith(prefix)]

    def measurement(self, name: str, frame: int) -> Any:
        """What a sensor measured in a frame; older ones are dropped. Raises CarlaError when it stays silent."""
        held = self._held.pop(name, None)
        while True:
            if held is not None and held.frame == frame:
                return held
            if held is not None and held.frame > frame:
                self._held[name] = held
                raise CarlaError(f"sensor '{name}' has skipped frame {frame}, its next is {held.frame}")
            try:
                held = self._data[name].get(timeout=_SENSOR_TIMEOUT_S)
            except queue.Empty as error:
                raise CarlaError(f"sensor '{name}' sent nothing for frame {frame}") from error

    # ------------------------------------------------------------------ driving

    def tick(self, throttle: float, steer: float, brake: float, reverse: bool = False) -> Any:
        """Apply the pedals, advance one frame and return its snapshot. RuntimeError: the server is gone."""
        control = self._carla.VehicleControl(throttle=throttle, steer=steer, brake=brake, reverse=reverse)
        self.ego.apply_control(control)
        with self._guard or nullcontext():
            frame = self.world.tick(_TIMEOUT_S)
        snapshot = self.world.get_snapshot()
        if snapshot.frame != frame:
            LOG.warning("somebody else ticks this server: frame %d after %d", snapshot.frame, frame)
        return snapshot

    def base_pose(self, transform: Any) -> FloatArray:
        """T_map_base (4x4) of the ego's CARLA transform."""
        location, rotation = transform.location, transform.rotation
        T = map_from_carla((location.x, location.y, location.z), (rotation.pitch, rotation.yaw, rotation.roll))
        return T @ planar(self.rear, 0.0, 0.0, 0.0)

    def _transform(self, T: FloatArray) -> Any:
        location, (pitch, yaw, roll) = carla_from_map(T)
        return self._carla.Transform(self._carla.Location(*location), self._carla.Rotation(pitch, yaw, roll))

    def close(self) -> None:
        """Leave the server as it was found, as far as it still answers."""
        if self._guard is not None:
            self._guard.close()
        try:
            self.client.set_timeout(_FAREWELL_S)
            self.client.get_server_version()  # the farewell below would end the process on a server that is gone
            if self._manager is not None:
                self._manager.shut_down()  # before its cars go: it cannot bear to miss one
            for sensor in self._sensors:
                sensor.stop()
            owned = [*self._sensors, *self._owned]
            self.client.apply_batch([self._carla.command.DestroyActor(actor) for actor in owned])
            self.world.apply_settings(self._before)
        except RuntimeError as error:
            LOG.warning("the server could not be left as it was: %s", error)
        self._sensors, self._owned = [], []


def _is_car(blueprint: Any) -> bool:
    wheels = int(blueprint.get_attribute("number_of_wheels"))
    return wheels == 4 and (
        not blueprint.has_attribute("base_type") or str(blueprint.get_attribute("base_type").as_str()) == "car"
    )


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
