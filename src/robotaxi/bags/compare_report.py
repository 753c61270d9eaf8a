"""A comparison of two runs as one HTML page: verdict, first difference, table, and plots of both runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from robotaxi.bags.compare import Comparison, TopicComparison
from robotaxi.evaluation import svg

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --faint: #8884; --a: #3a7bd5; --b: #d5533a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #16181a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 66rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: right; padding: .25rem .6rem;
        border-bottom: 1px solid var(--faint); } th:first-child, td:first-child { text-align: left; }
.bad { color: var(--b); font-weight: 600; } .good { color: #2e8b57; font-weight: 600; }
svg { width: 100%; } svg text { fill: var(--ink); font-size: 11px; } svg .grid { stroke: var(--faint); }
svg .axis { stroke: var(--ink); } svg path { fill: none; stroke-width: 1.5; } svg .run-a { stroke: var(--a); }
svg .run-b { stroke: var(--b); stroke-dasharray: 5 3; } code { font-size: 90%; }
"""


def write_comparison(comparison: Comparison, changes: Sequence[str], title: str, path: Path) -> Path:
    """Write the page; ``changes``: what differs between the two origins, in sentences."""
    first = comparison.first
    verdict = (
        '<p class="good">Every message is the same.</p>'
        if comparison.same
        else f'<p class="bad">First difference: {escape(first.sentence())}</p>'
        if first
        else '<p class="bad">Nothing was compared.</p>'
    )
    listed = "".join(f"<li>{escape(line)}</li>" for line in changes)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{verdict}",
        f"<h2>What differs between the runs</h2><ul>{listed}</ul>" if changes else "",
        _table(comparison),
        *(_plots(item) for item in comparison.topics.values() if item.series),
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _table(comparison: Comparison) -> str:
    rows = []
    for topic, item in comparison.topics.items():
        largest = max(item.largest.items(), key=lambda pair: pair[1], default=("", 0.0))
        css = "good" if item.same else "bad"
        rows.append(
            f"<tr><td>{escape(topic)}<td class={css}>{'same' if item.same else 'differs'}<td>{item.compared}"
            f"<td>{item.differing}<td>{item.missing}<td>{item.extra}"
            f"<td>{f'{largest[1]:.3g} in <code>{escape(largest[0])}</code>' if item.largest else ''}"
        )
    head = "<tr><th>topic<th><th>messages<th>differ<th>missing<th>new<th>largest difference"
    return f"<h2>Topics</h2><table>{head}{''.join(rows)}</table>"


def _plots(item: TopicComparison) -> str:
    parts = [f"<h2>{escape(item.topic)}</h2>"]
    for name, (stamps, expected, actual) in item.series.items():
        seconds = stamps / 1e9
        low, high = svg.bounds(expected, actual, least=1e-9)
        chart = svg.Chart((float(seconds[0]), float(max(seconds[-1], seconds[0] + 1e-3))), (low, high), 180.0)
        chart.axes("").line(seconds, expected, "run-a", "reference").line(seconds, actual, "run-b", "fresh")
        parts.append(f"<h3><code>{escape(name)}</code></h3>{chart.render(name)}")
    return "".join(parts)
