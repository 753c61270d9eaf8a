"""`robotaxi eval town|repeat`: many whole rides with different seeds, or one seed many times."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robotaxi.commands.eval_results import add_results, earlier, told
from robotaxi.commands.progress import bar, until_interrupted
from robotaxi.crew import run_jobs
from robotaxi.params import ParameterError
from robotaxi.supervisor import die_with

INTERRUPTED = 130  # exit status, as shells have it
Row = dict[str, Any]
Rides = Generator[tuple[int, Row], None, None]
_CHUNK = 10  # seeds that one process drives after each other: loading a map takes seconds
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
    rides = _rides([(seed, []) for seed in args.seeds], args, args.workers)
    return _run(args, rides, lambda row: str(row["line"]), lambda rows: {})


def _run(
    args: argparse.Namespace, rides: Rides, said: Callable[[Row], str],
    more: Callable[[list[Row]], dict[str, Any]],
) -> int:  # fmt: skip
    """Take ``rides`` (place in the order asked for, row) as they end, write the figures after each, and ``more`` with
    them; then the table and the last line. Ctrl-C and SIGTERM end it with what there is."""
    done: dict[int, Row] = {}
    result = _figures(args, [], more)
    with until_interrupted() as interrupted, bar("rides", len(args.seeds)) as progress, closing(rides):
        for place, row in rides:
            done[place] = row
            if said(row):
                progress.say(f"  seed {row['seed']}: {said(row)}")
            progress(len(done))
            result = _figures(args, [done[k] for k in sorted(done)], more)
            _write(args.json, {**result, "interrupted": len(done) < len(args.seeds)})
    rows = result["by_seed"]
    _write(args.json, {**result, "interrupted": bool(interrupted)})
    _table(rows)
    told(args, earlier(args), rows)
    rate = f", {result['real_time_factor_per_core']:.1f} times real time a core" if args.perfect else ""
    left = f" ({len(args.seeds) - len(rows)} not driven: interrupted)" if interrupted else ""
    print(f"eval town: {result['succeeded']} of {len(rows)} rides delivered without a fault{left}, "
          f"driving score {result['driving_score_mean']:.1f}{rate}")  # fmt: skip
    if interrupted:
        return INTERRUPTED
    return 0 if result["succeeded"] == len(rows) else 1


def _figures(args: argparse.Namespace, rows: list[Row], more: Callable[[list[Row]], dict[str, Any]]) -> dict[str, Any]:
    """Figures over all rides."""
    return {
        "suite": "town",
        "map": args.map,
        "rides": len(rows),
        "succeeded": sum(row.get("exit_status") == 0 for row in rows),
        "driving_score_mean": sum(row.get("driving_score") or 0.0 for row in rows) / len(rows) if rows else 0.0,
        **{name: sum(row.get(name) or 0 for row in rows) for name in ("at_fault_collisions", *_FAILURES)},
        **more(rows),
        "by_seed": rows,
    }


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
    return _run(args, _perfect_rides(args), lambda row: "; ".join(row["problems"]), _speed)


def _perfect_rides(args: argparse.Namespace) -> Rides:
    def lost(seed: int, why: str) -> Row:
        return {"seed": seed, "exit_status": 1, "error": why, "problems": [why]}

    places = {seed: place for place, seed in enumerate(args.seeds)}
    chunk = max(1, min(_CHUNK, len(args.seeds) // max(1, args.workers)))
    work = partial(_perfect_ride, args.map)
    with closing(run_jobs(args.seeds, work, lambda seed: 1, lost, workers=args.workers, chunk=chunk)) as rows:
        for row in rows:
            yield places[row["seed"]], row


def _speed(rows: list[Row]) -> dict[str, Any]:
    simulated, cpu = (sum(row.get(key) or 0.0 for row in rows) for key in ("duration_s", "cpu_s"))
    return {
        "perfect": ["perception", "localization"], "simulated_s": round(simulated, 1), "cpu_s": round(cpu, 1),
        "real_time_factor_per_core": round(simulated / cpu, 2) if cpu else 0.0,
    }  # fmt: skip


@lru_cache(maxsize=1)
def _town(name: str) -> tuple[Any, Any, Any]:
    from robotaxi.hdmap import load_map
    from robotaxi.sim.scenery.config import SceneryConfig
    from robotaxi.sim.scenery.parking import place_parked
    from robotaxi.vehicle import load_vehicle

    lane_map = load_map(name)
    return lane_map, load_vehicle("robotaxi"), place_parked(lane_map, SceneryConfig())[0]


def _perfect_ride(map_name: str, seed: int, tell: Callable[[Row], None]) -> None:
    from robotaxi.evaluation import town_ride

    lane_map, vehicle, parked = _town(map_name)
    tell(town_ride.run(lane_map, vehicle, seed, parked))


def run_repeat(args: argparse.Namespace) -> int:
    hogs = [
        multiprocessing.Process(target=_hog, daemon=True)
        for _ in range(multiprocessing.cpu_count() if args.load else 0)
    ]
    for hog in hogs:
        hog.start()
    try:
        with bar("rides", args.times) as progress:
            rows = []
            for _, row in _rides([(args.seed, [])] * args.times, args, 1):
                rows.append(row)
                progress(len(rows))
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


def _rides(jobs: Sequence[tuple[int, list[str]]], args: argparse.Namespace, workers: int) -> Rides:
    """Run the rides as processes of their own, each with its place in ``jobs`` as it ends; a ride that breaks is a row
    with its error. Closed early, it ends the rides under way."""
    under_way: set[subprocess.Popen[str]] = set()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = {pool.submit(_ride, seed, [*options, *args.ride], args, under_way): place
                   for place, (seed, options) in enumerate(jobs)}  # fmt: skip
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for ride in list(under_way):
                ride.send_signal(signal.SIGINT)


def _ride(seed: int, options: list[str], args: argparse.Namespace, under_way: set[subprocess.Popen[str]]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ride.json"
        command = [sys.executable, "-m", "robotaxi", "ride", "--seed", str(seed), "--map", args.map,
                   "--record", "drive", "--runs", str(args.runs), "--json", str(file), *options]  # fmt: skip
        parent, pipe = os.getpid(), subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, preexec_fn=lambda: die_with(parent)
        ) as ride:
            under_way.add(ride)
            out, err = ride.communicate()
        under_way.discard(ride)
        row = json.loads(file.read_text()) if file.exists() else {"error": err[-500:], "exit_status": 1}
    row["line"] = (out.strip().splitlines() or ["no output"])[-1]
    row.setdefault("seed", seed)
    return dict(row)


def _table(rows: Sequence[Row]) -> None:
    table = Table("seed", "result", "m", "s", "RTF", "score", "localization RMS m", "tracking RMS m", "problems")
    for row in rows:
        problems = "; ".join(row.get("problems") or [row.get("error", "")])
        cells = [row.get(name) for name in ("distance_m", "duration_s", "real_time_factor", "driving_score")]
        cells += [(row.get(part) or {}).get("lateral_rms_m") for part in ("localization", "tracking")]
        places = (".0f", ".0f", ".2f", ".1f", ".3f", ".3f")
        shown = ["" if value is None else format(value, place) for value, place in zip(cells, places, strict=True)]
        table.add_row(str(row["seed"]), "ok" if row.get("exit_status") == 0 else "FAILED", *shown, problems)
    Console().print(table)


def _write(file: Path | None, result: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
