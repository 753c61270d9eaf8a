"""Areas to keep out of: in force from the command on, over restarts, until they end or are lifted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from robotaxi.dispatch.decisions import Zone
from robotaxi.dispatch.outbox import Outbox
from robotaxi.types import Goal

_KEY = "zones"


class Zones:
    """``now_ns``: UTC."""

    def __init__(self, outbox: Outbox, now_ns: Callable[[], int]) -> None:
        self._outbox, self._now_ns = outbox, now_ns
        stored = outbox.value(_KEY)
        self._all = {zone.area_id: zone for zone in msgspec.json.decode(stored, type=list[Zone])} if stored else {}

    @property
    def all(self) -> tuple[Zone, ...]:
        return tuple(self._all.values())

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._all)

    def put(self, zone: Zone) -> None:
        """Close it; a radius of 0 opens it again."""
        self._all.pop(zone.area_id, None)
        if zone.radius > 0.0:
            self._all[zone.area_id] = zone
        self._store()

    def around(self, goal: Goal | None) -> Goal | None:
        """The goal with the areas that are in force now."""
        now = self._now_ns() if self._all else 0
        over = [zone.area_id for zone in self._all.values() if zone.until_ns <= now]
        for area_id in over:
            del self._all[area_id]
        if over:
            self._store()
        if goal is None or not self._all:
            return goal
        return replace(goal, avoid=tuple(zone.circle for zone in self.all))

    def _store(self) -> None:
        self._outbox.record(values=[(_KEY, msgspec.json.encode(list(self._all.values())))])
