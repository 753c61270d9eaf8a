"""Opens bags with errors that say what helps, knows where they come from, and when each message counts."""

from __future__ import annotations

import heapq
import sqlite3
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from typing import Any

import numpy as np
import yaml
from backports import zstd
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from robotaxi.bags.messages import messages
from robotaxi.bags.stored_metadata import stored_metadata
from robotaxi.bags.writer import NATIVE, ORIGIN, BagError, header_stamp_ns
from robotaxi.interfaces import INTERFACES

RIG_FILE = "sensors.yaml"  # in a bag's folder: a sensor rig of its own
_HORIZON_NS = 2_000_000_000  # a recorder writes a message at most so much later than its stamp
_MCAP_MESSAGE_INDEX, _MCAP_FOOTER = 0x07, 0x02
_MCAP_MAGIC = 8
_RECORD = struct.Struct("<BQ")
_SQLITE_STAMPS = (  # a damaged file may hold anything
    "SELECT topic_id, timestamp FROM messages WHERE typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer'"
)
_INFORMATION = "rosbag2_bagfile_information"
_DAMAGES = (ReaderError, SerdeError, zstd.ZstdError, struct.error, sqlite3.DatabaseError)  # met while reading messages


@dataclass(frozen=True)
class BagInfo:
    """What is in a bag. ``topics``: absolute name -> (type, messages); ``custom``: see `bags.provenance`."""

    path: Path
    topics: dict[str, tuple[str, int]]
    start_ns: int
    end_ns: int
    custom: dict[str, str] = field(default_factory=dict)

    @property
    def native(self) -> bool:
        """Recorded or made by this stack: messages are stored under their header's stamp."""
        return NATIVE in self.custom

    @property
    def messages(self) -> int:
        return sum(count for _, count in self.topics.values())


@contextmanager
def open_bag(path: str | Path) -> Iterator[Reader]:
    """An opened reader. BagError names what is wrong with the bag and what helps."""
    path = Path(path)
    if not path.exists():
        raise BagError(f"bag {path} does not exist")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        stored = sorted(p.name for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
        if not stored:
            raise BagError(f"bag {path}: has no metadata.yaml and no .mcap or .db3 file; it is no bag")
        raise BagError(
            f"bag {path}: has no metadata.yaml, so its recording was cut short; `robotaxi bag repair {path}` saves it"
        )
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # whatever a reader of damaged files may raise
        words = _sentence(error)
        raise BagError(
            f"bag {path} cannot be read: {words}. `robotaxi bag repair {path}` saves what can be saved"
        ) from error
    try:
        yield reader
    except Exception as error:
        if not (isinstance(error, _DAMAGES) or _raised_by_rosbags(error)):
            raise
        words = _sentence(error)
        raise BagError(
            f"bag {path} is damaged: {words}. `robotaxi bag repair {path}` saves what can be saved"
        ) from error
    finally:
        reader.close()


def _sentence(error: BaseException) -> str:
    """What went wrong, in one line without its full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _raised_by_rosbags(error: BaseException) -> bool:
    """Whether it comes through the library: a file that breaks its rules breaks its code in many ways."""
    frames = walk_tb(error.__traceback__)
    return any("rosbags" in Path(frame.f_code.co_filename).parts for frame, _ in frames)


def bag_info(path: str | Path) -> BagInfo:
    """The bag's topics and origin. BagError as `open_bag`."""
    with open_bag(path) as reader:
        topics: dict[str, tuple[str, int]] = {}
        for connection in reader.connections:
            before = topics.get(connection.topic, ("", 0))[1]
            topics[connection.topic] = (connection.msgtype, before + connection.msgcount)
        empty = reader.message_count == 0
        start, end = (0, 0) if empty else (reader.start_time, reader.end_time)
    return BagInfo(Path(path), topics, start, end, custom_data(Path(path)))


def custom_data(path: Path) -> dict[str, str]:
    """What the recorder noted of the bag's origin; empty for bags of others.

    ``path``: the bag's folder, or one of its files, which says the same of itself.
    """
    folder, found = path, dict[str, str]()
    if not path.is_dir():
        folder, found = path.parent, _noted(stored_metadata(path), None)
    else:
        for name, key in ((ORIGIN, None), ("metadata.yaml", _INFORMATION)):
            with suppress(OSError, UnicodeDecodeError):
                found.update(_noted((path / name).read_text(encoding="utf-8"), key, everything=name == ORIGIN))
    if found.get("sensors") == RIG_FILE:
        found["sensors"] = str(folder / RIG_FILE)
    return found


def _noted(text: str, key: str | None, everything: bool = False) -> dict[str, str]:
    """The custom data in YAML, under ``key``; ``everything``: the whole of it is custom data."""
    try:
        body: Any = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return {}
    if key is not None:
        body = body.get(key) if isinstance(body, dict) else None
    values = body if everything or not isinstance(body, dict) else body.get("custom_data")
    return {str(k): str(v) for k, v in values.items()} if isinstance(values, dict) else {}


def parts_of(path: Path) -> list[Path]:
    """A bag's files in their order, each of which `open_bag` opens; the bag itself where it has to be opened as one.

    A file by itself is open at once, while rosbags takes most of its time for the metadata of a small bag.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        body: Any = yaml.load((path / "metadata.yaml").read_text(encoding="utf-8"), loader)[_INFORMATION]
        files = [path / Path(name).name for name in body["relative_file_paths"]]
        if files and not body.get("compression_mode") and all(file.suffix == ".mcap" for file in files):
            return files
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        pass  # opening the bag says what is wrong with it
    return [path]


@lru_cache(maxsize=1)
def _known_store() -> Any:
    """ROS 2's types, with readers that are compiled once a process. Nobody registers others in it."""
    return get_typestore(Stores.ROS2_KILTED)


def typestore_of(reader: Reader) -> Any:
    """ROS 2's types and those that the bag itself describes. Not to be changed."""
    if all(connection.msgtype in _known_store().types for connection in reader.connections):
        return _known_store()
    store = get_typestore(Stores.ROS2_KILTED)
    for connection in reader.connections:
        if connection.msgtype in store.types or not connection.msgdef.data:
            continue
        try:
            store.register({
                name: definition
                for name, definition in get_types_from_msg(connection.msgdef.data, connection.msgtype).items()
                if name not in store.types
            })  # fmt: skip
        except Exception:  # a definition that cannot be parsed leaves its type unknown: such topics pass through raw
            continue
    return store


def known_types(reader: Reader) -> tuple[Any, list[str]]:
    """(`typestore_of`, topics whose type stays unknown)."""
    store = typestore_of(reader)
    return store, sorted({c.topic for c in reader.connections if c.msgtype not in store.types})


def has_header(message_type: str, store: Any) -> bool:
    """Whether messages of the type begin with a std_msgs/Header."""
    definition = store.fielddefs.get(message_type)
    return bool(definition and definition[1] and definition[1][0][1][1] == "std_msgs/msg/Header")


def table_topic(topic: str) -> str:
    """'/car2/planning/route' -> 'planning/route': its name in the interface table; '' where it has none."""
    name = topic.lstrip("/")
    while name:
        if name in INTERFACES:
            return name
        name = name.partition("/")[2]
    return ""


def ordered(
    reader: Reader, connections: Collection[Connection], start_ns: int | None = None, stop_ns: int | None = None
) -> Iterator[tuple[int, str, bytes]]:
    """(stamp, topic, cdr) in the order of header stamps, whatever the order of writing was.

    ``start_ns``, ``stop_ns``: of the storage's times, from the first to before the second; None for all.
    """
    heap: list[tuple[int, int, str, bytes]] = []
    newest = -(1 << 62)
    if not connections:
        return
    for number, (connection, _, raw) in enumerate(messages(reader, connections, start_ns, stop_ns)):
        stamp = header_stamp_ns(raw)
        heapq.heappush(heap, (stamp, number, connection.topic, raw))
        newest = max(newest, stamp)
        while heap and heap[0][0] < newest - _HORIZON_NS:
            oldest = heapq.heappop(heap)
            yield oldest[0], oldest[2], oldest[3]
    while heap:
        oldest = heapq.heappop(heap)
        yield oldest[0], oldest[2], oldest[3]


def span(first_ns: int, last_ns: int) -> tuple[int | None, int | None]:
    """What `ordered` takes for header stamps from first to last of a native bag; no format knows times below 0."""
    return (first_ns if first_ns > 0 else None), (last_ns + 1 if 0 <= last_ns < 1 << 62 else None)


def stamps_by_topic(path: str | Path) -> dict[str, NDArray[np.int64]]:
    """Sorted, distinct header stamps of each topic of a native bag (where they are the storage's times too).

    Reads the index only: a gigabyte takes milliseconds. BagError for a bag that cannot be read.
    """
    found: dict[str, list[NDArray[np.int64]]] = {}
    with open_bag(path) as reader:
        names = {c.id: c.topic for c in reader.connections}
        files = _files(Path(path))
        for file in files:
            rows = _mcap_stamps(file) if file.suffix == ".mcap" else _sqlite_stamps(file)
            for topic_id, stamps in rows:
                if topic_id in names:
                    found.setdefault(names[topic_id], []).append(stamps)
    return {topic: np.unique(np.concatenate(parts)) for topic, parts in found.items()}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    information = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))[_INFORMATION]
    return [path / name for name in information["relative_file_paths"]]


def _mcap_stamps(file: Path) -> Iterator[tuple[int, NDArray[np.int64]]]:
    end = file.stat().st_size
    with open(file, "rb") as stream:
        stream.seek(_MCAP_MAGIC)
        while len(head := stream.read(_RECORD.size)) == _RECORD.size:
            kind, size = _RECORD.unpack(head)
            if kind == _MCAP_FOOTER or stream.tell() + size > end:
                return
            if kind != _MCAP_MESSAGE_INDEX:
                stream.seek(size, 1)
                continue
            body = stream.read(size)
            count = max(len(body) - 6, 0) // 16
            yield int.from_bytes(body[:2], "little"), np.frombuffer(body[6:], "<i8", 2 * count)[::2]


def _sqlite_stamps(file: Path) -> Iterator[tuple[int, NDArray[np.int64]]]:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        rows = np.array(connection.execute(_SQLITE_STAMPS).fetchall(), np.int64)
    for topic_id in np.unique(rows[:, 0]).tolist() if len(rows) else ():
        yield topic_id, rows[rows[:, 0] == topic_id, 1]


def missing_messages(path: str | Path) -> dict[str, int]:
    """Periodic topic of the interface table -> how many of its stamps are missing between its first and last."""
    out = {}
    for topic, stamps in stamps_by_topic(path).items():
        item = INTERFACES.get(table_topic(topic))
        if item is not None and item.period_ns and len(stamps):
            missing = int((stamps[-1] - stamps[0]) // item.period_ns) + 1 - len(stamps)
            if missing > 0:
                out[topic] = missing
    return out
