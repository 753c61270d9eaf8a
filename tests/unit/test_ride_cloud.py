"""Broker and desk of a ride: gone in mid-ride, they come back at the same address with the books intact."""

import os
import signal

import pytest

from robotaxi.dispatch import client
from robotaxi.ride.cloud import Cloud

PLACE = {"lat": 48.0, "lon": 11.0, "heading_deg": 90.0, "name": "here"}


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path / "dispatch", tmp_path / "log", "demo", "car1")
    cloud.start()
    yield cloud
    cloud.stop()


def test_killed_ones_come_back_where_they_were(cloud):
    client.place_order(cloud.desk_url, PLACE, PLACE, vehicle="car1", order_id="ride-1")
    port, url, pids = cloud.broker_port, cloud.desk_url, cloud.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    cloud.revive()
    assert (cloud.broker_port, cloud.desk_url) == (port, url)
    assert not set(cloud.pids) & set(pids)
    assert client.get_order(url, "ride-1")["state"] == "CREATED"
    assert cloud.notes == [
        "the broker ended in mid-ride (killed by SIGKILL) and was started again",
        "the dispatch desk ended in mid-ride (killed by SIGKILL) and was started again",
    ]


def test_nothing_is_said_of_those_that_live(cloud):
    pids = cloud.pids
    cloud.revive()
    assert cloud.pids == pids
    assert cloud.notes == []
