"""What every evaluation can do with its rows: compare them with an earlier run's, and write them as Parquet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robotaxi.evaluation.results import Change, Row, compare, parquet, read_earlier, summary, write_parquet
from robotaxi.params import ParameterError

SHOWN = 20  # changes printed; the report has them all


def add_results(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--compare", type=Path, metavar="FILE", help="say what differs from this --json of earlier")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write the rows there as well (extra 'mine')")


def earlier(args: argparse.Namespace) -> list[Row] | None:
    """The earlier run's rows, None where none are asked for. Raises ParameterError, also where a file that is asked for
    cannot be written: that is said before anything is driven."""
    for name in ("json", "html", "parquet"):
        writable(getattr(args, name, None), f"--{name}")
    if args.parquet is not None:
        parquet()
    return read_earlier(args.compare) if args.compare is not None else None


def writable(file: Path | None, option: str) -> None:
    """Nothing where a file can be written, its folder made; ParameterError says what is in the way."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise ParameterError(f"{option} {file}: cannot be written: {error.strerror or error}") from error


def told(args: argparse.Namespace, before: list[Row] | None, rows: Sequence[dict[str, Any]]) -> list[Change]:
    """Print what changed and write the Parquet file, each where it is asked for."""
    if args.parquet is not None:
        write_parquet(args.parquet, rows)
    if before is None:
        return []
    changes = compare(before, rows)
    for item in changes[:SHOWN]:
        print(f"  {item.line()}")
    if len(changes) > SHOWN:
        print(f"  and {len(changes) - SHOWN} more")
    print(summary(changes, args.compare))
    return changes
