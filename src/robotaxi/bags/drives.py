"""Drives of public data sets as bags of this stack; `kitti_drives`, `nuscenes` and `argoverse` read them.

Sweeps are put where the rig has its lidar. The camera keeps its own place and lens: the bag has a rig of its own for
it (`RIG_FILE`), and pictures are drawn anew as that rig's pinhole sees, whose principal point is the picture's middle.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from robotaxi.bags import adapt_messages as convert
from robotaxi.bags.adapt import IMAGE, STATE, STATUS, SWEEP, Times, states_on_grid
from robotaxi.bags.provenance import origin
from robotaxi.bags.reader import RIG_FILE
from robotaxi.bags.transforms import TF_STATIC, TF_TYPE, static_transforms
from robotaxi.bags.writer import BagError, BagWriter
from robotaxi.interfaces import INTERFACES
from robotaxi.params import load_yaml
from robotaxi.pointcloud2 import POINT_DTYPE, to_cloud
from robotaxi.resources import config_dir
from robotaxi.sensor_rig import pinhole_values, rig_from
from robotaxi.types import CameraModel, FloatArray

CAMERA_INFO = "sensing/camera/front/camera_info"


@dataclass
class Drive:
    """``sweeps``: (stamp_ns, reader of (N, 4) x y z intensity). ``poses`` of base_link: (stamp_ns, x, y, z, yaw); none
    where nobody knows. ``camera``: that of ``images``, with its lens's ``distortion`` as OpenCV counts it. ``sensors``:
    the rig of everything else."""

    name: str
    T_base_lidar: FloatArray
    sweeps: list[tuple[int, Callable[[], FloatArray]]]
    poses: list[tuple[float, ...]]
    images: list[tuple[int, Path]] = field(default_factory=list)
    camera: CameraModel | None = None
    distortion: tuple[float, ...] = ()
    vehicle: str = "robotaxi"
    sensors: str = "robotaxi"


def write_drive(
    drive: Drive, out: Path, limit: int | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write the bag; returns messages per topic. BagError for broken files, of which nothing is left behind then, and
    for an ``out`` that exists."""
    if out.exists():
        raise BagError(f"{out}: exists already; remove it or choose another name")
    try:
        return _write(drive, out, limit, progress)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _write(drive: Drive, out: Path, limit: int | None, progress: Callable[[int, int], None] | None) -> dict[str, int]:
    document = load_yaml(config_dir() / "sensors" / f"{drive.sensors}.yaml")
    if drive.camera is not None:
        document["cameras"]["front"].update(pinhole_values(drive.camera))
    rig = rig_from(document, drive.name, drive.sensors)
    sweeps = sorted(drive.sweeps, key=lambda row: row[0])[:limit]
    if len(sweeps) < 2:
        raise BagError(f"{drive.name}: needs at least two sweeps, has {len(sweeps)}")
    times = Times(np.array([stamp for stamp, _ in sweeps], np.int64), sweeps[0][0])
    T_rig_bag = np.linalg.inv(rig.T_base_lidar) @ drive.T_base_lidar
    sensors = drive.sensors if drive.camera is None else RIG_FILE
    custom = {**origin("", drive.vehicle, drive.sensors), "sensors": sensors, "source": drive.name}
    writer = BagWriter(out, custom=custom)
    counts: dict[str, int] = {}

    def put(topic: str, message: Any, stamp_ns: int) -> None:
        if topic not in counts:
            writer.add_topic("/" + topic, INTERFACES[topic].type)
        counts[topic] = counts.get(topic, 0) + 1
        writer.write_message("/" + topic, message, stamp_ns)

    try:
        if drive.camera is not None:
            (out / RIG_FILE).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        writer.add_topic(TF_STATIC, TF_TYPE)
        writer.write_message(TF_STATIC, static_transforms(rig, writer.types), 0)
        for number, (own_ns, read) in enumerate(sweeps, 1):
            grid = times.of_sweep(own_ns)
            if grid is not None:
                values = read()
                points = np.zeros(len(values), POINT_DTYPE)
                xyz = values[:, :3] @ T_rig_bag[:3, :3].T + T_rig_bag[:3, 3]
                points["x"], points["y"], points["z"] = xyz.T
                points["intensity"] = values[:, 3]
                header = convert.header(writer.types, grid, rig.lidars["top"].frame)
                put(SWEEP, to_cloud(writer.types, header, points), grid)
            if progress is not None:
                progress(number, len(sweeps))
        end_ns = times.of(sweeps[-1][0])
        for stamp_ns, state in states_on_grid([row for row in drive.poses if times.of(int(row[0])) <= end_ns], times):
            put(STATE, convert.state(writer.types, state, stamp_ns), stamp_ns)
            put(STATUS, convert.status(writer.types, state, stamp_ns), stamp_ns)
        model, frame = rig.camera_models["front"], rig.cameras["front"].frame
        if drive.camera is not None:
            put(CAMERA_INFO, convert.camera_info(writer.types, model, 0, frame), 0)
        for stamp_ns, path in _on_grid(drive.images, times, end_ns):
            pixels = picture(path)
            if drive.camera is not None:
                pixels = redrawn(pixels, drive.camera, drive.distortion, model)
            put(IMAGE, convert.bgr_image(writer.types, pixels, stamp_ns, frame), stamp_ns)
    finally:
        writer.close()
    return counts


def picture(path: Path) -> Any:
    """(H, W, 3) uint8 BGR. BagError where it is none."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise BagError(f"{path}: is no picture")
    return pixels


def redrawn(pixels: Any, camera: CameraModel, distortion: Sequence[float], model: CameraModel) -> Any:
    """The picture (H, W, 3) of ``camera`` as ``model`` sees from the same place."""
    if any(distortion):
        K = np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
        pixels = cv2.undistort(pixels, K, np.array(distortion))
    sx, sy = camera.fx / model.fx, camera.fy / model.fy
    into = np.array([[sx, 0.0, camera.cx - sx * model.cx], [0.0, sy, camera.cy - sy * model.cy]])
    size = model.width, model.height
    return cv2.warpAffine(pixels, into, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _on_grid(images: Sequence[tuple[int, Path]], times: Times, end_ns: int) -> list[tuple[int, Path]]:
    """For each stamp of the camera's schedule the nearest image."""
    if not images:
        return []
    item = INTERFACES[IMAGE]
    stamps = np.array([times.of(stamp) for stamp, _ in images])
    out = []
    for grid in range(item.phase_ns, end_ns + 1, item.period_ns):
        at = int(np.abs(stamps - grid).argmin())
        if abs(int(stamps[at]) - grid) <= item.period_ns // 2:
            out.append((grid, images[at][1]))
    return out
