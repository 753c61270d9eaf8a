"""Small hand-made maps for the tests of the simulated world."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import CubicSpline

from robotaxi.hdmap.lane_map import Crosswalk, Lane, LaneMap, Signal, StopLine, StoppingPlace

HALF = 1.75  # m, half a lane
BOX = 14.0  # m from the middle of the crossing to its stop lines
ARM = 140.0  # m, length of each approach


def lane_from(points: np.ndarray, lane_id: int, half: float = HALF, **more: object) -> Lane:
    """A lane of constant width along ``points`` (N, 2)."""
    points = np.asarray(points, dtype=float)
    direction = np.gradient(points, axis=0)
    direction /= np.hypot(direction[:, 0], direction[:, 1])[:, None]
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * half
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])

    def flat(xy: np.ndarray) -> np.ndarray:
        return np.column_stack([xy, np.zeros(len(xy))])

    speed = float(more.pop("speed_limit", 50 / 3.6))
    return Lane(lane_id, flat(points), flat(points + normal), flat(points - normal), s, speed, **more)  # type: ignore[arg-type]


def straight_map(length: float = 400.0, **lane: object) -> LaneMap:
    """One lane eastward along y = 0 with a bay to its right at x = 100."""
    road = lane_from(np.column_stack([np.arange(0.0, length + 1.0, 2.0), np.zeros(int(length // 2) + 1)]), 1, **lane)
    bay = np.array([[95.0, -HALF, 0.0], [105.0, -HALF, 0.0], [105.0, -4.5, 0.0], [95.0, -4.5, 0.0]])
    place = StoppingPlace(7, "bay", (100.0, -3.1, 0.0), 1, 100.0, -3.1, bay)
    return LaneMap("straight", (0.0, 0.0, 0.0), {1: road}, stopping_places={7: place})


def stop_line_map(kind: str) -> LaneMap:
    """Two lanes eastward, 1 then 2, a stop line of ``kind`` between them at x = 100."""
    signal_ids = (50,) if kind == "signal" else ()
    line = StopLine(40, np.array([[100.0, HALF, 0.0], [100.0, -HALF, 0.0]]), kind, (1,), signal_ids)
    xs = np.arange(0.0, 101.0, 2.0)
    lanes = {
        1: lane_from(np.column_stack([xs, 0 * xs]), 1, successors=(2,), stop_line_id=40),
        2: lane_from(np.column_stack([xs + 100.0, 0 * xs]), 2, predecessors=(1,)),
    }
    signals = {50: Signal(50, np.array([115.0, -4.0, 4.0]), math.pi, 40)} if signal_ids else {}
    return LaneMap("line", (0.0, 0.0, 0.0), lanes, {40: line}, signals)


def crossing_map(kind: str = "signal") -> LaneMap:
    """A four-arm crossing; at the end of each arm a loop leads back, so that traffic runs for ever.

    Arms 0..3 (east, north, west, south). Lanes of arm k: 10k+1 towards the crossing, 10k+2 away, 10k+3
    the loop; 100+10k+m from arm k to arm m. ``kind`` 'signal': lights on all arms. 'priority': arms 1
    and 3 yield. 'stop': arms 1 and 3 stop. 'none': no lines and no right of way at all.
    """
    lanes: dict[int, Lane] = {}
    stop_lines: dict[int, StopLine] = {}
    signals: dict[int, Signal] = {}
    crosswalks: dict[int, Crosswalk] = {}

    def turned(points: np.ndarray, k: int) -> np.ndarray:
        c, s = round(math.cos(k * math.pi / 2)), round(math.sin(k * math.pi / 2))
        return np.asarray(points) @ np.array([[c, s], [-s, c]], dtype=float)

    along = np.arange(0.0, ARM + 1.0, 2.0)
    loop = CubicSpline(
        [0, 1, 2, 3, 4],
        [(BOX + ARM, -HALF), (BOX + ARM + 16, -10), (BOX + ARM + 30, 0), (BOX + ARM + 16, 10), (BOX + ARM, HALF)],
        bc_type=((1, (14.0, 0.0)), (1, (-14.0, 0.0))),
    )(np.linspace(0, 4, 50))
    for k in range(4):
        line_id = 200 + k if kind != "none" and (kind == "signal" or k % 2 == 1) else None
        ways = tuple(100 + 10 * k + m for m in range(4) if m != k)
        lanes[10 * k + 1] = lane_from(
            turned(np.column_stack([BOX + ARM - along, np.full(len(along), HALF)]), k),
            10 * k + 1,
            successors=ways,
            predecessors=(10 * k + 3,),
            stop_line_id=line_id,
        )
        lanes[10 * k + 2] = lane_from(
            turned(np.column_stack([BOX + along, np.full(len(along), -HALF)]), k),
            10 * k + 2,
            successors=(10 * k + 3,),
            predecessors=tuple(100 + 10 * m + k for m in range(4) if m != k),
        )
        lanes[10 * k + 3] = lane_from(
            turned(loop, k), 10 * k + 3, successors=(10 * k + 1,), predecessors=(10 * k + 2,), speed_limit=8.0
        )
        if line_id is not None:
            ends = turned(np.array([[BOX, 0.0], [BOX, 2 * HALF]]), k)
            line_kind = {"signal": "signal", "priority": "yield", "stop": "stop"}[kind]
            ids = (300 + k,) if kind == "signal" else ()
            points = np.column_stack([ends, np.zeros(2)])
            stop_lines[line_id] = StopLine(line_id, points, line_kind, (10 * k + 1,), ids)
        if kind == "signal":
            head = turned(np.array([[-BOX, 5.0]]), k)[0]
            signals[300 + k] = Signal(300 + k, np.array([*head, 5.0]), k * math.pi / 2, 200 + k, 9)
        # a crosswalk over each arm, between the stop line and the crossing
        x0, x1 = BOX - 5.0, BOX - 2.0
        square = turned(np.array([[x0, -3.5], [x1, -3.5], [x1, 3.5], [x0, 3.5]]), k)
        axis = turned(np.array([[(x0 + x1) / 2, -3.5], [(x0 + x1) / 2, 3.5]]), k)
        over = (*ways, *(100 + 10 * m + k for m in range(4) if m != k))
        crosswalks[400 + k] = Crosswalk(
            400 + k, np.column_stack([square, np.zeros(4)]), np.column_stack([axis, np.zeros(2)]), over
        )
    for k in range(4):
        for m in range(4):
            if m == k:
                continue
            start, end = turned(np.array([[BOX, HALF]]), k)[0], turned(np.array([[BOX, -HALF]]), m)[0]
            out, into = turned(np.array([[-1.0, 0.0]]), k)[0], turned(np.array([[1.0, 0.0]]), m)[0]
            reach = 1.6 * BOX if (m - k) % 4 != 2 else 2.0 * BOX
            curve = CubicSpline([0, 1], [start, end], bc_type=((1, out * reach), (1, into * reach)))
            lane_id = 100 + 10 * k + m
            direction = {1: "left", 2: "straight", 3: "right"}[(k - m) % 4]
            others = [(a, b) for a in range(4) for b in range(4) if a != b and a != k]
            yields: list[int] = []
            if kind in ("priority", "stop") and k % 2 == 1:
                yields += [100 + 10 * a + b for a, b in others if a % 2 == 0]
            if kind != "none" and direction == "left":
                yields += [100 + 10 * a + b for a, b in others if (a - k) % 4 == 2 and (a - b) % 4 != 1]
            lanes[lane_id] = lane_from(
                curve(np.linspace(0, 1, 20)),
                lane_id,
                successors=(10 * m + 2,),
                predecessors=(10 * k + 1,),
                turn_direction=direction,
                junction_id=9,
                yield_to=tuple(sorted(set(yields))),
                conflicts=tuple(100 + 10 * a + b for a, b in others),
                speed_limit=50 / 3.6 if direction == "straight" else 6.0,
            )
    return LaneMap(f"crossing_{kind}", (0.0, 0.0, 0.0), lanes, stop_lines, signals, crosswalks)
