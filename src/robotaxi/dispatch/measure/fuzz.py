"""Messages that are not what they should be, by the hundred thousand: no crash, no change of state, memory flat."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.bridge import Bridge, BridgeConfig
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.link import LinkStatus, Outgoing, Session
from robotaxi.dispatch.messages import Clock, Command, Order, OrderEvent, Place, Position, Receipt
from robotaxi.dispatch.mqtt import packets
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.protocol import MSGPACK, Sender
from robotaxi.dispatch.report import BridgeInput
from robotaxi.dispatch.signing import Signer, Verifier
from robotaxi.dispatch.torture.car import ORIGIN
from robotaxi.types import EgoState, SystemMode, VehicleReport

STEP_EVERY = 50
GROWTH_MB = 20.0
WARM_UP = 0.1  # share of the run after which memory is looked at first


class _Silent:
    """A link that goes nowhere."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.answers = 0

    def start(self, session: Session) -> None:
        self.session = session

    def publish(self, message: Outgoing) -> bool:
        self.answers += 1
        return True

    def status(self) -> LinkStatus:
        return LinkStatus(True, 1, "nowhere")

    def close(self, last: Outgoing | None = None, timeout_s: float = 1.0) -> None:
        pass


def fuzz(count: int, seed: int, show: Callable[[int], None]) -> dict[str, Any]:
    """``count`` messages: three quarters to a bridge with a trip under way, the rest to a desk and to the broker's
    packet reader."""
    rng = random.Random(f"fuzz/{seed}")
    signer = Signer(Ed25519PrivateKey.generate(), "desk")
    trust = Verifier({"desk": signer._key.public_key()})
    link, desk_link = _Silent(), _Silent()
    bridge = Bridge(
        BridgeConfig(history=False), ORIGIN, link, Outbox(":memory:"), lambda *_: None, trust,
        clock=lambda: Clock(synced=True),
    )  # fmt: skip
    desk = Desk(DeskConfig(), desk_link, OrderBook(":memory:"), signer)
    sender = Sender("car1", "boot", _ids("g"), time.time_ns, operator="demo", signing=signer)
    assert link.session is not None
    expires = time.time_ns() + 3_600_000_000_000
    order = Order(order_id="victim", pickup=_place(0.001), dropoff=_place(0.002))
    link.session.on_message("rt/v1/demo/car1/down/order", sender.wrap(order, exp_ns=expires)[1])
    inputs = BridgeInput(0, EgoState(0, 0.0, 0.0, 0.0, 0.0), None, VehicleReport(0, 0.0, 0.0), SystemMode.AUTONOMOUS)
    state = bridge.step(inputs).trip_state
    seeds = _seeds(expires)
    up = Sender("car1", "boot", _ids("u"), time.time_ns)
    reports = [up.wrap(OrderEvent(stamp_ns=1, order_id="victim", event_no=9, state="COMPLETED"))[1]]
    crashes: list[str] = []
    changed = 0
    first_mb = 0.0
    begun = time.monotonic()
    logging_before = _quiet()
    for number in range(count):
        kind = number % 8
        try:
            if kind < 6:
                name, genuine = rng.choice(seeds)
                topic = (
                    f"rt/v1/demo/car1/down/{name}"
                    if rng.random() < 0.98
                    else _mutated(b"rt/v1/x", rng).decode("latin1")
                )
                link.session.on_message(topic, _mutated(genuine, rng))
            elif kind == 6:
                desk._book([("rt/v1/demo/car1/up/order_event", _mutated(rng.choice(reports), rng))])
            else:
                _feed_broker(_mutated(rng.choice(seeds)[1], rng), rng)
            if number % STEP_EVERY == 0:
                changed += bridge.step(inputs).trip_state is not state
        except Exception as error:
            crashes.append(f"message {number}: {type(error).__name__}: {error}")
        if number == int(count * WARM_UP):
            first_mb = _memory_mb()
        if number % 10_000 == 0:
            show(number)
    changed += bridge.step(inputs).trip_state is not state
    growth = _memory_mb() - first_mb
    _loud(logging_before)
    orders = len(desk.book.orders())
    return {
        "messages": count,
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "answers": link.answers,
        "crashes": len(crashes),
        "first_crashes": crashes[:5],
        "state_changes": changed,
        "orders_made_up": orders,
        "memory_growth_mb": round(growth, 1),
        "holds": not crashes and not changed and not orders and growth < GROWTH_MB,
    }


def _seeds(expires: int) -> list[tuple[str, bytes]]:
    """Well formed, but not signed by anyone who is trusted: none of them may have an effect."""
    stranger = Signer(Ed25519PrivateKey.generate(), "desk")
    made = []
    for encoding in ("application/json", MSGPACK):
        sender = Sender("car1", "evil", _ids("e"), time.time_ns, encoding=encoding, operator="demo", signing=stranger)
        order = Order(order_id="other", pickup=_place(0.001), dropoff=_place(0.002))
        made += [
            ("order", sender.wrap(order, exp_ns=expires)[1]),
            ("command", sender.wrap(Command(command="cancel", order_id="victim"), exp_ns=expires)[1]),
            ("command", sender.wrap(Command(command="pull_over"), exp_ns=expires)[1]),
            ("receipt", sender.wrap(Receipt(ids=("a", "b")))[1]),
        ]
    return made


def _mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, dropped, doubled or put in; sometimes rubbish, sometimes as it was."""
    kind = rng.random()
    if kind < 0.05:
        return rng.randbytes(rng.randrange(200))
    if kind < 0.1:
        return data
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed) + 1)
        what = rng.random()
        if what < 0.4 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif what < 0.6:
            del changed[at : at + rng.randrange(1, 20)]
        elif what < 0.8:
            changed[at:at] = rng.choice(
                (b"null", b"1e999", b"-1", b'"', b"{", b"[]", b"\xff\xfe", b"9" * 30, b"\\u0000")
            )
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 50)]
    return bytes(changed)


def _feed_broker(data: bytes, rng: random.Random) -> None:
    """The packets of a client, broken: nothing but PacketError may come of it."""
    message = packets.Publish("rt/v1/demo/car1/up/state", data, 1, False, 7)
    stream = packets.connect_packet("car1", 10, rng.choice((packets.V311, packets.V5)))
    stream += packets.publish_packet(message, packets.V5, 1, 7, False)
    stream += packets.subscribe_packet(3, "rt/v1/demo/car1/down/+", 1, packets.V5)
    reader = packets.Reader(1 << 18)
    try:
        for first, rest in reader.feed(_mutated(stream, rng)):
            if first >> 4 == packets.CONNECT:
                packets.read_connect(rest)
            elif first >> 4 == packets.PUBLISH:
                packets.read_publish(first, rest, packets.V5)
            elif first >> 4 == packets.SUBSCRIBE:
                packets.read_subscribe(first, rest, packets.V5)
    except packets.PacketError:
        pass


def _ids(stem: str) -> Callable[[], str]:
    numbers = iter(range(10**12))
    return lambda: f"{stem}{next(numbers)}"


def _place(north: float) -> Place:
    return Place(position=Position(datum="WGS84", lat=ORIGIN[0] + north, lon=ORIGIN[1]))


def _memory_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024.0
    return 0.0


def _quiet() -> int:
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    return before


def _loud(before: int) -> None:
    import logging

    logging.disable(before)
