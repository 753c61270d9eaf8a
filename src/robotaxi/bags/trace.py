"""The fingerprint of a ride: one hash over what the car saw, decided and did, message by message."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.messages import messages
from robotaxi.interfaces import TRUTH_PREFIX

_EGO = TRUTH_PREFIX + "ego"
TRACE_TOPICS = (
    _EGO,
    "localization/kinematic_state",
    "perception/objects",
    "perception/traffic_lights",
    "planning/trajectory",
    "planning/explanation",
    "vehicle/command",
    "dispatch/trip",
)
# The world ends by itself; what is then still on its way through the nodes may or may not be finished
# and recorded. A sweep shapes the last command 0.1 s later, a trip event reaches the world in less.
_UNSETTLED_NS = 500_000_000


def trace_sha256(bag: Path) -> tuple[str, dict[str, str]]:
    """(hash over all of TRACE_TOPICS, hash of each topic) of a recorded ride.

    Messages are hashed in the order of their stamps, in a canonical serialisation: what a middleware
    leaves in padding bytes is not part of a message. The last half second before the world ended does not
    count: the world did not wait for what was made of it.
    """
    types = get_typestore(Stores.ROS2_KILTED)
    by_topic: dict[str, str] = {}
    with Reader(bag) as reader:
        ends = {
            topic: [c for c in reader.connections if c.topic == topic or c.topic.endswith("/" + topic)]
            for topic in TRACE_TOPICS
        }
        last = max((stamp for _, stamp, _ in messages(reader, ends[_EGO])), default=None) if ends[_EGO] else None
        until = None if last is None else last - _UNSETTLED_NS
        for topic, connections in ends.items():
            digest = hashlib.sha256()
            rows = [(stamp, bytes(raw)) for _, stamp, raw in messages(reader, connections)] if connections else []
            for stamp, raw in sorted(rows, key=lambda row: row[0]):
                if until is not None and stamp > until:
                    break
                kind = connections[0].msgtype
                digest.update(stamp.to_bytes(8, "little"))
                digest.update(types.serialize_cdr(types.deserialize_cdr(raw, kind), kind))
            by_topic[topic] = digest.hexdigest()
    total = hashlib.sha256("".join(f"{topic}:{by_topic[topic]}\n" for topic in TRACE_TOPICS).encode())
    return total.hexdigest(), by_topic
