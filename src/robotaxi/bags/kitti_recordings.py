"""KITTI tracking and object folders, and what others convert to their format, as recordings to measure on.

Nothing is taken for granted about the sensor: the lidar's height and tilt come from the road, the car's heading
from the front camera's axis in ``calib.txt``; where annotations lie all around, all around is evaluated, and where
they keep to the camera's image, so does the evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robotaxi.bags.kitti import SWEEP_PERIOD_NS, read_points, read_states, sweep_paths, sweeps_in
from robotaxi.bags.kitti_files import KittiError, camera_from_lidar, read_calibration, read_numbers
from robotaxi.bags.kitti_labels import parse_labels
from robotaxi.bags.lidar_mount import BODY, estimate_mount
from robotaxi.bags.own_odometry import OwnOdometry
from robotaxi.evaluation.perception_case import TRUTH_DTYPE, Frame, Recording, Seen, points_in_boxes
from robotaxi.types import EgoState, FloatArray, LidarSweep, ObjectClass, RecordArray

_MOUNT_SWEEPS = 5
_MOST_GAP = 20  # sweeps that may be missing between two
_TIME = re.compile(r"(?<!\d)(\d+)(?:\.\w+)+$")
_UNITS_NS = {13: 1_000_000, 16: 1_000, 19: 1}  # by digits, of times since 1970
_PERIODS_NS = (10_000_000, 5_000_000_000)
_OUTSIDE_SHARE = 0.05  # of the labels outside the image: from there on they lie all around


def tracking_recording(data_dir: Path) -> Recording:
    """``velodyne/``, ``label_02.txt``, ``calib.txt``, and ``kiss_icp_poses.txt`` and ``times.txt`` where there are."""
    return _sequence(data_dir.name, data_dir, sweep_paths(data_dir), data_dir / "label_02.txt", data_dir / "calib.txt")


def benchmark_recordings(data_dir: Path) -> list[Recording]:
    """The layout of the download: ``velodyne/0000/``, ``label_02/0000.txt``, ``calib/0000.txt``; of a single sequence
    the sweeps may lie in ``velodyne/`` itself, and the calibration be ``calib.txt``."""
    labels = sorted((data_dir / "label_02").glob("*.txt"))
    folders = {path: data_dir / "velodyne" / path.stem for path in labels}
    if len(labels) == 1 and not folders[labels[0]].is_dir():
        folders[labels[0]] = data_dir / "velodyne"
    out = []
    for path, folder in folders.items():
        if folder.is_dir():
            own = data_dir / "calib" / path.name
            home = data_dir if len(labels) == 1 else folder
            calibration = own if own.is_file() or not (data_dir / "calib.txt").is_file() else data_dir / "calib.txt"
            out.append(_sequence(path.stem, home, sweeps_in(folder), path, calibration))
    if not out:
        raise KittiError(f"{data_dir}: no sequence has both label_02/NAME.txt and velodyne/NAME/")
    return out


def object_recording(data_dir: Path) -> Recording:
    """Single frames: ``velodyne/``, ``label_2/``, ``calib/`` with one file each a frame."""
    paths = sweep_paths(data_dir)
    for path in paths:
        for folder in ("label_2", "calib"):
            if not (data_dir / folder / f"{path.stem}.txt").is_file():
                raise KittiError(f"{data_dir / folder / path.stem}.txt: is missing beside {path.name}")

    def frames() -> Iterator[Frame]:
        for index, path in enumerate(paths):
            calibration = data_dir / "calib" / f"{path.stem}.txt"
            T_camera_lidar = camera_from_lidar(calibration)
            points = read_points(path)
            T_base_lidar, _ = estimate_mount([_xyz(points)], T_camera_lidar[2, :3])
            boxes, regions = parse_labels(
                data_dir / "label_2" / f"{path.stem}.txt", T_base_lidar @ np.linalg.inv(T_camera_lidar), index
            )
            camera = _Camera.read(calibration, T_camera_lidar @ np.linalg.inv(T_base_lidar))
            seen = camera.sees(regions[:, 1:]) if camera is not None else None
            # seconds apart: nothing is tracked from one frame to the next
            sweep = LidarSweep(index * 100 * SWEEP_PERIOD_NS, points, T_base_lidar)
            yield Frame(index, sweep, None, _truth(boxes, sweep, seen), True, seen)

    return Recording(data_dir.name, len(paths), BODY, frames, {"format": "kitti object"}, tracked=False)


def _sequence(name: str, data_dir: Path, paths: list[Path], labels: Path, calibration: Path) -> Recording:
    if not paths:
        raise KittiError(f"{data_dir}: sequence {name} holds no sweeps")
    T_camera_lidar = camera_from_lidar(calibration)
    spread = sorted({round(k) for k in np.linspace(0, len(paths) - 1, _MOUNT_SWEEPS)})
    T_base_lidar, sure = estimate_mount((_xyz(read_points(paths[k])) for k in spread), T_camera_lidar[2, :3])
    boxes, regions = parse_labels(labels, T_base_lidar @ np.linalg.inv(T_camera_lidar))
    labelled = set(boxes["frame"].tolist()) | {int(f) for f in regions[:, 0]}
    numbers = _numbers(paths, labelled)
    if labelled and not labelled & set(numbers):
        raise KittiError(
            f"{labels}: is about frames {min(labelled)} to {max(labelled)}, sweeps are {numbers[0]} to {numbers[-1]}"
        )
    stamps, period = _stamps(data_dir, paths, numbers)
    states = _states(data_dir, T_base_lidar, numbers, stamps, period)
    camera = _Camera.read(calibration, T_camera_lidar @ np.linalg.inv(T_base_lidar))
    all_around = camera is None or _outside(camera, boxes) > _OUTSIDE_SHARE
    sparse = 2 * len(labelled & set(numbers)) < len(numbers)

    def frames() -> Iterator[Frame]:
        odometry = OwnOdometry(T_base_lidar)
        for k, path in enumerate(paths):
            sweep = LidarSweep(stamps[k], read_points(path), T_base_lidar)
            state = states[k] if states else odometry.step(_finite(sweep.points), stamps[k])
            mine = regions[regions[:, 0] == numbers[k], 1:]
            seen = None if all_around or camera is None else camera.sees(mine)
            truth = _truth(boxes[boxes["frame"] == numbers[k]], sweep, seen)
            truth["frame"] = k
            yield Frame(k, sweep, state, truth, not sparse or numbers[k] in labelled, seen)

    notes = {
        "format": "kitti tracking",
        "lidar_height_m": round(float(T_base_lidar[2, 3]), 2),
        "lidar_height_from": "road" if sure else "assumed",
        "evaluated": "all around" if all_around else "camera image",
        "poses": "file" if states else "own lidar odometry",
        "every_frame_annotated": not sparse,
    }
    return Recording(name, len(paths), BODY, frames, notes, period=period)


def _numbers(paths: list[Path], labelled: set[int]) -> list[int]:
    """The number by which the labels call each sweep: that in its name, or its place where names are something else."""
    named = [int(p.stem) if p.stem.isdigit() else k for k, p in enumerate(paths)]
    places = range(len(paths))
    if labelled <= set(places):
        # names that are times, or that count from another number than the labels
        shifted = 0 in labelled and named[0] != 0 and named[-1] - named[0] == len(named) - 1
        if shifted or not labelled & set(named):
            return list(places)
    return named


def _stamps(data_dir: Path, paths: list[Path], numbers: list[int]) -> tuple[list[int], float]:
    """Stamps (ns) and the usual period (s): of ``times.txt`` (seconds, one a line), of names that are times, or of
    10 sweeps a second."""
    path, usual = data_dir / "times.txt", SWEEP_PERIOD_NS * 1e-9
    if path.is_file():
        times = read_numbers(path)[:, 0]
        if len(times) != len(numbers) and len(times) > max(numbers):  # of sweeps that are not here, too
            times = times[numbers]
        if len(times) != len(numbers) or not np.isfinite(times).all() or (np.diff(times) <= 0.0).any():
            raise KittiError(f"{path}: expected {len(numbers)} rising times in seconds, one a sweep")
        return [round(float(t) * 1e9) for t in times], float(np.median(np.diff(times))) if len(times) > 1 else usual
    stamps = _times_in_names(paths)
    if stamps:
        return stamps, float(np.median(np.diff(stamps))) * 1e-9
    # names that count sweeps tell of gaps; others, like hashes, only give the order
    counted = all(0 < step <= _MOST_GAP for step in np.diff(numbers).tolist())
    return [n * SWEEP_PERIOD_NS for n in (numbers if counted else range(len(numbers)))], usual


def _times_in_names(paths: list[Path]) -> list[int]:
    """ns since the first sweep where names end in Unix times of ms, us or ns; else none."""
    found = [_TIME.search(path.name) for path in paths]
    digits = [match.group(1) for match in found if match is not None]
    unit = _UNITS_NS.get(len(digits[0]) if digits else 0, 0)
    if len(digits) != len(paths) or len(paths) < 2 or unit == 0 or len({len(word) for word in digits}) > 1:
        return []
    stamps = [(int(word) - int(digits[0])) * unit for word in digits]
    steps = np.diff(stamps)
    return stamps if (steps > 0).all() and _PERIODS_NS[0] <= np.median(steps) <= _PERIODS_NS[1] else []


def _states(
    data_dir: Path, T_base_lidar: FloatArray, numbers: list[int], stamps: list[int], period: float
) -> list[EgoState] | None:
    path = data_dir / "kiss_icp_poses.txt"
    if not path.is_file():
        return None
    states = read_states(data_dir, T_base_lidar, period)
    if len(states) == len(numbers):
        chosen = states
    elif len(states) > max(numbers):
        chosen = [states[n] for n in numbers]
    else:
        raise KittiError(f"{path}: {len(states)} poses for {len(numbers)} sweeps")
    return [
        EgoState(t, s.x, s.y, s.yaw, s.speed, yaw_rate=s.yaw_rate, z=s.z) for t, s in zip(stamps, chosen, strict=True)
    ]


def _xyz(points: RecordArray) -> NDArray[np.float32]:
    return np.stack([points["x"], points["y"], points["z"]], axis=-1)


def _finite(points: RecordArray) -> NDArray[np.float32]:
    xyz = _xyz(points)
    return xyz[np.isfinite(xyz).all(axis=1)]


def _truth(boxes: RecordArray, sweep: LidarSweep, seen: Seen | None) -> RecordArray:
    """What need not be found: no return on it, of no class we know, or centred outside what was annotated."""
    out = np.zeros(len(boxes), TRUTH_DTYPE)
    for name in boxes.dtype.names or ():
        out[name] = boxes[name]
    T = sweep.T_base_lidar
    xyz = _finite(sweep.points)
    out["points"] = points_in_boxes(xyz @ T[:3, :3].T + T[:3, 3], out)
    out["counted"] = (out["points"] > 0) & (out["label"] != ObjectClass.UNKNOWN)
    if seen is not None:
        out["counted"] &= seen(np.column_stack([out["x"], out["y"], out["z"] + 0.5 * out["height"]]))
    return out


def _outside(camera: _Camera, boxes: RecordArray) -> float:
    if len(boxes) == 0:
        return 0.0
    center = np.column_stack([boxes["x"], boxes["y"], boxes["z"] + 0.5 * boxes["height"]])
    u, _, depth = camera.project(center)
    wide = 0.2 * camera.width  # cars cut by the edge of the image have their centre beyond it
    return float(np.mean((depth <= 0.0) | (u < -wide) | (u > camera.width + wide)))


class _Camera:
    """The left colour camera: where annotators looked."""

    def __init__(self, projection: FloatArray, T_camera_base: FloatArray) -> None:
        self._matrix = projection @ T_camera_base
        # the principal point lies near the middle: the image's size is not in the calibration
        self.width, self.height = 2.0 * projection[0, 2], 2.0 * projection[1, 2]

    @staticmethod
    def read(path: Path, T_camera_base: FloatArray) -> _Camera | None:
        values = read_calibration(path).get("P2")
        if values is None:
            return None
        try:
            projection = np.array(values, np.float64).reshape(3, 4)
        except ValueError as error:
            raise KittiError(f"{path}: 'P2': {error}; expected 12 numbers, row by row") from error
        if not np.isfinite(projection).all():
            raise KittiError(f"{path}: 'P2' holds a number that is not finite; leave it out to be judged all around")
        return _Camera(projection, T_camera_base) if projection[0, 2] > 0.0 else None

    def project(self, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Pixels u, v and depth of points (N, 3) in base_link."""
        u, v, depth = self._matrix[:, :3] @ np.asarray(points, np.float64).T + self._matrix[:, 3:]
        safe = np.where(depth > 0.1, depth, 0.1)
        return u / safe, v / safe, depth

    def sees(self, regions: FloatArray) -> Seen:
        """Mask of points that lie in the image and in none of the rectangles (N, 4) "DontCare"."""

        def mask(points: FloatArray) -> NDArray[np.bool_]:
            u, v, depth = self.project(points)
            inside: NDArray[np.bool_] = (depth > 0.5) & (u >= 0.0) & (u <= self.width)
            for left, top, right, bottom in regions:
                inside &= ~((u >= left) & (u <= right) & (v >= top) & (v <= bottom))
            return inside

        return mask
