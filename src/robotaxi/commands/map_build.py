"""`robotaxi map build BAG... -o MAP`: recorded drives to a localization map."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "build",
        help="make a localization map from recorded drives",
        description="Filter, lidar odometry, loop closure, pose graph, moving objects out, tiles. Drives that are done "
        "are kept in MAP/work: run the same command again to go on after an interruption or to add drives.",
    )
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="bag with IMU, wheels, GNSS and lidar sweeps")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MAP", help="folder of the map")
    parser.add_argument("--map", help="lane map whose origin the map shares (default: the one the bags were driven on)")
    parser.add_argument("--sensors", help="sensor rig in config/sensors, or a path (default: the one of the bags)")
    parser.add_argument(
        "--tile-size", type=float, default=50.0, metavar="M", help="edge of a tile (default %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.bags.sensor_log import SensorLogError, setting_of
    from robotaxi.hdmap import load_map
    from robotaxi.hdmap.lane_map import MapError
    from robotaxi.localization.tiles import LocalizationMapError
    from robotaxi.params import ParameterError
    from robotaxi.sensor_rig import load_rig

    if not 10.0 <= args.tile_size <= 1000.0:
        print(f"robotaxi map build: --tile-size is {args.tile_size:g}, allowed is 10 to 1000 m", file=sys.stderr)
        return 2
    try:
        bags = list(dict.fromkeys(bag.resolve() for bag in args.bags))
        lane_map, sensors = args.map or setting_of(bags, "map", "town"), args.sensors or setting_of(bags, "sensors")
        summary = build(bags, args.output, load_map(lane_map).origin, load_rig(sensors), args.tile_size)
    except (SensorLogError, MapError, ParameterError, LocalizationMapError, ValueError, OSError) as error:
        print(f"robotaxi map build: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"robotaxi map build: {error.name} is not installed: pip install robotaxi[maps]", file=sys.stderr)
        return 2
    print(f"map: {summary}")
    return 0


def build(bags: list[Path], output: Path, origin: tuple[float, float, float], rig: Any, tile_size: float) -> str:
    """Make the map; returns the summary line."""
    from robotaxi.bags.sensor_log import SensorLogError, label_of, read_sensor_log
    from robotaxi.commands.progress import bar
    from robotaxi.localization.config import MappingConfig
    from robotaxi.localization.keyframes import Keyframes, extract
    from robotaxi.localization.map_picture import save_picture
    from robotaxi.localization.mapping import make_map
    from robotaxi.localization.tiles import write_map

    work = output / "work"
    work.mkdir(parents=True, exist_ok=True)
    drives = []
    for number, bag in enumerate(bags):
        done = work / f"{label_of(bag).replace('/', '_')}_{_print(bag, origin, rig)}.npz"
        if done.is_file():
            drives.append(Keyframes.load(done))
            continue
        log = read_sensor_log(bag)
        if not len(log.sweeps):
            raise SensorLogError(f"{bag}: has no lidar sweeps; record with --record all")
        T_base_lidar = rig.T_base_lidar if log.T_base_lidar is None else log.T_base_lidar
        with bar(f"drive {number + 1} of {len(bags)}", len(log.sweeps)) as progress:
            try:
                keyframes = extract(
                    log.imu, log.reports, log.fixes, log.sweeps.stamps_ns, log.sweeps, T_base_lidar, origin,
                    rig.gnss_lever_arm, progress,
                )  # fmt: skip
            except ValueError as error:
                raise SensorLogError(f"{bag}: {error}") from error
        keyframes.save(done)
        drives.append(keyframes)
    total = sum(map(len, drives))
    with bar("map", 2 * total) as progress:
        config = MappingConfig()
        made = make_map(config, drives, lambda what, k, of: progress(k + (total if what == "points" else 0), 2 * total))
    names = [label_of(bag) for bag in bags]
    info = write_map(
        output, made.points, made.plane, made.kind, origin, tile_size, config.voxel_size, config.spacing, names
    )
    save_picture(output / "picture.png", made.points, [p[:, :2, 3] for p in made.poses])
    return (
        f"{len(info.tiles)} tiles with {len(made.points)} points of {len(drives)} drives, {made.loops} loops closed, "
        f"{100 * made.removed:.1f} % of the points had moved | {output}"
    )


def _print(bag: Path, origin: tuple[float, float, float], rig: Any) -> str:
    """Tells this drive from any other, and from itself recorded anew or seen with another rig."""
    seen: list[Any] = [origin, rig.T_base_lidar.tolist(), list(rig.gnss_lever_arm)]
    files = sorted(bag.iterdir()) if bag.is_dir() else [bag]
    seen += [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:10]
