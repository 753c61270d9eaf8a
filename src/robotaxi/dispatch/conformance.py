"""Does a broker, and the dispatcher behind it, keep to the protocol? Checked from outside, with test certificates."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from robotaxi.dispatch import protocol
from robotaxi.dispatch.link import Outgoing, Session
from robotaxi.dispatch.messages import Body, Connection, Event, OrderEvent, State
from robotaxi.dispatch.pki import TestPki
from robotaxi.dispatch.protocol import ProtocolError, Sender
from robotaxi.dispatch.signing import FolderVerifier
from robotaxi.dispatch.transport import MqttConfig, MqttLink

PATIENCE_S = 5.0
ONE, OTHER = "conformance1", "conformance2"


@dataclass(frozen=True)
class Check:
    """``part``: broker or dispatcher. ``held`` None: could not be checked."""

    part: str
    name: str
    held: bool | None
    words: str = ""


class Conformance:
    """``pki`` has certificates of the two vehicles and of a dispatcher."""

    def __init__(self, pki: TestPki, host: str, port: int) -> None:
        self._pki, self._host, self._port = pki, host, port
        self._operator = pki.operator
        self.checks: list[Check] = []

    def run(self, dispatcher: bool) -> list[Check]:
        """With ``dispatcher``, also what listens to ``up`` and answers."""
        for version in ("5", "3.1.1"):
            self._check("broker", f"lets a vehicle in with MQTT {version}", partial(self._lets_in, version))
        self._check("broker", "binds the client id to the certificate", self._binds_client_id)
        self._check("broker", "keeps a vehicle from others' commands", self._keeps_from_others)
        self._check("broker", "delivers up to a dispatcher and down to its vehicle", self._delivers)
        self._check("broker", "publishes the last will of a vehicle that is gone", self._last_will)
        self._check("broker", "keeps the connection message", self._retains)
        if dispatcher:
            self._check("dispatcher", "sends a signed receipt for an event", lambda: self._receipt(1))
            self._check("dispatcher", "sends a receipt again for a repeated event", lambda: self._receipt(2))
            self._check("dispatcher", "sends a receipt for a message that it cannot read", self._unreadable)
        return self.checks

    def _check(self, part: str, name: str, check: Callable[[], bool]) -> None:
        try:
            self.checks.append(Check(part, name, check()))
        except (OSError, ProtocolError, ValueError) as error:
            self.checks.append(Check(part, name, False, str(error)))

    # ------------------------------------------------------------------ parties

    def _link(self, client_id: str, certificate: str = "", version: str = "auto") -> MqttLink:
        identity = self._pki.dispatcher if client_id.startswith("dispatcher") else None
        identity = identity or self._pki.vehicle(certificate or client_id)
        config = MqttConfig(
            host=self._host, port=self._port, retry_min=0.1, retry_max=0.5, protocol=version, keep_alive=2
        )
        return MqttLink(config, identity, client_id)

    def _connected(self, link: MqttLink, session: Session) -> bool:
        link.start(session)
        end = time.monotonic() + PATIENCE_S
        while not link.status().connected and time.monotonic() < end:
            if "refused" in link.status().detail:
                return False
            time.sleep(0.01)
        return link.status().connected

    def _topic(self, vehicle: str, direction: protocol.Direction, name: str) -> str:
        return protocol.topic(self._operator, vehicle, direction, name)

    def _wrap(self, body: Body, message_id: str = "") -> bytes:
        sender = Sender(ONE, secrets.token_hex(8), lambda: secrets.token_hex(16), time.time_ns)
        return sender.wrap(body, message_id=message_id)[1]

    # ------------------------------------------------------------------ the broker

    def _lets_in(self, version: str) -> bool:
        link = self._link(ONE, version=version)
        try:
            return self._connected(link, Session((self._topic(ONE, "down", "+"),), lambda *_: None, tuple))
        finally:
            link.close()

    def _binds_client_id(self) -> bool:
        """Whatever an impostor is told, the vehicle whose id it takes must not be thrown off."""
        victim, impostor = self._link(ONE), self._link(ONE, certificate=OTHER)
        try:
            self._connected(victim, Session((), lambda *_: None, tuple))
            self._connected(impostor, Session((), lambda *_: None, tuple))
            time.sleep(0.5)
            return victim.status().connected and victim.status().session == 1
        finally:
            impostor.close()
            victim.close()

    def _keeps_from_others(self) -> bool:
        """By refusing the subscription, or by never delivering."""
        heard = threading.Event()
        spy, desk = self._link(OTHER), self._link("dispatcher:conformance")
        try:
            self._connected(spy, Session((self._topic(ONE, "down", "+"),), lambda *_: heard.set(), tuple))
            self._connected(desk, Session((), lambda *_: None, tuple))
            desk.publish(Outgoing(self._topic(ONE, "down", "receipt"), b"{}"))
            return not heard.wait(0.5)
        finally:
            spy.close()
            desk.close()

    def _delivers(self) -> bool:
        up, down = threading.Event(), threading.Event()
        car, desk = self._link(ONE), self._link("dispatcher:conformance")
        try:
            self._connected(desk, Session((self._topic("+", "up", "+"),), lambda *_: up.set(), tuple))
            self._connected(car, Session((self._topic(ONE, "down", "+"),), lambda *_: down.set(), tuple))
            car.publish(Outgoing(self._topic(ONE, "up", "state"), self._wrap(State(stamp_ns=1, mode="STOP")), 0))
            desk.publish(Outgoing(self._topic(ONE, "down", "conformance"), b"{}"))
            return up.wait(PATIENCE_S) and down.wait(PATIENCE_S)
        finally:
            car.close()
            desk.close()

    def _last_will(self) -> bool:
        lost = threading.Event()

        def hear(topic: str, payload: bytes) -> None:
            if topic == self._topic(ONE, "up", "connection") and b'"lost"' in payload:
                lost.set()

        desk, car = self._link("dispatcher:conformance"), self._link(ONE)
        try:
            self._connected(desk, Session((self._topic("+", "up", "+"),), hear, tuple))
            will = Outgoing(self._topic(ONE, "up", "connection"), self._wrap(Connection(state="lost")), 1, True)
            self._connected(car, Session((), lambda *_: None, tuple, will))
            client = car._client
            assert client is not None
            client.reconnect_delay_set(60, 60)
            sock: Any = client.socket()
            sock.shutdown(socket.SHUT_RDWR)  # no DISCONNECT
            return lost.wait(PATIENCE_S)
        finally:
            car.close()
            desk.close()

    def _retains(self) -> bool:
        heard: list[str] = []
        car, desk = self._link(ONE), self._link("dispatcher:conformance")
        try:
            self._connected(car, Session((), lambda *_: None, tuple))
            message = self._wrap(Connection(state="offline", reason="conformance"))
            car.publish(Outgoing(self._topic(ONE, "up", "connection"), message, 1, True))
            time.sleep(0.2)
            got = threading.Event()

            def hear(topic: str, payload: bytes) -> None:
                if topic.endswith(f"/{ONE}/up/connection"):
                    heard.append(payload.decode())
                    got.set()

            self._connected(desk, Session((self._topic("+", "up", "connection"),), hear, tuple))
            return got.wait(PATIENCE_S) and '"offline"' in heard[0]
        finally:
            car.close()
            desk.close()

    # ------------------------------------------------------------------ the dispatcher

    def _receipts(self, messages: list[tuple[str, bytes]], wanted: str, count: int) -> bool:
        trust = FolderVerifier(self._pki.signers, self._pki.ca, self._pki.crl, self._operator)
        ids: list[str] = []
        news = threading.Condition()

        def hear(topic: str, payload: bytes) -> None:
            message = protocol.decode(payload, "receipt", ONE)
            trust.check(self._operator, message.envelope)
            with news:
                ids.extend(json.loads(bytes(message.envelope.body))["ids"])
                news.notify_all()

        car = self._link(ONE)
        try:
            self._connected(car, Session((self._topic(ONE, "down", "receipt"),), hear, tuple))
            for name, payload in messages:
                car.publish(Outgoing(self._topic(ONE, "up", name), payload))
            with news:
                return news.wait_for(lambda: ids.count(wanted) >= count, PATIENCE_S)
        finally:
            car.close()

    def _receipt(self, count: int) -> bool:
        identity = secrets.token_hex(16)
        payload = self._wrap(Event(stamp_ns=1, kind="conformance"), identity)
        return self._receipts([("event", payload)] * count, identity, count)

    def _unreadable(self) -> bool:
        identity = secrets.token_hex(16)
        event = OrderEvent(stamp_ns=1, order_id="x", event_no=1, state="OFFERED")
        payload = self._wrap(event, identity).replace(b'"event_no":1', b'"event_no":"one"')
        return self._receipts([("order_event", payload)], identity, 1)


def figures(checks: list[Check]) -> dict[str, Any]:
    return {
        "checks": [
            {"part": check.part, "check": check.name, "holds": check.held, "words": check.words} for check in checks
        ],
        "holds": all(check.held for check in checks),
    }
