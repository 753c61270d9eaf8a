"""The bridge on a link in memory: decisions, answers, durability, determinism."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dispatch_helpers import DROPOFF, ORIGIN, PICKUP, SIGNER, TRUST, Car

from robotaxi.dispatch.bridge import Bridge, BridgeConfig, BridgeInput
from robotaxi.dispatch.inbox import CAPACITY
from robotaxi.dispatch.link import LinkStatus, Outgoing, Session
from robotaxi.dispatch.messages import COMMANDS, DATUM, Body, Clock, Command, Order, Place, Position, Receipt
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.protocol import Sender, decode, trace_of
from robotaxi.types import EgoState, SystemMode, TripState, VehicleReport

NOW_NS = 1_000_000_000_000


def as_json(message: Outgoing) -> dict[str, Any]:
    if message.payload[:1] == b"{":
        return dict(json.loads(message.payload))
    decoded = decode(message.payload, message.topic.rsplit("/", 1)[1])
    return {
        "type": decoded.envelope.type,
        "id": decoded.envelope.id,
        "body": msgspec.to_builtins(decoded.body),
    }


class MemoryLink:
    """A link that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.connected = True
        self.sessions = 1
        self.session: Session | None = None

    def start(self, session: Session) -> None:
        self.session = session

    def publish(self, message: Outgoing) -> bool:
        if self.connected:
            self.sent.append(as_json(message))
        return self.connected

    def status(self) -> LinkStatus:
        return LinkStatus(self.connected, self.sessions, "in memory")

    def close(self, last: Outgoing | None = None, timeout_s: float = 1.0) -> None:
        self.connected = False

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [message["body"] for message in self.sent if message["type"] == kind]

    def acks(self, *statuses: str) -> list[tuple[str, str]]:
        return [(a["status"], a["reason"]) for a in self.bodies("ack") if a["status"] in statuses]


class Cloud:
    """Writes to the bridge as a dispatcher would."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.count = 0
        self.sender = Sender("car1", "desk", self._id, lambda: NOW_NS, operator="demo", signing=SIGNER)

    def _id(self) -> str:
        self.count += 1
        return f"down-{self.count}"

    def send(self, name: str, body: Body, exp_ns: int = 0) -> None:
        self.raw(name, self.sender.wrap(body, exp_ns=exp_ns or NOW_NS + 120_000_000_000)[1])

    def raw(self, name: str, payload: bytes, vehicle: str = "car1") -> None:
        assert self.link.session is not None
        self.link.session.on_message(f"rt/v1/demo/{vehicle}/down/{name}", payload)

    def order(self, order_id: str = "ride-7", exp_ns: int = 0, **pickup: Any) -> None:
        self.send("order", Order(order_id=order_id, pickup=place({**PICKUP, **pickup}), dropoff=place(DROPOFF)), exp_ns)

    def cancel(self, order_id: str = "ride-7", command: str = "cancel", exp_ns: int = 0) -> None:
        self.send("command", Command(command=command, order_id=order_id, by="rider"), exp_ns)


def place(at: dict[str, Any]) -> Place:
    position = Position(datum=DATUM, lat=at["lat"], lon=at["lon"])
    return Place(position=position, heading_deg=at.get("heading_deg"), name=at["name"])


class Setup:
    def __init__(self, path: Path | str = ":memory:", reachable: Any = None) -> None:
        self.link = MemoryLink()
        self.cloud = Cloud(self.link)
        self.outbox = Outbox(path, now_ns=lambda: NOW_NS)
        self.seconds = 0.0
        self.bridge = Bridge(
            BridgeConfig(),
            ORIGIN,
            self.link,
            self.outbox,
            reachable or (lambda *_: None),
            TRUST,
            now_ns=lambda: NOW_NS,
            monotonic_s=lambda: self.seconds,
            clock=lambda: Clock(synced=True, err_ms=1.0),
        )
        self.car = Car()

    def run(self, steps: int = 60) -> Setup:
        for _ in range(steps):
            self.car.step(self.bridge)
        return self

    @property
    def last(self) -> tuple[str, str]:
        event = self.car.events[-1]
        return event.state.name, event.reason


def test_goals_are_the_ordered_places_in_map() -> None:
    setup = Setup()
    setup.cloud.order()
    setup.run()
    pickup = setup.car.goals[0]
    assert (pickup.x, pickup.y) == pytest.approx((74.4, 111.2), abs=0.3)
    assert pickup.yaw == pytest.approx(0.0) and pickup.goal_id == "ride-7/pickup" and not pickup.hold
    assert setup.last == ("COMPLETED", "")


def test_the_trace_of_an_order_is_passed_on_also_after_a_restart_and_nothing_else_is(tmp_path: Path) -> None:
    trace = trace_of("ride-7", "down-1")
    setup = Setup(tmp_path / "box.sqlite")
    body = Order(order_id="ride-7", pickup=place(PICKUP), dropoff=place(DROPOFF))
    setup.cloud.raw("order", setup.cloud.sender.wrap(body, exp_ns=NOW_NS + 1, trace=trace)[1])
    setup.run(4)
    again = Setup(tmp_path / "box.sqlite")
    again.run(60)
    told = [m for s in (setup, again) for m in s.link.sent if m["type"] == "order_event"]
    assert told[-1]["body"]["state"] == "COMPLETED" and {m["trace"] for m in told} == {trace}
    assert [m["trace"] for m in setup.link.sent if m["type"] == "ack" and m["body"]["status"] == "accepted"] == [trace]
    free = Setup()
    free.cloud.raw("order", free.cloud.sender.wrap(body, exp_ns=NOW_NS + 1, trace="<script>")[1])
    free.run(4)
    assert {m.get("trace", "") for m in free.link.sent} == {""}


def test_the_same_ride_gives_the_same_bytes() -> None:
    runs = []
    for _ in range(2):
        setup = Setup()
        setup.cloud.order()
        setup.run()
        runs.append(repr((setup.car.events, setup.car.goals)))
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda s: s.cloud.order(exp_ns=NOW_NS - 1), "deadline passed"),
        (lambda s: s.cloud.order(lat=52.5), "outside area: pick-up is"),
        (lambda s: s.cloud.order(lon=-90.0), "outside area: pick-up is"),
    ],
)
def test_orders_that_are_rejected(how: Any, reason: str) -> None:
    setup = Setup()
    how(setup)
    setup.run(3)
    assert setup.last[0] == "REJECTED" and reason in setup.last[1]
    assert setup.car.goals == []


def test_unreachable_places_are_rejected_with_the_reason() -> None:
    def no_road(*_: Any) -> str:
        raise ValueError("no lane within 20 m of the pick-up")

    for reachable in (lambda *_: "the bridge is closed", no_road):
        setup = Setup(reachable=reachable)
        setup.cloud.order()
        setup.run(3)
        assert setup.last[0] == "REJECTED" and setup.last[1].startswith("unreachable: ")


def test_an_offer_waits_for_a_car_that_is_not_ready() -> None:
    setup = Setup()
    setup.cloud.order()
    assert setup.bridge.step(BridgeInput(0)).trip_state is TripState.OFFERED
    lost = EgoState(0, math.nan, 0.0, 0.0, 0.0)
    assert setup.bridge.step(BridgeInput(1, lost)).trip_state is TripState.OFFERED
    here = replace(lost, x=0.0)
    stopping = BridgeInput(2, here, mode=SystemMode.EMERGENCY_STOP, mode_reason="no lidar")
    assert setup.bridge.step(stopping).trip_state is TripState.OFFERED
    assert setup.bridge.step(BridgeInput(3, here)).trip_state is TripState.EN_ROUTE_TO_PICKUP


def test_a_second_order_is_busy_and_a_repeated_one_is_a_duplicate() -> None:
    setup = Setup()
    setup.cloud.order("first")
    setup.run(2)
    setup.cloud.order("second", lat=52.5)
    setup.cloud.order("first")
    setup.run(1)
    assert [(e.order_id, e.reason) for e in setup.car.events if e.state is TripState.REJECTED] == [
        ("second", "busy: on order first")
    ]
    setup.run()
    setup.cloud.order("first")
    setup.run(1)
    assert setup.link.acks("duplicate") == [
        ("duplicate", "order is EN_ROUTE_TO_PICKUP already"),
        ("duplicate", "order is COMPLETED already"),
    ]
    assert [e.state.name for e in setup.car.events].count("COMPLETED") == 1


def test_cancel_is_decided_by_the_car() -> None:
    setup = Setup()
    setup.cloud.order()
    for _ in range(60):
        setup.run(1)
        if setup.car.trip_state is TripState.EN_ROUTE:
            break
    setup.cloud.cancel()
    setup.cloud.cancel(command="open_doors")
    setup.cloud.cancel(command="fly")
    setup.cloud.cancel(exp_ns=NOW_NS - 1)
    setup.run(1)
    assert setup.link.acks("refused", "expired") == [
        ("expired", "expired on the way"),
        ("refused", "rider on board: the car drives on to the drop-off"),
        ("refused", "doors stay shut while the car is under way; ask it to pull over first"),
        ("refused", "command 'fly' is unknown; known are " + ", ".join(COMMANDS)),
    ]
    assert setup.car.trip_state is TripState.EN_ROUTE


def test_a_cancellation_that_overtakes_its_order_ends_it_before_it_has_begun() -> None:
    setup = Setup()
    setup.cloud.cancel("late")
    setup.run(1)
    setup.cloud.order("late")
    setup.run(3)
    assert setup.last == ("CANCELLED", "by rider, before it came")
    assert setup.car.goals == [] and setup.link.acks("duplicate") == [("duplicate", "order is CANCELLED already")]


def test_bad_messages_are_answered_and_do_nothing() -> None:
    setup = Setup()
    setup.cloud.raw("order", b"{")
    setup.cloud.raw("order", b'{"v":"2.0","id":"future"}')
    setup.cloud.raw("state", b"{}")
    setup.cloud.raw("order", b"x" * 100_000)
    setup.cloud.raw("order", b"{}", vehicle="car2")
    setup.run(3)
    assert [status for status, _ in setup.link.acks("malformed", "unsupported")] == [
        "malformed",
        "unsupported",
        "malformed",
        "malformed",
        "malformed",
    ]
    assert setup.car.events == [] and setup.car.trip_state is TripState.IDLE


def test_a_flood_is_refused() -> None:
    setup = Setup()
    for number in range(CAPACITY + 5):
        setup.cloud.order(f"order-{number}")
    assert len(setup.link.acks("refused")) == 5
    setup.run(1)
    assert setup.car.trip_state is TripState.EN_ROUTE_TO_PICKUP


def test_messages_wait_for_the_link_and_for_receipts() -> None:
    setup = Setup()
    setup.link.connected = False
    setup.cloud.order()
    setup.run()
    assert setup.link.sent == [] and len(setup.outbox) == 10 + 14  # nine events and an answer; states
    setup.link.connected, setup.link.sessions = True, 2
    setup.run(1)
    numbers = [event["event_no"] for event in setup.link.bodies("order_event")]
    assert numbers == list(range(1, 10))
    assert setup.link.sent[0]["type"] == "state" and setup.link.sent[0]["body"]["live"]  # the newest state first
    setup.run(3)
    assert len(setup.link.bodies("order_event")) == 9  # not again before its time
    events = [m["id"] for m in setup.link.sent if m["type"] == "order_event"]
    setup.cloud.send("receipt", Receipt(ids=(*events[:6], events[0], "unknown")))
    setup.seconds = 100.0
    setup.run(1)
    assert [e["event_no"] for e in setup.link.bodies("order_event")][9:] == [7, 8, 9]
    setup.cloud.send("receipt", Receipt(ids=()))  # the dispatcher is back
    setup.run(1)
    assert [e["event_no"] for e in setup.link.bodies("order_event")][12:] == [7, 8, 9]


def test_state_once_a_second_and_on_change() -> None:
    setup = Setup()
    setup.run(30)
    assert [state["stamp_ns"] for state in setup.link.bodies("state")] == [0, 1_000_000_000, 2_000_000_000]
    setup.bridge.step(replace(setup.car.inputs(), report=VehicleReport(0, 0.0, 0.0, door_open=True)))
    state = setup.link.bodies("state")[-1]
    assert state["door_open"] and state["sentence"] == "Driving at the limit."
    assert state["heading_deg"] == pytest.approx(90.0 - math.degrees(0.5))
    assert state["position"]["lat"] == pytest.approx(ORIGIN[0] + 20 / 111_200, abs=1e-6)


def test_a_restarted_bridge_goes_on_and_does_not_drive_again(tmp_path: Path) -> None:
    first = Setup(tmp_path / "box.sqlite")
    first.cloud.order()
    while first.car.trip_state is not TripState.EN_ROUTE:
        first.run(1)
    second = Setup(tmp_path / "box.sqlite")
    second.car = first.car
    second.cloud.order()
    second.run()
    assert [e.state.name for e in second.car.events][-3:] == ["ARRIVED", "ALIGHTED", "COMPLETED"]
    assert [e["event_no"] for e in second.link.bodies("order_event")] == list(range(1, 10))
    third = Setup(tmp_path / "box.sqlite")
    third.cloud.order()
    third.run(5)
    assert third.car.events == [] and third.car.goals == []


def test_without_a_durable_outbox_no_order_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    setup = Setup(tmp_path / "file" / "box.sqlite")
    setup.cloud.order()
    setup.run(1)
    assert setup.last[0] == "REJECTED" and setup.last[1].startswith("not ready: outbox")


def test_inputs_that_are_not_finite_are_survived() -> None:
    setup = Setup()
    nan = math.nan
    for value in (nan, math.inf, -math.inf, 1e200):
        ego = EgoState(0, value, value, value, value, value)
        ego.covariance[0, 0] = value
        setup.bridge.step(replace(setup.car.inputs(), stamp_ns=setup.car.stamp_ns, state=ego))
        setup.car.stamp_ns += 2_000_000_000
    assert all(state["position"] is None for state in setup.link.bodies("state"))
