"""`robotaxi bringup key:=value ...`: the processes that `ros2 launch robotaxi bringup.launch.py` starts.

For machines without ROS 2's launch tools. Same executables, same ``--ros-args``, one description: `stack`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from robotaxi.environment import AlreadyRunning, reserve_domain
from robotaxi.hdmap.lane_map import MapError
from robotaxi.parameter_files import check_parameter_files
from robotaxi.params import ParameterError
from robotaxi.stack import HELP, StackArguments, StackError, describe, parse_arguments
from robotaxi.supervisor import Interrupt, Supervisor, describe_exit


def register(subparsers: Any) -> None:
    defaults = StackArguments()
    lines = "\n".join(f"  {key}:={_shown(getattr(defaults, key)):<12} {text}" for key, text in HELP.items())
    parser = subparsers.add_parser(
        "bringup",
        help="start the stack's processes, as ros2 launch does",
        description="Starts the stack and keeps it running until Ctrl-C or until one of its processes ends.",
        epilog=f"launch arguments and their defaults:\n{lines}\n\nexamples:\n"
        "  robotaxi bringup mode:=sim map:=town seed:=3\n"
        "  robotaxi bringup mode:=bag bag:=runs/kitti/bag\n"
        "  robotaxi bringup namespace:=car2 broker:=localhost:8883 pki:=~/.local/share/robotaxi/pki",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("arguments", nargs="*", metavar="key:=value", help="launch arguments, see below")
    parser.set_defaults(run=run)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def run(args: argparse.Namespace) -> int:
    try:
        arguments = parse_arguments(args.arguments)
        check_parameter_files(arguments)
        executables = describe(arguments)
        reservation = reserve_domain(arguments.namespace)
    except (StackError, ParameterError, MapError, FileNotFoundError, AlreadyRunning) as error:
        print(f"robotaxi bringup: {error}", file=sys.stderr)
        return 2
    try:
        with (
            tempfile.TemporaryDirectory(prefix="robotaxi-") as folder,
            Interrupt() as interrupt,
            Supervisor(reservation.domain_id) as supervisor,
        ):
            supervisor.start_stack(arguments, executables, parameter_folder=Path(folder))
            names = ", ".join(item.name for item in executables)
            print(f"robotaxi: {names} in ROS domain {reservation.domain_id}. Ctrl-C stops them.", flush=True)
            dead = supervisor.wait(None, interrupt)
            if dead and not interrupt.is_set:
                status = describe_exit(int(dead[0].exit_status or 0))
                print(f"robotaxi bringup: {dead[0].name} ended ({status}); stopping the rest", file=sys.stderr)
                return 0 if dead[0].exit_status == 0 else 1
    finally:
        reservation.release()
    return 0
