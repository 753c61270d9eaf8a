"""Reads a bag's messages, several times faster than rosbags where the file has an index of them.

rosbags takes every record of a chunk into objects; here the index of the file says where the wanted messages are, the
others are not looked at, and a thread takes the next chunks from disk meanwhile. Order and bytes are the same.
"""

from __future__ import annotations

import heapq
import struct
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any
from zlib import crc32

from backports import zstd
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import DECOMPRESSORS, ChunkInfo, McapReader

Message = tuple[Connection, int, bytes]
_AHEAD = 3  # chunks that are taken from disk before they are needed
_MESSAGE, _MESSAGE_INDEX = 0x05, 0x07
_RECORD = struct.Struct("<BQ")
_INDEX_HEAD = struct.Struct("<BQHI")
_INDEX_ROW = struct.Struct("<QQ")
_CHUNK_TIMES, _CHUNK_SIZE = 16, 8  # bytes in a chunk before its checksum: first and last time, size
_CRC, _U16 = struct.Struct("<I"), struct.Struct("<H")
_MESSAGE_HEAD = 22  # bytes of a message record before the message: channel, number, two times


def messages(
    reader: Reader, connections: Collection[Connection] = (), start: int | None = None, stop: int | None = None
) -> Iterator[Message]:
    """(connection, time, message) as ``reader.messages`` gives them; no ``connections``: of all.

    Raises what rosbags raises for damaged files: use it inside `reader.open_bag`.
    """
    wanted = list(connections or reader.connections)
    for storage, mapped in _storages(reader, wanted):
        if mapped is None:  # a bag that rosbags alone can read
            yield from reader.messages(wanted, start, stop)
        elif mapped and _is_indexed(storage):
            yield from _indexed(storage.path, storage.chunks, mapped, start, stop)
        elif mapped:
            own = [connection for connection in storage.connections if connection.id in mapped]
            for connection, time_ns, raw in storage.messages(own, start, stop):
                yield mapped[connection.id], time_ns, raw


def _storages(reader: Reader, wanted: Collection[Connection]) -> list[tuple[Any, dict[int, Connection] | None]]:
    """Each file with what its channels are in the bag; None where they cannot be told."""
    storage = reader.storage
    if not isinstance(storage, DirectoryReader):
        return [(storage, {connection.id: connection for connection in wanted})]
    by_name = {(connection.topic, connection.msgtype): connection for connection in wanted}
    if storage.metadata.compression_mode == "message" or len(by_name) < len(wanted):
        return [(storage, None)]
    files: list[Any] = list(storage.storages)
    return [
        (file, {c.id: by_name[c.topic, c.msgtype] for c in file.connections if (c.topic, c.msgtype) in by_name})
        for file in files
    ]


def _is_indexed(storage: Any) -> bool:
    """Whether every chunk has an index of its messages; one without messages names no span of time."""
    return (
        isinstance(storage, McapReader)
        and bool(storage.chunks)
        and all(chunk.channel_count or chunk.message_start_time > chunk.message_end_time for chunk in storage.chunks)
    )


def _indexed(
    path: Path, chunks: Collection[ChunkInfo], wanted: Mapping[int, Connection], start: int | None, stop: int | None
) -> Iterator[Message]:
    first = -1 if start is None else start
    end = 1 << 64 if stop is None else stop
    chosen = [
        chunk
        for chunk in sorted(chunks, key=lambda c: (c.message_start_time, c.chunk_start_offset))
        if chunk.message_end_time >= first and chunk.message_start_time < end
        and any(chunk.channel_count.get(channel, 0) for channel in wanted)
    ]  # fmt: skip
    heap: list[tuple[int, int, int, _Open]] = []  # of each open chunk its next message
    with _ReadAhead(path, chosen, wanted) as ahead:
        for number, chunk in enumerate(chosen):
            opened = _Open(*next(ahead))
            if opened.rows:
                heapq.heappush(heap, (opened.rows[0][0], chunk.chunk_start_offset, 0, opened))
            limit = chosen[number + 1].message_start_time if number + 1 < len(chosen) else 1 << 64
            while heap and heap[0][0] < limit:
                time_ns, offset, at, opened = heap[0]
                rows = opened.rows
                while True:  # on in this chunk as long as it is the first one
                    if first <= time_ns < end:
                        yield wanted[rows[at][2]], time_ns, opened.message(at)
                    at += 1
                    if at == len(rows):
                        heapq.heappop(heap)
                        break
                    time_ns = rows[at][0]
                    if time_ns >= limit or len(heap) > 1:
                        heapq.heapreplace(heap, (time_ns, offset, at, opened))
                        break


@dataclass(frozen=True)
class _Open:
    """A chunk in memory. ``rows``: (time, offset, channel) of the wanted messages, in order."""

    data: bytes
    rows: list[tuple[int, int, int]]

    def message(self, at: int) -> bytes:
        _, offset, channel = self.rows[at]
        begin = offset + _RECORD.size
        kind, size = _RECORD.unpack_from(self.data, offset)
        if kind != _MESSAGE or size < _MESSAGE_HEAD or begin + size > len(self.data) \
                or _U16.unpack_from(self.data, begin)[0] != channel:  # fmt: skip
            raise ReaderError(f"The index names a message at {offset} of a chunk where there is none.")
        return self.data[begin + _MESSAGE_HEAD : begin + size]

    def __lt__(self, other: object) -> bool:  # chunks never stand at one place: the heap does not come to this
        return False


class _ReadAhead:
    """Chunks in their order, read and decompressed by a thread while the ones before are used."""

    def __init__(self, path: Path, chunks: list[ChunkInfo], wanted: Collection[int]) -> None:
        self._path, self._chunks, self._wanted = path, chunks, wanted
        self._pool = ThreadPoolExecutor(1)
        self._jobs: deque[Future[tuple[bytes, list[tuple[int, int, int]]]]] = deque()
        self._next = 0

    def __enter__(self) -> _ReadAhead:
        self._file = open(self._path, "rb")
        self._size = self._path.stat().st_size
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._file.close()

    def __next__(self) -> tuple[bytes, list[tuple[int, int, int]]]:
        while self._next < len(self._chunks) and len(self._jobs) <= _AHEAD:
            self._jobs.append(self._pool.submit(self._read, self._chunks[self._next]))
            self._next += 1
        return self._jobs.popleft().result()

    def _read(self, chunk: ChunkInfo) -> tuple[bytes, list[tuple[int, int, int]]]:
        self._file.seek(chunk.chunk_start_offset)
        record = self._exactly(chunk.chunk_length)
        crc_at = _RECORD.size + _CHUNK_TIMES + _CHUNK_SIZE
        (crc,) = _CRC.unpack_from(record, crc_at)
        body_at = crc_at + _CRC.size + 4 + len(chunk.compression) + 8
        body = memoryview(record)[body_at : body_at + chunk.compressed_size]
        data = _decompressed(body, chunk.compression, chunk.uncompressed_size)
        if len(data) != chunk.uncompressed_size:
            raise ReaderError(f"A chunk has {len(data)} bytes instead of {chunk.uncompressed_size}.")
        if crc and crc32(data) != crc:
            raise ReaderError("A chunk's checksum does not fit.")
        rows: list[tuple[int, int, int]] = []
        for channel, offset in sorted(chunk.message_index_offsets.items(), key=itemgetter(1)):
            if channel in self._wanted:
                rows += self._index(channel, offset)
        rows.sort(key=itemgetter(1))
        rows.sort(key=itemgetter(0))
        return data, rows

    def _index(self, channel: int, offset: int) -> Iterator[tuple[int, int, int]]:
        self._file.seek(offset)
        kind, _, named, size = _INDEX_HEAD.unpack(self._exactly(_INDEX_HEAD.size))
        if kind != _MESSAGE_INDEX or named != channel or size % _INDEX_ROW.size:
            raise ReaderError(f"The index of a chunk at {offset} is none.")
        return ((time_ns, at, channel) for time_ns, at in _INDEX_ROW.iter_unpack(self._exactly(size)))

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(min(size, self._size))  # a damaged file may name any size
        if len(data) != size:
            raise ReaderError(f"A record of {size} bytes is cut off after {len(data)}.")
        return data


def _decompressed(body: memoryview, compression: str, size: int) -> bytes:
    if compression == "zstd":
        # told how much it will be, it need not grow its buffer: three times as fast
        data = zstd.ZstdDecompressor().decompress(body, size)
        return data if len(data) == size else zstd.decompress(body)
    decompress: Callable[[bytes, int], bytes] | None = DECOMPRESSORS.get(compression)
    if decompress is None:
        raise ReaderError(f"Unsupported chunk compression {compression!r}.")
    return decompress(bytes(body), size)
