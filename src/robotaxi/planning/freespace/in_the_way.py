"""Who stands in the way of a leg, or comes into it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from robotaxi.planning.freespace.follow import Leg
from robotaxi.types import ObjectClass, RecordArray, VehicleParams

MOVES = 0.3  # m/s
STANDING_GAP, MOVING_GAP, PERSON_GAP = 0.15, 0.5, 0.5  # m beside the body that count as in the way
PACE = 1.0  # m/s, reckoned with for when the car is where
TAU = 0.5  # s between the places that others are looked for at
STRIDE = 2  # poses of the leg from one that is checked to the next


class InTheWay(NamedTuple):
    """``s``: where on the leg the body touches the object with number ``who`` first."""

    who: int
    s: float


def first_in_the_way(
    leg: Leg, s: float, objects: RecordArray, vehicle: VehicleParams, beyond: float
) -> InTheWay | None:
    """Who is met first from ``s`` on. Others keep their velocity; they count from now until ``beyond`` seconds after
    the car has been at a place."""
    rest = np.flatnonzero(leg.s >= s - 0.05)[::STRIDE]
    if not rest.size or not objects.size:
        return None
    moves = np.hypot(objects["vx"], objects["vy"]) > MOVES
    gap = np.where(moves, MOVING_GAP, STANDING_GAP)
    gap[objects["label"] == int(ObjectClass.PEDESTRIAN)] = PERSON_GAP
    until = np.maximum(leg.s[rest] - s, 0.0) / PACE + beyond
    x, y, yaw, length, width, vx, vy = (
        objects[name].astype(np.float64) for name in ("x", "y", "yaw", "length", "width", "vx", "vy")
    )
    vx[~moves] = vy[~moves] = 0.0
    body = np.array([vehicle.center_offset, 0.5 * vehicle.length, 0.5 * vehicle.width])
    k, i = _first(
        leg.x[rest], leg.y[rest], leg.yaw[rest], until, body, x, y, yaw, length, width, vx, vy, gap
    )  # fmt: skip
    return InTheWay(int(i), float(leg.s[rest[k]])) if i >= 0 else None


@njit(cache=True)
def _first(px, py, pyaw, until, body, ox, oy, oyaw, length, width, vx, vy, gap):  # type: ignore[no-untyped-def]
    """(number of the pose, number of the object) of the first contact; -1 where there is none."""
    ahead, half_length, half_width = body[0], body[1], body[2]
    for k in range(px.shape[0]):
        c, s = math.cos(pyaw[k]), math.sin(pyaw[k])
        bx, by = px[k] + c * ahead, py[k] + s * ahead
        for i in range(ox.shape[0]):
            moves = vx[i] != 0.0 or vy[i] != 0.0
            steps = int(until[k] / TAU) + 1 if moves else 1
            oc, os = math.cos(oyaw[i]), math.sin(oyaw[i])
            cos, sin = abs(c * oc + s * os), abs(c * os - s * oc)
            al, aw = half_length + gap[i], half_width + gap[i]
            bl, bw = 0.5 * length[i], 0.5 * width[i]
            for j in range(steps):
                dx, dy = ox[i] + vx[i] * TAU * j - bx, oy[i] + vy[i] * TAU * j - by
                if (
                    abs(c * dx + s * dy) < al + bl * cos + bw * sin
                    and abs(-s * dx + c * dy) < aw + bl * sin + bw * cos
                    and abs(oc * dx + os * dy) < bl + al * cos + aw * sin
                    and abs(-os * dx + oc * dy) < bw + al * sin + aw * cos
                ):
                    return k, i
    return -1, -1
