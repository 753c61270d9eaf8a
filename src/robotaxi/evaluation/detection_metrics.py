"""Precision, recall and average precision by centre distance (nuScenes' definition).

Caesar et al., "nuScenes: A multimodal dataset for autonomous driving" (CVPR 2020), section 3.1: predictions in
order of their score take the nearest annotation of their class in their frame that is still free, if its centre lies
within the threshold; AP is the mean of precision over recalls from 0.1 on, less the 0.1 that nobody wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robotaxi.evaluation.perception_case import GROUPS
from robotaxi.types import FloatArray, RecordArray

THRESHOLDS = (0.5, 1.0, 2.0, 4.0)  # m
BANDS = ((0.0, 25.0), (25.0, 50.0), (50.0, 75.0), (0.0, 30.0), (0.0, 40.0), (0.0, 50.0))  # m from base_link
PREDICTION_DTYPE = np.dtype(
    [
        ("frame", "<i4"),
        ("id", "<i8"),  # of the track, 0 for none
        ("label", "u1"),
        ("x", "<f8"),  # base_link, m
        ("y", "<f8"),
        ("yaw", "<f8"),
        ("score", "<f8"),
        ("ignored", "?"),  # lies where nobody annotated: cannot be wrong
    ]
)
_RECALLS = np.linspace(0.0, 1.0, 101)
_LEAST_RECALL, _LEAST_PRECISION = 0.1, 0.1
_REPORT_AT = 2.0  # m, for precision and recall at the working point


def score_detections(truth: RecordArray, predictions: RecordArray) -> dict[str, Any]:
    """AP at each threshold, precision, recall and counts, by group and range band.

    ``truth`` TRUTH_DTYPE, ``predictions`` PREDICTION_DTYPE of all frames. None stands where a band holds no
    annotation. A prediction that meets an annotation which need not be found counts for nothing.
    """
    out: dict[str, Any] = {}
    for group, classes in GROUPS.items():
        wanted = truth[np.isin(truth["label"], classes)]
        others = truth[~np.isin(truth["label"], classes) & ~truth["counted"]]
        ours = predictions[np.isin(predictions["label"], classes)]
        out[group] = {f"{lo:g}-{hi:g}": _band(wanted, others, ours, lo, hi) for lo, hi in BANDS}
    return out


def _band(wanted: RecordArray, others: RecordArray, ours: RecordArray, lo: float, hi: float) -> dict[str, Any]:
    ranges = np.hypot(wanted["x"], wanted["y"])
    counted = wanted["counted"] & (ranges >= lo) & (ranges < hi)
    total = int(counted.sum())
    result: dict[str, Any] = {"annotated": total}
    curves = [_match(wanted, counted, others, ours, lo, hi, threshold) for threshold in THRESHOLDS]
    for threshold, (hit, _) in zip(THRESHOLDS, curves, strict=True):
        result[f"ap_{threshold:g}m"] = _average_precision(hit, total)
        if threshold == _REPORT_AT:
            result["predicted"] = len(hit)
            result["precision"] = round(float(hit.mean()), 4) if len(hit) else None
            result["recall"] = round(float(hit.sum()) / total, 4) if total else None
    result["center_error_p50_m"] = _median(curves[THRESHOLDS.index(_REPORT_AT)][1])
    return result


def _match(
    wanted: RecordArray,
    counted: np.ndarray,
    others: RecordArray,
    ours: RecordArray,
    lo: float,
    hi: float,
    threshold: float,
) -> tuple[np.ndarray, FloatArray]:
    """Of the predictions that count, best first: which hit; and the centre distances of the hits."""
    taken = np.zeros(len(wanted), bool)
    in_frame = _by_frame(wanted)
    others_in_frame = _by_frame(others)
    hits: list[bool] = []
    distances: list[float] = []
    nothing = np.zeros(0, np.intp)
    for k in np.argsort(-ours["score"], kind="stable"):
        prediction = ours[k]
        rows = in_frame.get(int(prediction["frame"]), nothing)
        rows = rows[~taken[rows]]
        distance = np.hypot(wanted["x"][rows] - prediction["x"], wanted["y"][rows] - prediction["y"])
        if len(rows) and distance.min() < threshold:
            best = rows[int(distance.argmin())]
            taken[best] = True
            if counted[best]:
                hits.append(True)
                distances.append(float(distance.min()))
            continue
        reach = float(np.hypot(prediction["x"], prediction["y"]))
        if prediction["ignored"] or not lo <= reach < hi:
            continue
        rows = others_in_frame.get(int(prediction["frame"]), nothing)
        near = np.hypot(others["x"][rows] - prediction["x"], others["y"][rows] - prediction["y"])
        if len(rows) and near.min() < max(threshold, _REPORT_AT):
            continue
        hits.append(False)
    return np.array(hits, bool), np.array(distances)


def _by_frame(rows: RecordArray) -> dict[int, np.ndarray]:
    return {int(f): np.flatnonzero(rows["frame"] == f) for f in np.unique(rows["frame"])}


def _average_precision(hit: np.ndarray, total: int) -> float | None:
    if total == 0:
        return None
    if not hit.any():
        return 0.0
    found = np.cumsum(hit)
    precision, recall = found / np.arange(1, len(hit) + 1), found / total
    curve = np.interp(_RECALLS, recall, precision, right=0.0)
    part = curve[round(100 * _LEAST_RECALL) + 1 :] - _LEAST_PRECISION
    return round(float(np.maximum(part, 0.0).mean() / (1.0 - _LEAST_PRECISION)), 4)


def _median(values: FloatArray) -> float | None:
    return round(float(np.median(values)), 3) if len(values) else None


def found_within(
    truth: RecordArray, places: Sequence[RecordArray], max_range: float, min_points: int, threshold: float
) -> dict[str, Any]:
    """How many annotated vehicles nearer than ``max_range`` with ``min_points`` returns or more have a detection
    of any class and any of the sources ``places`` (PREDICTION_DTYPE) within ``threshold`` m."""
    near = np.isin(truth["label"], GROUPS["vehicle"]) & (np.hypot(truth["x"], truth["y"]) < max_range)
    near &= truth["counted"] & (truth["points"] >= min_points)
    rows = truth[near]
    every = np.concatenate(list(places)) if places else np.zeros(0, PREDICTION_DTYPE)
    missed = []
    for row in rows:
        same = every[every["frame"] == row["frame"]]
        distance = np.hypot(same["x"] - row["x"], same["y"] - row["y"])
        if len(same) == 0 or distance.min() > threshold:
            closest = round(float(distance.min()), 2) if len(same) else None
            missed.append({"frame": int(row["frame"]), "id": int(row["id"]), "points": int(row["points"]),
                           "range_m": round(float(np.hypot(row["x"], row["y"])), 1), "closest_m": closest})  # fmt: skip
    share = 1.0 - len(missed) / len(rows) if len(rows) else None
    return {"annotated": len(rows), "share": None if share is None else round(share, 4), "missed": missed[:50]}
