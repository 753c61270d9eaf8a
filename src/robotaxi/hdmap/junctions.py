"""Which lanes form a junction, for sources that do not say so.

Members are the lanes that the file gives a turn direction (Autoware does so inside intersections
only), or where it gives none, those that branch from or merge with others. Members that share a
predecessor or successor, or that come near each other, belong together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robotaxi.geometry.polyline import resample
from robotaxi.hdmap.assemble import LaneDraft

NEAR = 2.5  # m between centre lines
SAMPLE = 1.0  # m
MAX_LENGTH = 80.0  # m: a longer lane is a road that happens to branch


def derive_junctions(drafts: Iterable[LaneDraft]) -> None:
    """Set ``junction_id`` of the drafts, numbered from 1 in the order of their smallest lane id."""
    lanes = {draft.id: draft for draft in sorted(drafts, key=lambda d: d.id)}
    before: dict[int, list[int]] = {lane_id: [] for lane_id in lanes}
    for lane in lanes.values():
        for successor in sorted(lane.successors):
            before[successor].append(lane.id)
    members = [lane for lane in lanes.values() if lane.turn_direction is not None]
    if not members:
        members = [
            lane
            for lane in lanes.values()
            if (
                any(len(lanes[b].successors) > 1 for b in before[lane.id])
                or any(len(before[s]) > 1 for s in lane.successors)
            )
            and float(np.linalg.norm(lane.center[-1] - lane.center[0])) < MAX_LENGTH
        ]
    samples = {lane.id: resample(lane.center[:, :2], SAMPLE) for lane in members}
    group = {lane.id: lane.id for lane in members}

    def root(lane_id: int) -> int:
        while group[lane_id] != lane_id:
            lane_id = group[lane_id]
        return lane_id

    for i, a in enumerate(members):
        for b in members[i + 1 :]:
            together = bool(a.successors & b.successors) or not set(before[a.id]).isdisjoint(before[b.id])
            if together or _near(samples[a.id], samples[b.id]):
                low, high = sorted((root(a.id), root(b.id)))
                group[high] = low
    numbers: dict[int, int] = {}
    for lane in members:
        lane.junction_id = numbers.setdefault(root(lane.id), len(numbers) + 1)


def _near(a: np.ndarray, b: np.ndarray) -> bool:
    if np.any(a.min(axis=0) - NEAR > b.max(axis=0)) or np.any(b.min(axis=0) - NEAR > a.max(axis=0)):
        return False
    gap = a[:, None, :] - b[None, :, :]
    return float(np.einsum("ijk,ijk->ij", gap, gap).min()) < NEAR**2
