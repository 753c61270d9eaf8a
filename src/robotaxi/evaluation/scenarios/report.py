"""The scenario report: one table, and a bird's-eye picture with the reason of every drive that failed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from robotaxi.evaluation.results import Change
from robotaxi.sim.events.actors import KINDS

SIZE = 360  # px
MARGIN = 10.0  # m
CAUSES_SHOWN = 8


def write(file: Path, rows: list[dict[str, Any]], changes: Sequence[Change] = ()) -> None:
    """One self-contained HTML file. ``changes``: since an earlier run."""
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    lines = ["<tr><th>scenario</th><th>holds</th><th>checks that do not</th></tr>"]
    for name in names:
        own = [row for row in rows if row["scenario"] == name]
        good = sum(row["passed"] for row in own)
        faults = sorted({check for row in own for check in row["failed"]})
        colour = "#2a7" if good == len(own) else "#c33"
        lines.append(
            f"<tr><td>{escape(name)}</td><td style='color:{colour}'>{good} of {len(own)}</td>"
            f"<td>{escape(', '.join(faults))}</td></tr>"
        )
    since = "".join(f"<li>{escape(item.line())}</li>" for item in changes)
    gallery = "".join(_failure(row) for row in rows if not row["passed"])
    total = sum(row["passed"] for row in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "<!doctype html><meta charset='utf-8'><title>scenarios</title>"
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}"
        "figure{display:inline-block;width:380px;vertical-align:top}</style>"
        f"<h1>{total} of {len(rows)} drives hold</h1><table>{''.join(lines)}</table>"
        f"{'<h2>Since the earlier run</h2><ul>' + since + '</ul>' if since else ''}"
        f"{'<h2>What failed</h2>' + gallery if gallery else ''}",
        encoding="utf-8",
    )


def _failure(row: dict[str, Any]) -> str:
    faults = "<br>".join(f"<b>{escape(k)}</b>: {escape(v)}" for k, v in row["failed"].items())
    said = "<br>".join(f"{t} s {escape(text)}" for t, _, text in row.get("explanations", [])[-CAUSES_SHOWN:])
    return (
        f"<figure>{_picture(row)}<figcaption><b>{escape(row['scenario'])}</b>, seed {row['seed']}<br>{faults}"
        f"<br><small>{said}</small></figcaption></figure>"
    )


def _picture(row: dict[str, Any]) -> str:
    path = row.get("path") or []
    if len(path) < 2:
        return ""
    actors = row.get("actors", [])
    xs = [p[0] for p in path] + [a[1] for a in actors]
    ys = [p[1] for p in path] + [a[2] for a in actors]
    x0, y1 = min(xs) - MARGIN, max(ys) + MARGIN
    scale = SIZE / max(max(xs) - min(xs) + 2 * MARGIN, max(ys) - min(ys) + 2 * MARGIN)
    points = " ".join(f"{(x - x0) * scale:.1f},{(y1 - y) * scale:.1f}" for x, y in path)
    shapes = [f"<polyline points='{points}' fill='none' stroke='#28c' stroke-width='2'/>"]
    for kind, x, y, yaw in actors:
        _, length, width, _ = KINDS[kind]
        w, h = max(length * scale, 3.0), max(width * scale, 3.0)
        cx, cy = (x - x0) * scale, (y1 - y) * scale
        shapes.append(
            f"<rect x='{cx - w / 2:.1f}' y='{cy - h / 2:.1f}' width='{w:.1f}' height='{h:.1f}' fill='#c33' "
            f"transform='rotate({-yaw * 57.2958:.1f} {cx:.1f} {cy:.1f})'/>"
        )
    return f"<svg width='{SIZE}' height='{SIZE}' style='background:#f4f4f4'>{''.join(shapes)}</svg>"
