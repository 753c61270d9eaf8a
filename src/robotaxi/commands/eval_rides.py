"""`robotaxi eval town|repeat`: many whole rides with different seeds, or one seed many times."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from robotaxi.commands.eval_results import add_results, earlier, told
from robotaxi.commands.progress import bar
from robotaxi.params import ParameterError
from robotaxi.supervisor import die_with

_FAILURES = ("collisions", "red_lights_run", "stop_lines_run", "off_road_m")


def register(suites: Any) -> None:
    town = suites.add_parser("town", help="one ride a seed on one map")
    town.add_argument(
        "--seeds", type=seeds, default=list(range(20)), metavar="A-B", help="e.g. 0-19 or 3,5,8 (default 0-19)"
    )
    town.add_argument("--workers", type=int, default=1, help="rides at the same time (default %(default)s)")
    add_perfect(town)
    add_results(town)
    _add_common(town)
    town.set_defaults(run=run_town)
    repeat = suites.add_parser("repeat", help="one seed several times: is the trace the same?")
    repeat.add_argument("--seed", type=int, default=1)
    repeat.add_argument("--times", type=int, default=5, help="how often (default %(default)s)")
    repeat.add_argument("--load", action="store_true", help="keep every core busy with other work meanwhile")
    _add_common(repeat)
    repeat.set_defaults(run=run_repeat)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--map", default="town", help="map name or path (default %(default)s)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where the rides' folders go (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every ride's figures there")
    parser.add_argument("ride", nargs="*", metavar="-- OPTION", help="further options of robotaxi ride, after --")


def seeds(text: str) -> list[int]:
    """'0-19' or '3,5,8-10' to a list. argparse.ArgumentTypeError names what cannot be read."""
    out: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"'{part}' is not a seed or a range such as 0-19")
        out.extend(range(int(first), int(last or first) + 1))
    return out


def add_perfect(parser: argparse.ArgumentParser) -> None:
    """The choice of modules that are replaced by twins that know the truth."""
    parser.add_argument(
        "--perfect",
        type=_modules,
        metavar="MODULES",
        help="perception,localization: both know the truth; one process without sensors and ROS, faster than real time",
    )


def _modules(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if set(names) != {"perception", "localization"}:
        raise argparse.ArgumentTypeError(f"'{text}': perception and localization can only be perfect together")
    return names


def run_town(args: argparse.Namespace) -> int:
    try:
        earlier(args)  # a file that cannot be read is said before anything is driven
    except ParameterError as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    if args.perfect:
        return _run_perfect(args)
    rows = _rides([(seed, []) for seed in args.seeds], args, args.workers)
    return _finish(args, rows, {})


def _finish(args: argparse.Namespace, rows: list[dict[str, Any]], more: dict[str, Any]) -> int:
    """Figures over all rides, ``more`` with them, the table and the last line."""
    good = sum(row.get("exit_status") == 0 for row in rows)
    result = {
        "suite": "town",
        "map": args.map,
        "rides": len(rows),
        "succeeded": good,
        "driving_score_mean": sum(row.get("driving_score") or 0.0 for row in rows) / len(rows) if rows else 0.0,
        **{name: sum(row.get(name) or 0 for row in rows) for name in ("at_fault_collisions", *_FAILURES)},
        **more,
        "by_seed": rows,
    }
    _write(args.json, result)
    _table(rows)
    told(args, earlier(args), rows)
    rate = f", {more['real_time_factor_per_core']:.1f} times real time a core" if more else ""
    print(f"eval town: {good} of {len(rows)} rides delivered without a fault, "
          f"driving score {result['driving_score_mean']:.1f}{rate}")  # fmt: skip
    return 0 if good == len(rows) else 1


def _run_perfect(args: argparse.Namespace) -> int:
    """Rides without sensors, in worker processes."""
    from robotaxi.hdmap.lane_map import MapError

    if args.ride:
        print(f"robotaxi: rides without sensors take no further options, found {' '.join(args.ride)}", file=sys.stderr)
        return 2
    try:
        _town(args.map)  # a map that cannot be read is said before workers start
    except (MapError, OSError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    rows = []
    with bar("rides", len(args.seeds)) as progress, ProcessPoolExecutor(max(1, args.workers)) as pool:
        for row in pool.map(_perfect_ride, [(args.map, seed) for seed in args.seeds]):
            rows.append(row)
            progress(len(rows))
            if row["problems"]:
                progress.say(f"  seed {row['seed']}: {'; '.join(row['problems'])}")
    simulated, cpu = (sum(row.get(key) or 0.0 for row in rows) for key in ("duration_s", "cpu_s"))
    return _finish(args, rows, {
        "perfect": list(args.perfect), "simulated_s": round(simulated, 1), "cpu_s": round(cpu, 1),
        "real_time_factor_per_core": round(simulated / cpu, 2) if cpu else 0.0,
    })  # fmt: skip


@lru_cache(maxsize=1)
def _town(name: str) -> tuple[Any, Any, Any]:
    from robotaxi.hdmap import load_map
    from robotaxi.sim.scenery.config import SceneryConfig
    from robotaxi.sim.scenery.parking import place_parked
    from robotaxi.vehicle import load_vehicle

    lane_map = load_map(name)
    return lane_map, load_vehicle("robotaxi"), place_parked(lane_map, SceneryConfig())[0]


def _perfect_ride(job: tuple[str, int]) -> dict[str, Any]:
    from robotaxi.evaluation import town_ride

    lane_map, vehicle, parked = _town(job[0])
    return town_ride.run(lane_map, vehicle, job[1], parked)


def run_repeat(args: argparse.Namespace) -> int:
    hogs = [
        multiprocessing.Process(target=_hog, daemon=True)
        for _ in range(multiprocessing.cpu_count() if args.load else 0)
    ]
    for hog in hogs:
        hog.start()
    try:
        rows = _rides([(args.seed, [])] * args.times, args, 1)
    finally:
        for hog in hogs:
            hog.kill()
    traces = [row.get("trace_sha256") for row in rows]
    same = len(set(traces)) == 1 and traces[0] is not None
    _write(args.json, {"suite": "repeat", "seed": args.seed, "same": same, "traces": traces, "rides": rows})
    for number, row in enumerate(rows, 1):
        print(f"  {number}: {row.get('trace_sha256')}  real-time factor {row.get('real_time_factor')}")
    if not same:
        topics = rows[0].get("trace_by_topic") or {}
        differ = [t for t in topics if len({(row.get("trace_by_topic") or {}).get(t) for row in rows}) > 1]
        print(f"  different topics: {', '.join(differ) or 'a ride was not recorded'}")
    print(f"eval repeat: seed {args.seed}, {args.times} rides: {'the same bytes' if same else 'NOT the same'}")
    return 0 if same else 1


def _hog() -> None:
    while True:
        sum(range(100_000))


def _rides(jobs: Sequence[tuple[int, list[str]]], args: argparse.Namespace, workers: int) -> list[dict[str, Any]]:
    """Run the rides as processes of their own; a ride that breaks is a row with its error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(max(1, workers)) as pool:
        task = progress.add_task("rides", total=len(jobs))

        def one(job: tuple[int, list[str]]) -> dict[str, Any]:
            row = _ride(job[0], [*job[1], *args.ride], args)
            progress.advance(task)
            progress.console.print(f"  seed {job[0]}: {row['line']}")
            return row

        return list(pool.map(one, jobs))


def _ride(seed: int, options: list[str], args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ride.json"
        command = [sys.executable, "-m", "robotaxi", "ride", "--seed", str(seed), "--map", args.map,
                   "--record", "drive", "--runs", str(args.runs), "--json", str(file), *options]  # fmt: skip
        parent = os.getpid()
        done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=lambda: die_with(parent))
        row = json.loads(file.read_text()) if file.exists() else {"error": done.stderr[-500:], "exit_status": 1}
    row["line"] = (done.stdout.strip().splitlines() or ["no output"])[-1]
    row.setdefault("seed", seed)
    return dict(row)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("seed", "result", "m", "s", "RTF", "score", "localization RMS m", "tracking RMS m", "problems")
    for row in rows:
        problems = "; ".join(row.get("problems") or [row.get("error", "")])
        cells = [row.get(name) for name in ("distance_m", "duration_s", "real_time_factor", "driving_score")]
        cells += [(row.get(part) or {}).get("lateral_rms_m") for part in ("localization", "tracking")]
        shown = ["" if value is None else f"{value:.3g}" for value in cells]
        table.add_row(str(row["seed"]), "ok" if row.get("exit_status") == 0 else "FAILED", *shown, problems)
    Console().print(table)


def _write(file: Path | None, result: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
