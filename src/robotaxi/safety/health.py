"""Health of the whole graph: what is lost, what that permits, and which part to blame first.

The dependency graph is the interface table: a part reads topics and writes others. A topic is bad
when it is silent, old, frozen or implausible. A part is to blame when something it writes is bad
although nothing it reads is; what went bad first comes first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from robotaxi.interfaces import INTERFACES, VEHICLE, inputs_of
from robotaxi.params import param
from robotaxi.safety.plausible import fingerprint, implausible
from robotaxi.types import EgoState, Health, Permit, VehicleReport

_STATUS, _STATE = "vehicle/status", "localization/kinematic_state"


@dataclass(frozen=True)
class HealthConfig:
    """When a topic counts as bad. Ages come from the interface table."""

    frozen_steps: int = param(4, lo=2, hi=50, doc="equal contents under new stamps in so many steps are frozen")
    moving_speed: float = param(1.0, lo=0.1, hi=5.0, unit="m/s", doc="slower, contents may well stay equal")
    position_caution: float = param(0.5, lo=0.05, hi=3.0, unit="m", doc="position sigma from which speed is capped")
    position_lost: float = param(1.2, lo=0.1, hi=10.0, unit="m", doc="position sigma from which the car stops")
    cautious_speed: float = param(6.0, lo=1.0, hi=20.0, unit="m/s", doc="cap while the position is known badly")


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
    Capability("control/command_raw", "controller", "following its plan", Permit.STOP),
    Capability("system/mode", "command_gate", "guarding its commands", Permit.STOP),
)
WATCHED = tuple(item.topic for item in CAPABILITIES)


@dataclass
class _Memory:
    """Of one topic: newest stamp and fingerprint, how often that has repeated, since when it is bad."""

    stamp_ns: int = -1
    print: int = 0
    repeats: int = 0
    bad_since_ns: int | None = None


class HealthMonitor:
    """`step` every 100 ms. ``absent``: topics that nobody writes in this run and nobody misses."""

    def __init__(self, config: HealthConfig, absent: Collection[str] = ()) -> None:
        self._config = config
        self._watched = tuple(item for item in CAPABILITIES if item.topic not in absent)
        self._memory = {item.topic: _Memory() for item in self._watched}
        self._upstream = {item.topic: _upstream(item) for item in self._watched}

    def step(
        self, now_ns: int, readings: Mapping[str, tuple[int, object] | None], lost: Collection[str] = ()
    ) -> Health:
        """Judge the newest (stamp, content) of each watched topic; ``lost``: topics waited for in vain."""
        report = readings.get(_STATUS)
        moving = report is None or not isinstance(report[1], VehicleReport) or (
            not abs(report[1].speed) <= self._config.moving_speed
        )  # fmt: skip
        bad: dict[str, str] = {}
        for item in self._watched:
            fault = self._fault(item, now_ns, readings.get(item.topic), item.topic in lost, moving)
            memory = self._memory[item.topic]
            if not fault:
                memory.bad_since_ns = None
                continue
            bad[item.topic] = fault
            if memory.bad_since_ns is None:
                memory.bad_since_ns = now_ns
        return self._verdict(now_ns, bad, readings.get(_STATE))

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
        if age_ns < -interface.max_age_ns:
            memory.stamp_ns = -1  # believed only when its clock is right again
            return f"is stamped {-age_ns * 1e-9:.2f} s ahead of now"
        fault = implausible(item.topic, content)
        if fault:
            return fault
        judged = item.varies == "always" or (item.varies == "moving" and moving)
        if judged and memory.print and memory.repeats >= self._config.frozen_steps:
            return "is frozen: new stamps, old contents"
        return ""

    def _verdict(self, now_ns: int, bad: Mapping[str, str], state: tuple[int, object] | None) -> Health:
        config = self._config
        cap, doubt = math.inf, ""
        if state is not None and isinstance(state[1], EgoState) and _STATE not in bad:
            sigma = _position_sigma(state[1])
            if sigma > config.position_caution:
                cap, doubt = config.cautious_speed, f"position known to {sigma:.1f} m only"
            if sigma > config.position_lost:
                bad = {**bad, _STATE: doubt}
        if not bad:
            if doubt:
                return Health(now_ns, part="localization", sentence=f"localization: {doubt}.", speed_cap=cap)
            return Health(now_ns, sentence="All parts work.")
        roots = [item for item in self._watched if item.topic in bad and not self._upstream[item.topic] & bad.keys()]
        roots = roots or [item for item in self._watched if item.topic in bad]  # a ring of blame: name it all
        first = min(roots, key=lambda item: self._memory[item.topic].bad_since_ns or 0)
        lost = tuple(item.name for item in self._watched if item.topic in bad)
        permit = Permit(max(item.without for item in self._watched if item.topic in bad))
        others = [item.part for item in roots if item.part != first.part]
        sentence = f"{first.part}: {first.topic} {bad[first.topic]}"
        if bad[first.topic] == "is awaited":
            waiting = dict.fromkeys(item.part for item in self._watched if bad.get(item.topic) == "is awaited")
            sentence = f"Cannot go yet: waiting for {', '.join(waiting)}"
        elif others:
            sentence += f"; also {', '.join(dict.fromkeys(others))}"
        return Health(now_ns, permit, first.part, sentence + ".", lost, cap)


def _upstream(item: Capability) -> frozenset[str]:
    """The watched topics that the part needs to write this one."""
    producer = INTERFACES[item.topic].producer
    if producer == VEHICLE:
        return frozenset()
    return frozenset(need.topic for need in inputs_of(producer) if need.topic in WATCHED and need.topic != item.topic)


def _position_sigma(state: EgoState) -> float:
    """Largest standard deviation of the position in any direction (m); 0 where none is stated."""
    block = np.asarray(state.covariance, dtype=np.float64)[:2, :2]
    if not np.isfinite(block).all():
        return math.inf
    return math.sqrt(max(float(np.linalg.eigvalsh(0.5 * (block + block.T))[-1]), 0.0))
