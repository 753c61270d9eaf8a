"""The localizer over many drives, healthy and with faults, summed up against what it must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from robotaxi.evaluation.drive_log import SensorLog
from robotaxi.evaluation.localization import figures, jump, localize, rain, silence
from robotaxi.localization.keyframes import Keyframes, extract
from robotaxi.localization.mapping import MappingConfig, make_map
from robotaxi.localization.tiles import MapInfo, write_map
from robotaxi.types import FloatArray

_S = 1_000_000_000
_FAULT_FROM = 10 * _S  # after the first reading
_TUNNEL, _JUMP = 60 * _S, 10 * _S
LIMITS = {
    "lateral_rms_m": 0.03,
    "longitudinal_rms_m": 0.05,
    "heading_rms_deg": 0.1,
    "lateral_max_m": 0.15,
    "outside_protection": 0.001,
    "tunnel_max_m": 0.20,
    "jump_moves_m": 0.05,
}


def run_cases(
    log: SensorLog, origin: tuple[float, float, float], lever_arm: FloatArray, info: MapInfo | None
) -> dict[str, Any]:
    """Figures of one drive by case: healthy, rain, tunnel (no fixes for a minute), jump (fixes 30 m off for 10 s)."""
    begin = log.imu[0].stamp_ns + _FAULT_FROM
    healthy = localize(log, origin, lever_arm, info)
    wet = localize(log, origin, lever_arm, info, sweep_fault=rain(1))
    dark = localize(log, origin, lever_arm, info, fix_fault=silence(begin, begin + _TUNNEL))
    jumped = localize(log, origin, lever_arm, info, fix_fault=jump(begin, begin + _JUMP, 30.0))
    moved = np.hypot(*(jumped.pose - healthy.pose)[:, :2].T)
    during = (jumped.stamps_ns >= begin) & (jumped.stamps_ns < begin + _JUMP) & np.isfinite(moved)
    inside = (dark.stamps_ns >= begin) & (dark.stamps_ns < begin + _TUNNEL) & np.isfinite(dark.error[:, 0])
    return {
        "healthy": figures(healthy),
        "rain": figures(wet),
        "tunnel": {
            **figures(dark),
            "worst_in_tunnel_m": float(np.hypot(*dark.error[inside][:, :2].T).max()) if inside.any() else None,
        },
        "jump": {**figures(jumped), "pose_moved_m": float(moved[during].max()) if during.any() else None},
    }


def sum_up(drives: dict[str, dict[str, Any]]) -> tuple[dict[str, float], dict[str, bool]]:
    """Over all drives, each weighed by its samples; and which of `LIMITS` hold."""

    def rows(case: str) -> list[dict[str, Any]]:
        return [d[case] for d in drives.values() if d[case].get("samples")]

    def rms(key: str) -> float:
        known = [*rows("healthy"), *rows("rain")]
        weight = np.array([r["samples"] for r in known], float)
        return float(np.sqrt(np.sum(weight * np.array([r[key] for r in known]) ** 2) / weight.sum()))

    every = [r for case in ("healthy", "rain", "tunnel", "jump") for r in rows(case)]
    weight = np.array([r["samples"] for r in every], float)
    total = {
        "lateral_rms_m": rms("lateral_rms_m"),
        "longitudinal_rms_m": rms("longitudinal_rms_m"),
        "heading_rms_deg": rms("heading_rms_deg"),
        "lateral_max_m": max(r["lateral_max_m"] for r in [*rows("healthy"), *rows("rain")]),
        "outside_protection": float(
            np.sum(weight * (1.0 - np.array([r["inside_protection"] for r in every]))) / weight.sum()
        ),
        "tunnel_max_m": max((r["worst_in_tunnel_m"] or 0.0) for r in rows("tunnel")),
        "jump_moves_m": max((r["pose_moved_m"] or 0.0) for r in rows("jump")),
    }
    return total, {key: bool(total[key] <= limit) for key, limit in LIMITS.items()}


def map_of(
    logs: list[SensorLog],
    folder: Any,
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
    progress: Callable[[int, int], None] | None = None,
) -> MapInfo:
    """A localization map made of the logs' sensor readings (not of their truth)."""
    drives: list[Keyframes] = []
    for number, log in enumerate(logs):
        if log.T_base_lidar is None:
            raise ValueError(f"{log.name}: does not say where its lidar is")
        drives.append(
            extract(log.imu, log.reports, log.fixes, log.sweeps, log.T_base_lidar, origin, lever_arm, log.truth is None)
        )
        if progress is not None:
            progress(number + 1, len(logs))
    config = MappingConfig()
    made = make_map(config, drives)
    names = [log.name for log in logs]
    return write_map(folder, made.points, made.plane, made.kind, origin, 50.0, config.voxel_size, config.spacing, names)
