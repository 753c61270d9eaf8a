"""From a speed profile to timed poses on the reference path, and the ways to stand or stop."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.motion.speed_qp import Profile
from robotaxi.planning.reference import SPACING, Reference
from robotaxi.types import TRAJECTORY_DTYPE, EgoState, Trajectory

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

STEP = 0.1  # s
REST = 0.03  # m/s, slower is drawn as rest


def sample(profile: Profile, horizon: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Times, arc lengths, speeds and accelerations every 0.1 s, exact for constant jerk in each step.

    Once the profile comes to rest it stays there; one that starts from rest has not come to it yet.
    """
    t, k, h, h2, h3 = _grid(tuple(profile.times.tolist()), horizon)
    a0, j = profile.acceleration[k], profile.jerk[k]
    s = profile.s[k] + profile.speed[k] * h + a0 * h2 / 2.0 + j * h3 / 6.0
    v = profile.speed[k] + a0 * h + j * h2 / 2.0
    a = a0 + j * h
    moving = v >= REST
    begins = int(np.argmax(moving)) if moving.any() else 0
    resting = begins + np.flatnonzero((v[begins:] < REST) & (a[begins:] <= 0.02))
    if resting.size:
        first = int(resting[0])
        s[first:], v[first:], a[first:] = s[first], 0.0, 0.0
    return t, np.maximum.accumulate(s), np.maximum(v, 0.0), a


@lru_cache(maxsize=4)
def _grid(times: tuple[float, ...], horizon: float) -> tuple[FloatArray, IntArray, FloatArray, FloatArray, FloatArray]:
    """What does not change from cycle to cycle: sample times, the step of each, time in it, its square and cube."""
    t = np.arange(0.0, horizon + 1e-9, STEP)
    nodes = np.array(times)
    k = np.clip(np.searchsorted(nodes, t + 1e-9) - 1, 0, nodes.size - 2)
    h = t - nodes[k]
    t.flags.writeable = False  # it is handed out again and again
    return t, k, h, h**2, h**3


def on_path(
    reference: Reference, stamp_ns: int, t: FloatArray, s: FloatArray, v: FloatArray, a: FloatArray
) -> Trajectory:
    """Poses on ``reference`` at arc lengths ``s``."""
    points = np.zeros(t.size, TRAJECTORY_DTYPE)
    at = s / SPACING
    cell = np.clip(at.astype(np.int64), 0, reference.s.size - 2)
    w = at - cell
    for name in ("x", "y", "z", "yaw", "curvature"):
        values = getattr(reference, name)
        points[name] = values[cell] + w * (values[cell + 1] - values[cell])
    points["yaw"] = (points["yaw"] + np.pi) % (2.0 * np.pi) - np.pi
    points["t"], points["s"], points["speed"], points["acceleration"] = t, s - s[0], v, a
    return Trajectory(stamp_ns, points)


def rest(s: float, horizon: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Times, arc lengths, speeds, accelerations of a car that stays at ``s``."""
    t = np.arange(0.0, horizon + 1e-9, STEP)
    return t, np.full(t.size, s), np.zeros(t.size), np.zeros(t.size)


def standing(state: EgoState, stamp_ns: int, horizon: float) -> Trajectory:
    """Stay where the car is."""
    t = np.arange(0.0, horizon + 1e-9, STEP)
    points = np.zeros(t.size, TRAJECTORY_DTYPE)
    points["x"], points["y"], points["z"], points["yaw"], points["t"] = state.x, state.y, state.z, state.yaw, t
    return Trajectory(stamp_ns, points)


def brake(
    speed: float, acceleration: float, deceleration: float, jerk: float, horizon: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Times, arc lengths, speeds, accelerations of a jerk-limited stop."""
    t = np.arange(0.0, horizon + 1e-9, STEP)
    s, v, a = np.zeros(t.size), np.zeros(t.size), np.zeros(t.size)
    v[0], a[0] = max(speed, 0.0), min(acceleration, 0.0)
    for k in range(1, t.size):
        wanted = -min(deceleration, math.sqrt(2.0 * jerk * v[k - 1]))
        a[k] = min(max(wanted, a[k - 1] - jerk * STEP), a[k - 1] + jerk * STEP)
        v[k] = max(0.0, v[k - 1] + 0.5 * (a[k - 1] + a[k]) * STEP)
        s[k] = s[k - 1] + 0.5 * (v[k - 1] + v[k]) * STEP
        if v[k] < REST:
            s[k:], v[k:], a[k:] = s[k], 0.0, 0.0
            break
    return t, s, v, a


def brake_straight(state: EgoState, stamp_ns: int, config: PlannerConfig) -> Trajectory:
    """Stop along the circle that the car drives now; for when there is no path."""
    t, s, v, a = brake(state.speed, state.acceleration, config.deceleration + 0.5, config.max_jerk, config.horizon)
    curvature = state.yaw_rate / state.speed if state.speed > 1.0 else 0.0
    points = np.zeros(t.size, TRAJECTORY_DTYPE)
    yaw = state.yaw + curvature * s
    half = state.yaw + 0.5 * curvature * s
    chord = s * np.sinc(0.5 * curvature * s / np.pi)
    points["x"], points["y"], points["z"] = state.x + chord * np.cos(half), state.y + chord * np.sin(half), state.z
    points["yaw"], points["t"], points["s"] = (yaw + np.pi) % (2 * np.pi) - np.pi, t, s
    points["speed"], points["acceleration"], points["curvature"] = v, a, curvature
    return Trajectory(stamp_ns, points)
