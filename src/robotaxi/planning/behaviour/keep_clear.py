"""Keeping junctions clear: stay before one that the car could not leave again (Vienna Convention, article 18)."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.planning.behaviour.lead import is_standing
from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

SLOW = 2.5  # m/s; who is faster will have made room
REACTION = 1.0  # s in which a slow vehicle ahead is expected to go on
LONGEST = 45.0  # m; a longer junction (a roundabout) is not held free as one
SPARE = 0.5  # m between the rear bumper and the junction


def keep_clear(scene: Scene, no_way_id: int = 0) -> list[Constraint]:
    """A stop before the next junction with cross traffic while a slow vehicle leaves no room behind it, or where the
    way out is blocked by ``no_way_id`` (an object, 0 for none) that cannot be gone round: here another way begins."""
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
        shut = _shut(scene, begin, no_way_id) if blocker is None else None
        if blocker is None and shut is None:
            continue
        distance = crossing.line_s - scene.front_s
        stop = crossing.line_s - config.line_gap - vehicle.front
        most = config.commit_deceleration if blocker is not None else config.max_deceleration
        if not scene.standing and scene.needed_deceleration(stop) > most:
            continue
        place = f"junction {crossing.junction_id}" if crossing.junction_id is not None else "the junction"
        if blocker is not None:
            what, cause, subject = f"no room behind {scene.name(blocker)} beyond {place}", Cause.LEAD, blocker
        else:
            assert shut is not None
            what, cause, subject = f"no way past {scene.name(shut)} beyond {place}", Cause.OBSTACLE, shut
        sentence = stop_sentence(scene.standing, what, distance)
        return [Constraint(Kind.STOP, stop, cause, sentence, int(scene.objects["id"][subject]), distance)]
    return []


def _shut(scene: Scene, begin: float, no_way_id: int) -> int | None:
    """Index of what stands on the path behind ``begin`` and cannot be gone round, None where there is nothing."""
    found = np.flatnonzero(scene.objects["id"] == no_way_id) if no_way_id else np.zeros(0, np.int64)
    return int(found[0]) if found.size and scene.now[int(found[0]), 0] > max(begin, scene.front_s) else None


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
