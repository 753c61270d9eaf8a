"""Functions of the wire about the town: maps and files, weather, lights, what stands about, TrafficManagers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.episode import ActorError, read_numbers
from robotaxi.carla_link.server.surroundings import ANY

if TYPE_CHECKING:
    from robotaxi.carla_link.server.server import CarlaServer


class TownCalls:
    """Every public method is a function of the wire; the arguments are as the client sent them."""

    _server: CarlaServer

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

    def get_required_files(self, folder: str = "") -> Any:
        """A client keeps files by their names, so the mesh's name tells its contents."""
        around = self._server.episode.surroundings
        return wire.good([around.navigation_file] if around.navigation and folder in ("", "Nav") else [])

    def request_file(self, name: str) -> Any:
        around = self._server.episode.surroundings
        if name != around.navigation_file:
            return wire.bad(f"there is no file '{str(name)[:80]}'; this server has '{around.navigation_file}'")
        return wire.good(around.navigation)

    def get_navigation_mesh(self) -> Any:
        return wire.good(self._server.episode.surroundings.navigation)

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

    # ------------------------------------------------------------------ the surroundings

    def get_environment_objects(self, tag: int = ANY) -> Any:
        return wire.good(
            [thing.wire() for thing in self._server.episode.surroundings.things if tag in (ANY, thing.tag)]
        )

    def get_all_level_BBs(self, tag: int = ANY) -> Any:
        return wire.good([thing.box() for thing in self._server.episode.surroundings.things if tag in (ANY, thing.tag)])

    def get_names_of_all_objects(self) -> Any:
        return wire.good([thing.name for thing in self._server.episode.surroundings.things])

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

    # ------------------------------------------------------------------ inside

    def _light(self, actor: Any) -> Any:
        self._server.episode.actor(actor)
        light = self._server.episode.lights.lights.get(actor)
        if light is None:
            raise ActorError(f"actor {actor} is no traffic light")
        return light


def _duration(seconds: Any) -> float:
    value = float(read_numbers([seconds], 1, "duration")[0])
    if not 0.0 <= value <= 1e5:
        raise ActorError(f"a phase of {value:g} s, allowed is 0 to 100000")
    return value
