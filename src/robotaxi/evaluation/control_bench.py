"""Path tracking of cars whose actuators, weight, tyres and sensors differ from what the controller was told.

Each trial draws one car and one road. The controller gets trajectories as the planner publishes them
(10 Hz, 40 ms late), a noisy pose and the car's report; what counts is the true rear axle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.control import ControlConfig, Controller
from robotaxi.evaluation.control_peers import PEERS
from robotaxi.interfaces import TICK_NS
from robotaxi.sim.ego import VX, EgoVehicle
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import TRAJECTORY_DTYPE, Command, EgoState, Pose2, Trajectory, VehicleParams, VehicleReport

FloatArray = NDArray[np.floating[Any]]

SPEEDS = (5.0, 10.0, 15.0, 20.0)  # m/s
SETTLE = 8.0  # s that are not counted: the controller meets a car it has never driven
MEASURED = 16.0  # s
STOP_DECELERATION = 1.5  # m/s^2 of the final stop
LATERAL_ACCELERATION = 2.0  # m/s^2 in the tightest curve
MAX_CURVATURE = 0.12  # 1/m
STEP = 0.25  # m between samples of the road
PLAN_PERIOD_NS, PLAN_LATE_NS = 100_000_000, 40_000_000
POSITION_NOISE, YAW_NOISE, SPEED_NOISE, ANGLE_NOISE = 0.01, 0.001, 0.02, 0.001  # m, rad, m/s, rad; sigma
LOST = 5.0  # m off the path at which a trial is given up
RMS_LIMIT, PEAK_LIMIT, STOP_LIMIT = 0.02, 0.06, 0.10  # m
MAX_LIMIT_MS = 3.0  # p99 of a control step


@dataclass(frozen=True)
class Plant:
    """One car. ``vehicle``: its true actuators; ``known``: those of its calibration, off by up to ``miss``."""

    vehicle: VehicleParams
    known: VehicleParams
    world: WorldConfig
    bias: float  # rad, added to every steering command


def draw_plant(nominal: VehicleParams, rng: np.random.Generator, miss: float) -> Plant:
    """A car with lag 0.1-0.4 s, delay 0.1-0.3 s, mass and tyres within 20 %, and a crooked steering wheel."""
    lag, delay = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.3)
    mass, front, rear = (1.0 + rng.uniform(-0.2, 0.2) for _ in range(3))
    world = WorldConfig()
    world = replace(
        world,
        ego_mass=world.ego_mass * mass,
        ego_yaw_inertia=world.ego_yaw_inertia * mass,
        ego_cornering_front=world.ego_cornering_front * front,
        ego_cornering_rear=world.ego_cornering_rear * rear,
    )
    vehicle = replace(nominal, steering_lag=lag, steering_delay=delay)
    known = replace(
        vehicle,
        steering_lag=lag * (1.0 + rng.uniform(-miss, miss)),
        steering_delay=delay * (1.0 + rng.uniform(-miss, miss)),
    )
    return Plant(vehicle, known, world, float(rng.uniform(-0.01, 0.01)))


class Road:
    """Curves joined by clothoids, driven at one speed and ended with a smooth stop."""

    def __init__(self, speed: float, rng: np.random.Generator) -> None:
        top = min(MAX_CURVATURE, LATERAL_ACCELERATION / speed**2)
        length = speed * (SETTLE + MEASURED) + speed**2 / (2.0 * STOP_DECELERATION) + 40.0
        pieces: list[tuple[float, float]] = [(10.0 + speed, 0.0)]
        while sum(item[0] for item in pieces) < length:
            bend = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.0) * top)
            pieces.append((speed * float(rng.uniform(1.5, 3.5)) + 8.0, bend if rng.uniform() < 0.75 else 0.0))
        n = int(length / STEP) + 1
        self.s = np.arange(n) * STEP
        edges = np.cumsum([item[0] for item in pieces])
        raw = np.array([pieces[k][1] for k in np.minimum(np.searchsorted(edges, self.s), len(pieces) - 1)])
        window = max(int(max(8.0, 1.2 * speed) / STEP), 1)
        kernel = np.convolve(np.ones(window), np.hanning(max(window // 3, 3) + 2))
        padded = np.pad(raw, kernel.size, mode="edge")
        self.curvature = np.convolve(padded, kernel / kernel.sum(), mode="same")[kernel.size : -kernel.size]
        middle = 0.5 * (self.curvature[1:] + self.curvature[:-1])
        self.yaw = np.concatenate([[0.0], np.cumsum(middle * STEP)])
        half = 0.5 * (self.yaw[1:] + self.yaw[:-1])
        self.x = np.concatenate([[0.0], np.cumsum(np.cos(half) * STEP)])
        self.y = np.concatenate([[0.0], np.cumsum(np.sin(half) * STEP)])
        self.times, self.driven, self.speed, self.acceleration = _profile(speed)

    def trajectory(self, stamp_ns: int) -> Trajectory:
        """What a planner publishes at ``stamp_ns``: 8 s ahead every 0.1 s."""
        t = np.arange(0.0, 8.0 + 1e-9, 0.1)
        at = stamp_ns * 1e-9 + t
        s, v, a = (np.interp(at, self.times, column) for column in (self.driven, self.speed, self.acceleration))
        points = np.zeros(t.size, TRAJECTORY_DTYPE)
        for name, column in (("x", self.x), ("y", self.y), ("yaw", self.yaw), ("curvature", self.curvature)):
            points[name] = np.interp(s, self.s, column)
        points["t"], points["s"], points["speed"], points["acceleration"] = t, s - s[0], v, a
        return Trajectory(stamp_ns, points)

    def offset(self, x: float, y: float, near: int) -> tuple[float, int]:
        """Signed distance to the path, and the index of its nearest sample near ``near``."""
        lo, hi = max(near - 60, 0), min(near + 60, self.s.size)
        k = lo + int(np.argmin((self.x[lo:hi] - x) ** 2 + (self.y[lo:hi] - y) ** 2))
        dx, dy = x - self.x[k], y - self.y[k]
        c, s = math.cos(self.yaw[k]), math.sin(self.yaw[k])
        along = c * dx + s * dy
        return float(-s * dx + c * dy - 0.5 * self.curvature[k] * along * along), k


def _profile(speed: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Times, arc lengths, speeds, accelerations: constant, then a jerk-limited stop."""
    dt, jerk = 0.01, 1.5
    t, s, v, a = [0.0], [0.0], [speed], [0.0]
    while v[-1] > 0.0 and t[-1] < 200.0:
        wanted = 0.0 if t[-1] < SETTLE + MEASURED else -min(STOP_DECELERATION, math.sqrt(2.0 * jerk * v[-1]))
        new = min(max(wanted, a[-1] - jerk * dt), a[-1] + jerk * dt)
        v_new = max(v[-1] + 0.5 * (new + a[-1]) * dt, 0.0)
        if new > -0.02 and v_new < 0.03 and t[-1] > SETTLE + MEASURED:
            v_new = 0.0
        s.append(s[-1] + 0.5 * (v[-1] + v_new) * dt)
        t.append(t[-1] + dt)
        v.append(v_new)
        a.append(new if v_new > 0.0 else 0.0)
    for column, value in ((t, t[-1] + 20.0), (s, s[-1]), (v, 0.0), (a, 0.0)):
        column.append(value)
    return np.array(t), np.array(s), np.array(v), np.array(a)


@dataclass(frozen=True)
class Trial:
    """Lateral errors while measured (m), stop error along the path (m), control step times (ms)."""

    errors: FloatArray
    stop: float
    step_ms: FloatArray
    lost: bool


def drive(make: Callable[[VehicleParams], Controller], plant: Plant, road: Road, seed: tuple[int, ...]) -> Trial:
    """One car on one road under one controller."""
    rng = np.random.default_rng(seed)
    controller = make(plant.known)
    car = EgoVehicle(plant.vehicle, plant.world, Pose2(0.0, 0.0, 0.0))
    car.motion.vector[VX] = road.speed[0]
    car.motion.drive_line[:] = 0.0
    car.motion.steering_line[:] = 0.0
    car.motion.vector[7] = 0.0
    errors, ms = [], []
    active: Trajectory | None = road.trajectory(0)
    waiting: tuple[int, Trajectory] | None = None
    near, still, lost = 0, 0, False
    end_ns = int((road.times[-2] + 6.0) * 1e9)
    stamp_ns = 0
    while stamp_ns < end_ns and still < 50:
        x, y, yaw, speed, _ = car.rear_axle()
        offset, near = road.offset(x, y, near)
        t = stamp_ns * 1e-9
        if SETTLE < t < SETTLE + MEASURED:
            errors.append(offset)
        if abs(offset) > LOST:
            lost = True
            break
        still = still + 1 if speed < 0.01 and t > SETTLE + MEASURED else 0
        if stamp_ns % PLAN_PERIOD_NS == 0:
            waiting = (stamp_ns + PLAN_LATE_NS, road.trajectory(stamp_ns))
        if waiting is not None and waiting[0] <= stamp_ns:
            active, waiting = waiting[1], None
        noise = rng.normal(0.0, 1.0, 7)
        seen = max(speed + SPEED_NOISE * noise[3], 0.0) if speed > 0.05 else speed
        angle = car.steering - plant.bias + ANGLE_NOISE * noise[4]
        state = EgoState(
            stamp_ns, x + POSITION_NOISE * noise[0], y + POSITION_NOISE * noise[1], yaw + YAW_NOISE * noise[2],
            seen, 0.0, float(car.motion.vector[5]) + 0.002 * noise[5], angle,
        )  # fmt: skip
        begin = time.thread_time()
        command = controller.step(state, active, VehicleReport(stamp_ns, seen, angle)).command
        ms.append((time.thread_time() - begin) * 1e3)
        car.step(Command(command.stamp_ns, command.steering + plant.bias, command.acceleration, command.speed))
        stamp_ns += TICK_NS
    x, y, _, _, _ = car.rear_axle()
    k = int(np.argmin((road.x - x) ** 2 + (road.y - y) ** 2))
    along = math.cos(road.yaw[k]) * (x - road.x[k]) + math.sin(road.yaw[k]) * (y - road.y[k])
    stop = float(road.s[k] + along - road.driven[-1])
    return Trial(np.array(errors or [math.nan]), stop, np.array(ms), lost)


def measure(
    nominal: VehicleParams,
    trials: int,
    seed: int,
    miss: float = 0.1,
    peers: bool = True,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Figures of every controller over the same cars and roads, by speed and over all."""
    config = ControlConfig()
    makers: dict[str, Callable[[VehicleParams], Controller]] = {"robotaxi": lambda v: Controller(config, v)}
    if peers:
        for name, peer in PEERS.items():
            makers[name] = lambda v, peer=peer: peer(config, v)  # type: ignore[misc]
    Controller(config, nominal).warm_up()
    figures: dict[str, Any] = {}
    for name, make in makers.items():
        by_speed = {}
        everything: list[Trial] = []
        for number, speed in enumerate(SPEEDS):
            done = []
            for trial in range(trials):
                rng = np.random.default_rng([seed, number, trial])
                plant, road = draw_plant(nominal, rng, miss), Road(speed, rng)
                done.append(drive(make, plant, road, (seed, number, trial, 1)))
                progress()
            by_speed[f"{speed:g}"] = _figures(done)
            everything += done
        figures[name] = {"all": _figures(everything), "by_speed": by_speed}
    return figures


def _figures(trials: list[Trial]) -> dict[str, float | int]:
    errors = np.concatenate([item.errors for item in trials])
    rms = [math.sqrt(float(np.nanmean(item.errors**2))) for item in trials]
    ms = np.concatenate([item.step_ms[5:] for item in trials])
    return {
        "lateral_rms_m": round(math.sqrt(float(np.nanmean(errors**2))), 4),
        "worst_trial_rms_m": round(max(rms), 4),
        "lateral_peak_m": round(float(np.nanmax(np.abs(errors))), 4),
        "stop_error_max_m": round(max(abs(item.stop) for item in trials), 4),
        "lost": sum(item.lost for item in trials),
        "step_ms_p50": round(float(np.median(ms)), 3),
        "step_ms_p99": round(float(np.percentile(ms, 99)), 3),
    }


def verdict(figures: dict[str, Any]) -> list[str]:
    """What does not hold of our controller, in words."""
    own, problems = figures["robotaxi"], []
    for speed, row in own["by_speed"].items():
        for key, limit, what in (
            ("lateral_rms_m", RMS_LIMIT, "lateral RMS"),
            ("lateral_peak_m", PEAK_LIMIT, "peak"),
            ("stop_error_max_m", STOP_LIMIT, "stop error"),
        ):
            if row[key] > limit:
                problems.append(f"{what} {row[key] * 100:.1f} cm at {speed} m/s")
        for name, peer in figures.items():
            if name != "robotaxi" and peer["by_speed"][speed]["lateral_rms_m"] <= row["lateral_rms_m"]:
                problems.append(f"{name} is better at {speed} m/s")
    return problems
