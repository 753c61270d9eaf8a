"""`robotaxi bench aeb`: emergency braking in Euro NCAP style scenes, and false stops in traffic."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from robotaxi.commands.bench import add_json, finish
from robotaxi.commands.progress import bar, until_interrupted
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import MapError
from robotaxi.params import ParameterError
from robotaxi.safety import GateConfig
from robotaxi.sensor_rig import load_rig
from robotaxi.vehicle import load_vehicle


def register(benches: Any) -> None:
    parser = benches.add_parser(
        "aeb",
        help="emergency braking without planner and tracker: Euro NCAP style scenes and false stops",
        description="Drives the command gate with a planner that sees nothing against the ray-cast lidar: car-to-car "
        "rear and crossing, pedestrians, a child from behind parked cars, cyclists, at 20 to 60 km/h. A collision "
        "counts as avoidable when full braking 0.4 s after the target is in sight and in the way avoids it. Then "
        "manhole covers, gantries, rain and leaves, and kilometres of town traffic, where it must not stop.",
    )
    parser.add_argument("--speeds", type=_speeds, default=(20.0, 30.0, 40.0, 50.0, 60.0), metavar="KMH,KMH")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--km", type=float, default=50.0, help="of town traffic for false stops (default %(default)s)")
    parser.add_argument("--map", default="town", help="for the traffic (default %(default)s)")
    parser.add_argument("--vehicle", default="robotaxi")
    parser.add_argument("--sensors", default="robotaxi")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1,
                        help="processes for the traffic (default: one a core, %(default)s)")  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def _speeds(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(5.0 <= value <= 70.0 for value in values):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of speeds from 5 to 70 km/h, such as 20,40,60")
    return values


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation import aeb

    try:
        vehicle, rig, config = load_vehicle(args.vehicle), load_rig(args.sensors), GateConfig()
        if args.km > 0.0:
            load_map(args.map)
    except (ParameterError, MapError, OSError) as error:
        print(f"robotaxi bench aeb: {error}", file=sys.stderr)
        return 2
    todo = [*aeb.scenes(vehicle, args.speeds), *aeb.harmless(vehicle)]
    rows = []
    traffic: dict[str, Any] = {"km": 0.0, "emergency_stops": 0, "false_stops": 0, "stops": [], "failures": []}
    with until_interrupted() as interrupted:
        with bar("scenes", len(todo)) as progress:
            for scene in todo:
                rows.append(aeb.run(scene, vehicle, rig, config, args.seed))
                progress(len(rows))
        if args.km > 0.0:
            from robotaxi.faults.false_stops import drive_town

            with bar("km of town traffic", args.km) as progress:
                drive_town(args.km, args.map, args.vehicle, args.sensors, args.seed, progress, args.workers, traffic)
    traffic["failures"] += interrupted
    for failure in traffic["failures"]:
        print(f"robotaxi bench aeb: {failure}", file=sys.stderr)
    danger = [row for row in rows if row["danger"]]
    avoidable = [row for row in danger if row["avoidable"]]
    avoided = sum(not row["collided"] for row in avoidable)
    false = [row for row in rows if not row["danger"] and row["emergency_stops"]]
    hit = [row for row in danger if row["collided"] and row["impact"]["side"] == "front bumper"]
    mitigated = sum(row["impact"]["speed_kmh"] < row["kmh"] - 5.0 for row in hit)
    shares = [row["impact"]["speed_kmh"] / row["kmh"] for row in hit]
    _table(danger)
    figures = {
        "scenes": len(danger),
        "avoided": sum(not row["collided"] for row in danger),
        "avoidable": len(avoidable),
        "avoidable_avoided": avoided,
        "frontal_collisions": len(hit),
        "frontal_mitigated": mitigated,
        "impact_speed_share_mean": float(np.mean(shares)) if shares else 0.0,
        "harmless_scenes": len(rows) - len(danger),
        "harmless_stops": len(false),
        "traffic": traffic,
        "rows": rows,
    }
    holds = avoided == len(avoidable) and not false and not traffic["failures"]
    holds = holds and traffic["false_stops"] == 0 and traffic["km"] >= args.km
    return finish(
        args, figures,
        f"{avoided} of {len(avoidable)} avoidable collisions avoided, {mitigated} of {len(hit)} others mitigated, "
        f"{len(false)} stops in {len(rows) - len(danger)} harmless scenes, "
        f"{traffic['false_stops']} false stops in {traffic['km']:.1f} km of traffic", holds,
    )  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> None:
    speeds = sorted({row["kmh"] for row in rows})
    table = Table(
        "scene", *(f"{kmh:.0f} km/h" for kmh in speeds), title="ok: avoided; else impact speed, *: unavoidable"
    )
    for name in dict.fromkeys(row["scene"] for row in rows):
        cells = []
        for kmh in speeds:
            found = [row for row in rows if row["scene"] == name and row["kmh"] == kmh]
            shown = [
                "ok" if not row["collided"] else f"{row['impact']['speed_kmh']:.0f}{'' if row['avoidable'] else '*'}"
                for row in found
            ]
            cells.append(" ".join(shown))
        table.add_row(name, *cells)
    Console().print(table)
