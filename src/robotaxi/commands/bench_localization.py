"""`robotaxi bench localization`: pose error, honesty and speed of the localizer over recorded drives."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from robotaxi.commands.bench import add_json, finish, unusable

_EVERY_FAULT = 6  # drives up to which each meets every fault; of more each meets one in turn


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "localization",
        help="pose error, protection level, faults and kidnaps against true poses",
        description="Runs filter and scan matching over simulator bags recorded with --record all: healthy, in rain, a "
        "minute without GNSS, with GNSS 30 m off, and kidnapped. Without --map, and without a map in DIR, the map is "
        "made of every other bag and judged on the rest (with one bag: on itself, and the figures say so). Folders of "
        "sweeps with poses (KITTI odometry format) are judged by scan matching alone.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of bags or sequences (or one of them)")
    parser.add_argument("--map", type=Path, help="localization map made by 'robotaxi map build'")
    parser.add_argument(
        "--lane-map", help="lane map whose origin the bags share (default: the one they were driven on)"
    )
    parser.add_argument("--no-map", action="store_true", help="without scan matching")
    parser.add_argument(
        "--kidnaps", type=int, default=100, metavar="N", help="places to find again (default %(default)s)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.bags.kitti_files import KittiError
    from robotaxi.bags.sensor_log import SensorLogError
    from robotaxi.hdmap.lane_map import MapError
    from robotaxi.localization.tiles import LocalizationMapError
    from robotaxi.params import ParameterError

    try:
        figures, summary, holds = _measure(args)
    except (SensorLogError, KittiError, MapError, ParameterError, LocalizationMapError, ValueError, OSError) as error:
        return unusable(args, error)
    except ImportError as error:
        return unusable(args, f"{error.name} is missing: pip install robotaxi[maps]")
    return finish(args, figures, summary, holds)


def _measure(args: argparse.Namespace) -> tuple[dict[str, Any], str, bool]:
    from robotaxi.evaluation.localization_bench import LIMITS, TIME_LIMITS, sum_up

    if not args.data.is_dir():
        raise ValueError(f"{args.data}: no such folder; expected bags or sequences of sweeps with poses in it")
    bags = [p for p in (args.data, *sorted(p for p in args.data.rglob("*") if p.is_dir())) if _is_bag(p)]
    left_out: dict[str, str] = {}
    drives, kidnapped, made_of, own = _drives(args, bags, left_out) if bags else ({}, [], [], False)
    sequences = _sequences(args.data, left_out)
    if not drives and not sequences:
        reasons = "".join(f"; {name}: {why}" for name, why in left_out.items())
        raise ValueError(
            f"{args.data}: holds no bag with sweeps and true poses, and no 'velodyne' folder with poses; record some "
            f"with 'robotaxi ride --record all'{reasons}"
        )
    total, holds = sum_up(drives, kidnapped)
    figures = {
        "map_made_of": made_of,
        "judged_on_the_map's_own_drives": own,
        **total,
        "limits": {**LIMITS, **TIME_LIMITS},
        "held": holds,
        "left_out": left_out,
        "drives": drives,
        "kidnapped": kidnapped,
        "sequences": sequences,
    }
    missed = [f"{key} {total[key]:.3g}" for key, held in holds.items() if not held]
    missed += [f"{name} {row['why']}" for name, row in sequences.items() if not row["held"]]
    return figures, _sentence(total, sequences, len(left_out)) + (
        f" | FELL SHORT: {', '.join(missed)}" if missed else ""
    ), not missed  # fmt: skip


def _is_bag(place: Path) -> bool:
    return (place / "metadata.yaml").is_file()


def _drives(
    args: argparse.Namespace, bags: list[Path], left_out: dict[str, str]
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str], bool]:
    """Figures by drive, kidnaps, names of the drives that the map is made of, whether these were judged."""
    from robotaxi.bags.sensor_log import SensorLogError, read_sensor_log, setting_of
    from robotaxi.commands.progress import bar
    from robotaxi.evaluation.kidnaps import kidnap
    from robotaxi.evaluation.localization_bench import FAULTS, map_of, run_cases
    from robotaxi.hdmap import load_map
    from robotaxi.localization.tiles import OWN, read_info
    from robotaxi.sensor_rig import load_rig

    usable = []
    for bag in bags:
        try:
            log = read_sensor_log(bag)
        except SensorLogError as error:
            left_out[str(bag)] = str(error)
            continue
        lacking = [what for what, there in (("lidar sweeps", len(log.sweeps)), ("true poses (sim/ego)", log.truth),
                                            ("inertial samples", log.imu), ("vehicle reports", log.reports))
                   if not there]  # fmt: skip
        if lacking:
            left_out[str(bag)] = "has no " + ", no ".join(lacking)
        else:
            usable.append(bag)
    if not usable:
        return {}, [], [], False
    origin = load_map(args.lane_map or setting_of(usable, "map", "town")).origin
    arm = load_rig(setting_of(usable, "sensors")).gnss_lever_arm
    places = [args.data, *sorted(p for p in args.data.rglob("*") if p.is_dir())]
    found = args.map or next((p for p in places if (p / OWN).is_file()), None)
    drives: dict[str, Any] = {}
    kidnapped: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        info, made_of, judged = None, [], usable
        if found is not None and not args.no_map:
            info = read_info(found)
            info.check_origin(origin)
            made_of = info.drives
        elif not args.no_map:
            makers, judged = usable[::2], usable[1::2] or usable
            with bar("map", len(makers)) as progress:
                info = map_of((read_sensor_log(bag) for bag in makers), Path(scratch), origin, arm, progress)
            made_of = info.drives
        names = []
        for number, bag in enumerate(judged):
            log = read_sensor_log(bag)
            names.append(log.name)
            faults = FAULTS if len(judged) <= _EVERY_FAULT else (FAULTS[number % len(FAULTS)],)
            with bar(f"drive {number + 1} of {len(judged)}", len(log.imu)) as progress:
                drives[str(bag.relative_to(args.data.parent))] = run_cases(log, origin, arm, info, faults, progress)
            if info is not None and args.kidnaps > 0:
                share = _share(args.kidnaps, number, len(judged))
                kidnapped += kidnap(log, origin, arm, info, share, len(kidnapped))
    return drives, kidnapped, made_of, bool(set(names) & set(made_of))


def _share(total: int, number: int, of: int) -> int:
    return total * (number + 1) // of - total * number // of


def _sequences(data: Path, left_out: dict[str, str]) -> dict[str, Any]:
    import numpy as np

    from robotaxi.bags.lidar_mount import estimate_mount
    from robotaxi.bags.sweep_folder import find_sweep_folders
    from robotaxi.evaluation.sweep_localization import localize_sweeps
    from robotaxi.localization.scan import cartesian

    out: dict[str, Any] = {}
    for sequence in find_sweep_folders(data, left_out):
        try:
            some = [cartesian(sequence.load(i)) for i in range(0, len(sequence), max(1, len(sequence) // 5))]
            T_base_lidar, _ = estimate_mount(some, np.array([1.0, 0.0, 0.0]))
            row = localize_sweeps(sequence, T_base_lidar)
        except ValueError as error:  # a sweep that cannot be read, or poses that are none
            left_out[sequence.name] = str(error)
            continue
        out[sequence.name if sequence.name not in out else f"{sequence.name} ({len(out) + 1})"] = row
    return out


def _sentence(total: dict[str, Any], sequences: dict[str, Any], left_out: int) -> str:
    words = []
    if total["drives_judged"]:
        words.append(f"{total['drives_judged']} drives")
    for key, text, scale in (
        ("lateral_rms_m", "lateral {:.1f} cm RMS", 100), ("longitudinal_rms_m", "longitudinal {:.1f} cm", 100),
        ("heading_rms_deg", "heading {:.3f} deg", 1), ("lateral_max_m", "lateral max {:.0f} cm", 100),
        ("outside_protection", "{:.2f} % outside the protection level", 100),
        ("tunnel_max_m", "a minute without GNSS {:.0f} cm", 100),
        ("first_visit_max_m", "and without a map {:.0f} cm", 100), ("jump_moves_m", "a 30 m jump {:.1f} cm", 100),
        ("first_pose_s", "first pose after {:.2f} s", 1), ("match_ms_p50", "match {:.1f} ms", 1),
        ("match_ms_p99", "p99 {:.1f} ms", 1), ("step_us_p50", "filter step {:.0f} us", 1),
    ):  # fmt: skip
        if key in total:
            words.append(text.format(scale * total[key]))
    if "kidnaps" in total:
        k = total["kidnaps"]
        words.append(f"{100 * k['right_within_5_s']:.0f} % of {k['places']} kidnaps right within 5 s")
    for name, row in sequences.items():
        words.append(f"{name}: {row['says']}")
    if left_out:
        words.append(f"{left_out} left out")
    return ", ".join(words)
