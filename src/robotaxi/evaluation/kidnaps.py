"""Re-initialisation: the localizer is made to believe in a wrong place, or in none, and must find the right one.

Three kinds in turn. ``believed``: a pose far away is believed to 0.3 m, and no satellite says otherwise. ``nothing``:
neither pose nor satellites. ``gnss``: a pose far away is believed, and GNSS is there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.evaluation.drive_log import SensorLog
from robotaxi.evaluation.localization import Case, ticks
from robotaxi.localization import RoughPose
from robotaxi.localization.tiles import MapInfo
from robotaxi.types import FloatArray

KINDS = ("believed", "nothing", "gnss")
WITHIN = 5.0  # s
_RIGHT, _RIGHT_TURN = 0.5, math.radians(3.0)  # as near the truth as that is right
_HELD = 0.5  # s for which it must stay right
_S = 1_000_000_000


@dataclass
class _Kidnap:
    kind: str
    begin_ns: int
    case: Case
    right_since_ns: int | None = None
    right_at: float | None = None
    wrong_but_sure: bool = False


def kidnap(
    log: SensorLog, origin: tuple[float, float, float], lever_arm: FloatArray, info: MapInfo, count: int, first: int = 0
) -> list[dict[str, Any]]:
    """``count`` kidnaps spread evenly over the drive; ``first``: number of the first, which settles its kind."""
    if log.truth is None:
        raise ValueError(f"{log.name}: has no true poses to judge by")
    begin, end = log.imu[0].stamp_ns + _S, log.imu[-1].stamp_ns - round((WITHIN + _HELD + 0.1) * _S)
    if end <= begin or count < 1:
        return []
    starts = np.linspace(begin, end, count).astype(np.int64).tolist()
    rng = np.random.default_rng(first)
    truth, running, out = log.truth, [], []
    number = first
    for sample, report, fixes, sweep in ticks(log):
        now = sample.stamp_ns
        while starts and now >= starts[0]:
            starts.pop(0)
            running.append(_begin(KINDS[number % 3], now, log, origin, lever_arm, info, rng))
            number += 1
        for item in running:
            result = item.case.step(sample, report, list(fixes) if item.kind == "gnss" else [], sweep)
            x, y, _, yaw = truth.at(np.array([now]))[0]
            state = result.state
            off = math.inf if state is None else math.hypot(state.x - x, state.y - y)
            turned = math.inf if state is None else abs(math.remainder(state.yaw - yaw, 2.0 * math.pi))
            right = off < _RIGHT and turned < _RIGHT_TURN
            item.right_since_ns = (item.right_since_ns or now) if right else None
            since = item.right_since_ns
            if item.right_at is None and since is not None and now - since >= _HELD * _S:
                item.right_at = (since - item.begin_ns) / _S
            late = now - item.begin_ns > WITHIN * _S
            if late and state is not None and result.status == "good" and off > result.protection_lateral + _RIGHT:
                item.wrong_but_sure = True
        done = [item for item in running if now - item.begin_ns > (WITHIN + _HELD) * _S]
        running = [item for item in running if item not in done]
        out += [_figures(item) for item in done]
    return out


def _begin(
    kind: str, now: int, log: SensorLog, origin: tuple[float, float, float], lever_arm: FloatArray, info: MapInfo,
    rng: np.random.Generator,
) -> _Kidnap:  # fmt: skip
    if kind == "nothing":
        return _Kidnap(kind, now, Case(origin, lever_arm, info))
    cell = list(info.tiles)[int(rng.integers(len(info.tiles)))]
    x, y = (np.array(cell) + rng.random(2)) * info.tile_size
    believed = RoughPose(now, float(x), float(y), float(rng.uniform(-math.pi, math.pi)), 0.3, 0.1)
    case = Case(origin, lever_arm, info)
    case.believe(believed)
    return _Kidnap(kind, now, case)


def _figures(item: _Kidnap) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "at_s": item.begin_ns / _S,
        "right_after_s": item.right_at,
        "right": item.right_at is not None and item.right_at <= WITHIN,
        "sure_of_a_wrong_place": item.wrong_but_sure,
    }


def sum_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all kidnaps."""
    times = [row["right_after_s"] for row in rows if row["right"]]
    return {
        "places": len(rows),
        "right_within_5_s": sum(row["right"] for row in rows) / len(rows) if rows else math.nan,
        "time_s_p50": float(np.median(times)) if times else math.nan,
        "time_s_max": float(np.max(times)) if times else math.nan,
        "sure_of_a_wrong_place": sum(row["sure_of_a_wrong_place"] for row in rows),
        "by_kind": {
            kind: sum(r["right"] for r in rows if r["kind"] == kind) / max(1, sum(r["kind"] == kind for r in rows))
            for kind in KINDS
        },
    }
