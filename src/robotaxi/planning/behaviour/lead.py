"""Vehicles ahead on the path, and whatever else stands on it."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

ONCOMING_SPEED = -0.8  # m/s along the path; slower is noise of a standing object
ONCOMING_MARGIN = 0.1  # m beside the body against oncoming traffic, which keeps its own lane
CROSSING_GAP = 1.0  # m to the ground that somebody who crosses the path will cover
LIKELY = 0.2  # probability from which a predicted path counts
FOLLOWED_SPEED = 0.6  # m/s, slower things are stopped for rather than followed
CUT_IN_TIME = 1.5  # s until a neighbour that drifts over counts as a lead
CUT_IN_SPEED = 0.5  # m/s of drift across the path
GOAL_AHEAD = 15.0  # m between an obstacle and a goal behind it from which it is worth going round
FOR_ROOM = 5.0  # m/s^2, hardest braking for the sake of room to go round a thing
REACTION = 0.3  # s until that has built up
PASS_RANGE = 6.0  # m before and behind a close object that are driven slowly


def is_standing(scene: Scene, i: int) -> bool:
    """Whether object ``i`` stands still."""
    return bool(scene.objects["static"][i]) or math.hypot(*_velocity(scene, i)) < scene.config.priority_speed / 2


def in_the_way(scene: Scene, i: int) -> bool:
    """Whether object ``i`` covers the path ahead."""
    lo, hi, clearance, _ = scene.now[i]
    inside = not math.isnan(lo) and hi > scene.front_s - 0.3 * scene.vehicle.length
    if inside and is_standing(scene, i):
        inside = clearance <= scene.config.static_margin - scene.config.moving_margin
    if inside and scene.along[i] < ONCOMING_SPEED:
        inside = clearance <= ONCOMING_MARGIN - scene.config.moving_margin
    return bool(inside)


def follow(scene: Scene) -> list[Constraint]:
    """Leads, obstacles and oncoming objects that cover the corridor now, or are about to cut in."""
    out = []
    for i in range(scene.objects.size):
        lo, _, clearance, near_s = scene.now[i]
        if math.isnan(clearance):
            continue
        static = is_standing(scene, i)
        if in_the_way(scene, i):
            out.append(_behind(scene, i, float(lo), static))
        elif _cuts_in(scene, i, float(clearance), float(near_s)):
            out.append(_behind(scene, i, float(near_s), False))
        elif static and _tight(scene, float(clearance), float(near_s)):
            out.append(_pass_slowly(scene, i, float(clearance), float(near_s)))
    return out


def _velocity(scene: Scene, i: int) -> tuple[float, float]:
    return float(scene.objects["vx"][i]), float(scene.objects["vy"][i])


def _behind(scene: Scene, i: int, lo: float, static: bool) -> Constraint:
    distance = lo - scene.front_s
    along = float(scene.along[i])
    subject, name = int(scene.objects["id"][i]), scene.name(i)
    road_user = scene.objects["label"][i] in (int(ObjectClass.CAR), int(ObjectClass.TRUCK), int(ObjectClass.BICYCLE))
    cause = Cause.LEAD if road_user and not static else Cause.OBSTACLE
    gap = scene.config.lead_gap if cause == Cause.LEAD else scene.config.obstacle_gap
    if static and scene.reference.goal_s - lo > GOAL_AHEAD:
        room = distance - REACTION * scene.speed - scene.speed**2 / (2.0 * FOR_ROOM)
        gap = min(max(room, gap), scene.config.detour_gap)  # room to go round it
    worth = scene.config.emergency_deceleration
    # never ask to back up: a thing nearer than the gap just keeps the car where it is
    s = lo - scene.vehicle.front - gap
    if along > FOLLOWED_SPEED:
        sentence = f"Following {name} at {along:.1f} m/s, {max(distance, 0.0):.0f} m ahead."
        return Constraint(Kind.LEAD, s, cause, sentence, subject, distance, along, deceleration=worth)
    if along < ONCOMING_SPEED:
        nearest = _nearest_on_its_way(scene, i, lo)
        if nearest > scene.front_s + CROSSING_GAP:
            s = nearest - scene.vehicle.front - CROSSING_GAP  # its way leads across, not along
        else:
            # it comes nearer while the car brakes: meet half way
            s -= max(0.0, -along) * min(max(distance, 0.0) / max(scene.speed - along, 1.0), 3.0)
        sentence = stop_sentence(scene.standing, f"{name} comes towards the car", distance)
    else:
        moves = math.hypot(*_velocity(scene, i)) >= scene.config.walking_speed
        where = f"{name} {'crosses' if moves else 'stands on'} the path"
        sentence = stop_sentence(scene.standing, where, distance)
    if cause == Cause.LEAD:
        return Constraint(Kind.LEAD, s, cause, sentence, subject, distance, max(along, 0.0), deceleration=worth)
    return Constraint(Kind.STOP, s, cause, sentence, subject, distance, deceleration=worth)


def _nearest_on_its_way(scene: Scene, i: int, lo: float) -> float:
    """Lowest arc length of the corridor that object ``i`` will cover on its likely paths."""
    predictions = scene.predictions
    likely = np.flatnonzero((predictions.owner == i) & (predictions.probability >= LIKELY))
    covered = scene.ahead[likely, :, 0]
    covered = covered[~np.isnan(covered)]
    return min(lo, float(covered.min())) if covered.size else lo


def _cuts_in(scene: Scene, i: int, clearance: float, near_s: float) -> bool:
    lateral = float(scene.lateral[i])
    if scene.along[i] < 1.0 or near_s < scene.front_s or lateral < CUT_IN_SPEED or near_s > scene.front_s + 40.0:
        return False
    if lateral > 0.6 * scene.along[i]:
        return False  # crosses rather than changes lanes
    return clearance < lateral * CUT_IN_TIME and abs(scene.offset[i]) < 5.0


def _tight(scene: Scene, clearance: float, near_s: float) -> bool:
    gap = clearance + scene.config.moving_margin
    return gap < scene.config.pass_margin and near_s > scene.s - PASS_RANGE


def _pass_slowly(scene: Scene, i: int, clearance: float, near_s: float) -> Constraint:
    gap = clearance + scene.config.moving_margin
    share = float(np.clip(gap / max(scene.config.pass_margin, 1e-3), 0.0, 1.0))
    speed = scene.config.pass_speed * (0.6 + 0.8 * share)
    distance = near_s - scene.front_s
    where = "beside the path" if distance < 0.0 else f"beside the path, {distance:.0f} m ahead"
    return Constraint(
        Kind.CAP,
        near_s - scene.vehicle.front - PASS_RANGE / 2,
        Cause.OBSTACLE,
        f"Passing {scene.name(i)} slowly, {where}.",
        int(scene.objects["id"][i]),
        distance,
        speed,
        near_s + PASS_RANGE / 2,
    )
