"""The lane map as flat arrays, so that matching and following lanes run in compiled loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

SPACING = 1.0  # m between samples of a centerline
BOX_MARGIN = 4.0  # m added around a lane's points to find candidate lanes quickly
MAX_MATCHES = 4  # lanes one pose may match, e.g. overlapping lanes in a junction
YAW_COST = 2.0  # metres of lateral offset that one radian of heading error weighs


class LaneGraph:
    """Centerlines resampled to 1 m and concatenated; lanes are known by index, in order of id.

    ``x, y, yaw, half_width, curvature``: (P,) samples of all lanes; lane ``i`` owns the samples
    ``start[i] : start[i] + count[i]``, ``spacing[i]`` metres apart.
    """

    def __init__(self, lane_map: LaneMap) -> None:
        self.ids = tuple(sorted(lane_map.lanes))
        self.index = {lane_id: i for i, lane_id in enumerate(self.ids)}
        lanes = [lane_map.lanes[i] for i in self.ids]
        self.length = np.array([lane.length for lane in lanes], float)
        self.successors = tuple(tuple(self.index[s] for s in lane.successors if s in self.index) for lane in lanes)
        self.predecessors = tuple(tuple(self.index[p] for p in lane.predecessors if p in self.index) for lane in lanes)
        xs, ys, yaws, widths, curvatures, counts, spacings = [], [], [], [], [], [], []
        for lane in lanes:
            n = max(2, math.ceil(lane.length / SPACING) + 1)
            s = np.linspace(0.0, lane.length, n)
            x = np.interp(s, lane.s, lane.centerline[:, 0])
            y = np.interp(s, lane.s, lane.centerline[:, 1])
            yaw = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
            width = np.linalg.norm(lane.left[:, :2] - lane.right[:, :2], axis=1)
            xs.append(x)
            ys.append(y)
            yaws.append(yaw)
            widths.append(0.5 * np.interp(s, lane.s, width))
            step = float(s[1] - s[0])
            curvatures.append(np.gradient(yaw) / max(step, 1e-6))
            counts.append(n)
            spacings.append(step)
        self.count = np.array(counts, np.int64)
        self.start = np.concatenate([[0], np.cumsum(self.count)[:-1]]).astype(np.int64) if lanes else self.count
        self.spacing = np.array(spacings, float)
        empty = [np.zeros(0)]
        self.x = np.concatenate(xs or empty)
        self.y = np.concatenate(ys or empty)
        self.yaw = np.concatenate(yaws or empty)
        self.half_width = np.concatenate(widths or empty)
        self.curvature = np.concatenate(curvatures or empty)
        self.boxes = np.array(
            [
                [x.min() - BOX_MARGIN, x.max() + BOX_MARGIN, y.min() - BOX_MARGIN, y.max() + BOX_MARGIN]
                for x, y in zip(xs, ys, strict=True)
            ]
        ).reshape(-1, 4)

    def match(
        self,
        x: FloatArray,
        y: FloatArray,
        yaw: FloatArray,
        two_way: NDArray[np.bool_],
        max_yaw_error: float,
        margin: float,
    ) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        """Lanes under each pose, best first.

        ``two_way``: the pose may as well point backwards (heading of a standing object is unsure).
        Returns lane index (-1: none), arc length, offset (left positive) and cost, each (N, 4).
        """
        return _match(
            x, y, yaw, two_way, self.boxes, self.start, self.count, self.spacing,
            self.x, self.y, self.yaw, self.half_width, max_yaw_error, margin,
        )  # fmt: skip


@njit(cache=True)
def _match(px, py, pyaw, two_way, boxes, start, count, spacing, x, y, yaw, half_width, max_yaw_error, margin):  # type: ignore[no-untyped-def]
    n = px.shape[0]
    lane_out = np.full((n, MAX_MATCHES), -1, np.int64)
    s_out = np.zeros((n, MAX_MATCHES))
    offset_out = np.zeros((n, MAX_MATCHES))
    cost_out = np.full((n, MAX_MATCHES), np.inf)
    for i in range(n):
        for lane in range(boxes.shape[0]):
            if px[i] < boxes[lane, 0] or px[i] > boxes[lane, 1] or py[i] < boxes[lane, 2] or py[i] > boxes[lane, 3]:
                continue
            best, best_d = start[lane], np.inf
            for k in range(start[lane], start[lane] + count[lane]):
                d = (x[k] - px[i]) ** 2 + (y[k] - py[i]) ** 2
                if d < best_d:
                    best, best_d = k, d
            dx, dy = px[i] - x[best], py[i] - y[best]
            c, s = math.cos(yaw[best]), math.sin(yaw[best])
            along, offset = c * dx + s * dy, -s * dx + c * dy
            if abs(offset) > half_width[best] + margin or abs(along) > 1.5 * SPACING:
                continue
            error = abs((pyaw[i] - yaw[best] + math.pi) % (2.0 * math.pi) - math.pi)
            if two_way[i]:
                error = min(error, math.pi - error)
            if error > max_yaw_error:
                continue
            cost = abs(offset) + YAW_COST * error
            arc = min(max((best - start[lane]) * spacing[lane] + along, 0.0), (count[lane] - 1) * spacing[lane])
            slot = MAX_MATCHES
            while slot > 0 and cost < cost_out[i, slot - 1]:
                slot -= 1
            if slot == MAX_MATCHES:
                continue
            for k in range(MAX_MATCHES - 1, slot, -1):
                lane_out[i, k], s_out[i, k] = lane_out[i, k - 1], s_out[i, k - 1]
                offset_out[i, k], cost_out[i, k] = offset_out[i, k - 1], cost_out[i, k - 1]
            lane_out[i, slot], s_out[i, slot], offset_out[i, slot], cost_out[i, slot] = lane, arc, offset, cost
    return lane_out, s_out, offset_out, cost_out
