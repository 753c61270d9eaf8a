"""The room round the car: how far each place is from what may not be touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.types import RecordArray, VehicleParams

FloatArray = NDArray[np.floating[Any]]

CELL = 0.2  # m
DISCS = 9  # along the body, which they cover in two rows
KERB = 0.05  # m kept to the edge of the road: about what the car is beside its way
FAR = 20.0  # m, farther is free


@dataclass(frozen=True)
class Space:
    """``clearance`` (H, W): metres from the middle of each cell to the edge of the road or to the nearest thing less
    the gap kept to it; ``frame`` (3,): x and y of the low corner (map, m), and the size of a cell."""

    clearance: NDArray[np.float32]
    frame: FloatArray

    def joined(self, x: float, y: float, wide: float) -> NDArray[np.bool_]:
        """(H, W) cells that something round and twice ``wide`` m across can get to from a place."""
        parts, _ = label(self.clearance >= wide, np.ones((3, 3)))
        i, j = self.cell(x, y)
        return np.asarray(parts == parts[i, j]) & (parts[i, j] > 0)

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a place, the nearest one where it is outside."""
        rows, columns = self.clearance.shape
        j, i = (math.floor((v - low) / self.frame[2]) for v, low in ((x, self.frame[0]), (y, self.frame[1])))
        return min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)


def space_round(lane_map: LaneMap, x: float, y: float, reach: float, things: RecordArray, gap: float) -> Space:
    """What lies within ``reach`` m of a place (map). ``things``: OBJECT_DTYPE, as they stand."""
    n = math.ceil(2.0 * reach / CELL)
    frame = np.array([x - reach, y - reach, CELL])
    along = frame[0] + (np.arange(n) + 0.5) * CELL
    across = frame[1] + (np.arange(n) + 0.5) * CELL
    gx, gy = np.meshgrid(along, across)
    road = lane_map.drivable(np.column_stack([gx.ravel(), gy.ravel()])).reshape(n, n)
    road[[0, -1], :] = road[:, [0, -1]] = False
    clearance = np.minimum(distance_transform_edt(road) * CELL, FAR) - 0.5 * CELL - KERB
    for thing in things:
        reached = 0.5 * math.hypot(float(thing["length"]), float(thing["width"])) + gap + 4.0
        columns = np.flatnonzero(np.abs(along - float(thing["x"])) < reached)
        rows = np.flatnonzero(np.abs(across - float(thing["y"])) < reached)
        if not columns.size or not rows.size:
            continue
        block = np.ix_(rows, columns)
        c, s = math.cos(float(thing["yaw"])), math.sin(float(thing["yaw"]))
        dx, dy = gx[block] - float(thing["x"]), gy[block] - float(thing["y"])
        out_x = np.maximum(np.abs(c * dx + s * dy) - 0.5 * float(thing["length"]), 0.0)
        out_y = np.maximum(np.abs(c * dy - s * dx) - 0.5 * float(thing["width"]), 0.0)
        clearance[block] = np.minimum(clearance[block], np.hypot(out_x, out_y) - gap)
    return Space(clearance.astype(np.float32), frame)


def body_of(vehicle: VehicleParams) -> FloatArray:
    """(4,): m from the rear axle to the middle of the first discs, from one to the next, their radius, and how far
    beside the middle of the body they are."""
    apart, aside = vehicle.length / DISCS, 0.25 * vehicle.width
    return np.array([0.5 * apart - vehicle.rear_overhang, apart, math.hypot(0.5 * apart, aside), aside])


@njit(cache=True)
def room(clearance, frame, body, x, y, yaw):  # type: ignore[no-untyped-def]
    """Metres between the body at a pose and the nearest thing; negative where it does not fit."""
    c, s = math.cos(yaw), math.sin(yaw)
    least = np.inf
    for k in range(2 * DISCS):
        ahead = body[0] + (DISCS - 1 - k // 2) * body[1]
        aside = body[3] if k % 2 else -body[3]
        j = math.floor((x + c * ahead - s * aside - frame[0]) / frame[2])
        i = math.floor((y + s * ahead + c * aside - frame[1]) / frame[2])
        if i < 0 or j < 0 or i >= clearance.shape[0] or j >= clearance.shape[1]:
            return -1.0
        least = min(least, clearance[i, j] - body[2])
        if least < 0.0:
            return least
    return least
