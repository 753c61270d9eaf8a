"""The localizer on a synthetic drive: how exact it is, and what it says when a sensor lies or is silent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.localizer import Localization, Localizer
from robotaxi.types import GnssFix, ImuSample, VehicleReport

ORIGIN = (48.1, 11.6, 520.0)
ARM = np.array([1.2, 0.1, 1.6])
DT = 0.02
STEP_NS = 20_000_000
START_NS = 5_000_000_000

Reading = tuple[ImuSample, VehicleReport | None, Sequence[GnssFix]]
Fault = Callable[[int, Reading], Reading]


@dataclasses.dataclass(frozen=True)
class Drive:
    """Truth at 50 Hz: ``x``, ``y``, ``yaw``, ``speed`` and ``yaw_rate`` (N,), and what the sensors read."""

    x: np.ndarray
    y: np.ndarray
    yaw: np.ndarray
    speed: np.ndarray
    yaw_rate: np.ndarray
    readings: list[Reading]


def make_drive(duration: float = 180.0, seed: int = 1, moving_from: float = 3.0) -> Drive:
    """Straights and bends at up to 14 m/s with stops; the rear axle slips like that of a real car."""
    n, sub = round(duration / DT), 10
    h = DT / sub
    t = np.arange(n * sub) * h
    target = 9.0 + 5.0 * np.sin(2 * np.pi * t / 47.0)
    stop = ((t % 60.0) > 42.0) | (t < moving_from)
    speed = np.zeros(t.size)
    for i in range(1, t.size):
        wanted = -2.5 if stop[i] else 1.8
        speed[i] = min(max(speed[i - 1] + wanted * h, 0.0), max(target[i], speed[i - 1] - 2.5 * h))
    bend = 0.06 * np.sin(2 * np.pi * t / 23.0) + 0.03 * np.sin(2 * np.pi * t / 7.0)
    yaw_rate = speed * np.clip(bend, -2.0 / np.maximum(speed, 1.0) ** 2, 2.0 / np.maximum(speed, 1.0) ** 2)
    yaw = 0.4 + np.cumsum(yaw_rate) * h
    slip = -0.007 * speed * yaw_rate * speed
    x = 50.0 + np.cumsum(speed * np.cos(yaw) - slip * np.sin(yaw)) * h
    y = -20.0 + np.cumsum(speed * np.sin(yaw) + slip * np.cos(yaw)) * h
    forward = np.gradient(speed, h) - slip * yaw_rate
    sideways = speed * yaw_rate + np.gradient(slip, h)
    pick = np.arange(n) * sub
    x, y, yaw, speed, yaw_rate = x[pick], y[pick], yaw[pick], speed[pick], yaw_rate[pick]
    readings = _sense(x, y, yaw, speed, yaw_rate, forward[pick], sideways[pick], np.random.default_rng(seed))
    return Drive(x, y, yaw, speed, yaw_rate, readings)


def _sense(x, y, yaw, speed, yaw_rate, forward, sideways, rng) -> list[Reading]:
    """RTK-grade GNSS at 10 Hz, MEMS IMU with biases and a 0.3 deg heading, wheels with a scale error."""
    n = x.size
    frame = LocalFrame(*ORIGIN)
    force_bias, rate_bias = rng.normal(0, 0.05, 3), rng.normal(0, 0.003, 3)
    heading_bias = math.radians(rng.uniform(-0.1, 0.1))
    scale = 1.0 + rng.normal(0.0, 0.005)
    wander = np.zeros((n, 3))
    wander[0] = rng.normal(0, 0.03, 3)
    decay = math.exp(-DT / 60.0)
    for i in range(1, n):
        wander[i] = decay * wander[i - 1] + 0.03 * math.sqrt(1 - decay**2) * rng.standard_normal(3)
    out: list[Reading] = []
    for i in range(n):
        stamp = START_NS + i * STEP_NS
        force = np.array([forward[i], sideways[i], 9.80665]) + force_bias + rng.normal(0, 0.05, 3)
        rate = np.array([0.0, 0.0, yaw_rate[i]]) + rate_bias + rng.normal(0, 0.002, 3)
        sigma = math.radians(0.3)
        imu = ImuSample(stamp, force, rate, yaw[i] + heading_bias + rng.normal(0, sigma), sigma)
        wheel = scale * speed[i] + rng.normal(0, 0.02) if speed[i] > 1e-3 else 0.0
        fixes = []
        if i % 5 == 0:
            c, s = math.cos(yaw[i]), math.sin(yaw[i])
            place = np.array([x[i] + c * ARM[0] - s * ARM[1], y[i] + s * ARM[0] + c * ARM[1], ARM[2]])
            place += wander[i] + rng.normal(0, 0.02, 3)
            fixes.append(GnssFix(stamp, *frame.to_geodetic(*place), np.full(3, 0.02)))
        out.append((imu, VehicleReport(stamp, wheel, 0.0), fixes))
    return out


def run(drive: Drive, fault: Fault | None = None, config: LocalizationConfig | None = None) -> list[Localization]:
    localizer = Localizer(config or LocalizationConfig(), ORIGIN, ARM)
    return [localizer.step(*(fault(i, r) if fault else r)) for i, r in enumerate(drive.readings)]


def errors(drive: Drive, results: list[Localization], begin: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lateral, total horizontal (m) and heading (rad) error of every step from ``begin`` on."""
    state = np.array([[r.state.x, r.state.y, r.state.yaw] for r in results[begin:] if r.state])
    assert len(state) == len(results) - begin
    dx, dy = state[:, 0] - drive.x[begin:], state[:, 1] - drive.y[begin:]
    lateral = -np.sin(drive.yaw[begin:]) * dx + np.cos(drive.yaw[begin:]) * dy
    heading = np.angle(np.exp(1j * (state[:, 2] - drive.yaw[begin:])))
    return lateral, np.hypot(dx, dy), heading


def never_confidently_wrong(drive: Drive, results: list[Localization]) -> bool:
    """Whenever the status is good, the truth lies within the protection level."""
    for i, r in enumerate(results):
        if r.status != "good":
            continue
        dx, dy = r.state.x - drive.x[i], r.state.y - drive.y[i]
        if abs(-math.sin(drive.yaw[i]) * dx + math.cos(drive.yaw[i]) * dy) > r.protection_lateral:
            return False
    return True
