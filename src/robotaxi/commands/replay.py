"""`robotaxi replay BAG`: recorded inputs through any part of the stack, and a comparison to the bit."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robotaxi.bags.writer import BagError
from robotaxi.commands.bag_output import write_json
from robotaxi.params import ParameterError
from robotaxi.ride.options import RideError
from robotaxi.stack import StackError

_EXIT_FELL_SHORT, _EXIT_UNUSABLE = 1, 2
_ITSELF, _GUESSED = "recorded", "proposed"


def register(subparsers: Any) -> None:
    replay = subparsers.add_parser(
        "replay",
        help="play a bag through nodes of the stack, and compare what they make",
        description="Plays the recorded inputs of a bag through the nodes named, as fast as they go: the player owns "
        "the time, nothing is dropped or reordered, and the same code makes the same bytes each time. What the nodes "
        "make is left as a bag beside the recorded one.",
        epilog="examples:\n"
        "  robotaxi replay runs/20260101-120000/bag --compare\n"
        "  robotaxi replay BAG --nodes planning,control --from 10 --to 40 --rate 1\n"
        "  robotaxi replay BAG --nodes perception --compare golden/perception --update\n"
        "  robotaxi replay kitti --nodes perception --pictures 4\n\n"
        "exit status: 0 all played (and the same), 1 outputs are missing or differ, 2 it could not be played",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replay.add_argument("bag", type=Path, help="bag to play")
    replay.add_argument("--nodes", default="", help="domains or nodes by comma (default: all that the bag can feed)")
    replay.add_argument("--rate", type=_rate, default=0.0, metavar="R|max|step", help="real-time factor (default max)")
    replay.add_argument("--from", dest="from_s", type=float, metavar="S", help="first stamp, s")
    replay.add_argument("--to", dest="to_s", type=float, metavar="S", help="last stamp, s")
    replay.add_argument("--loop", type=int, default=1, metavar="N", help="play it so many times (default once)")
    how = replay.add_mutually_exclusive_group()
    how.add_argument("--direct", action="store_true",
                     help="without middleware: the same nodes and bytes, faster (default with --rate max)")  # fmt: skip
    how.add_argument("--processes", action="store_true",
                     help="each node in its process, over the middleware (default with any other --rate)")  # fmt: skip
    how.add_argument("--compose", action="store_true", help="all nodes in one process, over the middleware")
    replay.add_argument(
        "--compare", nargs="?", const=_ITSELF, metavar="REF",
        help="compare with the recorded outputs, or with those of the bag REF",
    )  # fmt: skip
    replay.add_argument("--tolerance", type=Path, metavar="FILE", help="YAML with ignore, absolute, default")
    replay.add_argument("--update", action="store_true", help="make the fresh outputs the new REF")
    replay.add_argument(
        "--adapt", nargs="?", const=_GUESSED, metavar="NAME",
        help="adapt a foreign bag first: config/bags/NAME.yaml, a path, or what `bag inspect` proposes",
    )  # fmt: skip
    replay.add_argument("--map", default="", help="map instead of the one in the bag")
    replay.add_argument("--vehicle", default="", help="vehicle instead of the one in the bag")
    replay.add_argument("--sensors", default="", help="sensor rig instead of the one in the bag")
    replay.add_argument("--params-file", default="", metavar="FILE", help="parameters instead of the bag's overrides")
    replay.add_argument("--on-map", action="store_true", help="keep only objects on the map's roads, also without map")
    replay.add_argument("--pictures", type=int, default=0, help="bird's-eye pictures of objects (default none)")
    replay.add_argument("--runs", type=Path, default=Path("runs"), help="where the run's folder goes")
    replay.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    replay.set_defaults(run=run)


def _rate(text: str) -> float:
    if text in ("max", "step"):
        return 0.0 if text == "max" else -1.0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1e4:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number above 0 nor max nor step")
    return value


def run(args: argparse.Namespace) -> int:
    from robotaxi.environment import AlreadyRunning
    from robotaxi.hdmap.lane_map import MapError

    summary: dict[str, Any] = {"completed": False}
    try:
        code = _replay(args, summary)
    except (
        ParameterError, RideError, AlreadyRunning, StackError, BagError, MapError, OSError, RuntimeError
    ) as error:  # fmt: skip
        summary["error"], code = str(error), _EXIT_UNUSABLE
        print(f"robotaxi replay: {error}", file=sys.stderr)
        print(f"replay: not played: {error}")
    write_json(args.json, summary)
    return code


def _replay(args: argparse.Namespace, summary: dict[str, Any]) -> int:
    from robotaxi.bags.provenance import strangers
    from robotaxi.bags.reader import custom_data
    from robotaxi.commands.ride import new_run_folder
    from robotaxi.replay.controls import HELP, Controls, keyboard
    from robotaxi.replay.session import ReplayOptions

    begun = time.monotonic()
    tolerance = _tolerance(args)
    if args.direct and args.rate != 0.0:
        raise BagError("--direct plays as fast as it goes; leave --rate out, or take --processes")
    if args.update and args.compare in (None, _ITSELF):
        raise BagError("--update needs --compare REF, the bag of outputs to renew")
    folder = new_run_folder(args.runs.resolve())
    source = _adapted(args, folder)
    known = custom_data(source)
    options = ReplayOptions(
        source.resolve(), folder, args.nodes or ("" if known.get("map") or args.map else "perception"), args.map,
        args.vehicle, args.sensors, bool(args.on_map or known.get("map") or args.map), args.rate, args.from_s,
        args.to_s, args.params_file, args.compose, args.rate == 0.0 and not (args.processes or args.compose),
    )  # fmt: skip
    screen = Console(stderr=True)
    summary["strangers"] = strangers(known, args.map, args.vehicle, args.sensors)
    for sentence in summary["strangers"]:
        screen.print(f"robotaxi replay: {sentence}: the results will differ", markup=False, soft_wrap=True)
    if args.rate < 0.0:
        screen.print("step by step: each call of the service /bag_player/step plays one stamp")
    with keyboard() as terminal:
        controls = Controls(terminal) if terminal is not None else None
        if controls is not None:
            screen.print(HELP)
        code, number, result = 0, 0, None
        while number < max(args.loop, 1) or (controls is not None and controls.looping):
            part = options if number == 0 else replace(options, folder=folder / f"loop{number + 1}")
            part, result = _play(part, screen, controls)
            number += 1
            code = max(code, _judge(args, part, result, source, tolerance, summary))
    _perception(args, source, result, summary, folder)
    summary["wall_s"] = round(time.monotonic() - begun, 1)
    write_json(folder / "summary.json", summary)
    print(summary_line(summary))
    return code


def _play(part: Any, screen: Console, controls: Any) -> tuple[Any, Any]:
    """Play it; where a person seeks, go on from there in a folder of its own. The options of what ended, its result."""
    from robotaxi.replay.session import ReplaySought, replay

    first, number = part, 0
    while True:
        with screen.status("playing ...") as status:
            try:
                return part, replay(
                    part,
                    lambda seconds, status=status: status.update(_progress(seconds, controls)),  # type: ignore[misc]
                    lambda sentence: screen.print(f"robotaxi replay: {sentence}", markup=False, soft_wrap=True),
                    controls,
                )
            except ReplaySought as sought:
                number += 1
                part = replace(first, folder=first.folder / f"seek{number}", from_s=sought.to_s)


def _progress(seconds: float, controls: Any) -> str:
    at = controls.position_s() if controls is not None else None
    where = "" if at is None else f", at {at:.1f} s of the bag" + (" (paused)" if controls.paused else "")
    return f"playing ... {seconds:.0f} s{where}"


def _judge(
    args: argparse.Namespace, part: Any, result: Any, source: Path, tolerance: Any, summary: dict[str, Any]
) -> int:
    """Figures of one replay into the summary; its part of the exit status."""
    figures = {
        "completed": result.complete,
        "nodes": list(result.plan.roles),
        "left_out": dict(result.plan.starving),
        "missing": {role: list(topics) for role, topics in result.plan.missing.items()},
        "played": list(result.plan.played),
        "recorded_s": result.recorded_s,
        "played_s": result.played_s,
        "rate": round(result.rate, 3),
        "cpu_s": round(result.cpu_s, 2),
        "given_up": result.given_up,
        "bag": str(result.capture),
        "run": str(part.folder),
    }
    summary.update(figures)
    code = 0
    if args.compare is not None:
        code = _compare(args, source, result, tolerance, summary, part)
    if not result.complete:
        code = max(code, _EXIT_FELL_SHORT)
    return code


def _adapted(args: argparse.Namespace, folder: Path) -> Path:
    """The bag itself, or what an adaptation makes of it."""
    from robotaxi.bags.reader import bag_info

    bag: Path = args.bag
    native = bag_info(bag).native
    if args.adapt is None:
        return bag
    from robotaxi.bags.adapt import adapt, load_adaptation
    from robotaxi.bags.inspect import inspect

    spec = inspect(bag).adaptation if args.adapt == _GUESSED else load_adaptation(args.adapt)
    if native or spec is None:
        raise BagError(f"bag {bag} is one of this stack: it needs no --adapt")
    return adapt(bag, folder / "adapted", spec).bag


def _tolerance(args: argparse.Namespace) -> Any:
    from robotaxi.bags.compare import Tolerance, load_tolerance

    return load_tolerance(args.tolerance) if args.tolerance else Tolerance()


def _compare(
    args: argparse.Namespace, source: Path, result: Any, tolerance: Any, summary: dict[str, Any], part: Any
) -> int:
    from robotaxi.bags.compare import compare
    from robotaxi.bags.compare_report import write_comparison
    from robotaxi.bags.provenance import changes
    from robotaxi.bags.reader import bag_info, custom_data, table_topic

    reference = source if args.compare == _ITSELF else Path(args.compare)
    if args.update:
        _renew(reference, result.capture)
        summary["updated"] = str(reference)
        return 0
    recorded = {name for topic, (_, count) in bag_info(reference).topics.items()
                if count and (name := table_topic(topic))}  # fmt: skip
    topics = [topic for topic in result.plan.fresh if topic in recorded]
    if not topics:
        raise BagError(f"bag {reference} holds none of the outputs to compare: {', '.join(result.plan.fresh)}")
    span = None
    if part.from_s is not None or part.to_s is not None:
        first = -(1 << 62) if part.from_s is None else round(part.from_s * 1e9)
        span = (first, 1 << 62 if part.to_s is None else round(part.to_s * 1e9))
    found = compare(reference, result.capture, topics, tolerance, span)
    said = changes(custom_data(reference), custom_data(result.capture))
    report = write_comparison(
        found, said, f"Replay of {source.name} against {reference.name}", part.folder / "compare.html"
    )
    summary["compare"] = {
        "reference": str(reference),
        "exact": tolerance.exact,
        "same": found.same,
        "compared": found.compared,
        "first": None if found.first is None else found.topics[found.first.topic].figures()["first"]
        | {"topic": found.first.topic},
        "topics": {topic: item.figures() for topic, item in found.topics.items()},
        "changes": said,
        "report": str(report),
    }  # fmt: skip
    show_comparison(found, said)
    return 0 if found.same else _EXIT_FELL_SHORT


def show_comparison(found: Any, said: list[str]) -> None:
    """The summary table and the first difference, for people."""
    table = Table(box=None)
    for name in ("topic", "", "messages", "differ", "missing", "new", "largest difference"):
        table.add_column(name)
    for topic, item in found.topics.items():
        largest = max(item.largest.items(), key=lambda pair: pair[1], default=None)
        words = f"{largest[1]:.3g} in {largest[0]}".replace("[", "\\[") if largest else ""
        table.add_row(
            topic, "[green]same[/]" if item.same else "[red]differs[/]", str(item.compared), str(item.differing),
            str(item.missing), str(item.extra), words,
        )  # fmt: skip
    console = Console()
    console.print(table)
    for line in said:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if found.first is not None:
        console.print(f"first difference: {found.first.sentence()}", markup=False, soft_wrap=True)


def _renew(reference: Path, capture: Path) -> None:
    """The capture in the place of the reference, which is removed only when the new one is there."""
    draft = reference.with_name(reference.name + ".new")
    reference.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(capture, draft)
    if reference.exists():
        shutil.rmtree(reference)
    draft.rename(reference)


def _perception(args: argparse.Namespace, source: Path, result: Any, summary: dict[str, Any], folder: Path) -> None:
    """Figures and pictures of the lidar's objects, where they were made anew."""
    from robotaxi.bags.reader import custom_data
    from robotaxi.replay.result import draw, summarise
    from robotaxi.vehicle import load_vehicle

    if "lidar_perception" not in result.plan.roles:
        return
    known = custom_data(source)
    summary.update(summarise(source, result.capture))
    if summary["answered"] < summary["sweeps"] and args.from_s is None and args.to_s is None:
        summary["completed"] = False
    if args.pictures > 0:
        rig = args.sensors or known.get("sensors") or "robotaxi"
        vehicle = load_vehicle(args.vehicle or known.get("vehicle") or "robotaxi")
        summary["pictures"] = [str(path) for path in draw(source, result.capture, rig, vehicle, folder, args.pictures)]


def summary_line(summary: dict[str, Any]) -> str:
    """The last line that a replay prints."""
    parts = [f"{summary['recorded_s']:.1f} s played at {summary['rate']:.1f} times real time"]
    if summary["given_up"]:
        parts.append("NO ANSWER: " + "; ".join(summary["given_up"][:3]))
    if "sweeps" in summary:
        parts.append(
            f"{summary['answered']} of {summary['sweeps']} sweeps answered, "
            f"{summary['objects_mean']:.1f} objects a sweep"
        )
    found = summary.get("compare")
    if found is not None:
        same = f"the same {found['compared']} messages" if found["exact"] else f"{found['compared']} messages agree"
        parts.append(same if found["same"] else "DIFFERENT: " + (found["first"] or {}).get("sentence", "nothing there"))
    if "updated" in summary:
        parts.append(f"reference {summary['updated']} renewed")
    return "replay: " + " | ".join([*parts, summary["run"]])
