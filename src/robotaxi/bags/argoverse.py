"""Drives of the Argoverse 2 sensor data set in its own layout: one log folder with ``city_SE3_egovehicle.feather``,
``sensors/lidar/<ns>.feather``, and for the camera ``sensors/cameras/ring_front_center`` and ``calibration``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transforms3d.quaternions import quat2mat

from robotaxi.bags.drives import Drive
from robotaxi.bags.writer import BagError
from robotaxi.types import CameraModel, FloatArray

_AXLE_HEIGHT = 0.33  # m, of the vehicle frame above the ground (wheel radius of its Ford Fusion)
_CAMERA = "ring_front_center"


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
    camera, distortion = _camera(folder / "calibration") if images else (None, ())
    return Drive(
        f"Argoverse 2 {folder.name}", T_base_lidar,
        [(int(path.stem), lambda path=path: _points(path)) for path in sweeps],  # type: ignore[misc]
        rows, [(int(path.stem), path) for path in images if path.stem.isdigit()], camera, distortion,
    )  # fmt: skip


def _camera(folder: Path) -> tuple[CameraModel | None, tuple[float, ...]]:
    """The front camera and its lens; None where the log has no calibration."""
    lenses, places = folder / "intrinsics.feather", folder / "egovehicle_SE3_sensor.feather"
    if not lenses.is_file() or not places.is_file():
        return None, ()
    names, *columns = _feather(lenses, "sensor_name fx_px fy_px cx_px cy_px k1 k2 k3 height_px width_px")
    sensors, *poses = _feather(places, "sensor_name qw qx qy qz tx_m ty_m tz_m")
    if _CAMERA not in names or _CAMERA not in sensors:
        return None, ()
    lens = (float(column[list(names).index(_CAMERA)]) for column in columns)
    fx, fy, cx, cy, k1, k2, k3, height, width = lens
    qw, qx, qy, qz, x, y, z = (float(column[list(sensors).index(_CAMERA)]) for column in poses)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = quat2mat([qw, qx, qy, qz]), (x, y, z + _AXLE_HEIGHT)
    return CameraModel("front", int(width), int(height), fx, fy, cx, cy, T), (k1, k2, 0.0, 0.0, k3)


def _points(path: Path) -> FloatArray:
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
