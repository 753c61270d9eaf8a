"""Contact between the ego and everything else: oriented boxes, an impulse, and whose fault it was.

Overlap by the separating axis theorem, vectorised over all others. Response: one planar impulse with
restitution along the axis of least penetration, lever arm included, as for two rigid bodies (Baraff,
SIGGRAPH course notes 1997). Fault as in nuPlan's closed-loop metrics (Karnchanachari et al. 2024,
"at-fault collisions"): see `at_fault`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import ObjectClass, RecordArray

FloatArray = NDArray[np.float64]

# Typical masses in kg by class; what is not in the list cannot be moved.
MASS = {
    int(ObjectClass.CAR): 1500.0,
    int(ObjectClass.TRUCK): 9000.0,
    int(ObjectClass.BICYCLE): 250.0,
    int(ObjectClass.PEDESTRIAN): 75.0,
}


@dataclass(frozen=True)
class Box:
    """Oriented rectangle: centre and yaw in map, full length and width."""

    x: float
    y: float
    yaw: float
    length: float
    width: float

    def corners(self) -> FloatArray:
        """(4, 2): front left, front right, rear right, rear left."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        half_length, half_width = self.length / 2.0, self.width / 2.0
        return np.array(
            [
                (self.x + c * along - s * across, self.y + s * along + c * across)
                for along, across in (
                    (half_length, half_width),
                    (half_length, -half_width),
                    (-half_length, -half_width),
                    (-half_length, half_width),
                )
            ]
        )


class Side(Enum):
    """Which part of the ego touched."""

    FRONT = "front bumper"
    REAR = "rear bumper"
    LATERAL = "side"


def overlap(box: Box, others: RecordArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Which of ``others`` (N records with x, y, yaw, length, width) overlap ``box``.

    Returns (N,) mask, (N,) penetration depth in m (valid where the mask holds) and (N, 2) unit normals
    pointing from the other to ``box``.
    """
    dx, dy = box.x - others["x"], box.y - others["y"]
    c0, s0 = np.cos(box.yaw), np.sin(box.yaw)
    c1, s1 = np.cos(others["yaw"]), np.sin(others["yaw"])
    cos_d, sin_d = np.abs(c0 * c1 + s0 * s1), np.abs(c0 * s1 - s0 * c1)
    l0, w0 = box.length / 2.0, box.width / 2.0
    l1, w1 = others["length"] / 2.0, others["width"] / 2.0
    ones = np.ones_like(dx)
    axes = np.stack(
        [
            np.stack([c0 * ones, s0 * ones], axis=1),
            np.stack([-s0 * ones, c0 * ones], axis=1),
            np.stack([c1, s1], axis=1),
            np.stack([-s1, c1], axis=1),
        ]
    )
    reach = np.stack(
        [
            l0 + l1 * cos_d + w1 * sin_d,
            w0 + l1 * sin_d + w1 * cos_d,
            l1 + l0 * cos_d + w0 * sin_d,
            w1 + l0 * sin_d + w0 * cos_d,
        ]
    )
    distance = axes[:, :, 0] * dx + axes[:, :, 1] * dy
    depth = reach - np.abs(distance)
    best = np.argmin(depth, axis=0)
    index = np.arange(len(dx))
    sign = np.where(distance[best, index] < 0.0, -1.0, 1.0)
    return depth[best, index] > 0.0, depth[best, index], axes[best, index] * sign[:, None]


def touched_side(ego: Box, other: Box) -> Side:
    """Front or rear if that bumper line crosses the other's box, as nuPlan does; else the side."""
    corners = ego.corners()
    if _segment_meets(corners[0], corners[1], other):
        return Side.FRONT
    if _segment_meets(corners[2], corners[3], other):
        return Side.REAR
    return Side.LATERAL


def at_fault(side: Side, ego_speed: float, other_speed: float, astray: bool, stopped: float) -> bool:
    """nuPlan's rule. A standing ego never is at fault. Against one who stands it always is. Otherwise
    it is when its front bumper hits, or its side while ``astray``: astride two lanes or off the road."""
    if abs(ego_speed) <= stopped:
        return False
    if abs(other_speed) <= stopped:
        return True
    return side is Side.FRONT or (side is Side.LATERAL and astray)


def impulse(
    normal: FloatArray,
    lever: FloatArray,
    ego_velocity: FloatArray,
    ego_yaw_rate: float,
    ego_mass: float,
    ego_inertia: float,
    other_velocity: FloatArray,
    other_mass: float,
    restitution: float,
) -> tuple[FloatArray, float, FloatArray]:
    """New ego velocity (2,), yaw rate and velocity of the other (2,), all in map.

    ``normal`` points at the ego, ``lever`` from its centre of mass to the contact. ``other_mass``
    infinite: a wall. Nothing changes where the two already part.
    """
    at_contact = ego_velocity + ego_yaw_rate * np.array([-lever[1], lever[0]])
    closing = float((at_contact - other_velocity) @ normal)
    if closing >= 0.0:
        return ego_velocity, ego_yaw_rate, other_velocity
    arm = float(lever[0] * normal[1] - lever[1] * normal[0])
    compliance = 1.0 / ego_mass + arm * arm / ego_inertia + 1.0 / other_mass
    size = -(1.0 + restitution) * closing / compliance
    return (
        ego_velocity + normal * (size / ego_mass),
        ego_yaw_rate + arm * size / ego_inertia,
        other_velocity - normal * (size / other_mass),
    )


def _segment_meets(a: FloatArray, b: FloatArray, box: Box) -> bool:
    """Whether the segment crosses the box: clipped against it in the box's own axes."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    turn = np.array([[c, s], [-s, c]])
    start = turn @ (a - np.array([box.x, box.y]))
    step = turn @ (b - a)
    low, high = 0.0, 1.0
    for k, half in enumerate((box.length / 2.0, box.width / 2.0)):
        if abs(step[k]) < 1e-12:
            if abs(start[k]) > half:
                return False
            continue
        t0, t1 = sorted(((-half - start[k]) / step[k], (half - start[k]) / step[k]))
        low, high = max(low, float(t0)), min(high, float(t1))
    return low <= high
