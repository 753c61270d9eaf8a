"""`robotaxi security init`: SROS 2 enclaves for every node, from the interface table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

_NOT_HERE = (
    "This Fast DDS was built without its security plug-ins (the wheels on PyPI are): the enclaves take effect "
    "with an installed ROS 2 whose middleware has them."
)


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "security",
        help="on-board security: SROS 2 enclaves",
        description="Generates what SROS 2 needs: an authority, and for each node an identity and signed permissions "
        "to write and read exactly the topics that the interface table gives it.",
        epilog="Then, with a ROS 2 whose middleware has the plug-ins:\n  export ROS_SECURITY_ENABLE=true "
        "ROS_SECURITY_STRATEGY=Enforce\n  export ROS_SECURITY_KEYSTORE=KEYSTORE\n  and start each node with "
        "--ros-args --enclave /NODE",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="write a new keystore")
    init.add_argument("--keystore", type=Path, default=Path("keystore"), help="folder (default %(default)s)")
    init.add_argument("--namespace", default="", help="of the vehicle's topics")
    init.set_defaults(run=run_init)


def run_init(args: argparse.Namespace) -> int:
    from robotaxi.enclaves import create_keystore, middleware_has_security

    try:
        names = create_keystore(args.keystore, args.namespace)
    except OSError as error:
        print(f"robotaxi security: {error}", file=sys.stderr)
        return 2
    if not middleware_has_security():
        print(f"robotaxi security: {_NOT_HERE}", file=sys.stderr)
    print(f"security: {len(names)} enclaves in {args.keystore}: {', '.join(names)}")
    return 0
