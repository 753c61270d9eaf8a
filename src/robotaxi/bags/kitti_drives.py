"""Drives in the folder layouts of KITTI (odometry, tracking, raw), with the left colour camera and its calibration.

| | sweeps | poses | calibration | pictures |
| --- | --- | --- | --- | --- |
| odometry | ``sequences/00/velodyne`` | ``poses/00.txt``, of the camera | ``calib.txt`` | ``image_2`` |
| tracking | ``velodyne/0000`` | ``oxts/0000.txt`` | ``calib/0000.txt`` | ``image_02/0000`` |
| raw | ``velodyne_points/data`` | ``oxts/data`` | ``../calib_*.txt`` | ``image_02/data`` |

Poses may also lie beside the sweeps, as `sweep_folder` has them. Without any the bag has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from robotaxi.bags.drives import Drive, picture
from robotaxi.bags.kitti import SWEEP_PERIOD_NS, T_BASE_LIDAR
from robotaxi.bags.kitti_files import (
    KittiError,
    camera_from_lidar,
    is_rotation,
    read_calibration,
    read_numbers,
    read_text,
)
from robotaxi.bags.sweep_folder import SweepSequence, find_sweep_folders
from robotaxi.sensor_rig import mounting_transform
from robotaxi.types import CameraModel, FloatArray

_EARTH_RADIUS = 6378137.0  # m, of the Mercator projection of KITTI's development kit
_OXTS = 6  # first columns: latitude and longitude (deg), altitude (m), roll, pitch, yaw (rad)
_TOLD_BY = 2.0  # m driven, after which the axis that leads ahead tells whose poses they are
_PICTURES = (".png", ".jpg")


def read_kitti(folder: Path, name: str = "") -> Drive:
    """The sequence called ``name``, or the first. KittiError names what is missing or broken."""
    if not folder.is_dir():
        raise KittiError(f"{folder}: no such folder; expected one with sweeps in 'velodyne'")
    left_out: dict[str, str] = {}
    sequences = list(find_sweep_folders(folder, left_out))
    chosen = next((item for item in sequences if not name or item.name == name), None)
    if chosen is None:
        known = ", ".join(item.name for item in sequences) or "none"
        why = "".join(f"; {reason}" for reason in left_out.values())
        wanted = f"no sequence '{name}'" if name else "holds no sequence of KITTI"
        raise KittiError(f"{folder}: {wanted}; known are: {known}{why}")
    stamps = _stamps(chosen)
    poses, source = _poses(chosen, stamps)
    drive = Drive(
        f"KITTI {chosen.name}; {source}", T_BASE_LIDAR,
        [(stamp, partial(_points, chosen, i)) for i, stamp in enumerate(stamps)],
        [(float(t), *T[:3, 3].tolist(), float(np.arctan2(T[1, 0], T[0, 0]))) for t, T in poses],
        vehicle="kitti", sensors="kitti",
    )  # fmt: skip
    drive.images = _images(chosen, stamps)
    calibration = _calibration(chosen)
    if drive.images and calibration is not None:
        drive.camera = _camera(*calibration, drive.images[0][1])
    return drive


def _points(sequence: SweepSequence, index: int) -> FloatArray:
    records = sequence.load(index)
    return np.column_stack([records[name] for name in ("x", "y", "z", "intensity")])


# ---------------------------------------------------------------------------- times


def _numbers(paths: Sequence[Path]) -> list[int]:
    """The frame of each file: the number that it is called, or its place."""
    named = [int(path.stem) for path in paths if path.stem.isdigit()]
    return named if len(named) == len(paths) else list(range(len(paths)))


def _stamps(sequence: SweepSequence) -> list[int]:
    """ns of each sweep, from 0."""
    raw = sequence.folder / "velodyne_points" / "timestamps.txt"
    if not raw.is_file():
        return sequence.stamps_ns
    return _of_frames(_raw_stamps(raw), _numbers(sequence.paths), raw)


def _raw_stamps(path: Path) -> list[int]:
    """ns since 1970 of lines as 2011-09-26 13:02:25.594360375, one a frame."""
    try:
        return [
            np.datetime64(line.strip(), "ns").astype(int).item() for line in read_text(path).split("\n") if line.strip()
        ]
    except ValueError as error:
        raise KittiError(f"{path}: not a table of times: {error}") from error


def _of_frames(rows: Sequence[int], frames: Sequence[int], path: Path) -> list[int]:
    if max(frames) >= len(rows):
        raise KittiError(f"{path}: {len(rows)} times, and a file of frame {max(frames)}")
    return [rows[frame] for frame in frames]


# ---------------------------------------------------------------------------- poses


def _poses(sequence: SweepSequence, stamps: Sequence[int]) -> tuple[list[tuple[int, FloatArray]], str]:
    """(stamp, T_map_base) of each frame, and where they are from."""
    if sequence.references:
        name, T = _of_lidar(sequence.references)
        poses = T_BASE_LIDAR @ T @ np.linalg.inv(T_BASE_LIDAR)
        source = f"poses of {name}" if sequence.is_truth else f"poses of {name}, lidar odometry and no ground truth"
        return list(zip(stamps, poses, strict=True)), source
    raw = sequence.folder / "oxts" / "data"
    table = sequence.folder / "oxts" / f"{sequence.name}.txt"
    if raw.is_dir():
        files = sorted(raw.glob("*.txt"))
        rows = np.array([_oxts(file)[0] for file in files])
        times = sequence.folder / "oxts" / "timestamps.txt"
        if not files or not times.is_file():
            raise KittiError(f"{raw}: holds no measurements, or {times} is missing")
        frames_ns = _of_frames(_raw_stamps(times), _numbers(files), times)
    elif table.is_file():
        rows = _oxts(table)
        frames_ns = [k * SWEEP_PERIOD_NS for k in range(len(rows))]
    else:
        return [], "no poses"
    T_map_imu = _from_oxts(rows)
    T_imu_base = np.linalg.inv(T_BASE_LIDAR @ _lidar_from_imu(sequence))
    T = T_map_imu @ T_imu_base
    T[:, :3, 3] -= T[0, :3, 3]
    return list(zip(frames_ns, T, strict=True)), "poses of the OXTS unit"


def _of_lidar(references: dict[str, FloatArray]) -> tuple[str, FloatArray]:
    """The candidate that drives along x: the file does not say whose poses it holds."""
    names = list(references)
    first = references[names[0]]
    way = first[:, :3, 3] - first[0, :3, 3]
    far = np.flatnonzero(np.linalg.norm(way, axis=1) > _TOLD_BY)
    ahead = way[far[0]] if len(far) else way[-1]
    camera = len(names) > 1 and abs(ahead[2]) > abs(ahead[0])
    return names[1 if camera else 0], references[names[1 if camera else 0]]


def _oxts(path: Path) -> FloatArray:
    rows = read_numbers(path)
    if rows.shape[1] < _OXTS or not np.isfinite(rows[:, :_OXTS]).all():
        raise KittiError(f"{path}: expected 30 finite numbers a line, as the OXTS unit writes them")
    return rows[:, :_OXTS]


def _from_oxts(rows: FloatArray) -> FloatArray:
    """T_map_imu (N, 4, 4) east, north, up, by the Mercator projection of KITTI's development kit."""
    scale = np.cos(np.radians(rows[0, 0]))
    east = scale * _EARTH_RADIUS * np.radians(rows[:, 1])
    north = scale * _EARTH_RADIUS * np.log(np.tan(np.radians(45.0 + 0.5 * rows[:, 0])))
    return np.array(
        [mounting_transform(x, y, row[2], *np.degrees(row[3:6])) for x, y, row in zip(east, north, rows, strict=True)]
    )


# ---------------------------------------------------------------------------- calibration and pictures


def _calibration_files(sequence: SweepSequence) -> list[Path]:
    """Those that there may be, of every layout."""
    folder = sequence.folder
    raw = [parent / f"calib_{name}.txt" for parent in (folder, folder.parent)
           for name in ("cam_to_cam", "velo_to_cam", "imu_to_velo")]  # fmt: skip
    return [file for file in (folder / "calib" / f"{sequence.name}.txt", folder / "calib.txt", *raw) if file.is_file()]


def _calibration(sequence: SweepSequence) -> tuple[FloatArray, FloatArray] | None:
    """The left colour camera's 3x4 projection, and T_camera_lidar into the frame that it projects from; None without
    either."""
    projection: FloatArray | None = None
    T_camera_lidar: FloatArray | None = None
    for file in _calibration_files(sequence):
        entries = read_calibration(file)
        for key in ("P_rect_02", "P2"):
            if key in entries:
                projection = _block(file, entries, key, 3, 4)
        if file.name == "calib_velo_to_cam.txt":
            rectified = file.with_name("calib_cam_to_cam.txt")
            T_camera_lidar = _split(file, entries)
            if rectified.is_file():
                turn = np.eye(4)
                turn[:3, :3] = _block(rectified, read_calibration(rectified), "R_rect_00", 3, 3)
                T_camera_lidar = turn @ T_camera_lidar
        elif not file.name.startswith("calib_"):
            T_camera_lidar = camera_from_lidar(file)
    return None if projection is None or T_camera_lidar is None else (projection, T_camera_lidar)


def _camera(projection: FloatArray, T_camera_lidar: FloatArray, image: Path) -> CameraModel:
    """The camera of ``projection`` (3, 4), which stands beside the one that it projects from."""
    K, beside = projection[:, :3], np.eye(4)
    beside[:3, 3] = np.linalg.solve(K, projection[:, 3])
    height, width = picture(image).shape[:2]
    T_base_optical = T_BASE_LIDAR @ np.linalg.inv(beside @ T_camera_lidar)
    return CameraModel("front", width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2], T_base_optical)


def _lidar_from_imu(sequence: SweepSequence) -> FloatArray:
    """T_lidar_imu (4, 4)."""
    for file in _calibration_files(sequence):
        entries = read_calibration(file)
        if file.name == "calib_imu_to_velo.txt":
            return _split(file, entries)
        for key in ("Tr_imu_to_velo", "Tr_imu_velo"):
            if key in entries:
                T = np.eye(4)
                T[:3] = _block(file, entries, key, 3, 4)
                return T
    raise KittiError(f"{sequence.folder}: has oxts but no calibration of the IMU (calib_imu_to_velo.txt, Tr_imu_velo)")


def _split(file: Path, entries: dict[str, list[str]]) -> FloatArray:
    """4x4 of lines R and T."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3:] = _block(file, entries, "R", 3, 3), _block(file, entries, "T", 3, 1)
    return T


def _block(file: Path, entries: dict[str, list[str]], key: str, rows: int, columns: int) -> FloatArray:
    if key not in entries:
        raise KittiError(f"{file}: has no '{key}'")
    try:
        block = np.array(entries[key], np.float64).reshape(rows, columns)
    except ValueError as error:
        raise KittiError(f"{file}: '{key}': {error}") from error
    if not np.isfinite(block).all() or (key[0] != "P" and columns > 1 and not is_rotation(block[:, :3])):
        raise KittiError(f"{file}: '{key}' holds no {'rotation' if key[0] != 'P' else 'projection'}")
    return block


def _images(sequence: SweepSequence, stamps: Sequence[int]) -> list[tuple[int, Path]]:
    """(stamp, file) of the left colour camera; a picture has the time of the sweep of its frame."""
    folder = sequence.folder
    places = (
        folder / "image_02" / "data",
        folder / "image_02" / sequence.name,
        folder / "image_2",
        folder / "image_02",
    )
    for place in places:
        files = sorted(p for p in place.iterdir() if p.suffix in _PICTURES) if place.is_dir() else []
        if not files:
            continue
        frames, times = _numbers(files), folder / "image_02" / "timestamps.txt"
        if place.name == "data" and times.is_file():
            return list(zip(_of_frames(_raw_stamps(times), frames, times), files, strict=True))
        of_frame = dict(zip(_numbers(sequence.paths), stamps, strict=True))
        return [(of_frame[frame], file) for frame, file in zip(frames, files, strict=True) if frame in of_frame]
    return []
