"""What a bag's file says of itself: rosbag2 puts the metadata of a bag also into each of its files."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import BinaryIO

_FOOTER_BYTES = 37  # record head, three numbers, magic
_RECORD = struct.Struct("<BQ")
_METADATA, _METADATA_INDEX = 0x0C, 0x0D
_NAME, _KEY = b"rosbag2", b"serialized_metadata"
_MOST_BYTES = 1 << 24


def stored_metadata(file: Path) -> str:
    """The YAML in an .mcap or .db3 file; '' where there is none, or it cannot be read."""
    try:
        if file.suffix == ".mcap":
            with open(file, "rb") as stream:
                return _of_mcap(stream)
        if file.suffix == ".db3":
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
                rows = connection.execute("SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1").fetchall()
            return str(rows[0][0]) if rows else ""
    except (OSError, sqlite3.DatabaseError, struct.error, UnicodeDecodeError, ValueError):
        return ""  # a damaged file says nothing
    return ""


def _of_mcap(stream: BinaryIO) -> str:
    end = stream.seek(-_FOOTER_BYTES, 2)
    (at,) = struct.unpack_from("<Q", stream.read(_FOOTER_BYTES), _RECORD.size)
    while 0 < at < end:
        stream.seek(at)
        kind, size = _RECORD.unpack(stream.read(_RECORD.size))
        if kind == _METADATA_INDEX:
            offset, _, name_size = struct.unpack("<QQI", stream.read(20))
            if stream.read(min(name_size, _MOST_BYTES)) == _NAME:
                stream.seek(offset)
                return _of_record(stream)
        at += _RECORD.size + size
    return ""


def _of_record(stream: BinaryIO) -> str:
    kind, size = _RECORD.unpack(stream.read(_RECORD.size))
    body = stream.read(min(size, _MOST_BYTES))
    if kind != _METADATA:
        return ""
    name, at = _text(body, 0)
    (length,) = struct.unpack_from("<I", body, at)
    at, end = at + 4, at + 4 + length
    while at < end:
        key, at = _text(body, at)
        value, at = _text(body, at)
        if name == _NAME and key == _KEY:
            return value.decode("utf-8")
    return ""


def _text(body: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", body, at)
    return body[at + 4 : at + 4 + size], at + 4 + size
