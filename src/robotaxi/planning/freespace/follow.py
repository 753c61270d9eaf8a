"""Driving a manoeuvre: leg by leg at walking pace, each in one gear, to rest at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.freespace.hybrid_astar import OUT_STEP, Manoeuvre
from robotaxi.types import TRAJECTORY_DTYPE, EgoState, Trajectory, VehicleParams

FloatArray = NDArray[np.floating[Any]]

STEP = 0.1  # s
ACCELERATION, DECELERATION = 0.5, 0.5  # m/s^2
HARDEST = 4.0  # m/s^2, for somebody who steps in the way
JERK, HARD_JERK = 1.2, 8.0  # m/s^3
TYRE_WAY = 0.8  # m within which the tyres turn from one bend to the next
TYRE_SHARE = 0.6  # of their fastest turn
SLOWEST = 0.4  # m/s, where the bend changes
LAG = 0.3  # s in which the speed comes to what is allowed
REST = 0.03  # m/s, slower is rest


@dataclass(frozen=True)
class Leg:
    """A way in one gear. Columns (N,): poses of base_link (map), ``s`` along the way driven, ``bend`` as in a
    trajectory, ``cap`` the fastest speed (m/s, positive)."""

    x: FloatArray
    y: FloatArray
    yaw: FloatArray
    s: FloatArray
    bend: FloatArray
    cap: FloatArray
    back: bool

    @property
    def length(self) -> float:
        return float(self.s[-1])

    def locate(self, x: float, y: float) -> tuple[float, float]:
        """Arc length and distance of a place beside the leg; beyond its ends along their tangents."""
        k = int(np.argmin((self.x - x) ** 2 + (self.y - y) ** 2))
        way = -1.0 if self.back else 1.0
        dx, dy = x - float(self.x[k]), y - float(self.y[k])
        c, s = math.cos(float(self.yaw[k])), math.sin(float(self.yaw[k]))
        return float(self.s[k]) + way * (c * dx + s * dy), abs(c * dy - s * dx)


Profile = tuple[FloatArray, FloatArray, FloatArray, FloatArray]  # t, s, v, a; v and a along the leg


def legs_of(manoeuvre: Manoeuvre, config: PlannerConfig, vehicle: VehicleParams) -> list[Leg]:
    """The runs in one gear, each with how fast it may be driven."""
    back = manoeuvre.back[:-1]
    cuts = [0, *(np.flatnonzero(back[1:] != back[:-1]) + 1).tolist(), back.size]
    out = []
    for a, b in pairwise(cuts):
        rows = slice(a, b + 1)
        x, y, yaw = (np.asarray(v[rows], np.float64) for v in (manoeuvre.x, manoeuvre.y, manoeuvre.yaw))
        s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        bend = np.asarray(manoeuvre.bend[rows], np.float64).copy()
        bend[-1] = bend[-2]
        leads_back = bool(back[a])
        cap = np.full(s.size, config.reverse_speed if leads_back else config.manoeuvre_speed)
        tyre = np.arctan(bend * vehicle.wheelbase)
        for k in np.flatnonzero(np.abs(np.diff(tyre)) > 1e-3).tolist():
            turned = abs(float(tyre[k + 1] - tyre[k]))
            slow = max(TYRE_SHARE * vehicle.max_steering_rate * TYRE_WAY / turned, SLOWEST)
            near = np.abs(s - s[k]) <= 0.5 * TYRE_WAY + OUT_STEP
            cap[near] = np.minimum(cap[near], slow)
        out.append(Leg(x, y, yaw, s, bend, cap, leads_back))
    return out


def speeds(
    leg: Leg, s: float, v: float, a: float, stop_s: float, wait: float, horizon: float
) -> Profile:  # fmt: skip
    """From ``s`` at ``v`` m/s and ``a`` m/s^2 to rest at ``stop_s``, beginning to move after ``wait`` seconds."""
    n = round(horizon / STEP) + 1
    t = np.arange(n) * STEP
    out = np.zeros((3, n))
    left = max(stop_s - s, 0.02)
    needed = v * v / (2.0 * left)
    braking = DECELERATION if needed <= DECELERATION else min(1.2 * needed, HARDEST)
    jerk = JERK if needed <= DECELERATION else HARD_JERK
    allowed = np.minimum(leg.cap, np.sqrt(2.0 * braking * np.maximum(stop_s - leg.s, 0.0)))
    for k in range(allowed.size - 2, -1, -1):
        reached = math.sqrt(allowed[k + 1] ** 2 + 2.0 * DECELERATION * float(leg.s[k + 1] - leg.s[k]))
        allowed[k] = min(float(allowed[k]), reached)
    out[:, 0] = s, v, a
    for k in range(1, n):
        if t[k] <= wait and v < REST:
            a, v = 0.0, 0.0
        else:
            ahead = s + v * LAG
            fastest = min(
                float(np.interp(ahead, leg.s, allowed)), math.sqrt(2.0 * braking * max(stop_s - ahead, 0.0))
            )  # fmt: skip
            wanted = min(max((fastest - v) / LAG, -braking), ACCELERATION)
            a = min(max(wanted, a - jerk * STEP), a + jerk * STEP)
            v_new = max(v + a * STEP, 0.0)
            s = min(s + 0.5 * (v + v_new) * STEP, max(stop_s, s))
            v = v_new
            if s >= stop_s - 0.01 or (v < REST and a <= 0.0):
                v = a = 0.0
        out[:, k] = s, v, a
    return t, out[0], out[1], out[2]


def trajectory_on(leg: Leg, stamp_ns: int, z: float, profile: Profile) -> Trajectory:
    """Poses on the leg; backwards with negative speeds."""
    t, s, v, a = profile
    points = np.zeros(t.size, TRAJECTORY_DTYPE)
    inside = np.clip(s, 0.0, leg.length)
    way = -1.0 if leg.back else 1.0
    yaw = np.interp(inside, leg.s, np.unwrap(leg.yaw))
    points["x"] = np.interp(inside, leg.s, leg.x) + way * (s - inside) * np.cos(yaw)
    points["y"] = np.interp(inside, leg.s, leg.y) + way * (s - inside) * np.sin(yaw)
    points["z"], points["yaw"] = z, (yaw + np.pi) % (2.0 * np.pi) - np.pi
    points["curvature"] = np.interp(inside, leg.s, leg.bend)
    points["t"], points["s"], points["speed"], points["acceleration"] = t, s - s[0], way * v, way * a
    return Trajectory(stamp_ns, points)


def along(leg: Leg, state: EgoState) -> float:
    """Speed in the leg's direction, m/s."""
    return -state.speed if leg.back else state.speed
