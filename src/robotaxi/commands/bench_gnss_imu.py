"""`robotaxi bench gnss-imu`: how well inertial samples bridge the gaps between satellite fixes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from robotaxi.commands.bench import add_json, finish, unusable

_LIMITS = {2.0: 0.10, 10.0: 0.80}  # s between fixes -> m, held-out median


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "gnss-imu",
        help="held-out satellite fixes between those used",
        description="Uses one fix every 2 s and every 10 s of a recorded drive and judges the smoother (which sees the "
        "whole drive) by the fixes held out. The filter's causal errors are given beside it.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with *Imu.txt and *Gps_converted.txt (gtsam/Data)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.gnss_imu import RecordingError, held_out, read_recordings

    figures: dict[str, Any] = {"method": "fixed-interval smoother (gtsam); 'filter' is causal", "recordings": {}}
    parts, holds = [], True
    try:
        for recording in read_recordings(args.data):
            rows = {}
            for interval, limit in _LIMITS.items():
                row = held_out(recording, interval)
                row["limit_m"] = limit
                row["holds"] = row["smoother"]["median_m"] <= limit
                holds = holds and row["holds"]
                rows[f"every_{interval:g}_s"] = row
                parts.append(
                    f"{interval:g} s: {row['smoother']['median_m']:.3f} m (limit {limit:g}, "
                    f"filter {row['filter']['median_m']:.2f})"
                )
            figures["recordings"][recording.name] = rows
    except (RecordingError, OSError, UnicodeDecodeError, ValueError, RuntimeError) as error:
        return unusable(args, error)
    except ImportError as error:
        return unusable(args, f"{error.name} is not installed: pip install robotaxi[maps]")
    summary = "held-out median with a fix every " + ", ".join(parts) + ("" if holds else ": FELL SHORT")
    return finish(args, figures, summary, holds)
