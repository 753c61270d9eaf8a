"""Where somebody may step out unseen: past parked vans and trucks the car drives as fast as it can still stop.

The assumption is the one of IEEE 2846-2022 for hidden road users: somebody who walks may come out at the far end.
"""

from __future__ import annotations

import math

from robotaxi.planning.constraint import Constraint, Kind
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

SEEN_BEFORE = 12.0  # m before the far end from which on the speed is kept
BEYOND = 1.0  # m behind it
TALL = 1.9  # m; behind lower ones a grown-up is seen


def mind_hidden_people(scene: Scene) -> list[Constraint]:
    """A speed not to exceed past each tall vehicle that is parked close beside the path, off the lanes."""
    config, out = scene.config, []
    for i in range(scene.objects.size):
        if not _hides_people(scene, i):
            continue
        record = scene.objects[i]
        turned = float(record["yaw"]) - float(scene.reference.yaw[scene.reference.index(float(scene.centre_s[i]))])
        reach = 0.5 * (abs(math.cos(turned)) * float(record["length"]) + abs(math.sin(turned)) * float(record["width"]))
        end = float(scene.centre_s[i]) + reach
        if end + BEYOND < scene.front_s:
            continue
        distance = end - scene.front_s
        sentence = f"Passing {scene.name(i)} slowly: somebody may step out behind it, {max(distance, 0.0):.0f} m ahead."
        begin = end - scene.vehicle.front - SEEN_BEFORE
        last = end - scene.vehicle.front + BEYOND
        out.append(
            Constraint(
                Kind.CAP, begin, Cause.OBSTACLE, sentence, int(record["id"]), distance, config.hidden_speed, last
            )
        )
    return out


def _hides_people(scene: Scene, i: int) -> bool:
    """Whether object ``i`` is a tall vehicle, parked off the lanes, and close to the path but not in it."""
    record = scene.objects[i]
    if int(record["label"]) != int(ObjectClass.TRUCK) or not record["static"] or float(record["height"]) < TALL:
        return False
    if scene.predictions.match_lane[i, 0] >= 0:
        return False  # stands in a queue
    return bool(0.0 <= scene.now[i, 2] <= scene.config.hidden_margin)
