"""Does a dispatcher keep to the protocol? Checked as a vehicle would see it.

With an order command (any program that makes the dispatcher under test order a ride for the vehicle `ONE`), also what
it offers and what it makes of the answer.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from robotaxi.dispatch import protocol
from robotaxi.dispatch.conformance import ONE, PATIENCE_S, Check, Parties
from robotaxi.dispatch.link import Outgoing, Session
from robotaxi.dispatch.messages import Ack, Body, Connection, Event, Order, OrderEvent, Position, Receipt, State
from robotaxi.dispatch.protocol import MSGPACK, Message, ProtocolError
from robotaxi.dispatch.signing import FolderVerifier
from robotaxi.dispatch.transport import MqttLink

ORDER_TIMEOUT_S = 60.0
REPEAT_S = 10.0  # an offer without any answer comes again within
QUIET_S = 4.0  # a rejected one does not


@dataclass
class Ear:
    """What came down to the vehicle. ``faults``: messages that a vehicle would refuse, in words."""

    messages: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def receipts(self) -> list[str]:
        bodies = [message.body for message in self.messages]
        return [identity for body in bodies if isinstance(body, Receipt) for identity in body.ids]

    def offers(self, order_id: str = "") -> list[Message]:
        found = [message for message in self.messages if isinstance(message.body, Order)]
        return [m for m in found if not order_id or (isinstance(m.body, Order) and m.body.order_id == order_id)]

    def wait(self, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
        with self.news:
            return self.news.wait_for(holds, timeout_s)


class DispatcherConformance(Parties):
    """Of whatever listens to ``up`` and answers. ``order``: a command line, "" for none."""

    part = "dispatcher"

    def run(self, order: str = "") -> list[Check]:
        self._check("sends a signed receipt for an event", partial(self._receipt, 1))
        self._check("sends a receipt again for a repeated event", partial(self._receipt, 2))
        self._check("reads MessagePack", partial(self._receipt, 1, MSGPACK))
        self._check("reads a newer minor version with unknown fields", self._newer_minor)
        self._check("sends a receipt for a state kept while offline", self._history)
        self._check("sends a receipt for a message that it cannot read", self._unreadable)
        self._check("lives through a newer major version and through noise", self._noise)
        if order:
            try:
                self._offered(order)
            except (OSError, ProtocolError, ValueError) as error:
                self.checks.append(Check(self.part, "offers an order", False, str(error)))
        return self.checks

    # ------------------------------------------------------------------ the vehicle

    @contextlib.contextmanager
    def _vehicle(self) -> Iterator[tuple[MqttLink, Ear]]:
        trust = FolderVerifier(self._pki.signers, self._pki.ca, self._pki.crl, self._operator)
        ear = Ear()

        def hear(topic: str, payload: bytes) -> None:
            name = topic.rsplit("/", 1)[1]
            with ear.news:
                try:
                    message = protocol.decode(payload, name, ONE)
                    trust.check(self._operator, message.envelope)
                    ear.messages.append(message)
                except ProtocolError as error:
                    ear.faults.append(f"{name}: {error}")
                ear.news.notify_all()

        link = self._link(ONE)
        try:
            if not self._connected(link, Session((self._topic(ONE, "down", "+"),), hear, tuple)):
                raise ProtocolError(f"the vehicle cannot connect: {link.status().detail}")
            yield link, ear
        finally:
            link.close()

    def _say(self, link: MqttLink, body: Body, retain: bool = False, corr: str = "") -> str:
        """Returns the message's id."""
        identity = secrets.token_hex(16)
        topic = self._topic(ONE, "up", protocol.body_name(body))
        link.publish(Outgoing(topic, self._wrap(body, identity, corr=corr), retain=retain))
        return identity

    # ------------------------------------------------------------------ receipts

    def _receipts(self, name: str, payloads: list[bytes], wanted: str, count: int = 1) -> bool:
        with self._vehicle() as (link, ear):
            for payload in payloads:
                link.publish(Outgoing(self._topic(ONE, "up", name), payload))
            came = ear.wait(lambda: ear.receipts().count(wanted) >= count)
            if ear.faults:
                raise ProtocolError(ear.faults[0])
            return came

    def _receipt(self, count: int, encoding: str = protocol.JSON) -> bool:
        identity = secrets.token_hex(16)
        payload = self._wrap(Event(stamp_ns=1, kind="conformance"), identity, encoding)
        return self._receipts("event", [payload] * count, identity, count)

    def _newer_minor(self) -> bool:
        identity = secrets.token_hex(16)
        message = json.loads(self._wrap(Event(stamp_ns=1, kind="conformance"), identity))
        message["v"], message["mood"], message["body"]["tyre_pressure"] = f"{protocol.MAJOR}.999", "fine", 2.4
        return self._receipts("event", [json.dumps(message).encode()], identity)

    def _history(self) -> bool:
        identity = secrets.token_hex(16)
        return self._receipts("state", [self._wrap(State(stamp_ns=1, mode="STOP", live=False), identity)], identity)

    def _unreadable(self) -> bool:
        identity = secrets.token_hex(16)
        event = OrderEvent(stamp_ns=1, order_id="x", event_no=1, state="OFFERED")
        payload = self._wrap(event, identity).replace(b'"event_no":1', b'"event_no":"one"')
        return self._receipts("order_event", [payload], identity)

    def _noise(self) -> bool:
        identity = secrets.token_hex(16)
        event = self._wrap(Event(stamp_ns=1, kind="conformance"), identity)
        newer = event.replace(b'"v":"1.0"', b'"v":"9.0"').replace(identity.encode(), secrets.token_hex(16).encode())
        noise = [newer, b"", b"{", b"\xff" * 100, b"[" * 5000, b'{"v":' + b"9" * 4000 + b"}"]
        return self._receipts("event", [*noise, event], identity)

    # ------------------------------------------------------------------ an order

    def _offered(self, order: str) -> None:
        """One offer: left without an answer, then accepted as a message and rejected as a ride."""
        with self._vehicle() as (link, ear):
            self._say(link, Connection(state="online"), retain=True)
            position = Position(datum="WGS84", lat=48.138, lon=11.576)
            self._say(link, State(stamp_ns=1, mode="AUTONOMOUS", position=position))
            asked = subprocess.run(shlex.split(order), capture_output=True, text=True, timeout=ORDER_TIMEOUT_S)
            if asked.returncode != 0:
                words = (asked.stderr or asked.stdout).strip().splitlines()[-1:]
                raise ValueError(f"the order command failed with status {asked.returncode}: {' '.join(words)}")
            self._check("offers an order to the vehicle that it is for", lambda: ear.wait(lambda: bool(ear.offers())))
            if not ear.offers():
                return
            first = ear.offers()[0]
            assert isinstance(first.body, Order)
            order_id = first.body.order_id
            self._check("gives an offer a deadline", lambda: first.envelope.exp_ns > time.time_ns())
            self._check(
                "sends an offer again until it is answered, with its id and a new seq",
                lambda: ear.wait(lambda: _repeated(ear.offers(order_id)), REPEAT_S),
            )
            ack = Ack(message_id=first.envelope.id, status="accepted", order_id=order_id, state="OFFERED")
            told = [self._say(link, ack, corr=first.envelope.id)]
            for number, state in enumerate(("OFFERED", "REJECTED"), 1):
                event = OrderEvent(stamp_ns=number, order_id=order_id, event_no=number, state=state, reason="busy")
                told.append(self._say(link, event))
            self._check(
                "sends a receipt for the answer and each event",
                lambda: ear.wait(lambda: set(told) <= set(ear.receipts())),
            )
            count = len(ear.offers(order_id))
            self._check(
                "does not offer it again to the vehicle that rejected it",
                lambda: not ear.wait(lambda: len(ear.offers(order_id)) > count, QUIET_S),
            )
            self._check("signs all that it sends", lambda: not ear.faults)
            self._say(link, Connection(state="offline", reason="conformance is over"), retain=True)


def _repeated(offers: list[Message]) -> bool:
    """By the same sender, or by another one after a restart."""
    first, last = offers[0].envelope, offers[-1].envelope
    again = (last.boot_id, last.seq) != (first.boot_id, first.seq)
    return len(offers) > 1 and last.id == first.id and again
