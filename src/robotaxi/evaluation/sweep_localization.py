"""Scan matching alone on a folder of sweeps with poses: every other sweep makes the map, the rest are found on it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization.config import MappingConfig
from robotaxi.localization.map_match import MapMatcher, MatchConfig, PoseFix
from robotaxi.localization.point_map import LINE, PointMap
from robotaxi.localization.scan import cartesian, thin, within
from robotaxi.localization.sweep_match import compensated
from robotaxi.localization.tiles import MapInfo, write_map
from robotaxi.types import FloatArray, LidarSweep, RecordArray

_PLACES = 20
_PATIENCE_NS = 5_000_000_000
_RIGHT, _RIGHT_TURN = 0.5, math.radians(3.0)
_ENOUGH = 20  # sweeps, fewer make no map
_STANDS = 5.0  # m, no more than poses scatter about a car that stands


class SweepSource(Protocol):
    """What a folder of sweeps gives; see `robotaxi.bags.sweep_folder`."""

    @property
    def name(self) -> str: ...
    @property
    def stamps_ns(self) -> list[int]: ...
    @property
    def load(self) -> Callable[[int], RecordArray]: ...
    @property
    def references(self) -> dict[str, FloatArray]: ...
    @property
    def is_truth(self) -> bool: ...
    def __len__(self) -> int: ...


def localize_sweeps(sequence: SweepSource, T_base_lidar: FloatArray, places: int = _PLACES) -> dict[str, Any]:
    """Figures of one sequence: how well sweeps are followed from sweep to sweep, and found again from nothing.
    ``T_base_lidar`` (4x4): base_link on the road below the lidar."""
    out: dict[str, Any] = {"sweeps": len(sequence), "held": True, "why": "", "reference": "none"}
    if not sequence.references or len(sequence) < _ENOUGH:
        return {**out, "says": f"{len(sequence)} sweeps without poses" if sequence.references == {} else "too short"}
    name, poses = upright(sequence.references)
    T = T_base_lidar @ poses @ inverse(T_base_lidar)  # of base_link, in base_link of the first pose
    with tempfile.TemporaryDirectory() as scratch:
        info = _map(sequence, poses, T_base_lidar, Path(scratch))
        errors, fixes = _follow(sequence, T, T_base_lidar, info)
        found = [_find(sequence, T, T_base_lidar, info, k) for k in _spread(len(sequence), places)]
    accepted = float(np.mean([fix.accepted for fix in fixes]))
    right = sum(row["right"] for row in found) / len(found)
    times = [row["after_s"] for row in found if row["right"]]
    figures = {
        "reference": name,
        "reference_is_truth": sequence.is_truth,
        "matches_accepted": accepted,
        "position_rms_m": float(np.sqrt(np.mean(errors[:, 0] ** 2))) if len(errors) else math.nan,
        "position_max_m": float(errors[:, 0].max()) if len(errors) else math.nan,
        "heading_rms_deg": float(np.degrees(np.sqrt(np.mean(errors[:, 1] ** 2)))) if len(errors) else math.nan,
        "places": len(found),
        "right_within_5_s": right,
        "time_s_p50": float(np.median(times)) if times else math.nan,
    }
    held = right >= 0.99 and accepted >= 0.95
    says = (
        f"{100 * accepted:.0f} % matched, {100 * figures['position_rms_m']:.1f} cm from the poses, "
        f"{100 * right:.0f} % of {len(found)} places found from nothing"
    )
    return {**out, **figures, "held": held, "why": "" if held else "was not followed or found everywhere", "says": says}


def upright(references: dict[str, FloatArray]) -> tuple[str, FloatArray]:
    """The reading of the poses under which the car drives forward (x) and not up or sideways. ValueError where it does
    under none."""

    def share(name: str) -> float:
        moved = np.array([(inverse(a) @ b)[:3, 3] for a, b in pairwise(references[name])])
        whole = np.abs(moved).sum()
        return float(np.abs(moved[:, 0]).sum() / whole) if whole > _STANDS else 1.0

    best = max(references, key=share)
    if share(best) < 0.5:
        raise ValueError(f"by the poses of {best} the car drives sideways: whose they are takes a calib.txt with 'Tr'")
    return best, references[best]


def _map(sequence: SweepSource, poses: FloatArray, T_base_lidar: FloatArray, folder: Path) -> MapInfo:
    config = MappingConfig()
    target = PointMap(config.voxel_size, config.per_voxel, config.spacing, config.plane_radius)
    T = T_base_lidar @ poses @ inverse(T_base_lidar)
    for i in range(0, len(sequence), 2):
        points = cartesian(_at_stamp(sequence, i, T, T_base_lidar).points)
        points = thin(points[within(points, 2.5, 60.0)], 0.35)
        target.insert(apply(T_base_lidar @ poses[i], points))
    points, plane, kind = target.with_planes()
    useful = kind != LINE
    return write_map(
        folder, points[useful], plane[useful], kind[useful], (0.0, 0.0, 0.0), 50.0, config.voxel_size, config.spacing,
        [sequence.name],
    )  # fmt: skip


def _follow(
    sequence: SweepSource, T: FloatArray, T_base_lidar: FloatArray, info: MapInfo
) -> tuple[FloatArray, list[PoseFix]]:
    """(M, 2) distance (m) and turn (rad) from the poses of every other sweep, guessed from the two before."""
    matcher = MapMatcher(MatchConfig(), info)
    fixes: list[PoseFix] = []
    errors: list[tuple[float, float]] = []
    before, now = T[0], T[0]
    motion = inverse(T[0]) @ T[1]
    for i in range(1, len(sequence), 2):
        guess = T[1] if i == 1 else now @ motion
        fix = matcher.fix(_at_stamp(sequence, i, T, T_base_lidar), guess)
        fixes.append(fix)
        before, now = now, fix.T_map_base if fix.accepted else guess
        if i > 1:
            motion = inverse(before) @ now
        if fix.accepted:
            errors.append(_off(T[i], now))
    return np.array(errors).reshape(-1, 2), fixes


def _find(
    sequence: SweepSource, T: FloatArray, T_base_lidar: FloatArray, info: MapInfo, begin: int
) -> dict[str, Any]:  # fmt: skip
    """From nothing at sweep ``begin`` on; the car drives on meanwhile."""
    matcher = MapMatcher(MatchConfig(), info)
    for i in range(begin, len(sequence)):
        if sequence.stamps_ns[i] - sequence.stamps_ns[begin] > _PATIENCE_NS:
            break
        fix = matcher.step(LidarSweep(sequence.stamps_ns[i], sequence.load(i), T_base_lidar), None)
        if fix.accepted:
            off, turned = _off(T[i], fix.T_map_base)
            after = (sequence.stamps_ns[i] - sequence.stamps_ns[begin]) * 1e-9
            return {"sweep": begin, "right": off < _RIGHT and turned < _RIGHT_TURN, "after_s": after}
    return {"sweep": begin, "right": False, "after_s": math.nan}


def _at_stamp(sequence: SweepSource, i: int, T: FloatArray, T_base_lidar: FloatArray) -> LidarSweep:
    """Sweep i as if measured at its stamp, by the motion that ``T`` (N, 4, 4), the poses of base_link, tell."""
    sweep = LidarSweep(sequence.stamps_ns[i], sequence.load(i), T_base_lidar)
    if i == 0:
        return sweep
    return compensated(sweep, inverse(T[i - 1]) @ T[i], (sequence.stamps_ns[i] - sequence.stamps_ns[i - 1]) * 1e-9)


def _spread(count: int, places: int) -> list[int]:
    """Sweeps to begin at, with two seconds or more left."""
    last = max(1, count - 30)
    return sorted(set(np.linspace(1, last, min(places, last)).astype(int).tolist()))


def _off(truth: FloatArray, found: FloatArray) -> tuple[float, float]:
    step = inverse(truth) @ found
    return float(np.linalg.norm(step[:3, 3])), abs(math.atan2(step[1, 0], step[0, 0]))
