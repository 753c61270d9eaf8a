"""`robotaxi eval faults`: break everything, one thing after the other and two at once, and see nobody hurt."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from robotaxi.commands.eval_rides import seeds
from robotaxi.commands.progress import bar, until_interrupted
from robotaxi.crew import run_jobs
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import MapError
from robotaxi.params import ParameterError
from robotaxi.vehicle import load_vehicle

_NAMED_SHARE = 0.95
_CHUNK = 10  # seeds that one process drives after each other: loading a map takes seconds
_TWIN_PATIENCE_S, _FULL_PATIENCE_S = 900.0, 1800.0  # wall time; longer without a word is a hang
_WRITE_EVERY_S = 5.0
_INTERRUPTED = 130
Row = dict[str, Any]


def register(suites: Any) -> None:
    parser = suites.add_parser(
        "faults",
        help="fault injection: does the car end safely whatever breaks?",
        description="Breaks nodes, messages, sensors and the machine at random moments of random rides: in twins "
        "(the real planner, controller, health monitor and gate in one process, perfect perception) and in whole rides "
        "(every node a process, real DDS, simulated sensors). 10 injections a seed unless told otherwise. Progress "
        "goes to stderr, figures to --json as they come; Ctrl-C ends it with what there is.",
    )
    parser.add_argument("--seeds", type=seeds, default=list(range(100)), metavar="A-B", help="default 0-99")
    parser.add_argument("--twins", type=int, default=8, help="injections a seed into twins (default %(default)s)")
    parser.add_argument("--full", type=int, default=2, help="injections a seed into a whole ride (default %(default)s)")
    parser.add_argument("--map", default="town", help="map name or path (default %(default)s)")
    parser.add_argument("--vehicle", default="robotaxi", help="vehicle name or path (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1,
                        help="processes at a time, twins only (default: one a core, %(default)s)")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=None, metavar="DIR", help="keep the whole rides' folders there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every injection there, as they come")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        load_vehicle(args.vehicle)
        load_map(args.map)
    except (ParameterError, MapError, OSError) as error:
        print(f"robotaxi eval faults: {error}", file=sys.stderr)
        return 2
    if min(args.twins, args.full) < 0 or args.twins + args.full == 0:
        print(f"robotaxi eval faults: --twins {args.twins} and --full {args.full} leave nothing to do; "
              "give one of them at least 1", file=sys.stderr)  # fmt: skip
        return 2
    began, written = time.monotonic(), 0.0
    rows: list[Row] = []

    def write(interrupted: Sequence[str] = ()) -> None:
        wall = round(time.monotonic() - began, 1)
        _write(args.json, {**summary(rows), "interrupted": bool(interrupted), "wall_s": wall, "injections": rows})

    with until_interrupted() as interrupted, bar("injections", len(args.seeds) * (args.twins + args.full)) as progress:
        for row in _rows(args):
            rows.append(row)
            if not row["good"]:
                progress.say(f"  {_line(row)}")
            progress(len(rows))
            if time.monotonic() - written > _WRITE_EVERY_S:
                write()
                written = time.monotonic()
    place = {seed: index for index, seed in enumerate(args.seeds)}
    rows.sort(key=lambda row: (row["scene"] != "twin", place[row["seed"]]))  # stable: each seed's stay in order
    write(interrupted)
    figures = summary(rows)
    print(
        f"eval faults: {'interrupted: ' if interrupted else ''}"
        f"{figures['safe']} of {figures['count']} injections ended safely, "
        f"{figures['noticed_in_time']} of {figures['must_be_noticed']} noticed in time, "
        f"the right part named in {100.0 * figures['named_share']:.1f} %, {figures['recovered']} drove on"
    )
    return _INTERRUPTED if interrupted else 0 if figures["holds"] else 1


def _rows(args: argparse.Namespace) -> Iterator[Row]:
    """Twins first (they are quick), then whole rides, one at a time: they time what they see."""
    if args.twins:
        work = partial(_twins, count=args.twins, map_name=args.map, vehicle=args.vehicle)
        chunk = max(1, min(_CHUNK, len(args.seeds) // max(args.workers, 1)))
        yield from run_jobs(args.seeds, work, lambda seed: args.twins, partial(_lost, "twin"), workers=args.workers,
                            chunk=chunk, patience_s=_TWIN_PATIENCE_S)  # fmt: skip
    if args.full:
        with tempfile.TemporaryDirectory(prefix="robotaxi-faults-") as folder:
            runs = (args.runs or Path(folder)).resolve()
            work = partial(_full, count=args.full, runs=runs, map_name=args.map, vehicle=args.vehicle)
            yield from run_jobs(args.seeds, work, lambda seed: args.full, partial(_lost, "full"),
                                patience_s=_FULL_PATIENCE_S)  # fmt: skip


def _twins(seed: int, tell: Callable[[Row], None], *, count: int, map_name: str, vehicle: str) -> None:
    from robotaxi.faults.twin_campaign import run_seed

    run_seed(seed, seed * count, count, map_name, vehicle, tell)


def _full(seed: int, tell: Callable[[Row], None], *, count: int, runs: Path, map_name: str, vehicle: str) -> None:
    from robotaxi.faults.full_campaign import run_seed

    for row in run_seed(seed, seed * count, count, runs, map_name, vehicle):
        tell(row)


def _lost(scene: str, seed: int, why: str) -> Row:
    """A scene that could not be run counts as unsafe."""
    return {"seed": seed, "scene": scene, "faults": [], "safe": False, "why_not": why, "noticed": None,
            "in_time": False, "must_notice": True, "named": "", "named_right": False, "recovered": False,
            "good": False}  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over all injections. ``named_share``: of those noticed, how many named an injected part."""
    must = [row for row in rows if row["must_notice"]]
    noticed = [row for row in rows if row["noticed"] is not None]
    named = sum(row["named_right"] for row in noticed)
    safe = sum(row["safe"] for row in rows)
    in_time = sum(row["in_time"] for row in must)
    share = named / len(noticed) if noticed else 0.0
    kinds = Counter(fault["kind"] for row in rows for fault in row["faults"])
    delays = sorted(row["noticed"] for row in must if row["noticed"] is not None)
    return {
        "suite": "faults",
        "count": len(rows),
        "full_sensor_stack": sum(row["scene"] == "full" for row in rows),
        "safe": safe,
        "at_fault_collisions": sum("collision" in row["why_not"] for row in rows),
        "must_be_noticed": len(must),
        "noticed_in_time": in_time,
        "noticed_s_median": delays[len(delays) // 2] if delays else None,
        "named_share": round(share, 4),
        "recovered": sum(row["recovered"] for row in rows),
        "by_kind": dict(sorted(kinds.items())),
        "holds": bool(rows) and safe == len(rows) and in_time == len(must) and share >= _NAMED_SHARE,
    }


def _line(row: dict[str, Any]) -> str:
    faults = " + ".join(f"{fault['kind']} {fault.get('target', '')}".strip() for fault in row["faults"])
    what = row["why_not"] or (
        f"not noticed in time ({row['noticed']} s)" if not row["in_time"] else f"named '{row['named']}'"
    )
    return f"seed {row['seed']} {row['scene']}: {faults}: {what[:300]}"


def _write(file: Path | None, result: dict[str, Any]) -> None:
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"robotaxi eval faults: {file} cannot be written: {error.strerror}", file=sys.stderr)
