"""Cars parked in strips beside the road."""

from __future__ import annotations

import math

import numpy as np
import shapely

from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.layout import lane_polygon
from robotaxi.sim.scenery.road_users import PALETTE
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import ObjectClass, RecordArray

_SLOT = 6.2  # m along the road
_STRIP_WIDTH = 2.7  # m
_RUN = 7  # slots that are decided together: parking comes in stretches
_FROM_JUNCTION = 18.0  # m, no parking nearer to either end of a lane
_FROM_BAY = 14.0  # m, room to drive into a pick-up bay and out
_FROM_CROSSWALK = 14.0  # m, so that people who cross are seen
_MAX_BEND = math.radians(4.0)  # within one slot
_FIRST_ID = 0x40000000  # ids of parked cars lie above those of moving agents
_ENDS_MARGIN = 0.4  # m of a slot that stays free at either end


def place_parked(lane_map: LaneMap, config: SceneryConfig) -> tuple[RecordArray, shapely.Geometry]:
    """Parked cars (AGENT_DTYPE) and the strips to pave for them.

    Every slot keeps ``lane_clearance`` from every lane and bay, and its distance from bays and crosswalks.
    """
    nothing = np.zeros(0, AGENT_DTYPE)
    if not config.parking:
        return nothing, shapely.MultiPolygon()
    rng = np.random.default_rng([config.seed, 2])
    slots, strips, poses = [], [], []
    for _, lane in sorted(lane_map.lanes.items()):
        if lane.junction_id is not None or lane.right_neighbour is not None:
            continue
        if lane.speed_limit > config.parking_max_speed:
            continue
        for x, y, z, yaw in _lane_slots(lane, rng, config):
            slots.append(_oriented(x, y, yaw, _SLOT, _STRIP_WIDTH, -config.lane_clearance - 0.5 * _STRIP_WIDTH))
            strips.append(_oriented(x, y, yaw, _SLOT, _STRIP_WIDTH + config.lane_clearance, -0.5 * _STRIP_WIDTH - 0.3))
            poses.append((x, y, z, yaw))
    if not slots:
        return nothing, shapely.MultiPolygon()
    shapes = np.array(slots, dtype=object)
    # 1 cm inside the clearance, so that a slot does not touch the very lane that it lies along
    lanes = shapely.union_all([lane_polygon(lane_map.lanes[i]) for i in sorted(lane_map.lanes)])
    bays = [shapely.Polygon(p.polygon[:, :2]) for _, p in sorted(lane_map.stopping_places.items())]
    walks = [shapely.Polygon(c.polygon[:, :2]) for _, c in sorted(lane_map.crosswalks.items())]
    keep_off = shapely.union_all(
        [
            shapely.buffer(lanes, config.lane_clearance - 0.01),
            shapely.buffer(shapely.union_all(bays), _FROM_BAY),
            shapely.buffer(shapely.union_all(walks), _FROM_CROSSWALK),
        ]
    )
    shapely.prepare(keep_off)
    fits = ~shapely.intersects(keep_off, shapes)
    overlap_a, overlap_b = shapely.STRtree(shapes).query(shapely.buffer(shapes, -0.2), predicate="intersects")
    for a, b in zip(overlap_a.tolist(), overlap_b.tolist(), strict=True):
        if a < b and fits[a]:
            fits[b] = False
    draw = rng.random((len(slots), 7))
    parked = [
        _car(index, poses[index], draw[index], config)
        for index in np.flatnonzero(fits & (draw[:, 0] < config.parking_fill))
    ]
    paved = shapely.union_all([strips[i] for i in np.flatnonzero(fits)])
    return np.array(parked, AGENT_DTYPE), paved


def _lane_slots(lane: Lane, rng: np.random.Generator, config: SceneryConfig) -> list[tuple[float, float, float, float]]:
    """Slots of the stretches drawn for parking: point of the right edge and yaw."""
    edge = lane.right
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(edge[:, :2], axis=0), axis=1))])
    at = np.arange(_FROM_JUNCTION + 0.5 * _SLOT, s[-1] - _FROM_JUNCTION - 0.5 * _SLOT, _SLOT)
    has_parking = np.repeat(rng.random(len(at) // _RUN + 1) < config.parking_share, _RUN)[: len(at)]
    out = []
    for position in at[has_parking]:
        x, y, z = (float(np.interp(position, s, edge[:, k])) for k in range(3))
        yaw, bend = _heading(edge, s, position)
        if abs(bend) < _MAX_BEND:
            out.append((x, y, z, yaw))
    return out


def _heading(edge: np.ndarray, s: np.ndarray, position: float) -> tuple[float, float]:
    ends = np.array([position - 0.5 * _SLOT, position, position + 0.5 * _SLOT])
    x, y = np.interp(ends, s, edge[:, 0]), np.interp(ends, s, edge[:, 1])
    first = math.atan2(y[1] - y[0], x[1] - x[0])
    second = math.atan2(y[2] - y[1], x[2] - x[1])
    return math.atan2(y[2] - y[0], x[2] - x[0]), math.remainder(second - first, 2.0 * math.pi)


def _oriented(x: float, y: float, yaw: float, length: float, width: float, lateral: float) -> shapely.Geometry:
    """Rectangle whose middle lies ``lateral`` left of a point."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    cx, cy = x - lateral * sin, y + lateral * cos
    return shapely.Polygon(
        [
            (cx + u * length * cos - v * width * sin, cy + u * length * sin + v * width * cos)
            for u, v in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
        ]
    )


def _car(
    index: int, pose: tuple[float, float, float, float], draw: np.ndarray, config: SceneryConfig
) -> tuple[float, ...]:
    x, y, z, yaw = pose
    length = 3.8 + 1.1 * draw[1]
    width = 1.7 + 0.2 * draw[2]
    along = (draw[3] - 0.5) * max(_SLOT - length - 2 * _ENDS_MARGIN, 0.0)
    lateral = -(config.lane_clearance + 0.05 + 0.25 * draw[4] + 0.5 * width)
    skew = math.radians(1.5) * (2.0 * draw[5] - 1.0)
    cos, sin = math.cos(yaw), math.sin(yaw)
    return (
        _FIRST_ID + index,
        int(ObjectClass.CAR),
        int(draw[6] * len(PALETTE)),
        x + along * cos - lateral * sin,
        y + along * sin + lateral * cos,
        z,
        yaw + skew,
        length,
        width,
        1.42 + 0.25 * draw[2],
        0.0,
        0.0,
        0.0,
    )
