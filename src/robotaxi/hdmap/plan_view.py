"""OpenDRIVE plan view geometry: line, arc, spiral, poly3 and paramPoly3, evaluated for many stations.

Clothoids are integrated with Gauss-Legendre quadrature, 16 nodes for each radian of turn, which is
exact to about 1e-12 m at road sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
KINK, SHARPEST_KINK = math.radians(1.0), math.radians(60.0)  # turns at once between these are rounded
SHORTEST = 0.05  # m, shorter elements are left out of it
KINK_REACH = 5.0  # m before and behind a kink over which the heading turns
_POLY3_STEPS = 200  # table size for arc length of cubic curves


@dataclass(frozen=True, slots=True)
class PlanElement:
    """One piece of a reference line from station ``s`` on, ``length`` metres long.

    ``kind`` and ``values``: line (), arc (curvature), spiral (start and end curvature), poly3 (a b c d),
    paramPoly3 (aU bU cU dU aV bV cV dV, 1.0 where p runs 0..1 else 0.0).
    """

    s: float
    x: float
    y: float
    heading: float
    length: float
    kind: str = "line"
    values: tuple[float, ...] = ()

    def evaluate(self, ds: FloatArray) -> FloatArray:
        """(x, y, heading, curvature) at distances ``ds`` (N,) from the element's start; (N, 4)."""
        u, v, turn, curvature = _LOCAL[self.kind](ds, self.length, self.values)
        c, s = math.cos(self.heading), math.sin(self.heading)
        return np.stack([self.x + c * u - s * v, self.y + s * u + c * v, self.heading + turn, curvature], axis=-1)

    @property
    def end(self) -> tuple[float, float, float]:
        """(x, y, heading) at the end."""
        x, y, heading, _ = self.evaluate(np.array([self.length]))[0]
        return float(x), float(y), float(heading)


def evaluate(elements: Sequence[PlanElement], s: FloatArray) -> FloatArray:
    """(x, y, heading, curvature) of a reference line at stations ``s`` (N,); (N, 4)."""
    starts = np.array([element.s for element in elements])
    index = np.clip(np.searchsorted(starts, s, side="right") - 1, 0, len(elements) - 1)
    out = np.empty((len(s), 4))
    for k in np.unique(index):
        mask = index == k
        out[mask] = elements[k].evaluate(s[mask] - elements[k].s)
    for kink in kinks(elements):
        out[:, 2] += kink.rounded(s)
    return out


@dataclass(frozen=True, slots=True)
class Kink:
    """Where a reference line that is drawn as a polyline turns by ``turn`` (rad) at once, at station ``s``.

    What lies beside the line is placed along its heading. That turns evenly from ``start`` to ``end``, or the edges of
    lanes would overlap on one side of the kink and leave a gap on the other.
    """

    s: float
    turn: float
    start: float
    end: float

    def rounded(self, s: FloatArray) -> FloatArray:
        """What is to be added to the headings at stations ``s`` (N,)."""
        share = np.clip((s - self.start) / (self.end - self.start), 0.0, 1.0)
        return np.asarray(self.turn * (share - (s >= self.s)))


def kinks(elements: Sequence[PlanElement]) -> list[Kink]:
    """All places where the heading jumps."""
    out = []
    for before, after in pairwise(elements):
        turn = math.remainder(after.heading - before.end[2], math.tau)
        if KINK < abs(turn) < SHARPEST_KINK and min(before.length, after.length) > SHORTEST:
            reach = [min(0.5 * element.length, KINK_REACH) for element in (before, after)]
            out.append(Kink(after.s, turn, after.s - reach[0], after.s + reach[1]))
    return out


_Local = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


def _line(ds: FloatArray, length: float, values: tuple[float, ...]) -> _Local:
    zero = np.zeros_like(ds)
    return ds, zero, zero, zero


def _arc(ds: FloatArray, length: float, values: tuple[float, ...]) -> _Local:
    k = values[0]
    if abs(k) < 1e-12:
        return _line(ds, length, ())
    return np.sin(k * ds) / k, (1.0 - np.cos(k * ds)) / k, k * ds, np.full_like(ds, k)


def _spiral(ds: FloatArray, length: float, values: tuple[float, ...]) -> _Local:
    k0, k1 = values
    rate = (k1 - k0) / length if length > 0.0 else 0.0
    pieces = max(1, math.ceil(max(abs(k0), abs(k1)) * length))
    u, v = np.zeros_like(ds), np.zeros_like(ds)
    for i in range(pieces):
        a, b = ds * (i / pieces), ds * ((i + 1) / pieces)
        t = 0.5 * (a + b)[:, None] + 0.5 * (b - a)[:, None] * _NODES
        angle = (k0 + 0.5 * rate * t) * t
        u += 0.5 * (b - a) * np.sum(np.cos(angle) * _WEIGHTS, axis=1)
        v += 0.5 * (b - a) * np.sum(np.sin(angle) * _WEIGHTS, axis=1)
    return u, v, (k0 + 0.5 * rate * ds) * ds, k0 + rate * ds


def _poly3(ds: FloatArray, length: float, values: tuple[float, ...]) -> _Local:
    a, b, c, d = values
    table_u: FloatArray = np.linspace(0.0, length, _POLY3_STEPS + 1, dtype=np.float64)
    steps = np.hypot(np.diff(table_u), np.diff(_cubic(a, b, c, d, table_u)))
    u = np.interp(ds, np.concatenate([[0.0], np.cumsum(steps)]), table_u)
    slope, bend = b + u * (2.0 * c + 3.0 * d * u), 2.0 * c + 6.0 * d * u
    return u, _cubic(a, b, c, d, u), np.arctan(slope), bend / (1.0 + slope**2) ** 1.5


def _param_poly3(ds: FloatArray, length: float, values: tuple[float, ...]) -> _Local:
    au, bu, cu, du, av, bv, cv, dv, normalised = values
    scale = 1.0 / length if normalised and length > 0.0 else 1.0
    p = ds * scale
    u1, v1 = bu + p * (2.0 * cu + 3.0 * du * p), bv + p * (2.0 * cv + 3.0 * dv * p)
    u2, v2 = 2.0 * cu + 6.0 * du * p, 2.0 * cv + 6.0 * dv * p
    speed = np.maximum(np.hypot(u1, v1), 1e-9)
    curvature = (u1 * v2 - v1 * u2) / speed**3
    return _cubic(au, bu, cu, du, p), _cubic(av, bv, cv, dv, p), np.unwrap(np.arctan2(v1, u1)), curvature


def _cubic(a: float, b: float, c: float, d: float, p: FloatArray) -> FloatArray:
    return np.asarray(a + p * (b + p * (c + p * d)))


_LOCAL = {"line": _line, "arc": _arc, "spiral": _spiral, "poly3": _poly3, "paramPoly3": _param_poly3}
