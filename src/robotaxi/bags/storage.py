"""Storage files of a bag, written so that what was written survives `kill -9`.

The formats are those of rosbags; here they are flushed once a second, so that at most the last second
is lost, and compressed at the level that costs least for what it saves on sensor data.
"""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from backports import zstd
from rosbags.rosbag2 import CompressionMode
from rosbags.rosbag2.storage_mcap import McapWriter, PendingChunk, write_channel, write_schema
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

_LEVEL = -3  # measured on a ride with its sensors: half the time of level 1, a ninth more bytes
_FLUSH_PERIOD_S = 1.0
_CHUNK_BYTES = 1 << 20
_BIG_BYTES = 16_384  # a message from here on is big: sweeps, images, grids
_MESSAGE = struct.Struct("<BQHIQQ")  # head of a message record
_MESSAGE_KIND, _MESSAGE_BYTES = 0x05, 22


class McapFile(McapWriter):
    """One .mcap file. ``path`` is the file; it must not exist.

    Big messages (sweeps, images) and small ones go to chunks of their own: who reads states, objects and plans need
    not decompress the sensors, which are nearly all of a recording.
    """

    def __init__(self, path: Path, compress: bool) -> None:
        named = _Named(path)
        super().__init__(named, CompressionMode.STORAGE if compress else CompressionMode.NONE)  # type: ignore[arg-type]
        if compress:
            self.compressor = lambda data: zstd.compress(data, _LEVEL)
        self._big = _chunk()
        self._next_flush = time.monotonic() + _FLUSH_PERIOD_S

    def add_msgtype(self, connection: Any) -> None:
        super().add_msgtype(connection)
        write_schema(self._big.bio, self.schemas[-1])

    def add_connection(self, connection: Any, offered_qos_profiles: str) -> None:
        super().add_connection(connection, offered_qos_profiles)
        write_channel(self._big.bio, self.channels[-1], self.schemas)

    def write(self, connection: Any, timestamp: int, data: bytes | memoryview) -> None:
        big = len(data) >= _BIG_BYTES
        chunk = self._big if big else self.chunk
        self.message_start_time = min(timestamp, self.message_start_time)
        self.message_end_time = max(timestamp, self.message_end_time)
        chunk.message_start_time = min(timestamp, chunk.message_start_time)
        chunk.message_end_time = max(timestamp, chunk.message_end_time)
        self.channel_stats[connection.id] += 1
        chunk.msgs[connection.id].append((timestamp, chunk.bio.tell()))
        size = _MESSAGE_BYTES + len(data)
        chunk.bio.write(_MESSAGE.pack(_MESSAGE_KIND, size, connection.id, 0, timestamp, timestamp))
        chunk.bio.write(data)
        if chunk.bio.tell() > _CHUNK_BYTES:
            self._close(big)
        if time.monotonic() >= self._next_flush:
            self._close_all()
            self.bio.flush()
            self._next_flush = time.monotonic() + _FLUSH_PERIOD_S

    def close(self, version: int, metadata: str) -> None:
        self._close_all()
        super().close(version, metadata)

    def _close_all(self) -> None:
        for big in (True, False):
            if (self._big if big else self.chunk).msgs:
                self._close(big)

    def _close(self, big: bool) -> None:
        """Write one of the two chunks; the library knows one."""
        if not big:
            self.close_chunk()
            return
        small, self.chunk = self.chunk, self._big
        self.close_chunk()
        self.chunk, self._big = small, self.chunk

    @property
    def size(self) -> int:
        """Bytes so far, without the chunk under way."""
        return self.bio.tell()

    def abandon(self) -> None:
        """Close without index after a failed write; `repair` reads what is there."""
        with suppress(OSError):  # the rest of a buffer that has no room on the disk
            self.bio.close()


def _chunk() -> PendingChunk:
    return PendingChunk(2**63 - 1, 0, BytesIO(), defaultdict(list))


class Sqlite3File(Sqlite3Writer):
    """One .db3 file. ``path`` is the file; it must not exist."""

    def __init__(self, path: Path, compress: bool) -> None:
        super().__init__(_Named(path), CompressionMode.NONE)  # type: ignore[arg-type]
        self._next_flush = time.monotonic() + _FLUSH_PERIOD_S
        self._size = 0

    def write(self, connection: Any, timestamp: int, data: bytes | memoryview) -> None:
        super().write(connection, timestamp, data)
        self._size += len(data)
        if time.monotonic() >= self._next_flush:
            self.conn.commit()
            self._next_flush = time.monotonic() + _FLUSH_PERIOD_S

    @property
    def size(self) -> int:
        return self._size

    def abandon(self) -> None:
        self.conn.close()


class _Named:
    """Stands for a folder whose file has the wanted name: rosbags names files after their folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.stem

    def __truediv__(self, name: str) -> Path:
        return self._path


STORAGES: dict[str, tuple[Any, str]] = {"mcap": (McapFile, ".mcap"), "sqlite3": (Sqlite3File, ".db3")}
