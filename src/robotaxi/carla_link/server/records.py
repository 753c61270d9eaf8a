"""The world's state of a frame as CARLA's clients read it: one record an actor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.actors import Actor
from robotaxi.sim.ego import VX, YAW, YAW_RATE, X, Y

if TYPE_CHECKING:
    from robotaxi.carla_link.server.episode import Episode


class Records:
    """Of one episode; what never moves is worked out once."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._lights: Any = None
        self._signs: Any = None

    def world_state(self, *, map_change: bool) -> bytes:
        """Payload of the world's stream for this frame."""
        episode = self._episode
        parts = [self._vehicle_records(), self._light_records(), self._sign_records()]
        parts += [_record(actor) for actor in episode.actors.values() if actor.kind not in ("vehicle", "traffic")]
        return wire.world_state(episode.number, episode.time, episode.delta, parts, map_change=map_change)

    def _vehicle_records(self) -> Any:
        episode, fleet = self._episode, self._episode.fleet
        out = np.zeros(len(fleet), wire.VEHICLE_DTYPE)
        if not len(fleet):
            return out
        state, control = fleet.state, fleet.control
        velocity, acceleration = fleet.motion()
        out["id"], out["state"] = fleet.ids, wire.ACTIVE
        z, pitch = fleet.ground.T
        yaw = (-np.degrees(state[:, YAW]) + 180.0) % 360.0 - 180.0
        out["transform"] = np.stack([state[:, X], -state[:, Y], z, -np.degrees(pitch), yaw, 0.0 * z], axis=1)
        for name, values in (("velocity", velocity), ("acceleration", acceleration)):
            out[name] = values * (1.0, -1.0, 1.0)
        out["angular_velocity"][:, 2] = -np.degrees(state[:, YAW_RATE])
        for row in np.flatnonzero(~fleet.physics).tolist():
            _common(out[row], episode.actors[int(fleet.ids[row])])
        for column, name in enumerate(("throttle", "steer", "brake", "hand_brake", "reverse", "manual_gear", "gear")):
            out[name] = control[:, column]
        driven = out["manual_gear"] == 0
        out["gear"][driven] = np.where(control[driven, 4] > 0, -1, np.where(state[driven, VX] > 0.1, 1, 0))
        out["speed_limit"] = fleet.limit
        unknown = np.flatnonzero(~fleet.physics | (fleet.limit <= 0.0))  # not put on the ground in this frame
        if len(unknown):
            out["speed_limit"][unknown] = episode.town.ground(state[unknown][:, [X, Y]])[1]
        signals = episode.town.lights_ahead(state[:, X], state[:, Y], state[:, YAW], state[:, VX])
        out["light_state"] = 2  # green where there is none, as in CARLA
        for k in np.flatnonzero(signals >= 0).tolist():
            light = episode.lights.lights[episode.lights.by_signal[int(signals[k])]]
            out["light_state"][k], out["has_light"][k], out["light_id"][k] = light.state, True, light.actor
        return out

    def _light_records(self) -> Any:
        """Only times and colours change."""
        lights = list(self._episode.lights.lights.values())
        if self._lights is None:
            self._lights = np.zeros(len(lights), wire.LIGHT_DTYPE)
            for record, light in zip(self._lights, lights, strict=True):
                _common(record, self._episode.actors[light.actor])
                record["sign_id"], record["pole_index"] = str(light.signal).encode(), light.pole
        table = self._lights
        table["green_time"], table["yellow_time"] = [x.green for x in lights], [x.yellow for x in lights]
        table["red_time"], table["elapsed_time"] = [x.red for x in lights], [x.elapsed for x in lights]
        table["light"], table["frozen"] = [x.state for x in lights], self._episode.lights.frozen
        return table

    def _sign_records(self) -> Any:
        if self._signs is None:
            signs = self._episode.signs
            self._signs = np.zeros(len(signs), wire.SIGN_DTYPE)
            for record, (number, sign) in zip(self._signs, signs.items(), strict=True):
                _common(record, self._episode.actors[number])
                record["sign_id"] = sign.id.encode()[:31]
        return self._signs


def _record(actor: Actor) -> Any:
    if actor.kind == "walker":
        out = np.zeros(1, wire.WALKER_DTYPE)
        out["direction"], out["speed"], out["jump"] = actor.direction * (1, -1, 1), actor.speed, actor.jump
    else:
        out = np.zeros(1, wire.ACTOR_DTYPE)
    _common(out[0], actor)
    return out


def _common(record: Any, actor: Actor) -> None:
    location, rotation = actor.carla_pose()
    v, w, a = actor.velocity, actor.angular_velocity, actor.acceleration
    record["id"], record["state"] = actor.id, wire.ACTIVE
    record["transform"] = (*location, *rotation)
    record["velocity"] = (v[0], -v[1], v[2])
    record["angular_velocity"] = (-math.degrees(w[0]), math.degrees(w[1]), -math.degrees(w[2]))
    record["acceleration"] = (a[0], -a[1], a[2])
