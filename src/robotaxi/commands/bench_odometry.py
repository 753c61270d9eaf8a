"""`robotaxi bench odometry`: our lidar odometry beside KISS-ICP on recorded sweeps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from robotaxi.commands.bench import add_json, finish, unusable


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "odometry",
        help="lidar odometry beside KISS-ICP on the same sweeps",
        description="Runs our lidar odometry and KISS-ICP turn about on every sequence found and compares relative "
        "error and time. Sequences without true poses are judged by the thickness of the map they build.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences ('velodyne/' and poses) or bags")
    parser.add_argument("--sweeps", type=int, default=0, help="use no more than so many of each (default all)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from robotaxi.bags.sweep_folder import find_sequences
    from robotaxi.commands.progress import bar
    from robotaxi.evaluation.odometry_bench import compare

    sequences: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    try:
        for sequence in find_sequences(args.data, left_out):
            count = min(len(sequence), args.sweeps) if args.sweeps > 0 else len(sequence)
            references = {name: poses[:count] for name, poses in sequence.references.items()}
            name = sequence.name if sequence.name not in sequences else f"{sequence.name} ({len(sequences) + 1})"
            try:
                with bar(f"odometry {name}", count) as progress:
                    sequences[name] = compare(
                        count, sequence.load, sequence.stamps_ns, references, sequence.is_truth, progress
                    )
            except ValueError as error:  # a sweep that cannot be read, or nothing to judge by
                left_out[name] = str(error)
    except ValueError as error:
        return unusable(args, error)
    except ImportError as error:
        return unusable(args, f"{error.name} is not installed: pip install robotaxi[eval]")
    for name, why in left_out.items():
        print(f"robotaxi bench odometry: left out {name}: {why}", file=sys.stderr)
    if not sequences:
        return unusable(args, "; ".join(left_out.values()))
    rows = list(sequences.values())
    error_ratio = float(np.exp(np.mean([np.log(max(row["error_ratio"], 1e-9)) for row in rows])))
    time_ratio = float(np.exp(np.mean([np.log(row["wall_ratio"]) for row in rows])))
    holds = error_ratio <= 1.02 and time_ratio <= 1.02 and not left_out
    judged = ", ".join(sorted({row["judged_by"] for row in rows}))
    summary = (
        f"{len(rows)} sequences, error {error_ratio:.2f} and time {time_ratio:.2f} of KISS-ICP's ({judged}): "
        f"{'no worse' if holds else 'FELL SHORT'}" + (f", {len(left_out)} left out" if left_out else "")
    )
    figures = {"error_ratio": error_ratio, "wall_ratio": time_ratio, "sequences": sequences, "left_out": left_out}
    return finish(args, figures, summary, holds)
