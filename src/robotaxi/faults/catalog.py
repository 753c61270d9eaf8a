"""Every fault that is tried: what breaks, how, for how long, how soon it must be noticed, and what must be named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robotaxi.interfaces import INTERFACES, TICK_NS
from robotaxi.safety import GateConfig
from robotaxi.safety.health import CAPABILITIES, HealthConfig

SWEEP = "sensing/lidar/top/pointcloud"
NODES = ("localization", "lidar_perception", "camera_perception", "planner", "controller", "command_gate",
         "health_monitor", "dispatch_bridge")  # fmt: skip
PART_OF = {item.topic: item.part for item in CAPABILITIES} | {SWEEP: "lidar", "system/health": "health_monitor"}
TOPICS = tuple(PART_OF)
MESSAGE_KINDS = ("drop", "delay", "duplicate", "freeze", "reorder", "corrupt_nan", "corrupt_huge", "clock_jump")
NODE_KINDS = ("kill", "stop", "slow")
MACHINE_KINDS = ("network_loss", "cpu_hog", "memory_hog", "disk_full")
SENSOR_KINDS = ("lidar_blind", "lidar_ghost", "camera_black", "gnss_lost", "imu_nan", "wheel_stuck", "wheel_scaled")
_SENSOR_PART = {
    "lidar_blind": "lidar", "lidar_ghost": "lidar", "camera_black": "camera_perception", "gnss_lost": "gnss",
    "imu_nan": "imu", "wheel_stuck": "vehicle_interface", "wheel_scaled": "vehicle_interface",
    "network_loss": "dispatch_bridge", "disk_full": "dispatch_bridge",
}  # fmt: skip
# What may pass unnoticed, because the car is built to bear it: a message twice, out of order, late within its age.
TOLERATED = frozenset({"duplicate", "reorder", "slow", "camera_black", "lidar_ghost", "delay", *MACHINE_KINDS})
_HEALTH_STEP = INTERFACES["system/health"].period_ns * 1e-9
_SLACK = 0.2  # s: from the health monitor to the gate, and rounding to ticks
_FROZEN = 0.6  # s
_MOVING = HealthConfig().moving_speed
CONTRADICTION = 1.0  # s from wheels that contradict localization to the word: it must last for half a second
WRONG_SPEED = GateConfig().max_speed_contradiction
_SENSOR_BOUND = 1.5  # s
_DELAY = 0.6  # s
DOWN = 3.0  # s from the death of a node to its successor's first step
SLOWER = 10


@dataclass(frozen=True)
class Fault:
    """One thing that breaks at ``from_ns`` and works again at ``until_ns``.

    ``target``: node, topic or "" for the whole machine. ``bound``: seconds within which it must be
    noticed, infinite where it may be borne. ``parts``: any of these names is right.
    """

    kind: str
    target: str
    from_ns: int
    until_ns: int
    bound: float
    parts: tuple[str, ...]
    value: float = 0.0

    def active(self, now_ns: int) -> bool:
        return self.from_ns <= now_ns < self.until_ns

    @property
    def name(self) -> str:
        return f"{self.kind} {self.target}".strip()


def every_fault() -> tuple[tuple[str, str], ...]:
    """(kind, target) of each single fault."""
    singles = [(kind, node) for kind in NODE_KINDS for node in NODES]
    singles += [(kind, topic) for kind in MESSAGE_KINDS for topic in TOPICS]
    return (*singles, *((kind, "") for kind in SENSOR_KINDS), ("cpu_hog", ""), ("network_loss", ""))


def draw(number: int, from_ns: int, rng: np.random.Generator) -> tuple[Fault, ...]:
    """The injection with this running number: each single fault in turn, and every tenth time two at once."""
    singles = every_fault()
    # a stride without a common factor walks through all of them in an order that mixes kinds
    first = singles[number * 37 % len(singles)]
    faults = [make(*first, from_ns, rng)]
    if number % 10 == 9:
        second = singles[int(rng.integers(len(singles)))]
        faults.append(make(*second, from_ns + int(rng.integers(0, 25)) * TICK_NS, rng))
    return tuple(faults)


def make(kind: str, target: str, from_ns: int, rng: np.random.Generator) -> Fault:
    """The fault with its span, bound and the parts that may be blamed for it."""
    lasts = DOWN if kind == "kill" else float(rng.uniform(2.0, 4.0))
    until_ns = from_ns + round(lasts / (TICK_NS * 1e-9)) * TICK_NS
    bound, parts, value = math.inf, _parts(kind, target), 0.0
    if kind in NODE_KINDS:
        outputs = [topic for topic in TOPICS if INTERFACES[topic].producer == target]
        bound = max((_age(topic) for topic in outputs), default=1.0)
    elif kind in MESSAGE_KINDS:
        bound = _age(target)
        value = _DELAY
        if kind == "freeze":
            # a health report that says the same again and again is what a healthy car gives
            frozen_is_normal = target == "system/health" or any(
                not item.varies for item in CAPABILITIES if item.topic == target
            )
            bound = math.inf if frozen_is_normal else _FROZEN + INTERFACES[target].let_ns * 1e-9 + _SLACK
        if kind == "clock_jump":
            value = float(rng.choice([-5.0, -1.0, 1.0, 5.0]))
    elif kind in SENSOR_KINDS:
        bound = {"gnss_lost": _age("sensing/gnss/fix"), "lidar_blind": _age(SWEEP)}.get(kind, _SENSOR_BOUND)
        value = 1.6 if kind == "wheel_scaled" else 0.0
    if kind in TOLERATED or (target == "dispatch/goal" and kind.startswith("corrupt_huge")):
        bound = math.inf
    return Fault(kind, target, from_ns, until_ns, bound, parts, value)


def with_symptoms(fault: Fault, moved: Sequence[tuple[int, float]]) -> Fault:
    """What shows only while the car moves may pass unnoticed while it stands: contents that freeze, and wheels that
    turn too fast. ``moved``: (ns, true speed) in order; the bound runs from where the car has been moving, fast
    enough, for as long as it takes to notice, if it ever is."""
    varies = {item.topic: item.varies for item in CAPABILITIES}.get(fault.target)
    if fault.kind == "wheel_scaled":
        slowest, lasts = WRONG_SPEED / (fault.value - 1.0), CONTRADICTION
    elif fault.kind == "freeze" and varies == "moving" and math.isfinite(fault.bound):
        slowest, lasts = _MOVING, fault.bound
    else:
        return fault
    since: int | None = None
    for stamp_ns, speed in moved:
        if not fault.active(stamp_ns) or abs(speed) <= slowest:
            since = None
            continue
        since = stamp_ns if since is None else since
        if stamp_ns - since >= lasts * 1e9:
            return replace(fault, bound=(since - fault.from_ns) * 1e-9 + lasts)
    return replace(fault, bound=math.inf)


def _age(topic: str) -> float:
    """Seconds from the last good message to the word that it is lost."""
    item = INTERFACES[topic]
    return (item.max_age_ns + item.let_ns + item.period_ns) * 1e-9 + _HEALTH_STEP + _SLACK


def _parts(kind: str, target: str) -> tuple[str, ...]:
    if kind in _SENSOR_PART:
        return (_SENSOR_PART[kind],)
    if kind in MACHINE_KINDS:
        return NODES  # whoever is late first
    return (PART_OF.get(target, target),)


_WORDS: Mapping[str, tuple[str, ...]] = {
    "planner": ("planner", "trajectory"),
    "controller": ("controller", "control command", "control/command_raw"),
    "localization": ("localization",),
    "lidar_perception": ("lidar_perception", "perception/objects"),
    "camera_perception": ("camera_perception", "traffic_lights"),
    "lidar": ("lidar sweep", "lidar/top"),
    "imu": ("imu",),
    "gnss": ("gnss",),
    "vehicle_interface": ("vehicle report", "vehicle_interface", "wheels report", "tyres are", "vehicle/status"),
    "health_monitor": ("health",),
    "dispatch_bridge": ("dispatch",),
    "command_gate": ("command_gate", "vehicle's own watchdog"),
}


def named_in(sentence: str) -> str:
    """The part that a sentence names first; "" when it names none."""
    text = sentence.lower()
    places = [(text.find(word), len(word), part) for part, words in _WORDS.items() for word in words if word in text]
    return min(places, key=lambda row: (row[0], -row[1]))[2] if places else ""
