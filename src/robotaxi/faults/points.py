"""Lidar points without a ray caster: the sides of every box around the car, and some ground."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.sim.view import WorldView
from robotaxi.types import FloatArray, RecordArray

_RANGE = 45.0  # m
_STEP = 0.25  # m along a side
_HEIGHTS = np.array([0.45, 0.7, 0.95, 1.2])
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
_ANGLE = np.linspace(-math.pi, math.pi, 60, endpoint=False)
_GROUND = np.concatenate([np.column_stack([r * np.cos(_ANGLE), r * np.sin(_ANGLE)]) for r in (4.0, 7.0, 12.0, 20.0)])


def surface_points(view: WorldView, parked: RecordArray, noise: FloatArray) -> RecordArray:
    """Points (N,) in base_link. ``noise`` (3,): standard normal numbers, by which the whole sweep is shifted (cm)."""
    ego = view.ego
    agents = np.concatenate([view.agents, parked])
    near = agents[np.hypot(agents["x"] - ego.x, agents["y"] - ego.y) < _RANGE]
    outlines = [_GROUND] + [_outline(box, ego.x, ego.y, ego.yaw) for box in near]
    heights = [np.zeros(1)] + [_HEIGHTS[max(float(box["height"]), 0.5) > _HEIGHTS] for box in near]
    count = sum(len(a) * len(h) for a, h in zip(outlines, heights, strict=True))
    out = np.zeros(count, _POINT)
    at = 0
    for outline, levels in zip(outlines, heights, strict=True):
        n = len(outline) * len(levels)
        out["x"][at : at + n] = np.repeat(outline[:, 0], len(levels))
        out["y"][at : at + n] = np.repeat(outline[:, 1], len(levels))
        out["z"][at : at + n] = np.tile(levels, len(outline))
        at += n
    for axis, shift in zip(("x", "y", "z"), noise, strict=True):
        out[axis] += np.float32(0.01 * shift)
    return out


def _outline(box: np.void, x: float, y: float, yaw: float) -> FloatArray:
    """Points (N, 2) on the four sides of a box, in the frame of a pose."""
    length, width = float(box["length"]), float(box["width"])
    u = np.linspace(-length / 2.0, length / 2.0, max(int(length / _STEP), 2) + 1)
    v = np.linspace(-width / 2.0, width / 2.0, max(int(width / _STEP), 2) + 1)
    sides = [np.column_stack([u, np.full(len(u), s * width / 2.0)]) for s in (-1.0, 1.0)]
    sides += [np.column_stack([np.full(len(v), s * length / 2.0), v]) for s in (-1.0, 1.0)]
    local = np.concatenate(sides)
    c, s = math.cos(float(box["yaw"]) - yaw), math.sin(float(box["yaw"]) - yaw)
    dx, dy = float(box["x"]) - x, float(box["y"]) - y
    cy, sy = math.cos(yaw), math.sin(yaw)
    return np.column_stack(
        [c * local[:, 0] - s * local[:, 1] + cy * dx + sy * dy, s * local[:, 0] + c * local[:, 1] - sy * dx + cy * dy]
    )
