"""Dead processes are started again, twice in half a minute, hanging ones killed first; not the owner of the clock."""

import os
import signal
import time

import pytest

from robotaxi.ride.guardian import Guardian
from robotaxi.ride.monitor import Progress
from robotaxi.supervisor import Supervisor
from robotaxi.types import Health, Permit

SILENT = Health(0, Permit.STOP, "planner", "planner: planning/trajectory is silent.")


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(0, tmp_path) as supervisor:
        for name in ("simulator", "planning"):
            supervisor.start(name, ["sleep", "60"])
        yield supervisor


def kill(child):
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait(5.0)


def said(incidents):
    return [incident.what for incident in incidents]


def test_a_dead_process_is_started_again_twice_and_then_given_up(supervisor):
    guardian = Guardian(supervisor, keep=("simulator",))
    assert guardian.look(Progress()) == []
    for _ in range(2):
        kill(supervisor.children["planning"])
        ended = "planning ended during the ride (killed by SIGKILL) and was started again"
        assert said(guardian.look(Progress())) == [ended]
        assert supervisor.children["planning"].exit_status is None and not guardian.given_up
    kill(supervisor.children["planning"])
    assert said(guardian.look(Progress())) == ["planning ended during the ride (killed by SIGKILL)"]
    assert guardian.given_up and guardian.look(Progress()) == []


def test_one_that_dies_again_much_later_is_started_again(supervisor):
    guardian = Guardian(supervisor, keep=("simulator",))
    for at_s in (0, 5, 40, 60, 75):
        kill(supervisor.children["planning"])
        found = guardian.look(Progress(stamp_ns=at_s * 10**9))
        assert [item.process for item in found] == ["planning"] and found[0].sentence.endswith(
            f"again at t={at_s:.1f} s"
        )
    kill(supervisor.children["planning"])
    assert guardian.look(Progress(stamp_ns=80 * 10**9)) and guardian.given_up


def test_the_owner_of_the_clock_is_left_alone(supervisor):
    guardian = Guardian(supervisor, keep=("simulator",))
    kill(supervisor.children["simulator"])
    assert guardian.look(Progress()) == [] and not guardian.given_up


def test_a_process_that_hangs_is_killed_and_started_again_once_in_a_while(supervisor, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    guardian = Guardian(supervisor, keep=("simulator",))
    before = supervisor.children["planning"].process.pid
    assert guardian.look(Progress(health=SILENT)) == []
    now += 6.0
    assert said(guardian.look(Progress(health=SILENT))) == ["planning hangs and was started again"]
    assert supervisor.children["planning"].process.pid != before
    now += 30.0  # its successor is still loading
    assert guardian.look(Progress(health=SILENT)) == [] and guardian.look(Progress()) == []
