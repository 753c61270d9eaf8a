"""The first half of map making: from one drive's readings to keyframes, each a sweep with what is known of its pose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.lidar_odometry import LidarOdometry, OdometryConfig, twist_of
from robotaxi.localization.localizer import Localizer
from robotaxi.localization.readings import map_position, usable_fix
from robotaxi.localization.scan import cartesian, deskew, thin, within
from robotaxi.types import FloatArray, GnssFix, ImuSample, RecordArray, VehicleReport, point_times

_ROWS, _COLUMNS = 40, 360  # of a range image: 1.25 by 1 degrees
_LOWEST, _HIGHEST = math.radians(-30.0), math.radians(20.0)
_SPACING, _TURN = 2.0, math.radians(10.0)  # between two keyframes
_THINNING, _RANGE_MIN, _RANGE_MAX = 0.35, 2.5, 60.0


@dataclass(frozen=True)
class Keyframes:
    """K keyframes of one drive. ``prior`` (K, 4, 4) T_map_base by the filter; ``odometry`` (K, 4, 4) T_odometry_base;
    ``antenna`` (K, 3) in map, NaN where there is no fix, with ``antenna_sigma`` (K,); ``points`` (N, 3) float32 in
    base_link with ``first`` (K + 1,) where each keyframe's begin; ``ranges`` (K, rows, columns) nearest echo by
    direction from the lidar, 0 for none; ``T_base_lidar`` (4, 4); ``lever_arm`` (3,)."""

    stamps_ns: np.ndarray
    prior: FloatArray
    odometry: FloatArray
    antenna: FloatArray
    antenna_sigma: FloatArray
    points: np.ndarray
    first: np.ndarray
    ranges: np.ndarray
    T_base_lidar: FloatArray
    lever_arm: FloatArray

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def sweep(self, k: int) -> FloatArray:
        """Points (N, 3) of keyframe ``k`` in base_link."""
        return self.points[self.first[k] : self.first[k + 1]].astype(np.float64)

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, **{f.name: getattr(self, f.name) for f in fields(self)})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Keyframes:
        with np.load(path, allow_pickle=False) as data:
            return cls(**{f.name: data[f.name] for f in fields(cls)})


def extract(
    imu: Sequence[ImuSample],
    reports: Sequence[VehicleReport],
    fixes: Sequence[GnssFix],
    stamps_ns: Sequence[int],
    sweeps: Iterable[tuple[int, RecordArray]],
    T_base_lidar: FloatArray,
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
    progress: Callable[[int, int], None] | None = None,
) -> Keyframes:
    """Filter, lidar odometry, keyframes. ``stamps_ns``: of ``sweeps``. Points that carry their time are moved to
    their sweep's stamp.

    Without inertial samples or fixes the odometry alone gives the poses. Raises ValueError without sweeps.
    """
    if not stamps_ns:
        raise ValueError("the drive has no lidar sweeps")
    priors = _filter_poses(imu, reports, fixes, list(stamps_ns), origin, lever_arm)
    odometry = LidarOdometry(OdometryConfig(range_min=_RANGE_MIN))
    T_lidar_base = inverse(T_base_lidar)
    frame = LocalFrame(*origin)
    good = [f for f in fixes if usable_fix(f)]
    fix_stamps = np.array([f.stamp_ns for f in good], np.int64)
    rows: list[tuple[int, FloatArray, FloatArray, FloatArray, float]] = []
    clouds, images = [], []
    last_prior: FloatArray | None = None
    for i, (stamp, records) in enumerate(sweeps):
        points = cartesian(records)
        when = point_times(records)
        period = (stamp - stamps_ns[i - 1]) * 1e-9 if i else 0.1
        prior = priors[i]
        guess = None
        if prior is not None and last_prior is not None:
            guess = T_lidar_base @ inverse(last_prior) @ prior @ T_base_lidar
        odometry.step(points, when, period, guess)
        last_prior = prior
        pose = T_base_lidar @ odometry.pose @ T_lidar_base
        if progress is not None:
            progress(i + 1, len(stamps_ns))
        if prior is None and len(good) > 0:
            continue  # before the filter has started
        if rows and not _moved(rows[-1][2], pose):
            continue
        keep = within(points, _RANGE_MIN, _RANGE_MAX)
        points = points[keep]
        if when is not None:
            points = deskew(points, when[keep], twist_of(odometry.motion, period))
        images.append(range_image(points))
        clouds.append(apply(T_base_lidar, thin(points, _THINNING)).astype(np.float32))
        antenna: FloatArray = np.full(3, np.nan)
        sigma = math.nan
        if len(good):
            j = int(np.argmin(np.abs(fix_stamps - stamp)))
            if abs(int(fix_stamps[j]) - stamp) <= 20_000_000:
                antenna, sigma = map_position(frame, good[j]), float(np.max(good[j].sigma[:2]))
        rows.append((stamp, pose if prior is None else prior, pose, antenna, sigma))
    if not rows:
        raise ValueError(f"the filter never started: {len(fixes)} fixes, {len(reports)} vehicle reports")
    stamps, prior_poses, odometry_poses, antennas, sigmas = zip(*rows, strict=True)
    return Keyframes(
        np.array(stamps, np.int64), np.array(prior_poses), np.array(odometry_poses), np.array(antennas),
        np.array(sigmas), np.concatenate(clouds), np.cumsum([0, *map(len, clouds)]), np.array(images),
        np.asarray(T_base_lidar), np.asarray(lever_arm, np.float64),
    )  # fmt: skip


def _moved(before: FloatArray, now: FloatArray) -> bool:
    step = inverse(before) @ now
    return math.hypot(step[0, 3], step[1, 3]) >= _SPACING or abs(math.atan2(step[1, 0], step[0, 0])) >= _TURN


def _filter_poses(
    imu: Sequence[ImuSample],
    reports: Sequence[VehicleReport],
    fixes: Sequence[GnssFix],
    stamps: list[int],
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
) -> list[FloatArray | None]:
    """T_map_base at each stamp, None where the filter knows none."""
    out: list[FloatArray | None] = [None] * len(stamps)
    if not imu or not fixes:
        return out
    localizer = Localizer(LocalizationConfig(), origin, lever_arm)
    r = f = s = 0
    for sample in imu:
        while r + 1 < len(reports) and reports[r + 1].stamp_ns <= sample.stamp_ns:
            r += 1
        begin = f
        while f < len(fixes) and fixes[f].stamp_ns <= sample.stamp_ns:
            f += 1
        localizer.step(sample, reports[r] if reports else None, fixes[begin:f])
        while s < len(stamps) and stamps[s] <= sample.stamp_ns:
            out[s] = localizer.pose_at(stamps[s])
            s += 1
    return out


def direction(points: FloatArray) -> tuple[np.ndarray, np.ndarray, FloatArray]:
    """Row, column and range of points (N, 3) about the lidar in a range image; row -1 for out of view."""
    distance = np.linalg.norm(points, axis=1)
    elevation = np.arcsin(points[:, 2] / np.maximum(distance, 1e-6))
    row = np.floor((elevation - _LOWEST) / (_HIGHEST - _LOWEST) * _ROWS).astype(np.int64)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    column = np.floor((azimuth + math.pi) / (2.0 * math.pi) * _COLUMNS).astype(np.int64) % _COLUMNS
    return np.where((row >= 0) & (row < _ROWS), row, -1), column, distance


def range_image(points: FloatArray) -> np.ndarray:
    """(rows, columns) float32 nearest echo by direction, 0 for none."""
    row, column, distance = direction(points)
    inside = row >= 0
    image = np.full((_ROWS, _COLUMNS), np.inf, np.float32)
    np.minimum.at(image, (row[inside], column[inside]), distance[inside].astype(np.float32))
    image[~np.isfinite(image)] = 0.0
    return image
