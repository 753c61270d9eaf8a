"""`robotaxi bag import` and `robotaxi replay`: other people's recordings through our perception."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from robotaxi.params import ParameterError
from robotaxi.ride.options import RideError

_EXIT_FELL_SHORT, _EXIT_UNUSABLE = 1, 2


def register(subparsers: Any) -> None:
    bag = subparsers.add_parser(
        "bag",
        help="make bags from other recordings",
        epilog="example:\n  robotaxi bag import kitti ~/data/kitti_tracking_0000 -o kitti",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = bag.add_subparsers(dest="bag_command", required=True, metavar="COMMAND")
    importer = commands.add_parser("import", help="convert a recording to an mcap bag")
    importer.add_argument("format", choices=["kitti"], help="kitti: velodyne/ sweeps, calib.txt, kiss_icp_poses.txt")
    importer.add_argument("data", type=Path, help="folder of the recording")
    importer.add_argument("-o", "--output", type=Path, required=True, help="new bag (a folder)")
    importer.add_argument("--sweeps", type=int, help="only the first so many")
    importer.set_defaults(run=run_import)

    replay = subparsers.add_parser(
        "replay",
        help="play a bag through the perception node, with pictures",
        description="Starts the bag player, the perception process and a recorder (mode:=bag), plays every sweep, and "
        "leaves a bag of the outputs, pictures of objects over points, and figures. Exit status 0 only if every sweep "
        "was answered.",
        epilog="examples:\n  robotaxi replay kitti --sensors kitti --vehicle kitti\n"
        "  robotaxi replay runs/20260101-120000/bag --map town --on-map --json replay.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replay.add_argument("bag", type=Path, help="bag with /sensing/lidar/top/pointcloud")
    replay.add_argument(
        "--nodes", default="perception", choices=["perception"], help="which nodes run (default %(default)s)"
    )
    replay.add_argument("--sensors", default="robotaxi", help="sensor rig the bag was recorded with")
    replay.add_argument("--vehicle", default="robotaxi", help="vehicle the bag was recorded with")
    replay.add_argument("--map", default="town", help="map for --on-map")
    replay.add_argument("--on-map", action="store_true", help="keep only objects on the map's roads")
    replay.add_argument("--rate", type=float, default=0.0, help="real-time factor to hold; 0: as fast as it goes")
    replay.add_argument("--pictures", type=int, default=4, help="how many (default %(default)s)")
    replay.add_argument("--runs", type=Path, default=Path("runs"), help="where the run's folder goes")
    replay.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    replay.set_defaults(run=run_replay)


def run_import(args: argparse.Namespace) -> int:
    from robotaxi.bags.kitti import KittiError, convert

    try:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("sweeps", total=None)
            done = convert(
                args.data, args.output, args.sweeps, lambda n, of: progress.update(task, completed=n, total=of)
            )
    except KittiError as error:
        print(f"robotaxi bag import: {error}", file=sys.stderr)
        return _EXIT_UNUSABLE
    print(
        f"bag: {done.sweeps} sweeps, {done.points:,} points, {done.duration_s:.1f} s, {done.way_m:.0f} m -> {done.bag}"
    )
    return 0


def run_replay(args: argparse.Namespace) -> int:
    from robotaxi.commands.ride import new_run_folder
    from robotaxi.environment import AlreadyRunning
    from robotaxi.nodes.bag_player import open_bag
    from robotaxi.replay.result import draw, summarise
    from robotaxi.replay.session import ReplayError, ReplayOptions, replay
    from robotaxi.sensor_rig import load_rig
    from robotaxi.vehicle import load_vehicle

    try:
        open_bag(args.bag).close()
        load_rig(args.sensors)
        vehicle = load_vehicle(args.vehicle)
        folder = new_run_folder(args.runs.resolve())
        options = ReplayOptions(
            args.bag.resolve(), folder, args.sensors, args.vehicle, args.map, args.on_map, max(args.rate, 0.0)
        )
        begun = time.monotonic()
        with Console(stderr=True).status("playing ...") as status:
            out = replay(options, lambda seconds: status.update(f"playing ... {seconds:.0f} s"))
    except (ParameterError, ReplayError, RideError, AlreadyRunning, OSError) as error:
        print(f"robotaxi replay: {error}", file=sys.stderr)
        _write(args.json, {"completed": False, "error": str(error)})
        return _EXIT_UNUSABLE
    summary = {"completed": True, "wall_s": round(time.monotonic() - begun, 1), **summarise(args.bag, out)}
    summary["pictures"] = [str(p) for p in draw(args.bag, out, args.sensors, vehicle, folder, args.pictures)]
    summary.update(bag=str(out), run=str(folder))
    summary["completed"] = summary["answered"] == summary["sweeps"] > 0
    _write(folder / "summary.json", summary)
    _write(args.json, summary)
    milliseconds = f"{summary['lidar_ms_p50']:.0f} ms p50" if summary["lidar_ms_p50"] is not None else "no timings"
    print(
        f"replay: {summary['answered']} of {summary['sweeps']} sweeps answered, {summary['objects_mean']:.1f} objects "
        f"a sweep, {milliseconds} | {folder}"
    )
    return 0 if summary["completed"] else _EXIT_FELL_SHORT


def _write(file: Path | None, summary: dict[str, Any]) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
