"""The desk's books in a real PostgreSQL server: a private one of this test, where the machine has the programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dispatch_helpers import DROPOFF, PICKUP, SIGNER
from test_dispatch_bridge import MemoryLink

from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.database import DatabaseError
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_keys import schema_of
from robotaxi.dispatch.desk_requests import CancelRequest, OrderRequest, PlaceRequest
from robotaxi.dispatch.messages import AssistRequest, Body, Connection, Event, Option, OrderEvent, Position, State
from robotaxi.dispatch.protocol import Sender, body_name

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install robotaxi[postgres]")


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


PROGRAMS = _programs()
pytestmark = pytest.mark.skipif(
    PROGRAMS is None, reason="no PostgreSQL server on this machine (apt install postgresql)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of its own on a free port; it refuses to run as root, so root lends it a user."""
    assert PROGRAMS is not None
    folder = tmp_path_factory.mktemp("postgres")
    user: str | None = None
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith(("/tmp/pytest", str(folder.parents[1]))):
                parent.chmod(parent.stat().st_mode | 0o055)
        user = "postgres"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    subprocess.run(
        [PROGRAMS / "initdb", "-D", data, "-U", "desk", "-A", "trust", "--no-sync"],
        check=True, capture_output=True, cwd="/", user=user,
    )  # fmt: skip
    running = subprocess.Popen(
        [PROGRAMS / "postgres", "-D", data, "-p", str(port), "-k", folder,
         "-c", "listen_addresses=127.0.0.1"],
        stderr=subprocess.PIPE, text=True, cwd="/", user=user,
    )  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if "ready to accept connections" in line:
            break
    else:
        pytest.fail("PostgreSQL did not start")
    yield f"postgresql://desk@127.0.0.1:{port}/postgres"
    running.terminate()
    running.communicate(timeout=20.0)


class Town:
    def __init__(self, url: str, operator: str) -> None:
        self.operator = operator
        book = OrderBook(url, schema_of(operator, "demo"))
        self.desk = Desk(DeskConfig(operator=operator), MemoryLink(), book, SIGNER)
        numbers = iter(range(1000))
        self.sender = Sender("car1", "boot", lambda: f"{operator}-{next(numbers)}", time.time_ns, operator=operator)

    def say(self, *bodies: Body) -> None:
        self.desk._flush_s = 0.0
        messages = [(f"rt/v1/{self.operator}/car1/up/{body_name(b)}", self.sender.wrap(b)[1]) for b in bodies]
        self.desk._book(messages)
        self.desk._outbound.look(True)

    def order(self, order_id: str) -> None:
        pickup, dropoff = (PlaceRequest(lat=p["lat"], lon=p["lon"]) for p in (PICKUP, DROPOFF))
        self.desk.place_order(OrderRequest(pickup=pickup, dropoff=dropoff, order_id=order_id))
        self.desk._outbound.look(True)


def test_a_ride_is_booked_and_is_there_after_a_restart_and_operators_are_apart(server: str) -> None:
    here = Position(datum="WGS84", lat=PICKUP["lat"], lon=PICKUP["lon"])
    town, other = Town(server, "demo"), Town(server, "blue")
    town.say(Connection(state="online"), State(stamp_ns=1, mode="AUTONOMOUS", position=here))
    town.order("r1")
    assert town.desk.order("r1")["vehicle"] == "car1"
    states = ("OFFERED", "ACCEPTED", "EN_ROUTE_TO_PICKUP", "WAITING_FOR_RIDER", "BOARDING", "EN_ROUTE", "ARRIVED")
    events = [
        OrderEvent(stamp_ns=n, order_id="r1", event_no=n, state=state, position=here)
        for n, state in enumerate((*states, "COMPLETED"), 1)
    ]
    options = (Option(option_id="wait", text="Wait"),)
    question = AssistRequest(
        question_id="q", stamp_ns=1, question="Wait?", options=options, default="wait", deadline_ns=1
    )
    town.say(*events, events[3], Event(stamp_ns=9, kind="gap", text="100 % lost?"), question)
    town.order("r2")
    town.desk.cancel("r2", CancelRequest(by="rider", reason="it's late"))
    town.desk.book.close()
    again = Town(server, "demo")
    order = again.desk.order("r1")
    assert (order["state"], order["final"], len(order["events"])) == ("COMPLETED", True, 8)
    assert again.desk.vehicles()[0]["state"]["mode"] == "AUTONOMOUS"
    assert [q["question_id"] for q in again.desk.fleet.questions()] == ["q"]
    assert again.desk.fleet.reports()[0]["text"] == "100 % lost?"
    assert len(again.desk.fleet.history("car1")) == 1
    assert again.desk.snapshot()["orders"][0]["order_id"] == "r2"
    assert other.desk.vehicles() == [] and other.desk.book.orders() == []
    again.desk.book.close()
    other.desk.book.close()


def test_a_lost_transaction_leaves_nothing_and_the_desk_works_on(server: str) -> None:
    town = Town(server, "green")
    with pytest.raises(ZeroDivisionError), town.desk.book.change():
        town.desk.book.seen("car1", "half", 1)
        raise ZeroDivisionError
    assert town.desk.book.seen("car1", "half", 1)
    town.desk.book.close()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(DatabaseError, match=r"postgresql://me@127\.0\.0\.1:1/x cannot be used") as caught:
        OrderBook("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
