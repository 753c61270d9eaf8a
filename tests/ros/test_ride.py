"""Whole rides through the command line: separate processes, real DDS, a real broker with real certificates."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robotaxi.environment import reserve_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow]
SHORT_S = "12"  # ride time
PATIENCE_S = 240
UNDISCOVERED = "_NODE_NAME_UNKNOWN_"  # an end is seen before the node that it belongs to
DRIVERS = {"localization", "lidar_perception", "camera_perception", "planner", "controller", "command_gate",
           "health_monitor", "dispatch_bridge"}  # fmt: skip
CONTRACT = {
    "completed", "distance_m", "duration_s", "real_time_factor", "collisions", "at_fault_collisions", "red_lights_run",
    "stop_lines_run", "off_road_m", "route_completion", "driving_score", "comfort", "tracking", "localization",
    "latency_ms", "stops", "trip_states", "trace_sha256", "bag", "report",
}  # fmt: skip


def command(folder, *options):
    return [sys.executable, "-m", "robotaxi", "ride", "--seed", "3", "--runs", str(folder / "runs"),
            "--json", str(folder / "ride.json"), *options]  # fmt: skip


def ride(folder, *options):
    """(exit status, figures, what it printed)."""
    done = subprocess.run(command(folder, *options), capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, json.loads((folder / "ride.json").read_text()), done.stdout + done.stderr


def processes_of(folder):
    """Command lines of living processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and path.parent.name != str(os.getpid()):
            found.append(line)
    return found


@pytest.fixture(scope="module")
def short_ride(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ride")
    return folder, *ride(folder, "--max-duration", SHORT_S)


def test_a_ride_that_falls_short_says_so_with_all_its_figures(short_ride):
    _, status, figures, printed = short_ride
    assert status == 1
    assert set(figures) >= CONTRACT
    assert figures["completed"] is False
    assert figures["distance_m"] > 20.0
    assert figures["localization"]["lateral_rms_m"] < 0.2
    assert figures["trip_states"] == ["OFFERED", "ACCEPTED", "EN_ROUTE_TO_PICKUP"]
    assert printed.strip().splitlines()[-1].startswith("ride: FELL SHORT: the trip ended as EN_ROUTE_TO_PICKUP")
    assert Path(figures["report"]).read_text().lstrip().lower().startswith("<!doctype html")
    assert (Path(figures["bag"]) / "metadata.yaml").exists()


def test_it_leaves_no_process_behind(short_ride):
    folder = short_ride[0]
    assert processes_of(folder) == []


def test_the_same_seed_gives_the_same_bytes_also_in_one_process(short_ride, tmp_path):
    _, _, separate, _ = short_ride
    status, composed, _ = ride(tmp_path, "--max-duration", SHORT_S, "--compose")
    assert status == 1
    assert composed["trace_by_topic"] == separate["trace_by_topic"]
    assert composed["trace_sha256"] == separate["trace_sha256"]


def replay(folder, *options):
    """(exit status, figures) of `robotaxi replay`."""
    command = [sys.executable, "-m", "robotaxi", "replay", *map(str, options), "--runs", str(folder / "replays"),
               "--json", str(folder / "replay.json")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, json.loads((folder / "replay.json").read_text()), done.stdout + done.stderr


def test_a_replay_through_all_nodes_gives_every_recorded_byte(short_ride, tmp_path):
    status, figures, printed = replay(tmp_path, short_ride[2]["bag"], "--compare", "--processes")
    assert status == 0, printed
    compared = figures["compare"]
    assert compared["same"] and compared["exact"] and figures["left_out"] == {}
    assert set(compared["topics"]) >= {"perception/objects", "perception/traffic_lights", "planning/trajectory",
                                       "vehicle/command", "localization/kinematic_state"}  # fmt: skip
    assert processes_of(tmp_path) == []


def test_a_changed_constant_is_found_and_located(short_ride, tmp_path):
    file = tmp_path / "mine.param.yaml"
    file.write_text("/**/controller:\n  ros__parameters: {lateral_weight: 3.0}\n")
    status, figures, printed = replay(
        tmp_path, short_ride[2]["bag"], "--nodes", "control,safety", "--compare",
        "--params-file", file,
    )  # fmt: skip
    assert status == 1, printed
    first = figures["compare"]["first"]
    assert (first["topic"], first["node"]) == ("control/command_raw", "controller")
    assert any("controller.lateral_weight was 1.0, is 3.0" in line for line in figures["compare"]["changes"])


def start(folder, *options):
    """A ride under way in a domain of its own, once it drives: (process, domain id)."""
    reservation = reserve_domain()
    reservation.release()
    environment = {**os.environ, "ROS_DOMAIN_ID": str(reservation.domain_id), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command(folder, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    for line in process.stdout:
        if "en route to pickup" in line and "waiting for every node" not in line:
            return process, reservation.domain_id
    raise AssertionError(f"the ride did not begin: {process.wait()}")


def pid_of(folder, executable):
    (run,) = (folder / "runs").iterdir()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if executable.encode() in words and any(str(run).encode() in word for word in words):
            return int(path.parent.name)
    raise AssertionError(f"{executable} is not running")


def test_no_node_of_the_stack_reads_ground_truth(tmp_path, monkeypatch):
    process, domain_id = start(tmp_path, "--max-duration", "30", "--rate", "1")
    from robotaxi.ride.monitor import Monitor

    try:
        with Monitor(domain_id) as monitor:
            deadline = time.monotonic() + 30.0
            readers, names = set(), set()
            while not readers or UNDISCOVERED in readers or not names >= DRIVERS:
                assert time.monotonic() < deadline, f"discovered only {sorted(names)}"
                monitor.poll(0.5)
                names = set(monitor._node.get_node_names())
                readers = readers_of_truth(monitor._node)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert readers == {"recorder"}


def readers_of_truth(node):
    topics = [name for name, _ in node.get_topic_names_and_types() if name.startswith("/sim/")]
    return {info.node_name for topic in topics for info in node.get_subscriptions_info_by_topic(topic)}


def test_ctrl_c_ends_everything_in_order(tmp_path):
    process, _ = start(tmp_path)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, printed
    assert "interrupted by the user" in printed
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("executable", ["planning", "localization"])
def test_a_killed_process_stops_the_car_and_is_named(tmp_path, executable):
    process, _ = start(tmp_path, "--max-duration", "15")
    os.kill(pid_of(tmp_path, executable), signal.SIGKILL)
    printed, _ = process.communicate(timeout=PATIENCE_S)
    figures = json.loads((tmp_path / "ride.json").read_text())
    assert process.returncode == 1, printed
    assert figures["problems"][0].startswith(f"{executable} ended during the ride (killed by SIGKILL)")
    assert figures["collisions"] == 0
    assert figures["off_road_m"] == 0.0
    assert figures["order_in_books"] == "EN_ROUTE_TO_PICKUP"  # the trip's record is intact
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--map", "atlantis"], "unknown map 'atlantis'; known maps: dead_end, town"),
        (["--vehicle", "tank"], "tank"),
        (["--sensors", "sonar"], "no sensor rig named 'sonar'"),
        (["--params-file", "/none.yaml"], "which is not a file"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_starts(tmp_path, options, message):
    status, figures, printed = ride(tmp_path, *options)
    assert status == 2
    assert message in figures["error"]
    assert message in printed
    assert not (tmp_path / "runs").exists()


def test_wrong_parameter_is_named_with_file_key_value_and_range(tmp_path):
    file = tmp_path / "mine.param.yaml"
    file.write_text("/**/dispatch_bridge:\n  ros__parameters: {bridge: {state_period: 0.0}}\n")
    status, figures, _ = ride(tmp_path, "--params-file", str(file))
    assert status == 2
    assert figures["error"] == (f"{file}: dispatch_bridge: parameter 'state_period' is 0.0, allowed is 0.1 to 60 s")
