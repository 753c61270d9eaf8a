"""The localizer over recorded sensor data, timed as its node times it, and how far it is from the truth."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robotaxi.evaluation.drive_log import SensorLog, Truth
from robotaxi.geometry.se3 import transform
from robotaxi.localization import Localization, LocalizationConfig, Localizer, RoughPose
from robotaxi.localization.map_match import MatchConfig, PoseFix
from robotaxi.localization.sweep_match import SweepMatcher
from robotaxi.localization.tiles import MapInfo
from robotaxi.types import EgoState, FloatArray, GnssFix, ImuSample, LidarSweep, RecordArray, VehicleReport

MATCH_DELAY_NS = 80_000_000  # from a sweep's stamp until its match is used, as in the node
_TIMED_RUNS = 3
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
    points: list[int] = field(default_factory=list)  # of each sweep matched


class Case:
    """The localizer and, where ``info`` is given, scan matching over one drive, fed as the nodes feed them: the matcher
    sees what is published and its match counts `MATCH_DELAY_NS` later."""

    def __init__(
        self,
        origin: tuple[float, float, float],
        lever_arm: FloatArray,
        info: MapInfo | None,
        fix_fault: FixFault | None = None,
        sweep_fault: SweepFault | None = None,
        config: LocalizationConfig | None = None,
        odometry: bool = False,
    ) -> None:
        self.localizer = Localizer(config or LocalizationConfig(), origin, lever_arm)
        self._matcher = SweepMatcher(MatchConfig(), info) if info is not None or odometry else None
        self._fix_fault, self._sweep_fault = fix_fault, sweep_fault
        self._given: RoughPose | None = None
        self._waiting: list[tuple[int, PoseFix]] = []
        self._stamps: list[int] = []
        self._poses: list[tuple[float, float, float]] = []
        self._protections: list[tuple[float, float]] = []
        self._inputs: list[tuple[Any, ...]] = []
        self._begin = lambda: Localizer(config or LocalizationConfig(), origin, lever_arm)
        self._run = Run(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), [])
        self.first_pose_ns: int | None = None
        self.first_fix_ns: int | None = None

    def believe(self, pose: RoughPose) -> None:
        """Make the filter start at this pose with the next tick; the matcher is not told."""
        self._given = pose

    def step(
        self, sample: ImuSample, report: VehicleReport, fixes: list[GnssFix], sweep: LidarSweep | None
    ) -> Localization:
        """One tick of the drive."""
        now, run = sample.stamp_ns, self._run
        if self._fix_fault is not None:
            fixes = [fix for fix in map(self._fix_fault, fixes) if fix is not None]
        if fixes and self.first_fix_ns is None:
            self.first_fix_ns = now
        due = [match for at, match in self._waiting if at <= now]
        self._waiting = [(at, match) for at, match in self._waiting if at > now]
        given, self._given = self._given, None
        self._inputs.append((sample, report, fixes, due, given))
        result = self.localizer.step(sample, report, fixes, due, given)
        state = result.state
        if self._matcher is not None and sweep is not None:
            self._match(self._matcher, sweep, state)
        if state is not None and self.first_pose_ns is None:
            self.first_pose_ns = now
        self._stamps.append(now)
        run.status.append(result.status)
        self._poses.append((math.nan,) * 3 if state is None else (state.x, state.y, state.yaw))
        self._protections.append((result.protection_longitudinal, result.protection_lateral))
        return result

    def _match(self, matcher: SweepMatcher, sweep: LidarSweep, state: EgoState | None) -> None:
        records: RecordArray | None = sweep.points
        if self._sweep_fault is not None:
            records = self._sweep_fault(sweep.stamp_ns, sweep.points)
        if records is None:
            return
        guess = None if state is None else transform(state.x, state.y, state.z, yaw=state.yaw)
        started = time.thread_time()
        found = matcher.step(LidarSweep(sweep.stamp_ns, records, sweep.T_base_lidar), guess)
        self._run.match_ms.append((time.thread_time() - started) * 1e3)
        self._run.matches.append(found)
        self._run.points.append(len(records))
        self._waiting.append((sweep.stamp_ns + MATCH_DELAY_NS, found))

    def _timed(self) -> list[float]:
        """Each step of the filter again, alone as in its own process: the best of three runs, since the steps are the
        same to the bit and what differs is what else the machine does."""
        runs = []
        for _ in range(_TIMED_RUNS):
            localizer, taken = self._begin(), []
            for inputs in self._inputs:
                started = time.thread_time_ns()
                localizer.step(*inputs)
                taken.append((time.thread_time_ns() - started) * 1e-3)
            runs.append(taken)
        return [float(t) for t in np.min(runs, axis=0)]

    def finish(self, truth: Truth) -> Run:
        """What happened, judged by the truth."""
        run = self._run
        run.step_us = self._timed()
        run.stamps_ns = np.array(self._stamps)
        run.pose, run.protection = np.array(self._poses), np.array(self._protections)
        run.error = _error(run.pose, truth.at(run.stamps_ns))
        return run


Tick = tuple[ImuSample, VehicleReport, list[GnssFix], "LidarSweep | None"]


def ticks(log: SensorLog) -> Iterator[Tick]:
    """The drive tick by tick: each inertial sample with the newest vehicle report, the fixes since the tick before and
    the sweep of this moment."""
    if log.T_base_lidar is None:
        raise ValueError(f"{log.name}: does not say where its lidar is")
    if not log.imu or not log.reports:
        raise ValueError(f"{log.name}: has {len(log.imu)} inertial samples and {len(log.reports)} vehicle reports")
    sweeps = iter(log.sweeps)
    sweep = next(sweeps, None)
    r = f = 0
    for sample in log.imu:
        now = sample.stamp_ns
        while r + 1 < len(log.reports) and log.reports[r + 1].stamp_ns <= now:
            r += 1
        begin = f
        while f < len(log.fixes) and log.fixes[f].stamp_ns <= now:
            f += 1
        seen = None
        while sweep is not None and sweep[0] <= now:
            seen = LidarSweep(sweep[0], sweep[1], log.T_base_lidar)
            sweep = next(sweeps, None)
        yield sample, log.reports[r], log.fixes[begin:f], seen


def localize_all(
    log: SensorLog, cases: Sequence[Case], progress: Callable[[int, int], None] | None = None
) -> list[Run]:
    """All cases over one reading of the log, which must have true poses."""
    if log.truth is None:
        raise ValueError(f"{log.name}: has no true poses to judge by")
    for k, (sample, report, fixes, sweep) in enumerate(ticks(log)):
        for case in cases:
            case.step(sample, report, list(fixes), sweep)
        if progress is not None and k % 50 == 49:
            progress(k + 1, len(log.imu))
    return [case.finish(log.truth) for case in cases]


def localize(
    log: SensorLog,
    origin: tuple[float, float, float],
    lever_arm: FloatArray,
    info: MapInfo | None,
    fix_fault: FixFault | None = None,
    sweep_fault: SweepFault | None = None,
    config: LocalizationConfig | None = None,
) -> Run:
    """One case over the log, with scan matching where ``info`` is given."""
    return localize_all(log, [Case(origin, lever_arm, info, fix_fault, sweep_fault, config)])[0]


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
        "match_points": float(np.median(run.points)) if run.points else 0.0,
        "match_ms_p50": float(np.median(run.match_ms)) if run.match_ms else math.nan,
        "match_ms_p99": float(np.percentile(run.match_ms, 99)) if run.match_ms else math.nan,
        "step_us_p50": float(np.median(run.step_us)),
        "step_us_p99": float(np.percentile(run.step_us, 99)),
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
