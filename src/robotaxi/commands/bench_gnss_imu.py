"""`robotaxi bench gnss-imu`: how well inertial samples bridge the gaps between satellite fixes."""

from __future__ import annotations

import argparse
import sys
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
    from robotaxi.evaluation.gnss_imu import held_out
    from robotaxi.evaluation.gnss_imu_files import RecordingError, read_recordings

    recordings: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    parts, holds = [], True
    try:
        for recording in read_recordings(args.data, left_out):
            try:
                rows = {f"every_{interval:g}_s": held_out(recording, interval) for interval in _LIMITS}
            except (ValueError, RuntimeError) as error:  # nothing to judge by, or gtsam cannot solve it
                left_out[recording.name] = str(error)
                continue
            for (interval, limit), row in zip(_LIMITS.items(), rows.values(), strict=True):
                row["limit_m"] = limit
                row["holds"] = row["smoother"]["median_m"] <= limit
                holds = holds and row["holds"]
                parts.append(
                    f"{interval:g} s: {row['smoother']['median_m']:.3f} m (limit {limit:g}, "
                    f"filter {row['filter']['median_m']:.2f})"
                )
            recordings[recording.name] = rows
    except (RecordingError, OSError) as error:
        return unusable(args, error)
    except ImportError as error:
        return unusable(args, f"{error.name} is not installed: pip install robotaxi[maps]")
    for name, why in left_out.items():
        print(f"robotaxi bench gnss-imu: left out {name}: {why}", file=sys.stderr)
    if not recordings:
        return unusable(args, "; ".join(left_out.values()))
    figures = {
        "method": "fixed-interval smoother (gtsam); 'filter' is causal", "recordings": recordings,
        "left_out": left_out,
    }  # fmt: skip
    summary = "held-out median with a fix every " + ", ".join(parts) + ("" if holds else ": FELL SHORT")
    summary += f", {len(left_out)} left out" if left_out else ""
    return finish(args, figures, summary, holds and not left_out)
