"""Sockets of the server: RPC on one port, streams on the next, one thread, nobody waits for anybody.

A client that vanishes, sends rubbish or reads too slowly costs only its own connection.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack

from robotaxi.carla_link.server import wire

LOG = logging.getLogger("robotaxi.carla_server")
MAX_REQUEST = 32 * 1024 * 1024  # bytes of one request
MAX_BACKLOG = 256 * 1024 * 1024  # bytes that wait for one reader
_CHUNK = 1 << 18

Handler = Callable[[str, list[Any], "RpcPeer"], Any]


class UnknownCall(LookupError):
    """Raised by the handler for a function that it does not have."""


class ServerError(RuntimeError):
    """The server cannot start; the message says why and what helps."""


class Peer(ABC):
    """One connection with what still has to be sent."""

    def __init__(self, network: Network, connection: socket.socket, address: Any) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.network, self.socket = network, connection
        self.name = f"{address[0]}:{address[1]}"
        self.local_address = str(connection.getsockname()[0])
        self.open = True
        self._queue: deque[memoryview] = deque()
        self._backlog = 0
        network.selector.register(connection, selectors.EVENT_READ, self)

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take what has arrived; whole messages are acted on."""

    def send(self, data: bytes) -> None:
        """Send now what the socket takes; the rest when it can take more."""
        if not self.open:
            return
        if not self._queue:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.close(str(error))
                return
            if sent == len(data):
                return
            data = data[sent:]
            self.network.selector.modify(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        self._queue.append(memoryview(data))
        self._backlog += len(data)
        if self._backlog > MAX_BACKLOG:
            self.close(f"does not read: {self._backlog >> 20} MiB wait for it")

    @property
    def backlog(self) -> int:
        return self._backlog

    def on_event(self, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush()
            if mask & selectors.EVENT_READ and self.open:
                data = self.socket.recv(_CHUNK)
                if not data:
                    self.close("")
                    return
                self.receive(data)
        except BlockingIOError:
            return
        except (ConnectionResetError, BrokenPipeError):
            self.close("")  # it has vanished, as clients do
        except OSError as error:
            self.close(str(error))

    def _flush(self) -> None:
        while self._queue:
            head = self._queue[0]
            sent = self.socket.send(head)
            self._backlog -= sent
            if sent < len(head):
                self._queue[0] = head[sent:]
                return
            self._queue.popleft()
        self.network.selector.modify(self.socket, selectors.EVENT_READ, self)

    def close(self, reason: str) -> None:
        if not self.open:
            return
        self.open = False
        if reason:
            LOG.warning("client %s dropped: %s", self.name, reason)
        self._queue.clear()
        self.network.selector.unregister(self.socket)
        self.socket.close()
        self.network.forget(self)


class RpcPeer(Peer):
    """Requests in, replies out, in order."""

    def __init__(self, network: Network, connection: socket.socket, address: Any) -> None:
        super().__init__(network, connection, address)
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, unicode_errors="replace", max_buffer_size=MAX_REQUEST
        )

    def receive(self, data: bytes) -> None:
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                self._answer(message)
                if not self.open:
                    return
        except msgpack.BufferFull:
            self.close(f"a request is longer than {MAX_REQUEST >> 20} MiB")
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            self.send(wire.refusal(0, f"malformed msgpack: {error}"))
            self.close(f"malformed msgpack: {error}")

    def _answer(self, message: Any) -> None:
        if not isinstance(message, list) or len(message) not in (3, 4) or message[0] not in (0, 2):
            self.send(wire.refusal(0, "not a msgpack-rpc request; this server speaks CARLA " + wire.VERSION))
            self.close("not a msgpack-rpc request")
            return
        kind, call_id = message[0], message[1] if len(message) == 4 else 0
        method, arguments = message[-2], message[-1]
        well_formed = isinstance(method, str) and isinstance(arguments, list) and isinstance(call_id, int)
        if not well_formed or (kind == 0) != (len(message) == 4) or not 0 <= call_id < 1 << 32:
            self.send(wire.refusal(0, "not a msgpack-rpc request: [0, id, method, [arguments]]"))
            return
        # the first argument is the client's own [asynchronous?]
        if (
            arguments
            and isinstance(arguments[0], list)
            and len(arguments[0]) == 1
            and isinstance(arguments[0][0], bool)
        ):
            arguments = arguments[1:]
        try:
            result = self.network.handler(method, arguments, self)
        except UnknownCall:
            if kind == 0:
                count = len(arguments) + 1
                text = f"rpclib: server could not find function '{method[:80]}' with argument count {count}."
                self.send(wire.refusal(call_id, text))
            return
        if kind == 0:
            try:
                data = wire.reply(call_id, result)
            except (TypeError, ValueError, OverflowError) as error:
                data = wire.reply(call_id, wire.bad(f"{method}: the answer cannot be sent: {error}"))
            self.send(data)


class StreamPeer(Peer):
    """A reader of one stream, whose number it sends first."""

    def __init__(self, network: Network, connection: socket.socket, address: Any) -> None:
        super().__init__(network, connection, address)
        self.stream: int | None = None
        self._head = b""

    def receive(self, data: bytes) -> None:
        if self.stream is not None:
            return  # nothing more is expected of a reader
        self._head += data
        if len(self._head) >= 4:
            self.stream = int(struct.unpack_from("<I", self._head)[0])
            self._head = b""
            self.network.subscribed(self)


class Network:
    """Both ports. ``handler`` answers calls and raises UnknownCall for one that it does not know."""

    def __init__(self, port: int, handler: Handler, on_subscribe: Callable[[StreamPeer], bool], host: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.handler, self._on_subscribe = handler, on_subscribe
        self._readers: dict[int, list[StreamPeer]] = {}
        self._listeners: list[socket.socket] = []
        calls = self._bind(host, port, "calls")
        self.port = int(calls.getsockname()[1])
        try:
            streams = self._bind(host, self.port + 1 if self.port < 65535 else 0, "streams")
        except ServerError:
            calls.close()
            if port != 0:
                raise
            calls = self._bind(host, 0, "calls")  # nobody asked for a number: any two will do
            self.port = int(calls.getsockname()[1])
            streams = self._bind(host, 0, "streams")
        self.stream_port = int(streams.getsockname()[1])
        self._listen(calls, RpcPeer)
        self._listen(streams, StreamPeer)

    @staticmethod
    def _bind(host: str, port: int, what: str) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise ServerError(
                f"port {port} on '{host}' for {what} cannot be used ({error.strerror}); choose another with --port"
            ) from error
        return listener

    def _listen(self, listener: socket.socket, kind: type[Peer]) -> None:
        self._listeners.append(listener)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, kind)

    def poll_streams(self, timeout: float) -> None:
        """As `poll`, but calls are left for later: one of them is being answered."""
        callers = [key for key in self.selector.get_map().values() if isinstance(key.data, RpcPeer)]
        for key in callers:
            self.selector.unregister(key.fileobj)
        try:
            self.poll(timeout)
        finally:
            for key in (key for key in callers if key.data.open):
                self.selector.register(key.fileobj, key.events, key.data)

    def poll(self, timeout: float | None) -> None:
        """Serve whoever has something to say, waiting at most ``timeout`` seconds."""
        for key, mask in self.selector.select(timeout):
            if isinstance(key.data, Peer):
                if key.data.open:
                    key.data.on_event(mask)
                continue
            try:
                connection, address = key.fileobj.accept()  # type: ignore[union-attr]
                key.data(self, connection, address)
            except BlockingIOError:
                continue  # it was taken while a frame waited for its listeners
            except OSError as error:
                LOG.warning("a connection was lost before it began: %s", error)

    def subscribed(self, peer: StreamPeer) -> None:
        self._readers.setdefault(peer.stream or 0, []).append(peer)
        if not self._on_subscribe(peer):
            peer.close(f"there is no stream {peer.stream}")

    def has_reader(self, stream: int) -> bool:
        return stream in self._readers

    def send(self, stream: int, message: bytes, *, droppable: bool = False) -> None:
        """To every reader of ``stream``; a droppable message is kept from one who is behind."""
        readers = self._readers.get(stream)
        if not readers:
            return
        data = wire.frame_of(message)
        for peer in list(readers):
            if not (droppable and peer.backlog):
                peer.send(data)

    def end_stream(self, stream: int) -> None:
        for peer in list(self._readers.get(stream, ())):
            peer.close("")

    def forget(self, peer: Peer) -> None:
        if isinstance(peer, StreamPeer) and peer.stream is not None:
            readers = self._readers.get(peer.stream, [])
            if peer in readers:
                readers.remove(peer)
            if not readers:
                self._readers.pop(peer.stream, None)

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            if isinstance(key.data, Peer):
                key.data.close("")
        for listener in self._listeners:
            listener.close()
        self.selector.close()
