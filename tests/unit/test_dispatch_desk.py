"""The desk's books, its HTTP API, certificates and commands, without a broker."""

from __future__ import annotations

import http.client
import json
import math
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from dispatch_helpers import DROPOFF, ORIGIN, PICKUP, SIGNER
from test_dispatch_bridge import MemoryLink

from robotaxi.dispatch import client, commands
from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.broker import may_use_client_id, may_use_topic
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_http import DeskServer
from robotaxi.dispatch.messages import Body, Connection, OrderEvent, Position, State
from robotaxi.dispatch.pki import PkiError, make_test_pki
from robotaxi.dispatch.places import load_places, places_of_map
from robotaxi.dispatch.protocol import Sender, body_name
from robotaxi.dispatch.tls import Holder, TlsError, client_context
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import LaneMap, StoppingPlace


class Fleet:
    """A desk with HTTP, and cars that write to it."""

    def __init__(self, folder: Path) -> None:
        self.link = MemoryLink()
        places = folder / "places.json"
        places.write_text(json.dumps({"Station": {"lat": 48.138, "lon": 11.576}}))
        config = DeskConfig(offer_again=0.2)
        self.desk = Desk(config, self.link, OrderBook(folder / "book.sqlite"), SIGNER, load_places(places))
        self.server = DeskServer(self.desk, "127.0.0.1", 0)
        self.url = self.server.url
        self.ids = iter(range(10_000))

    def say(self, vehicle: str, body: Body, message_id: str = "") -> None:
        _, payload = Sender(vehicle, "boot", lambda: f"up-{next(self.ids)}", lambda: 1).wrap(
            body, message_id=message_id
        )
        self.desk._outbound.look(True)  # a car answers what was sent to it
        self.desk._book([(f"rt/v1/demo/{vehicle}/up/{body_name(body)}", payload)])
        self.desk._outbound.look(True)

    def event(self, number: int, state: str, order_id: str = "a", vehicle: str = "car1") -> None:
        event = OrderEvent(stamp_ns=number, order_id=order_id, event_no=number, state=state)
        self.say(vehicle, event, f"{vehicle}-{order_id}-{number}")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    thread = threading.Thread(target=lambda: fleet.server.serve_forever(poll_interval=0.01))
    thread.start()
    fleet.desk.start()
    yield fleet
    fleet.server.shutdown()
    thread.join()
    fleet.server.server_close()
    fleet.desk.close()


def test_the_books_follow_the_car_and_never_go_back(fleet: Fleet) -> None:
    assert client.place_order(fleet.url, "Station", DROPOFF, vehicle="car1", order_id="a") == "a"
    assert client.get_order(fleet.url, "a")["state"] == "CREATED"
    for number, state in ((1, "OFFERED"), (3, "EN_ROUTE_TO_PICKUP"), (2, "ACCEPTED"), (3, "EN_ROUTE_TO_PICKUP")):
        fleet.event(number, state)
    order = client.get_order(fleet.url, "a")
    assert order["state"] == "EN_ROUTE_TO_PICKUP" and [e["event_no"] for e in order["events"]] == [1, 2, 3]
    receipts = [r["ids"] for r in fleet.link.bodies("receipt")]
    assert receipts == [["car1-a-1"], ["car1-a-3"], ["car1-a-2"], ["car1-a-3"]]
    fleet.event(4, "COMPLETED", vehicle="car2")  # somebody else's order
    assert client.get_order(fleet.url, "a")["state"] == "EN_ROUTE_TO_PICKUP"


def test_waiting_for_a_state_returns_when_it_comes(fleet: Fleet) -> None:
    client.place_order(fleet.url, PICKUP, DROPOFF, vehicle="car1", order_id="a")
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(client.wait_for_state(fleet.url, "a", ("BOARDING",), 10.0)))
    waiter.start()
    fleet.event(1, "OFFERED")
    fleet.event(2, "BOARDING")
    waiter.join(10.0)
    assert found[0]["state"] == "BOARDING"
    with pytest.raises(client.OrderError, match="is BOARDING, not COMPLETED, after 0 s"):
        client.wait_for_state(fleet.url, "a", ("COMPLETED",), 0.0)


def test_an_order_goes_to_the_nearest_free_car_and_waits_for_one(fleet: Fleet) -> None:
    early = client.place_order(fleet.url, "Station", DROPOFF)
    assert client.get_order(fleet.url, early)["vehicle"] == ""
    for vehicle, lat in (("nearest-but-gone", 48.138), ("near", 48.139), ("far", 48.2)):
        fleet.say(vehicle, Connection(state="lost" if "gone" in vehicle else "online"))
        fleet.say(vehicle, state_at(lat))
    late = client.place_order(fleet.url, "Station", DROPOFF)
    fleet.desk._outbound.look(True)
    assert client.get_order(fleet.url, early)["vehicle"] == "near"
    assert client.get_order(fleet.url, late)["vehicle"] == "far"


def test_a_rejected_order_goes_to_another_car_and_never_back(fleet: Fleet) -> None:
    for vehicle, lat in (("near", 48.139), ("far", 48.2)):
        fleet.say(vehicle, Connection(state="online"))
        fleet.say(vehicle, state_at(lat))
    client.place_order(fleet.url, "Station", DROPOFF, order_id="a")
    fleet.desk._outbound.look(True)
    fleet.event(1, "OFFERED", vehicle="near")
    fleet.event(2, "REJECTED", vehicle="near")
    assert client.get_order(fleet.url, "a")["vehicle"] == "far"
    fleet.event(1, "OFFERED", vehicle="far")
    fleet.event(2, "REJECTED", vehicle="far")
    order = client.get_order(fleet.url, "a")
    assert order["vehicle"] == "" and not order["final"] and len(order["earlier"]) == 4


def test_all_that_is_sent_about_an_order_has_its_trace(fleet: Fleet) -> None:
    fleet.say("car1", Connection(state="online"))
    client.place_order(fleet.url, PICKUP, DROPOFF, vehicle="car1", order_id="a", rider_code="4711")
    fleet.desk._outbound.look(True)
    client.cancel_order(fleet.url, "a")
    fleet.desk._outbound.look(True)
    sent = {m["type"]: m for m in fleet.link.sent}
    traces = [sent[kind]["trace"].split("-") for kind in ("order", "command")]
    assert traces[0][1] == traces[1][1] and traces[0][2] != traces[1][2]  # one trace, a span a message
    assert sent["order"]["body"]["rider_code"] == "4711"


def test_the_same_order_again_and_another_ride_with_its_id(fleet: Fleet) -> None:
    for _ in range(2):
        client.place_order(fleet.url, PICKUP, DROPOFF, vehicle="car1", order_id="a")
    assert len(client.list_orders(fleet.url)) == 1
    assert client.call(fleet.url, "POST", "/metrics/reset") == {}
    with pytest.raises(client.OrderError, match="exists with another ride"):
        client.place_order(fleet.url, DROPOFF, PICKUP, vehicle="car1", order_id="a")


def test_malformed_messages_of_a_car_are_receipted_once_readable(fleet: Fleet) -> None:
    payload = Sender("car1", "b", lambda: "m1", lambda: 1).wrap(_state())[1]
    fleet.desk._book([("rt/v1/demo/car2/up/state", payload)])
    assert fleet.link.bodies("receipt") == [{"ids": ["m1"]}]


def state_at(lat: float) -> State:
    return State(stamp_ns=1, mode="AUTONOMOUS", position=Position(datum="WGS84", lat=lat, lon=11.576))


def _state() -> State:
    return State(stamp_ns=1, mode="AUTONOMOUS")


def ask(fleet: Fleet, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", fleet.server.server_address[1], timeout=10.0)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_places_of_a_map_are_read_back(tmp_path: Path) -> None:
    bay = StoppingPlace(1, "Bay", (100.0, -50.0, 0.5), 1, 0.0, 0.0, np.zeros((4, 3)))
    lane_map = LaneMap("town", ORIGIN, {}, stopping_places={1: bay})
    (tmp_path / "places.json").write_text(json.dumps(places_of_map(lane_map)))
    place = load_places(tmp_path / "places.json")["Bay"]
    x, y, _ = LocalFrame(*ORIGIN).to_map(place.position.lat, place.position.lon, ORIGIN[2])
    assert (x, y) == pytest.approx((100.0, -50.0), abs=1e-3)
    assert place.heading_deg == pytest.approx(90.0 - math.degrees(0.5))


# ---------------------------------------------------------------------------- rights and certificates


CAR, DISPATCHER = Holder("demo", "vehicle", "car1"), Holder("demo", "dispatcher", "dispatcher")


@pytest.mark.parametrize(
    ("who", "topic", "action", "allowed"),
    [
        (CAR, "rt/v1/demo/car1/up/state", "publish", True),
        (CAR, "rt/v1/demo/car1/down/+", "subscribe", True),
        (CAR, "rt/v1/demo/car1/down/order", "receive", True),
        (CAR, "rt/v1/demo/car1/down/order", "publish", False),
        (CAR, "rt/v1/demo/car2/up/state", "publish", False),
        (CAR, "rt/v1/demo/+/down/order", "subscribe", False),
        (CAR, "rt/v1/other/car1/up/state", "publish", False),
        (CAR, "#", "subscribe", False),
        (CAR, "$SYS/broker", "subscribe", False),
        (DISPATCHER, "rt/v1/demo/+/up/+", "subscribe", True),
        (DISPATCHER, "rt/v1/demo/car1/down/order", "publish", True),
        (DISPATCHER, "rt/v1/other/+/up/+", "subscribe", False),
        (DISPATCHER, "rt/v1/demo/car1/up/state", "publish", False),
        (DISPATCHER, "rt/v1/demo/+/down/order", "publish", False),
        (Holder("demo", "broker", "localhost"), "rt/v1/demo/car1/up/state", "publish", False),
    ],
)
def test_topic_rights(who: Holder, topic: str, action: str, allowed: bool) -> None:
    assert may_use_topic(who, topic, action) is allowed


def test_client_ids_are_bound_to_certificates() -> None:
    assert may_use_client_id(CAR, "car1") and may_use_client_id(DISPATCHER, "dispatcher:desk")
    assert not any(may_use_client_id(CAR, name) for name in ("car2", "", "car1:x", "car10"))
    assert not may_use_client_id(DISPATCHER, "dispatcherx")


def test_the_test_authority_is_made_once_and_mended(tmp_path: Path) -> None:
    pki = make_test_pki(tmp_path, "demo", ["car1"])
    car = pki.vehicle("car1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.crt")}
    assert stat.S_IMODE(car.key.stat().st_mode) == 0o600
    car.key.write_text("broken")
    make_test_pki(tmp_path, "demo", ["car1", "car2"])
    changed = [path for path, data in before.items() if path.read_bytes() != data]
    assert changed == [car.cert] and pki.vehicle("car2").cert.exists()
    subject = x509.load_pem_x509_certificate(car.cert.read_bytes()).subject.rfc4514_string()
    assert subject == "CN=car1,OU=vehicle,O=demo"
    pki.ca.unlink()
    make_test_pki(tmp_path, "demo", ["car1"])
    client_context(car.ca, car.cert, car.key)


def test_bad_names_and_files_are_named(tmp_path: Path) -> None:
    for name in ("", "a/b", "+", "../x", "a" * 65):
        with pytest.raises(PkiError, match="vehicle"):
            make_test_pki(tmp_path, "demo", [name])
    pki = make_test_pki(tmp_path, "demo", ["car1"])
    car = pki.vehicle("car1")
    with pytest.raises(TlsError, match=r"missing\.crt: cannot be read"):
        client_context(tmp_path / "missing.crt", car.cert, car.key)
    with pytest.raises(TlsError, match="not a certificate with its key"):
        client_context(car.ca, car.cert, pki.dispatcher.key)
    link = MqttLink(MqttConfig(), pki.vehicle("car9"), "car9")
    link.start(None)  # type: ignore[arg-type]
    assert "car9.crt: cannot be read" in link.status().detail


# ---------------------------------------------------------------------------- commands


def test_commands_over_the_desk(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--desk", fleet.url, "--json", str(tmp_path / "out.json")]
    order = ["order", "--pickup", "Station", "--dropoff", "48.14,11.58,90", "--vehicle", "car1", "--order-id", "a"]
    assert commands.main([*order, *at]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["request"]["dropoff"]["heading_deg"] == 90.0
    fleet.event(1, "OFFERED")
    assert commands.main(["orders", "a", *at]) == 0
    assert commands.main(["cancel", "a", "--by", "rider", *at]) == 0
    fleet.event(2, "CANCELLED")
    assert commands.main([*order, "--wait", *at]) == 1
    assert commands.main(["cancel", "a", *at]) == 1
    out = capsys.readouterr()
    assert "a: CANCELLED, car car1" in out.out and "a is CANCELLED already" in out.err


def test_commands_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "places.yaml").write_text("Here: {lat: north}\n")
    pki = ["--pki", str(tmp_path / "pki")]
    for arguments, words in (
        (["orders", "--desk", "http://127.0.0.1:9"], "does not answer"),
        (["desk", *pki, "--broker", "nowhere"], "expected HOST:PORT"),
        (["desk", *pki, "--places", str(tmp_path / "places.yaml")], "place 'Here': needs lat and lon"),
        (["desk", *pki, "--book", str(tmp_path)], "order book"),
        (["pki", *pki, "--vehicle", "a/b"], "vehicle 'a/b'"),
    ):
        assert commands.main(arguments) == 1
        assert words in capsys.readouterr().err
