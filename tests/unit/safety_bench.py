"""A car, a gate and things made of lidar points: the bench of the safety tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from control_track import TICK, TICK_NS, VEHICLE, LaggedCar

from robotaxi.safety import CommandGate, GateConfig, GateInput, GateOutput
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    LidarSweep,
    SystemMode,
    Trajectory,
    VehicleReport,
)

T_BASE_LIDAR = np.array([[1, 0, 0, 1.2], [0, 1, 0, 0], [0, 0, 1, 1.9], [0, 0, 0, 1.0]])
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")])


@dataclass(frozen=True)
class Thing:
    """A box that moves along map x: centre at time 0, size, speed."""

    x: float
    y: float
    length: float = 4.5
    width: float = 1.8
    height: float = 1.5
    vx: float = 0.0
    vy: float = 0.0

    def surface(self, t: float) -> np.ndarray:
        """Points (N, 3) in map on its four sides, 0.25 m apart."""
        u, v = np.arange(0.0, self.length, 0.25), np.arange(0.0, self.width, 0.25)
        sides = [np.column_stack([u, np.full(len(u), side)]) for side in (0.0, self.width)]
        sides += [np.column_stack([np.full(len(v), end), v]) for end in (0.0, self.length)]
        outline = np.concatenate(sides) - [self.length / 2, self.width / 2]
        outline += [self.x + self.vx * t, self.y + self.vy * t]
        z = np.arange(0.1, self.height, 0.2)
        return np.column_stack([np.repeat(outline, len(z), axis=0), np.tile(z, len(outline))])


def ground(rng: np.random.Generator) -> np.ndarray:
    """Rings of ground points around the car, in base_link."""
    angle = np.linspace(-np.pi, np.pi, 180)
    rings = [np.column_stack([r * np.cos(angle), r * np.sin(angle)]) for r in np.geomspace(3.0, 60.0, 16)]
    xy = np.concatenate(rings)
    return np.column_stack([xy, rng.normal(0.0, 0.02, len(xy))])


def sweep_of(stamp_ns: int, base_points: np.ndarray) -> LidarSweep:
    """Points (N, 3) in base_link as the lidar gives them."""
    points = np.zeros(len(base_points), POINT)
    for i, name in enumerate("xyz"):
        points[name] = base_points[:, i] - T_BASE_LIDAR[i, 3]
    return LidarSweep(stamp_ns, points, T_BASE_LIDAR)


def see(car: LaggedCar, stamp_ns: int, things: list[Thing], rng: np.random.Generator) -> LidarSweep:
    """One sweep of the things and the ground, 2 cm noise, a few stray returns."""
    t, pose = stamp_ns * 1e-9, car.truth
    clouds = [ground(rng)]
    c, s = np.cos(pose.yaw), np.sin(pose.yaw)
    for thing in things:
        world = thing.surface(t) - [pose.x, pose.y, 0.0]
        clouds.append(
            np.column_stack([c * world[:, 0] + s * world[:, 1], -s * world[:, 0] + c * world[:, 1], world[:, 2]])
        )
    stray = rng.uniform([-20, -20, 0.2], [40, 20, 2.5], (20, 3))
    return sweep_of(stamp_ns, np.concatenate([*clouds, stray]) + rng.normal(0.0, 0.02, (sum(map(len, clouds)) + 20, 3)))


def arc(stamp_ns: int, x: float, y: float, yaw: float, speed: float, curvature: float = 0.0, n: int = 60) -> Trajectory:
    """A trajectory of constant speed and curvature from a pose on."""
    points = np.zeros(n, TRAJECTORY_DTYPE)
    points["t"] = np.arange(n) * 0.1
    points["s"] = points["t"] * max(speed, 1.0)
    points["yaw"] = yaw + curvature * points["s"]
    middle = yaw + 0.5 * curvature * points["s"]
    chord = points["s"] * np.sinc(curvature * points["s"] / 2 / np.pi)
    points["x"], points["y"] = x + chord * np.cos(middle), y + chord * np.sin(middle)
    points["speed"], points["curvature"] = speed, curvature
    return Trajectory(stamp_ns, points)


def steer_on(curvature: float) -> float:
    return float(np.arctan(VEHICLE.wheelbase * curvature))


@dataclass
class Bench:
    """Closed loop of gate and car. ``command(t, car)`` gives steering and acceleration wanted;
    ``alter(inputs)`` may spoil what the gate sees."""

    speed: float = 0.0
    curvature: float = 0.0
    things: list[Thing] = field(default_factory=list)
    config: GateConfig = field(default_factory=GateConfig)
    command: Callable[[float, LaggedCar], tuple[float, float]] = lambda t, car: (0.0, 0.0)
    alter: Callable[[GateInput], GateInput] = lambda inputs: inputs
    seed: int = 0

    def __post_init__(self) -> None:
        self.car = LaggedCar(VEHICLE)
        self.car.truth.speed = self.speed
        self.car.truth.steering = steer_on(self.curvature)
        self.car._drive_line = [0.0] * len(self.car._drive_line)
        self.car._steering_line = [steer_on(self.curvature)] * len(self.car._steering_line)
        self.gate = CommandGate(self.config, VEHICLE)
        self.outputs: list[GateOutput] = []
        self.gaps: list[float] = []
        self.accelerations: list[float] = []
        self._tick = 0
        self._rng = np.random.default_rng(self.seed)
        # recovery time passes while already driving: the bench begins in AUTONOMOUS
        self.gate._modes.mode = SystemMode.AUTONOMOUS
        self.gate._limits.acceleration = 0.0
        self.road = arc(0, 0.0, 0.0, 0.0, 12.0, self.curvature, n=400)

    def run(self, seconds: float) -> list[GateOutput]:
        outputs = []
        for _ in range(round(seconds / TICK)):
            outputs.append(self._step())
        self.outputs += outputs
        return outputs

    def _step(self) -> GateOutput:
        now, i, t = self._tick * TICK_NS, self._tick, self.car.truth
        steering, acceleration = self.command(i * TICK, self.car)
        inputs = GateInput(
            stamp_ns=now,
            report=VehicleReport(now, t.speed, t.steering, t.acceleration),
            command=Command(now, steering, acceleration, t.speed),
            state=EgoState(now, t.x, t.y, t.yaw, t.speed, t.acceleration, t.yaw_rate, t.steering),
            trajectory=Trajectory(now // (5 * TICK_NS) * 5 * TICK_NS, self.road.points),
            sweep=see(self.car, now, self.things, self._rng) if i % 5 == 0 else None,
        )
        output = self.gate.step(self.alter(inputs))
        self.car.step(output.command)
        self._tick += 1
        self.gaps.append(min((self._gap(thing, now * 1e-9) for thing in self.things), default=np.inf))
        self.accelerations.append(t.acceleration)
        return output

    def _gap(self, thing: Thing, t: float) -> float:
        """Along x, from the front bumper to the rear of a thing that overlaps the body's width."""
        if abs(thing.y + thing.vy * t - self.car.truth.y) > (thing.width + VEHICLE.width) / 2:
            return float(np.inf)
        return thing.x + thing.vx * t - thing.length / 2 - (self.car.truth.x + VEHICLE.front)

    @property
    def modes(self) -> set[SystemMode]:
        return {output.mode for output in self.outputs}
