"""Messages read at a glance are what rosbags reads, or are left to it."""

import numpy as np
import pytest
from bag_helpers import TYPES, cloud, header, make, odometry
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.serde import SerdeError

from robotaxi.bags.quick_read import CloudReader, JointReader, record
from robotaxi.bags.quick_read import odometry as read_odometry
from robotaxi.pointcloud2 import from_cloud

NUMBER = st.floats(allow_nan=False, width=64)
NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), max_size=7)
OBJECT = np.dtype([("x", "<f4"), ("y", "<f8"), ("id", "<u4"), ("kind", "|u1")])


def raw(message):
    return bytes(TYPES.serialize_cdr(message, message.__msgtype__))


def test_odometry_has_its_numbers_in_order():
    message = odometry(5, x=1.5, y=-2.5, yaw=0.3, speed=7.0)
    message.pose.covariance[:] = np.arange(36)
    numbers = read_odometry(raw(message))
    turn = message.pose.pose.orientation
    assert numbers[[0, 1, 5, 6, 43, 48]].tolist() == [1.5, -2.5, turn.z, turn.w, 7.0, 0.0]
    assert numbers[7:43].tolist() == list(range(36)) and len(numbers) == 85


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, st.lists(NUMBER, max_size=8), st.lists(NUMBER, max_size=3)), min_size=1, max_size=4))
def test_joints_are_those_of_rosbags_also_when_the_names_change(rows):
    reader = JointReader()
    for names, positions, efforts in rows:
        message = make("sensor_msgs/msg/JointState", header=header(3, "base_link"), name=names,
                       position=np.array(positions), velocity=np.zeros(2), effort=np.array(efforts))  # fmt: skip
        assert reader.read(raw(message)) == (tuple(names), (tuple(positions), (0.0, 0.0), tuple(efforts)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["", "map", "base_link"]), st.booleans()), max_size=6))
def test_clouds_are_those_of_rosbags_also_when_the_fields_change(rows):
    reader = CloudReader(lambda data: TYPES.deserialize_cdr(data, "sensor_msgs/msg/PointCloud2"))
    for count, frame, fewer in rows:
        points = np.zeros(count, np.dtype(OBJECT.descr[:2]) if fewer else OBJECT)
        points["x"] = np.arange(count)
        message = cloud(7, points, frame)
        found = reader.read(raw(message))
        assert found.dtype == points.dtype and found.tobytes() == points.tobytes()


def test_fields_are_taken_apart_once():
    taken = []

    def parse(data):
        taken.append(len(data))
        return TYPES.deserialize_cdr(data, "sensor_msgs/msg/PointCloud2")

    reader = CloudReader(parse)
    for count in range(5):
        assert len(reader.read(raw(cloud(count, np.zeros(count, OBJECT))) + b"\0" * (count % 4))) == count
    assert len(taken) == 1


def said(sentence, values, count=1):
    pairs = [make("diagnostic_msgs/msg/KeyValue", key=key, value=value) for key, value in values.items()]
    status = make("diagnostic_msgs/msg/DiagnosticStatus", level=2, name="mode", message=sentence, hardware_id="",
                  values=pairs)  # fmt: skip
    return make("diagnostic_msgs/msg/DiagnosticArray", header=header(3, "map"), status=[status] * count)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)


@settings(max_examples=60, deadline=None)
@given(TEXT, st.dictionaries(TEXT, TEXT, max_size=4))
def test_records_are_those_of_rosbags(sentence, values):
    assert record(raw(said(sentence, values))) == (sentence, values)
    assert record(raw(said(sentence, values, 2))) is None and record(raw(said(sentence, values, 0))) is None


def same(left, right):
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.integers(0, 60))
def test_broken_messages_are_refused_or_read_as_rosbags_reads_them(which, changes, cut):
    points = np.zeros(3, OBJECT)
    joints = make("sensor_msgs/msg/JointState", header=header(3, "base_link"), name=["drive", "door"],
                  position=np.ones(2), velocity=np.ones(2), effort=np.ones(2))  # fmt: skip
    message = (odometry(5, x=1.0), joints, cloud(7, points), said("stops", {"mode": "STOP", "source": "gate"}))[which]
    whole = raw(message)
    body = bytearray(whole[: len(whole) - cut])
    for at, value in changes:
        body[at % len(body)] = value
    data, kind = bytes(body), message.__msgtype__
    joint_reader = JointReader()
    cloud_reader = CloudReader(lambda part: TYPES.deserialize_cdr(part, "sensor_msgs/msg/PointCloud2"))
    joint_reader.read(raw(joints)), cloud_reader.read(raw(cloud(7, points)))
    if which == 2:
        found = cloud_reader._at_a_glance(data)
    else:
        found = {0: read_odometry, 1: joint_reader.read, 3: record}[which](data)
    if found is None:
        return
    try:
        expected = TYPES.deserialize_cdr(data, kind)
    except (SerdeError, UnicodeDecodeError):  # a text that is none, where only numbers were looked at
        return
    if which == 0:
        assert np.float64(expected.pose.pose.position.x).tobytes() == found[0].tobytes()
        assert np.asarray(expected.twist.covariance).tobytes() == found[49:].tobytes()
    elif which == 1:
        assert tuple(expected.name) == found[0]
        assert np.asarray(expected.effort).tobytes() == np.array(found[1][2]).tobytes()
    elif which == 3:
        status = expected.status[0]
        assert found == (status.message, {pair.key: pair.value for pair in status.values})
    else:
        assert same(from_cloud(expected), found)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1\0\0", bytes(40)])
def test_what_is_no_message_is_left_to_rosbags(data):
    assert read_odometry(data) is None and JointReader().read(data) is None and record(data) is None
