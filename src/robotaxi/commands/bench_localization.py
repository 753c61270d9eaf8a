"""`robotaxi bench localization`: pose error, honesty and speed of the localizer over recorded drives."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from robotaxi.commands.bench import add_json, finish


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "localization",
        help="pose error, protection level and faults against true poses",
        description="Runs filter and scan matching over simulator bags recorded with --record all: healthy, in rain, a "
        "minute without GNSS, and with GNSS 30 m off. Without --map, and without a map in DIR, the map is made of "
        "every other bag and judged on the rest (with one bag: on itself, and the figures say so).",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of bags (or one bag)")
    parser.add_argument("--map", type=Path, help="localization map made by 'robotaxi map build'")
    parser.add_argument("--lane-map", default="town", help="lane map whose origin the bags share")
    parser.add_argument("--no-map", action="store_true", help="without scan matching")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.bags.sensor_log import SensorLogError
    from robotaxi.hdmap.lane_map import MapError
    from robotaxi.localization.tiles import LocalizationMapError

    try:
        figures, summary, holds = _measure(args)
    except (SensorLogError, MapError, LocalizationMapError, ValueError, OSError) as error:
        print(f"robotaxi bench localization: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"robotaxi bench localization: {error.name} is missing: pip install robotaxi[maps]", file=sys.stderr)
        return 2
    return finish(args, figures, summary, holds)


def _measure(args: argparse.Namespace) -> tuple[dict[str, Any], str, bool]:
    from robotaxi.bags.sensor_log import SensorLogError, read_sensor_log
    from robotaxi.commands.progress import bar
    from robotaxi.evaluation.localization_bench import LIMITS, map_of, run_cases, sum_up
    from robotaxi.hdmap import load_map
    from robotaxi.localization.tiles import OWN, read_info
    from robotaxi.sensor_rig import load_rig

    origin, rig = load_map(args.lane_map).origin, load_rig("robotaxi")
    places = [args.data, *sorted(p for p in args.data.rglob("*") if p.is_dir())] if args.data.is_dir() else []
    bags = [p for p in places if (p / "metadata.yaml").is_file()]
    if not bags:
        raise SensorLogError(f"{args.data}: holds no bag; record some with 'robotaxi ride --record all'")
    found = args.map or next((p for p in places if (p / OWN).is_file()), None)
    with tempfile.TemporaryDirectory() as scratch:
        info, made_of, judged = None, [], bags
        if args.no_map:
            made_of = ["none"]
        elif found is not None:
            info = read_info(found)
            made_of = info.drives
        else:
            halves = (bags[::2], bags[1::2] or bags)
            with bar("map", len(halves[0])) as progress:
                logs = [read_sensor_log(bag) for bag in halves[0]]
                info = map_of(logs, Path(scratch), origin, rig.gnss_lever_arm, progress)
            made_of, judged = [bag.name for bag in halves[0]], halves[1]
        drives: dict[str, Any] = {}
        with bar("localization", len(judged)) as progress:
            for number, bag in enumerate(judged):
                drives[str(bag.relative_to(args.data.parent))] = run_cases(
                    read_sensor_log(bag), origin, rig.gnss_lever_arm, info
                )
                progress(number + 1, len(judged))
    total, holds = sum_up(drives)
    figures = {
        "map_made_of": made_of,
        "judged_on_the_map's_own_drives": bool({Path(name).name for name in drives} & set(made_of)),
        **total,
        "limits": LIMITS,
        "held": holds,
        "drives": drives,
    }
    missed = [f"{key} {total[key]:.3f} (limit {LIMITS[key]:g})" for key, held in holds.items() if not held]
    summary = (
        f"{len(drives)} drives, lateral {100 * total['lateral_rms_m']:.1f} cm RMS, longitudinal "
        f"{100 * total['longitudinal_rms_m']:.1f} cm, heading {total['heading_rms_deg']:.3f} deg, lateral max "
        f"{100 * total['lateral_max_m']:.0f} cm, a minute without GNSS {100 * total['tunnel_max_m']:.0f} cm, "
        f"a 30 m jump {100 * total['jump_moves_m']:.1f} cm"
        + ("" if not missed else " | FELL SHORT: " + ", ".join(missed))
    )
    return figures, summary, not missed
