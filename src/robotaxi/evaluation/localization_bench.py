"""The localizer over many drives, healthy and with faults, summed up against what it must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.evaluation import kidnaps
from robotaxi.evaluation.drive_log import SensorLog
from robotaxi.evaluation.localization import Case, Run, figures, jump, localize_all, rain, silence
from robotaxi.localization.config import MappingConfig
from robotaxi.localization.keyframes import Keyframes, extract
from robotaxi.localization.mapping import make_map
from robotaxi.localization.tiles import MapInfo, write_map
from robotaxi.types import FloatArray

_S = 1_000_000_000
_FAULT_FROM = 10 * _S  # after the first reading
_TUNNEL, _JUMP = 60 * _S, 10 * _S
FAULTS = ("rain", "tunnel", "first_visit", "jump")
LIMITS = {
    "lateral_rms_m": 0.03,
    "longitudinal_rms_m": 0.05,
    "heading_rms_deg": 0.1,
    "lateral_max_m": 0.15,
    "outside_protection": 0.001,
    "tunnel_max_m": 0.20,
    "jump_moves_m": 0.05,
    "first_pose_s": 1.0,
    "kidnaps_missed": 0.01,
    "kidnaps_sure_of_a_wrong_place": 0.0,
}
TIME_LIMITS = {"match_ms_p50": 15.0, "match_ms_p99": 30.0, "step_us_p50": 50.0}


def run_cases(
    log: SensorLog,
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
    info: MapInfo | None,
    faults: Iterable[str] = FAULTS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Figures of one drive by case: healthy, and of rain, tunnel (no fixes for a minute) and jump (fixes 30 m off for
    10 s) those that are asked for."""
    begin = log.imu[0].stamp_ns + _FAULT_FROM if log.imu else 0
    cases = {"healthy": Case(origin, lever_arm, info)}
    for fault in faults:
        cases[fault] = {
            "rain": lambda: Case(origin, lever_arm, info, sweep_fault=rain(1)),
            "tunnel": lambda: Case(origin, lever_arm, info, silence(begin, begin + _TUNNEL)),
            "first_visit": lambda: Case(origin, lever_arm, None, silence(begin, begin + _TUNNEL), odometry=True),
            "jump": lambda: Case(origin, lever_arm, info, jump(begin, begin + _JUMP, 30.0)),
        }[fault]()
    runs = dict(zip(cases, localize_all(log, list(cases.values()), progress), strict=True))
    out = {name: figures(run) for name, run in runs.items()}
    healthy = cases["healthy"]
    if healthy.first_pose_ns is not None and healthy.first_fix_ns is not None:
        out["healthy"]["first_pose_s"] = (healthy.first_pose_ns - healthy.first_fix_ns) / _S
    if "tunnel" in runs:
        out["tunnel"]["worst_in_tunnel_m"] = _worst(runs["tunnel"], begin, begin + _TUNNEL)
    if "first_visit" in runs:
        out["first_visit"]["worst_in_tunnel_m"] = _worst(runs["first_visit"], begin, begin + _TUNNEL)
    if "jump" in runs:
        out["jump"]["pose_moved_m"] = _moved(runs["jump"], runs["healthy"], begin, begin + _JUMP)
    return out


def _worst(run: Run, begin: int, end: int) -> float | None:
    inside = (run.stamps_ns >= begin) & (run.stamps_ns < end) & np.isfinite(run.error[:, 0])
    return float(np.hypot(*run.error[inside][:, :2].T).max()) if inside.any() else None


def _moved(run: Run, healthy: Run, begin: int, end: int) -> float | None:
    moved = np.hypot(*(run.pose - healthy.pose)[:, :2].T)
    during = (run.stamps_ns >= begin) & (run.stamps_ns < end) & np.isfinite(moved)
    return float(moved[during].max()) if during.any() else None


def sum_up(
    drives: dict[str, dict[str, Any]], kidnapped: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, bool]]:
    """Over all drives, each weighed by its samples; and which limits hold. What was not measured is left out."""

    def rows(*cases: str) -> list[dict[str, Any]]:
        return [d[case] for d in drives.values() for case in cases if d.get(case, {}).get("samples")]

    driven, every = rows("healthy", "rain"), rows("healthy", *FAULTS)
    total: dict[str, Any] = {"drives_judged": len(drives), "samples": sum(r["samples"] for r in every)}
    if driven:
        weight = np.array([r["samples"] for r in driven], float)
        for key in ("lateral_rms_m", "longitudinal_rms_m", "heading_rms_deg"):
            total[key] = float(np.sqrt(np.sum(weight * np.array([r[key] for r in driven]) ** 2) / weight.sum()))
        total["lateral_max_m"] = max(r["lateral_max_m"] for r in driven)
        weight = np.array([r["samples"] for r in every], float)
        outside = 1.0 - np.array([r["inside_protection"] for r in every])
        total["outside_protection"] = float(np.sum(weight * outside) / weight.sum())
        total["step_us_p50"] = float(np.median([r["step_us_p50"] for r in every]))
        total["step_us_p99"] = max(r["step_us_p99"] for r in every)
    for key, case, name in (
        ("tunnel_max_m", "tunnel", "worst_in_tunnel_m"),
        ("first_visit_max_m", "first_visit", "worst_in_tunnel_m"),
        ("jump_moves_m", "jump", "pose_moved_m"),
        ("first_pose_s", "healthy", "first_pose_s"),
    ):
        values = [r[name] for r in rows(case) if r.get(name) is not None]
        if values:
            total[key] = max(values)
    matched = [r for r in rows("healthy") if r["matches"]]
    if matched:
        total["match_points_p50"] = float(np.median([r["match_points"] for r in matched]))
        total["match_ms_p50"] = float(np.median([r["match_ms_p50"] for r in matched]))
        total["match_ms_p99"] = float(np.median([r["match_ms_p99"] for r in matched]))
    if kidnapped:
        total["kidnaps"] = kidnaps.sum_up(kidnapped)
        total["kidnaps_sure_of_a_wrong_place"] = total["kidnaps"]["sure_of_a_wrong_place"]
        total["kidnaps_missed"] = 1.0 - total["kidnaps"]["right_within_5_s"]
    limits = {**LIMITS, **TIME_LIMITS}
    return total, {key: bool(total[key] <= limit + 1e-9) for key, limit in limits.items() if key in total}


def map_of(
    logs: Iterable[SensorLog],
    folder: str | Path,
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
) -> MapInfo:
    """A localization map made of the logs' sensor readings (not of their truth); one log in memory at a time."""
    drives: list[Keyframes] = []
    names = []
    for log in logs:
        if log.T_base_lidar is None:
            raise ValueError(f"{log.name}: does not say where its lidar is")
        drives.append(
            extract(
                log.imu, log.reports, log.fixes, log.sweeps.stamps_ns, log.sweeps, log.T_base_lidar, origin, lever_arm
            )
        )  # fmt: skip
        names.append(log.name)
    config = MappingConfig()
    made = make_map(config, drives)
    return write_map(folder, made.points, made.plane, made.kind, origin, 50.0, config.voxel_size, config.spacing, names)
