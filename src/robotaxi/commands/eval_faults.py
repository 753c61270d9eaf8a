"""`robotaxi eval faults`: break everything, one thing after the other and two at once, and see nobody hurt."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from robotaxi.commands.eval_rides import seeds
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import MapError
from robotaxi.params import ParameterError
from robotaxi.vehicle import load_vehicle

_NAMED_SHARE = 0.95
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn())  # fmt: skip


def register(suites: Any) -> None:
    parser = suites.add_parser(
        "faults",
        help="fault injection: does the car end safely whatever breaks?",
        description="Breaks nodes, messages, sensors and the machine at random moments of random rides: in twins "
        "(the real planner, controller, health monitor and gate in one process, perfect perception) and in whole rides "
        "(every node a process, real DDS, simulated sensors). 10 injections a seed unless told otherwise.",
    )
    parser.add_argument("--seeds", type=seeds, default=list(range(100)), metavar="A-B", help="default 0-99")
    parser.add_argument("--twins", type=int, default=8, help="injections a seed into twins (default %(default)s)")
    parser.add_argument("--full", type=int, default=2, help="injections a seed into a whole ride (default %(default)s)")
    parser.add_argument("--map", default="town", help="map name or path (default %(default)s)")
    parser.add_argument("--vehicle", default="robotaxi", help="vehicle name or path (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="seeds at the same time, twins only")
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
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    with Progress(*_COLUMNS, console=Console(stderr=True)) as progress:
        task = progress.add_task("injections", total=len(args.seeds) * (args.twins + args.full))
        for batch in _batches(args):
            for row in batch:
                rows.append(row)
                progress.advance(task)
                if not row["good"]:
                    progress.console.print(f"  {_line(row)}", highlight=False, markup=False)
            _write(args.json, {**summary(rows), "wall_s": round(time.monotonic() - began, 1), "injections": rows})
    figures = summary(rows)
    _write(args.json, {**figures, "wall_s": round(time.monotonic() - began, 1), "injections": rows})
    share = figures["named_share"]
    print(
        f"eval faults: {figures['safe']} of {figures['count']} injections ended safely, "
        f"{figures['noticed_in_time']} of {figures['must_be_noticed']} noticed in time, "
        f"the right part named in {100.0 * share:.1f} %, {figures['recovered']} drove on"
    )
    return 0 if figures["holds"] else 1


def _batches(args: argparse.Namespace) -> Iterable[list[dict[str, Any]]]:
    """Twins first (they are quick), then whole rides; each in a process of its own, so that none disturbs another."""
    jobs = [(seed, index * args.twins, args.twins, args.map, args.vehicle) for index, seed in enumerate(args.seeds)]
    context = multiprocessing.get_context("spawn")
    if args.twins:
        with context.Pool(max(args.workers, 1), maxtasksperchild=8) as pool:
            yield from pool.imap(_twins, jobs)
    if args.full:
        with tempfile.TemporaryDirectory(prefix="robotaxi-faults-") as folder:
            runs = (args.runs or Path(folder)).resolve()
            for index, seed in enumerate(args.seeds):
                with context.Pool(1) as pool:
                    yield pool.apply(_full, ((seed, index * args.full, args.full, runs, args.map, args.vehicle),))


def _twins(job: tuple[int, int, int, str, str]) -> list[dict[str, Any]]:
    from robotaxi.faults.twin_campaign import run_seed

    try:
        return run_seed(*job)
    except Exception as error:
        return [_failed(job[0], "twin", error)] * job[2]


def _full(job: tuple[int, int, int, Path, str, str]) -> list[dict[str, Any]]:
    from robotaxi.faults.full_campaign import run_seed

    try:
        return run_seed(*job)
    except Exception as error:
        return [_failed(job[0], "full", error)] * job[2]


def _failed(seed: int, scene: str, error: Exception) -> dict[str, Any]:
    """A scene that could not be run counts as unsafe."""
    return {"seed": seed, "scene": scene, "faults": [], "safe": False, "why_not": f"{type(error).__name__}: {error}",
            "noticed": None, "in_time": False, "must_notice": True, "named": "", "named_right": False,
            "recovered": False, "good": False}  # fmt: skip


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
