"""The server: one loop that serves calls, steps the world and sends what its sensors see.

Synchronous clients tick it; without one it steps by the wall clock. All work is done in one thread, so the
order of things is the order in which the clients asked for them.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.calls import Calls
from robotaxi.carla_link.server.episode import ActorError, Episode, read_numbers
from robotaxi.carla_link.server.network import Network, RpcPeer, StreamPeer
from robotaxi.carla_link.server.sensors import MATERIAL_TAG, gnss_payload, imu_payload
from robotaxi.carla_link.server.surroundings import Surroundings, surroundings_of
from robotaxi.carla_link.server.town import Town, load_town
from robotaxi.carla_link.server.vehicles import warm_up
from robotaxi.hdmap.lane_map import MapError
from robotaxi.types import FloatArray, RecordArray

LOG = logging.getLogger("robotaxi.carla_server")
_ASYNC_STEP = 0.05  # s between frames when nobody ticks
_LISTENER_PATIENCE = 1.0  # s that a frame waits for a listener that has announced itself
_MAX_STEP = 1.0  # s, longest fixed step
GENERATED = "OpenDriveMap"  # the name under which a client's own OpenDRIVE is loaded


@dataclass
class Settings:
    """The episode's settings in CARLA's order."""

    synchronous: bool = False
    no_rendering: bool = False
    fixed_delta: float | None = None
    rest: tuple[Any, ...] = (True, 0.01, 10, 0.0, True, 3000.0, 2000.0, True)

    @property
    def delta(self) -> float:
        return self.fixed_delta or _ASYNC_STEP

    def wire(self) -> list[Any]:
        return [self.synchronous, self.no_rendering, wire.optional(self.fixed_delta), *self.rest]

    def read(self, values: Any) -> None:
        """Raises ActorError when they cannot be used; nothing is changed then."""
        if not isinstance(values, list) or len(values) != 3 + len(self.rest):
            raise ActorError(
                f"episode settings: expected {3 + len(self.rest)} fields, as CARLA {wire.VERSION} has them"
            )
        optional = values[2]
        if not (isinstance(optional, list) and len(optional) in (1, 2)):
            raise ActorError("episode settings: malformed 'fixed_delta_seconds'")
        delta = float(read_numbers([optional[1]], 1, "fixed_delta_seconds")[0]) if optional[0] else None
        if delta is not None and not 0.0 <= delta <= _MAX_STEP:
            raise ActorError(f"episode settings: 'fixed_delta_seconds' is {delta:g}, allowed is 0 to {_MAX_STEP:g}")
        self.synchronous, self.no_rendering = bool(values[0]), bool(values[1])
        self.fixed_delta, self.rest = delta or None, tuple(values[3:])


class CarlaServer:
    """``maps``: names or paths of OpenDRIVE files; the first is loaded. ``rendering`` False: no scenery is built,
    and sensors that look are refused. Raises MapError and ServerError."""

    def __init__(
        self, maps: list[str], *, port: int = 2000, seed: int = 0, rendering: bool = True, host: str = "127.0.0.1"
    ) -> None:
        self._seed, self._rendering = seed, rendering
        self._sources = {Path(source).stem: source for source in maps}
        self._generated: str | None = None
        self.settings = Settings()
        self.traffic_managers: dict[int, str] = {}
        self._map_change = False
        self._announced: dict[int, float] = {}
        self._last_state = b""
        self._stopped = False
        self._built: dict[str, tuple[Town, Surroundings]] = {}
        calls = Calls(self)
        self.network = Network(port, calls.answer, self._on_subscribe, host)
        self.port = self.network.port
        warm_up()
        try:
            self.episode = self._open(Path(maps[0]).stem, 1)
        except Exception:
            self.network.close()
            raise
        self._send_world()

    # ------------------------------------------------------------------ the loop

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Serve until ``stop`` or ``until`` says so."""
        due = time.monotonic()
        while not self._stopped and not until():
            if self.settings.synchronous:
                self.network.poll(0.2)
                due = time.monotonic()
                continue
            left = due - time.monotonic()
            self.network.poll(max(left, 0.0))
            if not self.settings.synchronous and time.monotonic() >= due:
                self._step()
                due = max(due + self.settings.delta, time.monotonic() - 0.5)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self.network.close()

    def tick(self) -> int:
        """One frame when a client is in charge; the number of the frame either way."""
        if self.settings.synchronous:
            self._await_listeners()
            self._step()
        return self.episode.frame

    def expect_listener(self, stream: int) -> None:
        """A client has asked where a stream is: it is about to connect to it."""
        if any(actor.stream == stream for actor in self.episode.actors.values()) and stream:
            self._announced[stream] = time.monotonic() + _LISTENER_PATIENCE

    def _await_listeners(self) -> None:
        """A frame that is asked for after `listen` shall be seen by that listener."""
        while self._announced:
            now = time.monotonic()
            self._announced = {k: end for k, end in self._announced.items() if end > now}
            if self._announced:
                self.network.poll_streams(min(self._announced.values()) - now)

    def _step(self) -> None:
        self.episode.step(self.settings.delta)
        self._send_sensors()
        self._send_world()

    # ------------------------------------------------------------------ what goes out

    def _send_world(self) -> None:
        episode = self.episode
        head = wire.header(wire.Stream.WORLD, episode.frame, episode.time, (0.0,) * 6)
        self._last_state = head + episode.records.world_state(map_change=self._map_change)
        self._map_change = False
        self.network.send(wire.WORLD_STREAM, self._last_state)

    def _send_sensors(self) -> None:
        episode = self.episode
        agents: RecordArray | None = None
        for actor in list(episode.actors.values()):
            if not actor.stream or not self.network.has_reader(actor.stream):
                continue
            if actor.type_id == "sensor.other.collision":
                self._send_collisions(actor)
                continue
            if episode.time < actor.due - 1e-6:
                continue
            period = _period(actor)
            first = actor.measured is None
            dt = max(period, self.settings.delta) if first else episode.time - float(actor.measured or 0.0)
            actor.measured = episode.time
            # the beat is kept from the first measurement on, unless frames were missed
            actor.due = episode.time + period if first else max(actor.due + period, episode.time)
            if agents is None:
                agents = episode.agents()
            payload = self._payload(actor, agents, dt)
            if payload is None:
                continue
            location, rotation = actor.carla_pose()
            kind = _stream_of(actor, episode)
            message = wire.header(kind, episode.frame, episode.time, (*location, *rotation)) + payload
            self.network.send(actor.stream, message, droppable=not self.settings.synchronous)

    def _payload(self, actor: Actor, agents: RecordArray, dt: float) -> bytes | None:
        episode = self.episode
        if actor.type_id == "sensor.other.gnss":
            place = episode.town.geodetic(*actor.T[:3, 3].tolist())
            return gnss_payload(place, actor, self._seed, episode.frame)
        if actor.type_id == "sensor.other.imu":
            acceleration, rate = episode.motion_at(actor)
            return imu_payload(acceleration, rate, actor.T, actor, self._seed, episode.frame)
        if actor.type_id == "sensor.other.obstacle":
            return self._obstacle(actor, agents)
        sensor = episode.sensors.get(actor.id)
        if sensor is None:
            return None
        if self.settings.no_rendering and actor.type_id.startswith("sensor.camera."):
            return None
        return sensor.measure(episode.sight(actor, agents, dt))

    def _send_collisions(self, actor: Actor) -> None:
        episode = self.episode
        carrier = episode.root(actor)
        for touch in episode.touches:
            if touch.actor != carrier or not episode.actors[carrier].collisions:
                continue
            wall = [0, 0, [0, "static.building", []], wire.bounding_box((0.0,) * 3, (0.0,) * 3), b"\x03", b""]
            other = episode.actors[touch.other].wire(b"") if touch.other in episode.actors else wall
            impulse = [float(touch.impulse[0]), -float(touch.impulse[1]), 0.0]
            location, rotation = actor.carla_pose()
            head = wire.header(wire.Stream.COLLISION, episode.frame, episode.time, (*location, *rotation))
            self.network.send(actor.stream, head + wire.pack([episode.actors[carrier].wire(b""), other, impulse]))

    def _obstacle(self, actor: Actor, agents: RecordArray) -> bytes | None:
        """The nearest body ahead within the sensor's distance."""
        episode = self.episode
        reach = float(actor.attributes.get("distance", 5.0))
        radius = float(actor.attributes.get("hit_radius", 0.5))
        carrier = episode.root(actor)
        c, s = math.cos(math.atan2(actor.T[1, 0], actor.T[0, 0])), math.sin(math.atan2(actor.T[1, 0], actor.T[0, 0]))
        nearest: tuple[float, int] | None = None
        for other in agents[agents["id"] != carrier]:
            dx, dy = other["x"] - actor.T[0, 3], other["y"] - actor.T[1, 3]
            size = 0.5 * min(other["length"], other["width"])
            ahead = c * dx + s * dy - size
            if (
                0.0 < ahead <= reach
                and abs(c * dy - s * dx) < radius + size
                and (nearest is None or ahead < nearest[0])
            ):
                nearest = (float(ahead), int(other["id"]))
        if nearest is None:
            return None
        me = episode.actors.get(carrier, actor)
        return wire.pack([me.wire(b""), episode.actors[nearest[1]].wire(b""), nearest[0]])

    def _on_subscribe(self, peer: StreamPeer) -> bool:
        self._announced.pop(peer.stream or 0, None)
        if peer.stream == wire.WORLD_STREAM:
            peer.send(wire.frame_of(self._last_state))  # so that a client sees the world before the next tick
            return True
        for actor in self.episode.actors.values():
            if actor.stream and actor.stream == peer.stream:
                actor.due, actor.measured = self.episode.time, None
                return True
        return False

    def end_stream(self, stream: int) -> None:
        self.network.end_stream(stream)

    def token(self, stream: int, peer: RpcPeer | None) -> bytes:
        return wire.token(stream, self.network.stream_port, peer.local_address if peer else "127.0.0.1")

    # ------------------------------------------------------------------ maps

    def map_names(self) -> list[str]:
        return sorted(self._sources)

    def load(self, name: str, *, reset_settings: bool) -> None:
        """A new episode. Raises MapError for a map that is not known or cannot be read."""
        plain = name.replace("\\", "/").rsplit("/", 1)[-1] or self.episode.town.name
        if plain != GENERATED and plain not in self._sources:
            raise MapError(f"unknown map '{name}'; this server has: {', '.join(self.map_names())}")
        episode = self._open(plain, self.episode.number + 1)
        for actor in self.episode.actors.values():
            if actor.stream:
                self.network.end_stream(actor.stream)
        # time goes on over episodes, as in CARLA
        episode.frame, episode.time = self.episode.frame, self.episode.time
        self.episode = episode
        if reset_settings:
            self.settings = Settings()
        self._map_change = True
        self._step()

    def keep_opendrive(self, text: str) -> None:
        """What a client sends before it loads `GENERATED`. Raises MapError for text that is no road network."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{GENERATED}.xodr"
            path.write_text(text, encoding="utf-8")
            self._built[GENERATED] = self._build(str(path))

    def _open(self, name: str, number: int) -> Episode:
        if name not in self._built:
            if name == GENERATED:
                raise MapError("send the OpenDRIVE text before loading it: client.generate_opendrive_world(text)")
            self._built[name] = self._build(self._sources[name])
        town, surroundings = self._built[name]
        return Episode(town, self._seed, number, surroundings)

    def _build(self, source: str) -> tuple[Town, Surroundings]:
        town = load_town(source)
        return town, surroundings_of(town, rendering=self._rendering)

    def cast(self, start: FloatArray, end: FloatArray) -> list[Any]:
        """The first thing of the scenery between two CARLA points: [[location, tag]] or nothing."""
        scene = self.episode.surroundings.scene
        length = float(np.linalg.norm(end - start))
        if scene is None or length < 1e-6:
            return []
        mirror = np.array([1.0, -1.0, 1.0])
        ray = ((end - start) / length * mirror).astype(np.float32)[None]
        hits = scene.rays.cast(start * mirror, ray)
        if not hits.distance[0] <= length:
            return []
        place = start + (end - start) / length * float(hits.distance[0])
        return [[place.tolist(), int(MATERIAL_TAG[hits.material[0]])]]


def _period(actor: Actor) -> float:
    try:
        period = float(actor.attributes.get("sensor_tick", 0.0))
    except ValueError:
        return 0.0
    return period if math.isfinite(period) and period > 0.0 else 0.0


def _stream_of(actor: Actor, episode: Episode) -> wire.Stream:
    fixed = {
        "sensor.other.gnss": wire.Stream.GNSS,
        "sensor.other.imu": wire.Stream.IMU,
        "sensor.other.obstacle": wire.Stream.OBSTACLE,
    }
    return fixed[actor.type_id] if actor.type_id in fixed else episode.sensors[actor.id].kind
