"""Sensors that measure wrongly: what becomes of their messages while the fault lasts, and only then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robotaxi.nodes import convert
from robotaxi.nodes.inject import Injector
from robotaxi.nodes.records import to_cloud
from robotaxi.sim.events.model import SENSOR_FAULTS
from robotaxi.sim.sensors.lidar import POINT_DTYPE
from robotaxi.types import GnssFix, ImuSample

S = 1_000_000_000
TOPIC = {name: topic for name, (_, topic, _) in SENSOR_FAULTS.items()}


def sent(fault: str, message: Any, value: float | None = None) -> list[Any]:
    """What is published instead, of a fault between 2 s and 4 s."""
    kind, topic, usual = SENSOR_FAULTS[fault]
    row = f"{kind} {topic} 2 4 {usual if value is None else value:g}"
    return list(Injector([row], "simulator").outgoing(topic, message))


def image(stamp_ns: int = 3 * S) -> Any:
    picture = np.full((36, 64, 3), 90, np.uint8)
    picture[:, :8] = 200
    return convert.image(picture, stamp_ns, "camera")


def pixels(message: Any) -> np.ndarray:
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width, 3)


def sweep() -> Any:
    points = np.zeros(360, POINT_DTYPE)
    bearing = np.radians(np.arange(360.0))
    points["x"], points["y"], points["ring"] = 10.0 * np.cos(bearing), 10.0 * np.sin(bearing), 3
    return to_cloud(points, 3 * S, "lidar")


def test_the_camera_shifted_dirty_black_and_dropped() -> None:
    assert (pixels(sent("camera_shifted", image(), 12)[0])[:, :12] == 0).all()
    assert (pixels(sent("camera_shifted", image(), 12)[0])[:, 12:20] == 200).all()
    assert (pixels(sent("camera_shifted", image(), -8)[0])[:, -8:] == 0).all()
    dirty = pixels(sent("camera_dirty", image(), 0.3)[0])
    changed = (dirty != pixels(image())).any(axis=2).mean()
    assert 0.1 < changed < 0.6
    assert (dirty == pixels(sent("camera_dirty", image(), 0.3)[0])).all()
    assert (pixels(sent("camera_black", image())[0]) == 0).all()
    assert sent("camera_dropped", image()) == []


def test_before_and_after_nothing_is_wrong() -> None:
    for stamp_ns in (S, 4 * S):
        assert (pixels(sent("camera_dirty", image(stamp_ns))[0]) == pixels(image())).all()


def test_the_lidar_loses_a_sector_or_tilts() -> None:
    left = sent("lidar_sector", sweep(), 60)[0]
    assert left.width == 360 - 61 and len(left.data) == left.width * left.point_step
    points = np.frombuffer(bytes(left.data), POINT_DTYPE)
    assert not ((points["x"] > 8.0) & (points["y"] > 6.0)).any() and (points["ring"] == 3).all()
    tilted = np.frombuffer(bytes(sent("lidar_tilted", sweep(), 2.0)[0].data), POINT_DTYPE)
    assert tilted["z"].max() == pytest.approx(10.0 * np.sin(np.radians(2.0)), abs=1e-3)


def test_the_receiver_jumps_and_drifts() -> None:
    fix = GnssFix(3 * S, 48.0, 9.0, 300.0, np.ones(3))
    for fault, value, metres in (("gnss_jump", 8.0, 8.0), ("gnss_drift", 0.5, 0.5)):  # a second after its beginning
        moved = convert.gnss_fix(sent(fault, convert.nav_sat_fix(fix), value)[0])
        east = (moved.longitude_deg - 9.0) * 111_319.5 * np.cos(np.radians(48.0))
        assert east == pytest.approx(metres, rel=1e-6) and moved.latitude_deg == 48.0


def test_the_imu_gets_a_bias() -> None:
    sample = ImuSample(3 * S, np.array([0.0, 0.0, 9.8]), np.zeros(3))
    message = sent("imu_bias", convert.imu(sample), 0.3)[0]
    assert message.linear_acceleration.x == pytest.approx(0.3) and message.angular_velocity.z == pytest.approx(0.03)
