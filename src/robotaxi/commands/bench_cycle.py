"""`robotaxi bench cycle`: processor time of a planning cycle and a control step among many road users."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from robotaxi.commands.bench import add_json, finish
from robotaxi.commands.progress import bar
from robotaxi.hdmap.lane_map import MapError, RouteError

_PLAN_P50, _PLAN_P99, _CONTROL_P99 = 15.0, 40.0, 3.0  # ms


def register(benches: Any) -> None:
    parser = benches.add_parser(
        "cycle",
        help="how long planning and control take among 60 objects",
        description="Drives through the simulated town with perfect perception, made crowded, and measures the "
        "processor time of each planning cycle (prediction to trajectory; wanted: p50 at most 15 ms, p99 40 ms) and "
        "of each control step (p99 3 ms), on one core.",
    )
    parser.add_argument("--map", default="town", help="map name, or path to .osm or .xodr (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of ride and world (default %(default)s)")
    parser.add_argument("--objects", type=int, default=60, help="that the planner sees (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of driving (default %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.planning_cycle import measure
    from robotaxi.hdmap import load_map
    from robotaxi.vehicle import load_vehicle

    if args.objects < 0 or args.seconds <= 0.0:
        print("robotaxi: --objects is at least 0 and --seconds more than 0", file=sys.stderr)
        return 2
    try:
        with bar("seconds driven", args.seconds) as progress:
            figures = measure(
                load_map(args.map), load_vehicle("robotaxi"), args.seed, args.objects, args.seconds, progress
            )
    except (MapError, RouteError, ValueError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    plan, control = figures["planning_ms"], figures["control_ms"]
    problems = []
    if plan["p50"] > _PLAN_P50 or plan["p99"] > _PLAN_P99:
        problems.append(f"planning is slower than p50 {_PLAN_P50:.0f} ms, p99 {_PLAN_P99:.0f} ms")
    if control["p99"] > _CONTROL_P99:
        problems.append(f"control is slower than p99 {_CONTROL_P99:.0f} ms")
    summary = (
        f"{plan['cycles']} cycles among {figures['objects']['mean']:.0f} objects: planning p50 {plan['p50']:.1f} ms, "
        f"p99 {plan['p99']:.1f} ms; control p99 {control['p99']:.1f} ms" + "".join(f" ({item})" for item in problems)
    )
    return finish(args, {**figures, "problems": problems}, summary, not problems)
