"""Ways along lanes, or straight on: what somebody who was put down somewhere drives or walks along."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.hdmap.lane_map import Lane, LaneMap, LaneMatch
from robotaxi.sim.events.movers import SPACING, Way, bend_over
from robotaxi.types import Pose2

BEFORE, BEYOND = 300.0, 600.0  # m of lanes behind and ahead
STRAIGHT = 300.0  # m of way of those who are on no lane
ON_LANE = 1.0  # m beside a lane's edge up to which somebody is on it
TURNED = 0.8  # rad
LANE_WIDTH = 3.5  # m where the map does not say


def lane_under(lane_map: LaneMap, pose: Pose2) -> LaneMatch | None:
    """The lane that somebody at ``pose`` drives on."""
    for match in lane_map.nearest_lanes(pose.x, pose.y, pose.yaw, 4.0):
        near = abs(match.offset) < 0.5 * width_of(lane_map.lanes[match.lane_id], match.s) + ON_LANE
        if near and abs(match.yaw_error) < TURNED:
            return match
    return None


def along_lanes(lane_map: LaneMap, pose: Pose2) -> Way | None:
    """The straightest way through the lane under ``pose``, None where there is none; ``start_s``: at ``pose``."""
    match = lane_under(lane_map, pose)
    if match is None:
        return None
    chain, first = [lane_map.lanes[match.lane_id]], match.s
    while first < BEFORE and chain[0].predecessors:
        here = chain[0]
        chain.insert(0, lane_map.lanes[min(here.predecessors, key=lambda i: bend_over(lane_map, i, here.id))])
        first += chain[0].length
    ahead = chain[-1].length - match.s
    while ahead < BEYOND and chain[-1].successors:
        last = chain[-1]
        chain.append(lane_map.lanes[min(last.successors, key=lambda i: bend_over(lane_map, last.id, i))])
        ahead += chain[-1].length
    points = np.concatenate([lane.centerline[:, :2] for lane in chain])
    return polyline_way(points, first)


def polyline_way(points: np.ndarray, start_s: float = 0.0) -> Way | None:
    """A way along ``points`` (N, 2), None where they are one place."""
    keep = np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-3])
    points = points[keep]
    if len(points) < 2:
        return None
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    s = np.arange(0.0, arc[-1] + SPACING, SPACING)
    x, y = np.interp(s, arc, points[:, 0]), np.interp(s, arc, points[:, 1])
    if arc[-1] < s[-1]:  # beyond the last point straight on, so that each sample has a direction
        over = s[-1] - arc[-1]
        direction = (points[-1] - points[-2]) / np.hypot(*(points[-1] - points[-2]))
        x[-1], y[-1] = points[-1] + over * direction
    yaw = np.unwrap(np.arctan2(np.gradient(y), np.gradient(x)))
    return Way(x, y, yaw, start_s)


def straight_on(pose: Pose2) -> Way:
    """Where ``pose`` faces."""
    s = np.arange(-10.0, STRAIGHT, SPACING)
    return Way(
        pose.x + s * math.cos(pose.yaw), pose.y + s * math.sin(pose.yaw), np.full(s.size, pose.yaw), 10.0
    )  # fmt: skip


def pose_on(way: Way, s: float, offset: float) -> Pose2 | None:
    """``offset`` m left of the way at ``s``, None beyond its ends."""
    at = s / SPACING
    if not 0.0 <= at <= way.x.size - 1:
        return None
    k = min(int(at), way.x.size - 2)
    share = at - k
    yaw = float(way.yaw[k] + share * (way.yaw[k + 1] - way.yaw[k]))
    x = float(way.x[k] + share * (way.x[k + 1] - way.x[k])) - math.sin(yaw) * offset
    y = float(way.y[k] + share * (way.y[k + 1] - way.y[k])) + math.cos(yaw) * offset
    return Pose2(x, y, yaw)


def beside(lane_map: LaneMap, pose: Pose2, lanes: int) -> float:
    """Metres to the left from the middle of the lane under ``pose`` to that of the lane ``lanes`` to the left."""
    match = lane_under(lane_map, pose)
    if match is None:
        return lanes * LANE_WIDTH
    lane, offset = lane_map.lanes[match.lane_id], 0.0
    side = 1 if lanes > 0 else -1
    for _ in range(abs(lanes)):
        width = width_of(lane, match.s)
        key = lane.left_neighbour if side > 0 else lane.right_neighbour
        if key is None:
            offset += side * width  # the lane beyond is as wide as this one
            continue
        lane = lane_map.lanes[key]
        offset += side * 0.5 * (width + width_of(lane, match.s))
    return offset


def width_of(lane: Lane, s: float) -> float:
    """Width of ``lane`` at arc length ``s``."""
    k = int(np.clip(np.searchsorted(lane.s, s), 0, lane.s.size - 1))
    return float(np.hypot(*(lane.left[k, :2] - lane.right[k, :2])))
