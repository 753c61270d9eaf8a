"""`robotaxi map picture|town|check|build`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from robotaxi.commands import map_build
from robotaxi.hdmap.lane_map import MapError


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "map",
        help="look at a map, check it, or make the built-in town again",
        epilog="examples:\n  robotaxi map picture town -o town.png\n  robotaxi map check /maps/Town01.xodr",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="map_command", required=True, metavar="COMMAND")
    picture = commands.add_parser("picture", help="draw a map into a PNG file")
    picture.add_argument("map", help="map name, or path to .osm or .xodr")
    picture.add_argument("-o", "--output", type=Path, default=Path("map.png"))
    picture.set_defaults(run=run_picture)
    check = commands.add_parser("check", help="load a map and say what is in it")
    check.add_argument("map", help="map name, or path to .osm or .xodr")
    check.set_defaults(run=run_check)
    map_build.register(commands)
    town = commands.add_parser("town", help="write the built-in town's OpenDRIVE and Lanelet2 files")
    town.add_argument("-o", "--output", type=Path, default=Path("town"))
    town.set_defaults(run=run_town)


def run_picture(args: argparse.Namespace) -> int:
    from robotaxi.hdmap import load_map
    from robotaxi.hdmap.picture import save_picture

    try:
        lane_map = load_map(args.map)
    except MapError as error:
        print(f"robotaxi map: {error}", file=sys.stderr)
        return 2
    save_picture(lane_map, args.output)
    print(f"map: {lane_map.name} drawn to {args.output}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    from robotaxi.hdmap import load_map

    try:
        lane_map = load_map(args.map)
    except MapError as error:
        print(f"robotaxi map: {error}", file=sys.stderr)
        return 2
    print(
        f"map: {lane_map.name} is in order: {len(lane_map.lanes)} lanes, {len(lane_map.stop_lines)} stop lines, "
        f"{len(lane_map.signals)} signals, {len(lane_map.crosswalks)} crosswalks, "
        f"{len(lane_map.stopping_places)} pick-up bays"
    )
    return 0


def run_town(args: argparse.Namespace) -> int:
    from robotaxi.sim.town import build_town

    build_town(args.output)
    print(f"map: the built-in town was written to {args.output}")
    return 0
