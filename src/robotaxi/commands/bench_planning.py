"""`robotaxi bench planning`: closed-loop CommonRoad driving beside FOP, FISS and FISS+."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robotaxi.commands.bench import add_json, finish
from robotaxi.commands.progress import bar

_PREDICTIONS = ("ground_truth", "lane_following", "constant_velocity")
_PEERS = ("fop", "fiss", "fiss_plus")
_SUCCESS = {"ground_truth": 75.0, "lane_following": 65.0, "constant_velocity": 0.0}  # per cent, at least
_COLLISIONS = {"ground_truth": 4.0}  # per cent, at most
_CYCLE_MS = 5.0  # mean
_CYCLE_P99_MS = 20.0


def register(benches: Any) -> None:
    parser = benches.add_parser(
        "planning",
        help="drive CommonRoad scenarios in closed loop, beside other planners",
        description="Drives every scenario of a folder in the closed loop of fiss-bench-commonroad, with the official "
        "goal, collision and road checks. The CommonRoad tools live in a virtual environment of their own, which is "
        "made on first use.",
    )
    parser.add_argument("--scenarios", type=Path, required=True, metavar="DIR", help="folder of CommonRoad .xml files")
    parser.add_argument(
        "--prediction", action="append", choices=_PREDICTIONS, help="may be given more than once (default: all three)"
    )
    parser.add_argument("--peers", action="store_true", help="FOP, FISS and FISS+ in the same run, with and without QP")
    parser.add_argument("--workers", type=int, default=1, help="scenarios at the same time (default %(default)s)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N scenarios")
    parser.add_argument("--venv", type=Path, help="where the environment is (default: under the user's cache)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.commonroad import environment

    files = sorted(args.scenarios.rglob("*.xml")) if args.scenarios.is_dir() else [args.scenarios]
    files = files[: args.limit] if args.limit > 0 else files
    if not files or not files[0].exists():
        print(f"robotaxi: no CommonRoad .xml file in {args.scenarios}", file=sys.stderr)
        return 2
    console = Console(stderr=True)
    try:
        python = environment.prepare(args.venv or environment.default_folder(), console.print)
    except environment.CommonRoadError as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    planners = ["robotaxi"]
    if args.peers:
        planners += [*_PEERS, *(f"{name}+qp" for name in _PEERS)]
    predictions = list(dict.fromkeys(args.prediction or _PREDICTIONS))
    figures: dict[str, Any] = {}
    stop = threading.Event()
    done, lock = 0, threading.Lock()
    with bar("runs", len(files) * len(planners) * len(predictions)) as progress:

        def count(rows: int) -> None:
            nonlocal done
            with lock:
                done += rows
                progress(done)

        for prediction in predictions:
            if stop.is_set():
                break
            rows = environment.drive(python, files, planners, prediction, max(1, args.workers), count, stop)
            of_planners = environment.summarise(rows)
            figures[prediction] = {"summary": of_planners, "rows": [_without_cycles(row) for row in rows]}
    problems = [*_verdict(figures), *(["interrupted"] if stop.is_set() else [])]
    _show(figures)
    parts = []
    for prediction, part in figures.items():
        own = part["summary"].get("robotaxi")
        if own:
            parts.append(
                f"{prediction} {own['success_percent']:.0f} % success, {own['collision_percent']:.0f} % collisions, "
                f"{own['plan_ms_mean']:.1f} ms (p99 {own.get('plan_ms_p99', 0.0):.1f})"
            )
    summary = "; ".join(parts or ["no scenario could be driven"]) + (f" ({'; '.join(problems)})" if problems else "")
    return finish(args, {"predictions": figures, "problems": problems}, summary, not problems)


def _without_cycles(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "plan_ms"}


def _verdict(figures: dict[str, Any]) -> list[str]:
    problems = []
    for prediction, part in figures.items():
        own = part["summary"].get("robotaxi")
        if own is None:
            problems.append(f"{prediction}: nothing was driven")
            continue
        if own["success_percent"] < _SUCCESS[prediction]:
            problems.append(f"{prediction}: success below {_SUCCESS[prediction]:.0f} %")
        if own["collision_percent"] > _COLLISIONS.get(prediction, 100.0):
            problems.append(f"{prediction}: collisions above {_COLLISIONS[prediction]:.0f} %")
        if own["plan_ms_mean"] > _CYCLE_MS:
            problems.append(f"{prediction}: mean cycle above {_CYCLE_MS:.0f} ms")
        if own.get("plan_ms_p99", 0.0) > _CYCLE_P99_MS:
            problems.append(f"{prediction}: 99 % of cycles are not below {_CYCLE_P99_MS:.0f} ms")
    return problems


def _show(figures: dict[str, Any]) -> None:
    columns = ("success_percent", "collision_percent", "off_road_percent", "timeout_percent", "no_plan_percent")
    table = Table(
        "prediction", "planner", "n", "success %", "collision %", "off road %", "timeout %", "no plan %", "ms"
    )
    for prediction, part in figures.items():
        for name, row in part["summary"].items():
            cells = [f"{row[key]:.1f}" for key in columns]
            table.add_row(prediction, name, str(row["scenarios"]), *cells, f"{row['plan_ms_mean']:.1f}")
    Console().print(table)
    told = set()
    for prediction, part in figures.items():
        for row in part["rows"]:
            if row["status"] == "skipped" and row["scenario"] not in told:
                told.add(row["scenario"])
                print(f"  {row['scenario']} skipped: {row['error']}")
            elif row["status"] == "error":
                print(f"  {prediction} {row['scenario']} ({row['planner']}): {row['error']}")
