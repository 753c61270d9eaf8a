"""Vehicles about to drive into the path although nobody gave them the right."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

FREE_HORIZON = 2.2  # s that constant velocity is believed for a vehicle off the lanes
CYCLIST_HORIZON = 3.0  # s for a cyclist, who needs longer to cross
CYCLIST_SPARE = 1.0  # s between the car and a cyclist that it passes before: he may ride faster than now
LEAST_GAP = 1.0  # m before the ground that somebody on a lane will cover
LANE_HORIZON = 1.0  # s within which a vehicle on a lane that must yield is no longer trusted to stop
MIN_SPEED = 1.0  # m/s
STOPPABLE = 5.0  # m/s^2: who could stop harder than this does not count


def mind_crossing_traffic(scene: Scene) -> list[Constraint]:
    """Stop before vehicles that enter the corridor within moments, whoever has priority."""
    out = []
    predictions = scene.predictions
    own = set(scene.reference.route.lane_ids)
    for p in range(predictions.size):
        i = int(predictions.owner[p])
        if scene.objects["label"][i] == int(ObjectClass.PEDESTRIAN) or predictions.speed[p] < MIN_SPEED:
            continue
        if not math.isnan(scene.now[i, 0]):
            continue  # already on the path: `follow` handles it
        chain = predictions.chains[p]
        if chain and (scene.graph.ids[chain[0]] in own or predictions.probability[p] < 0.3):
            continue
        cyclist = scene.objects["label"][i] == int(ObjectClass.BICYCLE)
        horizon = LANE_HORIZON if chain else CYCLIST_HORIZON if cyclist else FREE_HORIZON
        last = round(horizon / (predictions.times[1] - predictions.times[0]))
        if not chain and scene.lateral[i] < 0.3 * predictions.speed[p]:
            continue  # drives along the path: noise in its heading, not a crossing
        found = _entry(scene, p, last)
        if found is None:
            continue
        t, lo, hi = found
        reach = predictions.speed[p] * t
        if chain and predictions.speed[p] ** 2 / (2.0 * STOPPABLE) < reach - 0.5:
            continue
        t_in = (lo - scene.front_s) / max(scene.speed, 1.0)
        t_gone = (hi + scene.vehicle.rear_overhang - scene.s) / max(scene.speed, 0.5)
        spare = CYCLIST_SPARE if cyclist else 0.0
        if t_gone + spare < t or t_in > t + 3.0 or lo < scene.front_s:
            continue
        distance = lo - scene.front_s
        sentence = stop_sentence(scene.standing, f"{scene.name(i)} drives into the path", distance)
        gap = scene.config.obstacle_gap
        if chain:  # on a lane it keeps its way: where normal braking stops the car before that, nothing more is asked
            room = distance - scene.speed**2 / (2.0 * scene.config.deceleration)
            gap = min(max(room, LEAST_GAP), gap)
        s = lo - gap - scene.vehicle.front
        # on a lane somebody may yet stop; who crosses off the lanes comes
        worth = scene.config.max_deceleration if chain else scene.config.emergency_deceleration
        out.append(
            Constraint(
                Kind.STOP, s, Cause.OBSTACLE, sentence, int(scene.objects["id"][i]), distance, deceleration=worth
            )
        )
    return out


def _entry(scene: Scene, p: int, last: int) -> tuple[float, float, float] | None:
    """Time and corridor part of the first predicted entry."""
    covered = np.flatnonzero(~np.isnan(scene.ahead[p, : last + 1, 0]))
    if not covered.size:
        return None
    k = int(covered[0])
    return float(scene.predictions.times[k]), float(scene.ahead[p, k, 0]), float(scene.ahead[p, k, 1])
