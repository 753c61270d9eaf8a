"""Finds moments in many bags: an index of what happened, ten rows a second, and queries over it.

Each bag is read once and indexed to a Parquet file of its own, in parallel; an index that is there and
fits its bag (size and time of change) is used again, so an interrupted run goes on where it stopped.
Queries are SQL conditions over the columns of `COLUMNS`, run by DuckDB.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robotaxi.bags.messages import messages
from robotaxi.bags.quick_read import CloudReader, JointReader, odometry, record
from robotaxi.bags.reader import bag_info, known_types, open_bag, parts_of, table_topic
from robotaxi.bags.writer import BagError, BagWriter, header_stamp_ns
from robotaxi.interfaces import INTERFACES
from robotaxi.pointcloud2 import CloudError, require

PERIOD_NS = 100_000_000
HARD_BRAKE = -3.0  # m/s^2; comfort ends there (ISO 15622 limits adaptive cruise control to -3.5)
_LANE = 1.5  # m to each side of the car's straight path that count as in its way
_CAR_AHEAD = 3.8  # m from the rear axle to the front bumper, of a car that the index does not know
_NO_TTC = 1e3
_VERSION = 1
COLUMNS: dict[str, tuple[str, str]] = {
    "bag": ("VARCHAR", "path of the bag"),
    "t": ("DOUBLE", "stamp, s"),
    "x": ("DOUBLE", "position in the map, m"),
    "y": ("DOUBLE", "position in the map, m"),
    "speed": ("DOUBLE", "m/s"),
    "acceleration": ("DOUBLE", "m/s^2, as the vehicle reports it"),
    "yaw_rate": ("DOUBLE", "rad/s"),
    "hard_brake": ("BOOLEAN", f"acceleration below {HARD_BRAKE} m/s^2"),
    "objects": ("INTEGER", "tracked objects"),
    "nearest": ("DOUBLE", "m to the nearest object's centre"),
    "ttc": (
        "DOUBLE",
        f"s until an object in the car's way is reached, both going on as they are; {_NO_TTC:g} for none",
    ),
    "mode": ("VARCHAR", "system mode"),
    "disengagement": ("BOOLEAN", "the gate stops the car: COMFORTABLE_STOP or EMERGENCY_STOP"),
    "cause": ("VARCHAR", "cause of the slowdown"),
    "sentence": ("VARCHAR", "explanation"),
    "trip": ("VARCHAR", "state of the trip"),
}
_NEEDED = ("x", "y", "vx", "vy", "length", "width")  # of an object
_AFTER_STAMP = 12  # bytes of a message, encapsulation and stamp, that differ although it says the same
_JUMP_NS = 1_000_000_000  # farther back than this the clock was set back, and time goes on from there
TOPICS = (
    "localization/kinematic_state", "vehicle/status", "perception/objects", "system/mode", "planning/explanation",
    "dispatch/trip",
)  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """A stretch of one bag in which the condition holds."""

    bag: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Index:
    """``files``: one Parquet file a bag. ``failed``: bag -> why it could not be indexed."""

    files: tuple[Path, ...]
    fresh: int
    failed: dict[str, str]


def build_index(
    bags: Sequence[Path], folder: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Index:
    """Index every bag that is not indexed yet. A bag that cannot be read is named, the others are indexed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {bag: folder / f"{_key(bag)}.parquet" for bag in bags}
    todo = [bag for bag in bags if not files[bag].exists()]
    failed: dict[str, str] = {}
    context = get_context("spawn")
    if workers <= 1 or len(todo) <= 1:
        outcomes: Iterator[tuple[Path, str]] = ((bag, _index_one(bag, files[bag])) for bag in todo)
    else:
        outcomes = _in_parallel(todo, files, workers, context)
    for done, (bag, error) in enumerate(outcomes, 1):
        if error:
            failed[str(bag)] = error
        if progress is not None:
            progress(done, len(todo))
    return Index(tuple(f for f in files.values() if f.exists()), len(todo) - len(failed), failed)


def _in_parallel(
    todo: Sequence[Path], files: dict[Path, Path], workers: int, context: Any
) -> Iterator[tuple[Path, str]]:
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = {pool.submit(_index_one, bag, files[bag]): bag for bag in todo}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


def _index_one(bag: Path, file: Path) -> str:
    """'' or what went wrong; the file appears only when it is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.table(rows_of(bag))
    except (BagError, OSError) as error:
        return str(error)
    draft = file.with_suffix(".tmp")
    pq.write_table(table, draft, compression="zstd")
    draft.replace(file)
    return ""


def _key(bag: Path) -> str:
    """Name of a bag's index: changes when the bag does."""
    parts = sorted(bag.rglob("*")) if bag.is_dir() else [bag]
    marks = [f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in parts if p.is_file()]
    return hashlib.sha256("\n".join([str(_VERSION), str(bag.resolve()), *marks]).encode()).hexdigest()[:24]


def rows_of(bag: Path) -> dict[str, Any]:
    """Columns of the bag's index, one row every 100 ms. BagError for a bag that cannot be read."""
    state = _Row(str(bag))
    for part in parts_of(bag):
        with open_bag(part) as reader:
            state.store, _ = known_types(reader)
            names = {c.topic: table_topic(c.topic) for c in reader.connections}
            chosen = [c for c in reader.connections if names[c.topic] in TOPICS
                      and c.msgtype == INTERFACES[names[c.topic]].type]  # fmt: skip
            for connection, _, raw in messages(reader, chosen) if chosen else ():
                state.take(names[connection.topic], connection.msgtype, raw)
    return state.columns()


class _State(NamedTuple):
    """What the index needs of a nav_msgs/Odometry. ``known``: it holds a pose."""

    x: float
    y: float
    turn_z: float
    turn_w: float
    speed: float
    yaw_rate: float
    known: bool

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> _State:
        """Of those that `odometry` reads."""
        return cls(numbers[0], numbers[1], numbers[5], numbers[6], numbers[43], numbers[48], numbers[7] >= 0.0)

    @classmethod
    def of(cls, message: Any) -> _State:
        place, turn, twist = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
        return cls(float(place.x), float(place.y), float(turn.z), float(turn.w), float(twist.linear.x),
                   float(twist.angular.z), bool(message.pose.covariance[0] >= 0.0))  # fmt: skip


class _Row:
    """The newest of every topic, written down at each 100 ms of the state."""

    def __init__(self, bag: str) -> None:
        self._bag = bag
        self.store: Any = None  # of the types in the file that is read
        self._out: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._now: dict[str, Any] = {"acceleration": 0.0, "mode": "", "cause": "", "sentence": "", "trip": ""}
        self._objects: Any = None
        self._around: list[tuple[Any, float, float, float, float]] = []  # of each row: objects, x, y, yaw, speed
        self._newest: dict[str, tuple[str, Any]] = {}  # read only when a row needs it
        self._said: dict[str, bytes] = {}  # what was read last of each topic
        self._next_ns = -(1 << 62)
        self._joints = JointReader()
        self._clouds = CloudReader(lambda raw: self.store.deserialize_cdr(raw, INTERFACES["perception/objects"].type))

    def take(self, topic: str, kind: str, raw: Any) -> None:
        if topic != "localization/kinematic_state":
            self._newest[topic] = kind, raw
            return
        stamp_ns = header_stamp_ns(raw)
        if self._next_ns - _JUMP_NS <= stamp_ns < self._next_ns:
            return
        numbers = odometry(raw)
        state = _State.of_numbers(numbers.tolist()) if numbers is not None else _State.of(
            self.store.deserialize_cdr(raw, kind))  # fmt: skip
        if state.known:
            self._next_ns = stamp_ns + PERIOD_NS
            for name, (its_kind, its_raw) in self._newest.items():
                said = its_raw[_AFTER_STAMP:]
                if said != self._said.get(name):  # many say the same as before
                    self._said[name] = said
                    self._read(name, its_kind, its_raw)
            self._newest.clear()
            self._write(state, stamp_ns)

    def _read(self, topic: str, kind: str, raw: bytes) -> None:
        if topic == "vehicle/status":
            found = self._joints.read(raw)
            if found is None:
                message = self.store.deserialize_cdr(raw, kind)
                found = tuple(message.name), (message.position, message.velocity, message.effort)
            names, (_, _, effort) = found
            at = {name: i for i, name in enumerate(names)}.get("drive")
            if at is not None and len(effort) > at:
                self._now["acceleration"] = float(effort[at])
            return
        if topic == "perception/objects":
            with suppress(CloudError):  # objects of another stack: as if there were none
                points = self._clouds.read(raw)
                require(points.dtype, _NEEDED)
                self._objects = points
            return
        said = record(raw)
        if said is None:
            message = self.store.deserialize_cdr(raw, kind)
            if not message.status:
                return
            said = message.status[0].message, {pair.key: pair.value for pair in message.status[0].values}
        sentence, values = said
        if topic == "system/mode":
            self._now["mode"] = values.get("mode", "")
        elif topic == "dispatch/trip":
            self._now["trip"] = values.get("state", "")
        else:
            self._now["cause"], self._now["sentence"] = values.get("cause", ""), sentence

    def _write(self, state: _State, stamp_ns: int) -> None:
        yaw = 2.0 * math.atan2(state.turn_z, state.turn_w)
        self._around.append((self._objects, state.x, state.y, yaw, state.speed))
        mode = self._now["mode"]
        row = {
            **self._now, "bag": self._bag, "t": stamp_ns / 1e9, "x": state.x, "y": state.y,
            "speed": state.speed, "yaw_rate": state.yaw_rate,
            "hard_brake": self._now["acceleration"] < HARD_BRAKE,
            "disengagement": mode in ("COMFORTABLE_STOP", "EMERGENCY_STOP"),
        }  # fmt: skip
        for name, value in row.items():
            self._out[name].append(value)

    def columns(self) -> dict[str, Any]:
        self._out.update(_surroundings(self._around))
        kinds = {"DOUBLE": np.float64, "INTEGER": np.int32, "BOOLEAN": np.bool_, "VARCHAR": object}
        return {name: np.array(rows, kinds[COLUMNS[name][0]]) for name, rows in self._out.items()}


def _surroundings(around: Sequence[tuple[Any, float, float, float, float]]) -> dict[str, Any]:
    """How many objects, m to the nearest, s to the first in the way, for rows of (objects, x, y, yaw, speed)."""
    counts = np.array([0 if objects is None else len(objects) for objects, *_ in around], np.int32)
    nearest, ttc = np.full(len(around), math.inf), np.full(len(around), _NO_TTC)
    if counts.any():
        of = np.repeat(np.arange(len(around)), counts)  # each object's row
        x, y, vx, vy, length, width = (
            np.concatenate([objects[name] for objects, *_ in around if objects is not None]) for name in _NEEDED
        )
        own_x, own_y, yaw, speed = np.array([row[1:] for row in around], float)[of].T
        cos, sin = np.cos(yaw), np.sin(yaw)
        dx, dy = x - own_x, y - own_y
        along, across = cos * dx + sin * dy, -sin * dx + cos * dy
        closing = speed - (cos * vx + sin * vy)
        gap = along - 0.5 * length - _CAR_AHEAD
        ahead = (np.abs(across) < _LANE + 0.5 * width) & (gap > 0.0) & (closing > 0.1)
        np.minimum.at(nearest, of, np.hypot(dx, dy))
        np.minimum.at(ttc, of[ahead], gap[ahead] / closing[ahead])
    return {"objects": counts, "nearest": nearest, "ttc": ttc}


def find(index: Index, condition: str, merge_s: float = 1.0) -> list[Moment]:
    """Stretches in which the SQL condition holds; stretches less than ``merge_s`` apart are one.

    Raises BagError with DuckDB's words for a condition that it does not understand.
    """
    import duckdb

    if not index.files:
        return []
    connection = duckdb.connect(config={"threads": 1})
    files = [str(file) for file in index.files]
    try:
        # a parsed subquery, not pasted text: the condition cannot be more than a condition
        relation = connection.read_parquet(files).filter(condition).project("bag, t").order("bag, t")
        rows = relation.fetchall()
    except duckdb.Error as error:
        known = ", ".join(COLUMNS)
        raise BagError(f"'{condition}' is no condition: {str(error).splitlines()[0]}. Columns are: {known}") from error
    moments: list[Moment] = []
    for bag, t in rows:
        if moments and moments[-1].bag == bag and t - moments[-1].end_s <= merge_s:
            moments[-1] = Moment(bag, moments[-1].start_s, t)
        else:
            moments.append(Moment(bag, t, t))
    return moments


def cut(moment: Moment, out: Path, margin_s: float) -> Path:
    """The moment, with ``margin_s`` before and after it, as a new bag with all topics. BagError when it exists."""
    first, last = round((moment.start_s - margin_s) * 1e9), round((moment.end_s + margin_s) * 1e9)
    info = bag_info(moment.bag)
    writer = BagWriter(out, custom={**info.custom, "cut_of": moment.bag}, tf=False, native=info.native)
    try:
        with open_bag(moment.bag) as reader:
            for connection in reader.connections:
                writer.add_topic(connection.topic, connection.msgtype, (connection.msgdef.data, connection.digest))
            for connection, stamp_ns, raw in messages(reader):
                if first <= stamp_ns <= last or connection.topic.endswith("tf_static"):
                    writer.write(connection.topic, raw, stamp_ns)
    finally:
        writer.close()
    return out
