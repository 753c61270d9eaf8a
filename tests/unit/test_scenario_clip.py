"""A moment of a recorded drive as an OpenSCENARIO file that the evaluation drives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bag_helpers import MS, cloud, every, odometry, write_bag

from robotaxi.bags.scenario_clip import read_clip
from robotaxi.bags.writer import BagError
from robotaxi.cli import main
from robotaxi.evaluation.scenarios import checks, run
from robotaxi.evaluation.scenarios.model import load_file
from robotaxi.evaluation.scenarios.recorded import lights_of, others_of
from robotaxi.hdmap import load_map
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, LightState, ObjectClass
from robotaxi.vehicle import load_vehicle

START, MIDDLE = 318.0, -265.25  # of a lane of the town that leads east
SPEED = 8.0
SIGNAL = 5015
VEHICLE = load_vehicle("robotaxi")


def objects(*rows):
    """Rows (id, label, x, y, vx, vy)."""
    out = np.zeros(len(rows), OBJECT_DTYPE)
    for row, (key, label, x, y, vx, vy) in zip(out, rows, strict=True):
        row["id"], row["label"], row["x"], row["y"], row["vx"], row["vy"] = key, label, x, y, vx, vy
        row["yaw"] = math.atan2(vy, vx)
        row["length"], row["width"], row["height"] = 4.2, 1.8, 1.5
    return out


def lights(state):
    out = np.zeros(1, LIGHT_DTYPE)
    out["signal_id"], out["state"] = SIGNAL, state
    return out


def around(t):
    """Who is tracked at ``t`` s: a car ahead as fast as the ego, a parked one, and from 2 s on somebody who walks."""
    seen = [
        (1, ObjectClass.CAR, START + 30.0 + SPEED * t, MIDDLE, SPEED, 0.0),
        (2, ObjectClass.CAR, START + 60.0 + 0.1 * math.sin(9.0 * t), MIDDLE - 4.0, 0.0, 0.0),
    ]
    if t >= 2.0:
        seen.append((3, ObjectClass.PEDESTRIAN, START + 40.0 + 1.2 * t, MIDDLE - 9.0, 1.2, 0.0))
    if 3.0 <= t < 3.2:
        seen.append((4, ObjectClass.UNKNOWN, START + 20.0, MIDDLE, 0.0, 0.0))
    return objects(*seen)


@pytest.fixture
def drive(tmp_path):
    """Eastwards for 10 s, on red for the first 4."""
    until = 10_000
    messages = {
        "localization/kinematic_state": [
            (t, odometry(t, x=START + SPEED * t * 1e-9, y=MIDDLE, speed=SPEED)) for t in every(20, until)
        ],
        "perception/objects": [(t, cloud(t, around(t * 1e-9))) for t in every(100, until)],
        "perception/traffic_lights": [
            (t, cloud(t, lights(LightState.RED if t < 4000 * MS else LightState.GREEN))) for t in every(200, until)
        ],
    }
    return write_bag(tmp_path / "drive", messages, custom={"map": "town", "vehicle": "robotaxi"})


def test_what_moved_moves_and_what_stood_stands():
    tracks = {item.name: item for item in others_of([(0.1 * k, around(0.1 * k)) for k in range(60)])}
    assert list(tracks) == ["car_1", "car_2", "pedestrian_3"]  # the fourth was there for too short a time
    car, parked, walker = tracks.values()
    assert car.speed == pytest.approx(SPEED, rel=0.01) and car.heading == pytest.approx(0.0)
    assert (np.diff(car.times) > 0.0).all() and np.hypot(*np.diff(car.points, axis=0).T).min() >= 0.5
    assert len(parked.times) == 1 and parked.points[0] == pytest.approx([START + 60.0, MIDDLE - 4.0], abs=0.05)
    assert walker.times[0] == 0.0 and walker.points[0, 0] == pytest.approx(START + 40.0, abs=0.01)  # carried back


def test_lights_change_when_they_were_seen_to():
    seen = [(0.2 * k, lights(state)) for k, state in enumerate([0, 1, 1, 0, 2, 3, 3])]
    assert lights_of(seen) == {SIGNAL: ((0.0, "red"), (0.8, "amber"), (1.0, "green"))}


def test_the_command_writes_a_scenario_that_can_be_driven(drive, tmp_path, capsys):
    pytest.importorskip("duckdb", reason="the extra 'mine' is not installed")
    words = ["bag", "find", "nearest < 24 and t < 3.5", str(drive), "--index", str(tmp_path / "i"), "--margin", "1"]
    assert main([*words, "--scenarios", str(tmp_path / "s")]) == 0
    (file,) = (tmp_path / "s").iterdir()
    (scenario,) = load_file(file)
    story = scenario.story
    assert story is not None and scenario.map == "town" and scenario.checks["reaches_goal"]
    assert story.start.y == pytest.approx(MIDDLE) and story.speed == pytest.approx(SPEED)
    assert story.goal is not None and story.goal.x > story.start.x + 30.0
    assert [item.kind for item in story.performers] == ["car", "car", "pedestrian"]
    assert [item.signal_id for item in story.lights] == [SIGNAL] and story.notes == ()
    assert story.lights[0].at(0.5) == "red" and story.lights[0].at(scenario.duration) == "green"
    town = load_map("town")
    loop = run.drive(scenario, 0, town, VEHICLE)
    assert checks.judge(scenario, 0, town, VEHICLE, loop).failed == {}
    since_start = loop.stamp_ns * 1e-9 + (story.start.x - START) / SPEED
    assert loop.movers[0].x == pytest.approx(START + 30.0 + SPEED * since_start, abs=1.0)
    assert main([*words, "--scenarios", str(tmp_path / "s")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_who_does_not_say_where_it_was_is_refused(drive, tmp_path):
    with pytest.raises(BagError, match=r"has no .* from 50\.0 to 60\.0 s"):
        read_clip(drive, 50.0, 60.0, VEHICLE)
    nameless = write_bag(tmp_path / "b", {"localization/kinematic_state": [(0, odometry(0))]})
    with pytest.raises(BagError, match="on which map"):
        read_clip(nameless, 0.0, 1.0, VEHICLE)
