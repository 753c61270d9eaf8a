"""Serialised messages as nouns: what cannot be used is None."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message

from robotaxi.interfaces import INTERFACES
from robotaxi.nodes import convert
from robotaxi.nodes.cdr import decoder, deserialize, publishable
from robotaxi.nodes.records import TYPES, to_cloud
from robotaxi.pointcloud2 import POINT_DTYPE, CloudError, from_cloud
from robotaxi.types import OBJECT_DTYPE, TRAJECTORY_DTYPE, EgoState, Sight, SystemMode, VehicleReport

SWEEP = INTERFACES["sensing/lidar/top/pointcloud"]


def sweep(frame: str, **changes):
    points = np.zeros(3, POINT_DTYPE)
    points["x"] = 1.0, 2.0, 3.0
    message = to_cloud(points, 5, frame)
    for name, value in changes.items():
        setattr(message, name, value)
    return bytes(TYPES.serialize_cdr(message, SWEEP.type))


def test_a_sweep_of_another_frame_is_none() -> None:
    decode = decoder(SWEEP)
    assert decode(sweep("lidar_top"))["x"].tolist() == [1.0, 2.0, 3.0]
    assert len(decode(sweep(""))) == 3
    assert decode(sweep("lidar_rear")) is None


@pytest.mark.parametrize("changes", [{"width": 4}, {"point_step": 3}, {"width": 2**31}])
def test_a_sweep_whose_sizes_disagree_is_none(changes) -> None:
    assert decoder(SWEEP)(sweep("lidar_top", **changes)) is None


def test_what_a_cloud_lacks_is_named() -> None:
    with pytest.raises(CloudError, match="cloud has no field 'z', only x, y"):
        points = np.zeros(2, [("x", "<f4"), ("y", "<f4")])
        from_cloud(to_cloud(points, 0, "map"), POINT_DTYPE)


def test_sight_travels() -> None:
    item = Sight(41_000, 23.5, (0, 10, 350), "the lidar is blind in 3 of 36 directions, from 0 degrees", 210)
    assert convert.sight(convert.sight_record(item, 7)) == item


STATE = EgoState(7, 1.5, -2.5, 0.3, 4.0, yaw_rate=0.2, z=0.7, covariance=np.arange(9.0).reshape(3, 3))
REPORT = VehicleReport(8, 4.1, -0.02, 0.5, door_open=True, belt_fastened=True, energy=0.4)


def often_heard():
    records = np.zeros(3, TRAJECTORY_DTYPE)
    records["x"] = 1.0, 2.0, 3.0
    yield "localization/kinematic_state", convert.odometry(STATE, 7)
    yield "localization/kinematic_state", convert.odometry(None, 7)
    yield "vehicle/status", convert.joint_state(REPORT)
    yield "planning/trajectory", to_cloud(records, 9, "map")
    yield "planning/trajectory", to_cloud(records[:0], 9, "map")
    yield "planning/trajectory", to_cloud(np.zeros(2, [("x", "<f4")]), 9, "map")
    yield "perception/objects", to_cloud(np.zeros(2, OBJECT_DTYPE), 9, "map")
    yield "system/mode", convert.mode_record(SystemMode.PULL_OVER, "asked for", 9)


@pytest.mark.parametrize("topic, message", list(often_heard()))
def test_what_is_read_at_a_glance_is_what_rosbags_reads(topic, message) -> None:
    item = INTERFACES[topic]
    raw = serialize_message(message) if topic in ("vehicle/status", "system/mode") else publishable(message)
    decode = decoder(item)
    try:
        expected = convert.DECODERS[topic](deserialize(item, raw))
    except CloudError:
        expected = None
    for found in (decode(raw), decode(raw)):
        assert repr(found) == repr(expected) and type(found) is type(expected)


def test_a_mode_that_changes_is_heard() -> None:
    decode = decoder(INTERFACES["system/mode"])
    modes = [SystemMode.AUTONOMOUS, SystemMode.AUTONOMOUS, SystemMode.EMERGENCY_STOP]
    heard = [decode(serialize_message(convert.mode_record(mode, "why", at))) for at, mode in enumerate(modes)]
    assert heard == [(mode, "why") for mode in modes]
