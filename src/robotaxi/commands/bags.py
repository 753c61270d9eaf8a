"""`robotaxi bag ...`: make bags of other recordings."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from robotaxi.bags.writer import BagError
from robotaxi.commands.bag_find import register_find
from robotaxi.commands.bag_output import EXIT_FELL_SHORT, fail, write_json
from robotaxi.commands.bench import add_json

if TYPE_CHECKING:
    from robotaxi.bags.drives import Drive


def register(subparsers: Any) -> None:
    bag = subparsers.add_parser(
        "bag",
        help="import, look into, search, cut, repair and compare bags",
        epilog="example:\n  robotaxi bag import kitti ~/data/kitti_tracking_0000 -o kitti",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = bag.add_subparsers(dest="bag_command", required=True, metavar="COMMAND")
    importer = commands.add_parser("import", help="convert a recording to an mcap bag")
    formats = (
        "kitti: folders of its odometry, tracking or raw data (velodyne/ sweeps; poses, oxts, calib and pictures where "
        "there are); nuscenes: v1.0-*/*.json; av2: one log folder"
    )
    importer.add_argument("format", choices=["kitti", "nuscenes", "av2"], help=formats)
    importer.add_argument("data", type=Path, help="folder of the recording")
    importer.add_argument("-o", "--output", type=Path, required=True, help="new bag (a folder)")
    importer.add_argument("--scene", default="", help="scene of nuScenes or sequence of KITTI (default: the first)")
    importer.add_argument("--sweeps", type=int, help="only the first so many")
    add_json(importer)
    importer.set_defaults(run=run_import)
    saver = commands.add_parser(
        "repair",
        help="save what can be saved of a bag that was cut short or damaged",
        description="Reads the bag chunk by chunk and writes what is whole to a new bag; the old one is not touched. "
        "Exit status 0 when something was saved.",
    )
    saver.add_argument("bag", type=Path, help="damaged bag: a folder, or one .mcap or .db3 file")
    saver.add_argument("-o", "--output", type=Path, help="new bag (default: BAG-repaired)")
    add_json(saver)
    saver.set_defaults(run=run_repair)
    inspector = commands.add_parser(
        "inspect",
        help="what a bag can feed, and a proposal how to adapt a foreign one",
        description="Names which nodes the bag can feed and which starve. For a bag of others it proposes which topic "
        "is the lidar, the camera, the odometry, and which frame is the vehicle; edit what is wrong and give it to "
        "`robotaxi bag adapt` or `robotaxi replay --adapt`.",
    )
    inspector.add_argument("bag", type=Path)
    inspector.add_argument(
        "--write", type=Path, metavar="FILE", help="write the proposal there, e.g. config/bags/x.yaml"
    )
    add_json(inspector)
    inspector.set_defaults(run=run_inspect)
    adapter = commands.add_parser("adapt", help="a foreign bag as one of this stack")
    adapter.add_argument("bag", type=Path)
    adapter.add_argument("--with", dest="spec", default="", metavar="NAME", help="config/bags/NAME.yaml or a path "
                         "(default: what inspect proposes)")  # fmt: skip
    adapter.add_argument("-o", "--output", type=Path, required=True, help="new bag")
    add_json(adapter)
    adapter.set_defaults(run=run_adapt)
    _register_looks(commands)
    info = commands.add_parser("info", help="what is in a bag, and where it comes from")
    info.add_argument("bag", type=Path)
    add_json(info)
    info.set_defaults(run=run_info)
    differ = commands.add_parser(
        "compare",
        help="compare the outputs in two bags, message by message",
        description="Matches messages by their stamps and names the first that differs, both values and the node "
        "that made it. Exit status 0 only if all are the same, or within the tolerances.",
    )
    differ.add_argument("reference", type=Path)
    differ.add_argument("bag", type=Path)
    differ.add_argument("--topics", help="only these, by comma (default: all that both hold)")
    differ.add_argument("--tolerance", type=Path, metavar="FILE", help="YAML with ignore, absolute, default")
    differ.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots of both")
    add_json(differ)
    differ.set_defaults(run=run_compare)


def _register_looks(commands: Any) -> None:
    register_find(commands)
    plotter = commands.add_parser("plot", help="numeric fields of a bag over time, as a picture")
    plotter.add_argument("bag", type=Path)
    plotter.add_argument("fields", nargs="+", metavar="TOPIC:FIELD", help="e.g. vehicle/command:points[0].positions[0]")
    plotter.add_argument("-o", "--output", type=Path, default=Path("plot.png"), help=".png, .svg or .pdf")
    add_json(plotter)
    plotter.set_defaults(run=run_plot)
    film = commands.add_parser("video", help="a clip as mp4: camera, bird's-eye view, speed and explanation")
    film.add_argument("bag", type=Path)
    film.add_argument("-o", "--output", type=Path, required=True, help="new .mp4")
    film.add_argument("--from", dest="from_s", type=float, default=0.0, metavar="S")
    film.add_argument("--to", dest="to_s", type=float, default=math.inf, metavar="S")
    add_json(film)
    film.set_defaults(run=run_video)


def run_plot(args: argparse.Namespace) -> int:
    from robotaxi.bags.plot import plot

    try:
        out = plot(args.bag, args.fields, args.output)
    except (BagError, OSError, ValueError) as error:
        return fail(args, "plot", error)
    write_json(args.json, {"picture": str(out), "fields": args.fields})
    print(f"bag plot: {len(args.fields)} fields -> {out}")
    return 0


def run_video(args: argparse.Namespace) -> int:
    from robotaxi.bags.reader import custom_data
    from robotaxi.bags.video import render
    from robotaxi.params import ParameterError
    from robotaxi.sensor_rig import load_rig
    from robotaxi.vehicle import load_vehicle

    known = custom_data(args.bag)
    try:
        rig, car = load_rig(known.get("sensors") or "robotaxi"), load_vehicle(known.get("vehicle") or "robotaxi")
        with Console(stderr=True).status("drawing ...") as status:
            frames = render(args.bag, args.output, rig, car, args.from_s, args.to_s,
                            lambda seconds: status.update(f"drawing ... {seconds:.0f} s"))  # fmt: skip
    except (BagError, ParameterError, OSError) as error:
        return fail(args, "video", error)
    write_json(args.json, {"video": str(args.output), "frames": frames})
    print(f"bag video: {frames} frames -> {args.output}")
    return 0


def run_import(args: argparse.Namespace) -> int:
    from robotaxi.bags.drives import write_drive
    from robotaxi.bags.kitti_files import KittiError

    try:
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("sweeps", total=None)
            drive = _drive(args)
            counts = write_drive(
                drive, args.output, args.sweeps, lambda done, of: progress.update(task, completed=done, total=of)
            )
    except (KittiError, BagError, OSError) as error:
        return fail(args, "import", error)
    write_json(args.json, {"bag": str(args.output), "source": drive.name, "messages": counts})
    rows = ", ".join(f"{count} {topic}" for topic, count in counts.items())
    print(f"bag: {drive.name}: {rows} -> {args.output}")
    return 0


def _drive(args: argparse.Namespace) -> Drive:
    if args.format == "kitti":
        from robotaxi.bags.kitti_drives import read_kitti

        return read_kitti(args.data, args.scene)
    if args.format == "nuscenes":
        from robotaxi.bags.nuscenes import read_nuscenes

        return read_nuscenes(args.data, args.scene)
    from robotaxi.bags.argoverse import read_av2

    return read_av2(args.data)


def run_repair(args: argparse.Namespace) -> int:
    from robotaxi.bags.repair import repair

    out = args.output or args.bag.with_name(args.bag.name.removesuffix(args.bag.suffix) + "-repaired")
    try:
        result = repair(args.bag, out)
    except (BagError, OSError) as error:
        return fail(args, "repair", error)
    for sentence in result.lost:
        print(f"  {sentence}")
    write_json(args.json, {"bag": str(result.bag), "messages": result.messages, "topics": result.topics,
                           "lost": result.lost})  # fmt: skip
    print(f"bag repair: {result.messages} messages of {len(result.topics)} topics saved -> {result.bag}")
    return 0 if result.messages else EXIT_FELL_SHORT


def run_info(args: argparse.Namespace) -> int:
    from robotaxi.bags.reader import bag_info

    try:
        info = bag_info(args.bag)
    except (BagError, OSError) as error:
        return fail(args, "info", error)
    table = Table(box=None)
    for name in ("topic", "type", "messages"):
        table.add_column(name)
    for topic, (kind, count) in sorted(info.topics.items()):
        table.add_row(topic, kind, str(count))
    Console().print(table)
    shown = {key: value for key, value in info.custom.items() if key not in ("parameters", "overrides") and value}
    for key, value in shown.items():
        print(f"  {key}: {value}")
    seconds = (info.end_ns - info.start_ns) / 1e9
    write_json(args.json, {
        "bag": str(info.path), "seconds": seconds, "messages": info.messages, "custom": dict(info.custom),
        "topics": {topic: {"type": kind, "messages": count} for topic, (kind, count) in info.topics.items()},
    })  # fmt: skip
    print(f"bag info: {info.messages} messages of {len(info.topics)} topics in {seconds:.1f} s")
    return 0


def run_inspect(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    import yaml

    from robotaxi.bags.inspect import inspect

    try:
        found = inspect(args.bag)
        if args.write and args.write.exists():
            raise BagError(f"{args.write} exists already; nothing is overwritten")
    except (BagError, OSError) as error:
        return fail(args, "inspect", error)
    for topic, (kind, count) in sorted(found.topics.items()):
        print(f"  {topic:48} {kind:40} {count}")
    for child, parent in sorted(found.frames.items()):
        print(f"  frame {parent} -> {child}")
    for sentence in found.said:
        print(f"  {sentence}")
    for role, lacking in found.starves.items():
        print(f"  {role} starves: the bag lacks {lacking}")
    if found.adaptation is not None:
        body = {k: v for k, v in asdict(found.adaptation).items() if v and k not in ("name", "note")}
        text = yaml.safe_dump(body, sort_keys=False)
        print("proposal:\n" + "".join(f"  {line}\n" for line in text.splitlines()), end="")
        if args.write:
            args.write.parent.mkdir(parents=True, exist_ok=True)
            args.write.write_text(f"# proposed for {args.bag.name}; see robotaxi bag inspect\n{text}", encoding="utf-8")
    write_json(args.json, found.figures())
    runs = ", ".join(found.runs) or "no node"
    print(f"bag inspect: {len(found.topics)} topics, {found.seconds:.1f} s, can feed {runs}")
    return 0 if found.runs else EXIT_FELL_SHORT


def run_adapt(args: argparse.Namespace) -> int:
    from robotaxi.bags.adapt import adapt, load_adaptation
    from robotaxi.bags.inspect import inspect
    from robotaxi.params import ParameterError

    try:
        spec = load_adaptation(args.spec) if args.spec else inspect(args.bag).adaptation
        if spec is None:
            raise BagError(f"bag {args.bag} is one of this stack: it needs no adaptation")
        done = adapt(args.bag, args.output, spec)
    except (BagError, ParameterError, OSError) as error:
        return fail(args, "adapt", error)
    for sentence in done.said:
        print(f"  {sentence}")
    write_json(args.json, {"bag": str(done.bag), "topics": done.topics, "said": done.said})
    rows = ", ".join(f"{count} {topic}" for topic, count in done.topics.items())
    print(f"bag adapt: {rows} -> {done.bag}")
    return 0


def run_compare(args: argparse.Namespace) -> int:
    from robotaxi.bags.compare import Tolerance, compare, load_tolerance
    from robotaxi.bags.compare_report import write_comparison
    from robotaxi.bags.provenance import changes
    from robotaxi.bags.reader import custom_data
    from robotaxi.commands.replay import show_comparison

    try:
        tolerance = load_tolerance(args.tolerance) if args.tolerance else Tolerance()
        topics = [name.strip().lstrip("/") for name in args.topics.split(",")] if args.topics else None
        found = compare(args.reference, args.bag, topics, tolerance)
        said = changes(custom_data(args.reference), custom_data(args.bag))
        if args.html:
            write_comparison(found, said, f"{args.bag.name} against {args.reference.name}", args.html)
    except (BagError, OSError) as error:
        return fail(args, "compare", error)
    show_comparison(found, said)
    first = found.first
    write_json(args.json, {
        "same": found.same, "compared": found.compared, "exact": tolerance.exact, "changes": said,
        "first": None if first is None else {"topic": first.topic, **(found.topics[first.topic].figures()["first"])},
        "topics": {topic: item.figures() for topic, item in found.topics.items()},
    })  # fmt: skip
    verdict = "the same" if found.same else f"DIFFERENT: {first.sentence() if first else 'nothing there'}"
    print(f"bag compare: {found.compared} messages of {len(found.topics)} topics: {verdict}")
    return 0 if found.same else EXIT_FELL_SHORT
