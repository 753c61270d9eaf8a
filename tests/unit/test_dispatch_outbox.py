"""Nothing recorded is lost; what is wrong with the file is told and survived."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from dispatch_helpers import message

from robotaxi.dispatch.outbox import Outbox, OutboxConfig, TripRecord


def ids(outbox: Outbox) -> list[str]:
    return [message.id for message in outbox.pending()]


def trip(order_id: str, state: str = "EN_ROUTE", active: bool = True) -> TripRecord:
    return TripRecord(order_id, state, active, 3, b"{}")


def test_messages_wait_in_order_until_their_receipt(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "box.sqlite")
    assert outbox.record([message(f"m{n}", "order_event", b"x") for n in range(5)])
    outbox.record([message("m2", "order_event", b"again")])
    outbox.delete(["m1", "m1", "unknown"])
    assert ids(outbox) == ["m0", "m2", "m3", "m4"]
    outbox.close()
    reopened = Outbox(tmp_path / "box.sqlite")
    reopened.record([message("m5", "ack", b"y")])
    assert ids(reopened) == ["m0", "m2", "m3", "m4", "m5"]
    assert [m.no for m in reopened.pending()] == sorted(m.no for m in reopened.pending())
    assert reopened.problem == "" and reopened.durable


def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from robotaxi.dispatch.outbox import *\n"
        "box = Outbox(sys.argv[1])\n"
        "for n in range(50):\n"
        "    box.record([StoredMessage(f'm{n}', 'order_event', b'x')], [TripRecord('a', 'EN_ROUTE', True, n, b'')])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "box.sqlite")], check=False)
    assert done.returncode == -9
    outbox = Outbox(tmp_path / "box.sqlite")
    assert len(outbox) == 50
    active = outbox.active_trip()
    assert active is not None and active.events == 49


def test_trip_records(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "box.sqlite")
    outbox.record([], [trip("a")])
    assert outbox.active_trip() == trip("a")
    outbox.record([], [trip("a", "COMPLETED", False)])
    assert outbox.active_trip() is None
    assert outbox.trip("a") == trip("a", "COMPLETED", False)
    assert outbox.trip("b") is None


def test_old_trips_are_forgotten(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "box.sqlite", OutboxConfig(trips_kept=10))
    for number in range(30):
        outbox.record([], [trip(f"t{number}", "COMPLETED", False)])
    assert outbox.trip("t5") is None and outbox.trip("t25") is not None


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_corrupt_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "box.sqlite"
    path.write_bytes(content)
    outbox = Outbox(path)
    assert "set aside" in outbox.problem and outbox.durable
    aside = list(tmp_path.glob("box.sqlite.corrupt-*"))
    assert len(aside) == 1 and aside[0].read_bytes() == content
    assert outbox.record([message("m", "ack", b"x")])


def test_a_full_disk_keeps_messages_until_there_is_room(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "box.sqlite")
    outbox.record([message("m0", "ack", b"x")])
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own way to say: the disk is full
    assert not outbox.record([message("m1", "ack", b"x" * 20_000)], [trip("a")])
    assert "full" in outbox.problem and not outbox.durable
    assert ids(outbox) == ["m0", "m1"] and outbox.trip("a") == trip("a")
    outbox._db.execute("PRAGMA max_page_count=100000")
    assert outbox.record([message("m2", "ack", b"y")])
    assert outbox.problem == "" and outbox.durable
    outbox.close()
    assert ids(Outbox(tmp_path / "box.sqlite")) == ["m0", "m1", "m2"]


def test_over_the_quota_the_oldest_go_and_it_is_told(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "box.sqlite", OutboxConfig(quota=1000))
    for number in range(20):
        outbox.record([message(f"m{number}", "ack", b"x" * 100)])
    assert ids(outbox) == [f"m{number}" for number in range(10, 20)]
    assert "dropped" in outbox.problem


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outbox = Outbox(tmp_path / "file" / "box.sqlite")
    assert "memory only" in outbox.problem and not outbox.durable
    outbox.record([message("m", "ack", b"x")])
    assert ids(outbox) == ["m"]


def test_a_newer_schema_is_not_destroyed(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    assert "schema version 99" in Outbox(path).problem
    assert list(tmp_path.glob("*.corrupt-*"))
