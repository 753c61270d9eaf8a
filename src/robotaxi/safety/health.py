"""Health of the whole graph: what is lost, what that permits, and which part to blame first.

The dependency graph is the interface table: a part reads topics and writes others. A topic is bad
when it is silent, old, frozen or implausible. A part is to blame when something it writes is bad
although nothing it reads is, or was a moment ago; what went bad first comes first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from robotaxi.interfaces import INTERFACES, VEHICLE, inputs_of
from robotaxi.params import param
from robotaxi.safety.doubt import ODD, Doubt, DoubtConfig, doubt_of_position, doubt_of_sight, doubt_of_view
from robotaxi.safety.odd import OddWatch
from robotaxi.safety.plausible import far_away, fingerprint, implausible
from robotaxi.types import CameraView, EgoState, Health, Permit, Sight, VehicleReport

_STATUS, _STATE = "vehicle/status", "localization/kinematic_state"
_AHEAD_NS = 200_000_000  # stamps farther ahead of now come from a clock that is wrong
_LEAP_NS = 10_000_000_000  # so long a place that is out of reach is not believed
_HEALING_NS = 500_000_000  # so long who reads a topic may take to get over what was wrong with it
SIGHT, VIEW = "perception/sight", "perception/camera_view"


@dataclass(frozen=True)
class HealthConfig(DoubtConfig):
    """When a topic counts as bad. Ages come from the interface table."""

    frozen_steps: int = param(4, lo=2, hi=50, doc="equal contents under new stamps in so many steps are frozen")
    moving_speed: float = param(1.0, lo=0.1, hi=5.0, unit="m/s", doc="slower, contents may well stay equal")
    horizon: float = param(1000.0, lo=200.0, hi=1e5, unit="m", doc="what is said to be farther off than this is wrong")


@dataclass(frozen=True)
class Capability:
    """What the car can do thanks to one topic, who gives it, and what is still permitted without.

    ``varies``: sound contents never repeat; "moving": not while driving; "": they may.
    """

    topic: str
    part: str
    name: str
    without: Permit
    varies: str = ""


CAPABILITIES: tuple[Capability, ...] = (
    Capability(_STATUS, VEHICLE, "feeling its own wheels", Permit.STOP, "moving"),
    Capability("sensing/imu/data", "imu", "feeling its own motion", Permit.STOP, "always"),
    Capability("sensing/gnss/fix", "gnss", "satellite positions", Permit.DRIVE, "always"),
    Capability(_STATE, "localization", "knowing where it is", Permit.STOP, "moving"),
    Capability("perception/objects", "lidar_perception", "seeing road users", Permit.STOP, "moving"),
    Capability("perception/traffic_lights", "camera_perception", "seeing traffic lights", Permit.PULL_OVER),
    Capability("dispatch/goal", "dispatch_bridge", "hearing the dispatcher", Permit.DRIVE),
    Capability("planning/trajectory", "planner", "planning its way", Permit.STOP, "moving"),
    Capability("control/command_raw", "controller", "following its plan", Permit.STOP, "moving"),
    Capability("system/mode", "command_gate", "guarding its commands", Permit.STOP),
)
WATCHED = tuple(item.topic for item in CAPABILITIES)
HEARD = (*WATCHED, SIGHT, VIEW)


@dataclass
class _Memory:
    """Of one topic: newest stamp and fingerprint, how often that has repeated, since when it is bad, and what was wrong
    with it last, when."""

    stamp_ns: int = -1
    print: int = 0
    repeats: int = 0
    bad_since_ns: int | None = None
    last_bad_ns: int | None = None
    fault: str = ""


class HealthMonitor:
    """`step` every 100 ms. ``absent``: topics that nobody writes in this run and nobody misses. ``odd``: the watch over
    the operational design domain, None where anything is allowed."""

    def __init__(self, config: HealthConfig, absent: Collection[str] = (), odd: OddWatch | None = None) -> None:
        self._config = config
        self._watched = tuple(item for item in CAPABILITIES if item.topic not in absent)
        self._memory = {item.topic: _Memory() for item in self._watched}
        self._upstream = {item.topic: _upstream(item) for item in self._watched}
        self._odd = odd
        self._place: tuple[int, EgoState] | None = None  # when localization was last where it can be, and where
        self._dim_steps = dict.fromkeys((SIGHT, VIEW), 0)  # in a row with a doubt about what is seen

    def step(
        self,
        now_ns: int,
        readings: Mapping[str, tuple[int, object] | None],
        lost: Collection[str] = (),
        early: Mapping[str, int] = MappingProxyType({}),
    ) -> Health:
        """Judge the newest (stamp, content) of each topic of `HEARD`; ``lost``: topics waited for in vain; ``early``:
        those whose clock is wrong, by how much (ns) what has arrived is ahead of now: it counts when it is old."""
        report = readings.get(_STATUS)
        moving = report is None or not isinstance(report[1], VehicleReport) or (
            not abs(report[1].speed) <= self._config.moving_speed
        )  # fmt: skip
        state = readings.get(_STATE)
        pose = state[1] if state is not None and isinstance(state[1], EgoState) else None
        bad: dict[str, str] = {}
        for item in self._watched:
            reading = readings.get(item.topic)
            fault = self._fault(item, now_ns, reading, item.topic in lost, moving)
            if not fault and item.topic in early:
                fault = f"is stamped {early[item.topic] * 1e-9:.1f} s ahead of now"
            if not fault and item.topic == _STATE and pose is not None:
                fault = self._leap(now_ns, pose)
            elif not fault and reading is not None and pose is not None and _STATE not in bad:
                fault = far_away(reading[1], pose, self._config.horizon)
            memory = self._memory[item.topic]
            if not fault:
                memory.bad_since_ns = None
                continue
            bad[item.topic] = memory.fault = fault
            memory.last_bad_ns = now_ns
            if memory.bad_since_ns is None:
                memory.bad_since_ns = now_ns
        return self._verdict(now_ns, bad, self._doubts(now_ns, bad, readings))

    def _fault(
        self, item: Capability, now_ns: int, reading: tuple[int, object] | None, lost: bool, moving: bool
    ) -> str:
        memory, interface = self._memory[item.topic], INTERFACES[item.topic]
        if lost:
            return "is silent"
        if reading is None:
            return "is awaited" if memory.stamp_ns < 0 else "is silent"
        stamp_ns, content = reading
        age_ns = now_ns - stamp_ns
        if stamp_ns > memory.stamp_ns:
            before, memory.print, memory.stamp_ns = memory.print, fingerprint(content), stamp_ns
            memory.repeats = memory.repeats + 1 if memory.print == before else 0
        if age_ns > interface.max_age_ns + interface.let_ns:
            return f"is {age_ns * 1e-9:.2f} s old, allowed is {interface.max_age_ms * 1e-3:.2f} s"
        if age_ns < -min(interface.max_age_ns, _AHEAD_NS):
            memory.stamp_ns = -1  # believed only when its clock is right again
            return f"is stamped {-age_ns * 1e-9:.2f} s ahead of now"
        fault = implausible(item.topic, content)
        if fault:
            return fault
        judged = item.varies == "always" or (item.varies == "moving" and moving)
        if judged and memory.print and memory.repeats >= self._config.frozen_steps:
            return "is frozen: new stamps, old contents"
        return ""

    def _leap(self, now_ns: int, pose: EgoState) -> str:
        """Of a place so far from the last one that no car can have come there; what is seen from there would else be
        blamed on those who see it."""
        before = self._place
        if before is not None and 0 <= now_ns - before[0] < _LEAP_NS:
            away = math.hypot(pose.x - before[1].x, pose.y - before[1].y)
            if away > self._config.horizon:
                return f"has leapt by more than {self._config.horizon * 1e-3:.4g} km"
        self._place = (now_ns, pose)
        return ""

    def _doubts(
        self, now_ns: int, bad: Mapping[str, str], readings: Mapping[str, tuple[int, object] | None]
    ) -> list[Doubt]:
        """About contents that are sound, but say that little is known, or that the car is where it may not drive: of
        the position at once, of what is seen once it lasts."""
        doubts = []
        state, sight, view = (self._sound(topic, now_ns, bad, readings) for topic in (_STATE, SIGHT, VIEW))
        state = state if isinstance(state, EgoState) else None
        sight = sight if isinstance(sight, Sight) else None
        view = view if isinstance(view, CameraView) else None
        if state is not None:
            doubts.append(doubt_of_position(state, self._config))
        doubts.append(self._lasting(SIGHT, None if sight is None else doubt_of_sight(sight, self._config)))
        doubts.append(self._lasting(VIEW, None if view is None else doubt_of_view(view)))
        left = None if self._odd is None else self._odd.step(now_ns, state, sight, view)
        if left is not None:
            doubts.append(Doubt(ODD, left.words, permit=Permit.STOP if left.final else Permit.PULL_OVER))
        return [doubt for doubt in doubts if doubt is not None]

    def _lasting(self, topic: str, doubt: Doubt | None) -> Doubt | None:
        """The doubt once it has been there for some steps in a row."""
        self._dim_steps[topic] = self._dim_steps[topic] + 1 if doubt is not None else 0
        return doubt if self._dim_steps[topic] >= self._config.sight_steps else None

    @staticmethod
    def _sound(
        topic: str, now_ns: int, bad: Mapping[str, str], readings: Mapping[str, tuple[int, object] | None]
    ) -> object:
        """Content of a topic that can be believed, else None."""
        reading, interface = readings.get(topic), INTERFACES[topic]
        if reading is None or topic in bad or now_ns - reading[0] > interface.max_age_ns + interface.let_ns:
            return None
        return reading[1]

    def _verdict(self, now_ns: int, bad: Mapping[str, str], doubts: list[Doubt]) -> Health:
        cap = min((doubt.speed_cap for doubt in doubts), default=math.inf)
        worst = min(doubts, key=lambda doubt: (-doubt.permit, doubt.speed_cap), default=None)
        permit = max((doubt.permit for doubt in doubts), default=Permit.DRIVE)
        bad = {**bad, **{doubt.spoils: doubt.words for doubt in doubts if doubt.spoils and doubt.spoils not in bad}}
        if not bad:
            if worst is not None:
                return Health(now_ns, permit, worst.part, worst.sentence, speed_cap=cap)
            return Health(now_ns, sentence="All parts work.")
        roots = self._roots(now_ns, bad)
        first = min(roots, key=lambda item: self._memory[item.topic].bad_since_ns or 0)
        lost = tuple(item.name for item in self._watched if item.topic in bad)
        permit = Permit(max(permit, *(item.without for item in self._watched if item.topic in bad)))
        others = [item.part for item in roots if item.part != first.part]
        fault = bad.get(first.topic) or f"{self._memory[first.topic].fault}, until just now"
        sentence = f"{first.part}: {first.topic} {fault}"
        if fault == "is awaited":
            waiting = dict.fromkeys(item.part for item in self._watched if bad.get(item.topic) == "is awaited")
            sentence = f"Cannot go yet: waiting for {', '.join(waiting)}"
        elif others:
            sentence += f"; also {', '.join(dict.fromkeys(others))}"
        return Health(now_ns, permit, first.part, sentence + ".", lost, cap)

    def _roots(self, now_ns: int, bad: Mapping[str, str]) -> list[Capability]:
        """Whose topics are bad although nothing they need is; in place of those who may not yet have got over something
        that has just healed, that."""
        found = [item for item in self._watched if item.topic in bad and not self._upstream[item.topic] & bad.keys()]
        found = found or [item for item in self._watched if item.topic in bad]  # a ring of blame: name it all
        if any(bad[item.topic] == "is awaited" for item in found):
            return found
        healed = {
            topic
            for topic, memory in self._memory.items()
            if memory.last_bad_ns is not None and topic not in bad and 0 <= now_ns - memory.last_bad_ns <= _HEALING_NS
        }
        causes = healed & frozenset().union(*(self._upstream[item.topic] for item in found))
        return [item for item in self._watched if item.topic in causes] + [
            item for item in found if not self._upstream[item.topic] & causes
        ]


def _upstream(item: Capability) -> frozenset[str]:
    """The watched topics that the part needs to write this one."""
    producer = INTERFACES[item.topic].producer
    if producer == VEHICLE:
        return frozenset()
    return frozenset(need.topic for need in inputs_of(producer) if need.topic in WATCHED and need.topic != item.topic)
