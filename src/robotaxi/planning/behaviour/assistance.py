"""When a person far away could help, and what is made of the permission that such a person gives.

A permission takes away the car's patience and its suspicion, never a check: room, clearance, right of way and
everything that the safety gate looks at stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robotaxi.planning.behaviour.lead import is_standing
from robotaxi.planning.behaviour.pass_by import PassBy
from robotaxi.planning.behaviour.signal import LightMemory
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, Explanation, Goal, ObjectClass

OVERTAKE, REROUTE = "overtake", "reroute"


@dataclass
class Assistance:
    """``place``: x, y (map) of what the car stands for. ``permission`` as given last, ``refusal``: why it did not
    help."""

    place: tuple[float, float] | None = None
    permission: str = ""
    refusal: str = ""
    _taken: str = ""

    def take(self, goal: Goal) -> bool:
        """Whether ``goal`` brings a permission that has not been used yet."""
        if not goal.permission_id or goal.permission_id == self._taken:
            return False
        self._taken, self.permission, self.refusal = goal.permission_id, goal.permission, ""
        return True

    def needed(
        self, scene: Scene, explanation: Explanation, pass_by: PassBy, lights: LightMemory
    ) -> tuple[str, tuple[str, ...], str]:
        """(what the car stands for, permissions that would help, why the last one did not); "" where it drives, or
        where what stands there waits for a light."""
        subject = self._subject(scene, explanation)
        if subject is None or pass_by.waits_for_light(scene, subject, lights):
            self.place, self.refusal = None, ""
            return "", (), ""
        record = scene.objects[subject]
        self.place = (float(record["x"]), float(record["y"]))
        person = int(record["label"]) == int(ObjectClass.PEDESTRIAN)
        return explanation.sentence, (REROUTE,) if person else (OVERTAKE, REROUTE), self.refusal

    def _subject(self, scene: Scene, explanation: Explanation) -> int | None:
        if not scene.standing or explanation.cause not in (Cause.OBSTACLE, Cause.LEAD):
            return None
        found = np.flatnonzero(scene.objects["id"] == explanation.subject_id)
        return int(found[0]) if found.size and is_standing(scene, int(found[0])) else None
