"""The localizer over recorded sensor data, timed as its node times it, and how far it is from the truth."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robotaxi.evaluation.drive_log import SensorLog
from robotaxi.localization import LocalizationConfig, Localizer
from robotaxi.localization.map_match import MapMatcher, MatchConfig, PoseFix
from robotaxi.localization.tiles import MapInfo
from robotaxi.types import FloatArray, GnssFix, LidarSweep, RecordArray

MATCH_DELAY_NS = 80_000_000  # from a sweep's stamp until its match is used, as in the node
_SETTLE = 5.0  # s after the start that are not judged: the filter is still converging

FixFault = Callable[[GnssFix], "GnssFix | None"]
SweepFault = Callable[[int, RecordArray], "RecordArray | None"]


@dataclass
class Run:
    """By step (N,): ``stamps_ns``, ``error`` (N, 3) longitudinal, lateral (m) and heading (rad), NaN while there is no
    pose; ``protection`` (N, 2) longitudinal and lateral; ``status`` names. ``match_ms``, ``step_us``: on one core."""

    stamps_ns: FloatArray
    pose: FloatArray
    error: FloatArray
    protection: FloatArray
    status: list[str]
    matches: list[PoseFix] = field(default_factory=list)
    match_ms: list[float] = field(default_factory=list)
    step_us: list[float] = field(default_factory=list)


def localize(
    log: SensorLog,
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
    info: MapInfo | None,
    fix_fault: FixFault | None = None,
    sweep_fault: SweepFault | None = None,
    config: LocalizationConfig | None = None,
) -> Run:
    """Run over the log, with scan matching where ``info`` is given. The log must have true poses."""
    if log.truth is None or log.T_base_lidar is None:
        raise ValueError(f"{log.name}: has no true poses to judge by")
    localizer = Localizer(config or LocalizationConfig(), origin, lever_arm)
    matcher = MapMatcher(MatchConfig(), info) if info is not None else None
    sweeps = dict(log.sweeps)
    waiting: list[tuple[int, PoseFix]] = []
    run = Run(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), [])
    stamps, poses, protections = [], [], []
    r = f = 0
    for sample in log.imu:
        now = sample.stamp_ns
        while r + 1 < len(log.reports) and log.reports[r + 1].stamp_ns <= now:
            r += 1
        fixes = []
        while f < len(log.fixes) and log.fixes[f].stamp_ns <= now:
            fix = fix_fault(log.fixes[f]) if fix_fault else log.fixes[f]
            if fix is not None:
                fixes.append(fix)
            f += 1
        due = [match for at, match in waiting if at <= now]
        waiting = [(at, match) for at, match in waiting if at > now]
        started = time.thread_time()
        result = localizer.step(sample, log.reports[r], fixes, due)
        run.step_us.append((time.thread_time() - started) * 1e6)
        records = sweeps.get(now)
        guess = localizer.pose_at(now)
        if matcher is not None and records is not None and guess is not None:
            if sweep_fault is not None:
                records = sweep_fault(now, records)
            if records is not None:
                started = time.thread_time()
                found = matcher.fix(LidarSweep(now, records, log.T_base_lidar), guess)
                run.match_ms.append((time.thread_time() - started) * 1e3)
                run.matches.append(found)
                waiting.append((now + MATCH_DELAY_NS, found))
        stamps.append(now)
        run.status.append(result.status)
        state = result.state
        poses.append((math.nan,) * 3 if state is None else (state.x, state.y, state.yaw))
        protections.append((result.protection_longitudinal, result.protection_lateral))
    run.stamps_ns, run.pose, run.protection = np.array(stamps), np.array(poses), np.array(protections)
    run.error = _error(run.pose, log.truth.at(run.stamps_ns))
    return run


def _error(pose: FloatArray, truth: FloatArray) -> FloatArray:
    dx, dy = pose[:, 0] - truth[:, 0], pose[:, 1] - truth[:, 1]
    cos, sin = np.cos(truth[:, 3]), np.sin(truth[:, 3])
    turn = pose[:, 2] - truth[:, 3]
    return np.stack([cos * dx + sin * dy, -sin * dx + cos * dy, np.arctan2(np.sin(turn), np.cos(turn))], axis=1)


def figures(run: Run) -> dict[str, Any]:
    """Errors after the first seconds, and how honest the protection level was."""
    settled = (run.stamps_ns - run.stamps_ns[0]) * 1e-9 >= min(_SETTLE, 0.2 * len(run.stamps_ns) * 0.02)
    known = settled & np.isfinite(run.error[:, 0])
    error, level = run.error[known], run.protection[known]
    if not len(error):
        return {"samples": 0, "availability": 0.0}
    inside = (np.abs(error[:, 0]) <= level[:, 0]) & (np.abs(error[:, 1]) <= level[:, 1])
    share = {name: float(np.mean([s == name for s, k in zip(run.status, known, strict=True) if k]))
             for name in ("good", "degraded", "lost")}  # fmt: skip
    return {
        "samples": len(error),
        "availability": float(known.sum() / settled.sum()),
        "lateral_rms_m": float(np.sqrt(np.mean(error[:, 1] ** 2))),
        "longitudinal_rms_m": float(np.sqrt(np.mean(error[:, 0] ** 2))),
        "heading_rms_deg": float(np.degrees(np.sqrt(np.mean(error[:, 2] ** 2)))),
        "lateral_max_m": float(np.abs(error[:, 1]).max()),
        "position_max_m": float(np.hypot(error[:, 0], error[:, 1]).max()),
        "inside_protection": float(inside.mean()),
        "protection_lateral_median_m": float(np.median(level[:, 1])),
        "status": share,
        "matches": len(run.matches),
        "matches_accepted": float(np.mean([m.accepted for m in run.matches])) if run.matches else 0.0,
        "match_ms_p50": float(np.median(run.match_ms)) if run.match_ms else math.nan,
        "match_ms_p99": float(np.percentile(run.match_ms, 99)) if run.match_ms else math.nan,
        "step_us_p50": float(np.median(run.step_us)),
    }


# ---------------------------------------------------------------------------- faults


def jump(begin_ns: int, end_ns: int, metres: float) -> FixFault:
    """Fixes between the two stamps lie so far north."""

    def fault(fix: GnssFix) -> GnssFix:
        if not begin_ns <= fix.stamp_ns < end_ns:
            return fix
        return dataclasses.replace(fix, latitude_deg=fix.latitude_deg + math.degrees(metres / 6.371e6))

    return fault


def silence(begin_ns: int, end_ns: int) -> FixFault:
    """No fixes between the two stamps."""
    return lambda fix: None if begin_ns <= fix.stamp_ns < end_ns else fix


def rain(seed: int) -> SweepFault:
    """Each sweep loses a third of its points, and one in fifty is a drop nearby."""

    def fault(stamp_ns: int, records: RecordArray) -> RecordArray:
        rng = np.random.default_rng([seed, stamp_ns])
        out = records[rng.random(len(records)) > 0.33].copy()
        drops = rng.random(len(out)) < 0.02
        distance = np.sqrt(out["x"] ** 2 + out["y"] ** 2 + out["z"] ** 2)
        factor = rng.uniform(2.0, 15.0, len(out)) / np.maximum(distance, 1.0)
        for name in "xyz":
            out[name] = np.where(drops, out[name] * factor, out[name])
        return out

    return fault
