"""A small hand-made LaneMap: two roads that cross, with signals, a crosswalk, a yield line and a bay."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.hdmap.lane_map import Crosswalk, Lane, LaneMap, Signal, StopLine, StoppingPlace

LANE_WIDTH = 3.5
ARM = 120.0  # m from the middle of the crossing to the end of each arm
INNER = 12.0  # m from the middle to the stop lines


def _lane(lane_id: int, start: np.ndarray, end: np.ndarray, **extra: object) -> Lane:
    count = int(np.linalg.norm(end - start) / 2.0) + 2
    center = np.linspace(start, end, count)
    direction = (end - start) / np.linalg.norm(end - start)
    left = np.array([-direction[1], direction[0], 0.0]) * LANE_WIDTH / 2
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(center, axis=0), axis=1))])
    return Lane(lane_id, center, center + left, center - left, s, 13.9, **extra)  # type: ignore[arg-type]


def crossing_map() -> LaneMap:
    """Right-hand traffic; arm k points at k * 90 degrees; lane 10 k + 1 leads in, 10 k + 2 leads out."""
    lanes: dict[int, Lane] = {}
    stop_lines, signals = {}, {}
    for k in range(4):
        angle = k * math.pi / 2
        out = np.array([math.cos(angle), math.sin(angle), 0.0])
        side = np.array([-out[1], out[0], 0.0]) * LANE_WIDTH / 2  # left of the outbound direction
        across = (k + 2) % 4
        lanes[10 * k + 1] = _lane(
            10 * k + 1, ARM * out + side, INNER * out + side, successors=(10 * k + 3,), stop_line_id=100 + k
        )
        lanes[10 * k + 2] = _lane(10 * k + 2, INNER * out - side, ARM * out - side, predecessors=(10 * across + 3,))
        lanes[10 * k + 3] = _lane(
            10 * k + 3,
            INNER * out + side,
            -INNER * out + side,
            junction_id=1,
            predecessors=(10 * k + 1,),
            successors=(10 * across + 2,),
        )
        ends = np.array([INNER * out, INNER * out + 2 * side])
        stop_lines[100 + k] = StopLine(100 + k, ends, "signal", (10 * k + 1,), (200 + k,))
        head = -INNER * out + 2.2 * side + np.array([0.0, 0.0, 4.0])
        signals[200 + k] = Signal(200 + k, head, angle, 100 + k, 1)
    walk = np.array([[30.0, -3.5, 0.0], [30.0, 3.5, 0.0]])
    zebra = np.array([[28.5, -3.5, 0.0], [31.5, -3.5, 0.0], [31.5, 3.5, 0.0], [28.5, 3.5, 0.0]])
    bay = np.array([[60.0, -6.2, 0.0], [78.0, -6.2, 0.0], [84.0, -3.5, 0.0], [54.0, -3.5, 0.0]])
    return LaneMap(
        "crossing",
        (48.0, 11.0, 500.0),
        lanes,
        stop_lines,
        signals,
        {300: Crosswalk(300, zebra, walk, (1, 2))},
        {400: StoppingPlace(400, "corner", (68.0, -4.8, 0.0), 2, 56.0, -3.05, bay)},
    )
