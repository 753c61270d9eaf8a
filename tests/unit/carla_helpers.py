"""A small road as OpenDRIVE, a server on it in a thread, and a client of bare sockets."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack

ROAD = """<?xml version="1.0"?>
<OpenDRIVE>
 <header revMajor="1" revMinor="6"><geoReference>+proj=tmerc +lat_0=48 +lon_0=9</geoReference></header>
 <road id="1" length="300" junction="-1">
  <planView><geometry s="0" x="0" y="0" hdg="0" length="300"><line/></geometry></planView>
  <lanes><laneSection s="0">
   <left><lane id="1" type="driving"><width sOffset="0" a="3.5" b="0" c="0" d="0"/>
    <roadMark sOffset="0" type="solid" weight="standard" color="white" width="0.12"/></lane></left>
   <center><lane id="0" type="none">
    <roadMark sOffset="0" type="broken" weight="standard" color="white" width="0.12"/></lane></center>
   <right><lane id="-1" type="driving"><width sOffset="0" a="3.5" b="0" c="0" d="0"/>
    <roadMark sOffset="0" type="solid" weight="standard" color="white" width="0.12"/></lane></right>
  </laneSection></lanes>
  <signals>
   <signal id="7" s="290" t="-4" zOffset="3" type="1000001" orientation="+" dynamic="yes" name="light"/>
  </signals>
 </road>
</OpenDRIVE>
"""


def write_road(folder: Path) -> Path:
    path = folder / "Straight.xodr"
    path.write_text(ROAD, encoding="utf-8")
    return path


@contextmanager
def served(path: Path, *, rendering: bool = False, synchronous: bool = False) -> Iterator[Any]:
    """A server on a free port, running in a thread until the end of the block; ``synchronous``: no frame goes by
    before a client ticks."""
    from robotaxi.carla_link.server.server import CarlaServer

    server = CarlaServer([str(path)], port=0, seed=1, rendering=rendering)
    server.settings.synchronous = synchronous
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10.0)
        alive = thread.is_alive()
        server.close()
        assert not alive, "the server's loop did not end"


class BareClient:
    """msgpack-rpc over a socket, without CARLA's client."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60.0)
        self._unpacker = msgpack.Unpacker(raw=False)
        self._count = 0

    def call(self, name: str, *arguments: Any) -> Any:
        """The reply's [1, id, error, result]."""
        self._count += 1
        self.socket.sendall(msgpack.packb([0, self._count, name, [[False], *arguments]], use_bin_type=True))
        return self.receive()

    def value(self, name: str, *arguments: Any) -> Any:
        _, _, error, result = self.call(name, *arguments)
        assert error is None and result[0][0] == 1, (name, error, result)
        return result[0][1]

    def receive(self) -> Any:
        while True:
            for message in self._unpacker:
                return message
            data = self.socket.recv(65536)
            if not data:
                return None
            self._unpacker.feed(data)

    def close(self) -> None:
        self.socket.close()


class BareStream:
    """One stream, read message by message."""

    def __init__(self, token: bytes) -> None:
        stream, port = struct.unpack_from("<IH", token)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60.0)
        self.socket.sendall(struct.pack("<I", stream))

    def read(self) -> bytes:
        (length,) = struct.unpack("<I", self._exactly(4))
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the stream ended"
            data += part
        return data

    def close(self) -> None:
        self.socket.close()
