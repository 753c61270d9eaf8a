"""The functions of CARLA's RPC interface, one method each; `Calls.answer` finds them by name.

A call that cannot be followed is answered with a sentence; nobody else notices.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from robotaxi.carla_link.frames import carla_from_map
from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.batch import apply
from robotaxi.carla_link.server.episode import SPECTATOR, ActorError, read_numbers
from robotaxi.carla_link.server.network import RpcPeer, UnknownCall
from robotaxi.carla_link.server.physics import physics_control
from robotaxi.hdmap.lane_map import MapError

if TYPE_CHECKING:
    from robotaxi.carla_link.server.server import CarlaServer

LOG = logging.getLogger("robotaxi.carla_server")
_NO_RECORDER = "the recorder is not part of this server; record with a bag instead"
_SILENT = (  # accepted and without effect: they change only pictures that are not drawn here
    "draw_debug_shape", "update_lights_state", "update_day_night_cycle", "enable_environment_objects",
    "apply_bone_control_to_walker", "set_bones_transform", "blend_pose", "get_pose_from_animation",
    "show_vehicle_debug_telemetry", "set_wheel_steer_direction", "open_vehicle_door", "close_vehicle_door",
    "set_actor_enable_gravity", "apply_ackermann_controller_settings", "set_actor_autopilot", "add_actor_torque",
    "add_actor_angular_impulse", "enable_for_ros", "disable_for_ros", "enable_sensor_for_ros",
    "disable_sensor_for_ros", "set_annotations_traverse_translucency", "set_replayer_time_factor",
    "set_replayer_ignore_hero", "set_replayer_ignore_spectator", "stop_recorder", "stop_replayer",
    "add_actor_force_at_location", "add_actor_impulse_at_location", "restore_physx_physics", "use_carsim_road",
    "set_imui_sensor_gravity",
)  # fmt: skip


class Calls:
    """Every public method is a function of the wire; the arguments are as the client sent them."""

    def __init__(self, server: CarlaServer) -> None:
        self._server = server
        self._functions: dict[str, tuple[Callable[..., Any], int, int]] = {}
        for name, method in inspect.getmembers(self, inspect.ismethod):
            if name.startswith("_") or name == "answer":
                continue
            parameters = list(inspect.signature(method).parameters.values())
            if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
                self._functions[name] = (method, 0, 1 << 20)
                continue
            required = sum(p.default is inspect.Parameter.empty for p in parameters)
            self._functions[name] = (method, required, len(parameters))
        self._peer: RpcPeer | None = None

    def answer(self, name: str, arguments: list[Any], peer: RpcPeer) -> Any:
        """The value of the reply. Raises UnknownCall."""
        if name in _SILENT:
            return wire.done()
        if name not in self._functions:
            raise UnknownCall(name)
        function, least, most = self._functions[name]
        if not least <= len(arguments) <= most:
            expected = str(least) if least == most else f"{least} to {most}"
            return wire.bad(f"{name}: {len(arguments)} arguments, expected {expected} (CARLA {wire.VERSION})")
        self._peer = peer
        try:
            return function(*arguments)
        except (ActorError, MapError) as error:
            return wire.bad(str(error))
        except Exception as error:  # whatever one client sends, the others are served on
            LOG.debug("%s%r: %s", name, arguments, error, exc_info=True)
            return wire.bad(f"{name}: malformed arguments ({error}); this server speaks CARLA {wire.VERSION}")

    # ------------------------------------------------------------------ the episode

    def version(self) -> Any:
        return wire.good(wire.VERSION)

    def get_episode_info(self) -> Any:
        return wire.good([self._server.episode.number, [self._token(wire.WORLD_STREAM)]])

    def get_sensor_token(self, stream: int) -> Any:
        if not 0 <= int(stream) < 1 << 32:
            raise ActorError(f"there is no stream {stream}")
        self._server.expect_listener(int(stream))
        return wire.good([self._token(int(stream))])

    def get_episode_settings(self) -> Any:
        return wire.good(self._server.settings.wire())

    def set_episode_settings(self, values: Any) -> Any:
        self._server.settings.read(values)
        return wire.good(self._server.episode.frame)

    def tick_cue(self) -> Any:
        return wire.good(self._server.tick())

    def get_map_info(self) -> Any:
        town = self._server.episode.town
        points = []
        for p in town.spawn_points:
            points.append(wire.transform((p.x, -p.y, p.z), (0.0, -math.degrees(p.yaw), 0.0)))
        return wire.good([f"Carla/Maps/{town.name}", points])

    def get_map_data(self) -> Any:
        return wire.good(self._server.episode.town.opendrive)

    def get_available_maps(self) -> Any:
        return wire.good([f"/Game/Carla/Maps/{name}" for name in self._server.map_names()])

    def load_new_episode(self, name: str, reset_settings: bool = True, layers: int = 0) -> Any:
        self._server.load(str(name), reset_settings=bool(reset_settings))
        return wire.done()

    def copy_opendrive_to_file(self, text: str, parameters: Any = None) -> Any:
        self._server.keep_opendrive(str(text))
        return wire.done()

    def load_map_layer(self, layers: int) -> Any:
        return wire.done()

    def unload_map_layer(self, layers: int) -> Any:
        return wire.done()

    def get_required_files(self, folder: str) -> Any:
        return wire.good([])

    def request_file(self, name: str) -> Any:
        return wire.bad(f"there is no file '{name}': this server has no asset to send")

    def get_navigation_mesh(self) -> Any:
        return wire.good(self._server.navigation_mesh())

    # ------------------------------------------------------------------ actors

    def get_actor_definitions(self) -> Any:
        return wire.good([b.wire() for b in self._server.episode.blueprints.values()])

    def get_spectator(self) -> Any:
        return wire.good(self._wired(self._server.episode.actors[SPECTATOR]))

    def get_actors_by_id(self, ids: list[int]) -> Any:
        actors = self._server.episode.actors
        return wire.good([self._wired(actors[k]) for k in ids if k in actors])

    def spawn_actor(self, description: Any, transform: Any) -> Any:
        return wire.good(self._wired(self._server.episode.spawn(description, transform)))

    def spawn_actor_with_parent(
        self, description: Any, transform: Any, parent: int, attachment: Any = None, bone: Any = None
    ) -> Any:
        return wire.good(self._wired(self._server.episode.spawn(description, transform, parent)))

    def destroy_actor(self, actor: int) -> Any:
        for stream in self._server.episode.destroy(actor):
            self._server.end_stream(stream)
        return wire.good(True)

    def get_actor_bounding_box(self, actor: int) -> Any:
        return wire.good(self._server.episode.actor(actor).wire(b"")[3])

    def set_actor_location(self, actor: int, location: Any) -> Any:
        self._server.episode.relocate(actor, location)
        return wire.done()

    def set_actor_transform(self, actor: int, transform: Any) -> Any:
        self._server.episode.move(actor, transform)
        return wire.done()

    def set_actor_target_velocity(self, actor: int, vector: Any) -> Any:
        self._server.episode.set_velocity(actor, vector)
        return wire.done()

    def set_actor_target_angular_velocity(self, actor: int, vector: Any) -> Any:
        self._server.episode.set_angular_velocity(actor, vector)
        return wire.done()

    def enable_actor_constant_velocity(self, actor: int, vector: Any) -> Any:
        self._server.episode.set_velocity(actor, vector, constant=True)
        return wire.done()

    def disable_actor_constant_velocity(self, actor: int) -> Any:
        self._server.episode.end_constant_velocity(actor)
        return wire.done()

    def add_actor_impulse(self, actor: int, vector: Any) -> Any:
        self._server.episode.push(actor, vector)
        return wire.done()

    def add_actor_force(self, actor: int, vector: Any) -> Any:
        self._server.episode.push(actor, vector, self._server.settings.delta)
        return wire.done()

    def set_actor_simulate_physics(self, actor: int, on: bool) -> Any:
        self._server.episode.simulate_physics(actor, on)
        return wire.done()

    def set_actor_collisions(self, actor: int, on: bool) -> Any:
        self._server.episode.actor(actor).collisions = bool(on)
        return wire.done()

    def set_actor_dead(self, actor: int) -> Any:
        self._server.episode.simulate_physics(actor, False)
        return wire.done()

    # ------------------------------------------------------------------ vehicles and walkers

    def apply_control_to_vehicle(self, actor: int, control: Any) -> Any:
        self._server.episode.control(actor, control)
        return wire.done()

    def apply_ackermann_control_to_vehicle(self, actor: int, control: Any) -> Any:
        self._server.episode.ackermann(actor, control)
        return wire.done()

    def get_ackermann_controller_settings(self, actor: int) -> Any:
        self._server.episode.vehicle(actor)
        return wire.good([0.6, 0.0, 0.0, 0.0, 0.0, 0.0])

    def get_physics_control(self, actor: int) -> Any:
        vehicle, _ = self._server.episode.vehicle(actor)
        return wire.good(physics_control(vehicle))

    def apply_physics_control(self, actor: int, control: Any) -> Any:
        _, row = self._server.episode.vehicle(actor)
        mass = float(read_numbers([control[11]], 1, "mass")[0])
        if not 10.0 <= mass <= 1e6:
            raise ActorError(f"physics control: a mass of {mass:g} kg, allowed is 10 to 1e6")
        constants = self._server.episode.fleet.constants[row]
        for k in (0, 1, 4, 5):
            constants[k] *= mass / constants[0] if k else 1.0
        constants[0] = mass
        return wire.done()

    def get_vehicle_light_state(self, actor: int) -> Any:
        return wire.good([self._server.episode.vehicle(actor)[0].light_state])

    def set_vehicle_light_state(self, actor: int, state: Any) -> Any:
        vehicle, _ = self._server.episode.vehicle(actor)
        vehicle.light_state = int(state[0] if isinstance(state, list) else state) & 0xFFFFFFFF
        return wire.done()

    def get_vehicle_light_states(self) -> Any:
        actors = self._server.episode.actors.values()
        return wire.good([[a.id, a.light_state] for a in actors if a.kind == "vehicle"])

    def get_wheel_steer_angle(self, actor: int, wheel: Any) -> Any:
        _, row = self._server.episode.vehicle(actor)
        return wire.good(-math.degrees(float(self._server.episode.fleet.state[row, 6])))

    def apply_control_to_walker(self, actor: int, control: Any) -> Any:
        self._server.episode.walk(actor, control)
        return wire.done()

    def apply_batch(self, commands: Any, do_tick: bool = False) -> Any:
        if not isinstance(commands, list):
            return wire.bad("apply_batch: expected a list of commands")
        results = apply(self._server, commands)
        if do_tick:
            self._server.tick()
        return results  # not wrapped again

    # ------------------------------------------------------------------ lights and weather

    def get_weather_parameters(self) -> Any:
        return wire.good(self._server.episode.weather)

    def set_weather_parameters(self, values: Any) -> Any:
        self._server.episode.weather = read_numbers(values, 14, "weather").tolist()
        return wire.done()

    def set_traffic_light_state(self, actor: int, state: int) -> Any:
        self._light(actor)
        if state not in range(5):
            raise ActorError(f"traffic light state {state!r}, allowed is 0 to 4")
        self._server.episode.lights.set_state(actor, state)
        return wire.done()

    def set_traffic_light_green_time(self, actor: int, seconds: float) -> Any:
        self._light(actor).green = _duration(seconds)
        return wire.done()

    def set_traffic_light_yellow_time(self, actor: int, seconds: float) -> Any:
        self._light(actor).yellow = _duration(seconds)
        return wire.done()

    def set_traffic_light_red_time(self, actor: int, seconds: float) -> Any:
        self._light(actor).red = _duration(seconds)
        return wire.done()

    def freeze_traffic_light(self, actor: int, on: bool) -> Any:
        self._light(actor)
        self._server.episode.lights.frozen = bool(on)
        return wire.done()

    def freeze_all_traffic_lights(self, on: bool) -> Any:
        self._server.episode.lights.frozen = bool(on)
        return wire.done()

    def reset_traffic_light_group(self, actor: int) -> Any:
        self._light(actor)
        self._server.episode.lights.reset_group(actor)
        return wire.done()

    def reset_all_traffic_lights(self) -> Any:
        self._server.episode.lights.reset_all()
        return wire.done()

    def get_group_traffic_lights(self, actor: int) -> Any:
        self._light(actor)
        return wire.good(self._server.episode.lights.members(actor))

    def get_light_boxes(self, actor: int) -> Any:
        light = self._light(actor)
        signal = self._server.episode.town.lane_map.signals[light.signal]
        x, y, z = signal.position.tolist()
        extent = (0.2, signal.width / 2.0, signal.height / 2.0)
        return wire.good([wire.bounding_box((x, -y, z), extent, (0.0, -math.degrees(signal.yaw), 0.0), actor)])

    def query_lights_state(self, client: Any = None) -> Any:
        return wire.good([])

    # ------------------------------------------------------------------ the surroundings

    def get_environment_objects(self, tag: int = 0) -> Any:
        return wire.good([])

    def get_all_level_BBs(self, tag: int = 0) -> Any:
        return wire.good([])

    def get_names_of_all_objects(self) -> Any:
        return wire.good([])

    def project_point(self, location: Any, direction: Any, distance: float) -> Any:
        start = read_numbers(location, 3, "location")
        ray = read_numbers(direction, 3, "direction")
        length = float(np.linalg.norm(ray))
        hits = self._server.cast(start, start + ray / length * float(distance)) if length > 0.0 else []
        return wire.good([bool(hits), hits[0] if hits else [[0.0, 0.0, 0.0], 0]])

    def cast_ray(self, start: Any, end: Any) -> Any:
        return wire.good(self._server.cast(read_numbers(start, 3, "start"), read_numbers(end, 3, "end")))

    # ------------------------------------------------------------------ TrafficManager finds its own kind here

    def is_traffic_manager_running(self, port: int) -> Any:
        return wire.good(port in self._server.traffic_managers)

    def add_traffic_manager_running(self, place: Any) -> Any:
        address, port = str(place[0]), int(place[1])
        added = port not in self._server.traffic_managers
        self._server.traffic_managers.setdefault(port, address)
        return wire.good(added)

    def get_traffic_manager_running(self, port: int) -> Any:
        return wire.good([self._server.traffic_managers.get(port, ""), port])

    def destroy_traffic_manager(self, port: int) -> Any:
        return wire.good(self._server.traffic_managers.pop(port, None) is not None)

    # ------------------------------------------------------------------ refused

    def start_recorder(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def show_recorder_file_info(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def show_recorder_collisions(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def show_recorder_actors_blocked(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def replay_file(self, *_: Any) -> Any:
        return wire.bad(_NO_RECORDER)

    def enable_carsim(self, *_: Any) -> Any:
        return wire.bad("CarSim is not part of this server")

    def enable_chrono_physics(self, *_: Any) -> Any:
        return wire.bad("Chrono is not part of this server")

    # ------------------------------------------------------------------ inside

    def _light(self, actor: Any) -> Any:
        self._server.episode.actor(actor)
        light = self._server.episode.lights.lights.get(actor)
        if light is None:
            raise ActorError(f"actor {actor} is no traffic light")
        return light

    def _token(self, stream: int) -> bytes:
        return self._server.token(stream, self._peer)

    def _wired(self, actor: Actor) -> list[Any]:
        return actor.wire(self._token(actor.stream) if actor.stream else b"")


def _duration(seconds: Any) -> float:
    value = float(read_numbers([seconds], 1, "duration")[0])
    if not 0.0 <= value <= 1e5:
        raise ActorError(f"a phase of {value:g} s, allowed is 0 to 100000")
    return value


def actor_location(actor: Actor) -> list[float]:
    """CARLA x, y, z."""
    return carla_from_map(actor.T)[0]
