"""Sweeps of KITTI folders, where the recording car carried them, and their labels to measure against.

A data folder holds ``velodyne/NNNNNN.npz`` (``xyz_5mm`` int16 in units of 5 mm, ``intensity_u8``; `_from_npz`) or
``velodyne/NNNNNN.bin`` (float32 x y z intensity), ``kiss_icp_poses.txt`` (row-major 3x4 poses of the
lidar in its first frame, one a sweep), and for the labels ``label_02.txt`` and ``calib.txt``.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.bags.kitti_files import KittiError, camera_from_lidar, read_numbers
from robotaxi.bags.kitti_labels import parse_labels
from robotaxi.pointcloud2 import POINT_DTYPE
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

_INTEGERS, _METRES = re.compile(r"xyz_(\d+)mm"), ("xyz", "points")  # arrays of points in an .npz file
_NUMBER = re.compile(r"(\d+)")
_ENOUGH = 400  # numbers in a file, that tell how many columns it has
_FEW = 0.05  # share of negative intensities that a sensor may have


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
            if not hasattr(data, "files"):
                raise KittiError(f"{path}: is one array and no .npz archive")
            return _from_npz(path, data)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise KittiError(f"{path}: cannot be read: {error}; copy it again from where it came") from error
    except ValueError as error:
        if isinstance(error, KittiError):
            raise
        # numpy takes what is no archive for a pickle, and advises to load it unsafely
        what = "no archive of arrays" if path.suffix == ".npz" and "pickle" in str(error) else str(error)
        raise KittiError(f"{path}: is no sweep: {what}") from error


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
    """Integers in units that the array's name tells (``xyz_5mm``), or metres (``xyz``, ``points`` of 3 columns or more,
    the fourth an intensity); ``intensity_u8`` of 255, or ``intensity``."""
    for name in data.files:
        if (unit := _INTEGERS.fullmatch(name)) or name in _METRES:
            break
    else:
        found = ", ".join(data.files) or "nothing"
        raise KittiError(f"{path}: has no 'xyz_5mm' (integers in 5 mm), 'xyz' or 'points' (m), only {found}")
    xyz = data[name]
    kind, least = ("i", "integers") if unit else ("f", "floats")
    intensity, scale = np.zeros(len(xyz) if xyz.ndim else 0, np.float32), 1.0
    for other, full in (("intensity_u8", 255.0), ("intensity", 1.0)):
        if other in data:
            intensity, scale = data[other], full
            break
    else:
        if xyz.ndim == 2 and xyz.shape[1] > 3:
            intensity = xyz[:, 3]
    if xyz.ndim != 2 or not 3 <= xyz.shape[1] <= (3 if unit else 6) or xyz.dtype.kind != kind or (
        intensity.shape != xyz.shape[:1]
    ):  # fmt: skip
        raise KittiError(
            f"{path}: expected {name} (N, 3) of {least} and intensities (N,), found {xyz.dtype} {xyz.shape} and "
            f"{intensity.shape}"
        )
    metres = xyz[:, :3].astype(np.float32) * (np.float32(1e-3 * float(unit[1])) if unit else np.float32(1.0))
    return _pack(metres, intensity.astype(np.float32) / np.float32(scale))


def _from_bin(path: Path) -> RecordArray:
    """float32 x y z intensity; and x y z alone, or with more behind the intensity, where four columns do not fit.

    The file does not say how many columns it has: an intensity is never negative, coordinates are now and then.
    """
    values = np.fromfile(path, np.uint8)
    fits = [columns for columns in (4, 5, 6, 3) if len(values) % (4 * columns) == 0]
    if not fits:
        raise KittiError(f"{path}: {len(values)} bytes are no whole number of points of 16 bytes; copy it again")
    numbers = values.view("<f4")
    if not numbers.size:
        return _pack(numbers.reshape(-1, 3), numbers)
    negative = {k: _negative(numbers, k) for k in fits if k > 3}
    columns = min(negative, key=lambda k: negative[k], default=3)
    if negative.get(columns, 1.0) > _FEW and len(numbers) > _ENOUGH:
        cut = next((k for k in (4, 5, 6) if k not in fits and _negative(numbers, k) <= _FEW), None)
        if cut is not None:
            raise KittiError(
                f"{path}: {len(values)} bytes end within a point of {4 * cut} bytes: it is cut short, copy it again"
            )
    if 3 in fits and negative.get(columns, 1.0) > _FEW:
        columns = 3
    rows = numbers.reshape(-1, columns)
    return _pack(rows, rows[:, 3] if columns > 3 else np.zeros(len(rows), np.float32))


def _negative(numbers: NDArray[np.float32], columns: int) -> float:
    """Share of negative values in the fourth of so many columns, of the whole rows."""
    rows = numbers[: len(numbers) // columns * columns].reshape(-1, columns)
    return float((rows[:, 3] < 0.0).mean())


def _pack(xyz: Any, intensity: Any) -> RecordArray:
    points = np.empty(len(xyz), POINT_DTYPE)
    points["x"], points["y"], points["z"] = xyz[:, 0], xyz[:, 1], xyz[:, 2]
    points["intensity"] = intensity
    return points
