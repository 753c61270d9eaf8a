"""The embedded MQTT broker: amqtt behind mutual TLS, bound to certificates, rights denied by default.

A real MQTT 3.1.1 broker that pip alone installs, for development, tests and one car on one desk; a
fleet runs mosquitto, EMQX or the like with the same certificates and topics.

What amqtt leaves open is closed here, before its own session handling sees a client:

* a client certificate of our authority is required (amqtt only asks for one);
* the MQTT client id must be the certificate's name, checked before amqtt would throw the previous
  holder of that id off, so nobody can disturb a vehicle by taking its id;
* a last will may only go where its owner may publish;
* a client that connects is sent retained messages of its own subscriptions only, not of everybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, ListenerConfig
from amqtt.errors import AMQTTError, MQTTError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.connect import ConnectPacket
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from robotaxi.dispatch.pki import ROLE_DISPATCHER, ROLE_VEHICLE, TestPki
from robotaxi.dispatch.tls import Holder, holder, server_context

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
SHUTDOWN_TIMEOUT_S = 3.0
CLIENT_SEPARATOR = ":"  # a dispatcher may open several connections: "dispatcher:desk", "dispatcher:monitor"


class BrokerError(RuntimeError):
    """The broker cannot start; the message says why."""


def may_use_client_id(who: Holder, client_id: str) -> bool:
    """A vehicle's client id is its certificate's name; a dispatcher's starts with it."""
    if client_id == who.name:
        return True
    return who.role == ROLE_DISPATCHER and client_id.startswith(who.name + CLIENT_SEPARATOR)


def may_use_topic(who: Holder, topic: str, action: str) -> bool:
    """Topic rights. ``action``: "publish", "subscribe" or "receive". Everything else is denied.

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


class CertificateAuth(BaseAuthPlugin):
    """Second check that a session holds a certificate; the first is in `FleetBroker`."""

    async def authenticate(self, *, session: Session) -> bool | None:
        who = holder(session.ssl_object)
        return who is not None and may_use_client_id(who, session.client_id or "")


class CertificateTopics(BaseTopicPlugin):
    """Topic rights by certificate."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        who = holder(session.ssl_object) if session is not None else None
        return bool(who and topic and action) and may_use_topic(who, topic, action.value)  # type: ignore


class _Replay(ReaderAdapter):
    """Gives back the CONNECT packet that was looked at, then goes on with the stream."""

    def __init__(self, head: bytes, stream: ReaderAdapter) -> None:
        self._head = BufferReader(head)
        self._left = len(head)
        self._stream = stream

    async def read(self, n: int = -1) -> bytes:
        if self._left <= 0:
            return await self._stream.read(n)
        data = await self._head.read(n)
        self._left -= len(data)
        return data

    def feed_eof(self) -> None:
        self._stream.feed_eof()


class FleetBroker(Broker):
    """amqtt's broker with the checks above. ``pki``: files of the broker's identity."""

    def __init__(self, pki: TestPki, host: str, port: int) -> None:
        self._context = server_context(pki.broker.ca, pki.broker.cert, pki.broker.key)
        module = __name__
        super().__init__(
            {
                "listeners": {"default": ListenerConfig(bind=f"{host}:{port}", ssl=True)},
                "plugins": {f"{module}.CertificateAuth": {}, f"{module}.CertificateTopics": {}},
            }
        )

    def _create_ssl_context(self, listener: ListenerConfig) -> ssl.SSLContext:  # type: ignore[override]
        return self._context

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self._servers["default"].instance.sockets[0].getsockname()[1])  # type: ignore[union-attr]

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> Any:
        connect = await asyncio.wait_for(ConnectPacket.from_stream(reader), CONNECT_TIMEOUT_S)
        refusal = _refusal(connect, holder(writer.get_ssl_info()))
        if refusal:
            log.warning("refused a client from %s: %s", remote_address, refusal)
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            await writer.close()
            raise MQTTError(refusal)
        replay = _Replay(bytes(connect.to_bytes()), reader)
        handler, session = await super()._initialize_client_session(replay, writer, remote_address, remote_port)
        return handler, session

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(owner.client_id == session.client_id for owner, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _client_connected(self, listener_name: str, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        # A peer may vanish or send rubbish at any byte; that ends its connection and nothing else.
        try:
            await super()._client_connected(listener_name, reader, writer)
        except (AMQTTError, MQTTError, OSError, asyncio.TimeoutError, ValueError, EOFError) as error:
            log.info("connection ended: %s", error)
            with contextlib.suppress(OSError):
                await writer.close()


def _refusal(connect: ConnectPacket, who: Holder | None) -> str:
    """Why this CONNECT is not let in, or "" when it is."""
    if who is None:
        return "no certificate that names operator, role and name"
    if connect.payload is None or connect.variable_header is None:
        return "malformed CONNECT"
    client_id = connect.client_id or ""
    if not may_use_client_id(who, client_id):
        return f"client id {client_id!r} does not belong to the certificate of {who.name!r}"
    if connect.will_flag and not may_use_topic(who, connect.will_topic or "", "publish"):
        return f"{who.name!r} may not leave a last will on {connect.will_topic!r}"
    return ""


@dataclass(frozen=True, slots=True)
class BrokerReady:
    host: str
    port: int


OnReady = Callable[[BrokerReady, asyncio.Event, asyncio.AbstractEventLoop], None]


def serve(pki: TestPki, host: str, port: int, on_ready: OnReady) -> None:
    """Run a broker until SIGINT, SIGTERM or the event that ``on_ready`` is given is set.

    ``port`` 0: any free one. Further signals while it shuts down are ignored. Raises BrokerError when
    it cannot start.
    """
    asyncio.run(_serve(pki, host, port, on_ready))


async def _serve(pki: TestPki, host: str, port: int, on_ready: OnReady) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    _check_free(host, port)
    for name in ("transitions", "amqtt"):  # they log each packet's life
        logging.getLogger(name).setLevel(logging.ERROR)
    broker = FleetBroker(pki, host, port)
    try:
        await broker.start()
    except (AMQTTError, MQTTError, OSError) as error:
        raise BrokerError(f"broker cannot listen on {host}:{port}: {error}") from error
    on_ready(BrokerReady(host, broker.port), stop, loop)
    await stop.wait()
    # Server.wait_closed() of Python 3.12 waits for every connection, also half-open ones.
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_TIMEOUT_S)


def _check_free(host: str, port: int) -> None:
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
