"""Commands that come many at a time: `apply_batch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from robotaxi.carla_link.server.episode import ActorError, Episode
from robotaxi.carla_link.server.physics import apply_physics

if TYPE_CHECKING:
    from robotaxi.carla_link.server.server import CarlaServer

_SPAWN, _DESTROY, _LIGHTS = 0, 1, 18


def _lights(episode: Episode, actor: int, state: Any) -> None:
    vehicle, _ = episode.vehicle(actor)
    vehicle.light_state = int(state[0] if isinstance(state, list) else state) & 0xFFFFFFFF


def _nothing(episode: Episode, actor: int, *_: Any) -> None:
    episode.actor(actor)


_KINDS: dict[int, Callable[..., None]] = {
    2: Episode.control,
    3: Episode.ackermann,
    4: Episode.walk,
    5: apply_physics,
    6: Episode.move,
    7: Episode.walker_state,
    8: Episode.set_velocity,
    9: Episode.set_angular_velocity,
    10: Episode.push,
    11: lambda episode, actor, force: episode.push(actor, force, episode.delta),
    12: Episode.twist,
    13: lambda episode, actor, torque: episode.twist(actor, torque, episode.delta),
    14: Episode.simulate_physics,
    15: _nothing,  # gravity
    16: _nothing,  # autopilot is the client's TrafficManager
    17: _nothing,  # telemetry on the screen
    _LIGHTS: _lights,
}


def apply(server: CarlaServer, commands: list[Any]) -> list[Any]:
    """One response a command, in order: [[1, actor]] or [[0, [message]]]."""
    return [_one(server, command, None) for command in commands]


def _one(server: CarlaServer, command: Any, born: int | None) -> list[Any]:
    """``born``: the actor that an enclosing spawn has just made, which `then` calls 0."""
    try:
        command = command[0] if isinstance(command, list) and len(command) == 1 else command
        kind, arguments = command
        if kind == _SPAWN:
            return _spawn(server, arguments)
        actor = arguments[0] if arguments[0] or born is None else born
        if kind == _DESTROY:
            for stream in server.episode.destroy(actor):
                server.end_stream(stream)
        elif kind in _KINDS:
            _KINDS[kind](server.episode, actor, *arguments[1:])
        else:
            return _bad(f"batch command of unknown kind {kind!r}")
        return [[1, actor]]
    except ActorError as error:
        return _bad(str(error))
    except Exception as error:  # one command must not take the others with it
        return _bad(f"malformed batch command: {error}")


def _spawn(server: CarlaServer, arguments: Any) -> list[Any]:
    description, transform, parent = arguments[:3]
    carrier = parent[1] if isinstance(parent, list) and parent[0] else 0
    actor = server.episode.spawn(description, transform, carrier)
    for following in arguments[-1] if isinstance(arguments[-1], list) else []:
        _one(server, following, actor.id)
    return [[1, actor.id]]


def _bad(message: str) -> list[Any]:
    return [[0, [message]]]
