"""Recordings of inertial samples and satellite positions as text files, as in the gtsam wheel.

``*Imu.txt``: time, (interval,) specific force, angular rate; ``*Gps*.txt``: time, position in a local frame x east,
y north, z up, or latitude, longitude (deg), altitude where the header says so. Columns are those of the header where it
names them all, else "Time dt accelX..Z omegaX..Z" and "Time X Y Z". Blanks or commas separate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.types import FloatArray

_TIME = "t|time|times|timestamp|stamp|sec|seconds"
_FORCE = "(a|acc|accel|acceleration|linearacceleration|f|force|specificforce)"
_RATE = "(w|omega|gyr|gyro|rate|angularrate|angularvelocity)"
_SAMPLE = (_TIME, *(f"{what}{axis}" for what in (_FORCE, _RATE) for axis in "xyz"))
_LOCAL = (_TIME, "x|e|east", "y|n|north", "z|u|up")
_GEODETIC = (_TIME, "lat|latitude", "lon|lng|long|longitude", "alt|altitude|height|h")
_FEWEST, _MOST_LOST = 10, 0.1
_GRAVITY = (7.0, 13.0)  # m/s^2, what a car's specific force is in the median
_PERIOD = (1e-4, 1.0)  # s, between inertial samples


class RecordingError(ValueError):
    """Files that are missing or broken; the message names file and line."""


@dataclass(frozen=True)
class Recording:
    """``imu`` (N, 7): time, specific force, angular rate. ``fixes`` (M, 4): time, position."""

    name: str
    imu: FloatArray
    fixes: FloatArray


def read_recordings(folder: str | Path, left_out: dict[str, str]) -> list[Recording]:
    """Every recording in ``folder``, or in the Data folder of gtsam below it. RecordingError when there is none; one
    that is broken goes to ``left_out``: name -> why."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RecordingError(f"{folder}: no such folder")
    pairs = []
    for imu in sorted(folder.rglob("*Imu.txt")):
        prefix = imu.name.split("Equiv")[0] if "Equiv" in imu.name else imu.name[: -len("Imu.txt")]
        gps = sorted(p for p in imu.parent.glob(f"{prefix}*Gps*.txt"))
        if gps:
            pairs.append((imu, gps[0]))
    if not pairs:
        raise RecordingError(f"{folder}: holds no recording; expected *Imu.txt beside *Gps_converted.txt")
    out = []
    for samples, positions in pairs:
        try:
            out.append(Recording(samples.stem, _samples(samples), _fixes(positions)))
        except (RecordingError, OSError, UnicodeDecodeError) as error:
            left_out[samples.stem] = str(error)
    return out


def _samples(path: Path) -> FloatArray:
    table, _ = _table(path, [_SAMPLE], [0, 2, 3, 4, 5, 6, 7])
    period = float(np.median(np.diff(table[:, 0])))
    if not _PERIOD[0] <= period <= _PERIOD[1]:
        raise RecordingError(f"{path}: samples are {period:g} s apart in the median: are the times in seconds?")
    force = float(np.median(np.linalg.norm(table[:, 1:4], axis=1)))
    if not _GRAVITY[0] <= force <= _GRAVITY[1]:
        raise RecordingError(
            f"{path}: the specific force is {force:.3g} in the median, not gravity's 9.8 m/s^2: "
            "expected the columns Time dt accelX accelY accelZ omegaX omegaY omegaZ"
        )
    return table


def _fixes(path: Path) -> FloatArray:
    table, header = _table(path, [_LOCAL, _GEODETIC], [0, 1, 2, 3])
    if header != 1:
        return table
    if np.abs(table[:, 1]).max() > 90.0 or np.abs(table[:, 2]).max() > 180.0:
        raise RecordingError(f"{path}: holds latitudes beyond 90 or longitudes beyond 180 degrees")
    frame = LocalFrame(*table[0, 1:4].tolist())
    return np.array([(row[0], *frame.to_map(*row[1:4])) for row in table.tolist()])


def _table(path: Path, headers: list[tuple[str, ...]], otherwise: list[int]) -> tuple[FloatArray, int | None]:
    """The columns that the first fitting one of ``headers`` names, and its number; else those at ``otherwise``. Lines
    with numbers that are none are left out as long as they are few."""
    columns, lost = otherwise, 0
    fitting: int | None = None
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not rows and not lost and words and not _is_number(words[0]):
            fitting, columns = _columns(words, headers, otherwise)
            continue
        if not words or words[0].startswith("#"):
            continue
        if len(words) <= max(columns):
            raise RecordingError(f"{path}: line {number}: expected {max(columns) + 1} numbers, found {len(words)}")
        try:
            values = [float(words[i]) for i in columns]
        except ValueError as error:
            raise RecordingError(f"{path}: line {number}: {error}") from error
        if np.isfinite(values).all():
            rows.append(values)
        else:
            lost += 1
    if len(rows) < _FEWEST or lost > _MOST_LOST * len(rows):
        raise RecordingError(
            f"{path}: {len(rows)} lines of finite numbers and {lost} of others, expected at least {_FEWEST} "
            "and hardly any of those"
        )
    table = np.array(rows)
    if not np.all(np.diff(table[:, 0]) > 0.0):
        raise RecordingError(f"{path}: times do not rise")
    return table, fitting


def _columns(words: list[str], headers: list[tuple[str, ...]], otherwise: list[int]) -> tuple[int | None, list[int]]:
    names = [re.sub("[^a-z]", "", re.split(r"[\[(]", word.lower())[0]) for word in words]
    names = [name for name in names if name]  # the # of a comment
    for number, header in enumerate(headers):
        at = [next((i for i, name in enumerate(names) if re.fullmatch(wanted, name)), None) for wanted in header]
        found = [i for i in at if i is not None]
        if len(found) == len(header):
            return number, found
    return None, otherwise


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
