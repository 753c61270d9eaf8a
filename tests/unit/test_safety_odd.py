"""The operational design domain: its file, when it counts as left, and what the health monitor makes of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.interfaces import MS
from robotaxi.odd_file import load_odd
from robotaxi.params import ParameterError
from robotaxi.safety import HealthConfig, HealthMonitor
from robotaxi.safety.odd import OddLimits, OddWatch, OperationalDesignDomain
from robotaxi.types import CameraView, EgoState, Permit, Sight

FRAME = LocalFrame(49.0, 8.0, 110.0)
LANES = np.column_stack([np.arange(0.0, 200.0, 5.0), np.zeros(40)])
SQUARE = np.array([[-10.0, -50.0], [100.0, -50.0], [100.0, 50.0], [-10.0, 50.0]])
CHECKSUM = "0123456789abcdef" * 4
CLEAR, DAY = Sight(50_000, 45.0), CameraView(0.4)


def state(x: float = 20.0, y: float = 0.0, speed: float = 8.0) -> EgoState:
    return EgoState(0, x, y, 0.0, speed, covariance=np.diag([1e-3, 1e-3, 1e-5]))


def domain(**limits: float) -> OperationalDesignDomain:
    return OperationalDesignDomain("the test's", OddLimits(patience=0.3, **limits))


def words(odd: OperationalDesignDomain, ego: EgoState, sight: Sight = CLEAR, brightness: float = 0.4) -> str:
    """What is said after a second."""
    watch = OddWatch(odd, LANES, CHECKSUM)
    for step in range(10):
        left = watch.step(step * 100 * MS, ego, sight, CameraView(brightness))
    return "" if left is None else left.words


@pytest.mark.parametrize(
    ("odd", "seen", "said"),
    [
        (domain(), {}, ""),
        (domain(lane_distance=3.0), {"ego": state(y=8.0)}, "no lane of the map within 3 m"),
        (domain(maximum_speed=10.0), {"ego": state(speed=11.0)}, "faster than 36 km/h"),
        (domain(minimum_road_range=20.0), {"sight": Sight(50_000, 15.0)}, "the road is seen for less than 20 m"),
        (domain(maximum_drops=0.01), {"sight": Sight(50_000, 45.0, drops=900)},
         "more than 1 % of the lidar's returns are rain or fog"),
        (domain(minimum_brightness=0.2), {"brightness": 0.07}, "the camera's picture is darker than 0.20"),
        (OperationalDesignDomain("the test's", OddLimits(), SQUARE), {"ego": state(x=99.0)}, ""),
    ],
)  # fmt: skip
def test_each_limit_is_watched(odd, seen, said) -> None:
    assert words(odd, seen.pop("ego", state()), **seen) == (
        f"Outside the operational design domain 'the test's': {said}" if said else ""
    )


def test_what_is_not_known_leaves_nothing() -> None:
    watch = OddWatch(domain(minimum_brightness=0.9, minimum_road_range=100.0), LANES, "")
    assert all(watch.step(step * 100 * MS, None, None, None) is None for step in range(20))
    assert watch.step(3_000 * MS, state(x=math.nan), None, None) is None


def test_a_moment_outside_is_no_reason_and_a_moment_inside_no_return() -> None:
    watch = OddWatch(domain(maximum_speed=10.0), LANES, "")
    speeds = [8, 12, 8, 8] + [12] * 5 + [8] + [12] * 2 + [8] * 5
    said = [watch.step(i * 100 * MS, state(speed=v), None, None) is not None for i, v in enumerate(speeds)]
    assert said == [False] * 7 + [True] * 8 + [False] * 2


def watched_health(odd: OperationalDesignDomain, view: CameraView = DAY, checksum: str = CHECKSUM):
    """The health monitor's word after a second in which nothing else is wrong."""
    from test_safety_health import readings

    monitor = HealthMonitor(HealthConfig(), odd=OddWatch(odd, LANES, checksum))
    for step in range(15):
        now = readings(step)
        health = monitor.step(step * 100 * MS, {**now, "perception/camera_view": (step * 100 * MS, view)})
    return health


def test_who_leaves_it_pulls_over_and_says_why() -> None:
    health = watched_health(domain(maximum_speed=3.0))
    assert (health.permit, health.part) == (Permit.PULL_OVER, "odd")
    assert health.sentence == "Outside the operational design domain 'the test's': faster than 11 km/h."
    assert watched_health(domain()).sentence == "All parts work."


def test_with_a_map_that_is_not_released_the_car_does_not_drive() -> None:
    odd = OperationalDesignDomain("released", map_sha256=("0123456789",))
    assert watched_health(odd).permit is Permit.DRIVE
    health = watched_health(odd, checksum="f" * 64)
    assert health.permit is Permit.STOP and "the map (ffffffffffff) is not released" in health.sentence


def test_a_black_picture_costs_the_traffic_lights() -> None:
    health = watched_health(domain(), CameraView(0.0, "the camera's picture is black"))
    assert (health.permit, health.part) == (Permit.PULL_OVER, "camera_perception")
    assert "the camera's picture is black" in health.sentence and health.lost == ("seeing traffic lights",)


def test_the_shipped_domain_loads_and_corners_are_turned_into_the_map(tmp_path: Path) -> None:
    assert load_odd("robotaxi", FRAME).limits.maximum_speed == 20.0
    file = tmp_path / "campus.yaml"
    file.write_text("name: campus\narea: [[49.0, 8.0], [49.001, 8.0], [49.001, 8.001]]\nmap_sha256: ['ABCDEF12']\n")
    odd = load_odd(file, FRAME)
    assert odd.map_sha256 == ("abcdef12",)
    assert np.allclose(odd.area, [[0.0, 0.0], [0.0, 111.2], [73.2, 111.2]], atol=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected 'key: value' lines"),
        ("maximum_speed: 9.0", "parameter 'name' is ''"),
        ("name: a\nmaximum_sped: 9.0", "unknown parameter 'maximum_sped'"),
        ("name: a\nmaximum_speed: 900.0", "parameter 'maximum_speed' is 900.0, allowed is 1 to 70 m/s"),
        ("name: a\narea: [[49, 8], [49, 9]]", "expected at least 3 corners"),
        ("name: a\narea: [[49, 8], [49, 9], [x, 9]]", "corner 3 of 'area' is ['x', 9], expected [latitude, longitude]"),
        ("name: a\narea: [[49, 8], [99, 9], [48, 9]]", "corner 2 of 'area' is [99, 9]; latitudes go to 90"),
        ("name: a\nmap_sha256: [beef]", "'beef' in 'map_sha256' is no checksum"),
        ("name: a\nmap_sha256: beef", "expected a list of checksums"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError) as error:
        load_odd(file, FRAME)
    assert message in str(error.value) and str(file) in str(error.value)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="unknown operational design domain 'mars'; known are: robotaxi"):
        load_odd("mars", FRAME)
