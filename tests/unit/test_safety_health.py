"""The health monitor: what is lost, what that permits, and whom to blame."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from robotaxi.interfaces import MS
from robotaxi.safety import HealthConfig, HealthMonitor
from robotaxi.safety.health import SIGHT, WATCHED
from robotaxi.safety.publishers import PublisherWatch
from robotaxi.types import (
    LIGHT_DTYPE,
    OBJECT_DTYPE,
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    GnssFix,
    Goal,
    ImuSample,
    Permit,
    Sight,
    SystemMode,
    Trajectory,
    VehicleReport,
)

OBJECTS, LIGHTS, STATE = "perception/objects", "perception/traffic_lights", "localization/kinematic_state"
TRAJECTORY, COMMAND, IMU, GNSS = "planning/trajectory", "control/command_raw", "sensing/imu/data", "sensing/gnss/fix"


def readings(step: int) -> dict[str, tuple[int, object] | None]:
    """All good: every content new."""
    now, x = step * 100 * MS, 0.1 * step
    objects, points = np.zeros(2, OBJECT_DTYPE), np.zeros(5, TRAJECTORY_DTYPE)
    objects["x"], points["x"] = [x, 9.0], x
    contents: dict[str, object] = {
        "vehicle/status": VehicleReport(now, 5.0 + 0.01 * x, 0.0),
        IMU: ImuSample(now, np.array([x, 0.0, 9.8]), np.zeros(3)),
        GNSS: GnssFix(now, 49.0 + 1e-6 * x, 8.0, 100.0, np.ones(3)),
        STATE: EgoState(now, x, 0.0, 0.0, 5.0, covariance=np.diag([1e-3, 1e-3, 1e-5])),
        OBJECTS: objects,
        LIGHTS: np.zeros(0, LIGHT_DTYPE),
        "dispatch/goal": Goal("1", 5.0, 5.0),
        TRAJECTORY: Trajectory(now, points),
        COMMAND: Command(now, 0.0, 0.1 * x),
        "system/mode": (SystemMode.AUTONOMOUS, "Driving."),
    }
    assert set(contents) == set(WATCHED)
    return {topic: (now, content) for topic, content in contents.items()}


def watched(alter, steps: int = 40, **lost):
    """The last verdict over ``steps`` steps whose readings are altered after the tenth."""
    monitor = HealthMonitor(HealthConfig())
    for step in range(steps):
        now = readings(step)
        if step > 10:
            alter(now, step)
        health = monitor.step(step * 100 * MS, now, lost.get("lost", ()) if step > 10 else ())
    return health


def silence(*topics):
    def alter(now, step):
        now.update({topic: readings(10)[topic] for topic in topics})

    return alter


def test_all_good_permits_to_drive() -> None:
    health = watched(lambda now, step: None)
    assert (health.permit, health.part, health.sentence) == (Permit.DRIVE, "", "All parts work.")


def test_a_sensor_whose_clock_is_ahead_is_named_although_what_counts_looks_right() -> None:
    """In lock step a message counts when its time has come: an inertial sample of a second ago, under a good stamp."""
    health = HealthMonitor(HealthConfig()).step(0, readings(0), early={IMU: 1000 * MS})
    assert (health.permit, health.part) == (Permit.STOP, "imu")
    assert health.sentence == "imu: sensing/imu/data is stamped 1.0 s ahead of now."


def test_before_anything_came_it_says_what_the_car_waits_for() -> None:
    health = HealthMonitor(HealthConfig()).step(0, dict.fromkeys(WATCHED))
    assert health.permit is Permit.STOP
    assert health.sentence.startswith("Cannot go yet: waiting for vehicle_interface, imu, gnss, localization,")


@pytest.mark.parametrize(
    ("dead", "part", "permit"),
    [
        ([TRAJECTORY], "planner", Permit.STOP),
        ([TRAJECTORY, COMMAND], "planner", Permit.STOP),
        ([STATE, OBJECTS, LIGHTS, TRAJECTORY, COMMAND], "localization", Permit.STOP),
        ([IMU, STATE, OBJECTS, LIGHTS, TRAJECTORY, COMMAND], "imu", Permit.STOP),
        ([OBJECTS], "lidar_perception", Permit.STOP),
        ([LIGHTS], "camera_perception", Permit.PULL_OVER),
        ([GNSS], "gnss", Permit.DRIVE),
        (["dispatch/goal"], "dispatch_bridge", Permit.DRIVE),
    ],
)
def test_the_first_part_of_a_chain_is_blamed(dead: list[str], part: str, permit: Permit) -> None:
    assert (watched(silence(*dead)).part, watched(silence(*dead)).permit) == (part, permit)
    by_wait = watched(lambda now, step: None, lost=dead)
    assert (by_wait.part, by_wait.permit) == (part, permit)
    assert "is silent" in by_wait.sentence


def test_who_has_not_got_over_what_has_just_healed_is_not_to_blame() -> None:
    monitor, said = HealthMonitor(HealthConfig()), []
    for step in range(30):
        now = readings(step)
        lost = (STATE,) if 10 <= step < 14 else ()
        if 13 <= step < 22:
            now[TRAJECTORY] = (step * 100 * MS, None)
        said.append(monitor.step(step * 100 * MS, now, lost))
    assert [health.part for health in said[10:18]] == ["localization"] * 8
    assert said[15].sentence.startswith("localization: localization/kinematic_state is silent, until just now")
    assert said[15].permit is Permit.STOP and said[15].lost == ("planning its way",)
    assert [health.part for health in said[19:22]] == ["planner"] * 3  # half a second is enough
    assert said[-1].sentence == "All parts work."


def freeze(topic):
    def alter(now, step):
        now[topic] = (now[topic][0], readings(10)[topic][1])

    return alter


@pytest.mark.parametrize("topic", [OBJECTS, STATE, TRAJECTORY, COMMAND, IMU, GNSS, "vehicle/status"])
def test_old_contents_under_new_stamps_are_frozen(topic: str) -> None:
    health = watched(freeze(topic))
    assert f"{topic} is frozen: new stamps, old contents" in health.sentence


def test_a_standing_car_may_repeat_itself() -> None:
    def alter(now, step):
        freeze(STATE)(now, step)
        now["vehicle/status"] = (now["vehicle/status"][0], VehicleReport(0, 0.0, 0.0))

    assert watched(alter).permit is Permit.DRIVE


def test_values_that_cannot_be_are_named() -> None:
    def alter(now, step):
        stamp_ns, state = now[STATE]
        now[STATE] = (stamp_ns, replace(state, speed=500.0))

    assert watched(alter).sentence == "localization: localization/kinematic_state has a speed of 500."


@pytest.mark.parametrize("topic", [OBJECTS, TRAJECTORY])
def test_what_lies_beyond_every_horizon_is_not_believed(topic: str) -> None:
    def alter(now, step):
        content = now[topic][1]
        (content.points if topic == TRAJECTORY else content)["y"][-1] = 5000.0

    health = watched(alter)
    assert health.permit is Permit.STOP and f"{topic} has something 5 km away" in health.sentence


def test_localization_that_leaps_away_is_to_blame_and_not_who_sees_from_there() -> None:
    def alter(now, step):
        stamp_ns, state = now[STATE]
        if step >= 3:
            now[STATE] = (stamp_ns, replace(state, x=state.x + 5000.0))

    health = watched(alter)
    assert health.sentence == "localization: localization/kinematic_state has leapt by more than 1 km."


@pytest.mark.parametrize(("sigma", "permit", "capped"), [(0.1, 0, False), (0.8, 0, True), (2.0, 2, True)])
def test_a_vague_position_caps_the_speed_and_then_stops(sigma: float, permit: int, capped: bool) -> None:
    def alter(now, step):
        stamp_ns, state = now[STATE]
        now[STATE] = (stamp_ns, replace(state, covariance=np.diag([sigma**2, 1e-3, 1e-5])))

    health = watched(alter)
    assert health.permit == permit and (health.speed_cap < 10.0) == capped
    assert ("position known to" in health.sentence) == capped


@pytest.mark.parametrize(
    ("sight", "permit", "cap"),
    [
        (Sight(50_000, 48.0), Permit.DRIVE, math.inf),
        (Sight(30_000, 12.0, (), "rain, fog or a fault"), Permit.DRIVE, 5.64),  # stops within 12 m
        (Sight(45_000, 48.0, (40, 50)), Permit.DRIVE, 6.0),
        (Sight(45_000, 48.0, (170, 180, 190)), Permit.DRIVE, math.inf),  # behind
        (Sight(45_000, 48.0, (0, 10, 350)), Permit.STOP, 0.0),
    ],
)
def test_who_sees_little_drives_slowly_and_who_sees_nothing_ahead_stops(sight, permit, cap) -> None:
    def alter(now, step):
        now[SIGHT] = (step * 100 * MS, sight)

    health = watched(alter)
    assert (health.permit, round(health.speed_cap, 2)) == (permit, cap)
    assert health.sentence.startswith("All parts" if math.isinf(cap) else "lidar_perception: ")


def test_one_bad_view_is_no_reason() -> None:
    def alter(now, step):
        now[SIGHT] = (step * 100 * MS, Sight(30_000, 12.0 if step % 3 else 48.0))

    assert math.isinf(watched(alter).speed_cap)


def test_a_stranger_among_the_command_publishers_is_an_alarm_at_once() -> None:
    watch = PublisherWatch()
    own = {"control/command_raw": ["controller"], "vehicle/command": ["command_gate"]}
    assert watch.step(0.0, own) == ()
    assert watch.step(0.1, {**own, "control/command_raw": ["controller", "rogue"]}) == (
        "control/command_raw has a publisher that is not its own: 'rogue'",
    )


def test_a_second_publisher_of_the_same_name_is_a_handover_for_a_while_only() -> None:
    watch = PublisherWatch()
    double = {"control/command_raw": ["controller", "controller"]}
    assert watch.step(0.0, double) == () and watch.step(30.0, double) == ()
    assert watch.step(50.0, double) == ("control/command_raw has 2 publishers, one is allowed",)
