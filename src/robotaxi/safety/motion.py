"""Where the car is and where it is going, with the least that can be trusted.

The pose comes from localization while that is good and from wheel speed and tyre angle otherwise;
the way ahead is the last good trajectory while the car is on it, else the arc of the tyre angle.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

import numpy as np

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.geometry.turned import turned_trajectory
from robotaxi.safety.config import GateConfig
from robotaxi.types import EgoState, FloatArray, Pose2, Trajectory, VehicleParams, VehicleReport

PATH_STEP = 0.25  # m, between two poses of the way ahead
_TOLD_NS = 2_000_000_000  # commands that may still be under way to the wheels
_HARDEST = 20.0  # m/s^2, more is no acceleration of a car
_STRAIGHT_SPEED, _STRAIGHT_STEERING = 3.0, 0.05  # m/s, rad: faster and less, tyres hardly slip
_MOST_OFF = 0.05  # rad, more is no offset of a sensor
_OFF_GAIN = 0.005  # of what is new, at 50 Hz the mean of four seconds
_DRIFT = 0.05  # m that dead reckoning may be off for each metre driven since the last good state
_REJOIN = 6.0  # m over which the car comes back to its trajectory


class Odometer:
    """Dead reckoning, corrected by each good state. ``distance`` is the way driven (m)."""

    def __init__(self, vehicle: VehicleParams) -> None:
        self._wheelbase = vehicle.wheelbase
        self.pose: Pose2 | None = None
        self.distance = 0.0
        self._corrected_at = 0.0  # of the way driven

    def advance(self, speed: float, steering: float, dt: float) -> None:
        """Go on with the kinematic bicycle."""
        way = speed * dt
        self.distance += way
        if self.pose is None:
            return
        turn = way * math.tan(steering) / self._wheelbase
        course = self.pose.yaw + 0.5 * turn
        self.pose = Pose2(
            self.pose.x + way * math.cos(course), self.pose.y + way * math.sin(course), self.pose.yaw + turn
        )

    def correct(self, state: EgoState, age: float) -> None:
        """Take a good state, ``age`` seconds old."""
        self.pose = _carried_on(state, age)
        self._corrected_at = self.distance

    def away(self, state: EgoState, age: float) -> float:
        """Metres from here to where a state, ``age`` seconds old, says the car is, less what the reckoning itself may
        have drifted by; 0 before the first good state."""
        if self.pose is None:
            return 0.0
        said = _carried_on(state, age)
        drift = _DRIFT * abs(self.distance - self._corrected_at)
        return max(math.hypot(said.x - self.pose.x, said.y - self.pose.y) - drift, 0.0)


def _carried_on(state: EgoState, age: float) -> Pose2:
    way = state.speed * age
    return Pose2(
        state.x + way * math.cos(state.yaw), state.y + way * math.sin(state.yaw), state.yaw + state.yaw_rate * age
    )


class SteeringOffset:
    """How far the steering sensor is off (rad), learned where the car goes nearly straight.

    A stop without localization goes by this sensor: 0.4 deg bend it by two metres over forty.
    """

    def __init__(self, vehicle: VehicleParams) -> None:
        self._wheelbase = vehicle.wheelbase
        self._seen = 0
        self.value = 0.0

    def learn(self, state: EgoState, report: VehicleReport) -> None:
        """Compare a good state with the report beside it."""
        if state.speed < _STRAIGHT_SPEED or abs(report.steering) > _STRAIGHT_STEERING:
            return
        off = report.steering - math.atan(self._wheelbase * state.yaw_rate / state.speed)
        if abs(off) < _MOST_OFF:  # also for NaN
            self._seen += 1
            self.value += max(1.0 / self._seen, _OFF_GAIN) * (off - self.value)

    def corrected(self, report: VehicleReport) -> VehicleReport:
        return replace(report, steering=report.steering - self.value)


class Coasting:
    """Speed (m/s) and tyre angle (rad) without the vehicle's word: what it was told, as late as it follows."""

    def __init__(self, vehicle: VehicleParams) -> None:
        self._vehicle = vehicle
        self._told: deque[tuple[int, float, float]] = deque()
        self._acceleration = 0.0
        self._reverse = False
        self.speed = self.steering = 0.0

    def told(self, stamp_ns: int, steering: float, acceleration: float, reverse: bool = False) -> None:
        """A command that has been sent."""
        if reverse is not self._reverse:  # at standstill
            self._reverse, self._acceleration = reverse, min(self._acceleration, 0.0)
        self._told.append((stamp_ns, steering, acceleration))
        while len(self._told) > 1 and not 0 <= stamp_ns - self._told[0][0] <= _TOLD_NS:
            self._told.popleft()

    def believe(self, report: VehicleReport) -> None:
        """Start from a good report."""
        self.speed, self.steering = report.speed, report.steering
        self._acceleration = report.acceleration if abs(report.acceleration) < _HARDEST else 0.0  # also for NaN
        if self._reverse:
            self._acceleration = -self._acceleration

    def coast(self, now_ns: int, dt: float) -> None:
        """Go on for ``dt`` seconds without a report."""
        vehicle = self._vehicle
        steering, _ = self._told_by(now_ns - round(vehicle.steering_delay * 1e9))
        _, acceleration = self._told_by(now_ns - round(vehicle.drive_delay * 1e9))
        self.steering += (steering - self.steering) * min(dt / max(vehicle.steering_lag, dt), 1.0)
        self._acceleration += (acceleration - self._acceleration) * min(dt / max(vehicle.drive_lag, dt), 1.0)
        if self._reverse:
            self.speed = min(self.speed - self._acceleration * dt, 0.0)
        else:
            self.speed = max(self.speed + self._acceleration * dt, 0.0)

    def _told_by(self, stamp_ns: int) -> tuple[float, float]:
        for at, steering, acceleration in reversed(self._told):
            if at <= stamp_ns:
                return steering, acceleration
        return (self._told[0][1], self._told[0][2]) if self._told else (self.steering, 0.0)


class GoodTrajectory:
    """The last good trajectory as a path. Columns (N,) float64, frame ``map``, places where the car
    stands left out; ``stops``: it ends at rest. ``backwards``: yaw is that of the car turned round, and so must the
    poses be that are asked about."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.backwards, self.moves = trajectory.backwards, trajectory.moves
        points = (turned_trajectory(trajectory) if self.backwards else trajectory).points
        x, y = (np.asarray(points[name], dtype=np.float64) for name in ("x", "y"))
        yaw = np.unwrap(np.asarray(points["yaw"], dtype=np.float64))
        steps = np.hypot(np.diff(x), np.diff(y))
        keep = np.concatenate([[True], steps > 1e-3])
        self.x, self.y, self.yaw = x[keep], y[keep], yaw[keep]
        self.s = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(self.x), np.diff(self.y)))])
        self._dx, self._dy, self._length = np.diff(self.x), np.diff(self.y), np.diff(self.s)
        self.stops = bool(abs(float(points["speed"][-1])) < 0.05)

    def locate(self, pose: Pose2) -> tuple[float, float, float]:
        """Arc length, lateral offset (left positive) and heading difference of a pose on the path."""
        n = len(self.x)
        if n == 1:
            return self._beyond(pose, 0)
        dx, dy, length = self._dx, self._dy, self._length
        px, py = pose.x - self.x[:-1], pose.y - self.y[:-1]
        f = np.clip((px * dx + py * dy) / length**2, 0.0, 1.0)
        i = int(np.argmin((px - f * dx) ** 2 + (py - f * dy) ** 2))
        if i == 0 and f[0] <= 0.0:
            return self._beyond(pose, 0)
        if i == n - 2 and f[i] >= 1.0:
            return self._beyond(pose, n - 1)
        lateral = (dx[i] * py[i] - dy[i] * px[i]) / length[i]
        yaw = self.yaw[i] + f[i] * (self.yaw[i + 1] - self.yaw[i])
        return float(self.s[i] + f[i] * length[i]), float(lateral), wrap_angle(pose.yaw - float(yaw))

    def _beyond(self, pose: Pose2, end: int) -> tuple[float, float, float]:
        yaw = float(self.yaw[end])
        dx, dy = pose.x - float(self.x[end]), pose.y - float(self.y[end])
        along, across = math.cos(yaw) * dx + math.sin(yaw) * dy, -math.sin(yaw) * dx + math.cos(yaw) * dy
        return float(self.s[end]) + along, across, wrap_angle(pose.yaw - yaw)

    def sample(self, s: FloatArray) -> FloatArray:
        """Poses (N, 3) at arc lengths (N,), straight on beyond the ends."""
        inside = np.clip(s, 0.0, self.s[-1])
        yaw = np.interp(inside, self.s, self.yaw)
        x = np.interp(inside, self.s, self.x) + (s - inside) * np.cos(yaw)
        y = np.interp(inside, self.s, self.y) + (s - inside) * np.sin(yaw)
        return np.column_stack([x, y, yaw])


def on_path(
    config: GateConfig, trajectory: GoodTrajectory | None, pose: Pose2 | None, *, nearly: bool = False
) -> float | None:
    """Arc length of the car on the trajectory, or None when it is not on it; ``nearly``: as far off as it can be
    steered back."""
    if trajectory is None or pose is None:
        return None
    s, lateral, heading = trajectory.locate(pose)
    offset = config.max_return_offset if nearly else config.max_path_offset
    turned = config.max_return_heading if nearly else config.max_path_heading
    if abs(lateral) > offset or abs(heading) > turned:
        return None
    return s


def way_ahead(
    trajectory: GoodTrajectory | None,
    s: float | None,
    pose: Pose2 | None,
    steering: float,
    wheelbase: float,
    length: float,
) -> FloatArray:
    """Poses (N, 3) of base_link ahead, ``PATH_STEP`` apart, in today's base_link frame.

    ``s``: where the car is on the trajectory, None to follow the tyre angle instead. The car's own
    offset from the trajectory fades out over the first metres, as its controller will steer it back.
    """
    ahead = (np.arange(math.ceil(length / PATH_STEP) + 1) * PATH_STEP).astype(np.float64)
    if trajectory is None or s is None or pose is None:
        curvature = math.tan(steering) / wheelbase
        yaw = curvature * ahead
        middle = np.where(np.abs(yaw) > 1e-6, np.sinc(yaw / (2.0 * np.pi)), 1.0) * ahead  # chord
        return np.column_stack([middle * np.cos(yaw / 2.0), middle * np.sin(yaw / 2.0), yaw])
    world = trajectory.sample(s + ahead)
    c, sn = math.cos(pose.yaw), math.sin(pose.yaw)
    dx, dy = world[:, 0] - pose.x, world[:, 1] - pose.y
    local = np.column_stack([c * dx + sn * dy, -sn * dx + c * dy, world[:, 2] - pose.yaw])
    fade = np.clip(1.0 - ahead / _REJOIN, 0.0, 1.0)[:, None]
    return local - fade * np.array([local[0, 0], local[0, 1], wrap_angle(local[0, 2])])


def pursue(
    config: GateConfig,
    vehicle: VehicleParams,
    trajectory: GoodTrajectory,
    pose: Pose2,
    s: float,
    speed: float,
    steering: float,
) -> float:
    """Tyre angle of pure pursuit from where the car will be when it acts."""
    way = max(speed, 0.0) * (vehicle.steering_delay + vehicle.steering_lag)
    turn = way * math.tan(steering) / vehicle.wheelbase
    x, y = pose.x + way * math.cos(pose.yaw + 0.5 * turn), pose.y + way * math.sin(pose.yaw + 0.5 * turn)
    yaw = pose.yaw + turn
    reach = max(config.min_lookahead, config.lookahead_time * speed)
    target = trajectory.sample(np.array([s + way + reach]))[0]
    dx, dy = float(target[0]) - x, float(target[1]) - y
    sideways = -math.sin(yaw) * dx + math.cos(yaw) * dy
    return math.atan(2.0 * vehicle.wheelbase * sideways / max(dx * dx + dy * dy, 1.0))
