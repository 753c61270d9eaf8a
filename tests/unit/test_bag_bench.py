"""`robotaxi bench bags`: what is asked for, figures as they come, what is left out; and how a recorder drains."""

import json

import pytest
from bag_helpers import every, odometry, record, write_bag

from robotaxi.cli import main
from robotaxi.commands.bench_bags import checks
from robotaxi.nodes.host import drain
from robotaxi.replay import bench, record_load
from robotaxi.replay.session import ReplayInterrupted

RATE = {"bag": "b", "rate": 60.0, "recorded_s": 20.0, "messages": 9, "same": True, "sweeps": True}
LOAD = {"seconds": 5.0, "messages": 9, "lost": 0, "core_share": 0.1, "memory_mb": 99.0, "late_s": 0.0}
INDEX = {"ratio": 0.9}


@pytest.fixture
def bag(tmp_path, monkeypatch):
    """A small bag; and measurements that only say that they were asked."""
    monkeypatch.setattr(bench, "whole_stack", lambda bag, camera: f"camera {camera}")
    monkeypatch.setattr(bench, "replay_rate", lambda bag, nodes, *_, **__: {**RATE, "bag": str(bag), "nodes": nodes})
    monkeypatch.setattr(bench, "index_speed", lambda bag: INDEX)
    monkeypatch.setattr(record_load, "measure", lambda *_: LOAD)
    return write_bag(tmp_path / "bag", {"localization/kinematic_state": [(t, odometry(t)) for t in every(20, 400)]})


def run(tmp_path, *words):
    file = tmp_path / "figures.json"
    status = main(["bench", "bags", *map(str, words), "--runs", str(tmp_path / "runs"), "--json", str(file)])
    return status, json.loads(file.read_text())


def test_every_part_is_measured_and_judged(bag, tmp_path, capsys):
    status, figures = run(tmp_path, bag)
    assert status == 0 and figures["holds"] and not figures["left_out"]
    assert figures["checks"] == dict.fromkeys(
        ["full_without_camera_rate", "full_with_camera_rate", "planning_control_rate", "same_bytes", "record_loss",
         "record_core", "record_memory", "index_ratio"], True,
    )  # fmt: skip
    assert [row["load"] for row in figures["exact"]] == [False, True]
    assert "1 of 1 rides (of 20 wanted) the same bytes" in capsys.readouterr().out.splitlines()[-1]


def test_only_what_is_asked_for_is_measured(bag, tmp_path):
    status, figures = run(tmp_path, bag, "--only", "index")
    assert status == 0 and set(figures["checks"]) == {"index_ratio"}
    with pytest.raises(SystemExit):
        run(tmp_path, bag, "--only", "indexes")


def test_a_part_that_fails_is_named_and_the_others_go_on(bag, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no discovery")

    monkeypatch.setattr(record_load, "measure", broken)
    status, figures = run(tmp_path, bag, "--only", "record,index")
    assert status == 1 and figures["left_out"] == ["record: no discovery"] and figures["index"] == [INDEX]


def test_an_interrupt_keeps_what_is_there(bag, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise ReplayInterrupted("interrupted by the user")

    file = tmp_path / "figures.json"

    def looked_at(*_):
        assert json.loads(file.read_text())["record"] == [LOAD]  # written at once
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "index_speed", looked_at)
    status, figures = run(tmp_path, bag, "--only", "record,index,exact")
    assert status == 1 and figures["record"] == [LOAD] and "index" not in figures and "exact" not in figures
    monkeypatch.setattr(bench, "replay_rate", stopped)
    status, figures = run(tmp_path, bag, "--only", "planning,record")
    assert status == 2 and figures["left_out"] == ["the rest: interrupted by the user"]


def test_what_would_begin_too_late_is_left_out(bag, tmp_path, monkeypatch):
    now = [0.0]

    def slow(*_):
        now[0] = 800.0
        return LOAD

    monkeypatch.setattr("robotaxi.commands.bench_bags.time.monotonic", lambda: now[0])
    monkeypatch.setattr(record_load, "measure", slow)
    status, figures = run(tmp_path, bag, "--only", "record,index", "--limit-s", "700")
    assert status == 1 and figures["left_out"] == ["index: begun too late, --limit-s is 700"]


def test_bags_that_cannot_be_used_are_said_before_the_start(tmp_path, capsys):
    foreign = write_bag(tmp_path / "foreign", {"planning/explanation": [(0, record(0, "x"))]}, native=False)
    for bag, words in ((tmp_path / "none", "does not exist"), (foreign, "`robotaxi bag adapt")):
        status, figures = run(tmp_path, bag)
        assert status == 2 and words in figures["error"]
        assert words in capsys.readouterr().err


def test_a_replay_without_sweeps_is_not_judged_as_the_whole_stack():
    assert checks({"full_without_camera": [{**RATE, "sweeps": False}]}) == {"same_bytes": True}
    assert checks({"planning_control": [{**RATE, "rate": 49.0, "same": False}]}) == {
        "planning_control_rate": False, "same_bytes": False,
    }  # fmt: skip


def test_index_and_query_are_timed_beside_the_raw_read(tmp_path):
    pytest.importorskip("duckdb")
    rows = {"localization/kinematic_state": [(t, odometry(t, x=t / 1e9)) for t in every(20, 2000)]}
    found = bench.index_speed(write_bag(tmp_path / "bag", rows))
    assert found["rows"] == 20 and 0.0 < found["ratio"] < 2.0 and found["cpu_s_for_100_gb"] > 0.0


class _Listener:
    drain_s, last_message = 0.3, 0.0


def test_a_process_without_processor_time_still_hears_what_has_arrived(monkeypatch):
    """Each look at the queue takes a second of wall time: that is no silence."""
    node, now, heard = _Listener(), [0.0], []
    monkeypatch.setattr("robotaxi.nodes.host.time.monotonic", lambda: now[0])

    def look():
        now[0] += 1.0
        if len(heard) < 10 and int(now[0]) % 3 == 0:
            heard.append(now[0])
            node.last_message = now[0]

    drain(node, look)
    assert len(heard) == 10
