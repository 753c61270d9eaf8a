"""Looks into a bag of others and proposes what is what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from robotaxi.bags.adapt import Adaptation, static_tree, transform_to
from robotaxi.bags.reader import bag_info, known_types, open_bag, stamps_by_topic, table_topic
from robotaxi.bags.transforms import TF_TYPE

_LIDAR = ("sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/LaserScan")
_CAMERA = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_ODOMETRY = ("nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")
# words in a topic's name that speak for it, the best first; those behind "-" speak against it
_WORDS: dict[str, tuple[str, ...]] = {
    "lidar": ("top", "velo", "concat", "lidar", "points", "pointcloud", "-filtered", "-ground", "-obstacle", "-map"),
    "camera": ("front", "left", "color", "image", "-depth", "-mask", "-right"),
    "gnss": ("fix", "gps", "gnss"),
    "imu": ("data", "imu", "raw"),
    "odometry": ("kinematic_state", "localization", "ekf", "odom", "pose"),
}
_TYPES: dict[str, tuple[str, ...]] = {
    "lidar": _LIDAR, "camera": _CAMERA, "gnss": ("sensor_msgs/msg/NavSatFix",), "imu": ("sensor_msgs/msg/Imu",),
    "odometry": _ODOMETRY,
}  # fmt: skip
_BASES = ("base_link", "base_footprint", "ego", "vehicle", "chassis")
_WORLDS = ("map", "world", "odom", "local_map")


@dataclass(frozen=True)
class Inspection:
    """``said``: what a person should know, in sentences. ``runs``, ``starves``: which nodes the bag can feed."""

    adaptation: Adaptation | None
    topics: Mapping[str, tuple[str, int]]
    seconds: float
    frames: Mapping[str, str]
    said: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    starves: dict[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        return {
            "topics": {t: {"type": k, "messages": n} for t, (k, n) in self.topics.items()},
            "seconds": self.seconds, "frames": dict(self.frames), "said": self.said, "runs": self.runs,
            "starves": self.starves, "adaptation": None if self.adaptation is None else asdict(self.adaptation),
        }  # fmt: skip


def inspect(path: str | Path) -> Inspection:
    """What is in the bag and how the stack would use it. BagError for a bag that cannot be read."""
    info = bag_info(path)
    seconds = (info.end_ns - info.start_ns) / 1e9
    if info.native:
        return _own(path, info, seconds)
    said: list[str] = []
    with open_bag(path) as reader:
        store, unknown = known_types(reader)
        tree = static_tree(reader, store)
        moving = _moving_frames(reader, store)
        lidar_frame = ""
        chosen = {kind: _best(kind, info.topics) for kind in _TYPES}
        if chosen["lidar"]:
            connection = next(c for c in reader.connections if c.topic == chosen["lidar"])
            _, _, raw = next(reader.messages([connection]))
            lidar_frame = store.deserialize_cdr(raw, connection.msgtype).header.frame_id.lstrip("/")
    said += [f"{topic}: its type is unknown, it is passed over" for topic in unknown]
    frames = {child: parent for child, (parent, _) in tree.items()}
    base = next((b for b in _BASES if b in frames or b in frames.values() or b in moving), "base_link")
    values: dict[str, Any] = {kind: topic for kind, topic in chosen.items() if topic}
    if not chosen["odometry"]:
        pair = next(((p, c) for c, p in sorted(moving.items()) if c in _BASES and p in _WORLDS), None)
        pair = pair or next(((p, c) for c, p in sorted(moving.items())), None)
        if pair:
            values.update(odometry="tf", tf_parent=pair[0], tf_child=pair[1])
    if lidar_frame and transform_to(tree, base, lidar_frame) is None:
        said.append(
            f"no static transform from '{base}' to the lidar's frame '{lidar_frame}': set its mounting (now 0, 0, 0)"
        )
        values["mounting"] = {"x": 0.0, "y": 0.0, "z": 0.0, "roll_deg": 0.0, "pitch_deg": 0.0, "yaw_deg": 0.0}
    spec = Adaptation(name=Path(path).stem, base_frame=base, **values)
    runs, starves = _judge(spec)
    return Inspection(spec, info.topics, seconds, {**frames, **moving}, said, runs, starves)


def _own(path: str | Path, info: Any, seconds: float) -> Inspection:
    from robotaxi.bags.plan import plan_replay
    from robotaxi.interfaces import TRIGGERS

    roles = [role for role in TRIGGERS if role != "dispatch_bridge"]
    stamps = {table_topic(t): s for t, s in stamps_by_topic(path).items() if table_topic(t)}
    plan = plan_replay(roles, stamps)
    said = ["recorded by this stack: it needs no adaptation", *plan.warnings()]
    return Inspection(None, info.topics, seconds, {}, said, list(plan.roles), dict(plan.starving))


def _judge(spec: Adaptation) -> tuple[list[str], dict[str, str]]:
    runs, starves = [], {}
    for role, needed, what in (
        ("lidar_perception", bool(spec.lidar), "a lidar topic"),
        ("camera_perception", bool(spec.camera), "a camera topic"),
        ("localization", bool(spec.imu and spec.odometry), "an IMU and an odometry or speed topic"),
        ("planner", bool(spec.odometry or (spec.imu and spec.gnss)), "a pose: odometry, or GNSS and IMU"),
    ):
        if needed:
            runs.append(role)
        else:
            starves[role] = what
    return runs, starves


def _moving_frames(reader: Any, store: Any) -> dict[str, str]:
    """Child -> parent of the first transforms on /tf."""
    out: dict[str, str] = {}
    chosen = [c for c in reader.connections if c.topic.endswith("/tf") and c.msgtype == TF_TYPE]
    for number, (_, _, raw) in enumerate(reader.messages(chosen) if chosen else ()):
        for item in store.deserialize_cdr(raw, TF_TYPE).transforms:
            out.setdefault(item.child_frame_id.lstrip("/"), item.header.frame_id.lstrip("/"))
        if number > 200:
            break
    return out


def _best(kind: str, topics: Mapping[str, tuple[str, int]]) -> str:
    """The topic that is most likely of the kind; '' for none."""

    def score(topic: str) -> tuple[float, int, str]:
        type_rank = _TYPES[kind].index(topics[topic][0])
        points = -2.0 * type_rank
        for rank, word in enumerate(_WORDS[kind]):
            bare = word.lstrip("-")
            if bare in topic.lower():
                points += -10.0 if word.startswith("-") else 10.0 - rank
        return points, topics[topic][1], topic

    fitting = [topic for topic, (type_name, count) in topics.items() if type_name in _TYPES[kind] and count]
    return max(fitting, key=score, default="")
