"""`robotaxi bench localization`: pose error, honesty and speed of the localizer over recorded drives."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotaxi.commands.bench import add_json, finish, unusable

if TYPE_CHECKING:
    from robotaxi.evaluation.drive_log import SensorLog
    from robotaxi.localization.tiles import MapInfo
    from robotaxi.types import FloatArray

_EVERY_FAULT = 6  # drives up to which each meets every fault; of more each meets one in turn


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "localization",
        help="pose error, protection level, faults and kidnaps against true poses",
        description="Runs filter and scan matching over simulator bags recorded with --record all: healthy, in rain, a "
        "minute without GNSS, with GNSS 30 m off, and kidnapped. Without --map, and without a map in DIR, the map is "
        "made of every other bag and judged on the rest (with one bag: on itself, and the figures say so). Folders of "
        "sweeps with poses (KITTI odometry format) are judged by scan matching alone. With --simulator the drives are "
        "made on the spot, with traffic and people, and the map of drives on another day, when a fifth of the parked "
        "cars and some buildings were not there; --rides 40 is the full size. Ctrl-C ends it with what was measured.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="DIR", help="folder of bags or sequences (or one of them)")
    source.add_argument("--simulator", action="store_true", help="drives through the simulator, in this process")
    parser.add_argument("--rides", type=int, default=3, metavar="N", help="simulated drives (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=80.0, metavar="S", help="of each of them (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1001, help="of the first of them (default %(default)s)")
    parser.add_argument("--map", type=Path, help="localization map made by 'robotaxi map build'")
    parser.add_argument(
        "--lane-map",
        help="lane map whose origin the bags share (default: the one they were driven on); of the simulator: its town",
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

    left_out: dict[str, str] = {}
    sequences: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if args.simulator:
            measured = _judge(args, _simulated(args, Path(scratch)), Path(scratch))
        else:
            if not args.data.is_dir():
                raise ValueError(f"{args.data}: no such folder; expected bags or sequences of sweeps with poses in it")
            measured = _judge(args, _bags(args, left_out), Path(scratch))
            sequences = _sequences(args.data, left_out)
    if not measured.drives and not sequences and not measured.interrupted:
        reasons = "".join(f"; {name}: {why}" for name, why in left_out.items())
        raise ValueError(
            f"{args.data}: holds no bag with sweeps and true poses, and no 'velodyne' folder with poses; record some "
            f"with 'robotaxi ride --record all'{reasons}"
        )
    total, holds = sum_up(measured.drives, measured.kidnapped)
    figures = {
        "map_made_of": measured.made_of,
        "judged_on_the_map's_own_drives": bool(set(measured.names) & set(measured.made_of)),
        **total,
        "limits": {**LIMITS, **TIME_LIMITS},
        "held": holds,
        "left_out": left_out,
        "interrupted": measured.interrupted,
        "drives": measured.drives,
        "kidnapped": measured.kidnapped,
        "sequences": sequences,
    }
    missed = [f"{key} {total[key]:.3g}" for key, held in holds.items() if not held]
    missed += [f"{name} {row['why']}" for name, row in sequences.items() if not row["held"]]
    missed += ["interrupted"] if measured.interrupted else []
    return figures, _sentence(total, sequences, len(left_out)) + (
        f" | FELL SHORT: {', '.join(missed)}" if missed else ""
    ), not missed  # fmt: skip


@dataclass
class _Drives:
    """What is judged: by name, how to get at each drive; ``makers`` are the drives that the map is made of unless
    ``info`` is one. A log is good until the next is asked for."""

    origin: tuple[float, float, float]
    lever_arm: FloatArray
    judged: Mapping[str, Callable[[], SensorLog]]
    makers: Callable[[], Iterable[SensorLog]]
    info: MapInfo | None


@dataclass
class _Measured:
    drives: dict[str, Any] = field(default_factory=dict)
    kidnapped: list[dict[str, Any]] = field(default_factory=list)
    made_of: Sequence[str] = ()
    names: list[str] = field(default_factory=list)
    interrupted: bool = False


def _judge(args: argparse.Namespace, what: _Drives | None, scratch: Path) -> _Measured:
    from robotaxi.commands.progress import bar, until_interrupted
    from robotaxi.evaluation.kidnaps import kidnap
    from robotaxi.evaluation.localization_bench import FAULTS, map_of, run_cases

    out = _Measured()
    if what is None:
        return out
    with until_interrupted() as interrupted:
        info = what.info
        if info is None and not args.no_map:
            info = map_of(what.makers(), scratch / "map", what.origin, what.lever_arm)
        out.made_of = () if info is None else info.drives
        for number, (name, read) in enumerate(what.judged.items()):
            log = read()
            faults = FAULTS if len(what.judged) <= _EVERY_FAULT else (FAULTS[number % len(FAULTS)],)
            with bar(f"drive {number + 1} of {len(what.judged)}", len(log.imu)) as progress:
                row = run_cases(log, what.origin, what.lever_arm, info, faults, progress)
            rows = []
            if info is not None and args.kidnaps > 0:
                share = _share(args.kidnaps, number, len(what.judged))
                rows = kidnap(log, what.origin, what.lever_arm, info, share, len(out.kidnapped))
            out.drives[name] = row
            out.names.append(log.name)
            out.kidnapped += rows
    out.interrupted = bool(interrupted)
    return out


def _simulated(args: argparse.Namespace, scratch: Path) -> _Drives:
    from robotaxi.commands.progress import bar
    from robotaxi.evaluation.localization_rides import judged_options, mapping_drives
    from robotaxi.evaluation.simulated_drive import Town, simulate
    from robotaxi.hdmap import load_map
    from robotaxi.localization.tiles import read_info
    from robotaxi.sensor_rig import load_rig
    from robotaxi.sim.scenery import build_scenery
    from robotaxi.vehicle import load_vehicle

    if args.rides < 1 or not 10.0 <= args.seconds <= 3600.0:
        raise ValueError(f"{args.rides} rides of {args.seconds:g} s: at least 1 of 10 to 3600 s are needed")
    lane_map = load_map(args.lane_map or "town")
    town = Town(lane_map, build_scenery(lane_map), load_vehicle("robotaxi"), load_rig("robotaxi"))
    seeds = range(args.seed, args.seed + args.rides)
    info = None
    if args.map is not None and not args.no_map:
        info = read_info(args.map)
        info.check_origin(lane_map.origin)

    def drive(seed: int) -> SensorLog:
        with bar(f"driving seed {seed}", 1) as progress:
            return simulate(town, judged_options(seed, args.seconds), scratch / "drive.sweeps", progress)

    def makers() -> Iterable[SensorLog]:
        with bar("map", len(seeds)) as progress:
            yield from mapping_drives(town, seeds, args.seconds, scratch, progress)

    return _Drives(
        lane_map.origin, town.rig.gnss_lever_arm, {f"seed {s}": partial(drive, s) for s in seeds}, makers, info
    )


def _is_bag(place: Path) -> bool:
    return (place / "metadata.yaml").is_file()


def _bags(args: argparse.Namespace, left_out: dict[str, str]) -> _Drives | None:
    from robotaxi.bags.sensor_log import SensorLogError, read_sensor_log, setting_of
    from robotaxi.commands.progress import bar
    from robotaxi.hdmap import load_map
    from robotaxi.localization.tiles import OWN, read_info
    from robotaxi.sensor_rig import load_rig

    usable = []
    for bag in (p for p in (args.data, *sorted(p for p in args.data.rglob("*") if p.is_dir())) if _is_bag(p)):
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
        return None
    origin = load_map(args.lane_map or setting_of(usable, "map", "town")).origin
    arm = load_rig(setting_of(usable, "sensors")).gnss_lever_arm
    places = [args.data, *sorted(p for p in args.data.rglob("*") if p.is_dir())]
    found = args.map or next((p for p in places if (p / OWN).is_file()), None)
    info, makers, judged = None, [], usable
    if found is not None and not args.no_map:
        info = read_info(found)
        info.check_origin(origin)
    elif not args.no_map:
        makers, judged = usable[::2], usable[1::2] or usable

    def made() -> Iterable[SensorLog]:
        with bar("map", len(makers)) as progress:
            for number, bag in enumerate(makers):
                yield read_sensor_log(bag)
                progress(number + 1)

    names = {str(bag.relative_to(args.data.parent)): partial(read_sensor_log, bag) for bag in judged}
    return _Drives(origin, arm, names, made, info)


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
