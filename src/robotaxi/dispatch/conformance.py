"""Does a broker keep to the protocol? Checked from outside, with test certificates.

The dispatcher behind it is checked by `robotaxi.dispatch.conformance_dispatcher`.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from robotaxi.dispatch import protocol
from robotaxi.dispatch.link import Outgoing, Session
from robotaxi.dispatch.messages import Body, Connection, State
from robotaxi.dispatch.pki import Identity, TestPki, make_test_pki
from robotaxi.dispatch.protocol import JSON, ProtocolError, Sender
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


class Parties:
    """Vehicles and a dispatcher that connect to the broker under test, and the list of what was checked.

    ``pki`` has certificates of the two vehicles and of a dispatcher.
    """

    part = ""

    def __init__(self, pki: TestPki, host: str, port: int) -> None:
        self._pki, self._host, self._port = pki, host, port
        self._operator = pki.operator
        self.checks: list[Check] = []

    def _check(self, name: str, check: Callable[[], bool]) -> None:
        try:
            self.checks.append(Check(self.part, name, check()))
        except (OSError, ProtocolError, ValueError) as error:
            self.checks.append(Check(self.part, name, False, str(error)))

    def _link(
        self, client_id: str, certificate: str = "", version: str = "auto", identity: Identity | None = None
    ) -> MqttLink:
        if identity is None and client_id.startswith("dispatcher"):
            identity = self._pki.dispatcher
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

    def _wrap(self, body: Body, message_id: str = "", encoding: str = JSON, corr: str = "") -> bytes:
        sender = Sender(ONE, secrets.token_hex(8), lambda: secrets.token_hex(16), time.time_ns, encoding=encoding)
        return sender.wrap(body, message_id=message_id, corr=corr)[1]


class Conformance(Parties):
    """Of a broker."""

    part = "broker"

    def run(self) -> list[Check]:
        for version in ("5", "3.1.1"):
            self._check(f"lets a vehicle in with MQTT {version}", partial(self._lets_in, version))
        self._check("refuses a client without a certificate", self._needs_certificate)
        self._check("refuses a certificate of another authority", self._refuses_rogue)
        self._check("refuses TLS below 1.3", self._refuses_old_tls)
        self._check("binds the client id to the certificate", self._binds_client_id)
        self._check("keeps a vehicle from others' commands", self._keeps_from_others)
        self._check("keeps a vehicle from speaking for another", partial(self._keeps_quiet, OTHER, "up"))
        self._check("keeps a vehicle from speaking as a dispatcher", partial(self._keeps_quiet, ONE, "down"))
        self._check("delivers up to a dispatcher and down to its vehicle", self._delivers)
        self._check("publishes the last will of a vehicle that is gone", self._last_will)
        self._check("keeps the connection message", self._retains)
        return self.checks

    def _lets_in(self, version: str) -> bool:
        link = self._link(ONE, version=version)
        try:
            return self._connected(link, Session((self._topic(ONE, "down", "+"),), lambda *_: None, tuple))
        finally:
            link.close()

    def _needs_certificate(self) -> bool:
        context = ssl.create_default_context(cafile=str(self._pki.ca))
        try:
            with (
                socket.create_connection((self._host, self._port), PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname=self._host) as tls,
            ):
                tls.send(b"\x10\x00")
                return tls.recv(16) == b""  # with TLS 1.3 a client hears of it only now
        except ssl.SSLCertVerificationError:
            raise  # the broker's own certificate is not of this authority: nothing is proven
        except (ssl.SSLError, ConnectionError, TimeoutError):
            return True

    def _refuses_rogue(self) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            rogue = make_test_pki(Path(folder), self._operator, [ONE]).vehicle(ONE)
            link = self._link(ONE, identity=replace(rogue, ca=self._pki.ca))
            try:
                return not self._connected(link, Session((), lambda *_: None, tuple))
            finally:
                link.close()

    def _refuses_old_tls(self) -> bool:
        identity = self._pki.vehicle(ONE)
        context = ssl.create_default_context(cafile=str(self._pki.ca))
        context.load_cert_chain(identity.cert, identity.key)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            with (
                socket.create_connection((self._host, self._port), PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname=self._host),
            ):
                return False
        except (ssl.SSLError, ConnectionError):
            return True

    def _keeps_quiet(self, vehicle: str, direction: protocol.Direction) -> bool:
        """What ONE writes where it may not must reach nobody who listens there; a word of its own comes after it."""
        heard: list[str] = []
        last = threading.Event()

        def hear(topic: str, payload: bytes) -> None:
            heard.append(topic)
            if topic == self._topic(ONE, "up", "state"):
                last.set()

        forbidden = self._topic(vehicle, direction, "command" if direction == "down" else "state")
        listens = self._link("dispatcher:conformance")
        other, one = self._link(OTHER), self._link(ONE)
        try:
            self._connected(listens, Session((self._topic("+", "up", "state"),), hear, tuple))
            self._connected(other, Session((self._topic(OTHER, "down", "+"),), hear, tuple))
            self._connected(one, Session((self._topic(ONE, "down", "+"),), hear, tuple))
            one.publish(Outgoing(forbidden, b"{}", 0))
            end = time.monotonic() + PATIENCE_S
            while not last.wait(0.2) and time.monotonic() < end:  # a broker may end the connection: it comes back
                one.publish(Outgoing(self._topic(ONE, "up", "state"), self._wrap(State(stamp_ns=1, mode="STOP")), 0))
            return last.is_set() and forbidden not in heard
        finally:
            for link in (one, other, listens):
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
            sock: Any = client.socket() if client is not None else None
            if client is None or sock is None:
                raise ProtocolError(f"the vehicle is not connected: {car.status().detail}")
            client.reconnect_delay_set(60, 60)
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


def figures(checks: list[Check]) -> dict[str, Any]:
    return {
        "checks": [
            {"part": check.part, "check": check.name, "holds": check.held, "words": check.words} for check in checks
        ],
        "holds": all(check.held for check in checks),
    }
