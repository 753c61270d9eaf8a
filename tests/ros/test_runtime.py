"""The nodes' base over real DDS: exact inputs, bounded waits, connections before the start."""

import time

import numpy as np
import pytest
from rclpy.parameter import Parameter

from robotaxi.interfaces import MS, TICK_NS, VEHICLE
from robotaxi.nodes import convert
from robotaxi.nodes.host import make_executor
from robotaxi.nodes.pace import Pace
from robotaxi.nodes.runtime import StackNode
from robotaxi.types import Command, EgoState, GnssFix, ImuSample, VehicleReport

pytestmark = pytest.mark.ros
PATIENCE_S = 20.0


class Localization(StackNode):
    role, trigger, period_ns = "localization", "sensing/imu/data", TICK_NS

    def setup(self):
        self.seen = []

    def activate(self, at_ns):
        status, fix = self.read("vehicle/status", at_ns), self.read_stamped("sensing/gnss/fix", at_ns)
        self.seen.append((at_ns, status.stamp_ns if status else None, fix[0] if fix else None))
        self.write("localization/kinematic_state", convert.odometry(EgoState(at_ns, 1.0, 2.0, 0.3, 4.0), at_ns))


class Vehicle(StackNode):
    role, trigger, period_ns, trigger_counts_at_once = VEHICLE, "vehicle/command", TICK_NS, False

    def setup(self):
        pass

    def activate(self, at_ns):
        pass

    def publish(self, at_ns, *, status=True):
        self.write("sensing/imu/data", convert.imu(ImuSample(at_ns, np.zeros(3), np.zeros(3), 0.1, 0.1)))
        if at_ns % (100 * MS) == 0:
            self.write("sensing/gnss/fix", convert.nav_sat_fix(GnssFix(at_ns, 1.0, 2.0, 3.0, np.ones(3))))
        if status:
            self.write("vehicle/status", convert.joint_state(VehicleReport(at_ns, 1.0, 0.0)))


@pytest.fixture
def graph(context):
    """A vehicle and a localization node that are connected."""
    nodes = [cls(context=context) for cls in (Vehicle, Localization)]
    executor = make_executor(context)
    for node in nodes:
        node.set_parameters([Parameter("peers", value=[VEHICLE, "localization"])])
        node.autostart()
        executor.add_node(node)

    def spin_until(done):
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, "nothing came in time"
            executor.spin_once(timeout_sec=0.1)

    spin_until(lambda: all(node._announced for node in nodes))
    yield *nodes, spin_until
    for node in nodes:
        executor.remove_node(node)
        node.destroy_node()
    executor.shutdown()


def test_every_activation_gets_exactly_the_inputs_that_count(graph):
    vehicle, localization, spin_until = graph
    for tick in range(20):
        vehicle.publish(tick * TICK_NS)
    spin_until(lambda: len(localization.seen) == 20)
    stamps = [tick * TICK_NS for tick in range(20)]
    assert localization.seen == [(t, t, t // (100 * MS) * 100 * MS) for t in stamps]


def test_activation_waits_for_a_late_message_and_keeps_the_order(graph):
    vehicle, localization, spin_until = graph
    vehicle.publish(0, status=False)
    vehicle.publish(TICK_NS)
    spin_until(lambda: len(localization.seen) == 2)  # the newer status completes both
    assert [row[0] for row in localization.seen] == [0, TICK_NS]


def test_a_dead_input_is_given_up_after_a_bounded_wait_and_named(graph):
    vehicle, localization, spin_until = graph
    localization.wait_timeout_s = 0.3
    vehicle.publish(0, status=False)
    spin_until(lambda: len(localization.seen) == 1)
    assert localization.seen == [(0, None, 0)]
    assert localization.lost_inputs() == ("vehicle/status",)
    vehicle.publish(TICK_NS)
    spin_until(lambda: len(localization.seen) == 2 and localization.lost_inputs() == ())


def test_on_the_wall_clock_a_slow_node_takes_every_fifth_of_a_fast_trigger(graph):
    vehicle, localization, spin_until = graph
    localization.lockstep, localization._activation_pace = False, Pace(100 * MS, 0, lockstep=False)
    for buffer in localization._inputs.values():
        buffer.lockstep = False
    jitter = [0, 3 * MS, -3 * MS]
    for tick in range(16):
        vehicle.publish(1000 * MS + tick * TICK_NS + jitter[tick % 3])
    spin_until(lambda: len(localization.seen) == 4)
    assert [round((at - 1000 * MS) / TICK_NS) for at, _, _ in localization.seen] == [0, 5, 10, 15]


def test_messages_carry_their_nouns_unchanged():
    state = EgoState(20 * MS, 1.5, -2.5, 0.7, 3.0, yaw_rate=0.1, z=0.2, covariance=np.diag([0.1, 0.2, 0.3]))
    back = convert.ego_state(convert.odometry(state, state.stamp_ns))
    assert (back.x, back.y, back.speed, back.yaw_rate, back.z) == (1.5, -2.5, 3.0, 0.1, 0.2)
    assert back.yaw == pytest.approx(0.7, abs=1e-12)
    assert np.allclose(back.covariance, state.covariance)
    assert convert.ego_state(convert.odometry(None, 0)) is None
    command = Command(40 * MS, 0.1, -1.0, 5.0)
    assert convert.command(convert.joint_trajectory(command)) == command
    report = VehicleReport(0, 3.0, 0.1, -0.5, True, False, True)
    assert convert.vehicle_report(convert.joint_state(report)) == report
