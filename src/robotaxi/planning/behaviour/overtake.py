"""Overtaking somebody slow: who is slow enough, and what ground passing takes while both move on."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.planning.behaviour.lead import in_the_way, is_standing
from robotaxi.planning.scene import Scene
from robotaxi.types import ObjectClass, RecordArray

NEAR = 25.0  # m, bumper to bumper, within which somebody slow is a reason to overtake
SLOW_SHARE = 0.55  # of the speed to pass with; who is faster is followed
MAX_SWEEP = 70.0  # m that the other may move on meanwhile
STRAIGHT = 0.006  # 1/m, bend of the path up to which the other is taken to go straight on
AFTER = 15.0  # m that must be free ahead of the other to come back into the lane
BEFORE_GOAL = 40.0  # m: nobody is overtaken only to stop before him
LEAST_LEAD = 2.0  # m/s that the car must be faster
RETURN_GAP = 1.5  # m along the road to somebody overtaken when the car comes back


def slow_leader(scene: Scene) -> int | None:
    """The nearest one ahead in the lane that moves much slower than the road allows, None where there is none."""
    top = pass_speed(scene)
    best, best_s = None, scene.front_s + NEAR
    for i in range(scene.objects.size):
        if scene.objects["label"][i] == int(ObjectClass.PEDESTRIAN) or is_standing(scene, i):
            continue
        if not in_the_way(scene, i) or scene.now[i, 0] < scene.front_s or scene.now[i, 0] >= best_s:
            continue
        best, best_s = i, float(scene.now[i, 0])
    if best is None:
        return None
    along = float(scene.along[best])
    slow = scene.config.priority_speed < along < min(SLOW_SHARE * top, top - LEAST_LEAD)
    return best if slow and abs(float(scene.lateral[best])) < 0.5 else None


def swept(scene: Scene, i: int, out_speed: float, out_length: float) -> RecordArray | None:
    """Object ``i`` as the ground that it covers from when the car's front is beside it until the car has passed it;
    None where that is too far, the road bends, the goal is near, or somebody ahead of it leaves no room to come back.

    The car drives ``out_length`` m to the side with at most ``out_speed`` m/s.
    """
    top, along = pass_speed(scene), float(scene.along[i])
    begin = min(scene.speed, out_speed)
    late = out_length / max(begin, 1.0) if begin < along else 0.0  # s in which the other even gains
    gain = float(scene.now[i, 1]) - scene.s + scene.vehicle.rear_overhang + scene.vehicle.length
    gain += max(along - begin, 0.0) * late
    seconds = late + gain / max(top - along, 0.1) + max(top - begin, 0.0) / (2.0 * scene.config.acceleration)
    # not beside it before this, however fast the car is
    meets = along * max(float(scene.now[i, 0]) - scene.front_s, 0.0) / max(top - along, 0.1)
    on = along * seconds
    end = float(scene.now[i, 1]) + on
    lo, hi = scene.reference.index(scene.s), scene.reference.index(end + AFTER) + 1
    if end + BEFORE_GOAL > scene.reference.goal_s:
        return None
    if on > MAX_SWEEP or np.abs(scene.reference.curvature[lo:hi]).max() > STRAIGHT:
        return None
    for k in range(scene.objects.size):
        if k != i and scene.now[k, 1] > scene.now[i, 1]:
            moved = max(float(scene.along[k]), 0.0) * seconds
            if float(scene.now[k, 0]) + moved < end + AFTER:
                return None
    out: RecordArray = scene.objects[i : i + 1].copy()
    yaw = float(scene.reference.yaw[scene.reference.index(float(scene.centre_s[i]))])
    middle = 0.5 * (on + meets)
    out["x"] += np.float32(middle * math.cos(yaw))
    out["y"] += np.float32(middle * math.sin(yaw))
    out["yaw"], out["length"] = yaw, out["length"] + np.float32(on - meets)
    return out


def beside(scene: Scene, i: int, back_s: float, waits: bool) -> bool:
    """Whether object ``i`` will be beside the car, neither behind nor ahead of it, when that comes back at ``back_s``;
    somebody who is waited for (``waits``) must be ahead already."""
    half, at = 0.5 * float(scene.objects["length"][i]), float(scene.centre_s[i])
    then = at + max(float(scene.along[i]), 0.0) * max(back_s - scene.s, 0.0) / max(scene.speed, 1.0)
    behind = then + half < back_s - scene.vehicle.rear_overhang - RETURN_GAP
    ahead = at - half > scene.front_s + RETURN_GAP and (
        waits or then - half > back_s + scene.vehicle.front + RETURN_GAP
    )
    return not (behind or ahead)


def pass_speed(scene: Scene) -> float:
    """As fast as the road and detours let the car drive (m/s)."""
    return min(scene.config.detour_speed, float(scene.curve_speed[scene.reference.index(scene.front_s)]))
