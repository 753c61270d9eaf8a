"""Compares the outputs of two bags, message by message and field by field, exactly or with tolerance.

Messages are matched by their stamps. They are compared in a canonical serialisation first (what a
middleware leaves in padding is no part of a message); only those that differ are taken apart, with the
records of a cloud as named fields, so that the first difference reads "objects[3].vx 4.1 -> 4.2".
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader

from robotaxi.bags.reader import known_types, open_bag, ordered, table_topic
from robotaxi.bags.writer import BagError
from robotaxi.interfaces import INTERFACES, TRUTH_PREFIX
from robotaxi.pointcloud2 import from_cloud

SETTLE_NS = 500_000_000
"""Before a recording's end: what was then still on its way may or may not have been recorded."""
_NEVER_COMPARED = ("diagnostics", "system/ready")  # hold wall times
_CLOUD = "sensor_msgs/msg/PointCloud2"
_RECORD = "diagnostic_msgs/msg/DiagnosticArray"
_SERIES = 6  # fields with a plot, of each topic that differs


@dataclass(frozen=True)
class Tolerance:
    """Fields that are ignored, and how far others may be apart. Patterns are shell globs of 'topic:field'."""

    ignore: tuple[str, ...] = ()
    absolute: Mapping[str, float] = field(default_factory=dict)
    default: float = 0.0

    @property
    def exact(self) -> bool:
        return not self.ignore and not self.absolute and self.default == 0.0

    def of(self, topic: str, name: str) -> float | None:
        """Allowed absolute difference; None: ignored."""
        full = f"{topic}:{name}"
        if any(fnmatch.fnmatchcase(full, pattern) for pattern in self.ignore):
            return None
        return next((v for p, v in self.absolute.items() if fnmatch.fnmatchcase(full, p)), self.default)


def load_tolerance(path: Path) -> Tolerance:
    """From YAML with ``ignore: [glob]``, ``absolute: {glob: number}``, ``default: number``. BagError otherwise."""
    try:
        body: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        unknown = sorted(set(body) - {"ignore", "absolute", "default"})
        if unknown:
            raise BagError(f"{path}: unknown key '{unknown[0]}'; known are: ignore, absolute, default")
        absolute = {str(k): float(v) for k, v in (body.get("absolute") or {}).items()}
        tolerance = Tolerance(tuple(map(str, body.get("ignore") or ())), absolute, float(body.get("default") or 0.0))
    except (OSError, yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BagError):
            raise
        raise BagError(f"{path}: no tolerances: {error}") from error
    bad = [k for k, v in {**tolerance.absolute, "default": tolerance.default}.items() if not v >= 0.0]
    if bad:
        raise BagError(f"{path}: tolerance '{bad[0]}' must be a number from 0")
    return tolerance


@dataclass(frozen=True)
class Difference:
    """One field that is not the same. Values are None where a message or field is missing."""

    topic: str
    stamp_ns: int
    field: str
    expected: Any
    actual: Any

    @property
    def node(self) -> str:
        item = INTERFACES.get(self.topic)
        return item.producer if item and item.producer else "unknown"

    def sentence(self) -> str:
        where = f"{self.topic} at t={self.stamp_ns / 1e9:.3f} s, made by {self.node}"
        if self.field:
            return f"{where}: {self.field} was {self.expected}, is {self.actual}"
        return f"{where}: the message {'is missing' if self.actual is None else 'is new'}"


@dataclass
class TopicComparison:
    """``largest``: field -> largest absolute difference. ``series``: field -> (stamps, expected, actual)."""

    topic: str
    expected: int = 0
    actual: int = 0
    compared: int = 0
    identical: int = 0
    differing: int = 0
    missing: int = 0
    extra: int = 0
    first: Difference | None = None
    largest: dict[str, float] = field(default_factory=dict)
    series: dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        return not (self.differing or self.missing or self.extra)

    def figures(self) -> dict[str, Any]:
        keys = ("expected", "actual", "compared", "identical", "differing", "missing", "extra")
        return {
            **{key: getattr(self, key) for key in keys},
            "same": self.same,
            "first": None if self.first is None else {
                "stamp_s": self.first.stamp_ns / 1e9, "field": self.first.field, "node": self.first.node,
                "expected": _plain(self.first.expected), "actual": _plain(self.first.actual),
                "sentence": self.first.sentence(),
            },
            "largest": self.largest,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    topics: Mapping[str, TopicComparison]
    unknown: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return bool(self.compared) and all(item.same for item in self.topics.values())

    @property
    def compared(self) -> int:
        return sum(item.compared for item in self.topics.values())

    @property
    def first(self) -> Difference | None:
        """The earliest difference; of several at one stamp the one nearest to the sensors."""
        found = [item.first for item in self.topics.values() if item.first is not None]
        order = {topic: rank for rank, topic in enumerate(INTERFACES)}
        return min(found, key=lambda d: (d.stamp_ns, order.get(d.topic, len(order))), default=None)


def compare(
    reference: Path,
    fresh: Path,
    topics: Sequence[str] | None = None,
    tolerance: Tolerance | None = None,
    span_ns: tuple[int, int] | None = None,
) -> Comparison:
    """Compare the topics that both bags hold, or those named (a missing one then counts as different).

    Messages after the settled part of the reference are left out, and what is outside ``span_ns``.
    Raises BagError for a bag that cannot be read or with nothing to compare.
    """
    tolerance = tolerance or Tolerance()
    with open_bag(reference) as left, open_bag(fresh) as right:
        store, unknown = known_types(left)
        ours = {name: c for c in left.connections if (name := table_topic(c.topic) or c.topic.lstrip("/"))}
        theirs = {name: c for c in right.connections if (name := table_topic(c.topic) or c.topic.lstrip("/"))}
        wanted = list(topics) if topics is not None else sorted(ours.keys() & theirs.keys())
        wanted = [t for t in wanted if t not in _NEVER_COMPARED and not t.startswith((TRUTH_PREFIX, "sensing/", "tf"))]
        lost = [t for t in wanted if t not in ours]
        wanted = [t for t in wanted if t in ours and (ours[t].msgcount or (t in theirs and theirs[t].msgcount))]
        if not wanted:
            raise BagError(
                f"bags {reference} and {fresh} have no topic to compare"
                + (f"; {reference} lacks {', '.join(lost)}" if lost else "")
            )
        first, last = span_ns or (left.start_time, left.end_time - 1)
        last = min(last, left.end_time - 1 - SETTLE_NS)
        results = {}
        for topic in wanted:
            expected = _messages(left, topic, first, last)
            actual = _messages(right, topic, first, last) if topic in theirs else {}
            if ours[topic].msgtype not in store.types:
                results[topic] = _compare_raw(topic, expected, actual)
            else:
                results[topic] = _Topic(topic, ours[topic].msgtype, store, tolerance).compare(expected, actual)
    return Comparison(results, tuple(unknown))


def _messages(reader: Reader, topic: str, first: int, last: int) -> dict[tuple[int, int], bytes]:
    """(stamp, number among those of one stamp) -> message."""
    chosen = [c for c in reader.connections if (table_topic(c.topic) or c.topic.lstrip("/")) == topic]
    out: dict[tuple[int, int], bytes] = {}
    for stamp, _, raw in ordered(reader, chosen):
        if first <= stamp <= last:
            number = 0
            while (stamp, number) in out:
                number += 1
            out[stamp, number] = raw
    return out


def _compare_raw(topic: str, expected: Mapping[Any, bytes], actual: Mapping[Any, bytes]) -> TopicComparison:
    """Of a type that nobody knows only the bytes can be compared."""
    result = TopicComparison(topic, len(expected), len(actual))
    for key in sorted(expected.keys() | actual.keys()):
        _count(result, key[0], expected.get(key), actual.get(key), lambda: ("bytes", "other bytes", "other bytes"))
    return result


def _count(result: TopicComparison, stamp_ns: int, before: bytes | None, after: bytes | None, explain: Any) -> None:
    result.compared += 1
    if before is None or after is None:
        result.missing += after is None
        result.extra += before is None
        found: tuple[str, Any, Any] | None = ("", "absent" if before is None else "", None if after is None else "")
    elif before == after:
        result.identical += 1
        return
    else:
        found = explain()
        if found is None:
            return  # within tolerance
        result.differing += 1
    if result.first is None and found is not None:
        result.first = Difference(result.topic, stamp_ns, *found)


class _Topic:
    """One topic's comparison."""

    def __init__(self, topic: str, kind: str, store: Any, tolerance: Tolerance) -> None:
        self._topic, self._kind, self._store, self._tolerance = topic, kind, store, tolerance
        self._result = TopicComparison(topic)
        self._rows: dict[str, list[tuple[int, float, float]]] = {}

    def compare(self, expected: Mapping[Any, bytes], actual: Mapping[Any, bytes]) -> TopicComparison:
        result = self._result
        result.expected, result.actual = len(expected), len(actual)
        for key in sorted(expected.keys() | actual.keys()):
            before, after = expected.get(key), actual.get(key)
            if before != after and before is not None and after is not None:
                try:
                    before, after = self._canonical(before), self._canonical(after)
                except Exception as error:  # rosbags raises whatever a broken message leads it to
                    raise BagError(
                        f"{self._topic}: the message at t={key[0] / 1e9:.3f} s cannot be read: {error}"
                    ) from error
            _count(result, key[0], before, after, lambda: self._explain(key[0], before, after))  # noqa: B023
        names = sorted(self._rows, key=lambda name: -result.largest.get(name, 0.0))[:_SERIES]
        for name in names:
            table = np.array(self._rows[name], np.float64)
            result.series[name] = (table[:, 0], table[:, 1], table[:, 2])
        return result

    def _canonical(self, raw: bytes) -> bytes:
        return bytes(self._store.serialize_cdr(self._store.deserialize_cdr(raw, self._kind), self._kind))

    def _explain(self, stamp_ns: int, before: Any, after: Any) -> tuple[str, Any, Any] | None:
        """The first field beyond its tolerance; also keeps the largest differences and series."""
        left = fields_of(self._store.deserialize_cdr(before, self._kind), self._kind)
        right = fields_of(self._store.deserialize_cdr(after, self._kind), self._kind)
        found: tuple[str, Any, Any] | None = None
        for name in [*left, *(name for name in right if name not in left)]:
            a, b = left.get(name), right.get(name)
            if _equal(a, b):
                continue
            allowed = self._tolerance.of(self._topic, name)
            if allowed is None:
                continue
            distance = _distance(a, b)
            if distance is not None and a is not None and b is not None:
                general = _general(name)
                self._result.largest[general] = max(self._result.largest.get(general, 0.0), distance)
                self._rows.setdefault(general, []).append((stamp_ns, float(a), float(b)))
            if (distance is None or not distance <= allowed) and found is None:
                found = name, a, b
        return found


def fields_of(message: Any, kind: str) -> dict[str, Any]:
    """Every leaf of a message by its path; a cloud's records and a record's key-value pairs by their names."""
    if kind == _CLOUD:
        out = dict(_leaves(message.header, "header"))
        records = from_cloud(message)
        out["points"] = len(records)
        for number, record in enumerate(records):
            for name in records.dtype.names or ():
                out[f"[{number}].{name}"] = record[name].item()
        return out
    if kind == _RECORD:
        out = dict(_leaves(message.header, "header"))
        for status in message.status:
            prefix = f"{status.name}."
            out[prefix + "sentence"], out[prefix + "level"] = status.message, status.level
            for pair in status.values:
                out[prefix + pair.key] = _number(pair.value)
        return out
    return dict(_leaves(message, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    names = getattr(value, "__dataclass_fields__", None)
    if names is not None:
        for name in names:
            if not name.startswith("__"):
                yield from _leaves(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple | np.ndarray):
        for number, item in enumerate(value.tolist() if isinstance(value, np.ndarray) else value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _general(name: str) -> str:
    """'[3].vx' -> '[].vx': one row for all records."""
    out, _, rest = name.partition("[")
    while rest:
        _, _, tail = rest.partition("]")
        head, bracket, rest = tail.partition("[")
        out += "[]" + head
        if not bracket:
            break
    return out


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def _distance(a: Any, b: Any) -> float | None:
    """How far two numbers are apart; None for what is no pair of finite numbers."""
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return None
    distance = abs(float(a) - float(b))
    return distance if math.isfinite(distance) else None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
