"""How often objects that stand where a road user is carry its class, and how often things that are none carry one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from robotaxi.evaluation.perception_case import CLASS_NAMES
from robotaxi.types import FloatArray, ObjectClass, RecordArray

REACH, NEAR = 45.0, 2.0  # m: how far is looked, and how near an object must be to be that road user
AHEAD = np.radians(32.0)  # to either side: what a front camera sees


def class_accuracy(truth: RecordArray, objects: RecordArray) -> dict[str, Any]:
    """``truth`` TRUTH_DTYPE and ``objects`` PREDICTION_DTYPE of all frames. Of those ahead, and of all around."""
    return {"ahead": _accuracy(truth, objects, AHEAD), "around": _accuracy(truth, objects, np.pi)}


def _accuracy(truth: RecordArray, objects: RecordArray, angle: float) -> dict[str, Any]:
    said: dict[int, list[int]] = {int(kind): [] for kind in CLASS_NAMES}
    nothing = 0
    for frame in np.unique(truth["frame"]):
        rows = truth[truth["frame"] == frame]
        ours = objects[(objects["frame"] == frame) & ~objects["ignored"]]
        distance = np.hypot(rows["x"][:, None] - ours["x"], rows["y"][:, None] - ours["y"])
        at, by = linear_sum_assignment(distance)
        near = distance[at, by] < NEAR
        for i, j in zip(at[near], by[near], strict=True):
            if rows["counted"][i] and int(rows["label"][i]) in said and _within(rows[i : i + 1], angle)[0]:
                said[int(rows["label"][i])].append(int(ours["label"][j]))
        lone = np.ones(len(ours), bool)
        lone[by[near]] = False
        # what touches a road user is a piece of it, not a thing of its own
        lone &= (distance > 0.5 * rows["length"][:, None] + NEAR).all(axis=0)
        nothing += int((lone & (ours["label"] != ObjectClass.UNKNOWN) & _within(ours, angle)).sum())
    words = {int(kind): name for kind, name in CLASS_NAMES.items()} | {int(ObjectClass.UNKNOWN): "unknown"}
    out: dict[str, Any] = {}
    for kind, name in CLASS_NAMES.items():
        labels = said[int(kind)]
        counts = {words[k]: labels.count(k) for k in sorted(set(labels))}
        right = labels.count(int(kind))
        out[name] = {"matched": len(labels), "right": round(right / len(labels), 4) if labels else None, "said": counts}
    total = sum(len(labels) for labels in said.values())
    good = sum(labels.count(kind) for kind, labels in said.items())
    return {
        "matched": total,
        "right": round(good / total, 4) if total else None,
        "by_class": out,
        "classes_of_nothing": nothing,
    }


def _within(rows: RecordArray, angle: float) -> NDArray[np.bool_]:
    bearing: FloatArray = np.abs(np.arctan2(rows["y"], rows["x"]))
    result: NDArray[np.bool_] = (bearing <= angle) & (np.hypot(rows["x"], rows["y"]) < REACH)
    return result
