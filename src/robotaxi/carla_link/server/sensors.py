"""The sensors that clients mount: each turns the world of one frame into the payload of one stream message."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robotaxi.carla_link.frames import carla_from_map, planar
from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.actors import Actor
from robotaxi.carla_link.server.blueprints import Tag
from robotaxi.carla_link.server.wire import Stream
from robotaxi.sensor_rig import CameraSpec
from robotaxi.sim.mesh import REFLECTIVITY, Material
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.camera import NO_MATERIAL, Camera, RenderConfig
from robotaxi.sim.sensors.lidar import rotate
from robotaxi.sim.sensors.noise import generator
from robotaxi.sim.sensors.rays import Hits, RayScene
from robotaxi.sim.sensors.triangles import TriangleTable
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import FloatArray, LightState, ObjectClass, RecordArray

_BODY_FROM_OPTICAL = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
_DEPTH_RANGE = 1000.0  # m, as CARLA encodes depth
_GRAVITY = 9.81  # m/s^2, as CARLA's IMU adds it
_MAX_PIXELS = 4096 * 4096
_MAX_RAYS = 4_000_000  # of one measurement
_FAR = 1000.0  # m, longest single ray
_WARM_UP_CAR = (4.5, 1.8, 1.5)  # m, length, width, height
_WARM_UP = {
    "sensor.camera.rgb": {"image_size_x": "64", "image_size_y": "36", "fov": "90"},
    "sensor.camera.depth": {"image_size_x": "64", "image_size_y": "36", "fov": "90"},
    "sensor.lidar.ray_cast": {"channels": "4", "range": "50", "points_per_second": "4000", "rotation_frequency": "10",
                              "horizontal_fov": "360", "upper_fov": "10", "lower_fov": "-30"},
    "sensor.other.radar": {"horizontal_fov": "30", "vertical_fov": "30", "range": "50", "points_per_second": "1500"},
}  # fmt: skip
_NEAR_BODY = (0.6, 0.6, 1.2)  # m around a car's box within which its own camera does not see it

MATERIAL_TAG = np.full(256, int(Tag.STATIC), np.uint8)
for _material, _tag in {
    Material.ROAD: Tag.ROADS,
    Material.SHADOW: Tag.ROADS,
    Material.MARKING: Tag.ROAD_LINES,
    Material.PAVEMENT: Tag.SIDEWALKS,
    Material.KERB: Tag.SIDEWALKS,
    Material.GRASS: Tag.TERRAIN,
    Material.FACADE: Tag.BUILDINGS,
    Material.ROOF: Tag.BUILDINGS,
    Material.TRUNK: Tag.VEGETATION,
    Material.FOLIAGE: Tag.VEGETATION,
    Material.METAL: Tag.POLES,
    Material.HOUSING: Tag.TRAFFIC_LIGHT,
    Material.SIGN: Tag.TRAFFIC_SIGNS,
}.items():
    MATERIAL_TAG[_material] = _tag
MATERIAL_TAG[NO_MATERIAL] = Tag.SKY


class Scene:
    """The scenery of a town, made ready for lenses and beams when the first sensor needs it."""

    def __init__(self, scenery: Scenery) -> None:
        self.scenery = scenery

    @cached_property
    def rays(self) -> RayScene:
        """For single rays of any length that matters."""
        return RayScene(self.scenery, _FAR)

    @cached_property
    def table(self) -> TriangleTable:
        return TriangleTable(self.scenery.mesh, self.scenery.instance)

    def warm_up(self) -> None:
        """Measure once with each kind of sensor that looks, so that no client's frame waits for a compiler."""
        agents = np.zeros(1, AGENT_DTYPE)
        agents["id"], agents["label"] = 2, int(ObjectClass.CAR)
        agents["length"], agents["width"], agents["height"] = _WARM_UP_CAR
        x, y = self.scenery.mesh.triangles.mean(axis=(0, 1))[:2].tolist()
        agents["x"], agents["y"] = x + 10.0, y
        pose = planar(x, y, 2.0, 0.0)
        lights = {0: LightState.RED}
        sight = Sight(1, 0, 0.1, pose, agents, {2: int(Tag.CAR)}, lights, [0.0] * 14, own=0)
        for type_id, attributes in _WARM_UP.items():
            make_sensor(self, Actor(2, type_id, [], attributes, pose), 0).measure(sight)


@dataclass(frozen=True)
class Sight:
    """What there is to see in one frame. ``agents``: AGENT_DTYPE, ids are actor ids; ``tags`` by actor id;
    ``weather``: CARLA's 14 parameters."""

    frame: int
    stamp_ns: int
    dt: float  # since this sensor's last measurement
    T_map_sensor: FloatArray
    agents: RecordArray
    tags: dict[int, int]
    lights: dict[int, LightState]
    weather: list[float]
    own: int  # actor the sensor is mounted on, 0 for none


class Sensor(Protocol):
    kind: Stream

    def measure(self, sight: Sight) -> bytes: ...


class SensorError(ValueError):
    """Attributes with which a sensor cannot be made."""


def _number(actor: Actor, name: str, low: float, high: float) -> float:
    text = actor.attributes.get(name, "0")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise SensorError(f"{actor.type_id}: attribute '{name}' is '{text}', allowed is {low:g} to {high:g}")
    return value


class CameraSensor:
    """RGB, depth, semantic and instance cameras."""

    _KINDS = {  # noqa: RUF012
        "sensor.camera.rgb": Stream.RGB,
        "sensor.camera.depth": Stream.DEPTH,
        "sensor.camera.semantic_segmentation": Stream.SEMANTIC,
        "sensor.camera.instance_segmentation": Stream.INSTANCE,
    }

    def __init__(self, scene: Scene, actor: Actor, seed: int) -> None:
        self.kind = self._KINDS[actor.type_id]
        width, height = (int(_number(actor, f"image_size_{axis}", 16, 4096)) for axis in "xy")
        if width * height > _MAX_PIXELS:
            raise SensorError(f"{actor.type_id}: an image of {width} x {height} is too large")
        self._fov_deg = _number(actor, "fov", 5.0, 150.0)
        spec = CameraSpec(width=width, height=height, hfov_deg=self._fov_deg, noise_sigma=0.0)
        samples = 2 if self.kind is Stream.RGB else 1
        name = f"carla/{actor.id}"
        self._camera = Camera(scene.scenery, spec, seed, name, RenderConfig(samples=samples), scene.table)

    def measure(self, sight: Sight) -> bytes:
        T_map_optical = sight.T_map_sensor @ _BODY_FROM_OPTICAL
        agents = _without_own(sight)
        model = self._camera.model
        pixels = np.empty((model.height, model.width, 4), np.uint8)
        pixels[..., 3] = 255
        if self.kind is Stream.RGB:
            picture = self._camera.draw(T_map_optical, sight.stamp_ns, agents, sight.lights)
            pixels[..., :3] = _darkened(picture, sight.weather)
            return wire.image(pixels, self._fov_deg)
        depth, material, instance = self._camera.measure(T_map_optical, agents)
        if self.kind is Stream.DEPTH:
            code = np.minimum(depth / _DEPTH_RANGE, 1.0).astype(np.float64) * (2**24 - 1)
            code = np.round(code).astype(np.uint32)
            for channel, shift in ((2, 0), (1, 8), (0, 16)):
                pixels[..., channel] = (code >> shift) & 0xFF
            return wire.image(pixels, self._fov_deg)
        pixels[..., 2] = _tags(material, instance, sight.tags)
        low, high = (instance & 0xFF, (instance >> 8) & 0xFF) if self.kind is Stream.INSTANCE else (0, 0)
        pixels[..., 1], pixels[..., 0] = low, high
        return wire.image(pixels, self._fov_deg)


class LidarSensor:
    """A turning lidar; with ``semantic`` each point carries the object and its class instead of an intensity."""

    def __init__(self, scene: Scene, actor: Actor, seed: int) -> None:
        self._seed, self._name = seed, f"carla/{actor.id}"
        self._semantic = actor.type_id.endswith("_semantic")
        self.kind = Stream.SEMANTIC_LIDAR if self._semantic else Stream.LIDAR
        self._channels = int(_number(actor, "channels", 1, 512))
        self._range = _number(actor, "range", 0.1, 1000.0)
        self._scene = RayScene(scene.scenery, self._range)
        self._rate = _number(actor, "points_per_second", 1, 1e9)
        self._turns = _number(actor, "rotation_frequency", 0.0, 1000.0)
        self._fov = math.radians(_number(actor, "horizontal_fov", 0.1, 360.0))
        upper, lower = (math.radians(_number(actor, f"{end}_fov", -90.0, 90.0)) for end in ("upper", "lower"))
        self._elevation = np.linspace(upper, lower, self._channels)
        self._attenuation = 0.0
        if not self._semantic:
            self._attenuation = _number(actor, "atmosphere_attenuation_rate", 0.0, 10.0)
            self._sigma = _number(actor, "noise_stddev", 0.0, 100.0)
            self._loss = _number(actor, "dropoff_general_rate", 0.0, 1.0)
            self._limit = _number(actor, "dropoff_intensity_limit", 0.0, 1.0)
            self._loss_at_zero = _number(actor, "dropoff_zero_intensity", 0.0, 1.0)
        self._angle = 0.0

    def measure(self, sight: Sight) -> bytes:
        columns = max(1, round(self._rate * sight.dt / self._channels))
        if columns * self._channels > _MAX_RAYS:
            columns = _MAX_RAYS // self._channels
        swept = min(2.0 * math.pi * self._turns * sight.dt, 2.0 * math.pi)
        turn = (self._angle + swept / columns * np.arange(columns)) % self._fov - self._fov / 2.0
        self._angle = (self._angle + swept) % (2.0 * math.pi)
        flat = np.cos(self._elevation)[:, None]
        grid = np.empty((self._channels, columns, 3))
        grid[..., 0], grid[..., 1] = flat * np.cos(turn), flat * np.sin(turn)  # CARLA: y to the right
        grid[..., 2] = np.sin(self._elevation)[:, None]
        local = grid.reshape(-1, 3)
        hits = _cast(self._scene, sight, local * np.array([1.0, -1.0, 1.0]), self._range)
        seen = np.isfinite(hits.distance) & (hits.distance <= self._range)
        points = local.astype(np.float32) * np.where(seen, hits.distance, np.float32(0.0))[:, None]
        if self._semantic:
            keep = np.flatnonzero(seen)
            out = np.empty(len(keep), wire.SEMANTIC_POINT_DTYPE)
            for axis, name in enumerate("xyz"):
                out[name] = points[keep, axis]
            out["cosine"], out["object"] = hits.cosine[keep], hits.instance[keep]
            out["tag"] = _tags(hits.material[keep], hits.instance[keep], sight.tags)
            return wire.semantic_lidar(self._angle, self._counts(keep, columns), out)
        return self._returns(sight, hits, seen, points, local, columns)

    def _returns(
        self,
        sight: Sight,
        hits: Hits,
        seen: NDArray[np.bool_],
        points: NDArray[np.float32],
        local: FloatArray,
        columns: int,
    ) -> bytes:
        """CARLA's model: intensity decays with range; rays are lost at random, weak ones more often."""
        rng = generator(self._seed, self._name, sight.frame)
        distance = np.where(seen, hits.distance, 0.0)
        decay = self._attenuation + 0.004 * sight.weather[1] / 100.0 + 0.02 * sight.weather[6] / 100.0
        intensity = np.exp(-decay * distance).astype(np.float32)
        luck = rng.random(len(seen), np.float32)
        seen &= luck >= self._loss
        if self._loss_at_zero > 0.0 and self._limit > 0.0:
            weak = self._loss_at_zero * (1.0 - np.minimum(intensity / self._limit, 1.0))
            seen &= rng.random(len(seen), np.float32) >= weak
        keep = np.flatnonzero(seen)
        table = np.empty((len(keep), 4), np.float32)
        table[:, :3] = points[keep]
        if self._sigma > 0.0:
            table[:, :3] += local[keep] * (self._sigma * rng.standard_normal(len(keep)))[:, None]
        table[:, 3] = intensity[keep] * (0.3 + 0.7 * REFLECTIVITY[hits.material[keep]])
        return wire.lidar(self._angle, self._counts(keep, columns), table)

    def _counts(self, keep: NDArray[np.int64], columns: int) -> list[int]:
        return np.bincount(keep // columns, minlength=self._channels).tolist()


class RadarSensor:
    """Rays at random in the field of view; velocity is that along the ray, towards the sensor negative."""

    kind = Stream.RADAR

    def __init__(self, scene: Scene, actor: Actor, seed: int) -> None:
        self._seed, self._name = seed, f"carla/{actor.id}"
        self._half = np.radians(
            [_number(actor, f"{name}_fov", 0.1, 180.0) / 2.0 for name in ("horizontal", "vertical")]
        )
        self._range = _number(actor, "range", 0.1, 1000.0)
        self._scene = RayScene(scene.scenery, self._range)
        self._rate = _number(actor, "points_per_second", 1, 1e7)
        self._before: FloatArray | None = None

    def measure(self, sight: Sight) -> bytes:
        count = min(max(1, round(self._rate * sight.dt)), _MAX_RAYS)
        rng = generator(self._seed, self._name, sight.frame)
        radius, turn = np.sqrt(rng.random(count)), rng.uniform(0.0, 2.0 * math.pi, count)
        azimuth, altitude = self._half[0] * radius * np.cos(turn), self._half[1] * radius * np.sin(turn)
        local = np.stack(
            [np.cos(altitude) * np.cos(azimuth), -np.cos(altitude) * np.sin(azimuth), np.sin(altitude)], axis=1
        )
        hits = _cast(self._scene, sight, local, self._range)
        seen = np.flatnonzero(np.isfinite(hits.distance) & (hits.distance <= self._range))
        position = sight.T_map_sensor[:3, 3].copy()
        moved = np.zeros(3) if self._before is None else (position - self._before) / max(sight.dt, 1e-6)
        self._before = position
        speed = {int(a["id"]): (float(a["vx"]), float(a["vy"]), 0.0) for a in sight.agents}
        others = np.array([speed.get(int(k), (0.0, 0.0, 0.0)) for k in hits.instance[seen]]).reshape(-1, 3)
        rays = local[seen] @ sight.T_map_sensor[:3, :3].T
        closing = ((others - moved) * rays).sum(axis=1)
        return wire.radar(np.stack([closing, azimuth[seen], altitude[seen], hits.distance[seen]], axis=1))


def _cast(scene: RayScene, sight: Sight, local: FloatArray, reach: float) -> Hits:
    """Cast ``local`` (N, 3), unit vectors in the sensor's REP-103 frame."""
    T = sight.T_map_sensor
    rays = rotate(np.ascontiguousarray(local), np.ascontiguousarray(T[:3, :3]))
    origin = T[:3, 3].copy()
    hits = scene.cast(origin, rays)
    others = sight.agents[sight.agents["id"] != sight.own]
    near = others[np.hypot(others["x"] - origin[0], others["y"] - origin[1]) < reach + 10.0]
    scene.cast_movers(near, origin, rays, np.arange(len(rays)), hits)
    return hits


def _tags(material: NDArray[np.uint8], instance: NDArray[np.uint32], tags: dict[int, int]) -> NDArray[np.uint8]:
    out = MATERIAL_TAG[material]
    for number in np.unique(instance[instance > 0]).tolist():
        out[instance == number] = tags.get(number, int(Tag.CAR))
    return out


def _without_own(sight: Sight) -> RecordArray:
    """The road users; without the sensor's own carrier where the lens is in or on it."""
    mine = sight.agents[sight.agents["id"] == sight.own]
    if not len(mine):
        return sight.agents
    box = mine[0]
    position = sight.T_map_sensor[:3, 3]
    c, s = math.cos(box["yaw"]), math.sin(box["yaw"])
    dx, dy = position[0] - box["x"], position[1] - box["y"]
    inside = (
        abs(c * dx + s * dy) < box["length"] / 2.0 + _NEAR_BODY[0]
        and abs(c * dy - s * dx) < box["width"] / 2.0 + _NEAR_BODY[1]
        and position[2] < box["z"] + box["height"] + _NEAR_BODY[2]
    )
    return sight.agents[sight.agents["id"] != sight.own] if inside else sight.agents


def _darkened(picture: NDArray[np.uint8], weather: list[float]) -> NDArray[np.uint8]:
    """Night by the sun's altitude, a grey veil by rain and fog."""
    day = min(max((weather[5] + 10.0) / 25.0, 0.08), 1.0) * (1.0 - 0.25 * min(weather[0], 100.0) / 100.0)
    veil = min(0.5 * weather[6] / 100.0 + 0.25 * weather[1] / 100.0, 0.7)
    if day >= 1.0 and veil <= 0.0:
        return picture
    table = np.arange(256) * (day * (1.0 - veil)) + 190.0 * veil * day
    return np.clip(np.round(table), 0, 255).astype(np.uint8)[picture]


def gnss_payload(town_geodetic: tuple[float, float, float], actor: Actor, seed: int, frame: int) -> bytes:
    """CARLA's noise model: bias and white noise in degrees and metres."""
    values = []
    white = generator(seed, f"carla/{actor.id}", frame).standard_normal(3)
    for k, axis in enumerate(("lat", "lon", "alt")):
        bias, sigma = (float(actor.attributes.get(f"noise_{axis}_{what}", 0.0)) for what in ("bias", "stddev"))
        values.append(town_geodetic[k] + bias + sigma * float(white[k]))
    return wire.gnss(*values)


def imu_payload(
    acceleration: FloatArray, rate: FloatArray, T_map_sensor: FloatArray, actor: Actor, seed: int, frame: int
) -> bytes:
    """``acceleration`` (3,) of the sensor in map without gravity, ``rate`` (3,) rad/s in map."""
    R = T_map_sensor[:3, :3]
    force = R.T @ (acceleration + np.array([0.0, 0.0, _GRAVITY]))
    turn = R.T @ rate
    white = generator(seed, f"carla/{actor.id}", frame).standard_normal(6)
    mirror_force, mirror_turn = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0)  # a rate is a pseudovector
    accelerometer, gyroscope = [], []
    for k, axis in enumerate("xyz"):
        sigma, gyro_sigma, bias = (
            float(actor.attributes.get(f"noise_{name}_{axis}", 0.0))
            for name in ("accel_stddev", "gyro_stddev", "gyro_bias")
        )
        accelerometer.append(float(force[k]) * mirror_force[k] + sigma * float(white[k]))
        gyroscope.append(float(turn[k]) * mirror_turn[k] + bias + gyro_sigma * float(white[3 + k]))
    _, rotation = carla_from_map(T_map_sensor)
    return wire.imu(accelerometer, gyroscope, (math.radians(rotation[1]) + math.pi / 2.0) % (2.0 * math.pi))


def make_sensor(scene: Scene, actor: Actor, seed: int) -> Sensor:
    """For the kinds that look at the scene. Raises SensorError."""
    if actor.type_id.startswith("sensor.camera."):
        return CameraSensor(scene, actor, seed)
    if actor.type_id.startswith("sensor.lidar."):
        return LidarSensor(scene, actor, seed)
    return RadarSensor(scene, actor, seed)
