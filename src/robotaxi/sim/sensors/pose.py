"""Where the ego's base_link is, as a transform."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.sim.view import WorldView
from robotaxi.types import FloatArray


def map_from_base(view: WorldView) -> FloatArray:
    """T_map_base (4x4) of the true ego pose."""
    ego = view.ego
    cos, sin = math.cos(ego.yaw), math.sin(ego.yaw)
    return np.array([[cos, -sin, 0.0, ego.x], [sin, cos, 0.0, ego.y], [0.0, 0.0, 1.0, ego.z], [0.0, 0.0, 0.0, 1.0]])
