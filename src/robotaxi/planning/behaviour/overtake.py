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
LEAST_LEAD = 2.0  # m/s that the car must be faster


def slow_leader(scene: Scene) -> int | None:
    """The nearest one ahead in the lane that moves much slower than the road allows, None where there is none."""
    top = _pass_speed(scene)
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


def swept(scene: Scene, i: int) -> RecordArray | None:
    """Object ``i`` as long as the ground that it covers until the car has passed it; None where that is too far,
    the road bends, or somebody ahead of it leaves no room to come back."""
    top, along = _pass_speed(scene), float(scene.along[i])
    gain = float(scene.now[i, 1]) - scene.s + scene.vehicle.rear_overhang + scene.vehicle.length
    seconds = gain / max(top - along, 0.1) + max(top - scene.speed, 0.0) / (2.0 * scene.config.acceleration)
    on = along * seconds
    end = float(scene.now[i, 1]) + on
    lo, hi = scene.reference.index(scene.s), scene.reference.index(end + AFTER) + 1
    if on > MAX_SWEEP or np.abs(scene.reference.curvature[lo:hi]).max() > STRAIGHT:
        return None
    for k in range(scene.objects.size):
        if k != i and scene.now[k, 1] > scene.now[i, 1]:
            moved = max(float(scene.along[k]), 0.0) * seconds
            if float(scene.now[k, 0]) + moved < end + AFTER:
                return None
    out: RecordArray = scene.objects[i : i + 1].copy()
    yaw = float(scene.reference.yaw[scene.reference.index(float(scene.centre_s[i]))])
    out["x"] += np.float32(0.5 * on * math.cos(yaw))
    out["y"] += np.float32(0.5 * on * math.sin(yaw))
    out["yaw"], out["length"] = yaw, out["length"] + np.float32(on)
    return out


def _pass_speed(scene: Scene) -> float:
    return min(scene.config.detour_speed, float(scene.curve_speed[scene.reference.index(scene.front_s)]))
