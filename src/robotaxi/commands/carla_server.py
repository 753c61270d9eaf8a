"""`robotaxi carla-server`: the simulated world behind CARLA's wire protocol."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from typing import Any

from robotaxi.hdmap.lane_map import MapError
from robotaxi.params import ParameterError

_MISSING = "robotaxi: the CARLA server needs 'msgpack', which is not installed: pip install robotaxi[carla]"


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "carla-server",
        help="a server for CARLA 0.9.16 clients, without GPU",
        description="Serves an OpenDRIVE town to unmodified CARLA 0.9.16 clients: on two cores, without Unreal. "
        "Driving well here says nothing about Unreal's physics or pictures.",
    )
    parser.add_argument(
        "--map",
        action="append",
        metavar="FILE",
        help="OpenDRIVE .xodr file or name in config/maps (default: town); repeat it for more to load later",
    )
    parser.add_argument("--port", type=int, default=2000, help="of the calls; streams take the next (default: 2000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of sensor noise (default: 0)")
    parser.add_argument("--no-rendering", action="store_true", help="no scenery: no cameras, lidars or radars")
    parser.add_argument("--verbose", action="store_true", help="tell of calls that could not be followed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        from robotaxi.carla_link.server.network import ServerError
        from robotaxi.carla_link.server.server import CarlaServer
    except ModuleNotFoundError as error:
        if error.name != "msgpack":
            raise
        print(_MISSING, file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, format="robotaxi carla-server: %(message)s"
    )
    logging.getLogger("numba").setLevel(logging.WARNING)
    if not 0 <= args.port <= 65534 or args.seed < 0:
        print("robotaxi: --port must be 0 to 65534 and --seed at least 0", file=sys.stderr)
        return 2
    try:
        server = CarlaServer(
            args.map or ["town"], port=args.port, seed=args.seed, rendering=not args.no_rendering, host=args.host
        )
    except (MapError, ParameterError, ServerError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    town = server.episode.town
    print(
        f"serving '{town.name}' on {args.host}:{server.port}: {len(town.spawn_points)} spawn points, "
        f"{len(server.episode.lights.lights)} traffic lights",
        flush=True,
    )
    try:
        server.run()
    finally:
        server.close()
    return 0
