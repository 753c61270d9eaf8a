"""`robotaxi record`: the topics of a running stack as a bag."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from robotaxi.bags.profiles import PROFILES
from robotaxi.bags.writer import BagError
from robotaxi.commands.bag_output import write_json

_EXIT_FELL_SHORT, _EXIT_UNUSABLE = 1, 2


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "record",
        help="record a running stack to a bag",
        description="Subscribes to the serialised messages of a profile's topics and writes them as they are, until "
        "Ctrl-C. The static transforms and /tf are always in it. What was written survives a kill: see "
        "`robotaxi bag repair`. Exit status 1 when messages of a periodic topic are missing.",
        epilog="examples:\n  ROS_DOMAIN_ID=5 robotaxi record -o drive --profile drive\n"
        "  robotaxi record -o long --split-s 60 --storage sqlite3\n"
        "  robotaxi record -o events --events     # a ring of 90 s; a bag for each event (robotaxi mark makes one)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", type=Path, help="new bag (default: bag-DATE-TIME)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="all", help="which topics (default %(default)s)")
    parser.add_argument("--events", action="store_true", help="event recorder: keep only what is around an event; "
                        "--output is the folder of the packages")  # fmt: skip
    parser.add_argument("--storage", choices=["mcap", "sqlite3"], default="mcap")
    parser.add_argument("--metadata-version", type=int, choices=[8, 9], default=9, help="8 Humble, 9 Jazzy and later")
    parser.add_argument("--split-mb", type=float, default=0.0, help="begin a new file after so many megabytes")
    parser.add_argument("--split-s", type=float, default=0.0, help="begin a new file after so many recorded seconds")
    parser.add_argument("--duration", type=float, default=0.0, metavar="S", help="stop after so many wall seconds")
    parser.add_argument("--namespace", default="", help="the vehicle's")
    parser.add_argument("--map", default="town", help="what is noted in the bag")
    parser.add_argument("--vehicle", default="robotaxi", help="what is noted in the bag")
    parser.add_argument("--sensors", default="robotaxi", help="what is noted in the bag, and its static transforms")
    parser.add_argument("--params-file", default="", metavar="FILE", help="what is noted in the bag")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.environment import stack_environment
    from robotaxi.params import ParameterError
    from robotaxi.sensor_rig import load_rig

    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    bag = args.output or Path(time.strftime("bag-%Y%m%d-%H%M%S"))
    try:
        load_rig(args.sensors)
        if bag.exists() and not args.events:
            raise BagError(f"bag {bag} exists already; nothing is overwritten, choose another name")
        if not domain.isdecimal():
            raise BagError(f"ROS_DOMAIN_ID is '{domain}', expected an integer from 0 to 232")
        if args.split_mb < 0.0 or args.split_s < 0.0 or args.duration < 0.0:
            raise BagError("--split-mb, --split-s and --duration must not be negative")
        os.environ.update(stack_environment(int(domain)))
        status = _record(args, bag.resolve())
    except (BagError, ParameterError, OSError) as error:
        print(f"robotaxi record: {error}", file=sys.stderr)
        write_json(args.json, {"error": str(error)})
        return _EXIT_UNUSABLE
    return status or (_report_events if args.events else _report)(args, bag.resolve())


def _record(args: argparse.Namespace, bag: Path) -> int:
    from robotaxi.nodes.host import run as host
    from robotaxi.nodes.recorder import RecorderNode

    node = RecorderNode
    if args.events:
        from robotaxi.nodes.event_recorder import EventRecorderNode

        node = EventRecorderNode
    values = {
        "bag": bag, "record_profile": args.profile, "storage": args.storage, "metadata_version": args.metadata_version,
        "split_mb": args.split_mb, "split_s": args.split_s, "record_s": args.duration, "map": args.map,
        "vehicle": args.vehicle, "sensors": args.sensors, "params_file": args.params_file or "''",
    }  # fmt: skip
    words = [word for key, value in values.items() for word in ("-p", f"{key}:={value}")]
    if args.namespace:
        words += ["-r", f"__ns:=/{args.namespace.strip('/')}"]
    what = "what is around events" if args.events else args.profile
    print(f"recording {what} to {bag} in ROS domain {os.environ['ROS_DOMAIN_ID']}; Ctrl-C ends it", flush=True)
    return host([node], ["robotaxi", "--ros-args", *words])


def _report(args: argparse.Namespace, bag: Path) -> int:
    from robotaxi.bags.reader import bag_info, missing_messages

    try:
        info = bag_info(bag)
    except BagError as error:
        print(f"robotaxi record: {error}", file=sys.stderr)
        write_json(args.json, {"error": str(error), "bag": str(bag)})
        return _EXIT_FELL_SHORT
    missing = missing_messages(bag)
    size_mb = sum(file.stat().st_size for file in bag.iterdir()) / 1e6
    write_json(args.json, {
        "bag": str(bag), "messages": info.messages, "seconds": (info.end_ns - info.start_ns) / 1e9,
        "size_mb": round(size_mb, 2), "missing": missing,
        "topics": {topic: count for topic, (_, count) in info.topics.items()},
    })  # fmt: skip
    words = "none missing" if not missing else "MISSING: " + ", ".join(f"{n} of {t}" for t, n in missing.items())
    print(f"record: {info.messages} messages, {size_mb:.1f} MB, {words} | {bag}")
    return _EXIT_FELL_SHORT if missing else 0


def _report_events(args: argparse.Namespace, folder: Path) -> int:
    from robotaxi.bags.event_ring import stories

    events = stories(folder)
    write_json(args.json, {"folder": str(folder), "events": events})
    for event in events:
        print(f"  {event['package']}: {event['sentence']}")
    print(f"record: {len(events)} event{'' if len(events) == 1 else 's'} | {folder}")
    return 0
