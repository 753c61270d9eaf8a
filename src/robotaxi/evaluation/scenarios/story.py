"""What others do in a scenario, told as acts and events with triggers (the model of ASAM OpenSCENARIO XML 1.x).

Poses are those of an entity's reference point: of vehicles the rear axle's centre, in the map frame.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from robotaxi.types import Pose2

RULES = ("greaterThan", "lessThan", "equalTo", "greaterOrEqual", "lessOrEqual", "notEqualTo")
SHAPES = ("linear", "cubic", "sinusoidal", "step")


@dataclass(frozen=True)
class Performer:
    """``kind``: one of `KINDS`; ``ahead``: m from the reference point forward to the box's centre."""

    name: str
    kind: str
    length: float
    width: float
    height: float
    ahead: float
    start: Pose2
    speed: float = 0.0


@dataclass(frozen=True)
class Dynamics:
    """How a value gets to its target; ``value``: s, m or units per second as ``by`` (time, distance, rate) says."""

    shape: str
    value: float
    by: str


@dataclass(frozen=True)
class ChangeSpeed:
    """To ``value`` m/s; with ``of``: to the speed of that entity now, plus or times ``value``."""

    value: float
    dynamics: Dynamics
    of: str = ""
    factor: bool = False


@dataclass(frozen=True)
class ChangeOffset:
    """To ``offset`` m left of the middle of the lane that is ``lanes`` to the left of the own one, with ``of`` of
    that entity's."""

    lanes: int
    offset: float
    dynamics: Dynamics
    of: str = ""


@dataclass(frozen=True)
class FollowTrajectory:
    """Along ``points``: (x, y) in map; ``times``: seconds of each, () to keep the speed."""

    points: tuple[tuple[float, float], ...]
    times: tuple[float, ...] = ()


@dataclass(frozen=True)
class Teleport:
    pose: Pose2


Action = ChangeSpeed | ChangeOffset | FollowTrajectory | Teleport


@dataclass(frozen=True)
class After:
    """The scenario's time in seconds."""

    rule: str
    value: float


@dataclass(frozen=True)
class Reached:
    """An act, group, maneuver, event or action: ``state`` running or complete."""

    element: str
    state: str


@dataclass(frozen=True)
class Measured:
    """``what`` of one (or with ``every`` each) of ``entities`` by ``rule`` beside ``value``.

    ``what``: distance (m), headway, ttc, standstill (s), speed, relative_speed (m/s), travelled (m); towards entity
    ``other`` or ``place``; ``along``: cartesian, longitudinal or lateral, in the frame of the entity measured.
    """

    entities: tuple[str, ...]
    every: bool
    what: str
    rule: str
    value: float
    other: str = ""
    place: Pose2 | None = None
    along: str = "cartesian"
    freespace: bool = False


@dataclass(frozen=True)
class Always:
    holds: bool


@dataclass(frozen=True)
class Condition:
    """``edge``: none, rising, falling, risingOrFalling; it counts ``delay`` seconds later."""

    test: After | Reached | Measured | Always
    edge: str = "none"
    delay: float = 0.0


Trigger = tuple[tuple[Condition, ...], ...]  # groups: one whose conditions all hold is enough


@dataclass(frozen=True)
class Event:
    """``start`` None: with its act. ``overrides``: it ends what else runs in its maneuver."""

    name: str
    maneuver: str
    overrides: bool
    times: int
    start: Trigger | None
    actions: tuple[tuple[str, Action], ...]


@dataclass(frozen=True)
class Group:
    name: str
    performers: tuple[str, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Act:
    name: str
    start: Trigger | None
    stop: Trigger
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Lights:
    """A traffic light: ``colours``, each until its second in ``ends``, over and over again."""

    signal_id: int
    ends: tuple[float, ...]
    colours: tuple[str, ...]

    def at(self, t: float) -> str:
        return self.colours[bisect_right(self.ends, t % self.ends[-1])]


@dataclass(frozen=True)
class Story:
    """``ego``: the name of the car that robotaxi drives; ``notes``: what was read and has no effect; ``lights``: those
    that are not green all the time."""

    ego: str
    start: Pose2
    speed: float
    goal: Pose2 | None
    performers: tuple[Performer, ...]
    acts: tuple[Act, ...]
    stop: Trigger
    notes: tuple[str, ...] = ()
    lights: tuple[Lights, ...] = ()
