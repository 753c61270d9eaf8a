"""The server behind the genuine CARLA 0.9.16 client, which runs in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

if find_spec("carla") is None or find_spec("msgpack") is None:
    pytest.skip("the extra 'carla' is not installed", allow_module_level=True)

from carla_helpers import served, write_road

from robotaxi.resources import config_dir
from robotaxi.sim.scenery import SceneryConfig
from robotaxi.sim.scenery.layout import make_layout
from robotaxi.sim.scenery.parking import place_parked

PROGRAM = Path(__file__).parent / "carla_client.py"


def ask(what: str, port: int) -> dict:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, str(port)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_sensor_comes_with_its_frame(tmp_path: Path) -> None:
    with served(write_road(tmp_path), rendering=True) as server:
        found = ask("sensors", server.port)
    assert found["map"] == "Carla/Maps/Straight" and found["spawn_points"] > 10
    assert set(found["in_step"].values()) == {24}
    assert found["speed"] > 3.0 and found["left"] == 0
    assert found["points"] > 500 and found["ground_seen"] and found["road_pixels"] > 0.1
    assert found["gnss_error_deg"] < 1e-7 and found["gravity"] == pytest.approx(9.81, abs=0.2)
    assert found["image"] == [320, 180]
    assert found["invasions"] > 0


@pytest.fixture(scope="module")
def town() -> Iterator[Any]:
    with served(config_dir() / "maps" / "town" / "town.xodr") as server:
        yield server


def test_traffic_manager_drives_and_lights_are_read_and_set(town: Any) -> None:
    found = ask("traffic", town.port)
    assert found["cars"] == 10 and found["moved"] >= 7
    assert found["offset_p90"] < 0.35
    assert found["lights"] == found["affected"] == 14
    assert found["set"] == "Green" and found["group"] >= 1


def test_pedestrians_of_the_client_walk_on_pavements_and_crosswalks(town: Any) -> None:
    found = ask("walkers", town.port)
    assert found["walkers"] >= 7 and found["moved"] >= 6
    config, lane_map = SceneryConfig(), town.episode.town.lane_map
    layout = make_layout(lane_map, config, place_parked(lane_map, config)[1])
    road = shapely.difference(layout.surface, shapely.buffer(layout.crosswalks, 1.0))
    places = np.array(found["places"])
    assert not shapely.contains_xy(road, places[:, 0], places[:, 1]).any()
    assert np.abs(places[:, 2] - 0.93).max() < 0.4  # of a child the middle is at 0.65 m


def test_a_client_can_ask_about_cars_lights_and_signs(town: Any) -> None:
    found = ask("queries", town.port)
    assert found["stop_waypoints"] == found["lights"] == 14
    assert found["at_light"] == [True, "Red", found["this_light"]]
    assert found["sign_actors"] == found["signs"] > 10
    assert found["kept"] == [2000.0, 1.0, 4] and found["telemetry"] == [4, 0.0]
    assert not found["left"]


def test_a_client_is_told_why_not(tmp_path: Path) -> None:
    with served(write_road(tmp_path)) as server:
        said = ask("refusals", server.port)
    assert "collision at spawn position" in said["collision"]
    assert "unknown map 'Atlantis'" in said["map"]
    assert "recorder is not part" in said["recorder"]
    assert "line 1" in said["road"]
    assert said["weather"] == 6.0
