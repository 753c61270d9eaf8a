"""How well the headings of vehicles are known, front and rear not told apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from robotaxi.evaluation.perception_case import GROUPS
from robotaxi.types import FloatArray, RecordArray

BANDS = ((0.0, 15.0), (15.0, 30.0), (30.0, 40.0), (40.0, 50.0))  # m from base_link
_SAME = 2.0  # m
_WRONG_DEG = 20.0


def heading_errors(truth: RecordArray, predictions: RecordArray) -> dict[str, Any]:
    """By range band, of predicted vehicles (PREDICTION_DTYPE) within 2 m of an annotated one (TRUTH_DTYPE): the median
    and 90th percentile of the heading's error, and the share that is wrong by more than 20 degrees."""
    vehicles = truth[np.isin(truth["label"], GROUPS["vehicle"])]
    ours = predictions[np.isin(predictions["label"], GROUPS["vehicle"])]
    ranges, errors = [], []
    for frame in np.unique(ours["frame"]):
        there, mine = vehicles[vehicles["frame"] == frame], ours[ours["frame"] == frame]
        if len(there) == 0:
            continue
        distance = np.hypot(mine["x"][:, None] - there["x"], mine["y"][:, None] - there["y"])
        nearest = distance.argmin(axis=1)
        same = distance.min(axis=1) < _SAME
        turn = mine["yaw"] - there["yaw"][nearest]
        errors.append(np.degrees(np.abs((turn + np.pi / 2) % np.pi - np.pi / 2))[same])
        ranges.append(np.hypot(mine["x"], mine["y"])[same])
    away, error = (np.concatenate([np.zeros(0), *parts]) for parts in (ranges, errors))
    return {f"{lo:g}-{hi:g}": _band(error[(away >= lo) & (away < hi)]) for lo, hi in BANDS}


def _band(errors: FloatArray) -> dict[str, Any]:
    if len(errors) == 0:
        return {"vehicles": 0, "p50_deg": None, "p90_deg": None, "wrong": None}
    p50, p90 = np.percentile(errors, [50, 90])
    wrong = float((errors > _WRONG_DEG).mean())
    return {"vehicles": len(errors), "p50_deg": round(float(p50), 2), "p90_deg": round(float(p90), 2),
            "wrong": round(wrong, 4)}  # fmt: skip
