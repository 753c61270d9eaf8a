"""A TCP proxy with one door a client: cut, silent, slow or open. It runs in a thread of its own.

A client with a network namespace has its door in there; then silence is its link gone down, and not just bytes that
wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from robotaxi.dispatch.torture.namespaces import Namespace

CHUNK = 65536


@dataclass
class Door:
    """``silent``: bytes wait; ``shut``: connections end at once; ``delay``: seconds that each chunk waits."""

    port: int = 0
    silent: asyncio.Event = field(default_factory=asyncio.Event)  # set: bytes pass
    shut: bool = False
    delay: float = 0.0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)


class Proxy:
    """Doors to ``target`` (host, port). ``homes``: clients with a namespace. Methods may be called from any thread."""

    def __init__(
        self, target: tuple[str, int], names: list[str], homes: Mapping[str, Namespace] = MappingProxyType({})
    ) -> None:
        self._target = target
        self._homes = homes
        self._loop = asyncio.new_event_loop()
        self._doors: dict[str, Door] = {}
        self._servers: list[asyncio.AbstractServer] = []
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._open_all(names))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work) -> object:  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def port(self, name: str) -> int:
        return self._doors[name].port

    def cut(self, name: str) -> None:
        """End its connections and refuse new ones until `heal`."""
        self._loop.call_soon_threadsafe(self._cut, name)

    def silence(self, name: str) -> None:
        """Until `heal` nothing comes through, as in a tunnel."""
        if name in self._homes:
            self._homes[name].link(False)
            return
        self._loop.call_soon_threadsafe(self._doors[name].silent.clear)

    def slow(self, name: str, delay_s: float) -> None:
        self._doors[name].delay = delay_s

    def heal(self, name: str) -> None:
        if name in self._homes:
            self._homes[name].link(True)
        self._loop.call_soon_threadsafe(self._heal, name)  # in its turn: after a cut that has just been asked for

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            for door in self._doors.values():
                for writer in list(door.writers):
                    writer.transport.abort()

        self._call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    # ------------------------------------------------------------------ the proxy's thread

    async def _open_all(self, names: list[str]) -> None:
        for name in names:
            door = Door()
            door.silent.set()
            home = self._homes.get(name)
            inside = home.door if home is not None else socket.create_server(("127.0.0.1", 0))
            server = await asyncio.start_server(partial(self._serve, door), sock=inside)
            door.port = server.sockets[0].getsockname()[1]
            self._doors[name] = door
            self._servers.append(server)

    def _heal(self, name: str) -> None:
        door = self._doors[name]
        door.shut, door.delay = False, 0.0
        door.silent.set()

    def _cut(self, name: str) -> None:
        door = self._doors[name]
        door.shut = True
        for writer in list(door.writers):
            writer.transport.abort()

    async def _serve(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if door.shut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        door.writers |= {writer, back}
        await asyncio.gather(self._pipe(door, reader, back), self._pipe(door, there, writer))
        door.writers -= {writer, back}

    async def _pipe(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ConnectionError):
            while data := await reader.read(CHUNK):
                if door.delay:
                    await asyncio.sleep(door.delay)
                await door.silent.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
