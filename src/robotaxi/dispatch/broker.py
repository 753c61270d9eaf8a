"""The embedded MQTT broker behind mutual TLS, bound to certificates, rights denied by default.

For development, tests, demonstrations and a small fleet; a large one runs mosquitto, EMQX or the like with
the same certificates and topics (docs/dispatch-operations.md).

* A client certificate of our authority is required.
* The MQTT client id must be the certificate's name, checked before a previous holder of that id would be
  thrown off, so nobody can disturb a vehicle by taking its id.
* A last will may only go where its owner may publish.
* New authority, broker certificate or revocation list: the files are looked at every second and take effect
  without a restart; clients whose certificate was revoked or has expired are let go.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotaxi.dispatch.mqtt.packets import Publish
from robotaxi.dispatch.mqtt.server import BrokerLimits, MqttServer
from robotaxi.dispatch.pki import ROLE_DISPATCHER, ROLE_VEHICLE, TestPki
from robotaxi.dispatch.process import STOP_SIGNALS, ignore_stops
from robotaxi.dispatch.revocation import RevocationList
from robotaxi.dispatch.tls import Holder, TlsError, holder, reload_context, server_context

log = logging.getLogger(__name__)

RELOAD_PERIOD_S = 1.0
CLIENT_SEPARATOR = ":"  # a dispatcher may open several connections: "dispatcher:desk", "dispatcher:monitor"


class BrokerError(RuntimeError):
    """The broker cannot start; the message says why."""


def may_use_client_id(who: Holder, client_id: str) -> bool:
    """A vehicle's client id is its certificate's name; a dispatcher's starts with it."""
    if client_id == who.name:
        return True
    return who.role == ROLE_DISPATCHER and client_id.startswith(who.name + CLIENT_SEPARATOR)


def may_use_topic(who: Holder, topic: str, action: str) -> bool:
    """Topic rights. ``action``: "publish" or "subscribe". Everything else is denied.

    A vehicle publishes under its own ``up`` and hears its own ``down``. A dispatcher publishes to
    its operator's vehicles' ``down`` and hears their ``up``.
    """
    parts = topic.split("/")
    if len(parts) != 6 or parts[:3] != ["rt", "v1", who.operator]:
        return False
    _, _, _, vehicle, direction, name = parts
    writing = action == "publish"
    if writing and ("+" in topic or "#" in topic):
        return False
    if who.role == ROLE_VEHICLE:
        return vehicle == who.name and direction == ("up" if writing else "down") and name != ""
    if who.role == ROLE_DISPATCHER:
        return vehicle not in ("", "#") and direction == ("down" if writing else "up")
    return False


class CertificateAccess:
    """Rights from the certificate that a client showed. ``revoked``: looked at for each connected client."""

    def __init__(self, revoked: RevocationList) -> None:
        self.revoked = revoked

    def admit(self, tls: ssl.SSLObject | None, client_id: str, will: Publish | None) -> tuple[Holder | None, str]:
        who = holder(tls)
        if who is None:
            return None, "no certificate that names operator, role and name"
        if why := self.still_valid(who):
            return who, why
        if not may_use_client_id(who, client_id):
            return who, f"client id {client_id[:80]!r} does not belong to the certificate of {who.name!r}"
        if will is not None and not may_use_topic(who, will.topic, "publish"):
            return who, f"{who.name!r} may not leave a last will on {will.topic[:200]!r}"
        return who, ""

    def session(self, principal: Holder, client_id: str) -> str:
        return f"{principal.operator}/{client_id}"

    def may_publish(self, principal: Holder, topic: str) -> bool:
        return may_use_topic(principal, topic, "publish")

    def may_subscribe(self, principal: Holder, topic_filter: str) -> bool:
        return may_use_topic(principal, topic_filter, "subscribe")

    def still_valid(self, principal: Holder) -> str:
        if self.revoked.has(principal.serial):
            return f"the certificate of {principal.name!r} is revoked"
        if time.time() > principal.valid_until_s:
            return f"the certificate of {principal.name!r} has expired"
        return ""


class LiveFiles:
    """Takes up changed certificate, authority and revocation files."""

    def __init__(self, pki: TestPki, context: ssl.SSLContext, revoked: RevocationList) -> None:
        self._pki, self._context, self._revoked = pki, context, revoked
        self._seen = self._stamps()

    def _stamps(self) -> tuple[int, ...]:
        stamps = []
        for path in (self._pki.broker.ca, self._pki.broker.cert, self._pki.broker.key):
            try:
                stamps.append(Path(path).stat().st_mtime_ns)
            except OSError:
                stamps.append(0)
        return tuple(stamps)

    def refresh(self) -> None:
        self._revoked.refresh()
        stamps = self._stamps()
        if stamps == self._seen:
            return
        identity = self._pki.broker
        try:
            reload_context(self._context, identity.ca, identity.cert, identity.key)
        except TlsError as error:  # half written, or wrong: the one in use stays until the next look
            log.warning("changed certificate files are not taken up: %s", error)
            return
        self._seen = stamps
        log.warning("new certificate files taken up: %s", identity.cert)


@dataclass(frozen=True, slots=True)
class BrokerReady:
    host: str
    port: int


OnReady = Callable[[BrokerReady, asyncio.Event, asyncio.AbstractEventLoop], None]


def serve(pki: TestPki, host: str, port: int, on_ready: OnReady) -> None:
    """Run a broker until SIGINT, SIGTERM or the event that ``on_ready`` is given is set.

    ``port`` 0: any free one. Further signals while it shuts down are ignored. Raises BrokerError when
    it cannot start, TlsError for its files.
    """
    asyncio.run(_serve(pki, host, port, on_ready))


async def _serve(pki: TestPki, host: str, port: int, on_ready: OnReady) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int, frame: Any) -> None:
        ignore_stops()
        loop.call_soon_threadsafe(stop.set)

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)
    check_free(host, port)
    context = server_context(pki.broker.ca, pki.broker.cert, pki.broker.key)
    revoked = RevocationList(pki.crl, pki.ca)
    files = LiveFiles(pki, context, revoked)
    server = MqttServer(CertificateAccess(revoked), BrokerLimits())
    try:
        bound = await server.start(host, port, context)
    except OSError as error:
        raise BrokerError(f"broker cannot listen on {host}:{port}: {error}") from error
    gc.freeze()  # what lives as long as the broker is not looked at again; pauses would show as latency
    on_ready(BrokerReady(host, bound), stop, loop)
    while not stop.is_set():
        files.refresh()
        try:
            await asyncio.wait_for(stop.wait(), RELOAD_PERIOD_S)
        except asyncio.TimeoutError:
            continue
    ignore_stops()
    await server.stop()


def check_free(host: str, port: int) -> None:
    """Raise BrokerError with a plain sentence when the address cannot be bound."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BrokerError(
                f"port {port} on {host} is already in use: stop the other broker or give --port"
            ) from error
        raise BrokerError(f"broker cannot listen on {host}:{port}: {error.strerror or error}") from error
