"""A voxel hash map of lidar points with the plane around each of them, compiled.

Voxels hold a few well-spread points each, as in KISS-ICP (Vizzo et al., RA-L 2023). Every point knows the
plane through its neighbours (normal and offset), found when it is first matched; points without a plane
(foliage, edges, thin poles) say so. Plain loops in a fixed order: the same points in the same order give
the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.types import FloatArray

IntArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]

_EMPTY = -1
_OFFSET = 1 << 20  # voxel indices are stored as 21-bit numbers: +- 1,048,576 voxels
# what is known of a point's surroundings; a LINE lies flat, as the rings that a lidar draws on the road:
# it moves along with the sensor and tells nothing
UNKNOWN, SCATTER, PLANE, LINE = -1, 0, 1, 2


@dataclass(frozen=True, slots=True)
class PointMapArrays:
    """What the kernels work on. ``slot`` S holds ``count[S]`` points; ``table`` finds slots by voxel.

    ``plane``: (S, K, 4) unit normal and offset of the plane n x = d in float64 map coordinates.
    """

    table_key: IntArray
    table_slot: IntArray
    slot_key: IntArray  # (S,) voxel, or -1 where the slot is free
    count: NDArray[np.int32]
    points: FloatArray  # (S, K, 3)
    plane: FloatArray  # (S, K, 4)
    kind: NDArray[np.int8]  # (S, K) UNKNOWN, SCATTER, PLANE or LINE


class PointMap:
    """Points by voxel of ``voxel_size`` metres, at most ``per_voxel`` in each, ``spacing`` apart or more.

    ``plane_radius``: neighbours that far make a point's plane.
    """

    def __init__(
        self, voxel_size: float, per_voxel: int, spacing: float, plane_radius: float, capacity: int = 1 << 14
    ) -> None:
        self.voxel_size, self.spacing, self.plane_radius = voxel_size, spacing, plane_radius
        self._per_voxel = per_voxel
        self._free: list[int] = []
        self._used = 0
        self.arrays = _allocate(capacity, per_voxel)

    def __len__(self) -> int:
        """Number of points."""
        return int(self.arrays.count[self.arrays.slot_key >= 0].sum())

    def insert(self, points: FloatArray, plane: FloatArray | None = None, kind: NDArray[np.int8] | None = None) -> None:
        """Add points (N, 3); ``plane`` (N, 4) and ``kind`` (N,) where their surroundings are known already."""
        points = np.ascontiguousarray(points, np.float64)
        if plane is None or kind is None:
            plane, kind = np.zeros((len(points), 4)), np.full(len(points), UNKNOWN, np.int8)
        begin = 0
        while begin < len(points):
            a = self.arrays
            begin, self._used = _insert(
                points, plane, kind, begin, self._used, self.voxel_size, self.spacing,
                a.table_key, a.table_slot, a.slot_key, a.count, a.points, a.plane, a.kind,
            )  # fmt: skip
            if begin < len(points):
                self._grow()

    def keep_near(self, center: FloatArray, radius: float) -> None:
        """Forget voxels farther than ``radius`` from ``center`` (3,)."""
        a = self.arrays
        self._used = _compact(
            np.asarray(center, np.float64), radius, self._used, self.voxel_size,
            a.table_key, a.table_slot, a.slot_key, a.count, a.points, a.plane, a.kind,
        )  # fmt: skip

    def clear(self) -> None:
        self.arrays.table_key.fill(_EMPTY)
        self.arrays.slot_key.fill(_EMPTY)
        self._used = 0

    def all_points(self) -> FloatArray:
        """(N, 3) in a fixed order."""
        a = self.arrays
        return np.concatenate([a.points[s, : a.count[s]] for s in range(self._used)] or [np.zeros((0, 3))])

    def with_planes(self) -> tuple[FloatArray, FloatArray, NDArray[np.int8]]:
        """Points (N, 3), planes (N, 4) and kinds (N,) with every plane found."""
        a, n = self.arrays, len(self)
        out = np.zeros((n, 3)), np.zeros((n, 4)), np.zeros(n, np.int8)
        _all_planes(
            self._used, self.voxel_size, self.plane_radius, a.table_key, a.table_slot, a.slot_key, a.count, a.points,
            a.plane, a.kind, *out,
        )  # fmt: skip
        return out

    def _grow(self) -> None:
        old, used = self.arrays, self._used
        self.arrays = new = _allocate(2 * len(old.slot_key), self._per_voxel)
        for name in ("slot_key", "count", "points", "plane", "kind"):
            getattr(new, name)[:used] = getattr(old, name)[:used]
        _rehash(used, new.table_key, new.table_slot, new.slot_key)


def _allocate(capacity: int, per_voxel: int) -> PointMapArrays:
    table = 4 * capacity
    return PointMapArrays(
        np.full(table, _EMPTY, np.int64),
        np.zeros(table, np.int64),
        np.full(capacity, _EMPTY, np.int64),
        np.zeros(capacity, np.int32),
        np.zeros((capacity, per_voxel, 3)),
        np.zeros((capacity, per_voxel, 4)),
        np.full((capacity, per_voxel), UNKNOWN, np.int8),
    )


# ---------------------------------------------------------------------------- kernels


@njit(cache=True, inline="always")
def voxel_key(ix: int, iy: int, iz: int) -> int:
    return ((ix + _OFFSET) << 42) | ((iy + _OFFSET) << 21) | (iz + _OFFSET)


@njit(cache=True, inline="always")
def home(key: int, mask: int) -> int:
    # multiplicative hashing (Knuth): the high bits depend on all of the key
    return ((key * 0x9E3779B97F4A7C1) >> 40) & mask


@njit(cache=True)
def find_slot(key: int, table_key: IntArray, table_slot: IntArray) -> int:
    mask = len(table_key) - 1
    at = home(key, mask)
    while table_key[at] != _EMPTY:
        if table_key[at] == key:
            return table_slot[at]
        at = (at + 1) & mask
    return -1


@njit(cache=True)
def _put(key: int, slot: int, table_key: IntArray, table_slot: IntArray) -> None:
    mask = len(table_key) - 1
    at = home(key, mask)
    while table_key[at] != _EMPTY:
        at = (at + 1) & mask
    table_key[at] = key
    table_slot[at] = slot


@njit(cache=True)
def _rehash(used: int, table_key: IntArray, table_slot: IntArray, slot_key: IntArray) -> None:
    table_key[:] = _EMPTY
    for slot in range(used):
        _put(slot_key[slot], slot, table_key, table_slot)


@njit(cache=True)
def _insert(
    new_points: FloatArray, new_plane: FloatArray, new_kind: NDArray[np.int8], begin: int, used: int,
    voxel_size: float, spacing: float, table_key: IntArray, table_slot: IntArray, slot_key: IntArray,
    count: NDArray[np.int32], points: FloatArray, plane: FloatArray, kind: NDArray[np.int8],
) -> tuple[int, int]:  # fmt: skip
    """Insert from ``begin`` on; returns the first point that found no free slot, and the slots in use."""
    near = spacing * spacing
    limit = points.shape[1]
    for i in range(begin, len(new_points)):
        x, y, z = new_points[i, 0], new_points[i, 1], new_points[i, 2]
        key = voxel_key(math.floor(x / voxel_size), math.floor(y / voxel_size), math.floor(z / voxel_size))
        slot = find_slot(key, table_key, table_slot)
        if slot < 0:
            if used == len(slot_key):
                return i, used
            slot = used
            used += 1
            slot_key[slot] = key
            count[slot] = 0
            _put(key, slot, table_key, table_slot)
        n = count[slot]
        if n == limit:
            continue
        crowded = False
        for k in range(n):
            dx, dy, dz = points[slot, k, 0] - x, points[slot, k, 1] - y, points[slot, k, 2] - z
            if dx * dx + dy * dy + dz * dz < near:
                crowded = True
                break
        if crowded:
            continue
        points[slot, n, 0], points[slot, n, 1], points[slot, n, 2] = x, y, z
        for k in range(4):
            plane[slot, n, k] = new_plane[i, k]
        kind[slot, n] = new_kind[i]
        count[slot] = n + 1
        if new_kind[i] == UNKNOWN:  # a new neighbour: the planes here are found again
            for k in range(n):
                kind[slot, k] = UNKNOWN
    return len(new_points), used


@njit(cache=True)
def _compact(
    center: FloatArray, radius: float, used: int, voxel_size: float, table_key: IntArray, table_slot: IntArray,
    slot_key: IntArray, count: NDArray[np.int32], points: FloatArray, plane: FloatArray, kind: NDArray[np.int8],
) -> int:  # fmt: skip
    kept = 0
    for slot in range(used):
        dx, dy, dz = points[slot, 0, 0] - center[0], points[slot, 0, 1] - center[1], points[slot, 0, 2] - center[2]
        if dx * dx + dy * dy + dz * dz > radius * radius:
            continue
        if kept != slot:
            n = count[slot]
            slot_key[kept] = slot_key[slot]
            count[kept] = n
            points[kept, :n] = points[slot, :n]
            plane[kept, :n] = plane[slot, :n]
            kind[kept, :n] = kind[slot, :n]
        kept += 1
    for slot in range(kept, used):
        slot_key[slot] = _EMPTY
    _rehash(kept, table_key, table_slot, slot_key)
    return kept


@njit(cache=True)
def nearest(
    x: float, y: float, z: float, max_distance: float, known_slot: int, known_index: int, voxel_size: float,
    table_key: IntArray, table_slot: IntArray, count: NDArray[np.int32], points: FloatArray,
) -> tuple[int, int, float]:  # fmt: skip
    """Slot, index and squared distance of the nearest point within ``max_distance`` in the 27 voxels around.

    ``known_slot`` (-1 for none) and ``known_index``: a point known to be near, which narrows the search.
    """
    ix, iy, iz = math.floor(x / voxel_size), math.floor(y / voxel_size), math.floor(z / voxel_size)
    fx, fy, fz = x - ix * voxel_size, y - iy * voxel_size, z - iz * voxel_size
    best, best_slot, best_index = max_distance * max_distance, -1, -1
    if known_slot >= 0:
        dx, dy, dz = (
            points[known_slot, known_index, 0] - x,
            points[known_slot, known_index, 1] - y,
            points[known_slot, known_index, 2] - z,
        )
        square = dx * dx + dy * dy + dz * dz
        if square < best:
            best, best_slot, best_index = square, known_slot, known_index
    for ring in range(4):  # the own voxel, its face, edge and corner neighbours: near ones first
        for a in range(-1, 2):
            gx = 0.0 if a == 0 else (fx if a < 0 else voxel_size - fx)
            for b in range(-1, 2):
                gy = 0.0 if b == 0 else (fy if b < 0 else voxel_size - fy)
                for c in range(-1, 2):
                    if abs(a) + abs(b) + abs(c) != ring:
                        continue
                    gz = 0.0 if c == 0 else (fz if c < 0 else voxel_size - fz)
                    if gx * gx + gy * gy + gz * gz >= best:
                        continue
                    slot = find_slot(voxel_key(ix + a, iy + b, iz + c), table_key, table_slot)
                    if slot < 0:
                        continue
                    for k in range(count[slot]):
                        dx, dy, dz = points[slot, k, 0] - x, points[slot, k, 1] - y, points[slot, k, 2] - z
                        square = dx * dx + dy * dy + dz * dz
                        if square < best:
                            best, best_slot, best_index = square, slot, k
    return best_slot, best_index, best


@njit(cache=True)
def find_plane(
    slot: int, index: int, voxel_size: float, radius: float, table_key: IntArray, table_slot: IntArray,
    count: NDArray[np.int32], points: FloatArray, plane: FloatArray, kind: NDArray[np.int8],
) -> None:  # fmt: skip
    """Fit a plane to the neighbours of one point within ``radius`` (at most one voxel) and remember it."""
    x, y, z = points[slot, index, 0], points[slot, index, 1], points[slot, index, 2]
    ix, iy, iz = math.floor(x / voxel_size), math.floor(y / voxel_size), math.floor(z / voxel_size)
    fx, fy, fz = x - ix * voxel_size, y - iy * voxel_size, z - iz * voxel_size
    n = 0
    sx = sy = sz = sxx = sxy = sxz = syy = syz = szz = 0.0
    for a in range(-1, 2):
        gx = 0.0 if a == 0 else (fx if a < 0 else voxel_size - fx)
        for b in range(-1, 2):
            gy = 0.0 if b == 0 else (fy if b < 0 else voxel_size - fy)
            for c in range(-1, 2):
                gz = 0.0 if c == 0 else (fz if c < 0 else voxel_size - fz)
                if gx * gx + gy * gy + gz * gz >= radius * radius:
                    continue
                other = find_slot(voxel_key(ix + a, iy + b, iz + c), table_key, table_slot)
                if other < 0:
                    continue
                for k in range(count[other]):
                    dx, dy, dz = points[other, k, 0] - x, points[other, k, 1] - y, points[other, k, 2] - z
                    if dx * dx + dy * dy + dz * dz > radius * radius:
                        continue
                    n += 1
                    sx += dx
                    sy += dy
                    sz += dz
                    sxx += dx * dx
                    sxy += dx * dy
                    sxz += dx * dz
                    syy += dy * dy
                    syz += dy * dz
                    szz += dz * dz
    kind[slot, index] = LINE
    if n < 6:
        return
    cx, cy, cz = sx / n, sy / n, sz / n
    cov = np.empty((3, 3))
    cov[0, 0] = sxx / n - cx * cx
    cov[1, 1] = syy / n - cy * cy
    cov[2, 2] = szz / n - cz * cz
    cov[0, 1] = cov[1, 0] = sxy / n - cx * cy
    cov[0, 2] = cov[2, 0] = sxz / n - cx * cz
    cov[1, 2] = cov[2, 1] = syz / n - cy * cz
    low, mid, nx, ny, nz = smallest_direction(cov)
    if mid < 0.01 and cov[2, 2] < 0.5 * (cov[0, 0] + cov[1, 1] + cov[2, 2]):
        return
    kind[slot, index] = SCATTER
    # flat (thin against its breadth and in itself), and broad in two directions
    if low > 0.1 * mid or low > 0.0064 or mid < 0.01:
        return
    kind[slot, index] = PLANE
    plane[slot, index, 0], plane[slot, index, 1], plane[slot, index, 2] = nx, ny, nz
    plane[slot, index, 3] = nx * (x + cx) + ny * (y + cy) + nz * (z + cz)


@njit(cache=True)
def smallest_direction(cov: FloatArray) -> tuple[float, float, float, float, float]:
    """Smallest and middle eigenvalue of a symmetric 3x3, and the eigenvector of the smallest.

    Closed form after O. K. Smith (1961), Comm. ACM 4(4); the vector from the best cross product of rows.
    """
    p1 = cov[0, 1] ** 2 + cov[0, 2] ** 2 + cov[1, 2] ** 2
    q = (cov[0, 0] + cov[1, 1] + cov[2, 2]) / 3.0
    p2 = (cov[0, 0] - q) ** 2 + (cov[1, 1] - q) ** 2 + (cov[2, 2] - q) ** 2 + 2.0 * p1
    p = math.sqrt(p2 / 6.0)
    if p < 1e-12:
        return q, q, 0.0, 0.0, 1.0
    b00, b11, b22 = (cov[0, 0] - q) / p, (cov[1, 1] - q) / p, (cov[2, 2] - q) / p
    b01, b02, b12 = cov[0, 1] / p, cov[0, 2] / p, cov[1, 2] / p
    half = 0.5 * (b00 * (b11 * b22 - b12 * b12) - b01 * (b01 * b22 - b12 * b02) + b02 * (b01 * b12 - b11 * b02))
    phi = math.acos(min(1.0, max(-1.0, half))) / 3.0
    high = q + 2.0 * p * math.cos(phi)
    low = q + 2.0 * p * math.cos(phi + 2.0 * math.pi / 3.0)
    mid = 3.0 * q - high - low
    r00, r11, r22 = cov[0, 0] - low, cov[1, 1] - low, cov[2, 2] - low
    r01, r02, r12 = cov[0, 1], cov[0, 2], cov[1, 2]
    ax, ay, az = r01 * r12 - r02 * r11, r02 * r01 - r00 * r12, r00 * r11 - r01 * r01
    bx, by, bz = r01 * r22 - r02 * r12, r02 * r02 - r00 * r22, r00 * r12 - r01 * r02
    cx, cy, cz = r11 * r22 - r12 * r12, r12 * r02 - r01 * r22, r01 * r12 - r11 * r02
    na, nb, nc = ax * ax + ay * ay + az * az, bx * bx + by * by + bz * bz, cx * cx + cy * cy + cz * cz
    if na >= nb and na >= nc:
        vx, vy, vz, norm = ax, ay, az, na
    elif nb >= nc:
        vx, vy, vz, norm = bx, by, bz, nb
    else:
        vx, vy, vz, norm = cx, cy, cz, nc
    if norm < 1e-30:
        return q, q, 0.0, 0.0, 1.0
    norm = math.sqrt(norm)
    return max(low, 0.0), max(mid, 0.0), vx / norm, vy / norm, vz / norm


@njit(cache=True)
def _all_planes(
    used: int, voxel_size: float, radius: float, table_key: IntArray, table_slot: IntArray, slot_key: IntArray,
    count: NDArray[np.int32], points: FloatArray, plane: FloatArray, kind: NDArray[np.int8],
    out_points: FloatArray, out_plane: FloatArray, out_kind: NDArray[np.int8],
) -> None:  # fmt: skip
    n = 0
    for slot in range(used):
        for k in range(count[slot]):
            if kind[slot, k] == UNKNOWN:
                find_plane(slot, k, voxel_size, radius, table_key, table_slot, count, points, plane, kind)
            for j in range(3):
                out_points[n, j] = points[slot, k, j]
            for j in range(4):
                out_plane[n, j] = plane[slot, k, j]
            out_kind[n] = kind[slot, k]
            n += 1
