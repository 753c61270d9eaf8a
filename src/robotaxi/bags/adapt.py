"""Other people's bags as bags of this stack: topics renamed, types converted, frames and times aligned.

What is where is declared in ``config/bags/<name>.yaml`` (see `Adaptation`); `propose` guesses it. The stack
runs on a grid of stamps (10 Hz sweeps, 50 Hz state): sweeps are put on the grid one by one, everything else
follows them in time, and poses and rates are interpolated at the grid's stamps. Points come in the rig's
lidar frame, wherever the lidar of the bag was mounted.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags.serde import SerdeError

from robotaxi.bags import adapt_messages as convert
from robotaxi.bags.provenance import origin
from robotaxi.bags.reader import has_header, known_types, open_bag
from robotaxi.bags.transforms import TF_STATIC, TF_TYPE, static_transforms
from robotaxi.bags.writer import BagError, BagWriter, header_stamp_ns
from robotaxi.interfaces import INTERFACES, MS
from robotaxi.resources import config_dir
from robotaxi.sensor_rig import load_rig, mounting_transform
from robotaxi.types import FloatArray

SWEEP, IMAGE, FIX, IMU = (
    "sensing/lidar/top/pointcloud", "sensing/camera/front/image_raw", "sensing/gnss/fix", "sensing/imu/data"
)  # fmt: skip
STATE, STATUS = "localization/kinematic_state", "vehicle/status"
_NS = 1_000_000_000
_LARGEST_HOLE_NS = 500 * MS  # between two poses; over a wider one nothing is interpolated


@dataclass(frozen=True)
class Adaptation:
    """Which topic of the bag is what; empty: there is none. Frames are looked up in the bag's /tf_static.

    ``mounting``: x, y, z (m), roll_deg, pitch_deg, yaw_deg of the lidar in base_link, where the bag has no
    transform. ``odometry``: nav_msgs/Odometry, geometry_msgs/PoseStamped, or ``tf`` with ``tf_parent`` and
    ``tf_child``. ``vehicle``, ``sensors``: the rig that the stack then runs with.
    """

    name: str = ""
    lidar: str = ""
    camera: str = ""
    gnss: str = ""
    imu: str = ""
    odometry: str = ""
    tf_parent: str = ""
    tf_child: str = ""
    base_frame: str = "base_link"
    mounting: Mapping[str, float] = field(default_factory=dict)
    vehicle: str = "robotaxi"
    sensors: str = "robotaxi"
    note: str = ""


@dataclass(frozen=True)
class Adapted:
    """What came of it: messages per topic, and what was left out, in sentences."""

    bag: Path
    topics: dict[str, int]
    said: list[str]


def load_adaptation(name_or_path: str) -> Adaptation:
    """From ``config/bags/<name>.yaml`` or a path. BagError names file and key."""
    path = Path(name_or_path)
    if path.suffix != ".yaml":
        path = config_dir() / "bags" / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (config_dir() / "bags").glob("*.yaml"))) or "none"
        raise BagError(f"no adaptation '{name_or_path}'; known are: {known}; or give the path of a .yaml")
    try:
        body: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, OSError) as error:
        raise BagError(f"{path}: cannot be read: {error}") from error
    known_keys = {item.name for item in fields(Adaptation)}
    if not isinstance(body, dict) or set(body) - known_keys:
        odd = sorted(set(body) - known_keys)[0] if isinstance(body, dict) else "?"
        raise BagError(f"{path}: unknown key '{odd}'; known are: {', '.join(sorted(known_keys))}")
    mounting = body.get("mounting") or {}
    bad = sorted(set(mounting) - {"x", "y", "z", "roll_deg", "pitch_deg", "yaw_deg"})
    if bad or not all(isinstance(v, int | float) for v in mounting.values()):
        raise BagError(f"{path}: mounting needs numbers x, y, z, roll_deg, pitch_deg, yaw_deg; found {mounting}")
    return Adaptation(**{"name": path.stem, **{k: v for k, v in body.items() if v is not None}})


def adapt(bag: str | Path, out: str | Path, spec: Adaptation) -> Adapted:
    """Write the bag as one of this stack. BagError when the bag has nothing that the stack can use."""
    said: list[str] = []
    rig = load_rig(spec.sensors)
    with open_bag(bag) as reader:
        store, unknown = known_types(reader)
        said += [f"{topic} has an unknown type and is left out" for topic in unknown]
        by_topic = {c.topic: c for c in reader.connections}
        wanted = {v: k for k in ("lidar", "camera", "gnss", "imu", "odometry") if (v := getattr(spec, k))}
        absent = [topic for topic in wanted if topic not in by_topic and topic != "tf"]
        if absent:
            raise BagError(f"bag {bag}: has no topic '{absent[0]}'; its topics are: {', '.join(sorted(by_topic))}")
        tree = static_tree(reader, store)
        times = Times(_sweep_stamps(reader, store, by_topic, spec.lidar), _first_stamp(reader, store, spec))
        writer = BagWriter(Path(out), custom={
            **origin("", spec.vehicle, spec.sensors), "map": "", "source": str(bag), "adapted_with": spec.name,
        })  # fmt: skip
        try:
            counts = _write(reader, store, spec, rig, tree, times, writer, said)
        finally:
            writer.close()
    if not counts:
        shutil.rmtree(out)  # made above, and empty
        raise BagError(f"bag {bag}: nothing in it could be adapted; {'; '.join(said) or 'name its topics'}")
    return Adapted(Path(out), counts, said)


def _write(reader: Any, store: Any, spec: Adaptation, rig: Any, tree: Mapping[str, Any], times: Times,
           writer: BagWriter, said: list[str]) -> dict[str, int]:  # fmt: skip
    counts: dict[str, int] = {}
    last: dict[str, int] = {}

    def put(topic: str, message: Any, stamp_ns: int) -> None:
        if topic not in counts:
            writer.add_topic("/" + topic, INTERFACES[topic].type)
        counts[topic] = counts.get(topic, 0) + 1
        writer.write_message("/" + topic, message, stamp_ns)

    def on_grid(topic: str, stamp_ns: int) -> int | None:
        """The next free stamp of the topic's schedule that is nearest to ``stamp_ns``; None when it is taken."""
        item = INTERFACES[topic]
        steps = max(round((stamp_ns - item.phase_ns) / item.period_ns), 0)
        grid = item.phase_ns + steps * item.period_ns
        if grid <= last.get(topic, -1):
            return None
        last[topic] = grid
        return grid

    T_base_bag = _mounting(spec, tree, reader, store, said)
    T_rig_bag = None if T_base_bag is None else np.linalg.inv(rig.T_base_lidar) @ T_base_bag
    writer.add_topic(TF_STATIC, TF_TYPE)
    writer.write_message(TF_STATIC, static_transforms(rig, writer.types), 0)
    poses, rates = [], []
    sources = {
        spec.lidar: "lidar",
        spec.camera: "camera",
        spec.gnss: "gnss",
        spec.imu: "imu",
        spec.odometry: "odometry",
    }
    tf_topics = {"/tf"} if spec.odometry == "tf" else set()
    chosen = [c for c in reader.connections if (c.topic in sources and c.topic) or c.topic in tf_topics]
    failed: set[str] = set()
    for connection, log_ns, raw in reader.messages(chosen) if chosen else ():
        kind = "odometry" if connection.topic in tf_topics else sources[connection.topic]
        if connection.msgtype not in store.types or connection.topic in failed:
            continue
        try:
            message = store.deserialize_cdr(raw, connection.msgtype)
            own_ns = header_stamp_ns(raw) if has_header(connection.msgtype, store) else log_ns
            stamp_ns = times.of(own_ns)
            if kind == "lidar" and T_rig_bag is not None:
                grid = times.of_sweep(own_ns)
                if grid is not None:
                    put(SWEEP, convert.sweep(store.types, message, T_rig_bag, grid, rig.lidars["top"].frame), grid)
            elif kind == "camera" and (grid := on_grid(IMAGE, stamp_ns)) is not None:
                put(IMAGE, convert.image(store.types, message, grid, rig.cameras["front"].frame), grid)
            elif kind == "gnss" and (grid := on_grid(FIX, stamp_ns)) is not None:
                put(FIX, convert.restamped(store.types, message, grid, rig.gnss.frame), grid)
            elif kind == "imu":
                rates.append((own_ns, *convert.imu_row(message, _turn(tree, spec.base_frame, message))))
            elif kind == "odometry":
                poses += [(own, *row) for own, row in convert.pose_rows(message, spec, own_ns)]
        except (convert.ConversionError, SerdeError, struct.error) as error:
            failed.add(connection.topic)
            said.append(f"{connection.topic}: {error or 'a message is cut short'}; left out from there on")
    for stamp_ns, state in states_on_grid(poses, times):
        put(STATE, convert.state(store.types, state, stamp_ns), stamp_ns)
        put(STATUS, convert.status(store.types, state, stamp_ns), stamp_ns)
    for stamp_ns, row in _rate_rows(rates, times):
        put(IMU, convert.imu(store.types, row, stamp_ns), stamp_ns)
    return counts


class Times:
    """From the bag's times to the stack's: piecewise linear through the sweeps, which lie on a 100 ms grid."""

    def __init__(self, sweeps: FloatArray, start_ns: int) -> None:
        period = INTERFACES[SWEEP].period_ns
        if len(sweeps) < 2:
            self._own, self._grid = np.array([start_ns, start_ns + _NS]), np.array([0, _NS])
            self._slots: dict[int, int] = {int(s): 0 for s in sweeps}
            return
        slots = (sweeps - sweeps[0]) / period
        nearest: dict[int, int] = {}  # of a faster lidar the sweep that is nearest to its place on the grid
        for number, (slot, place) in enumerate(zip(np.floor(slots + 0.5).astype(int).tolist(), slots, strict=True)):
            if abs(place - slot) < 0.5 and (
                slot not in nearest or abs(place - slot) < abs(slots[nearest[slot]] - slot)
            ):
                nearest[slot] = number
        self._own = sweeps[list(nearest.values())]
        self._grid = np.array(list(nearest), np.int64) * period
        self._slots = dict(zip(self._own.tolist(), self._grid.tolist(), strict=True))

    def of(self, own_ns: int) -> int:
        first, last = self._own[0], self._own[-1]
        if own_ns < first:
            return int(self._grid[0] - (first - own_ns))
        if own_ns > last:
            return int(self._grid[-1] + (own_ns - last))
        at = int(np.searchsorted(self._own, own_ns, "right")) - 1
        if at >= len(self._own) - 1:
            return int(self._grid[-1])
        share = (own_ns - self._own[at]) / (self._own[at + 1] - self._own[at])
        return int(self._grid[at] + share * (self._grid[at + 1] - self._grid[at]))

    def own(self, grid: Any) -> FloatArray:
        """The bag's times (N,) of stamps on the grid."""
        inside = np.interp(grid, self._grid, self._own)
        before, after = np.minimum(grid - self._grid[0], 0.0), np.maximum(grid - self._grid[-1], 0.0)
        return np.asarray(inside + before + after)

    def grid(self, first_ns: int, last_ns: int, period_ns: int) -> Any:
        """The stamps (N,) of a period, from 0 on, that lie between two of the bag's times."""
        first = max(-(-self.of(first_ns) // period_ns), 0) * period_ns
        return np.arange(first, self.of(last_ns) + 1, period_ns)

    def of_sweep(self, own_ns: int) -> int | None:
        return self._slots.get(own_ns)


def _sweep_stamps(reader: Any, store: Any, by_topic: Mapping[str, Any], topic: str) -> Any:
    """Strictly increasing stamps (N,) of the lidar; a clock that goes backwards loses what came before."""
    if not topic:
        return np.zeros(0, np.int64)
    stamps: list[int] = []
    headed = has_header(by_topic[topic].msgtype, store)
    for _, log_ns, raw in reader.messages([by_topic[topic]]):
        stamp = header_stamp_ns(raw) if headed else log_ns
        if not stamps or stamp > stamps[-1]:
            stamps.append(stamp)
    return np.array(stamps, np.int64)


def _first_stamp(reader: Any, store: Any, spec: Adaptation) -> int:
    """The first stamp of what is moved to the grid, on the clock of its headers."""
    first = []
    for topic in (spec.odometry if spec.odometry != "tf" else "/tf", spec.imu, spec.gnss, spec.camera):
        ends = [c for c in reader.connections if c.topic == topic and topic]
        for connection, log_ns, raw in reader.messages(ends) if ends else ():
            if connection.msgtype not in store.types:
                break
            if connection.msgtype != TF_TYPE:
                first.append(header_stamp_ns(raw) if has_header(connection.msgtype, store) else log_ns)
                break
            rows = convert.pose_rows(store.deserialize_cdr(raw, TF_TYPE), spec, log_ns)
            if rows:
                first.append(rows[0][0])
                break
    return min(first, default=reader.start_time)


def static_tree(reader: Any, store: Any) -> dict[str, tuple[str, FloatArray]]:
    """Child frame -> (parent, T_parent_child), of every /tf_static."""
    tree: dict[str, tuple[str, FloatArray]] = {}
    chosen = [c for c in reader.connections if c.topic.endswith(TF_STATIC) and c.msgtype == TF_TYPE]
    for _, _, raw in reader.messages(chosen) if chosen else ():
        for item in store.deserialize_cdr(raw, TF_TYPE).transforms:
            tree[item.child_frame_id.lstrip("/")] = item.header.frame_id.lstrip("/"), convert.matrix(item.transform)
    return tree


def transform_to(tree: Mapping[str, tuple[str, FloatArray]], base: str, frame: str) -> FloatArray | None:
    """T_base_frame through the static tree; None when they are not connected."""

    def chain(start: str) -> dict[str, FloatArray]:
        out, T, name = {start: np.eye(4)}, np.eye(4), start
        while name in tree and len(out) <= len(tree):
            parent, step = tree[name]
            T, name = step @ T, parent
            out[name] = T
        return out

    up, down = chain(frame), chain(base)
    common = next((name for name in up if name in down), None)
    return None if common is None else np.linalg.inv(down[common]) @ up[common]


def _mounting(spec: Adaptation, tree: Mapping[str, Any], reader: Any, store: Any, said: list[str]) -> FloatArray | None:
    if not spec.lidar:
        return None
    if spec.mounting:
        values = {k: float(spec.mounting.get(k, 0.0)) for k in ("x", "y", "z", "roll_deg", "pitch_deg", "yaw_deg")}
        return mounting_transform(**values)
    connection = next(c for c in reader.connections if c.topic == spec.lidar)
    _, _, raw = next(reader.messages([connection]))
    frame = store.deserialize_cdr(raw, connection.msgtype).header.frame_id.lstrip("/")
    found = transform_to(tree, spec.base_frame, frame)
    if found is None:
        raise BagError(
            f"the bag has no static transform from '{spec.base_frame}' to the lidar's frame '{frame}' "
            f"(frames: {', '.join(sorted(tree)) or 'none'}); set 'mounting' or 'base_frame'"
        )
    return found


def _turn(tree: Mapping[str, Any], base: str, message: Any) -> FloatArray:
    found = transform_to(tree, base, message.header.frame_id.lstrip("/"))
    return np.eye(3) if found is None else found[:3, :3]


def states_on_grid(poses: list[Any], times: Times) -> Any:
    """(stamp, x y z yaw speed yaw_rate) on the 20 ms grid, from rows (stamp of the bag, x, y, z, yaw)."""
    table = _by_time(poses)
    if len(table) < 2:
        return
    t, yaw = table[:, 0], np.unwrap(table[:, 4])
    grid = times.grid(int(table[0, 0]), int(table[-1, 0]), INTERFACES[STATE].period_ns)
    own = times.own(grid)
    after = np.clip(np.searchsorted(t, own), 1, len(t) - 1)
    keep = t[after] - t[after - 1] <= _LARGEST_HOLE_NS
    grid, own = grid[keep], own[keep]
    x, y, z, turned = (np.interp(own, t, column) for column in (table[:, 1], table[:, 2], table[:, 3], yaw))
    span = 0.1 * _NS  # ns, to both sides, over which speed and yaw rate are taken
    ahead, behind = np.minimum(own + span, t[-1]), np.maximum(own - span, t[0])
    elapsed = np.maximum(ahead - behind, 1.0) / _NS
    vx, vy, yaw_rate = (
        (np.interp(ahead, t, column) - np.interp(behind, t, column)) / elapsed
        for column in (table[:, 1], table[:, 2], yaw)
    )
    speed = np.cos(turned) * vx + np.sin(turned) * vy
    yield from zip(grid.tolist(), np.column_stack([x, y, z, turned, speed, yaw_rate]).tolist(), strict=True)


def _rate_rows(rates: list[Any], times: Times) -> Any:
    """(stamp, ax ay az wx wy wz qx qy qz qw known) on the 20 ms grid."""
    table = _by_time(rates)
    if len(table) < 2:
        return
    grid = times.grid(int(table[0, 0]), int(table[-1, 0]), INTERFACES[IMU].period_ns)
    own = times.own(grid)
    nearest = np.clip(np.searchsorted(table[:, 0], own), 0, len(table) - 1)
    columns = [np.interp(own, table[:, 0], table[:, k]) for k in range(1, 7)]
    yield from zip(grid.tolist(), np.column_stack([*columns, table[nearest, 7:]]).tolist(), strict=True)


def _by_time(rows: list[Any]) -> FloatArray:
    """Rows (N, 1 + n) in the order of their stamps, one a stamp."""
    if not rows:
        return np.zeros((0, 1))
    table = np.array(sorted(rows), np.float64)
    return table[np.concatenate([[True], np.diff(table[:, 0]) > 0])]
