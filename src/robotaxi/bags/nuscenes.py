"""Drives of the nuScenes data set in its own folder layout: ``v1.0-*/{scene,sample,sample_data,ego_pose,
calibrated_sensor,sensor}.json`` with ``samples`` and ``sweeps`` beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from transforms3d.quaternions import quat2mat

from robotaxi.bags.drives import Drive, picture
from robotaxi.bags.writer import BagError
from robotaxi.types import CameraModel, FloatArray

_TABLES = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")


def read_nuscenes(folder: Path, scene: str = "") -> Drive:
    """One scene (the first where none is named). BagError names the file, table or scene that is missing."""
    versions = sorted(p for p in folder.glob("v1.0-*") if p.is_dir())
    if not versions:
        raise BagError(f"{folder}: has no folder v1.0-* with the tables of nuScenes")
    tables = {name: _table(versions[0] / f"{name}.json") for name in _TABLES}
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
            if drive.camera is None:
                drive.camera = _camera(tables["calibrated_sensor"][row["calibrated_sensor_token"]], path)
            continue
        T = _pose(tables["ego_pose"][row["ego_pose_token"]])
        poses[stamp] = (stamp, *T[:3, 3].tolist(), float(np.arctan2(T[1, 0], T[0, 0])))
        drive.T_base_lidar = _pose(tables["calibrated_sensor"][row["calibrated_sensor_token"]])
        drive.sweeps.append((stamp, lambda path=path: _points(path)))  # type: ignore[misc]
    drive.poses = [poses[stamp] for stamp in sorted(poses)]
    drive.images.sort()
    return drive


def _camera(row: Any, image: Path) -> CameraModel | None:
    """None where the table has no intrinsics."""
    if not row.get("camera_intrinsic"):
        return None
    K = np.array(row["camera_intrinsic"], np.float64)
    height, width = picture(image).shape[:2]
    return CameraModel("front", width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2], _pose(row))


def _table(path: Path) -> dict[str, Any]:
    try:
        return {row["token"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BagError(f"{path}: is no table of nuScenes: {error}") from error


def _pose(row: Any) -> FloatArray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = quat2mat(row["rotation"]), row["translation"]
    return T


def _points(path: Path) -> FloatArray:
    try:
        values = np.fromfile(path, "<f4")
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}") from error
    if not len(values) or len(values) % 5:
        raise BagError(f"{path}: {len(values) * 4} bytes are no whole number of points of 20 bytes")
    points = values.reshape(-1, 5)[:, :4].astype(np.float64)
    points[:, 3] /= 255.0
    return points
