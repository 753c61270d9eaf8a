"""Roads, a planner's trajectories along them, and cars to drive them: the bench of the control tests."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from robotaxi.control import ControlConfig, Controller, ControlOutput
from robotaxi.types import TRAJECTORY_DTYPE, Command, EgoState, Trajectory, VehicleParams, VehicleReport

TICK = 0.02
TICK_NS = 20_000_000
VEHICLE = VehicleParams(
    name="test", wheelbase=2.9, length=4.8, width=1.9, height=1.6, rear_overhang=1.0, max_steering=0.6,
    max_steering_rate=0.6, max_acceleration=2.5, max_deceleration=8.0, steering_lag=0.15, steering_delay=0.06,
    drive_lag=0.2, drive_delay=0.08,
)  # fmt: skip


class Road:
    """A path from (length, curvature) pieces joined by clothoids, with a speed profile over arc length."""

    STEP = 0.25

    def __init__(
        self,
        pieces: list[tuple[float, float]],
        speed: float,
        lateral: float = 1.8,
        taper: float = 0.4,
        blend: float = 8.0,
    ) -> None:
        n = int(sum(length for length, _ in pieces) / self.STEP) + 1
        self.s = np.arange(n) * self.STEP
        edges = np.cumsum([length for length, _ in pieces])
        raw = np.array([pieces[min(np.searchsorted(edges, s), len(pieces) - 1)][1] for s in self.s])
        width = max(int(blend / self.STEP), 1)
        padded = np.pad(raw, (width, width), mode="edge")
        self.curvature = np.convolve(padded, np.ones(width) / width, mode="same")[width:-width]
        middle = 0.5 * (self.curvature[1:] + self.curvature[:-1])
        self.yaw = np.concatenate([[0.0], np.cumsum(middle * self.STEP)])
        mid_yaw = 0.5 * (self.yaw[1:] + self.yaw[:-1])
        self.x = np.concatenate([[0.0], np.cumsum(np.cos(mid_yaw) * self.STEP)])
        self.y = np.concatenate([[0.0], np.cumsum(np.sin(mid_yaw) * self.STEP)])
        self.times, self.profile = _profile(self, speed, lateral, taper)

    def trajectory(self, stamp_ns: int, clock: float, horizon: float = 6.0) -> Trajectory:
        """What the planner publishes when it is at ``clock`` seconds of its own profile."""
        t = np.arange(0.0, horizon + 1e-6, 0.1)
        points = np.zeros(len(t), TRAJECTORY_DTYPE)
        s, v, a = (np.interp(clock + t, self.times, column) for column in self.profile)
        for name, column in (("x", self.x), ("y", self.y), ("yaw", self.yaw), ("curvature", self.curvature)):
            points[name] = np.interp(s, self.s, column)
        points["t"], points["s"], points["speed"], points["acceleration"] = t, s - s[0], v, a
        return Trajectory(stamp_ns, points)

    @property
    def duration(self) -> float:
        return float(self.times[-1])

    def lead(self, clock: float, x: float, y: float) -> float:
        """How far (m) the profile at ``clock`` is ahead of a position."""
        i = int(np.argmin((self.x - x) ** 2 + (self.y - y) ** 2))
        return float(np.interp(clock, self.times, self.profile[0]) - self.s[i])

    def errors(self, x: float, y: float) -> float:
        """Distance to the path (m)."""
        i = int(np.argmin((self.x - x) ** 2 + (self.y - y) ** 2))
        return float((y - self.y[i]) * np.cos(self.yaw[i]) - (x - self.x[i]) * np.sin(self.yaw[i]))


def _profile(road: Road, speed: float, lateral: float, taper: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and (s, v, a): up to the limits, 1.5 m/s^2 up and down, jerk-limited, tapered final stop."""
    limit = np.minimum(speed, np.sqrt(lateral / np.maximum(np.abs(road.curvature), 1e-6)))
    slack = 2.0 * 1.2 * road.s
    limit = np.sqrt(np.minimum.accumulate((limit**2 + slack)[::-1])[::-1] - slack)
    dt = 0.01
    s = v = a = 0.0
    rows = [(s, v, a)]
    end = float(road.s[-1]) - 1.0
    while len(rows) < 200_000:
        left = end - s
        target = float(np.interp(s + 0.5 * v, road.s, limit))
        wanted = _clip(target - v, -2.0, 1.5)
        # a stop whose deceleration tapers with speed: v' = -(taper + k v)
        wanted = min(wanted, _tapered(v, left, taper)) if v > 0.0 else wanted
        if left <= 1e-3 or (v <= 1e-3 and s > 1.0):
            break
        jerk = 2.5 if v > 1.5 else 8.0
        a += _clip(wanted - a, -jerk * dt, jerk * dt)
        v = max(v + a * dt, 0.0)
        s += v * dt
        rows.append((s, v, a))
    rows += [(s, 0.0, 0.0), (s, 0.0, 0.0)]
    times = np.arange(len(rows)) * dt
    times[-1] += 60.0
    return times, np.array(rows).T


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _tapered(v: float, left: float, taper: float) -> float:
    if v * v / (2 * 1.3) + 1.0 * v < left:
        return 9.0
    low, high = 0.0, 30.0
    if left >= v * v / (2 * taper):
        return -v * v / (2 * max(left, 1e-3))
    for _ in range(40):
        k = 0.5 * (low + high)
        reach = v / k - taper / k**2 * math.log1p(k * v / taper)
        low, high = (k, high) if reach > left else (low, k)
    return -(taper + high * v)


@dataclass
class Truth:
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    speed: float = 0.0
    acceleration: float = 0.0
    yaw_rate: float = 0.0
    steering: float = 0.0


class LaggedCar:
    """Kinematic bicycle with dead times and first-order lags, integrated at 1 ms; optional biases."""

    def __init__(self, vehicle: VehicleParams, steering_bias: float = 0.0, grade: float = 0.0) -> None:
        self.vehicle, self.bias, self.grade = vehicle, steering_bias, grade
        self.truth = Truth()
        self._drive = 0.0
        self._steering_line = [0.0] * round(vehicle.steering_delay * 1000)
        self._drive_line = [-1.0] * round(vehicle.drive_delay * 1000)

    def step(self, command: Command) -> None:
        t, p, dt = self.truth, self.vehicle, 0.001
        self._steering_line += [command.steering] * 20
        self._drive_line += [command.acceleration] * 20
        for _ in range(20):
            wanted, drive = self._steering_line.pop(0), self._drive_line.pop(0)
            rate = _clip((wanted - t.steering) / p.steering_lag, -p.max_steering_rate, p.max_steering_rate)
            t.steering += rate * dt
            self._drive += (drive - self._drive) * dt / p.drive_lag
            speed = max(t.speed + (self._drive + (self.grade if t.speed > 0 else 0.0)) * dt, 0.0)
            t.acceleration = (speed - t.speed) / dt
            t.yaw_rate = speed * math.tan(t.steering + self.bias) / p.wheelbase
            t.x += speed * math.cos(t.yaw) * dt
            t.y += speed * math.sin(t.yaw) * dt
            t.yaw += t.yaw_rate * dt
            t.speed = speed


class SimCar:
    """The simulator's ego behind the same face."""

    def __init__(self, vehicle: VehicleParams) -> None:
        from robotaxi.sim.ego import EgoVehicle
        from robotaxi.sim.world_config import WorldConfig
        from robotaxi.types import Pose2

        self.ego = EgoVehicle(vehicle, WorldConfig(), Pose2(0.0, 0.0, 0.0))
        self._read()

    def _read(self) -> None:
        x, y, yaw, speed, _ = self.ego.rear_axle()
        along, _ = self.ego.rear_accelerations()
        v = self.ego.motion.vector
        last = getattr(self, "truth", Truth())
        yaw = last.yaw + float((yaw - last.yaw + np.pi) % (2 * np.pi) - np.pi)
        self.truth = Truth(x, y, yaw, speed, along, float(v[5]), float(v[6]))

    def step(self, command: Command) -> None:
        self.ego.step(command)
        self._read()


@dataclass
class Drive:
    """Logs of one drive, one row a tick."""

    lateral: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    steering: np.ndarray
    commands: np.ndarray  # steering, acceleration
    outputs: list[ControlOutput]
    stop_error: float

    @property
    def jerk(self) -> np.ndarray:
        """Change of acceleration over 0.2 s windows, as a passenger feels it, stops included."""
        smooth = np.convolve(self.acceleration, np.ones(10) / 10, mode="valid")
        return np.diff(smooth) / TICK

    @property
    def steering_rate_rms(self) -> float:
        return float(np.sqrt(np.mean((np.diff(self.steering) / TICK) ** 2)))


def drive(
    road: Road,
    car: LaggedCar | SimCar,
    vehicle: VehicleParams = VEHICLE,
    config: ControlConfig | None = None,
    noise: float = 0.0,
    seed: int = 0,
    seconds: float | None = None,
) -> Drive:
    """Drive the road once; the planner replaces its trajectory each 100 ms, effective 40 ms later."""
    controller = Controller(config or ControlConfig(), vehicle)
    rng = np.random.default_rng(seed)
    outputs, rows = [], []
    pending = Command(0, 0.0, -1.0)
    trajectories: list[Trajectory] = []
    clock = 0.0
    for i in range(int((seconds or road.duration - 60.0 + 5.0) / TICK)):
        now_ns = i * TICK_NS
        if road.lead(clock, car.truth.x, car.truth.y) < 0.5:  # a planner does not run away from its car
            clock += TICK
        if i % 5 == 3:
            trajectories.append(road.trajectory(now_ns, clock))
        usable = [t for t in trajectories[-2:] if t.stamp_ns + 2 * TICK_NS <= now_ns]
        t = replace(car.truth)
        n = rng.normal(size=5) * noise
        state = EgoState(
            now_ns, t.x + n[0], t.y + n[1], t.yaw + 0.1 * n[2], t.speed + n[3], t.acceleration, t.yaw_rate + 0.1 * n[4],
            t.steering,
        )  # fmt: skip
        report = VehicleReport(now_ns, state.speed, t.steering, t.acceleration)
        output = controller.step(state, usable[-1] if usable else None, report)
        outputs.append(output)
        rows.append(
            (road.errors(t.x, t.y), t.speed, t.acceleration, t.steering, pending.steering, pending.acceleration)
        )
        car.step(pending)
        pending = output.command
    columns = np.array(rows).T
    end_s = float(road.profile[0][-1])
    ex, ey = np.interp(end_s, road.s, road.x), np.interp(end_s, road.s, road.y)
    yaw = np.interp(end_s, road.s, road.yaw)
    stop_error = float((car.truth.x - ex) * np.cos(yaw) + (car.truth.y - ey) * np.sin(yaw))
    return Drive(columns[0], columns[1], columns[2], columns[3], columns[4:], outputs, stop_error)
