"""`robotaxi bench WHAT`: how fast and how right is a part, measured beside its peers in one run?"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_BENCHES: tuple[str, ...] = (  # modules, each registers its sub-command
    "robotaxi.commands.bench_bags",
    "robotaxi.commands.bench_gnss_imu",
    "robotaxi.commands.bench_localization",
    "robotaxi.commands.bench_odometry",
    "robotaxi.commands.bench_gate",
    "robotaxi.commands.bench_perception",
    "robotaxi.commands.bench_control",
    "robotaxi.commands.bench_planning",
    "robotaxi.commands.bench_cycle",
    "robotaxi.commands.bench_dispatch",
    "robotaxi.commands.bench_aeb",
    "robotaxi.commands.bench_sim",
    "robotaxi.commands.bench_carla",
)


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bench",
        help="measure a part of the stack",
        description="Measures one part of the stack. Ratios are taken in one run, so that they hold on any machine.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    benches = parser.add_subparsers(dest="bench", required=True, metavar="WHAT")
    for module in _BENCHES:
        import_module(module).register(benches)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that every bench has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def unusable(args: argparse.Namespace, error: object) -> int:
    """Say why nothing was measured, in the figures too, and give the exit status."""
    print(f"robotaxi bench {args.bench}: {error}", file=sys.stderr)
    finish(args, {"error": str(error)}, f"not measured: {error}", False)
    return 2


def finish(args: argparse.Namespace, figures: dict[str, Any], summary: str, holds: bool = True) -> int:
    """Write the figures, print the summary line last, and give the exit status."""
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**figures, "holds": holds}, indent=2) + "\n", encoding="utf-8")
    print(f"bench {args.bench}: {summary}")
    return 0 if holds else 1
