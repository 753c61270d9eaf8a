"""Those who act in a `Story`: along lanes, straight on, or along a trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.evaluation.scenarios.measures import Body
from robotaxi.evaluation.scenarios.story import (
    Action,
    ChangeOffset,
    ChangeSpeed,
    Dynamics,
    FollowTrajectory,
    Performer,
)
from robotaxi.evaluation.scenarios.ways import along_lanes, beside, lane_under, polyline_way, pose_on, straight_on
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.events.actors import KINDS, Actor
from robotaxi.types import Pose2, sure_of

SEEN = 60.0  # m, as far as others are seen in scenarios
MOVING = 0.3  # m/s
STEPS = {"linear": 1.0, "cubic": 1.5, "sinusoidal": math.pi / 2.0, "step": 1.0}  # peak rate over mean rate


@dataclass
class Course:
    """A value on its way from ``begin`` to ``end`` in ``seconds``."""

    begin: float
    end: float
    seconds: float
    shape: str
    gone: float = 0.0

    def step(self, dt: float) -> float:
        """The value ``dt`` later."""
        self.gone += dt
        if self.shape == "step" or self.gone >= self.seconds:
            return self.end
        share = self.gone / self.seconds
        if self.shape == "cubic":
            share = share * share * (3.0 - 2.0 * share)
        elif self.shape == "sinusoidal":
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        return self.begin + (self.end - self.begin) * share

    @property
    def done(self) -> bool:
        return self.shape == "step" or self.gone >= self.seconds


class StoryMover:
    """One performer: along the lanes that it was put on (or straight on), with an offset, or along a trajectory."""

    def __init__(self, performer: Performer, lane_map: LaneMap, key: int) -> None:
        self.performer, self.key, self._map = performer, key, lane_map
        self.actor = _as_actor(performer.kind)
        self.speed = performer.speed
        self.moved = self.speed > MOVING
        self.speeding: Course | None = None
        self.shifting: Course | None = None
        self.gone = False
        self.travelled = self.stood = 0.0
        self._times: np.ndarray | None = None
        self._clock = 0.0
        self._put(performer.start)

    @property
    def shape(self) -> tuple[int, float, float, float]:
        """Class, length, width, height."""
        who = self.performer
        return KINDS[who.kind][0], who.length, who.width, who.height

    def _put(self, pose: Pose2) -> None:
        self._pose = pose
        match = lane_under(self._map, pose) if self.performer.kind != "pedestrian" else None
        way = along_lanes(self._map, pose) if match is not None else None
        self._way, self._offset = (
            (way, match.offset) if way is not None and match is not None else (straight_on(pose), 0.0)
        )
        self._s, self._drift, self._times, self._following = self._way.start_s, 0.0, None, False
        self._aim = 0.0  # offset of the lane's middle that is driven on
        self._place()

    def _place(self) -> None:
        pose = pose_on(self._way, self._s, self._offset)
        if pose is None:
            self.gone = True
            return
        self._way_yaw = pose.yaw
        self.yaw = pose.yaw + math.atan2(self._drift, max(self.speed, 1.0))
        self._pose = Pose2(pose.x, pose.y, self.yaw)
        ahead = self.performer.ahead
        self.x, self.y = pose.x + ahead * math.cos(self.yaw), pose.y + ahead * math.sin(self.yaw)

    @property
    def reference(self) -> Pose2:
        return self._pose

    def body(self) -> Body:
        who = self.performer
        return Body(
            self._pose.x,
            self._pose.y,
            self.yaw,
            self.speed,
            who.length,
            who.width,
            who.ahead,
            self.travelled,
            self.stood,
        )

    # ------------------------------------------------------------------ actions

    def begin(self, action: Action, bodies: dict[str, Body]) -> None:
        """Take ``action`` up."""
        if isinstance(action, ChangeSpeed):
            target = action.value
            if action.of:
                of = bodies[action.of].speed
                target = of * action.value if action.factor else of + action.value
            seconds = _seconds(target - self.speed, action.dynamics)
            self.speeding = Course(self.speed, max(target, 0.0), seconds, action.dynamics.shape)
        elif isinstance(action, ChangeOffset):
            target = self._target(action, bodies)
            seconds = _seconds(target - self._offset, action.dynamics, self.speed)
            self.shifting = Course(self._offset, target, seconds, action.dynamics.shape)
        elif isinstance(action, FollowTrajectory):
            self._follow(action)
        else:
            self._put(action.pose)

    def done(self, action: Action) -> bool:
        """Whether ``action`` has come to its end."""
        if isinstance(action, ChangeSpeed):
            return self.speeding is None
        if isinstance(action, ChangeOffset):
            return self.shifting is None
        if isinstance(action, FollowTrajectory):
            return self.gone or not self._following
        return True

    def stop(self, action: Action) -> None:
        """End ``action`` before it is done."""
        if isinstance(action, ChangeSpeed):
            self.speeding = None
        elif isinstance(action, ChangeOffset):
            self.shifting = None
        elif isinstance(action, FollowTrajectory):
            self._put(self._pose)

    def _target(self, action: ChangeOffset, bodies: dict[str, Body]) -> float:
        """Offset from the own way that ``action`` leads to."""
        if not action.of or action.of == self.performer.name:
            return self._to_lane(action.lanes) + action.offset if action.lanes else self._aim + action.offset
        other = bodies[action.of]
        c, s = math.cos(self._pose.yaw), math.sin(self._pose.yaw)
        pose = Pose2(other.x, other.y, other.yaw)
        match = lane_under(self._map, pose)
        to_middle = -match.offset if match is not None else 0.0
        across = -s * (other.x - self._pose.x) + c * (other.y - self._pose.y)
        self._aim = self._offset + across + to_middle + beside(self._map, pose, action.lanes)
        return self._aim + action.offset

    def _to_lane(self, lanes: int) -> float:
        self._aim += beside(self._map, Pose2(self._pose.x, self._pose.y, self._pose.yaw), lanes)
        return self._aim

    def _follow(self, action: FollowTrajectory) -> None:
        points = np.array(action.points)
        way = polyline_way(points)
        if way is None:
            return
        self._way, self._s, self._offset, self._aim, self._drift = way, 0.0, 0.0, 0.0, 0.0
        arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        self._length, self._arc = float(arc[-1]), arc
        self._times, self._clock = (np.array(action.times), 0.0) if action.times else (None, 0.0)
        self.shifting, self._following = None, True

    # ------------------------------------------------------------------ as `Loop` moves it

    def step(self, dt: float, ego_x: float, ego_y: float, ego_speed: float) -> None:
        """Move on by ``dt``."""
        if self.gone:
            return
        if self.speeding is not None:
            self.speed = self.speeding.step(dt)
            self.speeding = None if self.speeding.done else self.speeding
        before = self._s
        if self._times is not None:
            self._clock += dt
            self._s = float(np.interp(self._clock, self._times, self._arc))
            self.speed = self._timed_speed()
        else:
            self._s += self.speed * dt
        self._drift = 0.0
        if self.shifting is not None:
            aside = self._offset
            self._offset = self.shifting.step(dt)
            self._drift = (self._offset - aside) / dt
            self.shifting = None if self.shifting.done else self.shifting
        self.travelled += self._s - before
        self.stood = self.stood + dt if self.speed < 0.01 else 0.0
        self.moved = self.moved or self.speed > MOVING
        ends = self._following and self._s >= self._length
        self._s = min(self._s, self._length) if ends else self._s
        self._place()
        if ends:
            self._put(Pose2(self._pose.x, self._pose.y, self._way_yaw))  # and on along the lane that it is on now

    def _timed_speed(self) -> float:
        """Speed on the trajectory's segment; the last one's beyond its end."""
        assert self._times is not None
        at = int(np.clip(np.searchsorted(self._times, self._clock), 1, len(self._times) - 1))
        if self._clock <= self._times[0]:
            return 0.0
        return float((self._arc[at] - self._arc[at - 1]) / (self._times[at] - self._times[at - 1]))

    def record(self) -> tuple[Any, ...]:
        """One row of OBJECT_DTYPE."""
        label, length, width, height = self.shape
        vx, vy = self.speed * math.cos(self.yaw), self.speed * math.sin(self.yaw)
        box = self.x, self.y, 0.0, self.yaw, length, width, height, vx, vy
        return (*box, 1.0, self.key, label, int(not self.moved), *sure_of(label))


def _seconds(change: float, dynamics: Dynamics, speed: float | None = None) -> float:
    """How long ``change`` takes; ``speed``: what a distance is driven with, None where it changes itself."""
    if dynamics.by == "time":
        return dynamics.value
    if dynamics.by == "rate":
        return STEPS[dynamics.shape] * abs(change) / max(dynamics.value, 1e-6)
    return dynamics.value / max(speed if speed is not None else abs(change) / 2.0, 0.1)


def _as_actor(kind: str) -> Actor:
    nothing = (0.0, 0.0)
    return Actor(kind, nothing, nothing, "same", nothing, math.inf, 2.0, math.inf, SEEN)
