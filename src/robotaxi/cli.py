"""`robotaxi ...`: one sub-command a task. Each explains itself with `--help`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from robotaxi.environment import keep_memory

_COMMANDS = (
    "robotaxi.commands.ride",
    "robotaxi.commands.bringup",
    "robotaxi.commands.record",
    "robotaxi.commands.mark",
    "robotaxi.commands.replay",
    "robotaxi.commands.bags",
    "robotaxi.commands.view",
    "robotaxi.commands.evaluate",
    "robotaxi.commands.bench",
    "robotaxi.commands.why",
    "robotaxi.commands.models",
    "robotaxi.commands.train",
    "robotaxi.dispatch.commands",
    "robotaxi.commands.fleet",
    "robotaxi.commands.maps",
    "robotaxi.commands.carla_server",
    "robotaxi.commands.security",
    "robotaxi.commands.housekeeping",
)
_EPILOG = """examples:
  robotaxi ride --seed 7                      one ride from order to drop-off, with a report
  robotaxi bringup mode:=sim map:=town        the stack's processes, as `ros2 launch` starts them
  robotaxi replay BAG                         recorded inputs through the stack, compared to the bit
  robotaxi dispatch --help                    broker, dispatch desk and orders

Every command with --json FILE writes its figures there, prints one summary line last, and exits
non-zero when what it checks does not hold.
"""


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of every command; of one alone where a module has its name, without what the others import."""
    parser = argparse.ArgumentParser(
        prog="robotaxi",
        description="ROS 2 autonomy stack of a robotaxi: from a ride order to the drop-off.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in [name for name in _COMMANDS if name.endswith(f".commands.{command}")] or _COMMANDS:
        import_module(module).register(subparsers)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Ctrl-C ends with status 130 and no traceback."""
    keep_memory()
    words = sys.argv[1:] if arguments is None else arguments
    args = build_parser(words[0] if words else "").parse_args(words)
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        print("robotaxi: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
