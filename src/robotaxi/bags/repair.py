"""Saves what can be saved of a bag whose recording was cut short or whose files were damaged.

An mcap file is read chunk by chunk from its beginning; a chunk that is cut off or fails its checksum is
left out, and reading goes on at the next record that makes sense. A sqlite3 file is read as far as the
library can. The result is a new bag; the damaged one is not touched.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from backports import zstd
from lz4.frame import decompress as lz4_decompress
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robotaxi.bags.reader import custom_data
from robotaxi.bags.writer import NATIVE, BagError, BagWriter

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_KNOWN = range(0x01, 0x10)
_MOST_RECORD_BYTES = 1 << 32
_BLOCK_BYTES = 1 << 20


@dataclass
class Repair:
    """What was saved. ``lost``: what could not be, in sentences."""

    bag: Path
    messages: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Channel:
    topic: str
    type: str
    definition: str


@dataclass
class _Salvage:
    """Channels seen so far and the sentences about what is broken."""

    channels: dict[int, _Channel] = field(default_factory=dict)
    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def repair(damaged: str | Path, out: str | Path) -> Repair:
    """Write the readable messages of ``damaged`` (a folder or file) to the new bag ``out``.

    Raises BagError when there is nothing to read or ``out`` exists.
    """
    damaged, out = Path(damaged), Path(out)
    files = sorted(damaged.iterdir()) if damaged.is_dir() else [damaged]
    files = [file for file in files if file.suffix in (".mcap", ".db3")]
    if not files or not all(file.exists() for file in files):
        raise BagError(f"{damaged}: holds no .mcap or .db3 file to repair")
    files.sort(key=_number)
    custom = custom_data(damaged)
    custom.setdefault("repaired_of", str(damaged))
    writer = BagWriter(out, custom=custom, tf=False, native=NATIVE in custom)
    result = Repair(out)
    known: dict[str, str] = {}
    try:
        for file in files:
            salvage = _Salvage()
            source = _mcap if file.suffix == ".mcap" else _sqlite
            for channel, stamp_ns, data in source(file, salvage):
                if channel.topic not in known:
                    writer.add_topic(channel.topic, channel.type, _definition(channel))
                    known[channel.topic] = channel.type
                writer.write(channel.topic, data, stamp_ns)
                result.topics[channel.topic] = result.topics.get(channel.topic, 0) + 1
                result.messages += 1
            result.lost += [f"{file.name}: {sentence}" for sentence in salvage.lost]
    finally:
        writer.close()
    return result


def _number(file: Path) -> tuple[int, str]:
    """Files of a split bag by the number at the end of their names."""
    tail = file.stem.rpartition("_")[2]
    return (int(tail) if tail.isdigit() else 0), file.name


def _definition(channel: _Channel) -> tuple[str, str] | None:
    store = get_typestore(Stores.ROS2_KILTED)
    if channel.type in store.types:
        return None
    try:
        store.register(get_types_from_msg(channel.definition, channel.type))
        return channel.definition, store.hash_rihs01(channel.type)
    except Exception:  # a type that nobody can parse still passes through, with its definition
        return channel.definition, "RIHS01_" + "0" * 64


# ---------------------------------------------------------------------------- mcap


def _mcap(file: Path, salvage: _Salvage) -> Iterator[tuple[_Channel, int, bytes]]:
    size = file.stat().st_size
    with open(file, "rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            salvage.lost.append("does not begin as an mcap file")
        while len(head := stream.read(_HEAD.size)) == _HEAD.size:
            kind, length = _HEAD.unpack(head)
            begin = stream.tell()
            if kind == _DATA_END:
                return
            if kind not in _KNOWN or length > _MOST_RECORD_BYTES or begin + length > size:
                if begin + length > size and kind in _KNOWN:
                    salvage.lost.append(f"is cut off at byte {begin}, {size - begin} bytes of a record are left out")
                    return
                salvage.lost.append(f"byte {begin - _HEAD.size} is no record; looking for the next one")
                stream.seek(begin - _HEAD.size + 1)
                if not _find_chunk(stream, size):
                    return
                continue
            body = stream.read(length)
            try:
                yield from _records(_chunk(body) if kind == _CHUNK else head + body, salvage)
            except (ValueError, RuntimeError, MemoryError, zstd.ZstdError, struct.error) as error:
                what = "chunk" if kind == _CHUNK else "record"
                salvage.lost.append(f"the {what} at byte {begin} is damaged ({error}) and left out")


def _find_chunk(stream: BinaryIO, size: int) -> bool:
    """Move to the next place that looks like a whole chunk."""
    while True:
        begin = stream.tell()
        block = stream.read(_BLOCK_BYTES)
        at = block.find(b"\x04\x00\x00\x00zstd")
        while at >= 0:
            start = begin + at - 28 - _HEAD.size
            if start >= 0:
                stream.seek(start)
                kind, length = _HEAD.unpack(stream.read(_HEAD.size))
                if kind == _CHUNK and start + _HEAD.size + length <= size:
                    stream.seek(start)
                    return True
            at = block.find(b"\x04\x00\x00\x00zstd", at + 1)
        if len(block) < _BLOCK_BYTES:
            return False
        stream.seek(begin + len(block) - 64)


def _chunk(body: bytes) -> bytes:
    """The chunk's records. ValueError when they are not what was written."""
    _, _, raw_size, crc = struct.unpack_from("<QQQI", body)
    (name_size,) = struct.unpack_from("<I", body, 28)
    name = body[32 : 32 + name_size].decode("ascii", "replace")
    (packed_size,) = struct.unpack_from("<Q", body, 32 + name_size)
    packed = body[40 + name_size : 40 + name_size + packed_size]
    if name not in ("", "zstd", "lz4"):
        raise ValueError(f"unknown compression '{name}'")
    content = packed if not name else zstd.decompress(packed) if name == "zstd" else lz4_decompress(packed)
    if len(content) != raw_size or (crc and crc32(content) != crc):
        raise ValueError("checksum or size is wrong")
    return bytes(content)


def _records(content: bytes, salvage: _Salvage) -> Iterator[tuple[_Channel, int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(content):
        kind, length = _HEAD.unpack_from(content, at)
        body = content[at + _HEAD.size : at + _HEAD.size + length]
        at += _HEAD.size + length
        if kind == _SCHEMA:
            (number,) = struct.unpack_from("<H", body)
            name, _, text = _strings(body, 2, 3)
            salvage.schemas[number] = name, text
        elif kind == _CHANNEL:
            number, schema = struct.unpack_from("<HH", body)
            topic, _ = _strings(body, 4, 2)
            if schema in salvage.schemas:
                salvage.channels[number] = _Channel(topic, *salvage.schemas[schema])
        elif kind == _MESSAGE:
            number, _, stamp_ns = struct.unpack_from("<HIQ", body)
            if number in salvage.channels:
                yield salvage.channels[number], stamp_ns, body[22:]
            else:
                salvage.lost.append(f"a message of the unknown channel {number}")


def _strings(body: bytes, at: int, count: int) -> list[str]:
    out = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", body, at)
        out.append(body[at + 4 : at + 4 + size].decode("utf-8", "replace"))
        at += 4 + size
    return out


# ---------------------------------------------------------------------------- sqlite3


def _sqlite(file: Path, salvage: _Salvage) -> Iterator[tuple[_Channel, int, bytes]]:
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        topics = connection.execute("SELECT id, name, type FROM topics").fetchall()
        definitions: dict[str, str] = {}
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if "message_definitions" in tables:
            query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
            definitions = dict(connection.execute(query).fetchall())
        channels = {number: _Channel(name, kind, definitions.get(kind, "")) for number, name, kind in topics}
        # without the index on time, which may be what is broken
        for number, stamp_ns, data in connection.execute("SELECT topic_id, timestamp, data FROM messages NOT INDEXED"):
            if number in channels and isinstance(stamp_ns, int) and isinstance(data, bytes):
                yield channels[number], stamp_ns, data
    except sqlite3.DatabaseError as error:
        salvage.lost.append(f"the database is damaged: {error}")
