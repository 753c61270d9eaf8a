"""A folder of data as recordings to measure perception on, whatever of the known formats it is in."""

from __future__ import annotations

from pathlib import Path

from robotaxi.bags.kitti_files import KittiError
from robotaxi.bags.kitti_recordings import benchmark_recordings, object_recording, tracking_recording
from robotaxi.bags.ride_recording import ride_recording
from robotaxi.evaluation.perception_case import Recording

_FORMATS = (
    "KITTI tracking (velodyne/, label_02.txt, calib.txt), KITTI object (velodyne/, label_2/, calib/), "
    "a bag of a ride (metadata.yaml), or folders of these"
)
_DEPTH = 4  # folders in folders


def open_recordings(data_dir: str | Path, sensors: str = "", vehicle: str = "") -> list[Recording]:
    """Every recording in the folder, or in the folders in it. ``sensors`` and ``vehicle`` are those of bags,
    empty: as recorded.

    Raises KittiError, ParameterError or OSError naming what is missing or broken.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise KittiError(f"{data_dir}: no such folder; expected {_FORMATS}")
    found = _search(data_dir, sensors, vehicle, _DEPTH)
    if not found:
        bare = next((p for p in (data_dir, *sorted(data_dir.iterdir())) if (p / "velodyne").is_dir()), None)
        why = f"{bare} has sweeps and no labels; " if bare is not None else ""
        raise KittiError(f"{data_dir}: holds no recording; {why}expected {_FORMATS}")
    return found


def _search(folder: Path, sensors: str, vehicle: str, depth: int) -> list[Recording]:
    found = _open(folder, sensors, vehicle)
    if found or depth == 0:
        return found
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [recording for part in inside for recording in _search(part, sensors, vehicle, depth - 1)]


def _open(folder: Path, sensors: str, vehicle: str) -> list[Recording]:
    if (folder / "metadata.yaml").is_file():
        return [ride_recording(folder, sensors, vehicle)]
    if (folder / "label_02.txt").is_file():
        return [tracking_recording(folder)]
    if (folder / "label_02").is_dir():
        return benchmark_recordings(folder)
    if (folder / "label_2").is_dir():
        return [object_recording(folder)]
    if (folder / "bag" / "metadata.yaml").is_file():
        return [ride_recording(folder / "bag", sensors, vehicle)]
    return []
