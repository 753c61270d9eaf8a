"""Serves a recorded bag or a running stack to Foxglove and Lichtblick, through foxglove-sdk's server."""

from __future__ import annotations

import math
import select
import time
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.messages import messages
from robotaxi.bags.reader import open_bag
from robotaxi.bags.writer import BagError

_BATCH_S = 0.02  # messages nearer than this go out together


class Server:
    """A Foxglove WebSocket server with a channel for each topic. Use as a context manager."""

    def __init__(self, host: str, port: int, name: str) -> None:
        import foxglove

        self._foxglove = foxglove
        self._context = foxglove.Context()
        try:
            self._server = foxglove.start_server(name=name, host=host, port=port, context=self._context)
        except (OSError, RuntimeError) as error:
            raise BagError(f"{host}:{port} cannot be served: {error}; choose another --port") from error
        self._channels: dict[str, Any] = {}
        self._types = get_typestore(Stores.ROS2_KILTED)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()

    @property
    def port(self) -> int:
        return int(self._server.port)

    def add(self, topic: str, message_type: str, definition: str = "") -> None:
        """A channel for serialised messages of the type; ``definition``: of a type that ROS 2 does not ship."""
        if topic in self._channels:
            return
        if not definition and message_type in self._types.types:
            definition, _ = self._types.generate_msgdef(message_type, ros_version=2)
        encoding = "ros2idl" if definition.startswith("=" * 80 + "\nIDL") else "ros2msg"
        schema = self._foxglove.Schema(name=message_type, encoding=encoding, data=definition.encode())
        self._channels[topic] = self._foxglove.Channel(
            topic, schema=schema, message_encoding="cdr", context=self._context
        )

    def log(self, topic: str, cdr: bytes, stamp_ns: int) -> None:
        self._channels[topic].log(cdr, log_time=stamp_ns)


def play(bag: str | Path, server: Server, stop: Any, rate: float = 1.0, from_s: float = 0.0, loop: bool = False) -> int:
    """Serve the bag at its own pace until it ends or ``stop`` (with a fileno) is readable; returns messages sent."""
    sent = 0
    with open_bag(bag) as reader:
        for connection in reader.connections:
            server.add(connection.topic, connection.msgtype, connection.msgdef.data)
        while True:
            begun, first_ns = time.monotonic(), None
            for connection, stamp_ns, raw in messages(reader, start=round(from_s * 1e9) if from_s > 0.0 else None):
                first_ns = stamp_ns if first_ns is None else first_ns
                ahead = (stamp_ns - first_ns) / 1e9 / rate - (time.monotonic() - begun) if math.isfinite(rate) else 0.0
                if ahead > _BATCH_S and select.select([stop], [], [], ahead)[0]:
                    return sent
                server.log(connection.topic, bytes(raw), stamp_ns)
                sent += 1
            if not loop or select.select([stop], [], [], 0.0)[0]:
                return sent
