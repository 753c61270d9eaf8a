"""`robotaxi mark`: tell a running event recorder that what is happening now is worth keeping."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

_PATIENCE_S = 10.0


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "mark",
        help="keep what is around this moment: an operator's mark for the event recorder",
        description="Publishes a mark on system/mark of the running stack. The event recorder (`robotaxi record "
        "--events`, or bringup with events:=DIR) keeps the 90 s before it and the 30 s after it as a bag.",
        epilog='example:\n  ROS_DOMAIN_ID=5 robotaxi mark "strange noise from the front left wheel"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", nargs="?", default="Marked by the operator.", help="what it is about")
    parser.add_argument("--namespace", default="", help="the vehicle's")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.environment import stack_environment

    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    if not domain.isdecimal():
        print(f"robotaxi mark: ROS_DOMAIN_ID is '{domain}', expected an integer from 0 to 232", file=sys.stderr)
        return 2
    os.environ.update(stack_environment(int(domain)))
    if not _publish(args.text, args.namespace):
        print(f"robotaxi mark: no event recorder hears it in ROS domain {domain}", file=sys.stderr)
        return 1
    print(f"mark: {args.text}")
    return 0


def _publish(text: str, namespace: str) -> bool:
    """Whether somebody has acknowledged the mark."""
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    import rclpy
    from rclpy.duration import Duration
    from rclpy.node import Node

    from robotaxi.interfaces import INTERFACES
    from robotaxi.nodes.host import make_executor
    from robotaxi.nodes.messages import message_type
    from robotaxi.nodes.qos import qos_profile
    from robotaxi.nodes.records import to_record

    item = INTERFACES["system/mark"]
    rclpy.init(args=["robotaxi"])
    node = Node("operator_mark", namespace=namespace)
    executor = make_executor()
    executor.add_node(node)
    try:
        publisher = node.create_publisher(
            message_type(item.type), item.topic, qos_profile(item.qos, lockstep=True, publisher=True)
        )
        deadline = time.monotonic() + _PATIENCE_S
        while publisher.get_subscription_count() == 0:
            if time.monotonic() > deadline:
                return False
            executor.spin_once(timeout_sec=0.1)
        publisher.publish(to_record("mark", text, {}, 0))
        return bool(publisher.wait_for_all_acked(Duration(seconds=_PATIENCE_S)))
    finally:
        executor.remove_node(node)
        node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
