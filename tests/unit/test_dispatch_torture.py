"""The torture in small; that its judge sees what does not hold; and networks that can be taken from a car."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from robotaxi.dispatch.torture import namespaces
from robotaxi.dispatch.torture.check import compare
from robotaxi.dispatch.torture.run import Torture, TortureOptions


@pytest.fixture
def home() -> Iterator[namespaces.Namespace]:
    made = namespaces.make(["car1"])
    if not made:
        pytest.skip("this machine allows no network namespaces")
    yield made["car1"]
    made["car1"].close()


def test_a_link_that_is_down_loses_packets_and_up_again_the_connection_goes_on(home: namespaces.Namespace) -> None:
    address = home.door.getsockname()
    said = threading.Event()

    def car() -> None:
        namespaces.enter(home.path)
        with socket.create_connection(address, 5.0) as link:
            link.sendall(b"a")
            said.wait(10.0)
            link.sendall(b"b")
            link.settimeout(20.0)
            link.recv(1)

    thread = threading.Thread(target=car)
    thread.start()
    inside, _ = home.door.accept()
    with inside:
        inside.settimeout(20.0)
        assert inside.recv(9) == b"a"
        home.link(False)
        said.set()
        inside.settimeout(0.3)
        with pytest.raises(TimeoutError):
            inside.recv(9)
        home.link(True)
        inside.settimeout(20.0)
        assert inside.recv(9) == b"b"
        inside.sendall(b"c")
    thread.join()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, 1.0)  # from outside there is nobody


def test_in_small_it_holds_and_its_judge_sees_what_does_not(tmp_path: Path) -> None:
    torture = Torture(TortureOptions(orders=12, cars=3, seed=3, folder=tmp_path), lambda *_: None)
    figures = torture.run()
    assert figures["holds"] and sum(figures["outcomes"].values()) == 12, figures
    with contextlib.closing(sqlite3.connect(tmp_path / "book.sqlite")) as book, book:
        done = [row[0] for row in book.execute("SELECT order_id FROM orders WHERE state = 'COMPLETED' LIMIT 3")]
        book.execute("DELETE FROM orders WHERE order_id = ?", (done[0],))
        book.execute("DELETE FROM events WHERE order_id = ? AND event_no = 2", (done[1],))
    journal = next(path for path in (tmp_path / "journal").iterdir() if f"board {done[2]}" in path.read_text())
    with journal.open("a") as file:
        file.write(f"board {done[2]}\n")
    found = compare(tmp_path, torture.order_ids, torture.cars)
    assert not found.holds
    assert [len(found.lost), len(found.driven_twice)] == [1, 1]
    assert any(done[1] in sentence for sentence in found.differing)
