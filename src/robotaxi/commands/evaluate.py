"""`robotaxi eval SUITE`: does the car do what it must, many times over?"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

_SUITES = (  # each registers its sub-commands
    "robotaxi.commands.eval_rides",
    "robotaxi.commands.eval_faults",
    "robotaxi.commands.eval_scenarios",
)


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="many rides, scenes and faults: what holds, and what does not?",
        description="Runs many rides or scenes and sums up what came of them. Exits 0 only if all is well.",
        epilog="examples:\n  robotaxi eval town --seeds 0-19 --json town.json\n"
        "  robotaxi eval repeat --seed 3 --times 5 --load",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    for module in _SUITES:
        import_module(module).register(suites)
