"""The ride on its map: road, path coloured by speed, stops, pick-up and drop-off."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from robotaxi.evaluation import svg
from robotaxi.evaluation.ride_log import RideLog
from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.types import FloatArray

_MARGIN, _MARGIN_SHARE = 45.0, 0.08  # surroundings: metres, and share of the larger side
_MIN_ASPECT, _MAX_ASPECT = 1.6, 2.4  # width to height of the picture
_SPEED_BINS = 6
_CURSOR_STEP = 0.5  # s between the positions that the page's time cursor can show


class _Frame:
    """Map metres to user units, y down."""

    def __init__(self, lo: FloatArray, hi: FloatArray) -> None:
        size = np.maximum(hi - lo, 1.0)
        centre = 0.5 * (lo + hi)
        if size[0] / size[1] < _MIN_ASPECT:
            size[0] = _MIN_ASPECT * size[1]
        if size[0] / size[1] > _MAX_ASPECT:
            size[1] = size[0] / _MAX_ASPECT
        self.lo, self.hi = centre - 0.5 * size, centre + 0.5 * size
        self.scale = svg.WIDTH / size[0]
        self.height = float(size[1] * self.scale)

    def __call__(self, points: FloatArray) -> FloatArray:
        p = np.atleast_2d(points)
        return np.column_stack([(p[:, 0] - self.lo[0]) * self.scale, (self.hi[1] - p[:, 1]) * self.scale])

    def shows(self, points: FloatArray) -> bool:
        return bool(np.all(points[:, :2].max(0) >= self.lo) and np.all(points[:, :2].min(0) <= self.hi))


def map_picture(log: RideLog, lane_map: LaneMap | None, stops: list[dict[str, Any]]) -> str:
    """HTML of the picture with its legend; a sentence where there is nothing to draw."""
    truth = log.truth
    if not len(truth):
        return '<p class="none">The log holds no positions.</p>'
    path = np.column_stack([truth.x, truth.y])
    ends = [np.array([p]) for p in (log.pickup, log.dropoff) if p is not None]
    everything = np.vstack([path, *ends])
    lo, hi = everything.min(0), everything.max(0)
    margin = max(_MARGIN, _MARGIN_SHARE * float((hi - lo).max()))
    frame = _Frame(lo - margin, hi + margin)
    parts = _roads(frame, lane_map) if lane_map is not None else []
    if len(log.route) >= 2:
        parts.append(svg.polyline(frame(log.route[:, :2]), "route"))
    parts += _path(frame, path, np.abs(truth.speed))
    parts += _markers(frame, log, stops)
    parts.append(_scale_bar(frame))
    parts.append('<circle id="here" class="here" r="8" cx="-99" cy="-99"/>')
    top = float(np.abs(truth.speed).max()) * 3.6
    keys = "".join(f'<i class="v{k}"></i>' for k in range(_SPEED_BINS))
    return (
        f'<div class="legend"><span>0<b class="ramp">{keys}</b>{top:.0f} km/h</span>'
        '<span><i class="dot pickup"></i>pick-up</span><span><i class="dot dropoff"></i>drop-off</span>'
        '<span><i class="dot halt"></i>stop</span></div>'
        f'<svg class="map" viewBox="0 0 {svg.WIDTH:g} {frame.height:.0f}" role="img" aria-label="Path on the map">'
        + "".join(parts)
        + f"</svg>{_cursor_data(frame, log)}"
    )


def _roads(frame: _Frame, lane_map: LaneMap) -> list[str]:
    lanes = [lane for _, lane in sorted(lane_map.lanes.items()) if frame.shows(lane.centerline)]
    parts = [svg.polygon(frame(np.vstack([lane.left, lane.right[::-1]])), "road") for lane in lanes]
    parts += [
        svg.polygon(frame(place.polygon), "bay")
        for _, place in sorted(lane_map.stopping_places.items())
        if len(place.polygon) >= 3 and frame.shows(place.polygon)
    ]
    for lane in lanes:
        if lane.junction_id is None:
            parts += [svg.polyline(frame(side), _side_class(lane, k)) for k, side in enumerate((lane.left, lane.right))]
    parts += [
        svg.polygon(frame(c.polygon), "crosswalk")
        for _, c in sorted(lane_map.crosswalks.items())
        if len(c.polygon) >= 3 and frame.shows(c.polygon)
    ]
    parts += [
        svg.polyline(frame(s.points), "stop-line")
        for _, s in sorted(lane_map.stop_lines.items())
        if frame.shows(s.points)
    ]
    return parts


def _side_class(lane: Lane, side: int) -> str:
    neighbour = lane.left_neighbour if side == 0 else lane.right_neighbour
    return "edge" if neighbour is None else "divider"


def _path(frame: _Frame, path: FloatArray, speed: FloatArray) -> list[str]:
    """One line per run of samples in the same speed class."""
    moved = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    rows = np.unique(np.searchsorted(moved, np.arange(0.0, moved[-1] + 1.0, 1.5)).clip(max=len(path) - 1))
    top = max(float(speed.max()), 1e-6)
    classes = np.minimum((speed[rows] / top * _SPEED_BINS).astype(int), _SPEED_BINS - 1)
    pixels = frame(path[rows])
    parts = [svg.polyline(pixels, "path-halo")]
    starts = np.flatnonzero(np.diff(np.concatenate([[-1], classes])))
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows) - 1], strict=True):
        parts.append(svg.polyline(pixels[begin : end + 1], f"path v{classes[begin]}"))
    return parts


def _markers(frame: _Frame, log: RideLog, stops: list[dict[str, Any]]) -> list[str]:
    parts = []
    for place, css, letter in ((log.pickup, "pickup", "P"), (log.dropoff, "dropoff", "D")):
        if place is not None:
            x, y = frame(np.array([place]))[0].tolist()
            parts.append(
                f'<path class="pin {css}" d="M{x:.1f} {y:.1f}l-9 -16a11 11 0 1 1 18 0z"/>'
                + svg.text(x, y - 17.0, letter, "pin-text", "middle")
            )
    for number, stop in enumerate(stops, 1):
        if stop["cause"] == "START":
            continue
        here = np.array([[np.interp(stop["t"], log.truth.t, v) for v in (log.truth.x, log.truth.y)]])
        x, y = frame(here)[0].tolist()
        words = svg.escape(f"{number}: {stop['reason']}")
        disc = f'<circle class="halt" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        number_text = svg.text(x, y + 4.0, str(number), "halt-text", "middle")
        parts.append(f"<g><title>{words}</title>{disc}{number_text}</g>")
    for item in log.infractions:
        if math.isfinite(item.x) and math.isfinite(item.y):
            x, y = frame(np.array([[item.x, item.y]]))[0].tolist()
            cross = f"M{x - 7:.1f} {y - 7:.1f}l14 14m0 -14l-14 14"
            parts.append(f'<path class="infraction" d="{cross}"><title>{svg.escape(item.kind)}</title></path>')
    return parts


def _scale_bar(frame: _Frame) -> str:
    metres = next(m for m in (500, 200, 100, 50, 20, 10) if m * frame.scale < 0.2 * svg.WIDTH or m == 10)
    y = frame.height - 16.0
    return svg.line(20.0, y, 20.0 + metres * frame.scale, y, "scale") + svg.text(20.0, y - 7.0, f"{metres} m", "tick")


def _cursor_data(frame: _Frame, log: RideLog) -> str:
    """Positions over time for the page's time cursor."""
    t = np.arange(log.truth.t[0], log.truth.t[-1] + _CURSOR_STEP, _CURSOR_STEP)
    here = frame(np.column_stack([np.interp(t, log.truth.t, v) for v in (log.truth.x, log.truth.y)]))
    speed = np.interp(t, log.truth.t, log.truth.speed) * 3.6
    data = {
        "t0": float(t[0]),
        "step": _CURSOR_STEP,
        "xy": [[round(x, 1), round(y, 1)] for x, y in here.tolist()],
        "kmh": [round(v, 1) for v in speed.tolist()],
    }
    return f'<script type="application/json" id="positions">{json.dumps(data)}</script>'
