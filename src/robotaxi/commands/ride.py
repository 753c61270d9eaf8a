"""`robotaxi ride`: one ride from order to drop-off, its report, its bag and its figures."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from robotaxi.hdmap.lane_map import MapError, RouteError
from robotaxi.params import ParameterError
from robotaxi.ride.options import RideError, RideOptions
from robotaxi.stack import MODES, ODOMETRY_ONLY, StackError

EXIT_FELL_SHORT, EXIT_UNUSABLE, EXIT_INTERRUPTED = 1, 2, 130
_NEEDED_MB = 300
_SENSORS_NEED_MB = 3000


def register(subparsers: Any) -> None:
    defaults = RideOptions()
    parser = subparsers.add_parser(
        "ride",
        help="drive one ride from order to drop-off",
        description="Starts dispatch desk, broker, simulator and stack as separate processes, orders a ride, "
        "drives it, and writes a report. Exit status 0 only if the passenger was delivered without a "
        "collision, a red light or stop line run, or leaving the road.",
        epilog="examples:\n  robotaxi ride --seed 7\n  robotaxi ride --seed 7 --json ride.json --record all\n"
        "  robotaxi ride --map /maps/Town01.xodr --seed 3 --rate 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--map", default=defaults.map, help="map name, or path to .osm or .xodr (default %(default)s)")
    parser.add_argument("--seed", type=_seed, default=defaults.seed, help="of the world, its people and its noise")
    parser.add_argument("--mode", choices=[m for m in MODES if m in ("sim", "carla")], default=defaults.mode)
    parser.add_argument(
        "--carla", default="", metavar="HOST:PORT", help="CARLA server for --mode carla; without it one is started here"
    )
    parser.add_argument(
        "--carla-traffic",
        type=_seed,
        default=defaults.carla_traffic,
        metavar="N",
        help="cars that CARLA's TrafficManager drives (default %(default)s)",
    )
    parser.add_argument("--compose", action="store_true", help="all nodes in one process instead of one a domain")
    parser.add_argument("--no-camera", action="store_true", help="no images; lights come as V2X phase messages (SPaT)")
    parser.add_argument(
        "--rate", type=_rate, default=defaults.rate, help="real-time factor to hold; 0: as fast as it goes"
    )
    parser.add_argument(
        "--record",
        choices=("all", "drive"),
        default="all",
        help="profile of the bag; all holds what a replay needs, 12 MB a second; drive leaves the sensors out "
        "(default %(default)s)",
    )
    parser.add_argument("--vehicle", default=defaults.vehicle, help="name in config/vehicle, or a path")
    parser.add_argument("--sensors", default=defaults.sensors, help="name in config/sensors, or a path")
    parser.add_argument("--odd", default=defaults.odd, help="operational design domain: name in config/odd, or a path")
    parser.add_argument("--params-file", default="", metavar="FILE", help="parameters that override config/stack")
    parser.add_argument(
        "--runs", type=Path, default=defaults.runs, help="where the run's folder goes (default %(default)s)"
    )
    parser.add_argument(
        "--max-duration", type=_rate, default=defaults.max_duration, help="ride time after which it ends, s"
    )
    parser.add_argument(
        "--localization-map",
        default="",
        metavar="DIR",
        help="match sweeps with this map (see 'robotaxi map build'); odometry: no map, but lidar odometry",
    )
    parser.add_argument(
        "--events",
        default="",
        metavar="FILE",
        help="what shall happen on the way: road users, weather, broken sensors; a path or a name in config/events",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.set_defaults(run=run)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer from 0")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0")
    return value


def run(args: argparse.Namespace) -> int:
    options = RideOptions(
        map=args.map,
        vehicle=args.vehicle,
        sensors=args.sensors,
        odd=args.odd,
        seed=args.seed,
        mode=args.mode,
        carla=args.carla,
        carla_traffic=args.carla_traffic,
        composed=args.compose,
        camera=not args.no_camera,
        rate=args.rate,
        record=args.record,
        params_file=args.params_file,
        runs=args.runs,
        max_duration=args.max_duration,
        localization_map=args.localization_map,
        events=args.events,
    )
    try:
        summary = ride(options, shlex.join(["robotaxi", *sys.argv[1:]]))
    except (MapError, RouteError, ParameterError, StackError, RideError, FileNotFoundError, OSError) as error:
        summary = {"completed": False, "error": str(error), "exit_status": EXIT_UNUSABLE}
        print(f"robotaxi ride: {error}", file=sys.stderr)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for note in summary.get("notes", []):
        print(f"note: {note}")
    print(summary_line(summary), flush=True)
    return int(summary["exit_status"])


def ride(options: RideOptions, command_line: str) -> dict[str, Any]:
    """Check everything that can be checked before anything starts, drive, evaluate."""
    from robotaxi.geometry.geodesy import LocalFrame
    from robotaxi.hdmap import load_map
    from robotaxi.odd_file import load_odd
    from robotaxi.parameter_files import check_parameter_files
    from robotaxi.ride.carla import carla_server
    from robotaxi.sensor_rig import load_rig
    from robotaxi.sim.events.model import load_events
    from robotaxi.sim.events.script import write_script
    from robotaxi.sim.ride_plan import plan_ride
    from robotaxi.stack import StackArguments, check
    from robotaxi.vehicle import load_vehicle

    options = _absolute(options)
    arguments = check(
        StackArguments(
            mode=options.mode,
            map=options.map,
            params_file=options.params_file,
            localization_map=options.localization_map,
        )
    )
    check_parameter_files(arguments)
    load_vehicle(options.vehicle)
    load_rig(options.sensors)
    load_odd(options.odd, LocalFrame(0.0, 0.0))  # in which frame does not matter for what may be wrong in the file
    if options.mode != "carla":  # what cannot be driven is said before a folder is made for it
        lane_map = load_map(options.map)
        plan = plan_ride(lane_map, options.seed)
        if options.events:
            write_script(load_events(options.events), lane_map, plan, options.seed)
    elif options.events and any(event.actors or event.weather for event in load_events(options.events)):
        raise RideError("in --mode carla only broken sensors can be had from --events: its road users are CARLA's own")
    folder = new_run_folder(options.runs, _SENSORS_NEED_MB if options.record == "all" else _NEEDED_MB)
    with carla_server(options, folder) as served:
        return _drive(served, folder, command_line)


def _drive(options: RideOptions, folder: Path, command_line: str) -> dict[str, Any]:
    from robotaxi.environment import AlreadyRunning
    from robotaxi.hdmap import load_map
    from robotaxi.ride.result import evaluate
    from robotaxi.ride.session import drive
    from robotaxi.sim.ride_plan import plan_ride

    lane_map = load_map(options.map)
    plan = plan_ride(lane_map, options.seed)
    screen = Screen()
    try:
        outcome = drive(options, lane_map, plan, folder, screen.show)
    except AlreadyRunning as error:
        raise RideError(str(error)) from error
    finally:
        screen.close()
    try:
        return evaluate(options, lane_map, plan, outcome, command_line)
    except OSError as error:  # a full disk, most likely; what the recorder wrote before is kept
        trip = outcome.progress.trip.name
        return {
            "completed": False,
            "error": f"the trip ended as {trip}, but its results could not be written to {folder}: {error.strerror}. "
            f"Make room, then: robotaxi bag repair {outcome.bag}",
            "notes": outcome.notes,
            "exit_status": EXIT_FELL_SHORT,
        }


def _absolute(options: RideOptions) -> RideOptions:
    from dataclasses import replace

    names = ("map", "vehicle", "sensors", "odd", "params_file", "events")
    paths = {
        n: str(Path(v).resolve()) for n in names if (v := getattr(options, n)) and Path(v).suffix and Path(v).exists()
    }
    if options.localization_map not in ("", ODOMETRY_ONLY):
        paths["localization_map"] = str(Path(options.localization_map).resolve())
    return replace(options, runs=options.runs.resolve(), **paths)  # type: ignore[arg-type]


def new_run_folder(runs: Path, needed_mb: int = _NEEDED_MB) -> Path:
    """A new folder named by the time. RideError when there is no room or no right to write."""
    runs.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(runs).free / 1e6
    if free_mb < needed_mb:
        cure = "; --record drive leaves the sensors out of the bag" if needed_mb > _NEEDED_MB else ""
        raise RideError(f"{runs} has {free_mb:.0f} MB free, this run needs {needed_mb} MB{cure}")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        folder = runs / f"{stamp}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise RideError(f"{runs}: could not make a new folder for this run")


class Screen:
    """The one live line; on something that is no terminal, a line each time what happens changes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=8, transient=False) if sys.stdout.isatty() else None
        self._said = ""
        if self._live:
            self._live.start()

    def show(self, progress: Any, phase: str) -> None:
        from robotaxi.evaluation.live import LiveState, live_text

        state = LiveState(
            trip_state=progress.trip.name,
            distance_to_go=progress.distance_to_go,
            speed=progress.speed,
            real_time_factor=progress.real_time_factor,
            sentence=phase or progress.said,
            time=progress.stamp_ns / 1e9,
        )
        if self._live:
            self._live.update(live_text(state, self._console.width))
        elif (said := f"{progress.trip.name} {phase}") != self._said:
            self._said = said
            print(live_text(state, 160).plain, flush=True)

    def close(self) -> None:
        if self._live:
            self._live.stop()


def summary_line(summary: dict[str, Any]) -> str:
    """The last line that a ride prints."""
    if summary.get("error") and "distance_m" not in summary:
        return f"ride: {'not driven: ' if summary['exit_status'] == EXIT_UNUSABLE else ''}{summary['error']}"
    verdict = "delivered" if summary["exit_status"] == 0 else "FELL SHORT: " + "; ".join(summary.get("problems", []))
    return (
        f"ride: {verdict} | {summary['distance_m']:.0f} m in {summary['duration_s']:.0f} s, "
        f"real-time factor {summary['real_time_factor'] or 0.0:.2f}, driving score {summary['driving_score']:.0f} | "
        f"trace {summary['trace_sha256'][:12]} | {summary['report']}"
    )
