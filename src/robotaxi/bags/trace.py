"""The fingerprint of a ride: one hash over what the car saw, decided and did, message by message."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robotaxi.interfaces import TRUTH_PREFIX

TRACE_TOPICS = (
    TRUTH_PREFIX + "ego",
    "localization/kinematic_state",
    "perception/objects",
    "perception/traffic_lights",
    "planning/trajectory",
    "planning/explanation",
    "vehicle/command",
    "dispatch/trip",
)


def trace_sha256(bag: Path) -> tuple[str, dict[str, str]]:
    """(hash over all of TRACE_TOPICS, hash of each topic) of a recorded ride.

    Messages are hashed in the order of their stamps, in a canonical serialisation: what a middleware
    leaves in padding bytes is not part of a message.
    """
    types = get_typestore(Stores.ROS2_KILTED)
    by_topic: dict[str, str] = {}
    with Reader(bag) as reader:
        for topic in TRACE_TOPICS:
            connections = [c for c in reader.connections if c.topic == topic or c.topic.endswith("/" + topic)]
            digest = hashlib.sha256()
            rows = [(stamp, bytes(raw)) for _, stamp, raw in reader.messages(connections)] if connections else []
            for stamp, raw in sorted(rows, key=lambda row: row[0]):
                kind = connections[0].msgtype
                digest.update(stamp.to_bytes(8, "little"))
                digest.update(types.serialize_cdr(types.deserialize_cdr(raw, kind), kind))
            by_topic[topic] = digest.hexdigest()
    total = hashlib.sha256("".join(f"{topic}:{by_topic[topic]}\n" for topic in TRACE_TOPICS).encode())
    return total.hexdigest(), by_topic
