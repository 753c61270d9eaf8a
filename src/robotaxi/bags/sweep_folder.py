"""Folders of lidar sweeps with poses (KITTI odometry, tracking and raw layouts) and recorded bags, as one thing.

A sequence is a folder with ``velodyne/`` (``*.bin`` float32 x y z intensity, or ``*.npz``; also ``velodyne/NAME/`` and
KITTI raw's ``velodyne_points/data/``), and beside it poses in one of ``poses.txt``, ``gt_poses.txt``,
``../../poses/NAME.txt`` (KITTI odometry: of the left camera, or of the lidar: told apart by what fits), or
``kiss_icp_poses.txt`` (odometry, no truth); ``calib.txt``; ``times.txt``. Poses and times are one a sweep; where there
are more of them, the number in a sweep's name says which is its own (sweeps that are missing shift nothing).
A bag gives its sweeps and, where a simulator recorded it, the true poses of the lidar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robotaxi.bags import kitti
from robotaxi.bags.kitti import SWEEP_PERIOD_NS
from robotaxi.bags.kitti_files import (
    LIDAR_KEYS,
    KittiError,
    camera_from_lidar,
    is_rotation,
    read_calibration,
    read_numbers,
)
from robotaxi.bags.sensor_log import SensorLogError, read_sensor_log, sweep_stamps
from robotaxi.types import FloatArray, RecordArray

_TRUTH_FILES = ("poses.txt", "gt_poses.txt", "poses_gt.txt", "groundtruth.txt")
_ODOMETRY_FILES = ("kiss_icp_poses.txt",)


@dataclass(frozen=True)
class SweepSequence:
    """``load(i)`` gives sweep i (records with at least x y z). ``stamps_ns`` (N,).

    ``references``: candidate poses (N, 4, 4) of the lidar by name; more than one where the file does not say
    whose they are. ``is_truth``: false where the reference is odometry itself. ``folder`` and ``paths`` of the sweeps'
    files, none of a bag.
    """

    name: str
    stamps_ns: list[int]
    load: Callable[[int], RecordArray]
    references: dict[str, FloatArray]
    is_truth: bool
    folder: Path = Path()
    paths: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.stamps_ns)


def find_sequences(folder: str | Path, left_out: dict[str, str]) -> Iterator[SweepSequence]:
    """Every sequence in ``folder``, itself or its sub-folders. KittiError when there is none.

    What is broken goes to ``left_out``: place -> why.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KittiError(f"{folder}: no such folder; expected one with 'velodyne/' or bags in it")
    found = False
    for place in _places(folder):
        if (place / "metadata.yaml").is_file() and any(p.suffix in (".mcap", ".db3") for p in place.iterdir()):
            try:
                sequence = _from_bag(place)
            except KittiError as error:
                left_out[str(place)] = str(error)
                continue
            if sequence is not None:
                found = True
                yield sequence
    for sequence in find_sweep_folders(folder, left_out):
        found = True
        yield sequence
    if not found:
        why = "".join(f"; {reason}" for reason in left_out.values())
        raise KittiError(
            f"{folder}: holds no sequence; expected a folder 'velodyne' with sweeps, or a bag with sweeps{why}"
        )


def find_sweep_folders(folder: str | Path, left_out: dict[str, str]) -> Iterator[SweepSequence]:
    """Every folder of sweeps in ``folder``, itself or its sub-folders; none where there are only bags.

    What is broken goes to ``left_out``: place -> why.
    """
    for place in _places(Path(folder)):
        for sweeps in (place / "velodyne", place / "velodyne_points" / "data"):
            if not sweeps.is_dir():
                continue
            inside = sorted(sweeps.iterdir())
            nested = [] if any(p.suffix in (".bin", ".npz") for p in inside) else [p for p in inside if p.is_dir()]
            for part in nested or [sweeps]:
                try:
                    yield _from_folder(place, part, place.name if part is sweeps else part.name)
                except KittiError as error:
                    left_out[str(part)] = str(error)


def _places(folder: Path) -> list[Path]:
    """The folder and those in it, but for those of sweeps."""
    inside = (p for p in folder.rglob("*") if p.is_dir() and "velodyne" not in p.relative_to(folder).parts)
    return [folder, *sorted(inside)]


def _from_folder(place: Path, sweeps: Path, name: str) -> SweepSequence:
    paths = kitti.sweeps_in(sweeps)
    stamps = [i * SWEEP_PERIOD_NS for i in range(len(paths))]
    times = place / "times.txt"
    if times.is_file():
        seconds = read_numbers(times)[:, 0]
        rows = _rows_of(paths, len(seconds))
        if rows is None or not np.all(np.diff(seconds[rows]) > 0.0):
            raise KittiError(f"{times}: expected {len(paths)} rising times, one a sweep")
        stamps = [round(float(s) * 1e9) for s in seconds[rows]]
    references, is_truth = _references(place, name, paths)
    return SweepSequence(
        name, stamps, lambda i: kitti.read_points(paths[i]), references, is_truth, place, tuple(paths)
    )  # fmt: skip


def _number_of(path: Path) -> int | None:
    """The number that a sweep's file is named by, None for other names."""
    return int(path.stem) if path.stem.isascii() and path.stem.isdigit() else None


def _rows_of(paths: list[Path], count: int) -> list[int] | None:
    """Which of ``count`` rows, one a sweep, belongs to each; None where there are too few."""
    numbers = [number for number in map(_number_of, paths) if number is not None]
    if count > len(paths) == len(numbers) and numbers[-1] < count:
        return numbers
    return list(range(len(paths))) if count >= len(paths) else None


def _references(place: Path, name: str, paths: list[Path]) -> tuple[dict[str, FloatArray], bool]:
    candidates = [(place / file, True) for file in _TRUTH_FILES]
    candidates += [(parent / f"{name}.txt", True) for parent in (place.parent.parent / "poses", place / "poses", place)]
    candidates += [(place / file, False) for file in _ODOMETRY_FILES]
    for path, is_truth in candidates:
        if not path.is_file():
            continue
        rows = read_numbers(path)
        if rows.shape[1] == 16:
            rows = rows[:, :12]
        if rows.shape[1] != 12 or not np.isfinite(rows).all():
            raise KittiError(f"{path}: expected 12 finite numbers a line (row-major 3x4)")
        mine = _rows_of(paths, len(rows))
        if mine is None:
            raise KittiError(f"{path}: {len(rows)} poses for {len(paths)} sweeps")
        poses = np.tile(np.eye(4), (len(paths), 1, 1))
        poses[:, :3] = rows[mine].reshape(-1, 3, 4)
        if not is_rotation(poses[:, :3, :3]):
            raise KittiError(f"{path}: some poses hold no rotation")
        out = {f"{path.name} (lidar)": poses}
        calibration = place / "calib.txt"
        if is_truth and calibration.is_file() and set(LIDAR_KEYS) & set(read_calibration(calibration)):
            T_camera_lidar = camera_from_lidar(calibration)
            out[f"{path.name} (camera)"] = np.linalg.inv(T_camera_lidar) @ poses @ T_camera_lidar
        return out, is_truth
    return {}, False


def _from_bag(place: Path) -> SweepSequence | None:
    try:
        log = read_sensor_log(place, sweeps=False)
    except SensorLogError as error:
        raise KittiError(str(error)) from error
    stamps, load = sweep_stamps(place)
    if not stamps:
        return None
    references = {}
    if log.truth is not None and log.T_base_lidar is not None:
        base = log.truth.poses_at(np.array(stamps))
        references["sim/ego"] = base @ log.T_base_lidar
    return SweepSequence(place.name, stamps, load, references, bool(references))
