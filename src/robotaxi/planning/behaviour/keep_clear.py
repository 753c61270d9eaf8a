"""Keeping junctions clear: stay before one that the car could not leave again (Vienna Convention, article 18)."""

from __future__ import annotations

import math

from robotaxi.planning.behaviour.lead import is_standing
from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

SLOW = 2.5  # m/s; who is faster will have made room
REACTION = 1.0  # s in which a slow vehicle ahead is expected to go on
LONGEST = 45.0  # m; a longer junction (a roundabout) is not held free as one
SPARE = 0.5  # m between the rear bumper and the junction


def keep_clear(scene: Scene) -> list[Constraint]:
    """A stop before the next junction with cross traffic while a slow vehicle leaves no room behind it."""
    config, vehicle = scene.config, scene.vehicle
    for crossing in scene.features.crossings:
        begin = min(zone.own_in for zone in crossing.zones)
        end = max(zone.own_out for zone in crossing.zones)
        if scene.front_s > crossing.line_s + 0.3 or end - begin > LONGEST:
            continue
        if crossing.line_s - scene.front_s > config.look_ahead / 2.0:
            break
        needed = end + vehicle.rear_overhang + SPARE + vehicle.front + config.lead_gap
        blocker = _blocker(scene, begin, needed)
        if blocker is None:
            continue
        distance = crossing.line_s - scene.front_s
        stop = crossing.line_s - config.line_gap - vehicle.front
        if not scene.standing and scene.needed_deceleration(stop) > config.commit_deceleration:
            continue
        place = f"junction {crossing.junction_id}" if crossing.junction_id is not None else "the junction"
        sentence = stop_sentence(scene.standing, f"no room behind {scene.name(blocker)} beyond {place}", distance)
        subject = int(scene.objects["id"][blocker])
        return [Constraint(Kind.STOP, stop, Cause.LEAD, sentence, subject, distance)]
    return []


def _blocker(scene: Scene, begin: float, needed: float) -> int | None:
    """The slow vehicle on the path between ``begin`` and ``needed``, nearest first."""
    best, best_s = None, needed
    for i in range(scene.objects.size):
        lo = float(scene.now[i, 0])
        if math.isnan(lo) or scene.objects["label"][i] in (int(ObjectClass.PEDESTRIAN), int(ObjectClass.UNKNOWN)):
            continue
        along = float(scene.along[i])
        if along > SLOW or along < -0.5 or scene.objects["static"][i]:
            continue  # what never moved is no queue: it is gone round
        rear = lo + (0.0 if is_standing(scene, i) else along * REACTION)
        if begin < rear < best_s and lo > scene.front_s:
            best, best_s = i, rear
    return best
