"""`robotaxi bench bags`: how fast are replay, recording and index, and are the bytes the same?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from robotaxi.bags.writer import BagError
from robotaxi.commands.bench import add_json, finish

_FULL, _CAMERA, _PART = 5.0, 2.0, 50.0  # times real time, wanted
_INDEX_RATIO = 0.8
_RECORD_CORE, _RECORD_MB = 0.2, 200.0


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bags",
        help="replay, recording and index: speed, memory, the same bytes",
        description="Measures on the bags given (of `robotaxi ride --record all`), or on one that it records "
        "first: replay of the whole stack and of planning and control, to the bit; writing at full sensor load; index "
        "beside the raw read of rosbags. Exit status 0 only if the bytes are the same and every figure is reached.",
    )
    parser.add_argument("bags", nargs="*", type=Path, metavar="BAG", help="none: a short ride is recorded first")
    parser.add_argument("--seed", type=int, default=7, help="of the ride that is recorded (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of the ride that is recorded (default %(default)s)"
    )
    parser.add_argument("--load", action="store_true", help="keep every core busy meanwhile")
    parser.add_argument("--separate", action="store_true", help="also replay in separate processes over the middleware")
    parser.add_argument("--record-s", type=float, default=30.0, help="s of sensor load that are written")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs' folders go")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.replay.bench import hogs, index_speed, record_a_ride, replay_speed, write_load

    console = Console(stderr=True)
    figures: dict[str, Any] = {"bags": [], "load": args.load}
    try:
        bags = [bag.resolve() for bag in args.bags]
        if not bags:
            console.print(f"recording {args.seconds:g} s of a ride ...")
            bags = [record_a_ride(args.seed, args.seconds, args.runs.resolve())]
        with hogs(args.load):
            for bag in bags:
                console.print(f"replaying {bag} ...")
                figures["bags"].append({"bag": str(bag), **replay_speed(bag, args.runs.resolve(), args.separate)})
        console.print("writing at full sensor load ...")
        figures["record"] = write_load(bags[0], args.record_s)
        console.print("indexing ...")
        figures["index"] = index_speed(bags[0])
    except (BagError, OSError, RuntimeError, ValueError) as error:
        print(f"robotaxi bench bags: {error}", file=sys.stderr)
        figures["error"] = str(error)
        finish(args, figures, f"not measured: {error}", False)
        return 2
    same = sum(row["same"] for row in figures["bags"])
    full = min(row["full_rate"] for row in figures["bags"])
    part = min(row["planning_control_rate"] for row in figures["bags"])
    wanted = min(_CAMERA if row["camera"] else _FULL for row in figures["bags"])
    record, index = figures["record"], figures["index"]
    checks = {
        "same_bytes": same == len(bags),
        "full_rate": full >= wanted,
        "planning_control_rate": part >= _PART,
        "record_core": record["core_share"] <= _RECORD_CORE and record["lost"] == 0,
        "record_memory": record["memory_mb"] <= _RECORD_MB,
        "index_ratio": index["ratio"] >= _INDEX_RATIO,
    }
    figures["checks"] = checks
    short = [name for name, good in checks.items() if not good]
    return finish(
        args,
        figures,
        f"{same} of {len(bags)} replays gave the same bytes, whole stack {full:.1f} times real time, planning and "
        f"control {part:.1f} times, recording {record['core_share']:.2f} of a core and {record['memory_mb']:.0f} MB, "
        f"index at {index['ratio']:.2f} of the raw read" + (f"; FELL SHORT: {', '.join(short)}" if short else ""),
        not short,
    )
