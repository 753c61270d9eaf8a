"""The fingerprint of a ride: what it covers and what it does not."""

import pytest
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.trace import trace_sha256
from robotaxi.bags.writer import BagWriter

TYPES = get_typestore(Stores.ROS2_KILTED)
KIND = "diagnostic_msgs/msg/DiagnosticArray"
MS = 1_000_000


def message(stamp_ns, text):
    types = TYPES.types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    status = types["diagnostic_msgs/msg/DiagnosticStatus"](level=0, name=text, message="", hardware_id="", values=[])
    return types[KIND](header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=""), status=[status])


@pytest.fixture
def bag_of(tmp_path):
    """A bag with one message of each topic's list of (stamp in ms, text)."""
    bags = []

    def build(**topics):
        path = tmp_path / f"bag{len(bags)}"
        bags.append(path)
        writer = BagWriter(path)
        for name, messages in topics.items():
            topic = "/" + name.replace("__", "/")
            writer.add_topic(topic, KIND)
            for stamp_ms, text in messages:
                writer.write_message(topic, message(stamp_ms * MS, text), stamp_ms * MS)
        writer.close()
        return path

    return build


EGO = [(0, "a"), (1000, "b"), (2000, "c")]


def test_a_change_in_one_message_changes_its_topic_and_the_whole(bag_of):
    total, topics = trace_sha256(bag_of(sim__ego=EGO, perception__objects=[(100, "x")]))
    other_total, other = trace_sha256(bag_of(sim__ego=EGO, perception__objects=[(100, "y")]))
    assert total != other_total
    assert [name for name in topics if topics[name] != other[name]] == ["perception/objects"]


def test_what_was_under_way_when_the_world_ended_does_not_count(bag_of):
    settled = [(1400, "x")]
    assert trace_sha256(bag_of(sim__ego=EGO, perception__objects=settled)) == trace_sha256(
        bag_of(sim__ego=EGO, perception__objects=[*settled, (1900, "late")])
    )


def test_without_a_true_path_all_messages_count(bag_of):
    assert trace_sha256(bag_of(perception__objects=[(0, "x")])) != trace_sha256(
        bag_of(perception__objects=[(0, "x"), (9000, "y")])
    )
