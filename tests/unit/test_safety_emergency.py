"""Emergency braking from lidar points: it must come in time, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from control_track import VEHICLE, LaggedCar
from safety_bench import T_BASE_LIDAR, Bench, Thing, arc, ground, see, steer_on, sweep_of

from robotaxi.safety import GateConfig
from robotaxi.safety.corridor import obstacles
from robotaxi.safety.emergency import EmergencyMonitor
from robotaxi.safety.motion import GoodTrajectory, way_ahead
from robotaxi.types import Pose2, SystemMode

CONFIG = GateConfig()
EMERGENCY = SystemMode.EMERGENCY_STOP


@pytest.mark.parametrize("kmh", [15, 30, 50])
@pytest.mark.parametrize("y", [0.0, 0.9, -0.9])
def test_stops_before_a_box_that_the_planner_ignores(kmh: float, y: float) -> None:
    bench = Bench(speed=kmh / 3.6, things=[Thing(40.0, y, length=0.8, width=0.8, height=1.0)])
    bench.run(40.0 / bench.speed + 1.0)
    assert EMERGENCY in bench.modes
    assert bench.car.truth.speed < 1.0
    assert 0.0 < min(bench.gaps) < 6.0
    reason = next(o.reason for o in bench.outputs if o.mode is EMERGENCY)
    assert reason.startswith("Emergency stop: obstacle") and "m ahead" in reason
    assert min(bench.accelerations) < -7.0


def test_stops_before_a_pedestrian_sized_thing_that_steps_out() -> None:
    walker = Thing(32.0, -4.0, length=0.5, width=0.5, height=1.7, vy=1.4)
    bench = Bench(speed=8.0, things=[walker], seed=2)
    bench.run(6.0)
    assert min(bench.gaps) > 0.0 and EMERGENCY in bench.modes


@pytest.mark.parametrize(
    "things",
    [
        [Thing(40.0, 3.5), Thing(60.0, 3.5, vx=-12.0), Thing(20.0, -3.5, vx=10.0)],
        [Thing(15.0 + 7 * i, -0.95 - 0.5 - 0.9) for i in range(8)],
        [Thing(25.0, 0.0, vx=10.0), Thing(25.0, 3.5, vx=14.0)],
        [Thing(60.0, 0.0, height=0.25)],
    ],
    ids=["adjacent lane", "parked 0.5 m beside", "lead at the same speed", "kerb height"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_passes_what_is_no_danger(things: list[Thing], seed: int) -> None:
    bench = Bench(speed=10.0, things=things, seed=seed)
    bench.run(6.0)
    assert bench.modes == {SystemMode.AUTONOMOUS}


def test_cut_in_at_the_same_speed_is_no_emergency() -> None:
    bench = Bench(speed=12.0, things=[Thing(10.0 + 2.25 + VEHICLE.front, 3.0, vx=12.5, vy=-0.75)], seed=4)
    bench.run(5.0)
    assert bench.modes == {SystemMode.AUTONOMOUS}


def test_lead_that_brakes_hard_is_an_emergency() -> None:
    bench = Bench(speed=12.0, things=[Thing(30.0, 0.0, vx=3.0)])
    bench.run(5.0)
    assert EMERGENCY in bench.modes and min(bench.gaps) > 0.0


def test_wall_outside_of_a_curve_is_no_danger() -> None:
    curvature = 1 / 20.0
    wall = []
    for angle in np.linspace(-0.5, 2.5, 120):  # 2.2 m right of the path's centre line
        wall.append(Thing(22.2 * np.sin(angle), 20.0 - 22.2 * np.cos(angle), length=0.3, width=0.3, height=2.0))
    bench = Bench(speed=6.0, curvature=curvature, things=wall, command=lambda t, car: (steer_on(curvature), 0.0))
    bench.run(4.0)
    assert bench.modes == {SystemMode.AUTONOMOUS}
    # the same wall straight on would be one
    way = way_ahead(None, None, None, 0.0, VEHICLE.wheelbase, 30.0)
    assert len(obstacles(CONFIG, VEHICLE, see(LaggedCar(VEHICLE), 0, wall, np.random.default_rng(0)), way)) > 0


@pytest.mark.parametrize("speed", [3.0, 8.0, 14.0])
def test_normal_stop_behind_a_standing_lead_is_no_emergency(speed: float) -> None:
    lead = Thing(80.0, 0.0)
    stop_x = lead.x - lead.length / 2 - 3.0 - VEHICLE.front

    def brake(t: float, car: LaggedCar) -> tuple[float, float]:
        left = max(stop_x - car.truth.x - 0.3 * car.truth.speed, 0.05)
        needed = car.truth.speed**2 / (2 * left)
        return 0.0, -min(needed, 4.0) if needed > 1.8 or left < 0.5 else 0.0

    bench = Bench(speed=speed, things=[lead], command=brake)
    bench.run(80.0 / speed + 6.0 if speed > 3 else 34.0)
    assert bench.modes == {SystemMode.AUTONOMOUS}
    assert bench.car.truth.speed < 0.3
    assert 2.0 < bench.gaps[-1] < 4.0


def test_creeping_up_to_a_lead_is_no_emergency() -> None:
    bench = Bench(speed=0.45, things=[Thing(VEHICLE.front + 2.25 + 2.0, 0.0)])
    bench.run(3.0)
    assert bench.modes == {SystemMode.AUTONOMOUS}
    assert bench.gaps[-1] < 1.0


def test_latches_until_standing_and_clear_for_a_second() -> None:
    bench = Bench(speed=8.0, things=[Thing(25.0, 0.0)])
    while bench.car.truth.speed > 0.0:
        bench.run(0.02)
    assert bench.outputs[-1].mode is EMERGENCY
    bench.command = lambda t, car: (0.0, -1.0)
    held = bench.run(1.2)
    assert sum(o.mode is EMERGENCY for o in held) == pytest.approx(50, abs=6)
    assert held[-1].mode is SystemMode.AUTONOMOUS


def test_stays_latched_while_the_obstacle_is_at_the_bumper() -> None:
    things = [Thing(25.0, 0.0)]
    bench = Bench(speed=8.0, things=things, config=replace(CONFIG, clear_distance=5.0))
    bench.run(8.0)
    assert bench.car.truth.speed == 0.0 and bench.outputs[-1].mode is EMERGENCY
    things.clear()
    assert bench.run(1.4)[-1].mode is SystemMode.AUTONOMOUS


def test_leaf_in_one_sweep_and_scattered_noise_do_not_brake() -> None:
    rng = np.random.default_rng(0)
    way = way_ahead(None, None, None, 0.0, VEHICLE.wheelbase, 30.0)
    leaf = np.array([12.0, 0.0, 0.8]) + rng.normal(0.0, 0.05, (30, 3))
    scattered = rng.uniform([5, -1, 0.4], [30, 1, 1.9], (6, 3))
    monitor = EmergencyMonitor(CONFIG, VEHICLE)
    assert len(obstacles(CONFIG, VEHICLE, sweep_of(0, np.concatenate([ground(rng), scattered])), way)) == 0
    distances = obstacles(CONFIG, VEHICLE, sweep_of(0, np.concatenate([ground(rng), leaf])), way)
    assert distances[:, 0] == pytest.approx([12.0 - VEHICLE.front], abs=0.3)
    monitor.sweep(0.0, distances, 0.0)
    assert monitor.threat(0.0, 0.0, 15.0) is None
    monitor.sweep(0.1, np.zeros((0, 2)), 1.5)
    assert monitor.threat(0.1, 1.5, 15.0) is None
    monitor.sweep(0.2, distances, 3.0)
    assert monitor.threat(0.2, 3.0, 15.0) is None


def beams(drops: float, things: list[Thing], seed: int) -> np.ndarray:
    """Returns (N, 3) in base_link of a lidar of 32 rings among things on a flat road, in fog: a share of the beams ends
    at a drop 1.5 to 14 m away."""
    rng = np.random.default_rng(seed)
    azimuth, elevation = (
        grid.ravel()
        for grid in np.meshgrid(np.arange(0.0, 2.0 * np.pi, np.radians(0.2)), np.radians(np.linspace(-25.0, 15.0, 32)))
    )
    aim = np.column_stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    source = T_BASE_LIDAR[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(aim[:, 2] < 0.0, -source[2] / aim[:, 2], np.inf)
        for thing in things:
            size = np.array([thing.length, thing.width, thing.height])
            middle = np.array([thing.x, thing.y, 0.5 * thing.height])
            ends = np.stack([(middle + sign * 0.5 * size - source) / aim for sign in (-1.0, 1.0)])
            first, last = ends.min(axis=0).max(axis=1), ends.max(axis=0).min(axis=1)
            reach = np.where((first < last) & (first > 0.0), np.minimum(reach, first), reach)
    drop = 1.5 + 12.5 * rng.random(len(aim)) ** 2
    reach = np.where(rng.random(len(aim)) < drops, np.minimum(drop, reach), reach)
    seen = reach < 60.0
    return source + aim[seen] * (reach[seen] + rng.normal(0.0, 0.01, seen.sum()))[:, None]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("drops", [0.02, 0.06, 0.13])
def test_drops_in_the_air_are_seen_through(drops: float, seed: int) -> None:
    way = way_ahead(None, None, None, 0.0, VEHICLE.wheelbase, 30.0)
    assert len(obstacles(CONFIG, VEHICLE, sweep_of(0, beams(drops, [], seed)), way)) == 0


@pytest.mark.parametrize("drops", [0.0, 0.06, 0.13])
@pytest.mark.parametrize(
    "thing",
    [
        Thing(9.0, 0.3, 0.3, 0.3, 1.1),  # a child
        Thing(8.0, 0.0, 0.4, 0.5, 0.45),  # a box
        Thing(7.0, -0.6, 0.1, 0.1, 1.0),  # a post
        Thing(12.0, 0.0),  # a car
    ],
)
def test_things_are_not_seen_through_in_fog_either(thing: Thing, drops: float) -> None:
    way = way_ahead(None, None, None, 0.0, VEHICLE.wheelbase, 30.0)
    found = obstacles(CONFIG, VEHICLE, sweep_of(0, beams(drops, [thing], 1)), way)
    assert found[:1, 0] == pytest.approx([thing.x - 0.5 * thing.length - VEHICLE.front], abs=0.6)


def test_contact_distance_along_a_curved_trajectory() -> None:
    road = GoodTrajectory(arc(0, 0.0, 0.0, 0.0, 5.0, 0.05))
    way = way_ahead(road, 0.0, Pose2(0.0, 0.0, 0.0), 0.0, VEHICLE.wheelbase, 30.0)
    angle = 0.05 * 20.0  # something standing on the path, 20 m along
    centre = np.array([20.0 * np.sin(angle), 20.0 * (1 - np.cos(angle)), 1.0])
    block = centre + np.random.default_rng(0).normal(0.0, 0.05, (50, 3))
    distances = obstacles(CONFIG, VEHICLE, sweep_of(0, block), way)
    assert distances[:, 0] == pytest.approx([20.0 - VEHICLE.front], abs=0.6)
    beside = block + np.array([0.0, -3.0, 0.0])
    assert len(obstacles(CONFIG, VEHICLE, sweep_of(0, beside), way)) == 0


def test_own_body_and_points_that_are_not_finite_are_not_seen() -> None:
    way = way_ahead(None, None, None, 0.0, VEHICLE.wheelbase, 20.0)
    body = np.random.default_rng(0).uniform([-1.0, -0.9, 0.3], [3.7, 0.9, 1.6], (500, 3))
    broken = np.full((50, 3), np.nan)
    assert len(obstacles(CONFIG, VEHICLE, sweep_of(0, np.concatenate([body, broken])), way)) == 0
