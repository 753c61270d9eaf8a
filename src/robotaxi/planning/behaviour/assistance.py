"""When the car takes another way by itself, when a person far away could help, and what is made of the permission
that such a person gives.

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
SAME_PLACE = 2.0  # m that the box of what stands there may move as more of it is seen
TRY_AGAIN_NS = 60_000_000_000  # another way round one place is looked for this often
QUEUE = 3.0  # times the patience with what drove before
TELL_NS = 4_000_000_000  # how long the car says that it takes another way


@dataclass
class Assistance:
    """``place``: x, y (map) of what the car stands for since ``since_ns``. ``permission`` as given last, ``refusal``:
    why it, or another way, did not help."""

    place: tuple[float, float] | None = None
    permission: str = ""
    refusal: str = ""
    since_ns: int = 0
    _taken: str = ""
    _person: bool = False
    _drove: bool = False
    _tried_ns: int = -TRY_AGAIN_NS
    _told: tuple[Explanation, int] | None = None

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
        before, self.place = self.place, (float(record["x"]), float(record["y"]))
        if before is None or max(abs(before[0] - self.place[0]), abs(before[1] - self.place[1])) > SAME_PLACE:
            self.since_ns, self._tried_ns = scene.stamp_ns, -TRY_AGAIN_NS
        self._person = int(record["label"]) == int(ObjectClass.PEDESTRIAN)
        self._drove = not record["static"]
        return explanation.sentence, (REROUTE,) if self._person else (OVERTAKE, REROUTE), self.refusal

    def tries_another_way(self, stamp_ns: int, patience: float) -> bool:
        """Whether the way has been blocked for ``patience`` seconds, longer by what drove before and may be a queue,
        and now is the time to look for another one."""
        if self.place is None or self._person:
            return False
        if stamp_ns - self.since_ns < patience * (QUEUE if self._drove else 1.0) * 1e9:
            return False
        if stamp_ns - self._tried_ns < TRY_AGAIN_NS:
            return False
        self._tried_ns = stamp_ns
        return True

    def tell(self, scene: Scene, explanation: Explanation) -> Explanation:
        """That the car takes another way because of what ``explanation`` says, for a few seconds."""
        seconds = (scene.stamp_ns - self.since_ns) * 1e-9
        found = np.flatnonzero(scene.objects["id"] == explanation.subject_id)
        name = scene.name(int(found[0])) if found.size else "something"
        sentence = f"Taking another way: {name} has blocked this one for {seconds:.0f} s."
        told = Explanation(Cause.OBSTACLE, sentence, True, explanation.subject_id, explanation.distance)
        self._told = (told, scene.stamp_ns + TELL_NS)
        self.place, self.refusal = None, ""
        return told

    def forget(self) -> None:
        """The car is elsewhere: what it stood for no longer counts."""
        self.place, self.refusal = None, ""

    def said(self, stamp_ns: int, explanation: Explanation) -> Explanation:
        """``explanation``, or for a few seconds why the car takes another way."""
        if self._told is not None and stamp_ns < self._told[1]:
            return self._told[0]
        return explanation

    def _subject(self, scene: Scene, explanation: Explanation) -> int | None:
        if not scene.standing or explanation.cause not in (Cause.OBSTACLE, Cause.LEAD):
            return None
        found = np.flatnonzero(scene.objects["id"] == explanation.subject_id)
        return int(found[0]) if found.size and is_standing(scene, int(found[0])) else None
