"""`robotaxi view [BAG]`: a bag or the running stack in Foxglove or Lichtblick."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from robotaxi.bags.profiles import PROFILES
from robotaxi.bags.writer import BagError
from robotaxi.interfaces import INTERFACES
from robotaxi.resources import config_dir

_EXIT_UNUSABLE = 2


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "view",
        help="look at a bag or the running stack in Foxglove or Lichtblick",
        description="Serves a recorded bag, or without BAG the stack that runs in ROS_DOMAIN_ID, on a WebSocket. Open "
        "it in Foxglove or Lichtblick (Open connection, ws://localhost:8765) and import the layout that is printed. "
        "Needs `pip install robotaxi[view]`.",
    )
    parser.add_argument("bag", type=Path, nargs="?", help="recorded bag; none: the running stack")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--rate", type=float, default=1.0, help="real-time factor of a bag (default %(default)s)")
    parser.add_argument("--from", dest="from_s", type=float, default=0.0, metavar="S")
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.bags.view import Server, play
    from robotaxi.supervisor import Interrupt

    layout = config_dir() / "foxglove" / "robotaxi.json"
    try:
        if not args.rate > 0.0:
            raise BagError(f"--rate is {args.rate}, expected a number above 0")
        if args.bag is not None:
            from robotaxi.bags.reader import bag_info

            bag_info(args.bag)
        with Interrupt() as interrupt, Server(args.host, args.port, "robotaxi") as server:
            print(f"ws://{args.host}:{server.port}  layout: {layout}  Ctrl-C ends it", flush=True)
            if args.bag is not None:
                sent = play(args.bag, server, interrupt, args.rate, args.from_s, args.loop)
            else:
                sent = _live(server, interrupt)
    except ModuleNotFoundError as error:
        print(f"robotaxi view: {error.name} is missing: pip install robotaxi[view]", file=sys.stderr)
        return _EXIT_UNUSABLE
    except (BagError, OSError) as error:
        print(f"robotaxi view: {error}", file=sys.stderr)
        return _EXIT_UNUSABLE
    print(f"view: {sent} messages served")
    return 0


def _live(server: Any, interrupt: Any) -> int:
    """Serve what the stack publishes until Ctrl-C."""
    from robotaxi.environment import stack_environment

    os.environ.update(stack_environment(int(os.environ.get("ROS_DOMAIN_ID", "0"))))
    import rclpy
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions

    from robotaxi.bags.writer import header_stamp_ns
    from robotaxi.nodes.host import make_executor
    from robotaxi.nodes.messages import message_type
    from robotaxi.nodes.qos import qos_profile

    rclpy.init(args=["robotaxi"], signal_handler_options=SignalHandlerOptions.NO)
    node, executor, sent = Node("view"), make_executor(), [0]

    def forward(topic: str) -> Any:
        def on_message(cdr: bytes) -> None:
            server.log(topic, cdr, header_stamp_ns(cdr))
            sent[0] += 1

        return on_message

    for topic in sorted(PROFILES["all"]):
        item = INTERFACES[topic]
        server.add("/" + topic, item.type)
        profile = qos_profile(item.qos, lockstep=False, publisher=False)
        node.create_subscription(message_type(item.type), topic, forward("/" + topic), profile, raw=True)
    executor.add_node(node)
    try:
        while not interrupt.is_set:
            executor.spin_once(timeout_sec=0.2)
    finally:
        executor.remove_node(node)
        node.destroy_node()
        rclpy.try_shutdown()
    return sent[0]
