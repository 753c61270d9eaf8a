"""Where on the map is this sweep? Found from nothing, in slices that fit between two sweeps.

What stands (walls, poles, trunks, parked cars) seen from above, as cells: the sweep's cells, turned by every yaw, are
laid on the map's with the car wherever the map knows the ground, a few of them first and where these fit all of them;
cells that the sweep looked through count against a place. The best places are refined on finer cells, then matched in
three dimensions, and the best of these must stand out to be believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.geometry.se3 import apply, transform
from robotaxi.localization.point_map import PLANE
from robotaxi.localization.tiles import LocalizationMapError, MapInfo, read_tile
from robotaxi.types import FloatArray

COARSE, FINE = 2.0, 0.5  # m, edges of the cells
_LOWEST, _HIGHEST = 0.6, 8.0  # m above the road: what stands
_NEAREST, _FARTHEST = 3.0, 50.0  # m, of the sweep's points that are used
_FLAT = 0.7  # a plane whose normal is more upright than this is ground or roof
_FREE = -0.15  # weight of a cell that was looked through
_YAW_STEP = math.radians(4.0)
_LOOKS_A_SLICE = 100_000_000  # at cells of the map, in one slice
_PAD = math.ceil(_FARTHEST / COARSE) + 1  # cells
_FEW = 64  # of the sweep's cells that are looked at everywhere
_SECOND_LOOKS, _PEAKS = 192, 12  # places a yaw where all are looked at, and that are kept
_CANDIDATES, _REFINED_A_SLICE = 48, 8
_MOST = 500  # points that stand are enough
_APART, _TURNED = 4.0, math.radians(15.0)  # two candidates nearer than this are one


@dataclass(frozen=True)
class Overview:
    """The whole map from above: ``fine`` (rows, columns) uint8, 1 where something stands; ``ground`` height of the road
    (m, NaN where not known) on coarse cells; ``low``: x, y of the first cell's corner; ``coarse``: quarters 0..4 of
    what a coarse cell needs to count as standing, with ``_PAD`` cells around; ``places`` (P, 2): rows and columns of
    the coarse cells where a car may stand, without the pad."""

    low: tuple[float, float]
    fine: NDArray[np.uint8]
    ground: NDArray[np.float32]
    coarse: NDArray[np.uint8]
    places: NDArray[np.int32]

    def height(self, x: float, y: float) -> float:
        """Of the road at a place (m); 0 far from any road of the map."""
        row, column = int((y - self.low[1]) / COARSE), int((x - self.low[0]) / COARSE)
        for reach in (1, 4, 12):
            near = self.ground[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            if np.isfinite(near).any():
                return float(np.nanmedian(near))
        return 0.0

    def share(self, points: FloatArray, T_map_base: FloatArray) -> float:
        """Of points that stand (N, 3; see `standing`) the share that stands on the map as well; 1 where none do."""
        if len(points) < 20:
            return 1.0
        at = apply(T_map_base, points)
        return float(_share(self.fine, self.low[0], self.low[1], FINE, at[:, 0].copy(), at[:, 1].copy()))


def overview(info: MapInfo) -> Overview | None:
    """None for a map without a readable tile. Tiles that cannot be read are left out."""
    if not info.tiles:
        return None
    cells = np.array(list(info.tiles))
    size = info.tile_size
    grid = _Grid(cells.min(axis=0) * size, (cells.max(axis=0) + 1) * size)
    read = False
    for cell in sorted(info.tiles):
        try:
            points, plane, kind = read_tile(info, cell)
        except (LocalizationMapError, ValueError):
            continue
        read = True
        flat = (kind == PLANE) & (np.abs(plane[:, 2]) > _FLAT)
        grid.add(points[~flat], points[flat])
    return grid.view() if read else None


def view_of(stands: FloatArray, road: FloatArray) -> Overview:
    """Of points (N, 3) that stand and points (M, 3) of the road, in one frame. ValueError where nothing stands."""
    if not len(stands):
        raise ValueError("nothing stands there")
    grid = _Grid(stands[:, :2].min(axis=0), stands[:, :2].max(axis=0) + COARSE)
    grid.add(stands, road)
    return grid.view()


class _Grid:
    """The images of an `Overview` while they are filled."""

    def __init__(self, low: FloatArray, high: FloatArray) -> None:
        self._low = low
        self._rows, self._columns = (math.ceil(float(v) / COARSE) for v in (high - low)[::-1])
        factor = round(COARSE / FINE)
        self._fine = np.zeros((self._rows * factor, self._columns * factor), np.uint8)
        self._ground = np.full((self._rows, self._columns), np.inf, np.float32)
        self._count = np.zeros((self._rows, self._columns), np.float32)

    def add(self, stands: FloatArray, road: FloatArray) -> None:
        row, column = self._cells(road, COARSE, self._ground.shape)
        np.minimum.at(self._ground, (row, column), road[:, 2].astype(np.float32))
        np.add.at(self._count, self._cells(stands, COARSE, self._count.shape), 1.0)
        self._fine[self._cells(stands, FINE, self._fine.shape)] = 1

    def _cells(self, points: FloatArray, cell: float, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        at = np.floor((points[:, :2] - self._low) / cell).astype(np.int64)
        at = np.clip(at, 0, [shape[1] - 1, shape[0] - 1])
        return at[:, 1], at[:, 0]

    def view(self) -> Overview:
        ground = np.where(np.isfinite(self._ground), self._ground, np.nan).astype(np.float32)
        coarse = np.pad(np.minimum(self._count, 4.0).astype(np.uint8), _PAD)
        known = np.isfinite(ground)
        places = np.argwhere(known if known.any() else np.ones_like(known)).astype(np.int32)
        low = float(self._low[0]), float(self._low[1])
        return Overview(low, self._fine, ground, coarse, places)


@dataclass(frozen=True)
class Candidate:
    """A place (x, y, z, yaw of base_link in map) and how well what stands fits there, 0..1."""

    T_map_base: FloatArray
    score: float


class GlobalSearch:
    """Search for one sweep, ``points`` (N, 3) in base_link. Call `step` until `candidates` is not None.

    ``near``: x, y and radius to which the search is bound, where a rough pose is known.
    """

    def __init__(self, view: Overview, points: FloatArray, near: tuple[float, float, float] | None = None) -> None:
        self._view = view
        self._places = view.places
        if near is not None:
            x, y, radius = near
            rows = (view.places[:, 0] + 0.5) * COARSE + view.low[1] - y
            columns = (view.places[:, 1] + 0.5) * COARSE + view.low[0] - x
            self._places = np.ascontiguousarray(view.places[rows**2 + columns**2 <= radius**2])
        padded = self._places.astype(np.int64) + _PAD
        self._at = padded[:, 0] * view.coarse.shape[1] + padded[:, 1]
        self._stands = standing(points)
        self._free = _looked_through(points)
        yaws = round(2.0 * math.pi / _YAW_STEP)
        self._yaws = np.arange(yaws) * (2.0 * math.pi / yaws)
        self._done = 0
        self._peaks: list[tuple[float, float, float, float]] = []  # score, x, y, yaw
        self._kept: list[tuple[float, float, float, float]] | None = None
        self._found: list[tuple[float, float, float, float]] = []
        self._slice = max(1, _LOOKS_A_SLICE // max(_FEW * len(self._places), 1))
        hopeless = len(self._stands) < 30 or not len(self._places)
        self.candidates: list[Candidate] | None = [] if hopeless else None

    def step(self) -> None:
        """One slice of the work."""
        if self.candidates is not None:
            return
        if self._done < len(self._yaws):
            for yaw in self._yaws[self._done : self._done + self._slice]:
                self._correlate(float(yaw))
            self._done += self._slice
            return
        if self._kept is None:
            self._kept = self._choose()
        for _ in range(_REFINED_A_SLICE):
            if not self._kept:
                self.candidates = self._ranked()
                return
            self._climbed(self._kept.pop())

    def run(self) -> list[Candidate]:
        """All slices at once."""
        while self.candidates is None:
            self.step()
        return self.candidates

    @property
    def progress(self) -> float:
        """Share of the work done, 0..1."""
        return min(1.0, self._done / len(self._yaws))

    def _correlate(self, yaw: float) -> None:
        view = self._view
        c, s = math.cos(yaw), math.sin(yaw)
        turn = np.array([[c, s], [-s, c]])
        stands, free = (_cells(xy @ turn) for xy in (self._stands[:, :2], self._free))
        all_cells = np.concatenate([stands, free])
        kind = np.concatenate([np.ones(len(stands)), np.full(len(free), _FREE)]).astype(np.float32)
        _, first = np.unique(all_cells[:, 0] * 1000 + all_cells[:, 1], return_index=True)  # what stands comes first
        first = np.sort(first)
        cells, weights = all_cells[first], kind[first]
        total = float((weights == 1.0).sum())
        few = np.arange(0, len(cells), max(1, math.ceil(len(cells) / _FEW)))
        steps = cells[:, 0] * view.coarse.shape[1] + cells[:, 1]
        rough = _fit(view.coarse, self._at, steps[few], weights[few])
        again = np.sort(np.argpartition(rough, -min(_SECOND_LOOKS, len(rough)))[-_SECOND_LOOKS:])
        scores = _fit(view.coarse, self._at[again], steps, weights)
        for at in np.argsort(-scores, kind="stable")[:_PEAKS].tolist():
            row, column = self._places[again[at]].tolist()
            x, y = view.low[0] + (column + 0.5) * COARSE, view.low[1] + (row + 0.5) * COARSE
            self._peaks.append((float(scores[at]) / max(4.0 * total, 1.0), x, y, yaw))

    def _choose(self) -> list[tuple[float, float, float, float]]:
        """The best peaks that are different places, the best last."""
        kept: list[tuple[float, float, float, float]] = []
        for peak in sorted(self._peaks, reverse=True):
            if all(not _same(peak[1:], other[1:]) for other in kept):
                kept.append(peak)
            if len(kept) == _CANDIDATES:
                break
        return kept[::-1]

    def _climbed(self, peak: tuple[float, float, float, float]) -> None:
        view, (_, x, y, yaw) = self._view, peak
        score, x, y, yaw = _climb(
            view.fine, view.low[0], view.low[1], FINE, self._stands[:, :2], x, y, yaw, 0.7 * COARSE, 0.6 * _YAW_STEP
        )
        self._found.append((score, x, y, yaw))

    def _ranked(self) -> list[Candidate]:
        out: list[tuple[float, float, float, float]] = []
        for found in sorted(self._found, reverse=True):
            if all(not _same(found[1:], other[1:]) for other in out):
                out.append(found)
        view = self._view
        return [Candidate(transform(x, y, view.height(x, y), yaw=yaw), score) for score, x, y, yaw in out[:8]]


def standing(points: FloatArray) -> FloatArray:
    """Of points (N, 3) in base_link those that stand near the car, one a fine cell from above."""
    square = points[:, 0] ** 2 + points[:, 1] ** 2
    keep = (points[:, 2] > _LOWEST) & (points[:, 2] < _HIGHEST)
    points = points[keep & (square > _NEAREST**2) & (square < _FARTHEST**2)]
    cell = np.floor(points[:, :2] / FINE).astype(np.int64)
    _, first = np.unique(cell[:, 0] * 100_000 + cell[:, 1], return_index=True)
    first = np.sort(first)
    return np.asarray(points[first[:: max(1, math.ceil(len(first) / _MOST))]])


def _looked_through(points: FloatArray) -> FloatArray:
    """(M, 2) places between the car and the nearest thing that stands, by direction; none where nothing stands."""
    stands = points[(points[:, 2] > _LOWEST) & (points[:, 2] < 3.0)]
    distance = np.hypot(stands[:, 0], stands[:, 1])
    bins = 180
    sector = (
        np.floor((np.arctan2(stands[:, 1], stands[:, 0]) + math.pi) / (2.0 * math.pi) * bins).astype(np.int64) % bins
    )
    nearest = np.full(bins, np.inf)
    np.minimum.at(nearest, sector[distance > _NEAREST], distance[distance > _NEAREST])
    out = []
    for k in np.flatnonzero(np.isfinite(nearest)):
        angle = (k + 0.5) / bins * 2.0 * math.pi - math.pi
        reach = np.arange(_NEAREST, min(float(nearest[k]), _FARTHEST) - COARSE, COARSE)
        out.append(np.stack([reach * math.cos(angle), reach * math.sin(angle)], axis=1))
    return np.concatenate(out) if out else np.zeros((0, 2))


def _same(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    turn = math.remainder(a[2] - b[2], 2.0 * math.pi)
    return math.hypot(a[0] - b[0], a[1] - b[1]) < _APART and abs(turn) < _TURNED


def _cells(xy: FloatArray) -> NDArray[np.int64]:
    """Rows and columns (N, 2) from the car's own cell."""
    return np.floor(xy / COARSE + 0.5).astype(np.int64)[:, ::-1]


@njit(cache=True)
def _fit(
    coarse: NDArray[np.uint8], at: NDArray[np.int64], steps: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:  # fmt: skip
    """How well cells fit that lie ``steps`` (K,) from the car's own, with the car in each cell ``at`` (P,): (P,).
    Both count cells of ``coarse``, row by row."""
    flat = coarse.ravel()
    out = np.zeros(len(at), np.float32)
    for k in range(len(steps)):
        step, weight = steps[k], weights[k]
        for p in range(len(at)):
            out[p] += weight * flat[at[p] + step]
    return out


@njit(cache=True)
def _climb(
    fine: NDArray[np.uint8], low_x: float, low_y: float, cell: float, points: FloatArray, x: float, y: float,
    yaw: float, reach: float, turn: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """The best pose about (x, y, yaw) on fine cells: every half cell, then what is around the best."""
    best, bx, by, byaw = -1.0, x, y, yaw
    for level in range(2):
        step = cell if level == 0 else 0.5 * cell
        angle = turn / 3.0 if level == 0 else turn / 6.0
        span = int(reach / step) + 1 if level == 0 else 1
        turns = 3 if level == 0 else 1
        cx, cy, cyaw = bx, by, byaw
        for k in range(-turns, turns + 1):
            a = cyaw + k * angle
            c, s = math.cos(a), math.sin(a)
            for i in range(-span, span + 1):
                for j in range(-span, span + 1):
                    px, py = cx + i * step, cy + j * step
                    hit = 0.0
                    for n in range(len(points)):
                        column = math.floor((px + c * points[n, 0] - s * points[n, 1] - low_x) / cell)
                        row = math.floor((py + s * points[n, 0] + c * points[n, 1] - low_y) / cell)
                        if 0 < row < fine.shape[0] - 1 and 0 < column < fine.shape[1] - 1:
                            if fine[row, column]:
                                hit += 1.0
                                continue
                            beside = fine[row - 1, column] | fine[row + 1, column]
                            if beside | fine[row, column - 1] | fine[row, column + 1]:
                                hit += 0.5
                    if hit > best:
                        best, bx, by, byaw = hit, px, py, a
    return best / max(len(points), 1), bx, by, byaw


@njit(cache=True)
def _share(
    fine: NDArray[np.uint8], low_x: float, low_y: float, cell: float, x: FloatArray, y: FloatArray
) -> float:  # fmt: skip
    hit = 0
    for n in range(len(x)):
        column, row = math.floor((x[n] - low_x) / cell), math.floor((y[n] - low_y) / cell)
        if 0 < row < fine.shape[0] - 1 and 0 < column < fine.shape[1] - 1:
            hit += (
                fine[row, column] | fine[row - 1, column] | fine[row + 1, column] | fine[row, column - 1]
                | fine[row, column + 1]
            )  # fmt: skip
    return hit / len(x)


def warm_up() -> None:
    """Compile everything."""
    _share(np.zeros((4, 4), np.uint8), 0.0, 0.0, 1.0, np.zeros(2), np.zeros(2))
    _fit(np.zeros((4, 4), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, np.float32))
    _climb(np.zeros((4, 4), np.uint8), 0.0, 0.0, 1.0, np.zeros((2, 3))[:, :2], 1.0, 1.0, 0.0, 0.5, 0.1)
