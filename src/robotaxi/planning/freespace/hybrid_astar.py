"""A way through narrow room, forwards and backwards: hybrid A* with Reeds-Shepp curves.

D. Dolgov, S. Thrun, M. Montemerlo, J. Diebel, "Path planning for autonomous vehicles in unknown semi-structured
environments", International Journal of Robotics Research 29 (2010): states are continuous, one for each cell of a grid
over place and heading; children are arcs that the car can drive; the cost to go is that of the curve without anything
in the way, and from each state that is looked at that curve itself is tried.

The search goes on from call to call, a bounded number of states in each, so that a planning cycle stays short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.planning.freespace.reeds_shepp import PIECES, best_word, go
from robotaxi.planning.freespace.space import Space, body_of, room
from robotaxi.types import Pose2, VehicleParams

FloatArray = NDArray[np.floating[Any]]

BEND_SHARE = 0.95  # of the tightest bend that is planned with
STEP = 0.6  # m, length of a child's arc: it leaves its cell
PLACE, HEADINGS = 0.4, 72  # m and number of the cells
BENDS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of the children, shares of the tightest
BACK_WEIGHT = 1.5  # a metre backwards counts as so many
CHANGE_COST = 4.0  # m that a change of gear counts as
TURN_COST = 0.3  # m that turning the wheels from straight to the end counts as
NEAR_COST, NEAR = 0.5, 0.3  # share on top beside something nearer than this, m
SHORTEST_RUN = 1.2  # m in one gear: two arcs
CHECK = 0.3  # m between the poses that are checked
MAX_EXPANDED = 40_000  # states looked at before a search gives up
MAX_NODES = 3 * MAX_EXPANDED
OUT_STEP = 0.1  # m between the poses of what is found


@dataclass(frozen=True)
class Manoeuvre:
    """Poses ``OUT_STEP`` m apart at most (map). ``bend``: curvature (1/m, left positive) from each to the next,
    ``back``: whether the step to it leads backwards. ``goal``: number of the goal that it ends in."""

    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    bend: FloatArray
    back: NDArray[np.bool_]
    cost: float
    goal: int


class Search:
    """One search from ``start`` to any of ``goals`` (G, 4): x, y, yaw and the cost (m) that it has from there on."""

    def __init__(self, space: Space, vehicle: VehicleParams, start: Pose2, goals: FloatArray) -> None:
        bend = BEND_SHARE * math.tan(vehicle.max_steering) / vehicle.wheelbase
        self._space, self._body, self._goals = space, body_of(vehicle), np.ascontiguousarray(goals, np.float64)
        size = math.ceil(space.clearance.shape[0] * float(space.frame[2]) / PLACE) + 1
        self._cells = np.full(size * size * HEADINGS, -1, np.int32)
        # x, y, yaw, direction, bend, cost so far, cost in all, nearest goal, m since the last change of gear
        self._nodes = np.zeros((MAX_NODES, 9))
        self._parent = np.full(MAX_NODES, -1, np.int32)
        self._heap = np.zeros((MAX_NODES, 2))
        self._counts = np.zeros(3, np.int64)  # nodes, entries of the heap, states looked at
        self._found = np.array([math.inf, -1.0, -1.0, 0.0])  # cost, node, goal, pieces of the curve
        self._curve = np.zeros((2, PIECES))
        self._numbers = np.array([bend, size])
        self.done = False
        self._begin(start)

    @property
    def expanded(self) -> int:
        """States looked at so far."""
        return int(self._counts[2])

    def _begin(self, start: Pose2) -> None:
        _begin(
            self._nodes, self._parent, self._heap, self._counts, self._cells, self._numbers, self._goals,
            self._space.frame, start.x, start.y, start.yaw,
        )  # fmt: skip
        self.done = not len(self._goals)

    def go_on(self, states: int) -> Manoeuvre | None:
        """Look at ``states`` more. What is found ends the search, so does `MAX_EXPANDED`."""
        if self.done:
            return None
        self.done = _expand(
            states, self._nodes, self._parent, self._heap, self._counts, self._cells, self._numbers, self._goals,
            self._space.clearance, self._space.frame, self._body, self._found, self._curve,
        )  # fmt: skip
        return self._trace() if self.done and math.isfinite(self._found[0]) else None

    def _trace(self) -> Manoeuvre:
        chain = [int(self._found[1])]
        while self._parent[chain[-1]] >= 0:
            chain.append(int(self._parent[chain[-1]]))
        chain.reverse()
        pieces = [(float(self._nodes[k, 4]), STEP * float(self._nodes[k, 3])) for k in chain[1:]]
        pieces += [
            (float(self._curve[0, i]) * float(self._numbers[0]), float(self._curve[1, i]) / float(self._numbers[0]))
            for i in range(int(self._found[3]))
        ]
        first = self._nodes[chain[0]]
        rows = [(float(first[0]), float(first[1]), float(first[2]), 0.0, False)]
        for bend, way in pieces:
            n = math.ceil(abs(way) / OUT_STEP - 1e-9)
            if abs(way) < 1e-6:
                continue
            x, y, yaw = rows[-1][:3]
            for k in range(1, n + 1):
                rows.append((*go(x, y, yaw, bend, way * k / n), bend, way < 0.0))
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        bends, back = columns[3][1:], columns[4][1:]
        return Manoeuvre(
            columns[0], columns[1], columns[2], np.append(bends, bends[-1:]), np.append(back, back[-1:]).astype(bool),
            float(self._found[0]), int(self._found[2]),
        )  # fmt: skip


@njit(cache=True)
def _push(heap, counts, cost, node):  # type: ignore[no-untyped-def]
    i = counts[1]
    counts[1] += 1
    while i > 0:
        up = (i - 1) // 2
        if heap[up, 0] <= cost:
            break
        heap[i, 0], heap[i, 1] = heap[up, 0], heap[up, 1]
        i = up
    heap[i, 0], heap[i, 1] = cost, node


@njit(cache=True)
def _pop(heap, counts):  # type: ignore[no-untyped-def]
    out = int(heap[0, 1])
    counts[1] -= 1
    n = counts[1]
    cost, node = heap[n, 0], heap[n, 1]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= n:
            break
        if down + 1 < n and heap[down + 1, 0] < heap[down, 0]:
            down += 1
        if heap[down, 0] >= cost:
            break
        heap[i, 0], heap[i, 1] = heap[down, 0], heap[down, 1]
        i = down
    heap[i, 0], heap[i, 1] = cost, node
    return out


@njit(cache=True)
def _cell(numbers, frame, x, y, yaw):  # type: ignore[no-untyped-def]
    size = int(numbers[1])
    i, j = int((y - frame[1]) / PLACE), int((x - frame[0]) / PLACE)
    if i < 0 or j < 0 or i >= size or j >= size:
        return -1
    turn = math.floor(yaw / (2.0 * math.pi) * HEADINGS + 0.5) % HEADINGS
    return (i * size + j) * HEADINGS + turn


@njit(cache=True)
def _to_go(goals, x, y, yaw, direction, bend, turn, length):  # type: ignore[no-untyped-def]
    """Least cost of a curve to a goal with nothing in the way, and that goal."""
    best, which = math.inf, 0
    c, s = math.cos(yaw), math.sin(yaw)
    for g in range(goals.shape[0]):
        dx, dy = goals[g, 0] - x, goals[g, 1] - y
        if math.hypot(dx, dy) + goals[g, 3] >= best:
            continue
        cost, _ = best_word(
            (c * dx + s * dy) * bend, (-s * dx + c * dy) * bend, goals[g, 2] - yaw, direction, BACK_WEIGHT,
            CHANGE_COST * bend, 0.0, turn, length,
        )  # fmt: skip
        cost = cost / bend + goals[g, 3]
        if cost < best:
            best, which = cost, g
    return best, which


@njit(cache=True)
def _begin(nodes, parent, heap, counts, cells, numbers, goals, frame, x, y, yaw):  # type: ignore[no-untyped-def]
    turn, length = np.empty(PIECES), np.empty(PIECES)
    cost, goal = _to_go(goals, x, y, yaw, 0.0, numbers[0], turn, length)
    row = nodes[0]
    row[0], row[1], row[2], row[6], row[7] = x, y, yaw, cost, goal
    counts[0] = 1
    cell = _cell(numbers, frame, x, y, yaw)
    if cell >= 0:
        cells[cell] = 0
    _push(heap, counts, cost, 0)


@njit(cache=True)
def _curve_fits(node, goals, numbers, clearance, frame, body, turn, length):  # type: ignore[no-untyped-def]
    """Cost and pieces of the curve from a node to its goal, infinite where something is in the way."""
    g, bend = int(node[7]), numbers[0]
    c, s = math.cos(node[2]), math.sin(node[2])
    dx, dy = goals[g, 0] - node[0], goals[g, 1] - node[1]
    cost, n = best_word(
        (c * dx + s * dy) * bend, (-s * dx + c * dy) * bend, goals[g, 2] - node[2], node[3], BACK_WEIGHT,
        CHANGE_COST * bend, SHORTEST_RUN * bend, turn, length,
    )  # fmt: skip
    if not cost < math.inf or (length[0] * node[3] < 0.0 and node[8] < SHORTEST_RUN - 1e-6):
        return math.inf, 0
    x, y, yaw = node[0], node[1], node[2]
    for i in range(n):
        way = length[i] / bend
        steps = int(abs(way) / CHECK) + 1
        for k in range(1, steps + 1):
            px, py, pyaw = go(x, y, yaw, turn[i] * bend, way * k / steps)
            if room(clearance, frame, body, px, py, pyaw) < 0.0:
                return math.inf, 0
        x, y, yaw = go(x, y, yaw, turn[i] * bend, way)
    return cost / bend + goals[g, 3], n


@njit(cache=True)
def _expand(  # type: ignore[no-untyped-def]
    states, nodes, parent, heap, counts, cells, numbers, goals, clearance, frame, body, found, curve
):
    """True when the search is over: found, nothing left, or too much looked at."""
    turn, length = np.empty(PIECES), np.empty(PIECES)
    bend = numbers[0]
    for _ in range(states):
        if counts[1] == 0 or counts[2] >= MAX_EXPANDED or heap[0, 0] >= found[0]:
            return True
        i = _pop(heap, counts)
        node = nodes[i]
        if cells[_cell(numbers, frame, node[0], node[1], node[2])] != i:
            continue  # somebody reached this cell at less cost since
        counts[2] += 1
        cost, n = _curve_fits(node, goals, numbers, clearance, frame, body, turn, length)
        if node[5] + cost < found[0]:
            found[0], found[1], found[2], found[3] = node[5] + cost, i, node[7], n
            for k in range(n):
                curve[0, k], curve[1, k] = turn[k], length[k]
        for direction in (1.0, -1.0):
            changes = node[3] * direction < 0.0
            if changes and node[8] < SHORTEST_RUN - 1e-6:
                continue
            for share in BENDS:
                if counts[0] >= MAX_NODES:
                    return True
                tight = share * bend
                fits, nearest = True, math.inf
                steps = int(STEP / CHECK + 0.5)
                x, y, yaw = node[0], node[1], node[2]
                for k in range(1, steps + 1):
                    x, y, yaw = go(node[0], node[1], node[2], tight, direction * STEP * k / steps)
                    left = room(clearance, frame, body, x, y, yaw)
                    nearest = min(nearest, left)
                    if left < 0.0:
                        fits = False
                        break
                if not fits:
                    continue
                way = STEP * (BACK_WEIGHT if direction < 0.0 else 1.0)
                if nearest < NEAR:
                    way *= 1.0 + NEAR_COST
                so_far = node[5] + way + TURN_COST * abs(tight - node[4]) / bend
                if changes:
                    so_far += CHANGE_COST
                cell = _cell(numbers, frame, x, y, yaw)
                if cell < 0 or (cells[cell] >= 0 and nodes[cells[cell], 5] <= so_far):
                    continue
                to_go, goal = _to_go(goals, x, y, yaw, direction, bend, turn, length)
                if so_far + to_go >= found[0]:
                    continue
                j = counts[0]
                counts[0] += 1
                child = nodes[j]
                child[0], child[1], child[2], child[3], child[4] = x, y, yaw, direction, tight
                child[5], child[6], child[7] = so_far, so_far + to_go, goal
                child[8] = STEP if changes else node[8] + STEP
                parent[j], cells[cell] = i, j
                _push(heap, counts, so_far + to_go, j)
    return counts[1] == 0 or counts[2] >= MAX_EXPANDED or heap[0, 0] >= found[0]
