"""Leaving a bay and changing lanes: wait until the lane is free."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.planning.behaviour.give_way import merge_time
from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.reference import LaneChange
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

COMMITTED = 1.0  # m driven out of a bay until which there is waiting however shallow it is
PASSABLE = 1.2  # m between body and the lane's middle that others need; nearer there is no waiting any more
PULL_OUT_TIME = 2.5  # s until the body is in the lane
MERGE_TIME = 2.0  # s until the body is in the new lane
SIDE_GAP = 2.5  # m to somebody alongside, along the lane
NEAR_LANE = 8.0  # m, farther from the lane the car is not beside it
CHANGE_RANGE = 60.0  # m before a change from which its gap is watched


def leave_bay(scene: Scene) -> list[Constraint]:
    """Stay in the bay while traffic comes from behind; whoever is seen late is waited for as long as he can pass."""
    reference = scene.reference
    if not reference.start_s < reference.pull_out_s or scene.s > reference.pull_out_s:
        return []
    last_s = _last_in_the_bay(scene)
    if scene.s > last_s or scene.needed_deceleration(last_s) > scene.config.commit_deceleration:
        return []
    other = blocking(scene, reference.route.lane_ids[0], PULL_OUT_TIME)
    if other is None:
        return []
    distance = abs(float(scene.centre_s[other]) - scene.s)
    doing = "Waiting" if scene.standing else "Stopping"
    sentence = f"{doing}: {scene.name(other)} comes from behind, {distance:.0f} m away, before leaving the bay."
    stop_s = scene.s if scene.standing else last_s
    return [Constraint(Kind.STOP, stop_s, Cause.YIELD, sentence, int(scene.objects["id"][other]), distance)]


def _last_in_the_bay(scene: Scene) -> float:
    """The last place (s) on the way out of a bay where the front leaves room for those who pass."""
    reference, front = scene.reference, scene.vehicle.front
    way = slice(reference.index(reference.start_s), reference.index(reference.pull_out_s) + 1)
    x, y, yaw = reference.x[way], reference.y[way], reference.yaw[way]
    dx, dy = x + front * np.cos(yaw) - x[0], y + front * np.sin(yaw) - y[0]
    aside = np.abs(math.cos(yaw[0]) * dy - math.sin(yaw[0]) * dx)  # of the front, from the line on which it began
    passable = aside[-1] - aside - 0.5 * scene.vehicle.width >= PASSABLE
    return max(float(reference.s[way][max(int(passable.argmin()) - 1, 0)]), reference.start_s + COMMITTED)


def change_lanes(scene: Scene) -> list[Constraint]:
    """Stop before a lane change that is not free; the planner delays the change first where it can."""
    change = next_change(scene)
    if change is None:
        return []
    other = blocking(scene, change.to_lane, MERGE_TIME)
    if other is None or scene.needed_deceleration(change.start_s) > scene.config.commit_deceleration:
        return []
    distance = change.start_s - scene.s
    what = f"{scene.name(other)} in the way of the change to lane {change.to_lane}"
    sentence = stop_sentence(scene.standing, what, distance)
    subject = int(scene.objects["id"][other])
    return [Constraint(Kind.STOP, change.start_s, Cause.LANE_CHANGE, sentence, subject, distance)]


def next_change(scene: Scene) -> LaneChange | None:
    """The next lane change that has not begun and is near."""
    for change in scene.reference.changes:
        if change.start_s > scene.s - 0.5:
            return change if change.start_s - scene.s < CHANGE_RANGE else None
    return None


def blocking(scene: Scene, lane_id: int, time_to_enter: float) -> int | None:
    """Index of an object on ``lane_id`` or leading there that needs the place the car wants."""
    lane = scene.graph.index[lane_id]
    upstream = scene.features.lane_upstream.get(lane, {lane: 0.0})
    k = scene.reference.index(scene.s)
    own_s = _own_place(scene, k, lane)
    if own_s is None:
        return None
    for i in range(scene.objects.size):
        if scene.objects["label"][i] == int(ObjectClass.PEDESTRIAN):
            continue
        speed = math.hypot(float(scene.objects["vx"][i]), float(scene.objects["vy"][i]))
        half = 0.5 * float(scene.objects["length"][i])
        for slot in range(scene.predictions.match_lane.shape[1]):
            at = int(scene.predictions.match_lane[i, slot])
            if at < 0 or at not in upstream or scene.objects["static"][i]:
                continue
            ahead = -upstream[at] + float(scene.predictions.match_s[i, slot]) - own_s
            behind = -scene.vehicle.rear_overhang - (ahead + half)  # free metres behind our bumper
            before = (ahead - half) - scene.vehicle.front
            if before > 0.0:
                if before < SIDE_GAP and speed < scene.speed + 1.0 and scene.speed > 1.0:
                    return i
                continue
            if behind < SIDE_GAP and speed >= scene.config.priority_speed:
                return i
            if speed < scene.config.priority_speed:
                continue
            room = (time_to_enter + merge_time(scene, speed, time_to_enter)) * speed - scene.speed * time_to_enter
            if behind < room - scene.config.gap_before * scene.speed * 0.5:
                return i
    return None


def _own_place(scene: Scene, k: int, lane: int) -> float | None:
    """The car's arc length on ``lane`` beside which it stands or drives, None where it is not near."""
    graph, reference = scene.graph, scene.reference
    first = int(graph.start[lane])
    last = first + int(graph.count[lane])
    d = (graph.x[first:last] - reference.x[k]) ** 2 + (graph.y[first:last] - reference.y[k]) ** 2
    best = int(d.argmin())
    return float(best * graph.spacing[lane]) if float(d[best]) < NEAR_LANE**2 else None
