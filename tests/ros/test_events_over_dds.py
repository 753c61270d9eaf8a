"""The event recorder over real DDS: a mark and a minimal risk manoeuvre become packages."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from rclpy.node import Node

from robotaxi.bags.event_ring import EVENT, stories
from robotaxi.interfaces import INTERFACES, MS
from robotaxi.nodes import convert
from robotaxi.nodes.host import make_executor
from robotaxi.nodes.messages import message_type
from robotaxi.nodes.qos import qos_profile
from robotaxi.types import SystemMode

pytestmark = pytest.mark.ros
PATIENCE_S = 60.0


def robotaxi(*words):
    return subprocess.Popen([sys.executable, "-m", "robotaxi", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env=os.environ)  # fmt: skip


def test_a_mark_and_a_minimal_risk_manoeuvre_are_kept(context, tmp_path):
    folder = tmp_path / "events"
    recorder = robotaxi("record", "-o", str(folder), "--events")
    node, executor = Node("gate", context=context), make_executor(context)
    executor.add_node(node)
    try:
        item = INTERFACES["system/mode"]
        profile = qos_profile(item.qos, lockstep=True, publisher=True)
        publisher = node.create_publisher(message_type(item.type), item.topic, profile)
        deadline = time.monotonic() + PATIENCE_S
        while publisher.get_subscription_count() == 0:
            assert recorder.poll() is None and time.monotonic() < deadline, "the recorder did not come up"
            executor.spin_once(timeout_sec=0.1)
        modes = [SystemMode.AUTONOMOUS] * 20 + [SystemMode.COMFORTABLE_STOP] * 20
        for k, mode in enumerate(modes):
            reason = "Driving." if mode is SystemMode.AUTONOMOUS else "The lidar is silent."
            publisher.publish(convert.mode_record(mode, reason, (k + 1) * 100 * MS, "controller"))
        mark = robotaxi("mark", "a strange noise")
        assert mark.wait(PATIENCE_S) == 0, mark.stdout.read()
        recorder.send_signal(signal.SIGINT)
        output, _ = recorder.communicate(timeout=PATIENCE_S)
        assert recorder.returncode == 0, output
    finally:
        recorder.kill()
        executor.remove_node(node)
        node.destroy_node()
        executor.shutdown()
    assert {(story["kind"], story["sentence"]) for story in stories(folder)} == {
        ("mark", "a strange noise"),
        ("minimal_risk", "COMFORTABLE_STOP: The lidar is silent."),
    }
    stop = next(folder.glob("*-minimal_risk"))
    commands = yaml.safe_load((stop / EVENT).read_text())["commands"]
    assert [(row["mode"], row["commanded_by"], row["hazard_lights"]) for row in commands] == [
        ("AUTONOMOUS", "controller", False),
        ("COMFORTABLE_STOP", "controller", True),
    ]
