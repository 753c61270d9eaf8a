"""Rubbish for both ports of a CARLA server: it may close connections, but must go on serving everybody else."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgpack

_PATIENCE_S = 60.0
_EACH_LIFE = 40  # inputs on one connection, unless the server closes it before
_CHECK_EVERY = 500
_CALLS = (
    "version", "get_episode_info", "get_sensor_token", "get_episode_settings", "set_episode_settings",
    "get_map_info", "get_map_data", "get_actor_definitions", "spawn_actor", "spawn_actor_with_parent",
    "get_actors_by_id", "get_spectator", "destroy_actor", "tick_cue", "apply_batch", "apply_control_to_vehicle",
    "apply_control_to_walker", "set_actor_transform", "set_actor_location", "set_actor_target_velocity",
    "set_weather_parameters", "get_weather_parameters", "draw_debug_shape", "get_physics_control",
    "apply_physics_control", "is_traffic_manager_running", "add_traffic_manager_running", "get_light_boxes",
    "get_group_traffic_lights", "set_traffic_light_state", "freeze_traffic_light", "set_actor_simulate_physics",
    "reset_all_traffic_lights", "start_recorder", "set_light_state", "no_such_call", "get_required_files",
    "request_file", "get_telemetry_data", "apply_ackermann_controller_settings", "add_actor_torque",
    "get_actor_bounding_box", "get_environment_objects", "get_bones_transform", "get_actor_component_world_transform",
)  # fmt: skip
_JUNK: tuple[Any, ...] = (None, True, False, -1, 0, 1, 2, 3, 24, 10**18, 2**64 - 1, -(2**63), 0.5, 1e308, float("inf"),
         float("nan"), "", "x" * 300, b"\0", b"\xff" * 24, [], [[]], [1, [2]], {}, {"a": 1}, "vehicle.tesla.model3",
         "sensor.lidar.ray_cast", [[50.0, 1.75, 0.3], [0.0, 0.0, 0.0]], [0, "vehicle.tesla.model3", []],
         [0.5, 0.0, 0.0, False, False, False, 0], [[0, [[0, "vehicle.tesla.model3", []], [[90.0, 1.7, 0.3],
         [0.0, 0.0, 0.0]], [False], []]]])  # fmt: skip


def fuzz(port: int, count: int, seed: int, alive: Callable[[], bool], told: Callable[[int], None]) -> dict[str, Any]:
    """Send ``count`` inputs, drawn from ``seed``, to the calls' port and the streams' one; now and then ask properly.

    ``answered``: proper questions that got their answer, of ``asked``.
    """
    rng = random.Random(seed)
    kinds: dict[str, int] = {}
    asked = answered = 0
    doors = [_Door(port), _Door(port + 1)]
    try:
        for number in range(count):
            which = 0 if rng.random() < 0.7 else 1
            kind, data = _rpc_input(rng) if which == 0 else _stream_input(rng)
            kinds[kind] = kinds.get(kind, 0) + 1
            doors[which].send(data)
            if (number + 1) % _CHECK_EVERY == 0 or number + 1 == count:
                asked += 1
                answered += _version(port) is not None
                told(number + 1)
                if not alive():
                    break
    finally:
        for door in doors:
            door.close()
    return {"inputs": sum(kinds.values()), "by_kind": dict(sorted(kinds.items())), "asked": asked,
            "answered": answered, "alive": alive(), "connections": sum(door.opened for door in doors)}  # fmt: skip


class _Door:
    """A connection that is opened again whenever the server has had enough."""

    def __init__(self, port: int) -> None:
        self._port, self._socket, self._used = port, None, 0  # type: int, socket.socket | None, int
        self.opened = 0

    def send(self, data: bytes) -> None:
        for _ in range(2):
            try:
                if self._socket is None or self._used >= _EACH_LIFE:
                    self._open()
                assert self._socket is not None
                self._used += 1
                self._socket.settimeout(_PATIENCE_S)
                self._socket.sendall(data)
                self._socket.setblocking(False)
                while self._socket.recv(1 << 16):
                    pass
                raise ConnectionResetError
            except BlockingIOError:
                return
            except OSError:  # closed by the server: once more on a new connection
                self.close()

    def _open(self) -> None:
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE_S)
        self._used, self.opened = 0, self.opened + 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _rpc_input(rng: random.Random) -> tuple[str, bytes]:
    draw = rng.random()
    if draw < 0.5:
        return "call", msgpack.packb(_call(rng), use_bin_type=True)
    if draw < 0.65:
        whole = bytearray(msgpack.packb(_call(rng), use_bin_type=True))
        for _ in range(rng.randrange(1, 4)):
            whole[rng.randrange(len(whole))] = rng.randrange(256)
        return "call with wrong bytes", bytes(whole)
    if draw < 0.75:
        whole = bytearray(msgpack.packb(_call(rng), use_bin_type=True))
        return "part of a call", bytes(whole[: rng.randrange(len(whole))])
    if draw < 0.85:
        return "other msgpack", msgpack.packb(_value(rng), use_bin_type=True)
    if draw < 0.95:
        return "noise", rng.randbytes(rng.randrange(1, 200))
    return "length beyond all bounds", rng.choice(
        [b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"]
    )


def _stream_input(rng: random.Random) -> tuple[str, bytes]:
    draw = rng.random()
    if draw < 0.4:
        return "stream that is not there", struct.pack("<I", rng.randrange(2, 1 << 32))
    if draw < 0.6:
        return "stream of the world", struct.pack("<I", 1)
    if draw < 0.8:
        return "part of a stream's number", rng.randbytes(rng.randrange(1, 4))
    return "noise on a stream", rng.randbytes(rng.randrange(4, 400))


def _call(rng: random.Random) -> list[Any]:
    name = rng.choice(_CALLS)
    arguments = [_value(rng) for _ in range(rng.randrange(5))]
    if rng.random() < 0.1:
        return [2, name, [[True], *arguments]]
    return [0, rng.randrange(1 << 31), name, [[False], *arguments]]


def _value(rng: random.Random, depth: int = 0) -> Any:
    if depth < 3 and rng.random() < 0.35:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(8))]
    return rng.choice(_JUNK)


def _version(port: int) -> str | None:
    """What a well-behaved client is told."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as line:
            line.sendall(msgpack.packb([0, 1, "version", [[False]]], use_bin_type=True))
            unpacker = msgpack.Unpacker(raw=False)
            while data := line.recv(1 << 16):
                unpacker.feed(data)
                for _, _, error, result in unpacker:
                    return None if error else str(result[0][1])
    except (OSError, ValueError, TypeError, IndexError):
        return None
    return None
