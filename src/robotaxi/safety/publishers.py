"""Who writes the command topics? One publisher each, of the name that the interface table gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robotaxi.interfaces import INTERFACES

GUARDED = ("control/command_raw", "vehicle/command", "control/manual_command")
_UNKNOWN = "_NODE_NAME_UNKNOWN_"  # an end that is seen before the node it belongs to
_SETTLE_S = 2.0  # until discovery has told the name
_HANDOVER_S = 40.0  # a killed node's end is seen until its lease has run out; its successor is here already


class PublisherWatch:
    """`step` about ten times a second with the names of each guarded topic's publishers."""

    def __init__(self, guarded: Sequence[str] = GUARDED) -> None:
        self._guarded = tuple(guarded)
        self._since: dict[tuple[str, str], float] = {}

    def step(self, now: float, names: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Sentences of alarm. ``now``: steady time (s); ``names``: node names by topic."""
        alarms: list[str] = []
        seen: set[tuple[str, str]] = set()
        for topic in self._guarded:
            found, owner = list(names.get(topic, ())), INTERFACES[topic].producer
            strangers = [name for name in found if owner and name not in (owner, _UNKNOWN)]
            if strangers:
                alarms.append(f"{topic} has a publisher that is not its own: '{sorted(strangers)[0]}'")
                continue
            doubts = {"unknown": (_UNKNOWN in found, _SETTLE_S), "second": (len(found) > 1, _HANDOVER_S)}
            for doubt, (holds, patience) in doubts.items():
                if not holds:
                    continue
                seen.add((topic, doubt))
                if now - self._since.setdefault((topic, doubt), now) > patience:
                    alarms.append(f"{topic} has {len(found)} publishers, one is allowed")
                    break
        for key in [key for key in self._since if key not in seen]:
            del self._since[key]
        return tuple(alarms)
