"""Where the ground lies in shadow: one picture of the whole map, baked once, because the sun stands still."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.layout import Layout
from robotaxi.sim.scenery.objects import GABLE_RISE, LAMP_POST_HEIGHT, PLINTH, STOREY
from robotaxi.sim.scenery.placement import Placement
from robotaxi.types import FloatArray, RecordArray

_MAX_CELLS = 24_000_000  # a larger map gets larger cells instead of more memory
_BLUR_CELLS = 3  # soft edges
_SUB_PIXEL_BITS = 4


@dataclass(frozen=True)
class ShadowMap:
    """``shade`` (rows, columns) uint8, 255 in full shadow; its cell (0, 0) is centred at (x, y) in map."""

    shade: NDArray[np.uint8]
    x: float
    y: float
    cell: float


def sun_direction(config: SceneryConfig) -> FloatArray:
    """Unit vector (3,) towards the sun, map axes."""
    azimuth, elevation = math.radians(config.sun_azimuth_deg), math.radians(config.sun_elevation_deg)
    return np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )


def bake_shadows(layout: Layout, placement: Placement, parked: RecordArray, config: SceneryConfig) -> ShadowMap:
    """Shadows of buildings, trees, lamp posts and parked cars on flat ground."""
    x_lo, y_lo, x_hi, y_hi = (float(v) for v in shapely.bounds(layout.surface))
    margin = 0.5 * config.ground_margin
    x_lo, y_lo, x_hi, y_hi = x_lo - margin, y_lo - margin, x_hi + margin, y_hi + margin
    cell = max(config.shadow_cell, math.sqrt((x_hi - x_lo) * (y_hi - y_lo) / _MAX_CELLS))
    shade = np.zeros((int((y_hi - y_lo) / cell) + 1, int((x_hi - x_lo) / cell) + 1), np.uint8)
    sun = sun_direction(config)
    per_metre = -sun[:2] / max(float(sun[2]), 1e-3)  # of height

    corner, sub_pixels = np.array([x_lo, y_lo]), (1 << _SUB_PIXEL_BITS) / cell

    def cast(outline: FloatArray, low: float, high: float) -> None:
        both = np.concatenate([outline + low * per_metre, outline + high * per_metre])
        hull = cv2.convexHull(((both - corner) * sub_pixels).astype(np.int32))
        cv2.fillConvexPoly(shade, hull, 255, cv2.LINE_AA, _SUB_PIXEL_BITS)

    for b in placement.buildings:
        height = PLINTH + STOREY * int(b["storeys"]) + (0.6 * GABLE_RISE if b["gable"] else 0.0)
        cast(_outline(b["x"], b["y"], b["yaw"], b["width"], b["length"]), 0.0, height)
    angle = np.arange(10) * (2.0 * np.pi / 10)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for t in placement.trees:
        middle, height = np.array([t["x"], t["y"]]), float(t["height"])
        cast(middle + 0.85 * float(t["crown_radius"]) * circle, 0.45 * height, 0.9 * height)
    for p in placement.posts[placement.posts["kind"] == "lamp"]:
        cast(np.array([p["x"], p["y"]]) + 0.1 * circle, 0.0, LAMP_POST_HEIGHT)
    for c in parked:
        cast(_outline(c["x"], c["y"], c["yaw"], c["length"], c["width"]), 0.0, 0.8 * float(c["height"]))
    soft = np.asarray(cv2.blur(shade, (_BLUR_CELLS, _BLUR_CELLS)), np.uint8)
    return ShadowMap(soft, x_lo, y_lo, cell)


def _outline(x: float, y: float, yaw: float, along: float, across: float) -> FloatArray:
    cos, sin = math.cos(yaw), math.sin(yaw)
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * (along, across)
    return corners @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
