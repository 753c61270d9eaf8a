"""Drives of the nuScenes and Argoverse 2 data sets, in the data sets' own folder layouts, as bags of this stack.

nuScenes: ``v1.0-*/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor}.json`` with ``samples`` and
``sweeps`` beside them. Argoverse 2 (sensor data set): one log folder with ``city_SE3_egovehicle.feather`` and
``sensors/lidar/<ns>.feather``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from transforms3d.quaternions import quat2mat

from robotaxi.bags import adapt_messages as convert
from robotaxi.bags.adapt import IMAGE, STATE, STATUS, SWEEP, Times, states_on_grid
from robotaxi.bags.provenance import origin
from robotaxi.bags.transforms import TF_STATIC, TF_TYPE, static_transforms
from robotaxi.bags.writer import BagError, BagWriter
from robotaxi.interfaces import INTERFACES
from robotaxi.pointcloud2 import POINT_DTYPE, to_cloud
from robotaxi.sensor_rig import load_rig
from robotaxi.types import FloatArray

_AXLE_HEIGHT = 0.33  # m, of Argoverse 2's vehicle frame above the ground (wheel radius of its Ford Fusion)
_NUSCENES_TABLES = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")


@dataclass
class Drive:
    """``sweeps``: (stamp_ns, reader of (N, 4) x y z intensity). ``poses`` of base_link: (stamp_ns, x, y, z, yaw)."""

    name: str
    T_base_lidar: FloatArray
    sweeps: list[tuple[int, Callable[[], FloatArray]]]
    poses: list[tuple[float, ...]]
    images: list[tuple[int, Path]] = field(default_factory=list)


def write_drive(
    drive: Drive, out: Path, sensors: str = "robotaxi", limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Write the bag; returns messages per topic. BagError for broken files and for an ``out`` that exists."""
    rig = load_rig(sensors)
    sweeps = sorted(drive.sweeps, key=lambda row: row[0])[:limit]
    if len(sweeps) < 2 or len(drive.poses) < 2:
        raise BagError(
            f"{drive.name}: needs at least two sweeps and two poses, has {len(sweeps)} and {len(drive.poses)}"
        )
    times = Times(np.array([stamp for stamp, _ in sweeps], np.int64), sweeps[0][0])
    T_rig_bag = np.linalg.inv(rig.T_base_lidar) @ drive.T_base_lidar
    writer = BagWriter(out, custom={**origin("", "robotaxi", sensors), "map": "", "source": drive.name})
    counts: dict[str, int] = {}

    def put(topic: str, message: Any, stamp_ns: int) -> None:
        if topic not in counts:
            writer.add_topic("/" + topic, INTERFACES[topic].type)
        counts[topic] = counts.get(topic, 0) + 1
        writer.write_message("/" + topic, message, stamp_ns)

    try:
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
        for stamp_ns, path in _on_grid(drive.images, times, end_ns):
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if pixels is None:
                raise BagError(f"{path}: is no picture")
            put(IMAGE, convert.bgr_image(writer.types, pixels, stamp_ns, rig.cameras["front"].frame), stamp_ns)
    finally:
        writer.close()
    return counts


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


# ---------------------------------------------------------------------------- nuScenes


def read_nuscenes(folder: Path, scene: str = "") -> Drive:
    """One scene (the first where none is named). BagError names the file, table or scene that is missing."""
    versions = sorted(p for p in folder.glob("v1.0-*") if p.is_dir())
    if not versions:
        raise BagError(f"{folder}: has no folder v1.0-* with the tables of nuScenes")
    tables = {name: _table(versions[0] / f"{name}.json") for name in _NUSCENES_TABLES}
    names = [row["name"] for row in tables["scene"].values()]
    chosen = next((row for row in tables["scene"].values() if row["name"] == (scene or names[0])), None)
    if chosen is None:
        raise BagError(f"{folder}: no scene '{scene}'; known are: {', '.join(names)}")
    samples = {token for token, row in tables["sample"].items() if row["scene_token"] == chosen["token"]}
    channels = {
        token: tables["sensor"][row["sensor_token"]]["channel"] for token, row in tables["calibrated_sensor"].items()
    }
    poses: dict[int, tuple[float, ...]] = {}
    drive = Drive(f"nuScenes {chosen['name']}", np.eye(4), [], [])
    for row in tables["sample_data"].values():
        channel = channels.get(row["calibrated_sensor_token"])
        if row["sample_token"] not in samples or channel not in ("LIDAR_TOP", "CAM_FRONT"):
            continue
        stamp = int(row["timestamp"]) * 1000
        path = folder / row["filename"]
        if channel == "CAM_FRONT":
            drive.images.append((stamp, path))
            continue
        T = _pose(tables["ego_pose"][row["ego_pose_token"]])
        poses[stamp] = (stamp, *T[:3, 3].tolist(), float(np.arctan2(T[1, 0], T[0, 0])))
        drive.T_base_lidar = _pose(tables["calibrated_sensor"][row["calibrated_sensor_token"]])
        drive.sweeps.append((stamp, lambda path=path: _nuscenes_points(path)))  # type: ignore[misc]
    drive.poses = [poses[stamp] for stamp in sorted(poses)]
    drive.images.sort()
    return drive


def _table(path: Path) -> dict[str, Any]:
    try:
        return {row["token"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BagError(f"{path}: is no table of nuScenes: {error}") from error


def _pose(row: Any) -> FloatArray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = quat2mat(row["rotation"]), row["translation"]
    return T


def _nuscenes_points(path: Path) -> FloatArray:
    try:
        values = np.fromfile(path, "<f4")
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}") from error
    if not len(values) or len(values) % 5:
        raise BagError(f"{path}: {len(values) * 4} bytes are no whole number of points of 20 bytes")
    points = values.reshape(-1, 5)[:, :4].astype(np.float64)
    points[:, 3] /= 255.0
    return points


# ---------------------------------------------------------------------------- Argoverse 2


def read_av2(folder: Path) -> Drive:
    """One log of the sensor data set. BagError names what is missing; needs pyarrow."""
    sweeps = sorted((folder / "sensors" / "lidar").glob("*.feather"), key=lambda p: p.stem)
    if not sweeps or not all(p.stem.isdigit() for p in sweeps):
        raise BagError(f"{folder}: has no sweeps sensors/lidar/<ns>.feather of Argoverse 2")
    poses = _feather(folder / "city_SE3_egovehicle.feather", "timestamp_ns qw qx qy qz tx_m ty_m tz_m")
    rows: list[tuple[float, ...]] = []
    for stamp, qw, qx, qy, qz, x, y, z in zip(*poses, strict=True):
        R = quat2mat([qw, qx, qy, qz])
        rows.append((float(stamp), float(x), float(y), float(z) - _AXLE_HEIGHT, float(np.arctan2(R[1, 0], R[0, 0]))))
    T_base_lidar = np.eye(4)  # sweeps are in the vehicle's frame already, at the height of the axle
    T_base_lidar[2, 3] = _AXLE_HEIGHT
    images = sorted((folder / "sensors" / "cameras" / "ring_front_center").glob("*.jpg"), key=lambda p: p.stem)
    return Drive(
        f"Argoverse 2 {folder.name}", T_base_lidar,
        [(int(path.stem), lambda path=path: _av2_points(path)) for path in sweeps],  # type: ignore[misc]
        rows, [(int(path.stem), path) for path in images if path.stem.isdigit()],
    )  # fmt: skip


def _av2_points(path: Path) -> FloatArray:
    x, y, z, intensity = _feather(path, "x y z intensity")
    return np.column_stack([x, y, z, intensity / 255.0]).astype(np.float64)


def _feather(path: Path, columns: str) -> list[Any]:
    try:
        from pyarrow import ArrowException, feather
    except ImportError as error:
        raise BagError("pyarrow is missing: pip install robotaxi[mine]") from error
    try:
        table = feather.read_table(path, columns=columns.split())
    except (OSError, ArrowException) as error:
        raise BagError(f"{path}: cannot be read: {error}") from error
    return [np.asarray(table[name]) for name in columns.split()]
