"""A car for demonstrations of the desk: follows its route with a speed profile, no sensors, no other traffic.

It has a real bridge; what it does with goals, holds and closed areas is what a planner would make of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from robotaxi.dispatch.report import BridgeInput
from robotaxi.hdmap.closures import closed_for
from robotaxi.hdmap.lane_map import LaneMap, RouteError
from robotaxi.hdmap.route_path import RoutePath
from robotaxi.types import (
    EgoState,
    Goal,
    MissionState,
    MissionStatus,
    Pose2,
    SystemMode,
    TripState,
    VehicleReport,
)

ACCELERATION = 1.2  # m/s^2, also braking
LATERAL = 2.0  # m/s^2 in curves
CABIN_S = 4.0  # door open while a rider gets in or out
AHEAD_S = 6.0


@dataclass
class FleetCar:
    """``pose``: where it stands at first."""

    lane_map: LaneMap
    pose: Pose2
    speed: float = 0.0
    goal: Goal | None = None
    state: TripState = TripState.IDLE
    path: RoutePath | None = None
    at_s: float = 0.0
    in_state: float = 0.0
    rider: bool = False
    mission: MissionStatus = field(default_factory=lambda: MissionStatus(MissionState.IDLE))
    sentence: str = "Standing: no ride."

    def step(self, seconds: float, goal: Goal | None, state: TripState) -> None:
        """Drive on for ``seconds`` towards what the bridge wants now."""
        self.in_state = self.in_state + seconds if state is self.state else 0.0
        self.state = state
        place = (goal.goal_id, goal.avoid) if goal and not goal.hold else None
        known = (self.goal.goal_id, self.goal.avoid) if self.goal else None
        if place is not None and goal is not None and place != known:
            self.goal = goal
            self._plan(goal)
        limit = self._limit() if goal is not None and not goal.hold else 0.0
        change = max(-2.0 * ACCELERATION * seconds, min(ACCELERATION * seconds, limit - self.speed))
        self.speed = max(0.0, self.speed + change)
        if self.path is not None:
            self.at_s = min(self.at_s + self.speed * seconds, self.path.length)
            self.pose = self._pose_at(self.at_s)
        self._report(goal)
        self._cabin()

    def inputs(self, stamp_ns: int) -> BridgeInput:
        door = self.state in (TripState.WAITING_FOR_RIDER, TripState.BOARDING, TripState.ARRIVED, TripState.AT_STOP)
        door = door and (self.state is TripState.WAITING_FOR_RIDER or self.in_state < CABIN_S)
        door = door and self.speed == 0.0
        ego = EgoState(stamp_ns, self.pose.x, self.pose.y, self.pose.yaw, self.speed)
        report = VehicleReport(stamp_ns, self.speed, 0.0, 0.0, door, self.rider, self.rider and not door)
        return BridgeInput(stamp_ns, ego, self.mission, report, SystemMode.AUTONOMOUS, "", self.sentence, self._ahead())

    def _plan(self, goal: Goal) -> None:
        try:
            closed = closed_for(self.lane_map, goal.avoid, self.pose.x, self.pose.y)
            route = self.lane_map.route(self.pose, Pose2(goal.x, goal.y, goal.yaw), closed)
            self.path, self.at_s = self.lane_map.route_path(route, 0.0), 0.0
            self.mission = MissionStatus(MissionState.DRIVING, goal.goal_id, self.path.length)
        except RouteError as error:
            self.path, self.mission = None, MissionStatus(MissionState.UNREACHABLE, goal.goal_id, 0.0, str(error))

    def _limit(self) -> float:
        """The speed from which every limit ahead can still be kept (m/s)."""
        path = self.path
        if path is None:
            return 0.0
        left = path.length - self.at_s
        ahead = (path.s >= self.at_s) & (path.s <= self.at_s + 60.0)
        curves = np.sqrt(LATERAL / np.maximum(np.abs(path.curvature[ahead]), 1e-3))
        limits = np.minimum(path.speed_limit[ahead], curves)
        braking = np.sqrt(limits**2 + 2.0 * ACCELERATION * (path.s[ahead] - self.at_s)) if len(limits) else [0.0]
        return float(min(np.min(braking), math.sqrt(2.0 * ACCELERATION * max(left - 0.2, 0.0))))

    def _pose_at(self, s: float) -> Pose2:
        assert self.path is not None
        x = float(np.interp(s, self.path.s, self.path.points[:, 0]))
        y = float(np.interp(s, self.path.s, self.path.points[:, 1]))
        return Pose2(x, y, math.remainder(float(np.interp(s, self.path.s, self.path.yaw)), math.tau))

    def _report(self, goal: Goal | None) -> None:
        left = self.path.length - self.at_s if self.path is not None else 0.0
        if goal is None:
            self.sentence = "Standing: no ride."
        elif goal.hold:
            self.sentence = "Standing for boarding." if self.speed < 0.1 else "Stopping: asked to."
            arrived = self.mission.state is MissionState.ARRIVED
            state = MissionState.ARRIVED if arrived else MissionState.IDLE
            self.mission = MissionStatus(state, goal.goal_id, left)
        elif self.mission.state is not MissionState.UNREACHABLE:
            arrived = left < 0.5 and self.speed < 0.2
            self.mission = MissionStatus(MissionState.ARRIVED if arrived else MissionState.DRIVING, goal.goal_id, left)
            self.sentence = f"Driving at {self.speed * 3.6:.0f} km/h, {left:.0f} m to go."
            if arrived:
                self.speed = 0.0

    def _cabin(self) -> None:
        if self.state is TripState.BOARDING and self.in_state > CABIN_S / 2.0:
            self.rider = True
        elif self.state is TripState.ARRIVED and self.in_state > CABIN_S / 2.0:
            self.rider = False

    def _ahead(self) -> tuple[tuple[float, float], ...]:
        if self.path is None or self.speed < 0.5:
            return ()
        distances = np.linspace(self.at_s, min(self.at_s + AHEAD_S * self.speed, self.path.length), 12)
        xs = np.interp(distances, self.path.s, self.path.points[:, 0])
        ys = np.interp(distances, self.path.s, self.path.points[:, 1])
        return tuple(zip(xs.tolist(), ys.tolist(), strict=True))
