"""A clip of a bag as mp4, drawn without a display: camera, bird's-eye view, speed and explanation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.bags.picture import View, draw_objects
from robotaxi.bags.reader import known_types, open_bag, ordered, table_topic
from robotaxi.bags.writer import BagError
from robotaxi.geometry.se3 import apply
from robotaxi.pointcloud2 import from_cloud
from robotaxi.sensor_rig import SensorRig
from robotaxi.types import OBJECT_DTYPE, CameraModel, FloatArray, Pose2, VehicleParams

Picture = NDArray[np.uint8]
RATE_HZ = 10.0
_SWEEP, _IMAGE, _STATE = (
    "sensing/lidar/top/pointcloud",
    "sensing/camera/front/image_raw",
    "localization/kinematic_state",
)
_OBJECTS, _EXPLANATION, _PATH = "perception/objects", "planning/explanation", "planning/trajectory"
_TOPICS = (_SWEEP, _IMAGE, _STATE, _OBJECTS, _EXPLANATION, _PATH)
_SIZE = (1280, 720)
_BAND = 64  # px of words below
_BOX, _TRACE, _WORDS = (80, 200, 255), (120, 220, 120), (235, 235, 235)
_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_NEAREST = 1.0  # m in front of the camera


def render(
    bag: str | Path, out: str | Path, rig: SensorRig, vehicle: VehicleParams, from_s: float = 0.0,
    to_s: float = math.inf, progress: Callable[[float], None] | None = None,
) -> int:  # fmt: skip
    """Write the clip; returns its frames. BagError when the bag has nothing to show or no video can be written."""
    out = Path(out)
    if out.exists():
        raise BagError(f"{out} exists already; nothing is overwritten")
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, _SIZE)
    if not writer.isOpened():
        raise BagError(f"{out}: this OpenCV cannot write mp4")
    frames = 0
    try:
        for seconds, scene in _scenes(bag, from_s, to_s):
            writer.write(draw(scene, rig, vehicle))
            frames += 1
            if progress is not None:
                progress(seconds)
    finally:
        writer.release()
        if not frames:
            out.unlink(missing_ok=True)
    if not frames:
        raise BagError(
            f"bag {bag}: nothing to show between {from_s:g} and {to_s:g} s: needs one of {', '.join(_TOPICS)}"
        )
    return frames


def _scenes(bag: str | Path, from_s: float, to_s: float) -> Iterator[tuple[float, dict[str, Any]]]:
    """The newest message of every topic, ten times a second."""
    with open_bag(bag) as reader:
        store, _ = known_types(reader)
        chosen = [c for c in reader.connections if table_topic(c.topic) in _TOPICS and c.msgtype in store.types]
        kinds = {c.topic: c.msgtype for c in chosen}
        scene: dict[str, Any] = {}
        next_ns, period_ns = round(from_s * 1e9), round(1e9 / RATE_HZ)
        for stamp_ns, topic, raw in ordered(reader, chosen):
            seconds = stamp_ns / 1e9
            if seconds > to_s:
                return
            if stamp_ns >= next_ns and scene:
                yield seconds, scene
                next_ns += period_ns * max((stamp_ns - next_ns) // period_ns, 1)
            if seconds >= from_s - 1.0:
                scene[table_topic(topic)] = store.deserialize_cdr(raw, kinds[topic])


def draw(scene: dict[str, Any], rig: SensorRig, vehicle: VehicleParams) -> Picture:
    """One frame (720, 1280, 3) BGR."""
    frame = np.full((_SIZE[1], _SIZE[0], 3), 24, np.uint8)
    height = _SIZE[1] - _BAND
    pose, speed = _pose(scene.get(_STATE))
    objects = from_cloud(scene[_OBJECTS], OBJECT_DTYPE) if _OBJECTS in scene else np.zeros(0, OBJECT_DTYPE)
    _put(frame, _camera(scene, rig.camera_models.get("front"), objects, pose), 0, 0, _SIZE[0] // 2, height)
    _put(frame, _bird(scene, rig, vehicle, objects, pose), _SIZE[0] // 2, 0, _SIZE[0] // 2, height)
    sentence = scene[_EXPLANATION].status[0].message if _EXPLANATION in scene else ""
    words = f"{speed * 3.6:4.0f} km/h   {sentence}"
    cv2.putText(frame, words[:110], (16, _SIZE[1] - 24), cv2.FONT_HERSHEY_SIMPLEX, 0.65, _WORDS, 1, cv2.LINE_AA)
    return frame


def _pose(state: Any) -> tuple[Pose2 | None, float]:
    if state is None or state.pose.covariance[0] < 0.0:
        return None, 0.0
    place, turn = state.pose.pose.position, state.pose.pose.orientation
    return Pose2(place.x, place.y, 2.0 * math.atan2(turn.z, turn.w)), float(state.twist.twist.linear.x)


def _camera(scene: dict[str, Any], camera: CameraModel | None, objects: Any, pose: Pose2 | None) -> Picture | None:
    message = scene.get(_IMAGE)
    if message is None or message.encoding not in ("bgr8", "rgb8"):
        return None
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * 3].reshape(message.height, message.width, 3)
    image: Picture = np.array(pixels if message.encoding == "bgr8" else pixels[:, :, ::-1], order="C")
    if camera is not None and pose is not None:
        for item in objects:
            _draw_box(image, camera, item, pose)
    return image


def _draw_box(image: Picture, camera: CameraModel, item: Any, pose: Pose2) -> None:
    """The edges of one object's box, where all its corners are ahead of the camera."""
    along, across = 0.5 * float(item["length"]), 0.5 * float(item["width"])
    c, s = math.cos(float(item["yaw"])), math.sin(float(item["yaw"]))
    corners: FloatArray = np.array([[along, across], [along, -across], [-along, -across], [-along, across]])
    flat: FloatArray = corners @ np.array([[c, s], [-s, c]]) + [float(item["x"]) - pose.x, float(item["y"]) - pose.y]
    cy, sy = math.cos(pose.yaw), math.sin(pose.yaw)
    base: FloatArray = flat @ np.array([[cy, -sy], [sy, cy]])
    low, tall = float(item["z"]), float(item["height"])
    points: FloatArray = np.array([[x, y, z] for z in (low - 0.5 * tall, low + 0.5 * tall) for x, y in base])
    T_optical_base: FloatArray = np.linalg.inv(camera.T_base_optical).astype(np.float64)
    seen = apply(T_optical_base, points)
    if not np.isfinite(seen).all() or (seen[:, 2] < _NEAREST).any():
        return
    u = camera.fx * seen[:, 0] / seen[:, 2] + camera.cx
    v = camera.fy * seen[:, 1] / seen[:, 2] + camera.cy
    pixels = np.clip(np.column_stack([u, v]), -1e4, 1e4).astype(int).tolist()
    for a, b in _EDGES:
        cv2.line(image, pixels[a], pixels[b], _BOX, 1, cv2.LINE_AA)


def _bird(
    scene: dict[str, Any], rig: SensorRig, vehicle: VehicleParams, objects: Any, pose: Pose2 | None
) -> Picture:  # fmt: skip
    points: FloatArray = np.zeros((0, 3))
    if _SWEEP in scene:
        cloud = from_cloud(scene[_SWEEP])
        points = apply(rig.T_base_lidar, np.column_stack([cloud["x"], cloud["y"], cloud["z"]]).astype(float))
    image = draw_objects(points, objects, pose, (vehicle.front, vehicle.rear_overhang, vehicle.width), "")
    if _PATH in scene and pose is not None:
        path, view = from_cloud(scene[_PATH]), View()
        dx, dy = path["x"] - pose.x, path["y"] - pose.y
        x = math.cos(pose.yaw) * dx + math.sin(pose.yaw) * dy
        y = -math.sin(pose.yaw) * dx + math.cos(pose.yaw) * dy
        pixels = np.column_stack([(view.side - y) * view.pixels_per_m, (view.ahead - x) * view.pixels_per_m])
        if len(pixels) > 1 and np.isfinite(pixels).all():
            cv2.polylines(image, [pixels.astype(np.int32)], False, _TRACE, 2, cv2.LINE_AA)
    return image


def _put(frame: Picture, image: Picture | None, x: int, y: int, width: int, height: int) -> None:
    """The picture into the panel, as large as fits, centred."""
    if image is None:
        return
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(int(image.shape[1] * scale), 1), max(int(image.shape[0] * scale), 1)
    left, top = x + (width - size[0]) // 2, y + (height - size[1]) // 2
    frame[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
