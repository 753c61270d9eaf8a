"""Driving backwards is driving forwards with the car turned round: the mirror that control and safety share.

For a car that steers at the front and is described by its rear axle, backwards at speed v with tyre angle d is the same
motion as that of a car whose yaw is half a turn on, forwards at -v, with tyre angle -d. What is written for driving
forwards thus holds backwards too, exactly as long as tyres do not slip, which they hardly do at walking pace.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.types import EgoState, LidarSweep, Pose2, Trajectory, VehicleParams, VehicleReport

_HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned_pose(pose: Pose2) -> Pose2:
    return Pose2(pose.x, pose.y, wrap_angle(pose.yaw + math.pi))


def turned_state(state: EgoState) -> EgoState:
    return replace(
        state,
        yaw=wrap_angle(state.yaw + math.pi),
        speed=-state.speed,
        acceleration=-state.acceleration,
        steering=-state.steering,
    )


def turned_report(report: VehicleReport) -> VehicleReport:
    return replace(
        report, speed=-report.speed, steering=-report.steering, acceleration=-report.acceleration
    )  # fmt: skip


def turned_trajectory(trajectory: Trajectory) -> Trajectory:
    points = trajectory.points.copy()
    points["yaw"] = (points["yaw"] + 2.0 * np.pi) % (2.0 * np.pi) - np.pi
    for name in ("speed", "acceleration", "curvature"):
        points[name] = -points[name]
    return Trajectory(trajectory.stamp_ns, points)


def turned_vehicle(vehicle: VehicleParams) -> VehicleParams:
    """What was behind the rear axle is ahead of it."""
    return replace(vehicle, rear_overhang=vehicle.front)


def turned_sweep(sweep: LidarSweep) -> LidarSweep:
    return replace(sweep, T_base_lidar=_HALF_TURN @ np.asarray(sweep.T_base_lidar, np.float64))
