"""Child processes end with their supervisor, in whatever state they are."""

import os
import signal
import subprocess
import sys

import pytest

from robotaxi.supervisor import Supervisor, describe_exit

PLAIN = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = f"from signal import *; signal(SIGINT, SIG_IGN); signal(SIGTERM, SIG_IGN); {PLAIN}"


def wait_until_up(child):
    assert child.process.stdout.readline() == b"up\n"


def started(supervisor, name, code):
    child = supervisor.start(name, [sys.executable, "-c", code], stdout=subprocess.PIPE)
    wait_until_up(child)
    return child


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("robotaxi.supervisor._STOP_S", 0.3)
    monkeypatch.setattr("robotaxi.supervisor._TERM_S", 0.3)


@pytest.mark.parametrize("code", [PLAIN, STUBBORN])
def test_leaving_the_supervisor_ends_every_child(quick, tmp_path, code):
    with Supervisor(1, tmp_path) as supervisor:
        child = started(supervisor, "child", code)
    assert child.exit_status is not None


def test_stopped_child_is_ended_too(quick, tmp_path):
    with Supervisor(1, tmp_path) as supervisor:
        child = started(supervisor, "child", PLAIN)
        os.kill(child.process.pid, signal.SIGSTOP)
    assert child.exit_status is not None


def test_dead_child_is_named_with_its_last_words(tmp_path):
    with Supervisor(1, tmp_path) as supervisor:
        child = supervisor.start("child", [sys.executable, "-c", "raise SystemExit('no map')"])
        child.process.wait(20)
        assert [item.name for item in supervisor.dead()] == ["child"]
        assert child.last_words() == "no map"
        assert describe_exit(child.exit_status) == "exit status 1"
    assert describe_exit(-signal.SIGKILL) == "killed by SIGKILL"


def test_children_die_with_a_supervisor_that_is_killed(tmp_path):
    code = (
        "import sys, signal; from pathlib import Path; from robotaxi.supervisor import Supervisor;"
        f"s = Supervisor(1, Path({str(tmp_path)!r})); c = s.start('child', [sys.executable, '-c', {PLAIN!r}]);"
        "print(c.process.pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    import select

    assert select.select([child], [], [], 10.0)[0], "the child outlived its supervisor"
    os.close(child)
    parent.stdout.close()
