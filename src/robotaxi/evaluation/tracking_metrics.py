"""MOTA, IDF1 and identity switches.

Bernardin and Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics" (2008);
Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking" (2016). Definitions as
in the `motmetrics` package, against which they were checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from robotaxi.types import FloatArray, RecordArray

_FAR = 1e6


def score_tracks(truth: RecordArray, tracks: RecordArray, max_range: float, threshold: float = 2.0) -> dict[str, Any]:
    """``truth`` TRUTH_DTYPE, ``tracks`` PREDICTION_DTYPE with ids, both of the classes to be scored.

    Annotations that need not be found, or lie beyond ``max_range`` (m), and what meets nothing but them, count
    for nothing. A pair holds when the centres lie within ``threshold`` m.
    """
    frames = np.unique(np.concatenate([truth["frame"], tracks["frame"]]))
    partner: dict[int, int] = {}  # truth id -> track id of its last match
    wanted = false = missed = switches = matched = fragments = 0
    distance_sum = 0.0
    was_seen: dict[int, bool] = {}
    pairs: dict[tuple[int, int], int] = {}
    truth_frames: dict[int, int] = {}
    track_frames: dict[int, int] = {}
    for frame in frames:
        rows, ours = truth[truth["frame"] == frame], tracks[tracks["frame"] == frame]
        counted = rows["counted"] & (np.hypot(rows["x"], rows["y"]) < max_range)
        distance = np.hypot(rows["x"][:, None] - ours["x"], rows["y"][:, None] - ours["y"])
        ours, distance = _without_ignored(ours, distance, counted, max_range, threshold)
        rows, distance = rows[counted], distance[counted]
        found = _pair(rows, ours, distance, partner, threshold)
        wanted += len(rows)
        false += len(ours) - len(found)
        missed += len(rows) - len(found)
        matched += len(found)
        seen = {int(rows["id"][i]) for i, _ in found}
        for identity in rows["id"].tolist():
            fragments += identity in seen and identity in partner and not was_seen[identity]
            was_seen[identity] = identity in seen
        for i, j in found:
            truth_id, track_id = int(rows["id"][i]), int(ours["id"][j])
            distance_sum += float(distance[i, j])
            switches += partner.get(truth_id, track_id) != track_id
            partner[truth_id] = track_id
        for identity in rows["id"].tolist():
            truth_frames[identity] = truth_frames.get(identity, 0) + 1
        for identity in ours["id"].tolist():
            track_frames[identity] = track_frames.get(identity, 0) + 1
        for i, j in zip(*np.nonzero(distance < threshold), strict=True):
            key = (int(rows["id"][i]), int(ours["id"][j]))
            pairs[key] = pairs.get(key, 0) + 1
    return {
        "annotated": wanted,
        "mota": round(1.0 - (missed + false + switches) / wanted, 4) if wanted else None,
        "motp_m": round(distance_sum / matched, 3) if matched else None,
        "idf1": _idf1(pairs, truth_frames, track_frames),
        "id_switches": int(switches),
        "fragmentations": int(fragments),
        "missed": missed,
        "false": false,
        "tracks": len(track_frames),
        "annotated_tracks": len(truth_frames),
    }


def _without_ignored(
    ours: RecordArray, distance: FloatArray, counted: NDArray[np.bool_], max_range: float, threshold: float
) -> tuple[RecordArray, FloatArray]:
    """Drop tracks that meet no annotation that counts and lie where nobody looked, too far off, or on one that
    need not be found."""
    meets = (distance[counted] < threshold).any(axis=0)
    excused = ours["ignored"] | (np.hypot(ours["x"], ours["y"]) >= max_range)
    excused |= (distance[~counted] < threshold).any(axis=0)
    keep = meets | ~excused
    return ours[keep], distance[:, keep]


def _pair(
    rows: RecordArray, ours: RecordArray, distance: FloatArray, partner: dict[int, int], threshold: float
) -> list[tuple[int, int]]:
    """Old pairs stay as long as they hold; the rest is assigned at the least total distance."""
    found = []
    free_rows, free_ours = list(range(len(rows))), list(range(len(ours)))
    place = {int(identity): j for j, identity in enumerate(ours["id"])}
    for i in range(len(rows)):
        j = place.get(partner.get(int(rows["id"][i]), -1), -1)
        if j in free_ours and distance[i, j] < threshold:
            found.append((i, j))
            free_rows.remove(i)
            free_ours.remove(j)
    if free_rows and free_ours:
        cost = np.where(distance < threshold, distance, _FAR)[np.ix_(free_rows, free_ours)]
        for a, b in zip(*linear_sum_assignment(cost), strict=True):
            if cost[a, b] < _FAR:
                found.append((free_rows[a], free_ours[b]))
    return found


def _idf1(pairs: dict[tuple[int, int], int], truth: dict[int, int], tracks: dict[int, int]) -> float | None:
    """One identity each for the whole recording, so that most frames agree."""
    if not truth:
        return None
    if not tracks:
        return 0.0
    truth_ids, track_ids = sorted(truth), sorted(tracks)
    gain = np.array([[pairs.get((a, b), 0) for b in track_ids] for a in truth_ids], float)
    agreeing = float(gain[linear_sum_assignment(-gain)].sum())
    return round(2.0 * agreeing / (sum(truth.values()) + sum(tracks.values())), 4)
