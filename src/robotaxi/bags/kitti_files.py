"""Text files of KITTI folders: tables of numbers and calibrations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robotaxi.types import FloatArray

LIDAR_KEYS = ("Tr_velo_to_cam", "Tr_velo_cam", "Tr")
"""Names of the transform from the lidar to the camera in a calibration file."""


class KittiError(ValueError):
    """Data that is missing or broken; the message names the file and what is wrong with it."""


def read_text(path: Path) -> str:
    """A text of plain letters, with or without a byte order mark. KittiError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise KittiError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_numbers(path: Path) -> FloatArray:
    """A table of numbers separated by blanks or commas, comments after a #. KittiError names what is broken."""
    lines = (line.partition("#")[0].replace(",", " ").split() for line in read_text(path).splitlines())
    rows = [words for words in lines if words]
    if not rows:
        raise KittiError(f"{path}: is empty")
    try:
        return np.array(rows, np.float64)
    except ValueError as error:
        raise KittiError(f"{path}: not a table of numbers: {error}") from error


def read_calibration(path: Path) -> dict[str, list[str]]:
    """Lines "name: numbers" of a calibration file, the numbers as text."""
    entries = {}
    for line in read_text(path).splitlines():
        name, *values = line.replace(":", " ").split() or [""]
        entries[name] = values
    return entries


def camera_from_lidar(path: Path) -> FloatArray:
    """4x4 from the lidar to the rectified camera frame."""
    if not path.is_file():
        raise KittiError(
            f"{path}: is missing; it says with '{LIDAR_KEYS[0]}' where the camera is, whose frame labels use"
        )
    entries = read_calibration(path)
    out = np.eye(4)
    for keys, columns in ((LIDAR_KEYS, 4), (("R0_rect", "R_rect"), 3)):
        found = next((entries[key] for key in keys if key in entries), None)
        if found is None and columns == 3:
            continue  # no rectification (KITTI odometry): the transform ends in the rectified frame already
        if found is None:
            raise KittiError(f"{path}: has no '{keys[0]}' (3x4, from the lidar to the camera)")
        try:
            block = np.array(found, np.float64).reshape(3, columns)
        except ValueError as error:
            raise KittiError(f"{path}: '{keys[0]}': {error}") from error
        if not np.isfinite(block).all() or not is_rotation(block[:, :3]):
            raise KittiError(f"{path}: '{keys[0]}' holds no rotation")
        step = np.eye(4)
        step[:3, :columns] = block
        out = step @ out
    return out


def is_rotation(block: FloatArray) -> bool:
    """Whether (..., 3, 3) are rotations, as exactly as files write them."""
    product = block @ np.swapaxes(block, -1, -2)
    return bool(np.abs(product - np.eye(3)).max() < 0.02 and (np.linalg.det(block) > 0.0).all())
