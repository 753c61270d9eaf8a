"""A camera that renders what it sees of the scenery, the road users and the signal lamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.sensor_rig import CameraSpec
from robotaxi.sim.events.conditions import Conditions, through_lens
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.scenery.road_users import road_users_mesh
from robotaxi.sim.sensors import raster, shading
from robotaxi.sim.sensors.noise import generator
from robotaxi.sim.sensors.pose import map_from_base
from robotaxi.sim.sensors.triangles import TriangleTable
from robotaxi.sim.view import WorldView
from robotaxi.types import CameraModel, FloatArray, LightState, RecordArray

_HAZE_COLOR = (0.90, 0.85, 0.79)  # BGR, also the sky at the horizon
_TEXTURE_SEED = 11
_TEXTURE_OCTAVES = ((1, 0.35), (2, 0.5), (4, 0.65))  # cells that one value spreads over, weight

LAMP_DIAMETER = 0.3  # m, the usual size of a vehicle signal (EN 12368)
_LAMP_ORDER = (LightState.RED, LightState.AMBER, LightState.GREEN)  # from the top
_LIT = {  # BGR as a camera sees them: bright, saturated
    LightState.RED: (40.0, 40.0, 255.0),
    LightState.AMBER: (20.0, 180.0, 255.0),
    LightState.GREEN: (140.0, 255.0, 30.0),
}
_DARK = {
    LightState.RED: (18.0, 16.0, 50.0),
    LightState.AMBER: (14.0, 34.0, 46.0),
    LightState.GREEN: (26.0, 40.0, 16.0),
}
_LAMP_MIN_COSINE = 0.17  # the visor hides a lamp seen from more than 80 degrees aside
_LAMP_RANGE = 250.0  # m
_LAMP_LIFT = 0.02  # m that a lamp stands before its housing
_GLOW = 0.35  # strength of the halo of a lit lamp
NO_MATERIAL = 255  # of the sky
_AGENT_MARGIN = 12.0  # m, no road user reaches farther from its centre


@dataclass(frozen=True)
class RenderConfig:
    """How a picture is drawn: quality against time."""

    samples: int = param(1, lo=1, hi=4, doc="samples per pixel along each axis, for smooth edges")
    draw_distance: float = param(400.0, lo=20.0, hi=5000.0, unit="m", doc="of the scenery")
    agent_distance: float = param(200.0, lo=20.0, hi=2000.0, unit="m", doc="of the road users")
    haze_length: float = param(900.0, lo=10.0, hi=1e6, unit="m", doc="distance at which haze hides half")


@dataclass(frozen=True)
class CameraFrame:
    """A picture with what a real camera does not tell.

    ``image`` (H, W, 3) uint8 BGR; ``depth`` (H, W) float32 along the optical axis, m, inf for sky;
    ``instance`` (H, W) uint32 id of the road user seen, parked ones included, 0 for none; ``material`` (H, W) uint8,
    `NO_MATERIAL` for sky.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    instance: NDArray[np.uint32]
    material: NDArray[np.uint8]


class Camera:
    """``render`` is a pure function of the world's view and the seed. Cameras of one thread may share a table."""

    def __init__(
        self,
        scene: Scenery,
        spec: CameraSpec,
        seed: int = 0,
        name: str = "front",
        config: RenderConfig | None = None,
        table: TriangleTable | None = None,
    ) -> None:
        self._scene, self._seed, self._name = scene, seed, name
        self._config = config or RenderConfig()
        self.model: CameraModel = spec.model(name)
        model, s = self.model, self._config.samples
        self._intrinsics = np.array([model.fx, model.fy, model.cx, model.cy])
        shift = 0.5 * (s - 1)  # in samples, the centre of pixel x lies at s x + shift
        self._sample_intrinsics = s * self._intrinsics + np.array([0.0, 0.0, shift, shift])
        borders_x = (np.array([-0.5, model.width - 0.5]) - model.cx) / model.fx
        borders_y = (np.array([-0.5, model.height - 0.5]) - model.cy) / model.fy
        self._slopes = np.concatenate([borders_x, borders_y])
        self._inverse_depth = np.zeros((s * model.height, s * model.width), np.float32)
        self._owner = np.empty((s * model.height, s * model.width), np.int32)
        self._table = table or TriangleTable(scene.mesh, scene.instance)
        self._noise = _texture_noise()
        grain = generator(seed, f"{name}/grain").standard_normal(shading.GRAIN_SIZE)
        self._grain = (spec.noise_sigma * grain).astype(np.float32)
        shadows, self._light = scene.shadows, np.empty(shading.LIGHT_SIZE)
        self._light[shading.SUN : shading.SUN + 3] = scene.sun
        self._light[shading.HAZE : shading.HAZE + 3] = _HAZE_COLOR
        self._light[shading.HAZE_PER_METRE] = 1.0 / self._config.haze_length
        self._light[[shading.SHADE_X, shading.SHADE_Y]] = shadows.x, shadows.y
        self._light[shading.SHADE_PER_METRE] = 1.0 / shadows.cell

    def render(self, view: WorldView) -> NDArray[np.uint8]:
        """The picture (H, W, 3), uint8 BGR."""
        T_map_optical = map_from_base(view) @ self.model.T_base_optical
        return self.draw(T_map_optical, view.stamp_ns, view.agents, view.lights, view.conditions)

    def draw(
        self,
        T_map_optical: FloatArray,
        stamp_ns: int,
        agents: RecordArray,
        lights: dict[int, LightState],
        conditions: Conditions | None = None,
    ) -> NDArray[np.uint8]:
        """The picture (H, W, 3), uint8 BGR, from any pose of the optical frame."""
        position, map_from_optical = T_map_optical[:3, 3].copy(), T_map_optical[:3, :3].copy()
        optical_from_map = np.ascontiguousarray(map_from_optical.T)
        self._rasterise(agents, position, optical_from_map)
        image = np.empty((self.model.height, self.model.width, 3), np.uint8)
        grain_start = int(generator(self._seed, self._name, stamp_ns).integers(shading.GRAIN_SIZE))
        shading.resolve(
            self._inverse_depth, self._owner, self._config.samples, position, map_from_optical, self._intrinsics,
            self._table.look, self._noise, self._scene.shadows.shade, self._light, self._grain, grain_start, image,
        )  # fmt: skip
        if conditions is not None:  # before the lamps: they shine through
            depth, _ = self._nearest(*image.shape[:2])
            through_lens(conditions, image, depth, generator(self._seed, f"{self._name}/air", stamp_ns))
        discs = self._lamps(lights, position, optical_from_map)
        shading.draw_discs(discs, self._inverse_depth, self._config.samples, image)
        return image

    def render_frame(self, view: WorldView) -> CameraFrame:
        """The picture with what it shows, for training and tests."""
        return self._with_truth(self.render(view))

    def draw_frame(
        self,
        T_map_optical: FloatArray,
        stamp_ns: int,
        agents: RecordArray,
        lights: dict[int, LightState],
        conditions: Conditions | None = None,
    ) -> CameraFrame:
        """`draw`, with what the picture shows."""
        return self._with_truth(self.draw(T_map_optical, stamp_ns, agents, lights, conditions))

    def _with_truth(self, image: NDArray[np.uint8]) -> CameraFrame:
        """Of the picture that was drawn last."""
        depth, material, instance = self._surfaces()
        return CameraFrame(image, depth, instance, material)

    def measure(
        self, T_map_optical: FloatArray, agents: RecordArray
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint32]]:
        """Depth (m, inf for sky), material (`NO_MATERIAL` for sky) and instance of each pixel (H, W)."""
        optical_from_map = np.ascontiguousarray(T_map_optical[:3, :3].T)
        self._rasterise(agents, T_map_optical[:3, 3].copy(), optical_from_map)
        return self._surfaces()

    def _surfaces(self) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint32]]:
        depth, seen = self._nearest(self.model.height, self.model.width)
        material = np.where(seen >= 0, self._table.material[seen], np.uint8(NO_MATERIAL))
        return depth, material, np.where(seen >= 0, self._table.instance[seen], np.uint32(0))

    def _nearest(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth and triangle of the nearest sample of each pixel."""
        s = self._config.samples
        by_pixel = (height, s, width, s)
        inverse = self._inverse_depth.reshape(by_pixel).transpose(0, 2, 1, 3).reshape(height, width, s * s)
        owner = self._owner.reshape(by_pixel).transpose(0, 2, 1, 3).reshape(height, width, s * s)
        nearest = inverse.argmax(axis=2)[..., None]
        inverse_depth = np.take_along_axis(inverse, nearest, axis=2)[..., 0]
        seen = np.take_along_axis(owner, nearest, axis=2)[..., 0]
        depth = np.full((height, width), np.inf, np.float32)
        np.divide(np.float32(1.0), inverse_depth, out=depth, where=inverse_depth > 0.0)
        return depth, seen

    def _rasterise(self, agents: RecordArray, position: FloatArray, optical_from_map: FloatArray) -> None:
        agents = self._agents_in_view(agents, position, optical_from_map)
        movers, owner = road_users_mesh(agents, detail=True)
        self._table.load(movers, agents["id"][owner])
        starts, ends = self._table.visible(position, optical_from_map, self._slopes, self._config.draw_distance)
        self._inverse_depth.fill(0.0)
        self._owner.fill(raster.NOTHING)
        raster.rasterise(
            self._table.triangles, starts, ends, position, optical_from_map, self._sample_intrinsics,
            self._inverse_depth, self._owner,
        )  # fmt: skip

    def _agents_in_view(self, agents: RecordArray, position: FloatArray, optical_from_map: FloatArray) -> RecordArray:
        center = np.stack([agents["x"], agents["y"], agents["z"]], axis=1) - position
        x, z = center @ optical_from_map[0], center @ optical_from_map[2]
        inside = np.isfinite(agents["yaw"]) & (z > -_AGENT_MARGIN) & (z < self._config.agent_distance)
        inside &= (x > self._slopes[0] * z - _AGENT_MARGIN) & (x < self._slopes[1] * z + _AGENT_MARGIN)
        return agents[inside]

    def _lamps(self, lights: dict[int, LightState], position: FloatArray, optical_from_map: FloatArray) -> FloatArray:
        """Discs (N, 10) for `shading.draw_discs`: the lamps of all heads that face the camera, farthest first."""
        discs = []
        for signal in self._scene.signals:
            to_camera = position - signal.position
            distance = float(np.linalg.norm(to_camera))
            if distance > _LAMP_RANGE or distance < raster.NEAR:
                continue
            facing = np.array([math.cos(signal.yaw), math.sin(signal.yaw), 0.0])
            cosine = float(facing @ to_camera) / distance
            if cosine < _LAMP_MIN_COSINE:
                continue
            lit = lights.get(signal.id, LightState.OFF)
            for number, lamp in enumerate(_LAMP_ORDER):
                center = signal.position + _LAMP_LIFT * facing
                center[2] += (1 - number) * signal.height / len(_LAMP_ORDER)
                x, y, z = optical_from_map @ (center - position)
                if z < raster.NEAR:
                    continue
                radius = 0.5 * LAMP_DIAMETER * self.model.fx / z
                color = _LIT[lamp] if lit == lamp else _DARK[lamp]
                glow = _GLOW * min(1.0, 2.0 * cosine) if lit == lamp else 0.0
                u, v = self.model.fx * x / z + self.model.cx, self.model.fy * y / z + self.model.cy
                discs.append((u, v, radius * cosine, radius, 1.0 / z, *color, glow, float(signal.shape)))
        discs.sort(key=lambda disc: disc[4])
        return np.array(discs, np.float64).reshape(-1, 10)


def _texture_noise() -> NDArray[np.int8]:
    """Repeating noise (NOISE_SIZE, NOISE_SIZE) in -127..127, soft and fine grain mixed."""
    rng = np.random.default_rng(_TEXTURE_SEED)
    size = shading.NOISE_SIZE
    total = np.zeros((size, size))
    for spread, weight in _TEXTURE_OCTAVES:
        coarse = rng.uniform(-1.0, 1.0, (size // spread, size // spread))
        wrapped = np.pad(coarse, 2, mode="wrap")
        scaled = cv2.resize(wrapped, None, fx=spread, fy=spread, interpolation=cv2.INTER_CUBIC)
        total += weight * scaled[2 * spread : 2 * spread + size, 2 * spread : 2 * spread + size]
    return np.round(total * (127.0 / np.abs(total).max())).astype(np.int8)
