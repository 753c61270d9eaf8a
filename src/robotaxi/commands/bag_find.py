"""`robotaxi bag find`: moments in many bags, listed, cut out, or written as scenarios."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from robotaxi.bags.writer import BagError
from robotaxi.commands.bag_output import EXIT_FELL_SHORT, fail, write_json
from robotaxi.commands.bench import add_json

if TYPE_CHECKING:
    from robotaxi.bags.mine import Moment


def register_find(commands: Any) -> None:
    from robotaxi.bags.mine import COLUMNS

    columns = "\n".join(f"  {name:14} {doc}" for name, (_, doc) in COLUMNS.items())
    finder = commands.add_parser(
        "find",
        help="moments in many bags for which a condition holds",
        description="Indexes the bags (ten rows a second, in parallel, resumable) and queries the index with DuckDB. "
        "Needs `pip install robotaxi[mine]`. Exit status 0 when something was found.",
        epilog=f"columns of the condition:\n{columns}\n\nexamples:\n"
        '  robotaxi bag find "ttc < 1.5 or hard_brake or disengagement" runs/*/bag\n'
        "  robotaxi bag find \"cause = 'TRAFFIC_LIGHT' and speed < 0.1\" runs/*/bag --clips clips\n"
        "  robotaxi bag find hard_brake runs/*/bag --scenarios braked && robotaxi eval scenarios --suite braked",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    finder.add_argument("condition", help="SQL condition over the columns below")
    finder.add_argument("bags", nargs="+", type=Path)
    finder.add_argument(
        "--index", type=Path, default=Path("runs/index"), help="folder of the index (default %(default)s)"
    )
    finder.add_argument("--workers", type=int, default=2, help="bags that are indexed at a time")
    finder.add_argument("--clips", type=Path, metavar="FOLDER", help="cut every moment out as a bag of its own")
    finder.add_argument(
        "--scenarios",
        type=Path,
        metavar="FOLDER",
        help="write every moment as an OpenSCENARIO file, for `eval scenarios`",
    )
    finder.add_argument("--margin", type=float, default=5.0, metavar="S", help="s before and after it in a clip")
    add_json(finder)
    finder.set_defaults(run=run_find)


def run_find(args: argparse.Namespace) -> int:
    try:
        from robotaxi.bags.mine import build_index, cut, find
    except ImportError as error:
        return fail(args, "find", BagError(f"{error.name} is missing: pip install robotaxi[mine]"))
    try:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("indexing", total=None)
            index = build_index(
                args.bags, args.index, args.workers, lambda n, of: progress.update(task, completed=n, total=of)
            )
        moments = find(index, args.condition)
        clips = [
            str(cut(moment, args.clips / _name_of(moment), args.margin)) for moment in (moments if args.clips else ())
        ]
        scenarios = [_scenario(moment, args.scenarios, args.margin) for moment in (moments if args.scenarios else ())]
    except ModuleNotFoundError as error:
        return fail(args, "find", BagError(f"{error.name} is missing: pip install robotaxi[mine]"))
    except (BagError, OSError) as error:
        return fail(args, "find", error)
    for bag, why in index.failed.items():
        print(f"  {bag}: not indexed: {why}")
    for moment in moments:
        print(f"  {moment.bag}  {moment.start_s:.1f} to {moment.end_s:.1f} s")
    write_json(args.json, {
        "condition": args.condition, "bags": len(args.bags), "indexed": len(index.files), "fresh": index.fresh,
        "failed": index.failed, "clips": clips, "scenarios": scenarios,
        "moments": [{"bag": m.bag, "start_s": m.start_s, "end_s": m.end_s} for m in moments],
    })  # fmt: skip
    print(f"bag find: {len(moments)} moments in {len(index.files)} of {len(args.bags)} bags")
    return 0 if moments and not index.failed else EXIT_FELL_SHORT


def _name_of(moment: Moment) -> str:
    bag = Path(moment.bag)
    return f"{bag.parent.name if bag.name == 'bag' else bag.stem}-{moment.start_s:.1f}s"


def _scenario(moment: Moment, folder: Path, margin_s: float) -> str:
    """The file written. BagError when it is there already."""
    from robotaxi.bags.reader import custom_data
    from robotaxi.bags.scenario_clip import read_clip
    from robotaxi.evaluation.scenarios.openscenario.writer import write_openscenario
    from robotaxi.vehicle import load_vehicle

    file = folder / f"{_name_of(moment)}.xosc"
    if file.exists():
        raise BagError(f"{file}: is there already")
    bag = Path(moment.bag)
    vehicle = load_vehicle(custom_data(bag).get("vehicle") or "robotaxi")
    clip = read_clip(bag, moment.start_s - margin_s, moment.end_s + margin_s, vehicle)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(write_openscenario(clip, datetime.now(UTC).isoformat(timespec="seconds")), encoding="utf-8")
    return str(file)
