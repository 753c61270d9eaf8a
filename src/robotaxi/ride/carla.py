"""The CARLA server of a ride: somebody's, or one of our own that ends with the ride; its map either way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from robotaxi.ride.options import RideError, RideOptions


@contextmanager
def carla_server(options: RideOptions, folder: Path) -> Iterator[RideOptions]:
    """The options with the server's address and the map it sent. Unchanged outside mode carla.

    Raises RideError when there is no server to be had.
    """
    if options.mode != "carla":
        yield options
        return
    from robotaxi.carla_link.bridge.connection import CarlaError, fetch_opendrive_apart, parse_address
    from robotaxi.ride.carla_process import StartError, server_process

    try:
        with ExitStack() as stack:
            if options.carla:
                host, port = parse_address(options.carla)
            else:
                log = folder / "log" / "carla_server.log"
                host, port = "127.0.0.1", stack.enter_context(server_process(options.map, options.seed, log)).port
            path = fetch_opendrive_apart(host, port, folder / "map")
            yield replace(options, carla=f"{host}:{port}", map=str(path))
    except (CarlaError, StartError) as error:
        raise RideError(str(error)) from error
