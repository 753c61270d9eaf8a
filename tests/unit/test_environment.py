"""Domain reservations, and what killed stacks leave in shared memory."""

import fcntl
import subprocess
import sys

import pytest

from robotaxi import environment
from robotaxi.environment import AlreadyRunning, DomainReservation, remove_dead_shared_memory, reserve_domain


@pytest.fixture(autouse=True)
def own_lock_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))


def test_second_stack_in_a_domain_is_refused_with_the_holder_named():
    first = DomainReservation(7)
    with pytest.raises(AlreadyRunning, match=r"already running in ROS domain 7 \(process \d+\)"):
        DomainReservation(7)
    first.release()
    DomainReservation(7).release()


def test_who_came_while_the_domain_was_let_go_holds_it_alone():
    first = DomainReservation(7)
    with open(first.path, "a+") as waiting:
        first.release()
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(AlreadyRunning):
            DomainReservation(7)


def test_namespaces_share_a_domain():
    first, second = DomainReservation(7, "car1"), DomainReservation(7, "car2")
    first.release()
    second.release()


def test_free_domain_is_found(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    first, second = reserve_domain(), reserve_domain()
    assert first.domain_id != second.domain_id
    first.release()
    second.release()


def test_domain_of_the_environment_is_kept(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    reservation = reserve_domain()
    assert reservation.domain_id == 42
    reservation.release()
    monkeypatch.setenv("ROS_DOMAIN_ID", "high")
    with pytest.raises(AlreadyRunning, match="ROS_DOMAIN_ID is 'high', expected an integer from 0 to 232"):
        reserve_domain()


def test_only_shared_memory_without_an_owner_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_SHARED_MEMORY", tmp_path)
    for name in ("fastrtps_dead", "fastrtps_dead_el", "sem.fastrtps_dead_mutex", "fastrtps_used", "fastrtps_used_el"):
        (tmp_path / name).touch()
    with open(tmp_path / "fastrtps_used_el") as owner:
        fcntl.flock(owner, fcntl.LOCK_SH)
        assert remove_dead_shared_memory() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fastrtps_used", "fastrtps_used_el"]


def test_kept_memory_is_not_faulted_in_again():
    script = (
        "import resource, sys; from robotaxi.environment import keep_memory\n"
        "if sys.argv[1] == 'keep': keep_memory()\n"
        "b''.join([bytes(1_500_000)] * 2)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(50): b''.join([bytes(1_500_000)] * 2)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = {
        how: int(subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True).stdout)
        for how in ("keep", "give back")
    }
    assert faults["keep"] <= faults["give back"] // 2 or faults["give back"] == 0
