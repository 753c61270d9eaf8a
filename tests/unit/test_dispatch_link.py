"""The whole link as it runs in a ride: embedded broker, desk and bridge, real certificates, real sockets."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from dispatch_helpers import DROPOFF, ORIGIN, PICKUP, Car

from robotaxi.dispatch import client
from robotaxi.dispatch.bridge import Bridge, BridgeConfig
from robotaxi.dispatch.link import Outgoing, Session
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.pki import TestPki, make_test_pki
from robotaxi.dispatch.process import Child, StartError, start_broker, start_desk
from robotaxi.dispatch.signing import FolderVerifier
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.types import TripState

PATIENCE_S = 10.0
FULL_RIDE = [
    "OFFERED",
    "ACCEPTED",
    "EN_ROUTE_TO_PICKUP",
    "WAITING_FOR_RIDER",
    "BOARDING",
    "EN_ROUTE",
    "ARRIVED",
    "ALIGHTED",
    "COMPLETED",
]


@dataclass
class Town:
    """Broker and desk as processes, and what is needed to connect a car to them."""

    folder: Path
    pki: TestPki
    broker: Child
    desk: Child
    bridges: list[Bridge] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.desk.ready["url"])

    def link(self, vehicle: str) -> MqttLink:
        config = MqttConfig(port=self.broker.ready["port"], retry_min=0.05, retry_max=0.2)
        return MqttLink(config, self.pki.vehicle(vehicle), vehicle)

    def bridge(self, vehicle: str, outbox: str = "") -> Bridge:
        box = Outbox(self.folder / f"{outbox or vehicle}.sqlite")
        trust = FolderVerifier(self.pki.signers, self.pki.ca, self.pki.crl, "demo")
        bridge = Bridge(BridgeConfig(vehicle=vehicle), ORIGIN, self.link(vehicle), box, lambda *_: None, trust)
        self.bridges.append(bridge)
        return bridge

    def order(self, vehicle: str, order_id: str) -> None:
        client.place_order(self.url, PICKUP, DROPOFF, vehicle=vehicle, order_id=order_id)

    def delivered(self, order_id: str) -> None:
        assert client.wait_for_state(self.url, order_id, (client.DELIVERED,), PATIENCE_S)["delivered"]

    def states(self, order_id: str) -> list[str]:
        return [event["state"] for event in client.get_order(self.url, order_id)["events"]]

    def restart_broker(self) -> None:
        port = self.broker.ready["port"]
        self.broker.process.kill()
        self.broker.stop()
        self.broker = start_broker(self.pki.folder, self.folder / "broker2.log", port=port)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    pki = make_test_pki(folder / "pki", "demo", [f"car{number}" for number in range(1, 8)])
    broker = start_broker(pki.folder, folder / "broker.log")
    desk = start_desk(pki.folder, broker.ready["port"], folder / "book.sqlite", folder / "desk.log")
    town = Town(folder, pki, broker, desk)
    yield town
    for bridge in town.bridges:
        bridge.close(0.0)
    for child in (town.desk, town.broker):
        while child.process.poll() is None:  # impatient people
            child.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(0.003)
        assert child.process.returncode == 0


def run_until(bridge: Bridge, car: Car, done: Callable[[], bool], steps: int = 2000) -> None:
    """Step until ``done``, waiting for the link's events in between where nothing moves."""
    for _ in range(steps):
        car.step(bridge)
        if done():
            return
        bridge._inbox.wait(0.01)
    raise AssertionError(f"not done after {steps} steps: {bridge.link_detail}, {car.events}")


def test_a_ride_from_order_to_completion(town: Town) -> None:
    bridge, car = town.bridge("car1"), Car()
    town.order("car1", "ride-7")
    assert bridge.wait_for_order(PATIENCE_S)
    town.delivered("ride-7")
    run_until(bridge, car, lambda: car.trip_state is TripState.COMPLETED)
    order = client.wait_for_state(town.url, "ride-7", ("COMPLETED",), PATIENCE_S)
    assert [event["state"] for event in order["events"]] == FULL_RIDE
    assert [event["event_no"] for event in order["events"]] == list(range(1, 10))
    assert [goal.goal_id for goal in car.goals] == [
        "ride-7/pickup",
        "ride-7/pickup",
        "ride-7/dropoff",
        "ride-7/dropoff",
    ]
    assert bridge.close() == 0  # every message has its receipt
    vehicle = next(v for v in client.list_vehicles(town.url) if v["vehicle"] == "car1")
    assert vehicle["state"]["position"]["datum"] == "WGS84"


def test_a_repeated_order_has_no_second_effect(town: Town) -> None:
    bridge, car = town.bridge("car2"), Car()
    town.order("car2", "twice")
    town.order("car2", "twice")
    assert bridge.wait_for_order(PATIENCE_S)
    run_until(bridge, car, lambda: car.trip_state is TripState.COMPLETED)
    bridge.close()
    again = town.bridge("car2")  # restarted: the record is on disk
    again.step(replace(car.inputs(), stamp_ns=0))
    assert again.step(car.inputs()).goal is None
    assert town.states("twice") == FULL_RIDE


def test_cancel_before_boarding(town: Town) -> None:
    bridge, car = town.bridge("car3"), Car(arrives=False)
    town.order("car3", "cancelled")
    assert bridge.wait_for_order(PATIENCE_S)
    run_until(bridge, car, lambda: car.trip_state is TripState.EN_ROUTE_TO_PICKUP)
    client.cancel_order(town.url, "cancelled", by="rider", reason="changed my mind")
    run_until(bridge, car, lambda: car.trip_state is TripState.CANCELLED)
    order = client.wait_for_state(town.url, "cancelled", ("CANCELLED",), PATIENCE_S)
    assert order["reason"] == "by rider: changed my mind"
    assert car.goals[-1].hold


def test_broker_killed_in_mid_trip_loses_nothing(town: Town) -> None:
    bridge, car = town.bridge("car4"), Car()
    town.order("car4", "storm")
    assert bridge.wait_for_order(PATIENCE_S)
    run_until(bridge, car, lambda: car.trip_state is TripState.WAITING_FOR_RIDER)
    town.broker.process.kill()
    town.broker.process.wait()
    run_until(bridge, car, lambda: car.trip_state is TripState.COMPLETED)  # the car drives on
    town.restart_broker()
    run_until(bridge, car, lambda: len(bridge._outbox) == 0)
    assert client.wait_for_state(town.url, "storm", ("COMPLETED",), PATIENCE_S)
    assert town.states("storm") == FULL_RIDE


def test_bridge_killed_in_mid_trip_goes_on(town: Town) -> None:
    first, car = town.bridge("car5"), Car()
    town.order("car5", "reborn")
    assert first.wait_for_order(PATIENCE_S)
    run_until(first, car, lambda: car.trip_state is TripState.EN_ROUTE)
    first._link.close()  # nothing is said, nothing is flushed
    second = town.bridge("car5")
    run_until(second, car, lambda: car.trip_state is TripState.COMPLETED)
    run_until(second, car, lambda: len(second._outbox) == 0)
    assert client.wait_for_state(town.url, "reborn", ("COMPLETED",), PATIENCE_S)
    assert town.states("reborn") == FULL_RIDE


def test_a_certificate_of_another_authority_is_refused(town: Town, tmp_path: Path) -> None:
    rogue = make_test_pki(tmp_path / "rogue", "demo", ["car6"]).vehicle("car6")
    trusting = replace(rogue, ca=town.pki.ca)
    assert "ended the connection" in _why_not(town, MqttLink(_config(town), trusting, "car6"))
    assert "not trusted" in _why_not(town, MqttLink(_config(town), rogue, "car6"))


def test_a_vehicle_cannot_take_another_ones_name(town: Town) -> None:
    victim = town.link("car6")
    online = threading.Event()
    victim.start(Session((), lambda *_: None, lambda: tell(online)))
    assert online.wait(PATIENCE_S)
    impostor = MqttLink(_config(town), town.pki.vehicle("car7"), "car6")
    assert "Not authorized" in _why_not(town, impostor)
    assert victim.status().connected and victim.status().session == 1
    victim.close()


def test_of_two_with_one_identity_the_first_says_so_and_lets_the_other_be(town: Town) -> None:
    first, second = town.link("car7"), town.link("car7")
    nothing = Session((), lambda *_: None, tuple)
    try:
        first.start(nothing)
        _wait_for(first, "connected to")
        second.start(nothing)
        _wait_for(second, "connected to")
        assert "two with one identity?" in _wait_for(first, "somebody else")
        assert second.status().connected and second.status().session == 1  # it was not thrown off in turn
    finally:
        first.close()
        second.close()


def test_a_vehicle_cannot_speak_or_listen_for_another(town: Town) -> None:
    heard: list[str] = []
    online = threading.Event()
    link = town.link("car7")
    link.start(Session(("rt/v1/demo/car6/down/+",), lambda topic, _: heard.append(topic), lambda: ()))
    assert "refused a subscription" in _wait_for(link, "refused")
    link.close()
    link = town.link("car7")
    link.start(Session(("rt/v1/demo/car7/down/+",), lambda *_: None, lambda: tell(online)))
    assert online.wait(PATIENCE_S)
    link.publish(Outgoing("rt/v1/demo/car6/up/state", b"{}"))
    link.close()
    assert not heard and all(v["vehicle"] != "car6" or not v["state"] for v in client.list_vehicles(town.url))


def test_a_port_in_use_is_told_in_a_sentence(town: Town, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"port \d+ on 127.0.0.1 is already in use"):
        start_broker(town.pki.folder, tmp_path / "log", port=town.broker.ready["port"])


def tell(online: threading.Event) -> tuple[Outgoing, ...]:
    online.set()
    return ()


def _config(town: Town) -> MqttConfig:
    return MqttConfig(port=town.broker.ready["port"], retry_min=0.05, retry_max=0.2)


def _why_not(town: Town, link: MqttLink) -> str:
    link.start(Session((), lambda *_: None, lambda: ()))
    try:
        return _wait_for(link, "refused", "ended", "trusted")
    finally:
        link.close()


def _wait_for(link: MqttLink, *words: str) -> str:
    waiter = threading.Event()
    for _ in range(1000):
        detail = link.status().detail
        if any(word in detail for word in words):
            return detail
        waiter.wait(0.01)
    raise AssertionError(f"never said {words}: {link.status().detail}")
