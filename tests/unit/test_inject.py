"""Broken messages: whatever a node writes can be dropped, delayed, doubled, frozen, restamped and bent on its way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robotaxi.faults.full_campaign import MESSAGE_KINDS, MESSAGE_TOPICS
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes import convert
from robotaxi.nodes.cdr import publishable
from robotaxi.nodes.inject import Injector
from robotaxi.nodes.records import TYPES, to_cloud
from robotaxi.pointcloud2 import POINT_DTYPE
from robotaxi.types import (
    LIGHT_DTYPE,
    OBJECT_DTYPE,
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    GnssFix,
    ImuSample,
    Trajectory,
)

MS = 1_000_000


def written(topic: str, stamp_ns: int) -> Any:
    """A message as the topic's node makes it."""
    match topic:
        case "sensing/imu/data":
            return convert.imu(ImuSample(stamp_ns, np.array([0.0, 0.0, 9.8]), np.zeros(3)))
        case "sensing/gnss/fix":
            return convert.nav_sat_fix(GnssFix(stamp_ns, 49.0, 8.0, 100.0, np.ones(3)))
        case "localization/kinematic_state":
            return convert.odometry(EgoState(stamp_ns, 1.0, 2.0, 0.3, 4.0, covariance=np.eye(3)), stamp_ns)
        case "planning/trajectory":
            return convert.trajectory_cloud(Trajectory(stamp_ns, np.zeros(3, TRAJECTORY_DTYPE)), stamp_ns)
        case "control/command_raw":
            return convert.joint_trajectory(Command(stamp_ns, 0.1, 0.2, 3.0))
    kind = {"perception/objects": OBJECT_DTYPE, "perception/traffic_lights": LIGHT_DTYPE}.get(topic, POINT_DTYPE)
    return to_cloud(np.zeros(3, kind), stamp_ns, "map")


@pytest.mark.parametrize("topic", MESSAGE_TOPICS)
@pytest.mark.parametrize("kind", MESSAGE_KINDS)
def test_every_message_of_the_campaign_can_be_broken_in_every_way(topic: str, kind: str) -> None:
    injector = Injector([f"{kind} {topic} 0.2 0.4 0.1"], "any")
    sent = [
        TYPES.deserialize_cdr(bytes(cdr), INTERFACES[topic].type)
        for step in range(10)
        for message in injector.outgoing(topic, written(topic, step * 100 * MS))
        if isinstance(cdr := publishable(message), bytes)
    ]
    stamps = [message.header.stamp.sec * 10 + message.header.stamp.nanosec // (100 * MS) for message in sent]
    usual = list(range(10))
    expected = {
        "drop": [0, 1, 4, 5, 6, 7, 8, 9],
        "duplicate": sorted([*usual, 2, 3]),
        "clock_jump": [0, 1, 3, 4, *usual[4:]],
    }
    assert sorted(stamps) == expected.get(kind, usual)
