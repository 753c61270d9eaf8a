"""`python -m robotaxi.carla_link.bridge HOST:PORT FOLDER`: write a server's OpenDRIVE and say where."""

from __future__ import annotations

import sys
from pathlib import Path

from robotaxi.carla_link.bridge.connection import CarlaError, fetch_opendrive, leave, parse_address


def main() -> int:
    try:
        host, port = parse_address(sys.argv[1])
        print(fetch_opendrive(host, port, Path(sys.argv[2])), flush=True)
    except CarlaError as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    leave(main())
