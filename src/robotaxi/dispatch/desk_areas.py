"""Closed areas as the desk knows them: asked of every car, and who said that it keeps out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from robotaxi.dispatch.database import Row
from robotaxi.dispatch.datum import as_wgs84
from robotaxi.dispatch.messages import Command

MAX_WITHIN_S = 3600.0  # longest that a command is repeated; a car that is away for longer is asked again by a person


def areas_in_force(commands: Sequence[Row], now_ns: int) -> list[dict[str, Any]]:
    """From the ``avoid_area`` commands, the oldest first: the areas closed at ``now_ns`` (UTC).

    ``obeyed``: cars that accepted; ``asked``: those that have not answered. A later command about an area, also its
    opening, takes the place of an earlier one, car by car. Positions in WGS 84.
    """
    newest: dict[tuple[str, str], tuple[Command, str]] = {}
    for row in commands:
        command = msgspec.json.decode(row["body"], type=Command)
        if command.area is not None and row["status"] not in ("refused", "expired"):
            newest[command.area.area_id, row["vehicle"]] = (command, row["status"])
    areas: dict[str, dict[str, Any]] = {}
    for (area_id, vehicle), (command, status) in newest.items():
        area = command.area
        assert area is not None
        if area.until_ns <= now_ns:
            continue
        center = as_wgs84(area.center)
        found = areas.setdefault(
            area_id,
            {
                "area_id": area_id,
                "lat": center.lat,
                "lon": center.lon,
                "radius": area.radius,
                "until_ns": area.until_ns,
                "obeyed": [],
                "asked": [],
            },
        )
        found["asked" if status == "" else "obeyed"].append(vehicle)
    return list(areas.values())
