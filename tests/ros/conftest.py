"""A DDS domain of its own for each test, in this process."""

import os
import sys

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)

import pytest

from robotaxi.environment import reserve_domain, stack_environment


@pytest.fixture
def domain(monkeypatch):
    """A ROS domain id that no other test or stack on this machine uses."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    reservation = reserve_domain()
    for name, value in stack_environment(reservation.domain_id).items():
        monkeypatch.setenv(name, value)
    yield reservation.domain_id
    reservation.release()


@pytest.fixture
def context(domain):
    """An rclpy context in that domain, under simulated time."""
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    context = Context()
    rclpy.init(
        args=["test", "--ros-args", "-p", "use_sim_time:=true", "--log-level", "error"],
        context=context,
        domain_id=domain,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    yield context
    context.try_shutdown()
