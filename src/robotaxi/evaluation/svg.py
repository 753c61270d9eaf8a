"""Charts as SVG text: few primitives, colours by CSS class so that one page serves light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from robotaxi.types import FloatArray

WIDTH = 1000.0  # user units; the page scales them
HALF = 520.0  # for charts that stand side by side
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 24.0, 30.0
_BUCKETS = 700  # a line is thinned to the extremes of so many slices


def nice_ticks(lo: float, hi: float, count: int = 5) -> list[float]:
    """Round values within [lo, hi], about ``count`` of them."""
    span = hi - lo
    if not math.isfinite(span) or span <= 0.0:
        return [lo] if math.isfinite(lo) else []
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1.0, 2.0, 2.5, 5.0) if m * power >= raw), 10.0 * power)
    first = math.ceil(lo / step - 1e-9)
    return [k * step for k in range(first, math.floor(hi / step + 1e-9) + 1)]


def thin(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """At most 2 x 700 points that draw the same line: each slice keeps its lowest and highest point."""
    if x.size <= 2 * _BUCKETS:
        return x, y
    edges = np.linspace(0, x.size, _BUCKETS + 1).astype(int)
    keep = {0, x.size - 1}
    filled = np.where(np.isfinite(y), y, 0.0)
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        keep.update((a + int(np.argmin(filled[a:b])), a + int(np.argmax(filled[a:b]))))
    rows = sorted(keep)
    return x[rows], y[rows]


def polyline(points: ArrayLike, css: str, title: str = "") -> str:
    """Open line through points (N, 2) in user units; breaks where a point is not finite."""
    p = np.asarray(points, dtype=np.float64)
    parts, pen_down = [], False
    for x, y in p.tolist():
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return f'<path class="{css}" d="{"".join(parts)}">{_title(title)}</path>' if parts else ""


def polygon(points: ArrayLike, css: str) -> str:
    p = np.asarray(points, dtype=np.float64)
    return f'<path class="{css}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in p.tolist())}Z"/>'


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, css: str, title: str = "", radius: float = 0.0) -> str:
    return (
        f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.1f}" height="{height:.1f}" '
        f'rx="{radius:g}">{_title(title)}</rect>'
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


class Chart:
    """Axes of ride time and a vertical range; draw, then `render`. The page's time cursor follows the
    pointer in it."""

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        height: float = 220.0,
        width: float = WIDTH,
    ) -> None:
        self._x0, self._x1 = x_range if x_range[1] > x_range[0] else (x_range[0], x_range[0] + 1.0)
        self._y0, self._y1 = y_range if y_range[1] > y_range[0] else (y_range[0] - 1.0, y_range[0] + 1.0)
        self.height = height
        self.width = width
        self._below: list[str] = []
        self._above: list[str] = []
        self._legend: list[tuple[str, str]] = []

    def x(self, value: float) -> float:
        return LEFT + (value - self._x0) / (self._x1 - self._x0) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return TOP + (self._y1 - value) / (self._y1 - self._y0) * (self.height - TOP - BOTTOM)

    def axes(self, y_unit: str, x_unit: str = "s", y_ticks: Sequence[float] | None = None) -> Chart:
        for value in nice_ticks(self._y0, self._y1, 4) if y_ticks is None else y_ticks:
            self._below.append(line(LEFT, self.y(value), self.width - RIGHT, self.y(value), "grid"))
            self._below.append(text(LEFT - 8.0, self.y(value) + 4.0, f"{value:g}", "tick", "end"))
        for value in nice_ticks(self._x0, self._x1, 10 if self.width > HALF else 5):
            if self.x(value) > self.width - RIGHT - 24.0:
                continue  # the unit stands there
            self._below.append(text(self.x(value), self.height - 10.0, f"{value:g}", "tick", "middle"))
        self._below.append(text(self.width - RIGHT, self.height - 10.0, x_unit, "unit", "end"))
        self._below.append(text(4.0, 12.0, y_unit, "unit"))
        return self

    def band(self, start: float, end: float, label: str = "", title: str = "", css: str = "stop-band") -> Chart:
        """Shade a stretch of the horizontal axis."""
        x = self.x(start)
        self._below.append(rect(x, TOP, self.x(end) - x, self.height - TOP - BOTTOM, css, title))
        if label:
            self._above.append(text(0.5 * (x + self.x(end)), TOP + 13.0, label, "band-label", "middle"))
        return self

    def limit(self, value: float, label: str = "") -> Chart:
        """Dashed line across, drawn only where it lies within the chart."""
        if self._y0 <= value <= self._y1:
            self._below.append(line(LEFT, self.y(value), self.width - RIGHT, self.y(value), "limit"))
            if label:
                self._above.append(text(self.width - RIGHT - 4.0, self.y(value) - 4.0, label, "limit-label", "end"))
        return self

    def line(self, x: FloatArray, y: FloatArray, css: str, label: str = "") -> Chart:
        x, y = thin(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        columns = np.column_stack([[self.x(v) for v in x.tolist()], [self.y(v) for v in y.tolist()]]) if x.size else x
        if x.size:
            self._above.insert(0, polyline(np.clip(columns, -1e4, 1e4), f"line {css}"))
        if label:
            self._legend.append((css, label))
        return self

    def add(self, fragment: str) -> Chart:
        self._above.append(fragment)
        return self

    def render(self, name: str) -> str:
        """The chart as an ``<svg>`` with its legend above it. ``name``: what it shows, for screen readers."""
        data = (
            f' data-cursor="1" data-t0="{self._x0:g}" data-t1="{self._x1:g}" data-x0="{LEFT:g}"'
            f' data-x1="{self.width - RIGHT:g}" data-y0="{TOP:g}" data-y1="{self.height - BOTTOM:g}"'
        )
        legend = "".join(f'<span><i class="key {css}"></i>{escape(label)}</span>' for css, label in self._legend)
        return (
            (f'<div class="legend">{legend}</div>' if legend else "")
            + f'<div class="scroll"><svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            + f'aria-label="{escape(name)}"{data}>'
            + "".join(self._below)
            + "".join(self._above)
            + "</svg></div>"
        )


def bounds(*series: ArrayLike, least: float = 0.0, margin: float = 0.08) -> tuple[float, float]:
    """Vertical range that holds all finite values and +/- ``least`` around their middle."""
    values = np.concatenate([np.ravel(np.asarray(s, dtype=np.float64)) for s in series] + [np.zeros(0)])
    values = values[np.isfinite(values)]
    lo, hi = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    lo, hi = min(lo, -least), max(hi, least)
    extra = margin * (hi - lo)
    return lo - extra, hi + extra
