"""KITTI tracking sweeps as a bag that the stack can drive on, and their labels to measure against.

A data folder holds ``velodyne/NNNNNN.npz`` (``xyz_5mm`` int16 in units of 5 mm, ``intensity_u8``) or
``velodyne/NNNNNN.bin`` (float32 x y z intensity), ``kiss_icp_poses.txt`` (row-major 3x4 poses of the
lidar in its first frame, one a sweep), and for the labels ``label_02.txt`` and ``calib.txt``.
The bag's `map` is base_link at the first sweep.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.kitti_files import KittiError, camera_from_lidar, read_numbers
from robotaxi.bags.kitti_labels import parse_labels
from robotaxi.bags.writer import BagWriter
from robotaxi.pointcloud2 import POINT_DTYPE, to_cloud
from robotaxi.types import EgoState, FloatArray, LidarSweep, RecordArray, VehicleParams

SWEEP_PERIOD_NS = 100_000_000

# Geiger et al., "Vision meets Robotics: The KITTI Dataset" (IJRR 2013), sensor setup: the lidar is
# 1.73 m above the ground and 0.76 m ahead of the rear axle of a VW Passat B6 (2.71 m wheelbase).
T_BASE_LIDAR: FloatArray = np.array(
    [[1.0, 0.0, 0.0, 0.76], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.73], [0.0, 0.0, 0.0, 1.0]]
)
VEHICLE = VehicleParams(
    name="kitti_passat", wheelbase=2.71, length=4.77, width=2.05, height=1.9, rear_overhang=1.1, max_steering=0.6,
    max_steering_rate=0.5, max_acceleration=2.0, max_deceleration=6.0, steering_lag=0.1, steering_delay=0.1,
    drive_lag=0.1, drive_delay=0.1,
)  # fmt: skip
"""The recording car, width over its mirrors and height over its sensors."""

_CLOUD, _STATE, _STATIC = "/sensing/lidar/top/pointcloud", "/localization/kinematic_state", "/tf_static"
_LIDAR_FRAME = "lidar_top"
_NOTE = "KITTI tracking sweeps; the odometry is lidar odometry made with KISS-ICP, not ground truth"
_UNIT = np.float32(0.005)  # m, of xyz_5mm
_NUMBER = re.compile(r"(\d+)")
_FEW = 0.05  # share of negative intensities that a sensor may have


@dataclass(frozen=True)
class Conversion:
    """What was written."""

    bag: Path
    sweeps: int
    points: int
    duration_s: float
    way_m: float


def convert(
    data_dir: str | Path,
    out_bag: str | Path,
    max_sweeps: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write an mcap bag of the sweeps, the odometry and the static transform base_link -> lidar_top.

    Stamps start at 0 and are 0.1 s apart. ``progress`` gets (done, of). Raises KittiError for missing
    or broken files and for an ``out_bag`` that exists; nothing is left behind then.
    """
    data_dir, out_bag = Path(data_dir), Path(out_bag)
    paths = sweep_paths(data_dir)[:max_sweeps]
    states = read_states(data_dir)
    if len(states) < len(paths):
        raise KittiError(f"{data_dir / 'kiss_icp_poses.txt'}: {len(states)} poses for {len(paths)} sweeps")
    if out_bag.exists():
        raise KittiError(f"{out_bag}: exists already; remove it or choose another name")
    try:
        return _write(paths, states[: len(paths)], out_bag, progress)
    except BaseException:
        shutil.rmtree(out_bag, ignore_errors=True)
        raise


def sweep_paths(data_dir: str | Path) -> list[Path]:
    """Files of the sweeps in order. KittiError when there are none."""
    return sweeps_in(Path(data_dir) / "velodyne")


def sweeps_in(folder: Path) -> list[Path]:
    """Files of the sweeps in this very folder, in order. KittiError when there are none."""
    if not folder.is_dir():
        raise KittiError(f"{folder}: no such folder; expected sweeps there")
    paths = sorted((p for p in folder.iterdir() if p.suffix in (".npz", ".bin")), key=_in_counting_order)
    if not paths:
        raise KittiError(f"{folder}: holds neither .npz nor .bin sweeps")
    return paths


def _in_counting_order(path: Path) -> list[str | int]:
    """2.bin before 10.bin."""
    return [int(part) if part.isdigit() else part for part in _NUMBER.split(path.name)]


def read_points(path: str | Path) -> RecordArray:
    """One sweep (N,) as POINT_DTYPE in the lidar's frame, intensity 0..1. KittiError names what is broken."""
    path = Path(path)
    try:
        if path.suffix == ".bin":
            return _from_bin(path)
        with np.load(path, allow_pickle=False) as data:
            return _from_npz(path, data)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise KittiError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        if isinstance(error, KittiError):
            raise
        raise KittiError(f"{path}: is no sweep: {error}") from error


def read_states(
    data_dir: str | Path, T_base_lidar: FloatArray = T_BASE_LIDAR, period: float = SWEEP_PERIOD_NS * 1e-9
) -> list[EgoState]:
    """Poses of base_link, one a sweep every ``period`` s, with speed and yaw rate from neighbouring poses."""
    path = Path(data_dir) / "kiss_icp_poses.txt"
    rows = read_numbers(path)
    if rows.shape[1] == 16:
        rows = rows[:, :12]
    if rows.shape[1] != 12 or not np.isfinite(rows).all():
        raise KittiError(f"{path}: expected 12 finite numbers a line (row-major 3x4)")
    T_first_lidar = np.tile(np.eye(4), (len(rows), 1, 1))
    T_first_lidar[:, :3] = rows.reshape(-1, 3, 4)
    T = T_base_lidar @ T_first_lidar @ np.linalg.inv(T_base_lidar)
    yaw = np.unwrap(np.arctan2(T[:, 1, 0], T[:, 0, 0]))
    many = len(T) > 1
    velocity = np.gradient(T[:, :2, 3], period, axis=0) if many else np.zeros((1, 2))
    yaw_rate = np.gradient(yaw, period) if many else np.zeros(1)
    speed = np.cos(yaw) * velocity[:, 0] + np.sin(yaw) * velocity[:, 1]
    return [
        EgoState(
            stamp_ns=round(i * period * 1e9), x=float(T[i, 0, 3]), y=float(T[i, 1, 3]), z=float(T[i, 2, 3]),
            yaw=float(yaw[i]), speed=float(speed[i]), yaw_rate=float(yaw_rate[i]),
        )
        for i in range(len(T))
    ]  # fmt: skip


def sweep(data_dir: str | Path, index: int) -> LidarSweep:
    """The sweep at ``index`` (0 is the first file) as the stack takes it."""
    return LidarSweep(index * SWEEP_PERIOD_NS, read_points(sweep_paths(data_dir)[index]), T_BASE_LIDAR)


def read_labels(data_dir: str | Path) -> RecordArray:
    """All labelled boxes (LABEL_DTYPE) in base_link; "DontCare" regions are left out."""
    data_dir = Path(data_dir)
    T_base_camera = T_BASE_LIDAR @ np.linalg.inv(camera_from_lidar(data_dir / "calib.txt"))
    return parse_labels(data_dir / "label_02.txt", T_base_camera)[0]


def _from_npz(path: Path, data: Any) -> RecordArray:
    if "xyz_5mm" not in data:
        raise KittiError(f"{path}: has no 'xyz_5mm', only {', '.join(data.files) or 'nothing'}")
    xyz = data["xyz_5mm"]
    intensity = data["intensity_u8"] if "intensity_u8" in data else np.zeros(xyz.shape[:1], np.uint8)
    if xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype != np.int16 or intensity.shape != xyz.shape[:1]:
        raise KittiError(
            f"{path}: expected xyz_5mm (N, 3) int16 and intensity_u8 (N,), found {xyz.dtype} {xyz.shape} "
            f"and {intensity.shape}"
        )
    metres = xyz.astype(np.float32) * _UNIT
    return _pack(metres, intensity.astype(np.float32) / np.float32(255.0))


def _from_bin(path: Path) -> RecordArray:
    """float32 x y z intensity; and x y z alone, or with more behind the intensity, where four columns do not fit.

    The file does not say how many columns it has: an intensity is never negative, coordinates are now and then.
    """
    values = np.fromfile(path, np.uint8)
    fits = [columns for columns in (4, 5, 6, 3) if len(values) % (4 * columns) == 0]
    if not fits:
        raise KittiError(f"{path}: {len(values)} bytes are no whole number of points of 16 bytes")
    numbers = values.view("<f4")
    if not numbers.size:
        return _pack(numbers.reshape(-1, 3), numbers)
    negative = {k: float((numbers.reshape(-1, k)[:, 3] < 0.0).mean()) for k in fits if k > 3}
    columns = min(negative, key=lambda k: negative[k], default=3)
    if 3 in fits and negative.get(columns, 1.0) > _FEW:
        columns = 3
    rows = numbers.reshape(-1, columns)
    return _pack(rows, rows[:, 3] if columns > 3 else np.zeros(len(rows), np.float32))


def _pack(xyz: Any, intensity: Any) -> RecordArray:
    points = np.empty(len(xyz), POINT_DTYPE)
    points["x"], points["y"], points["z"] = xyz[:, 0], xyz[:, 1], xyz[:, 2]
    points["intensity"] = intensity
    return points


def _write(
    paths: list[Path], states: list[EgoState], out_bag: Path, progress: Callable[[int, int], None] | None
) -> Conversion:
    out_bag.parent.mkdir(parents=True, exist_ok=True)
    messages = _Messages()
    bag = BagWriter(out_bag, custom={"source": _NOTE, "vehicle": "kitti", "sensors": "kitti"})
    points = 0
    try:
        bag.add_topic(_CLOUD, "sensor_msgs/msg/PointCloud2")
        bag.add_topic(_STATE, "nav_msgs/msg/Odometry")
        bag.add_topic(_STATIC, "tf2_msgs/msg/TFMessage")
        bag.write_message(_STATIC, messages.static_transform(), 0)
        for i, (path, state) in enumerate(zip(paths, states, strict=True)):
            cloud = read_points(path)
            points += len(cloud)
            bag.write_message(_STATE, messages.odometry(state), state.stamp_ns)
            bag.write_message(_CLOUD, messages.cloud(cloud, state.stamp_ns), state.stamp_ns)
            if progress is not None:
                progress(i + 1, len(paths))
    finally:
        bag.close()
    way = np.hypot(np.diff([s.x for s in states]), np.diff([s.y for s in states])).sum()
    return Conversion(out_bag, len(paths), points, (len(paths) - 1) * SWEEP_PERIOD_NS * 1e-9, float(way))


class _Messages:
    """The messages of the bag, in rosbags' types."""

    def __init__(self) -> None:
        self._types: Any = get_typestore(Stores.ROS2_KILTED).types

    def _make(self, type_name: str, **values: Any) -> Any:
        return self._types[type_name](**values)

    def _header(self, stamp_ns: int, frame: str) -> Any:
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        stamp = self._make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def _vector(self, x: float, y: float, z: float) -> Any:
        return self._make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def _turn(self, yaw: float) -> Any:
        half = 0.5 * yaw
        return self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=float(np.sin(half)), w=float(np.cos(half)))

    def cloud(self, points: RecordArray, stamp_ns: int) -> Any:
        return to_cloud(self._types, self._header(stamp_ns, _LIDAR_FRAME), points)

    def odometry(self, state: EgoState) -> Any:
        pose = self._make(
            "geometry_msgs/msg/Pose",
            position=self._make("geometry_msgs/msg/Point", x=state.x, y=state.y, z=state.z),
            orientation=self._turn(state.yaw),
        )
        twist = self._make(
            "geometry_msgs/msg/Twist",
            linear=self._vector(state.speed, 0.0, 0.0),
            angular=self._vector(0.0, 0.0, state.yaw_rate),
        )
        unknown = np.zeros(36)
        return self._make(
            "nav_msgs/msg/Odometry", header=self._header(state.stamp_ns, "map"), child_frame_id="base_link",
            pose=self._make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=unknown),
            twist=self._make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=unknown),
        )  # fmt: skip

    def static_transform(self) -> Any:
        transform = self._make(
            "geometry_msgs/msg/TransformStamped", header=self._header(0, "base_link"), child_frame_id=_LIDAR_FRAME,
            transform=self._make(
                "geometry_msgs/msg/Transform",
                translation=self._vector(*(float(v) for v in T_BASE_LIDAR[:3, 3])), rotation=self._turn(0.0),
            ),
        )  # fmt: skip
        return self._make("tf2_msgs/msg/TFMessage", transforms=[transform])
