"""`robotaxi why BAG --at T`: why did the car do that?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "why",
        help="why did the car do that? The reason in force at a time of a recorded ride",
        description="Reads planning/explanation and the motion from a bag and says what the car did, and why.",
        epilog="example:\n  robotaxi why runs/20260101-120000/bag --at 42.5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bag", type=Path, help="a bag, or the folder of a ride that has one")
    parser.add_argument("--at", type=float, required=True, metavar="T", help="seconds since the start of the ride")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answer there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.bags.ride_reader import read_ride
    from robotaxi.evaluation.why import answer

    bag = args.bag / "bag" if (args.bag / "bag").is_dir() else args.bag
    if not bag.exists():
        print(f"robotaxi: no bag at {bag}", file=sys.stderr)
        return 2
    try:
        log = read_ride(bag)
    except Exception as error:  # whatever the bag library raises for a broken bag
        print(f"robotaxi: cannot read {bag}: {str(error).splitlines()[0] if str(error) else error!r}", file=sys.stderr)
        return 2
    found = answer(log, args.at)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for line in found["lines"]:
        print(line)
    return 0 if found["cause"] is not None else 1
