"""`robotaxi bench carla`: TrafficManager on our server, agreement with the built-in world, and rubbish on its ports."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from robotaxi.commands.bench import add_json, finish
from robotaxi.hdmap.lane_map import MapError, RouteError

if TYPE_CHECKING:
    from robotaxi.ride.carla_process import ServerProcess

_OFFSET, _FRAME_MS, _APART = 0.35, 3.0, 0.2
_GROWTH_MB = 200.0
_TRAFFIC_S = 3600.0


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "carla",
        help="TrafficManager, agreement of paths, fuzzed ports of the CARLA server",
        description="Drives our CARLA server with the genuine client: cars of TrafficManager (wanted: none lost, 95 % "
        "of lane offsets below 0.35 m, less than 3 ms of the server's processor for a frame), one ride in the built-in "
        "world and through the wire (paths within 0.2 m), rubbish sent to both ports (always an answer for who asks "
        "properly).",
    )
    parser.add_argument(
        "--map", action="append", metavar="FILE", help="OpenDRIVE file, repeatable (default: the built-in town)"
    )
    parser.add_argument("--cars", type=int, default=50, help="of TrafficManager (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="that they drive; 0 leaves it out (default %(default)s)"
    )
    parser.add_argument("--rides", type=int, default=1, help="rides driven twice on each map; 0 leaves it out")
    parser.add_argument("--fuzz", type=int, default=100_000, help="inputs; 0 leaves it out (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.resources import config_dir

    maps = args.map or [str(config_dir() / "maps" / "town" / "town.xodr")]
    figures: dict[str, Any] = {"seed": args.seed, "traffic": [], "agreement": []}
    try:
        from robotaxi.carla_link.bridge.connection import CarlaError, carla_module
        from robotaxi.ride.carla_process import StartError

        carla_module()
        with tempfile.TemporaryDirectory(prefix="robotaxi-carla-") as folder:
            _measure(args, maps, Path(folder), figures)
    except (MapError, RouteError, CarlaError, StartError, OSError) as error:
        print(f"robotaxi bench carla: {error}", file=sys.stderr)
        return finish(args, {**figures, "error": str(error)}, f"not measured: {error}", holds=False)
    checks = _checks(figures)
    figures["checks"] = checks
    short = [name for name, holds in checks.items() if not holds]
    return finish(args, figures, _words(figures) + (f" | short: {', '.join(short)}" if short else ""), holds=not short)


def _measure(args: argparse.Namespace, maps: list[str], folder: Path, figures: dict[str, Any]) -> None:
    from robotaxi.evaluation.carla_agreement import agreement
    from robotaxi.evaluation.carla_fuzz import fuzz
    from robotaxi.ride.carla_process import server_process
    from robotaxi.vehicle import load_vehicle

    console = Console(stderr=True)
    for town in maps:
        if args.seconds > 0.0:
            console.print(f"{args.cars} cars for {args.seconds:g} s on {Path(town).name} ...")
            with server_process(town, args.seed, folder / "server.log", rendering=False) as server:
                figures["traffic"].append(_traffic(server, args))
        for ride in range(args.rides):
            console.print(f"a ride twice on {Path(town).name} ...")
            with server_process(town, args.seed, folder / "server.log", rendering=False) as server:
                figures["agreement"].append(
                    agreement(Path(town), args.seed + ride, load_vehicle("robotaxi"), server.port)
                )
    if args.fuzz > 0:
        with server_process(maps[0], args.seed, folder / "server.log", rendering=False) as server:
            memory = server.memory_mb()
            with Progress(console=console) as progress:
                task = progress.add_task("rubbish", total=args.fuzz)

                def tell(done: int) -> None:
                    progress.update(task, completed=done)

                figures["fuzz"] = fuzz(server.port, args.fuzz, args.seed, lambda: server.alive, tell)
            figures["fuzz"]["grown_mb"] = round(server.memory_mb() - memory, 1)


def _traffic(server: ServerProcess, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "robotaxi.carla_link.bridge.traffic", f"127.0.0.1:{server.port}", str(args.cars),
               str(args.seconds), str(args.seed)]  # fmt: skip
    spent = server.cpu_s()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TRAFFIC_S)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {_TRAFFIC_S:.0f} s"}
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return {"error": words[0].removeprefix("robotaxi: ")}
    row = dict(json.loads(done.stdout.strip().splitlines()[-1]))
    return {**row, "server_cpu_ms_per_frame": round(1e3 * (server.cpu_s() - spent) / row["frames"], 3)}


def _checks(figures: dict[str, Any]) -> dict[str, bool]:
    checks = {}
    for row in figures["traffic"]:
        name = f"traffic {row.get('map', '')}".strip()
        checks[name] = (
            "error" not in row
            and row["still_there"] == row["cars"] > 0
            and row["lane_offset_p95_m"] < _OFFSET
            and row["server_cpu_ms_per_frame"] < _FRAME_MS
        )
    for row in figures["agreement"]:
        checks[f"agreement {row['map']}"] = row["both_arrive"] and row["apart_max_m"] <= _APART
    if "fuzz" in figures:
        row = figures["fuzz"]
        checks["fuzz"] = row["alive"] and row["answered"] == row["asked"] > 0 and row["grown_mb"] < _GROWTH_MB
    return checks


def _words(figures: dict[str, Any]) -> str:
    said = []
    for row in figures["traffic"]:
        said.append(
            row["error"]
            if "error" in row
            else f"{row['map'].rpartition('/')[2]}: {row['cars']} cars {row['seconds']:g} s, "
            + (f"{row['cars'] - row['still_there']} taken away, " if row["still_there"] < row["cars"] else "")
            + f"offset p95 {row['lane_offset_p95_m']:.2f} m, server {row['server_cpu_ms_per_frame']:.1f} ms a frame"
        )
    said += [f"{row['map']}: paths within {row['apart_max_m']:.2f} m" for row in figures["agreement"]]
    if "fuzz" in figures:
        row = figures["fuzz"]
        said.append(f"{row['inputs']} inputs, {row['answered']} of {row['asked']} questions answered")
    return "; ".join(said) or "nothing measured"
