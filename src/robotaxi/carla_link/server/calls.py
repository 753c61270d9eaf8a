"""The functions of CARLA's RPC interface, one method each; `Calls.answer` finds them by name.

A call that cannot be followed is answered with a sentence; nobody else notices.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.batch import apply
from robotaxi.carla_link.server.calls_absent import SILENT, AbsentCalls
from robotaxi.carla_link.server.calls_town import TownCalls
from robotaxi.carla_link.server.episode import SPECTATOR, ActorError, read_numbers
from robotaxi.carla_link.server.network import RpcPeer, UnknownCall
from robotaxi.carla_link.server.physics import apply_physics, physics_control, telemetry
from robotaxi.hdmap.lane_map import MapError

if TYPE_CHECKING:
    from robotaxi.carla_link.server.server import CarlaServer

LOG = logging.getLogger("robotaxi.carla_server")


class Calls(TownCalls, AbsentCalls):
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
        if name in SILENT:
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
        return wire.good(self._server.episode.box(actor))

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

    def add_actor_angular_impulse(self, actor: int, vector: Any) -> Any:
        self._server.episode.twist(actor, vector)
        return wire.done()

    def add_actor_torque(self, actor: int, vector: Any) -> Any:
        self._server.episode.twist(actor, vector, self._server.settings.delta)
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
        return wire.good(self._server.episode.vehicle(actor)[0].ackermann_settings)

    def apply_ackermann_controller_settings(self, actor: int, settings: Any) -> Any:
        self._server.episode.vehicle(actor)[0].ackermann_settings = read_numbers(settings, 6, "settings").tolist()
        return wire.done()

    def get_physics_control(self, actor: int) -> Any:
        vehicle, _ = self._server.episode.vehicle(actor)
        return wire.good(physics_control(vehicle))

    def apply_physics_control(self, actor: int, control: Any) -> Any:
        apply_physics(self._server.episode, actor, control)
        return wire.done()

    def get_telemetry_data(self, actor: int) -> Any:
        vehicle, row = self._server.episode.vehicle(actor)
        return wire.good(telemetry(vehicle, self._server.episode.fleet, row))

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

    # ------------------------------------------------------------------ inside

    def _token(self, stream: int) -> bytes:
        return self._server.token(stream, self._peer)

    def _wired(self, actor: Actor) -> list[Any]:
        return actor.wire(self._token(actor.stream) if actor.stream else b"")
