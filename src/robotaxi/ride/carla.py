"""The CARLA server of a ride: somebody's, or one of our own that ends with the ride; its map either way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from robotaxi.ride.options import RideError, RideOptions
from robotaxi.supervisor import die_with

_START_S = 300.0
_STOP_S = 5.0


@contextmanager
def carla_server(options: RideOptions, folder: Path) -> Iterator[RideOptions]:
    """The options with the server's address and the map it sent. Unchanged outside mode carla.

    Raises RideError when there is no server to be had.
    """
    if options.mode != "carla":
        yield options
        return
    from robotaxi.carla_link.bridge.connection import CarlaError, fetch_opendrive_apart, parse_address

    server = None
    try:
        if options.carla:
            host, port = parse_address(options.carla)
        else:
            server, port = _start(options, folder / "log" / "carla_server.log")
            host = "127.0.0.1"
        path = fetch_opendrive_apart(host, port, folder / "map")
        yield replace(options, carla=f"{host}:{port}", map=str(path))
    except CarlaError as error:
        raise RideError(str(error)) from error
    finally:
        if server is not None:
            _stop(server)


def _start(options: RideOptions, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Our own server on a free port, ready to be called."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "robotaxi", "carla-server", "--map", options.map, "--seed", str(options.seed)]
    parent = os.getpid()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        said = log.read_text(errors="replace")
        if "serving" in said:
            line = next(line for line in said.splitlines() if line.startswith("serving"))
            return server, int(line.split("127.0.0.1:")[1].split(":")[0])
        if server.poll() is not None:
            words = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise RideError(f"the CARLA server did not start: {words[0].removeprefix('robotaxi: ')}")
        time.sleep(0.1)
    _stop(server)
    raise RideError(f"the CARLA server was not ready after {_START_S:.0f} s; log: {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
