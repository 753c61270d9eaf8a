"""`robotaxi eval scenarios`: scenarios as data, each with many seeds, perception and localization perfect."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robotaxi.commands.eval_results import add_results, earlier, told
from robotaxi.commands.eval_rides import add_perfect, seeds
from robotaxi.commands.progress import bar


def register(suites: Any) -> None:
    parser = suites.add_parser(
        "scenarios",
        help="scenarios from config/scenarios or OpenSCENARIO files: prediction, planning and control alone",
        description="Drives scenarios (YAML: place, actors with triggers, named checks) with perfect perception and "
        "localization (always: --perfect says the same), in one process without ROS. "
        "Fields and kinds, and what of OpenSCENARIO is read: docs/scenarios.md.",
    )
    parser.add_argument(
        "--suite",
        default="basics",
        help="folder in config/scenarios, or the path of a folder, a .yaml or an OpenSCENARIO 1.x .xosc file (default "
        "%(default)s)",
    )
    parser.add_argument("--only", metavar="NAME", help="only scenarios whose name contains this")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], metavar="A-B", help="e.g. 0-9 (default 0-2)")
    add_perfect(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every drive's figures there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report there")
    add_results(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.scenarios.model import load_suite
    from robotaxi.hdmap.lane_map import MapError
    from robotaxi.params import ParameterError

    try:
        scenarios = [item for item in load_suite(args.suite) if not args.only or args.only in item.name]
        before = earlier(args)
        for name in dict.fromkeys(item.map for item in scenarios):
            _world(name)  # a map that cannot be read is said before anything is driven
    except (ParameterError, MapError, OSError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    if not scenarios:
        print(f"robotaxi: no scenario in '{args.suite}' is called '{args.only}'", file=sys.stderr)
        return 2
    # no seed changes a story
    jobs = [(item, seed) for item in scenarios for seed in (args.seeds if item.story is None else args.seeds[:1])]
    begin = time.perf_counter()
    with bar("drives", len(jobs)) as progress, ProcessPoolExecutor(max(1, args.workers)) as pool:
        rows = []
        for row in pool.map(_drive, jobs):
            rows.append(row)
            progress(len(rows))
    wall = time.perf_counter() - begin
    good = sum(row["passed"] for row in rows)
    simulated, cpu = (sum(row.get(key, 0.0) for row in rows) for key in ("duration_s", "cpu_s"))
    result = {
        "suite": args.suite, "drives": len(rows), "passed": good, "simulated_s": simulated, "wall_s": wall,
        "real_time_factor_per_core": simulated / cpu if cpu else 0.0, "rows": rows,
    }  # fmt: skip
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _show(rows)
    changes = told(args, before, rows)
    if args.html is not None:
        from robotaxi.evaluation.scenarios.report import write

        write(args.html, rows, changes)
    print(
        f"eval scenarios: {good} of {len(rows)} drives of {len(scenarios)} scenarios hold, "
        f"{result['real_time_factor_per_core']:.0f} times real time a core"
    )
    return 0 if good == len(rows) else 1


@lru_cache(maxsize=4)
def _world(name: str) -> tuple[Any, Any]:
    from robotaxi.hdmap import load_map
    from robotaxi.vehicle import load_vehicle

    return load_map(name), load_vehicle("robotaxi")


def _drive(job: tuple[Any, int]) -> dict[str, Any]:
    """One drive as a row; a scenario that does not fit its map is a failed row."""
    from robotaxi.evaluation.scenarios import checks, run
    from robotaxi.evaluation.scenarios.model import ScenarioError
    from robotaxi.hdmap.lane_map import MapError, RouteError

    scenario, seed = job
    lane_map, vehicle = _world(scenario.map)
    begin = time.process_time()
    try:
        loop = run.drive(scenario, seed, lane_map, vehicle)
    except (ScenarioError, MapError, RouteError) as error:
        return {"scenario": scenario.name, "seed": seed, "passed": False, "failed": {"scenario": str(error)}}
    row = checks.judge(scenario, seed, lane_map, vehicle, loop).row()
    row["cpu_s"] = time.process_time() - begin
    row["path"] = [[round(item[1], 2), round(item[2], 2)] for item in loop.trace[::25]]
    row["actors"] = [[m.actor.kind, round(m.x, 2), round(m.y, 2), round(m.yaw, 3)] for m in loop.movers]
    return row


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("scenario", "holds", "what does not")
    for name in dict.fromkeys(row["scenario"] for row in rows):
        own = [row for row in rows if row["scenario"] == name]
        faults = [f"seed {row['seed']}: {k}: {v}" for row in own for k, v in row["failed"].items()]
        table.add_row(name, f"{sum(row['passed'] for row in own)}/{len(own)}", "\n".join(faults[:4]))
    Console().print(table)
