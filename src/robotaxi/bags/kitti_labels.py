"""Labels of KITTI folders, and of sets that others converted to their format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robotaxi.bags.kitti_files import KittiError, read_text
from robotaxi.types import FloatArray, ObjectClass, RecordArray

LABEL_DTYPE = np.dtype(
    [
        ("frame", "<i8"),  # as in the file: a count, or a time
        ("id", "<i4"),
        ("label", "u1"),  # ObjectClass
        ("x", "<f8"),  # box centre on the ground, base_link, m
        ("y", "<f8"),
        ("z", "<f8"),
        ("yaw", "<f8"),
        ("length", "<f8"),
        ("width", "<f8"),
        ("height", "<f8"),
    ]
)

_CLASS_WORDS = (  # the first that a label contains decides; KITTI's names and those of sets converted to its format
    (("signaler",), ObjectClass.PEDESTRIAN),
    (("sign", "light", "cone", "barrier", "barrel", "rack", "board", "animal"), ObjectClass.UNKNOWN),
    (("motor", "cycl", "rider", "bike", "moped", "scooter", "wheeled"), ObjectClass.BICYCLE),
    (("pedestrian", "person", "human", "walker", "wheelchair", "stroller"), ObjectClass.PEDESTRIAN),
    (("truck", "bus", "tram", "trailer", "train", "lorry", "railed", "construction"), ObjectClass.TRUCK),
    (("car", "van", "vehicle", "taxi", "suv", "sedan", "pickup"), ObjectClass.CAR),
)
_LARGEST, _LARGEST_FRAME = 2**31 - 1, 2**63 - 1


def object_class(name: str) -> ObjectClass:
    """Class of a label by name, e.g. "Van", "Person_sitting", "LARGE_VEHICLE"; UNKNOWN for "Misc" and the like."""
    name = name.lower()
    if "large" in name and "vehicle" in name:
        return ObjectClass.TRUCK
    return next((kind for words, kind in _CLASS_WORDS if any(word in name for word in words)), ObjectClass.UNKNOWN)


def nobody_cared(name: str) -> bool:
    """Whether a label of this name is a region in which nothing was annotated ("DontCare")."""
    return name.lower().replace("_", "") == "dontcare"


def parse_labels(path: Path, T_base_camera: FloatArray, frame: int | None = None) -> tuple[RecordArray, FloatArray]:
    """Boxes (LABEL_DTYPE) in base_link, and "DontCare" rectangles (N, 5): frame, left, top, right, bottom.

    Lines are KITTI tracking's (17 columns), or KITTI object's (15) with the ``frame`` given; ids are then 0, 1, ...
    Further columns are scores and are not read.
    """
    lead = 2 if frame is None else 0
    rows, regions = [], []
    named: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < 15 + lead:
            raise KittiError(f"{path}: line {number}: expected {15 + lead} columns, found {len(words)}")
        try:
            values = [float(word) for word in words[lead + 4 : lead + 15]]
            at = _whole(words[0], _LARGEST_FRAME) if frame is None else frame
            track = _identity(words[1], named) if frame is None else number - 1
        except (ValueError, OverflowError) as error:
            raise KittiError(f"{path}: line {number}: {error}") from error
        if not np.isfinite(values).all():
            raise KittiError(f"{path}: line {number}: holds a number that is not finite")
        if nobody_cared(words[lead]):
            regions.append((at, *values[:4]))
            continue
        height, width, length, x, y, z, rotation = values[4:]
        center = T_base_camera @ np.array([x, y, z, 1.0])
        # the camera's y points down: the box's front, turned by the rotation from the camera's x axis
        front = T_base_camera[:3, :3] @ np.array([np.cos(rotation), 0.0, -np.sin(rotation)])
        yaw = float(np.arctan2(front[1], front[0]))
        rows.append((at, track, object_class(words[lead]), *center[:3], yaw, length, width, height))
    return np.array(rows, LABEL_DTYPE), np.array(regions, np.float64).reshape(-1, 5)


def _whole(word: str, largest: int = _LARGEST) -> int:
    value = int(word) if word.isdigit() else int(float(word))
    if abs(value) > largest:
        raise ValueError(f"'{word}' is no number of a frame")
    return value


def _identity(word: str, named: dict[str, int]) -> int:
    """A track's number; sets converted to this format name tracks by hashes, too, which ``named`` counts."""
    try:
        return _whole(word)
    except (ValueError, OverflowError):
        return named.setdefault(word, _LARGEST - len(named))
