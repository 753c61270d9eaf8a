"""The whole stack behind the genuine CARLA client: our server, cars of TrafficManager, every node a process."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]
SHORT_S = "14"  # ride time
PATIENCE_S = 600  # a machine with other work takes minutes to start a server and ten nodes

if find_spec("carla") is None or find_spec("msgpack") is None:
    pytest.skip("the extra 'carla' is not installed", allow_module_level=True)


def test_the_stack_drives_through_the_wire_among_traffic_managers_cars(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "robotaxi", "ride", "--mode", "carla", "--seed", "3", "--carla-traffic", "8",
               "--max-duration", SHORT_S, "--record", "drive", "--runs", str(tmp_path / "runs"),
               "--json", str(tmp_path / "ride.json")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # it ends before the drop-off
    figures = json.loads((tmp_path / "ride.json").read_text())
    assert figures["trip_states"] == ["OFFERED", "ACCEPTED", "EN_ROUTE_TO_PICKUP"]
    assert figures["incidents"] == []
    assert figures["distance_m"] > 15.0
    assert figures["collisions"] == 0 and figures["red_lights_run"] == 0
    assert figures["localization"]["lateral_rms_m"] < 0.2
    assert Path(figures["run"], "map", "town.xodr").read_text().startswith("<?xml")
