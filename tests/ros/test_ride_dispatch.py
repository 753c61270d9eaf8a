"""A ride whose dispatcher interferes: through desk, broker, bridge, planner, gate and vehicle."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from robotaxi.dispatch import client
from robotaxi.environment import reserve_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow]
PATIENCE_S = 120.0


class Ride:
    """Under way to its pick-up, its desk at ``url``."""

    def __init__(self, folder):
        reservation = reserve_domain()
        reservation.release()
        command = [sys.executable, "-m", "robotaxi", "ride", "--seed", "3", "--compose", "--no-camera",
                   "--max-duration", "600", "--runs", str(folder / "runs"),
                   "--json", str(folder / "ride.json")]  # fmt: skip
        environment = {**os.environ, "ROS_DOMAIN_ID": str(reservation.domain_id), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.url, printed = "", []
        for line in self.process.stdout:
            printed.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            self.url = found.group() if found else self.url
            if "en route to pickup" in line and "waiting for every node" not in line:
                return
        raise AssertionError(f"the ride did not begin: {''.join(printed)}")

    def look(self, what, found):
        """What ``found`` makes of the list ``what``, as soon as it is something: looked at again at each change."""
        deadline, after = time.monotonic() + PATIENCE_S, 0
        while True:
            answer = client.call(self.url, "GET", f"/{what}?after={after}&wait_s=10", wait_s=10.0)
            if result := found(answer[what]):
                return result
            assert time.monotonic() < deadline and self.process.poll() is None, answer[what][:1]
            after = answer["revision"]

    def until(self, holds):
        """The first state of the car for which ``holds`` is true."""
        return self.look("vehicles", lambda cars: (state := cars[0]["state"]) and holds(state) and state)

    def ask(self, command, **fields):
        """(status, reason) of the car's answer."""
        sent = client.call(self.url, "POST", "/vehicles/car1/commands", {"command": command, **fields})["message_id"]

        def answered(commands):
            found = next(item for item in commands if item["message_id"] == sent)
            return found["status"] and (found["status"], found["reason"])

        return self.look("commands", answered)


def test_a_dispatcher_holds_the_car_opens_its_doors_and_closes_the_way(tmp_path):
    ride = Ride(tmp_path)
    try:
        state = ride.until(lambda s: s["speed"] > 3.0)
        assert len(state["trajectory"]) == 12 and 0.0 < state["position_sigma"] < 0.5
        assert 0.7 < state["energy"] <= 0.8 and state["range"] == pytest.approx(300_000.0 * state["energy"])
        assert state["trip"]["state"] == "EN_ROUTE_TO_PICKUP" and state["trip"]["eta_s"] > 0.0
        assert state["faults"] == [] and state["position"]["datum"] == "WGS84"
        sheet = client.list_vehicles(ride.url)[0]["factsheet"]
        assert sheet["map_name"] and len(sheet["map_sha256"]) == 64 and sheet["odd"]

        assert ride.ask("open_doors") == ("refused", "doors move at standstill only")
        assert ride.ask("pull_over") == ("accepted", "")
        state = ride.until(lambda s: abs(s["speed"]) < 0.02)
        assert state["sentence"].endswith("a dispatcher asked for it.")
        assert ride.ask("open_doors")[0] == "accepted"
        ride.until(lambda s: s["door_open"])
        assert ride.ask("resume") == ("refused", "resume: a door is open")
        assert ride.ask("close_doors")[0] == "accepted"
        ride.until(lambda s: not s["door_open"])
        assert ride.ask("resume")[0] == "accepted"
        state = ride.until(lambda s: s["speed"] > 1.0)

        pickup = state["trip"]["pickup"]
        area = {"area_id": "fire", "lat": pickup["lat"], "lon": pickup["lon"], "radius": 15.0, "minutes": 5.0}
        status, note = ride.ask("avoid_area", area=area)
        assert status == "accepted" and note.startswith("the pick-up of ")
        state = ride.until(lambda s: s["sentence"].startswith("Standing: no route"))
        assert state["avoided"] == ["fire"]
        assert ride.ask("avoid_area", area={**area, "minutes": 0.0})[0] == "accepted"
        ride.until(lambda s: s["speed"] > 1.0)
    finally:
        ride.process.send_signal(signal.SIGINT)
        ride.process.communicate(timeout=PATIENCE_S)
    figures = json.loads((tmp_path / "ride.json").read_text())
    assert figures["incidents"] == [] and figures["problems"] == ["interrupted by the user"]
