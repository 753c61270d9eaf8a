"""The broker itself: connections, sessions, wills, retained messages. One asyncio loop, no threads.

Sessions are clean: what must survive a broker lies in the outboxes of vehicles and the books of the
dispatcher, so a broker that is killed loses nothing and has nothing to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from robotaxi.dispatch.mqtt import packets
from robotaxi.dispatch.mqtt.packets import PacketError, Publish
from robotaxi.dispatch.mqtt.topics import TopicTree

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 15.0
WATCH_PERIOD_S = 1.0
KEEP_ALIVE_GRACE = 1.5  # MQTT's own factor
MAX_INFLIGHT = 1000  # messages with QoS 1 sent to one client without its PUBACK
MAX_QUEUED = 10_000  # that wait behind those; a client slower than this is let go
MAX_BACKLOG_BYTES = 8_000_000  # unsent to one client; beyond it QoS 0 is dropped and QoS 1 ends the connection
MAX_SUBSCRIPTIONS = 100
MAX_RETAINED = 100_000


class Access(Protocol):
    """Who may do what. Every answer is "" for yes or a reason for the log."""

    def admit(self, tls: ssl.SSLObject | None, client_id: str, will: Publish | None) -> tuple[Any, str]:
        """(principal, why it is not let in)."""
        ...

    def session(self, principal: Any, client_id: str) -> str:
        """What one client at a time may hold: a newcomer with the same takes the place of who had it."""
        ...

    def may_publish(self, principal: Any, topic: str) -> bool: ...

    def may_subscribe(self, principal: Any, topic_filter: str) -> bool: ...

    def still_valid(self, principal: Any) -> str:
        """Why a connected client must go (its certificate was revoked, has expired), or ""."""
        ...


@dataclass(frozen=True)
class BrokerLimits:
    max_packet: int = 256 * 1024
    max_connections: int = 20_000


class MqttServer:
    def __init__(self, access: Access, limits: BrokerLimits | None = None) -> None:
        self.access = access
        self.limits = limits or BrokerLimits()
        self.clients: dict[str, Client] = {}
        self.connections: set[Client] = set()
        self._filters: TopicTree[tuple[Client, int]] = TopicTree()
        self._retained: TopicTree[Publish] = TopicTree()
        self._retained_count = 0
        self._routes: dict[str, list[tuple[Client, int]]] = {}
        self._server: asyncio.Server | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.counts = {"received": 0, "sent": 0, "dropped": 0, "refused": 0}

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Listen; returns the port. OSError when that is not possible."""
        loop = asyncio.get_running_loop()
        timeout = CONNECT_TIMEOUT_S if context else None
        self._server = await loop.create_server(
            lambda: Client(self), host, port, ssl=context, backlog=1024, ssl_handshake_timeout=timeout
        )
        self._watcher = loop.create_task(self._watch())
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        if self._server is not None:
            self._server.close()
        for client in list(self.connections):
            client.end("the broker is shutting down", packets.SERVER_SHUTTING_DOWN, with_will=False)
        await asyncio.sleep(0)  # let the transports write their last packet

    async def _watch(self) -> None:
        """Keep-alive, late CONNECTs, and certificates that are no longer valid."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            now = loop.time()
            for client in list(self.connections):
                client.watch(now)

    # ------------------------------------------------------------------ sessions

    def enter(self, client: Client) -> None:
        """A client is let in; the previous holder of its id goes."""
        before = self.clients.get(client.session)
        if before is not None:
            before.end(f"{client.client_id!r} connected again", packets.SESSION_TAKEN_OVER)
        self.clients[client.session] = client

    def leave(self, client: Client) -> None:
        self.connections.discard(client)
        for topic_filter in client.subscriptions:
            self._filters.drop(topic_filter, client.key)
        self._routes.clear()
        if self.clients.get(client.session) is client:
            del self.clients[client.session]

    def subscribe(self, client: Client, topic_filter: str, qos: int) -> None:
        self._filters.put(topic_filter, client.key, (client, qos))
        self._routes.clear()

    def unsubscribe(self, client: Client, topic_filter: str) -> bool:
        self._routes.clear()
        return self._filters.drop(topic_filter, client.key)

    def send_retained(self, client: Client, topic_filter: str, qos: int) -> None:
        for _, message in self._retained.topics_of(topic_filter):
            client.deliver(message, min(qos, message.qos), retain=True)

    # ------------------------------------------------------------------ messages

    def publish(self, message: Publish) -> None:
        if message.retain:
            self._retain(message)
        routes = self._routes.get(message.topic)
        if routes is None:
            best: dict[str, tuple[Client, int]] = {}
            for key, (client, qos) in self._filters.filters_of(message.topic):
                if key not in best or best[key][1] < qos:
                    best[key] = (client, qos)
            routes = list(best.values())
            if len(self._routes) > 100_000:
                self._routes.clear()
            self._routes[message.topic] = routes
        for client, qos in routes:
            client.deliver(message, min(qos, message.qos))

    def _retain(self, message: Publish) -> None:
        known = self._retained.drop(message.topic, "")
        self._retained_count -= int(known)
        if message.payload and self._retained_count < MAX_RETAINED:
            self._retained.put(message.topic, "", message)
            self._retained_count += 1


class Client(asyncio.Protocol):
    """One connection."""

    _count = 0

    def __init__(self, server: MqttServer) -> None:
        Client._count += 1
        self.key = str(Client._count)
        self._server = server
        self._reader = packets.Reader(server.limits.max_packet)
        self._transport: asyncio.Transport | None = None
        self.client_id = self.session = ""
        self.version = packets.V311
        self.subscriptions: set[str] = set()
        self.principal: Any = None
        self._will: Publish | None = None
        self._keep_alive = 0.0
        self._heard = 0.0
        self._admitted = False
        self._ended = False
        self._next_id = 0
        self._inflight: set[int] = set()
        self._window = MAX_INFLIGHT
        self._queue: deque[tuple[Publish, int, bool]] = deque()

    # ------------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._heard = asyncio.get_running_loop().time()
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.limits.max_connections:
            self.end("too many connections", packets.QUOTA_EXCEEDED)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._heard = asyncio.get_running_loop().time()
        try:
            for first, rest in self._reader.feed(data):
                self._handle(first, rest)
                if self._ended:
                    return
        except PacketError as error:
            self.end(str(error), error.reason)

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(with_will=True)

    def watch(self, now: float) -> None:
        silent = now - self._heard
        if not self._admitted:
            if silent > CONNECT_TIMEOUT_S:
                self.end("no CONNECT", packets.KEEP_ALIVE_TIMEOUT)
        elif self._keep_alive and silent > self._keep_alive * KEEP_ALIVE_GRACE:
            self.end("silent for too long", packets.KEEP_ALIVE_TIMEOUT)
        elif why := self._server.access.still_valid(self.principal):
            self.end(why, packets.NOT_AUTHORIZED)

    def end(self, why: str, reason: int, with_will: bool = True) -> None:
        """Close from the broker's side."""
        if self._ended:
            return
        log.info("%s: connection ended: %s", self.client_id or "a client", why)
        if self._admitted and self.version == packets.V5:
            self._write(packets.disconnect(reason))
        self._finish(with_will)
        if self._transport is not None:
            # A peer that reads nothing would keep a closing transport for ever.
            if self._transport.get_write_buffer_size() > 0:
                asyncio.get_running_loop().call_later(1.0, self._transport.abort)
            self._transport.close()

    def _finish(self, with_will: bool) -> None:
        if self._ended:
            return
        self._ended = True
        self._server.leave(self)
        will, self._will = self._will, None
        if will is not None and with_will:
            self._server.publish(will)

    # ------------------------------------------------------------------ packets

    def _handle(self, first: int, rest: bytes) -> None:
        kind = first >> 4
        if not self._admitted:
            if kind != packets.CONNECT:
                raise PacketError("the first packet is not a CONNECT", packets.PROTOCOL_ERROR)
            self._connect(packets.read_connect(rest))
        elif kind == packets.PUBLISH:
            self._publish(packets.read_publish(first, rest, self.version))
        elif kind == packets.PUBACK:
            self._acknowledged(packets.read_packet_id(rest))
        elif kind == packets.SUBSCRIBE:
            self._subscribe(packets.read_subscribe(first, rest, self.version))
        elif kind == packets.UNSUBSCRIBE:
            self._unsubscribe(packets.read_subscribe(first, rest, self.version, with_options=False))
        elif kind == packets.PINGREQ:
            self._write(packets.pingresp())
        elif kind == packets.DISCONNECT:
            wants_will = self.version == packets.V5 and rest[:1] == bytes((packets.DISCONNECT_WITH_WILL,))
            self._finish(with_will=wants_will)
            assert self._transport is not None
            self._transport.close()
        else:
            raise PacketError(f"packet of type {kind} is not for a broker", packets.PROTOCOL_ERROR)

    def _connect(self, connect: packets.Connect) -> None:
        assert self._transport is not None
        access = self._server.access
        self.version = connect.version
        principal, refusal = access.admit(self._transport.get_extra_info("ssl_object"), connect.client_id, connect.will)
        if refusal:
            self._server.counts["refused"] += 1
            log.warning("refused a client from %s: %s", self._transport.get_extra_info("peername"), refusal)
            self._write(packets.connack(self.version, packets.NOT_AUTHORIZED))
            self._finish(with_will=False)
            self._transport.close()
            return
        self.client_id, self.principal, self._will = connect.client_id, principal, connect.will
        self.session = access.session(principal, connect.client_id)
        self._keep_alive = float(connect.keep_alive)
        self._window = min(MAX_INFLIGHT, connect.receive_maximum)
        self._admitted = True
        self._server.enter(self)
        self._write(packets.connack(self.version, packets.SUCCESS, self._server.limits.max_packet))

    def _publish(self, message: Publish) -> None:
        self._server.counts["received"] += 1
        allowed = self._server.access.may_publish(self.principal, message.topic)
        if allowed:
            self._server.publish(message)
        else:
            self._server.counts["refused"] += 1
            log.warning("%s may not publish on %s", self.client_id, message.topic[:200])
        if message.qos:
            reason = packets.SUCCESS if allowed else packets.NOT_AUTHORIZED
            self._write(packets.puback(self.version, message.packet_id, reason))

    def _subscribe(self, request: packets.Subscribe) -> None:
        reasons = []
        for topic_filter, qos in request.filters:
            if not self._server.access.may_subscribe(self.principal, topic_filter):
                log.warning("%s may not subscribe to %s", self.client_id, topic_filter[:200])
                reasons.append(packets.NOT_AUTHORIZED)
            elif len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
                reasons.append(packets.QUOTA_EXCEEDED)
            else:
                self.subscriptions.add(topic_filter)
                self._server.subscribe(self, topic_filter, qos)
                reasons.append(qos)
        self._write(packets.suback(self.version, request.packet_id, reasons))
        for (topic_filter, qos), reason in zip(request.filters, reasons, strict=True):
            if reason < 0x80:
                self._server.send_retained(self, topic_filter, qos)

    def _unsubscribe(self, request: packets.Subscribe) -> None:
        reasons = []
        for topic_filter, _ in request.filters:
            self.subscriptions.discard(topic_filter)
            known = self._server.unsubscribe(self, topic_filter)
            reasons.append(packets.SUCCESS if known else packets.NO_SUBSCRIPTION)
        self._write(packets.unsuback(self.version, request.packet_id, reasons))

    # ------------------------------------------------------------------ to the client

    def deliver(self, message: Publish, qos: int, retain: bool = False) -> None:
        if self._ended or self._transport is None:
            return
        behind = self._transport.get_write_buffer_size() > MAX_BACKLOG_BYTES
        if not qos:
            if behind:
                self._server.counts["dropped"] += 1
                return
            self._server.counts["sent"] += 1
            self._write(packets.publish_packet(message, self.version, 0, 0, retain))
        elif behind or len(self._queue) >= MAX_QUEUED:
            # later, because the caller is walking over the routes that this changes
            why = "it reads too slowly"
            asyncio.get_running_loop().call_soon(self.end, why, packets.QUOTA_EXCEEDED)
        elif len(self._inflight) >= self._window:
            self._queue.append((message, qos, retain))
        else:
            self._send(message, qos, retain)

    def _send(self, message: Publish, qos: int, retain: bool) -> None:
        while True:
            self._next_id = self._next_id % 65535 + 1
            if self._next_id not in self._inflight:
                break
        self._inflight.add(self._next_id)
        self._server.counts["sent"] += 1
        self._write(packets.publish_packet(message, self.version, qos, self._next_id, retain))

    def _acknowledged(self, packet_id: int) -> None:
        self._inflight.discard(packet_id)
        if self._queue and len(self._inflight) < self._window:
            self._send(*self._queue.popleft())

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
