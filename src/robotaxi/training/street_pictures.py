"""Pictures of a built-up map with random road users, and what they show: examples for the camera's network.

Nobody drives: a camera of random height, tilt and focal length stands somewhere on the road, road users of all
classes stand and ride before it, lamps are lit at random, and some pictures are taken in fog, rain or at night.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.perception.camera.detector import BOX2D_DTYPE
from robotaxi.perception.camera.street_network import HEIGHT, WIDTH
from robotaxi.sensor_rig import CameraSpec
from robotaxi.sim.events.conditions import CLEAR, Conditions
from robotaxi.sim.mesh import Material
from robotaxi.sim.scenery import Scenery, SceneryConfig, build_scenery
from robotaxi.sim.sensors.camera import Camera, CameraFrame
from robotaxi.sim.sensors.triangles import TriangleTable
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import CameraModel, FloatArray, LightState, ObjectClass, RecordArray, StreetClass

_FIELDS_DEG = (55.0, 70.0, 85.0)  # horizontal fields of view
_LEAST_HEIGHT, _LEAST_WIDTH, _LEAST_PIXELS = 6, 3, 24  # px of 640x360: what shows less of itself need not be found
_NEAREST, _FARTHEST = 5.0, 60.0  # m, where road users are put
_ROAD = (Material.ROAD, Material.MARKING)
_LIGHT_RANGE = 70.0  # m
_SAME_DEPTH = 1.0  # m
_SIZES = {  # m: length, width and height from smallest to largest
    ObjectClass.CAR: ((3.6, 5.2), (1.6, 2.0), (1.35, 2.0)),
    ObjectClass.TRUCK: ((6.0, 12.0), (2.2, 2.6), (2.5, 3.5)),
    ObjectClass.BICYCLE: ((1.6, 2.3), (0.5, 0.9), (1.4, 1.85)),
    ObjectClass.PEDESTRIAN: ((0.4, 0.65), (0.45, 0.75), (1.1, 1.95)),
}
_SHARES = {
    ObjectClass.CAR: 0.35, ObjectClass.TRUCK: 0.15, ObjectClass.BICYCLE: 0.22, ObjectClass.PEDESTRIAN: 0.28
}  # fmt: skip
_STREET = {
    ObjectClass.CAR: StreetClass.CAR, ObjectClass.TRUCK: StreetClass.TRUCK,
    ObjectClass.BICYCLE: StreetClass.CYCLIST, ObjectClass.PEDESTRIAN: StreetClass.PEDESTRIAN,
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """``image`` (HEIGHT, WIDTH, 3) uint8 BGR as the network sees it. ``boxes``: BOX2D_DTYPE in its pixels, ``kind`` a
    StreetClass, score 1, or 0 of what need not be found. ``road`` (HEIGHT / 4, WIDTH / 4) uint8: 1 drivable."""

    image: NDArray[np.uint8]
    boxes: RecordArray
    road: NDArray[np.uint8]


def pictures(
    lane_map: LaneMap, seed: int, count: int, progress: Callable[[int], None] = lambda picture: None
) -> Iterator[Picture]:
    """``count`` pictures of ``lane_map``, its roadside built up anew for each quarter of them."""
    per_town = math.ceil(count / 4)
    for first in range(0, count, per_town):
        rng = np.random.default_rng([seed, first])
        config = SceneryConfig(
            seed=int(rng.integers(1 << 30)),
            sun_azimuth_deg=float(rng.uniform(0.0, 360.0)),
            sun_elevation_deg=float(rng.uniform(15.0, 75.0)),
        )
        scenery = build_scenery(lane_map, config)
        table = TriangleTable(scenery.mesh, scenery.instance)
        cameras = [Camera(scenery, CameraSpec(hfov_deg=f), seed, table=table) for f in _FIELDS_DEG]
        for k in range(first, min(first + per_town, count)):
            yield _picture(lane_map, scenery, cameras, np.random.default_rng([seed, 1, k]), k)
            progress(k)


def _picture(
    lane_map: LaneMap, scenery: Scenery, cameras: list[Camera], rng: np.random.Generator, number: int
) -> Picture:
    camera = cameras[int(rng.integers(len(cameras)))]
    T = _standpoint(lane_map, rng)
    agents = road_users(lane_map, scenery, T, rng)
    lights = {s.id: LightState(int(rng.integers(1, 4))) for s in scenery.signals}
    frame = camera.draw_frame(T, number, agents, lights, _weather(rng))
    boxes = np.concatenate(
        [_users(frame, np.concatenate([agents, scenery.parked])), _lights(frame, scenery, camera.model, T),
         _signs(frame)]
    )  # fmt: skip
    scale = WIDTH / camera.model.width
    for side in ("left", "top", "right", "bottom"):
        boxes[side] *= scale
    road = np.isin(frame.material, _ROAD).astype(np.float32)
    return Picture(
        np.asarray(cv2.resize(frame.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8),
        boxes,
        (cv2.resize(road, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8),
    )


def _standpoint(lane_map: LaneMap, rng: np.random.Generator) -> FloatArray:
    """T_map_optical (4, 4) somewhere on a lane, mostly looking along it."""
    lanes = [lane for _, lane in sorted(lane_map.lanes.items()) if lane.length > 5.0]
    length = np.array([lane.length for lane in lanes])
    lane = lanes[int(rng.choice(len(lanes), p=length / length.sum()))]
    s = float(rng.uniform(0.0, lane.length))
    point = lane_map.lane_point(lane.id, s, float(rng.normal(0.0, 0.5)))
    yaw = lane_map.lane_yaw(lane.id, s) + math.radians(float(rng.normal(0.0, 5.0 if rng.random() < 0.8 else 40.0)))
    spec = CameraSpec(
        x=0.0,
        z=float(rng.uniform(1.2, 2.2)),
        pitch_deg=float(rng.uniform(-7.0, 3.0)),
        roll_deg=float(rng.normal(0.0, 1.0)),
    )
    T = np.eye(4)
    T[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    T[:3, 3] = point
    result: FloatArray = T @ spec.model("any").T_base_optical
    return result


def _weather(rng: np.random.Generator) -> Conditions:
    kind = rng.random()
    if kind < 0.7:
        return CLEAR
    if kind < 0.8:
        return Conditions(visibility=float(rng.uniform(40.0, 300.0)))
    if kind < 0.9:
        return Conditions(rain=float(rng.uniform(1.0, 15.0)), light=float(rng.uniform(0.5, 1.0)))
    return Conditions(light=float(rng.uniform(0.1, 0.5)))


def road_users(lane_map: LaneMap, scenery: Scenery, T: FloatArray, rng: np.random.Generator) -> RecordArray:
    """AGENT_DTYPE: some on lanes and along them, others anywhere before the camera at ``T`` (4, 4; T_map_optical)."""
    out = np.zeros(int(rng.integers(3, 15)), AGENT_DTYPE)
    out["id"] = 1 + np.arange(len(out))
    labels = list(_SHARES)
    out["label"] = rng.choice([int(k) for k in labels], len(out), p=[_SHARES[k] for k in labels])
    out["color"] = rng.integers(0, 12, len(out))
    ahead = math.atan2(T[1, 2], T[0, 2])
    taken = [(float(p["x"]), float(p["y"]), 0.5 * float(p["length"])) for p in scenery.parked]
    kept = np.zeros(len(out), bool)
    for k, user in enumerate(out):
        for name, (low, high) in zip(("length", "width", "height"), _SIZES[ObjectClass(int(user["label"]))],
                                     strict=True):  # fmt: skip
            user[name] = rng.uniform(low, high)
        distance = _NEAREST + (_FARTHEST - _NEAREST) * float(rng.random()) ** 1.5 + 0.5 * float(user["length"])
        bearing = ahead + math.radians(float(rng.uniform(-40.0, 40.0)))
        x, y = T[0, 3] + distance * math.cos(bearing), T[1, 3] + distance * math.sin(bearing)
        yaw = float(rng.uniform(-math.pi, math.pi))
        near = lane_map.nearest_lanes(x, y, None, 12.0)
        walks = user["label"] == ObjectClass.PEDESTRIAN
        if near and rng.random() < (0.3 if walks else 0.85):
            at = lane_map.lane_point(near[0].lane_id, near[0].s, float(rng.normal(0.0, 0.6)))
            x, y = float(at[0]), float(at[1])
            if not walks:
                yaw = lane_map.lane_yaw(near[0].lane_id, near[0].s) + float(rng.normal(0.0, 0.15))
        elif not walks and not near:
            continue
        radius = 0.5 * float(user["length"])
        clear = all(math.hypot(x - a, y - b) > 0.8 * (radius + r) for a, b, r in taken)
        if not clear or math.hypot(x - T[0, 3], y - T[1, 3]) < 3.0 + radius:
            continue
        user["x"], user["y"], user["yaw"] = x, y, yaw
        taken.append((x, y, radius))
        kept[k] = True
    out = out[kept]
    out["z"] = scenery.layout.height.at(np.stack([out["x"], out["y"]], axis=1))
    return out


def _box(left: float, top: float, right: float, bottom: float, kind: StreetClass, score: float) -> RecordArray:
    return np.array([(left, top, right, bottom, score, int(kind))], BOX2D_DTYPE)


def _users(frame: CameraFrame, agents: RecordArray) -> RecordArray:
    """Boxes around what is visible of each road user."""
    kinds = {int(i): int(label) for i, label in zip(agents["id"], agents["label"], strict=True)}
    found: list[RecordArray] = [np.zeros(0, BOX2D_DTYPE)]
    # the shadow below a road user is drawn with it and is none of it
    instance = np.where(frame.material == Material.SHADOW, np.uint32(0), frame.instance)
    for identity in np.unique(instance[instance > 0]):
        rows, columns = np.nonzero(instance == identity)
        kind = _STREET.get(ObjectClass(kinds.get(int(identity), 0)))
        if kind is None:
            continue
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        seen = len(rows) >= _LEAST_PIXELS and bottom - top >= _LEAST_HEIGHT and right - left >= _LEAST_WIDTH
        found.append(_box(left, top, right, bottom, kind, float(seen)))
    return np.concatenate(found)


def _lights(frame: CameraFrame, scenery: Scenery, camera: CameraModel, T: FloatArray) -> RecordArray:
    """Heads that face the camera and are not hidden."""
    found: list[RecordArray] = [np.zeros(0, BOX2D_DTYPE)]
    height, width = frame.depth.shape
    for signal in scenery.signals:
        x, y, z = T[:3, :3].T @ (signal.position - T[:3, 3])
        to_camera = T[:2, 3] - signal.position[:2]
        distance = float(np.hypot(*to_camera))
        facing = math.cos(signal.yaw) * to_camera[0] + math.sin(signal.yaw) * to_camera[1]
        if not 1.0 < z < _LIGHT_RANGE or facing < 0.3 * distance:
            continue
        u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        half_w = 0.5 * camera.fx * signal.width / z * max(facing / distance, 0.4)
        half_h = 0.5 * camera.fy * signal.height / z
        if not (0 <= u < width and 0 <= v < height) or 2.0 * half_h < _LEAST_HEIGHT:
            continue
        if abs(float(frame.depth[int(v), int(u)]) - z) > _SAME_DEPTH:
            continue
        found.append(_box(max(u - half_w, 0.0), max(v - half_h, 0.0), min(u + half_w, width), min(v + half_h, height),
                          StreetClass.TRAFFIC_LIGHT, 1.0))  # fmt: skip
    return np.concatenate(found)


def _signs(frame: CameraFrame) -> RecordArray:
    """Plates whose face is seen; those of cars are none."""
    found: list[RecordArray] = [np.zeros(0, BOX2D_DTYPE)]
    plates = np.asarray((frame.material == Material.SIGN) & (frame.instance == 0), np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(plates, connectivity=8)
    for left, top, width, height, area in parts[1:]:
        seen = area >= _LEAST_PIXELS and height >= _LEAST_HEIGHT
        found.append(_box(left, top, left + width, top + height, StreetClass.SIGN, float(seen)))
    return np.concatenate(found)
