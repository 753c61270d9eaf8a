"""What a replay plays from the bag and what the nodes make anew. Pure: topics and stamps in, a plan out.

A replayed node gets each input either fresh from another replayed node or recorded from the bag. A node
whose trigger nobody gives starves: it is left out, said beforehand, and what it once wrote is played.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robotaxi.interfaces import INTERFACES, OPTIONAL, TRIGGERS, Interface, inputs_of, outputs_of

Stamps = NDArray[np.int64]
NEVER_NS = 1 << 62
_EVERYBODYS = ("diagnostics",)


@dataclass(frozen=True)
class ReplayPlan:
    """``roles``: nodes that run. ``played``: topics from the bag. ``fresh``: topics that are made anew.

    ``starving``: node left out -> the topic that it lacks. ``missing``: node that runs -> inputs that
    nobody gives it. ``stamps``: for each periodic topic of both kinds, every stamp that is to come.
    Topics carry their names of the interface table.
    """

    roles: tuple[str, ...]
    played: tuple[str, ...]
    fresh: tuple[str, ...]
    starving: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stamps: Mapping[str, Stamps] = field(default_factory=dict)

    @property
    def last_ns(self) -> int:
        """The last stamp that is played; -1 for none."""
        ends = [int(self.stamps[topic][-1]) for topic in self.played if len(self.stamps.get(topic, ()))]
        return max(ends, default=-1)

    def gaps(self) -> dict[str, list[tuple[int, int]]]:
        """Topic -> spans [first, last] of scheduled stamps that will not come, also before the first and after the last
        one."""
        return {topic: spans for topic, stamps in self.stamps.items() if (spans := _gaps(INTERFACES[topic], stamps))}

    def warnings(self) -> list[str]:
        """What a person should know before the start, in sentences."""
        said = [f"{role} is left out: nothing gives it {topic}" for role, topic in self.starving.items()]
        said += [f"{role} runs without {', '.join(topics)}" for role, topics in self.missing.items()]
        return said


def plan_replay(
    roles: Sequence[str], recorded: Mapping[str, Stamps], from_ns: int = -NEVER_NS, to_ns: int = NEVER_NS
) -> ReplayPlan:
    """The plan for running ``roles`` on a bag.

    ``recorded``: topic (as in the interface table) -> its stamps in the bag; an empty one counts as missing.
    Only stamps in [from_ns, to_ns] are played.
    """
    cut = {topic: stamps[(stamps >= from_ns) & (stamps <= to_ns)] for topic, stamps in recorded.items()}
    recorded = {topic: stamps for topic, stamps in cut.items() if len(stamps)}
    running, starving = list(roles), {}
    while True:
        fresh = {item.topic for role in running for item in outputs_of(role)}
        short = {role: TRIGGERS[role] for role in running if TRIGGERS[role] not in fresh | set(recorded)}
        if not short:
            break
        starving.update(short)
        running = [role for role in running if role not in short]
    played = {
        item.topic for role in running for item in inputs_of(role) if item.topic in recorded and item.topic not in fresh
    }
    missing = {}
    for role in running:
        here = fresh | played | OPTIONAL
        absent = tuple(i.topic for i in inputs_of(role) if i.topic not in here and i.period_ms > 0)
        if absent:
            missing[role] = absent
    stamps: dict[str, Stamps] = {topic: recorded[topic] for topic in played}
    waiting = list(running)
    while waiting:  # a trigger is played, or the output of a node that comes before
        ready = [role for role in waiting if TRIGGERS[role] in stamps]
        if not ready:
            break
        for role in ready:
            waiting.remove(role)
            for item in outputs_of(role):
                if item.period_ns:
                    stamps[item.topic] = _scheduled(item, stamps[TRIGGERS[role]])
    return ReplayPlan(
        tuple(running), tuple(sorted(played)), tuple(sorted(fresh)), starving, missing, dict(sorted(stamps.items()))
    )


# in the order of the data, as long as none hears of one behind it
_CHAIN = (("localization", "map_matcher"), ("camera_perception",), ("lidar_perception",), ("planner",))


def chain_of(roles: Sequence[str]) -> list[list[str]]:
    """The roles as stages that can work one behind the other: none reads what a later one writes."""
    rest = [role for role in roles if not any(role in stage for stage in _CHAIN)]
    stages = [stage for stage in [[role for role in stage if role in roles] for stage in _CHAIN] + [rest] if stage]
    at = 0
    while at < len(stages):
        writers = {item.producer for role in stages[at] for item in inputs_of(role)}
        behind = [later for later in range(at + 1, len(stages)) if writers & set(stages[later])]
        if behind:  # what they hand to each other goes round: one stage
            stages[at : behind[-1] + 1] = [[role for stage in stages[at : behind[-1] + 1] for role in stage]]
        else:
            at += 1
    return stages


def _scheduled(item: Interface, trigger: Stamps) -> Stamps:
    """The stamps at which a topic is written: those of its trigger that fall on its schedule."""
    return trigger[(trigger >= item.phase_ns) & ((trigger - item.phase_ns) % item.period_ns == 0)]


def _gaps(item: Interface, stamps: Stamps) -> list[tuple[int, int]]:
    if item.period_ns == 0:
        return []
    period = item.period_ns
    if not len(stamps):
        return [(-NEVER_NS, NEVER_NS)]
    spans = []
    if stamps[0] > item.phase_ns:
        spans.append((-NEVER_NS, int(stamps[0]) - 1))
    for before in np.flatnonzero(np.diff(stamps) > period).tolist():
        spans.append((int(stamps[before]) + 1, int(stamps[before + 1]) - 1))
    spans.append((int(stamps[-1]) + 1, NEVER_NS))
    return spans
