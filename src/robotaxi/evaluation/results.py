"""Results of many drives: beside those of an earlier run, and as one Parquet file for whoever looks closer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotaxi.params import ParameterError

Row = dict[str, Any]
FIGURES = ("driving_score", "duration_s", "distance_m", "clearance_m", "mean_speed", "average_speed")
LEAST_CHANGE = 0.01  # of a figure; smaller ones are not told


@dataclass(frozen=True)
class Change:
    """One drive that came out differently. ``kind``: 'fails now', 'holds now', 'new', 'gone' or 'figures';
    ``figures``: name -> (before, now)."""

    drive: str
    kind: str
    why: str
    figures: dict[str, tuple[float, float]]

    def line(self) -> str:
        figures = ", ".join(f"{name} {a:.4g} -> {b:.4g}" for name, (a, b) in self.figures.items())
        return f"{self.drive}: {self.kind}" + "".join(f"; {part}" for part in (self.why, figures) if part)


def read_earlier(file: Path) -> list[Row]:
    """The rows that `--json` wrote. Raises ParameterError with what is wrong."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ParameterError(f"earlier run {file}: {error}") from error
    rows = data.get("rows") or data.get("by_seed") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "seed" in row for row in rows):
        raise ParameterError(f"earlier run {file}: expected the result of 'robotaxi eval --json', with its drives")
    return rows


def compare(before: Sequence[Row], now: Sequence[Row]) -> list[Change]:
    """What differs, drives that fail now first."""
    old, new = ({_name(row): row for row in rows} for rows in (before, now))
    out = []
    for name in dict.fromkeys([*new, *old]):
        if name not in old:
            out.append(Change(name, "new", _why(new[name]), {}))
        elif name not in new:
            out.append(Change(name, "gone", "", {}))
        elif _good(old[name]) != _good(new[name]):
            kind = "holds now" if _good(new[name]) else "fails now"
            out.append(Change(name, kind, _why(new[name]) or _why(old[name]), _figures(old[name], new[name])))
        elif changed := _figures(old[name], new[name]):
            out.append(Change(name, "figures", "", changed))
    order = ("fails now", "holds now", "new", "gone", "figures")
    return sorted(out, key=lambda item: order.index(item.kind))


def summary(changes: Sequence[Change], file: Path) -> str:
    """One line: how many drives differ from those in ``file``, and how."""
    counts = {kind: sum(item.kind == kind for item in changes) for kind in ("fails now", "holds now", "figures")}
    told = ", ".join(
        f"{counts[kind]} {words}"
        for kind, words in (("fails now", "fail now"), ("holds now", "hold now"), ("figures", "differ in figures only"))
        if counts[kind]
    )
    return f"beside {file.name}: {told or 'nothing changed'}"


def parquet() -> Any:
    """The module pyarrow; ParameterError says what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParameterError("Parquet needs pyarrow: pip install robotaxi[mine]") from error
    return pyarrow


def write_parquet(file: Path, rows: Sequence[Row]) -> None:
    """One row a drive; lists and records as JSON text. Raises ParameterError without pyarrow."""
    pyarrow = parquet()
    names = sorted({name for row in rows for name in row})
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _column(values: list[Any]) -> list[Any]:
    """Values of one type: numbers stay numbers, all else is text."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in there) or all(isinstance(value, str) for value in there):
        return values
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in there):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else json.dumps(value) for value in values]


def _name(row: Row) -> str:
    return f"{row.get('scenario') or row.get('map', 'ride')} seed {row['seed']}"


def _good(row: Row) -> bool:
    return bool(row["passed"]) if "passed" in row else row.get("exit_status") == 0


def _why(row: Row) -> str:
    if isinstance(row.get("failed"), dict):
        return "; ".join(f"{check}: {words}" for check, words in row["failed"].items())
    return "; ".join(row.get("problems") or ())


def _figures(old: Row, new: Row) -> dict[str, tuple[float, float]]:
    out = {}
    for name in FIGURES:
        a, b = (float(v) if isinstance(v := row.get(name), (int, float)) else math.nan for row in (old, new))
        if abs(a - b) > LEAST_CHANGE * max(abs(a), abs(b)):  # never where one is missing
            out[name] = (a, b)
    return out
