"""Our lidar odometry and KISS-ICP on the same sweeps, turn about, so that both meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from robotaxi.evaluation.odometry import map_thickness, relative_error
from robotaxi.localization.lidar_odometry import LidarOdometry, OdometryConfig
from robotaxi.localization.scan import cartesian
from robotaxi.types import FloatArray, RecordArray, point_times

_THIN = 25  # every so many points of a sweep go into the picture of its thickness
_FEWEST_POINTS = 100  # of a sweep that is given to the methods
_TOLERANCE = 1.02  # errors and times within 2 % count as the same


@dataclass
class Contender:
    """One method at work. ``wall`` and ``cpu``: seconds a sweep."""

    step: Callable[[FloatArray, FloatArray | None, float], FloatArray]
    poses: list[FloatArray] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, points: FloatArray, when: FloatArray | None, period: float) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        pose = self.step(points, when, period)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        self.poses.append(np.array(pose))

    def stay(self) -> None:
        """A sweep without returns: nothing says that the car moved."""
        self.poses.append(self.poses[-1] if self.poses else np.eye(4))


def ours(config: OdometryConfig | None = None) -> Contender:
    odometry = LidarOdometry(config or OdometryConfig())

    def step(points: FloatArray, when: FloatArray | None, period: float) -> FloatArray:
        odometry.step(points, when, period)
        return odometry.pose

    return Contender(step)


def kiss_icp() -> Contender:
    """KISS-ICP as it is published, with its own defaults. Raises ImportError where it is not installed."""
    from kiss_icp.config import KISSConfig
    from kiss_icp.kiss_icp import KissICP

    config = KISSConfig()
    config.data.deskew = False
    config.mapping.voxel_size = config.data.max_range / 100.0  # as its own `load_config` sets it
    pipeline: dict[bool, Any] = {}

    def step(points: FloatArray, when: FloatArray | None, period: float) -> FloatArray:
        skewed = when is not None
        if skewed not in pipeline:
            config.data.deskew = skewed
            pipeline[skewed] = KissICP(config)
        pipeline[skewed].register_frame(points, when if when is not None else np.zeros(0))
        return pipeline[skewed].last_pose

    return Contender(step)


def compare(
    count: int,
    load: Callable[[int], RecordArray],
    stamps_ns: list[int],
    references: dict[str, FloatArray],
    is_truth: bool,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Figures of one sequence; see the keys. ``references``: candidate true poses of the lidar, by name."""
    contenders = {"robotaxi": ours(), "kiss_icp": kiss_icp()}
    pictures: list[FloatArray] = []
    for i in range(count):
        records = load(i)
        points = cartesian(records)
        finite = np.isfinite(points).all(axis=1)
        points = points[finite]
        when = point_times(records[finite])
        period = (stamps_ns[i] - stamps_ns[i - 1]) * 1e-9 if i else 0.1
        names = list(contenders)
        for name in names if i % 2 == 0 else reversed(names):
            if len(points) >= _FEWEST_POINTS:
                contenders[name].take(points, when, period)
            else:
                contenders[name].stay()
        if i % 2 == 0:
            distance = np.linalg.norm(points, axis=1)
            pictures.append(points[(distance > 2.0) & (distance < 40.0)][::_THIN])
        if progress is not None:
            progress(i + 1, count)
    if not contenders["robotaxi"].wall:
        raise ValueError(f"none of its {count} sweeps has {_FEWEST_POINTS} points")
    poses = {name: np.array(c.poses) for name, c in contenders.items()}
    out: dict[str, Any] = {"sweeps": count, "reference": "none", "reference_is_truth": is_truth}
    best = _reference(references, poses)
    for name, contender in contenders.items():
        # the first sweeps of both fill caches and maps
        warm = slice(min(5, len(contender.wall) // 2), None)
        figures: dict[str, Any] = {
            "map_thickness_m": map_thickness(pictures, poses[name][::2]),
            "wall_ms_p50": float(np.median(contender.wall[warm]) * 1e3),
            "wall_ms_p99": float(np.percentile(contender.wall[warm], 99) * 1e3),
            "cpu_ms_p50": float(np.median(contender.cpu[warm]) * 1e3),
        }
        if best:
            figures.update(asdict(relative_error(references[best], poses[name])))
        out[name] = figures
    if best:
        out["reference"] = best
        out["drift_between_m"] = float(np.linalg.norm(poses["robotaxi"][-1][:3, 3] - poses["kiss_icp"][-1][:3, 3]))
    return {**out, **verdict(out, bool(best) and is_truth)}


def _reference(references: dict[str, FloatArray], poses: dict[str, FloatArray]) -> str:
    """The candidate that both methods agree with best: whose poses a file holds is often not said."""

    def misfit(name: str) -> float:
        errors = [relative_error(references[name], p) for p in poses.values()]
        return sum(e.step_translation for e in errors)

    return min(references, key=misfit, default="")


def _ratio(mine: float, theirs: float) -> float:
    """Of errors; 1 where neither makes one. ValueError where there is none to compare."""
    if not (np.isfinite(mine) and np.isfinite(theirs)):
        raise ValueError("it is too short, or its sweeps hold too few points, to be judged")
    if theirs > 0.0:
        return mine / theirs
    return 1.0 if mine == 0.0 else np.inf


def verdict(figures: dict[str, Any], by_truth: bool) -> dict[str, Any]:
    """Is ours no worse and no slower? By true poses where there are any, else by the thickness of the map."""
    mine, theirs = figures["robotaxi"], figures["kiss_icp"]
    key = "map_thickness_m"
    if by_truth:
        key = "translation_percent" if np.isfinite(theirs["translation_percent"]) else "step_translation"
    return {
        "judged_by": key,
        "error_ratio": _ratio(mine[key], theirs[key]),
        "wall_ratio": mine["wall_ms_p50"] / theirs["wall_ms_p50"],
        "cpu_ratio": mine["cpu_ms_p50"] / theirs["cpu_ms_p50"],
        "accurate": bool(mine[key] <= _TOLERANCE * theirs[key]),
        "quick": bool(mine["wall_ms_p50"] <= _TOLERANCE * theirs["wall_ms_p50"]),
    }
