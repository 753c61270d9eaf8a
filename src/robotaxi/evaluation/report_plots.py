"""The charts of the ride report, one function each; they return HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from robotaxi.evaluation import comfort, metrics, svg
from robotaxi.evaluation.ride_log import ModeEntry, RideLog, TripEntry
from robotaxi.geometry.polyline import densify
from robotaxi.hdmap.lane_map import Lane, LaneMap
from robotaxi.types import FloatArray

LATENCY_BUDGET_MS = 150.0  # sensor stamp to command, 99th percentile
_SAME_WAY = np.cos(np.radians(60.0))  # a lane counts if it runs less than 60 degrees off the car's heading
_LANE_REACH = 4.0  # m, farther from every centerline there is no limit
_ON_WAY, _MOST, _WAY_SPACING = 1.0, 0.7, 0.5  # m beside the way, share of a lane's points, m
_PLAN_STEP = 0.2  # s between samples of the planned speed

Stops = list[dict[str, Any]]


def time_range(log: RideLog) -> tuple[float, float]:
    return (float(log.truth.t[0]), float(log.truth.t[-1])) if len(log.truth) else (0.0, 1.0)


def _with_stops(chart: svg.Chart, stops: Stops) -> svg.Chart:
    for number, stop in enumerate(stops, 1):
        chart.band(stop["t"], stop["until"], str(number), f"{number}: {stop['reason']}")
    return chart


def speed_chart(log: RideLog, lane_map: LaneMap | None, stops: Stops) -> str:
    truth = log.truth
    limit = speed_limits(log, lane_map) * 3.6 if lane_map is not None else np.full(len(truth), np.nan)
    planned_t, planned = planned_speed(log)
    _, top = svg.bounds(truth.speed * 3.6, limit, planned * 3.6)
    chart = _with_stops(svg.Chart(time_range(log), (0.0, max(top, 10.0)), 260.0).axes("km/h"), stops)
    chart.line(truth.t, truth.speed * 3.6, "c1", "driven")
    if planned.size:
        chart.line(planned_t, planned * 3.6, "c2 thin", "planned")
    if np.any(np.isfinite(limit)):
        chart.line(truth.t, limit, "c3 dashed", "speed limit")
    return chart.render("Speed over time")


def speed_limits(log: RideLog, lane_map: LaneMap) -> FloatArray:
    """Limit (m/s) of the nearest lane of the car's direction for every sample, NaN off the lanes. Lanes of the car's
    way come first: within a junction others with other limits lie on top of them."""
    lanes = [lane_map.lanes[k] for k in sorted(lane_map.lanes)]
    on_way = _lanes_along(lanes, log.route[:, :2])
    if on_way:
        found = _nearest_limits(log, on_way)
        return np.where(np.isnan(found), _nearest_limits(log, lanes), found)
    return _nearest_limits(log, lanes)


def _lanes_along(lanes: list[Lane], way: FloatArray) -> list[Lane]:
    """The lanes that the way follows, most of their length."""
    if len(way) < 2:
        return []
    tree = cKDTree(densify(way, _WAY_SPACING))
    return [lane for lane in lanes if (tree.query(lane.centerline[:, :2])[0] < _ON_WAY).mean() > _MOST]


def _nearest_limits(log: RideLog, lanes: list[Lane]) -> FloatArray:
    truth = log.truth
    out = np.full(len(truth), np.nan)
    if not lanes or not len(truth):
        return out
    points = np.vstack([lane.centerline[:, :2] for lane in lanes])
    way = np.vstack([np.gradient(lane.centerline[:, :2], axis=0) for lane in lanes])
    way /= np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)[:, None]
    limit = np.concatenate([np.full(len(lane.centerline), lane.speed_limit) for lane in lanes])
    rows = np.arange(0, len(truth), max(1, len(truth) // 2000))
    near = min(8, len(points))
    distance, index = cKDTree(points).query(np.column_stack([truth.x[rows], truth.y[rows]]), k=near)
    distance, index = distance.reshape(len(rows), near), index.reshape(len(rows), near)
    facing = np.column_stack([np.cos(truth.yaw[rows]), np.sin(truth.yaw[rows])])
    fits = (np.einsum("ijk,ik->ij", way[index], facing) > _SAME_WAY) & (distance < _LANE_REACH)
    first = np.argmax(fits, axis=1)
    values = np.where(fits.any(axis=1), limit[index[np.arange(len(rows)), first]], np.nan)
    return values[np.searchsorted(rows, np.arange(len(truth)), side="right") - 1]


def planned_speed(log: RideLog) -> tuple[FloatArray, FloatArray]:
    """Time and speed (m/s) that the trajectory in force had planned for that time."""
    starts = np.array([log.seconds(item.stamp_ns + log.trajectory_let_ns) for item in log.trajectories])
    first, last = time_range(log)
    if not starts.size:
        return np.zeros(0), np.zeros(0)
    t = np.arange(max(first, starts[0]), last, _PLAN_STEP)
    speed = np.full(t.size, np.nan)
    for i, k in enumerate((np.searchsorted(starts, t, side="right") - 1).tolist()):
        points = log.trajectories[k].points
        if len(points):
            speed[i] = np.interp(t[i] - log.seconds(log.trajectories[k].stamp_ns), points["t"], points["speed"])
    return t, speed


def acceleration_chart(log: RideLog, stops: Stops) -> str:
    s = comfort.comfort_series(log.truth)
    chart = svg.Chart(time_range(log), svg.bounds(s.lon_accel, s.lat_accel, least=2.6), width=svg.HALF).axes("m/s²")
    _with_stops(chart, stops).limit(comfort.MAX_LON_ACCEL, "accelerating 2.40").limit(
        comfort.MIN_LON_ACCEL, "braking -4.05"
    )
    chart.limit(comfort.MAX_LAT_ACCEL, "lateral 4.89").limit(-comfort.MAX_LAT_ACCEL)
    chart.line(s.t, s.lat_accel, "c2", "lateral").line(s.t, s.lon_accel, "c1", "longitudinal")
    return chart.render("Accelerations over time")


def jerk_chart(log: RideLog, stops: Stops) -> str:
    s = comfort.comfort_series(log.truth)
    chart = svg.Chart(time_range(log), svg.bounds(s.jerk, s.lon_jerk, least=4.6), width=svg.HALF).axes("m/s³")
    _with_stops(chart, stops).limit(comfort.MAX_LON_JERK, "longitudinal 4.13").limit(-comfort.MAX_LON_JERK)
    chart.limit(comfort.MAX_JERK, "total 8.37").limit(-comfort.MAX_JERK)
    chart.line(s.t, s.jerk, "c4", "total").line(s.t, s.lon_jerk, "c1", "longitudinal")
    return chart.render("Jerk over time")


def tracking_chart(log: RideLog, stops: Stops) -> str:
    t, error = metrics.lateral_tracking_error(log)
    if not t.size:
        return '<p class="none">The log holds no trajectories.</p>'
    # a gap in time is a stand: no line across it
    gaps = np.flatnonzero(np.diff(t) > 0.5)
    t, error = np.insert(t, gaps + 1, t[gaps] + 1e-3), np.insert(error, gaps + 1, np.nan)
    chart = _with_stops(
        svg.Chart(time_range(log), svg.bounds(100.0 * error, least=5.0), width=svg.HALF).axes("cm"), stops
    )
    return chart.line(t, 100.0 * error, "c1", "true lateral offset from the trajectory, left positive").render(
        "Tracking"
    )


def localization_chart(log: RideLog, stops: Stops) -> str:
    t, lateral, total = metrics.localization_error(log)
    if not t.size:
        return '<p class="none">The log holds no estimates.</p>'
    chart = _with_stops(
        svg.Chart(time_range(log), svg.bounds(100.0 * lateral, 100.0 * total, least=5.0), width=svg.HALF), stops
    )
    chart.axes("cm").line(t, 100.0 * total, "c3 thin", "distance").line(
        t, 100.0 * lateral, "c1", "lateral, left positive"
    )
    return chart.render("Localization error over time")


def latency_chart(log: RideLog) -> str:
    """One row a node: 5th to 95th percentile as a bar, median as a line, 99th percentile as a dot."""
    rows = [("sensor to command", log.sensor_to_command_ms), *sorted(log.latency_ms.items())]
    rows = [(name, np.asarray(ms)[np.isfinite(ms)]) for name, ms in rows if np.size(ms)]
    rows = [(name, ms) for name, ms in rows if ms.size]
    if not rows:
        return '<p class="none">The log holds no latencies.</p>'
    label, row_height = 190.0, 30.0
    top = max(max(float(np.percentile(ms, 99)) for _, ms in rows) * 1.15, 1.0)
    if rows[0][0] == "sensor to command":
        top = max(top, LATENCY_BUDGET_MS * 1.1)
    height = 14.0 + row_height * len(rows) + 30.0

    def x(ms: float) -> float:
        return label + ms / top * (svg.WIDTH - label - 90.0)

    parts = []
    for tick in svg.nice_ticks(0.0, top, 8):
        parts.append(svg.line(x(tick), 8.0, x(tick), height - 28.0, "grid"))
        parts.append(svg.text(x(tick), height - 10.0, f"{tick:g}", "tick", "middle"))
    parts.append(svg.text(svg.WIDTH - 90.0, height - 10.0, "ms", "unit"))
    for k, (name, ms) in enumerate(rows):
        p5, p50, p95, p99 = np.percentile(ms, [5, 50, 95, 99]).tolist()
        y = 14.0 + row_height * k
        css = "c2" if name == "sensor to command" else "c1"
        words = f"{name}: median {p50:.1f} ms, p99 {p99:.1f} ms, worst {float(ms.max()):.1f} ms, {ms.size} samples"
        parts.append(svg.text(label - 12.0, y + 17.0, name, "label", "end"))
        parts.append(svg.rect(x(p5), y + 5.0, max(x(p95) - x(p5), 2.0), 16.0, f"box {css}", words, 3.0))
        parts.append(svg.line(x(p50), y + 3.0, x(p50), y + 23.0, f"median {css}"))
        parts.append(f'<circle class="dot-mark {css}" cx="{x(p99):.1f}" cy="{y + 13.0:.1f}" r="4"/>')
        parts.append(svg.text(x(p99) + 10.0, y + 17.0, f"{p50:.1f} / {p99:.1f}", "tick"))
    if rows[0][0] == "sensor to command":
        parts.append(svg.line(x(LATENCY_BUDGET_MS), 8.0, x(LATENCY_BUDGET_MS), 14.0 + row_height, "limit"))
    return (
        '<div class="legend"><span>bar: 5th to 95th percentile</span><span>line: median</span>'
        "<span>dot: 99th percentile</span><span>figures: median / p99 in ms</span></div>"
        f'<div class="scroll"><svg viewBox="0 0 {svg.WIDTH:g} {height:.0f}" role="img" aria-label="Latency by node">'
        + "".join(parts)
        + "</svg></div>"
    )


def timeline(log: RideLog) -> str:
    """Rows of states over time: the trip, what held the car back, the mode, localization."""
    end = time_range(log)[1]
    rows = [
        ("trip", _spans(log.trip, end)),
        ("held back by", _causes(log, end)),
        ("mode", _spans(log.modes, end)),
        ("localization", _spans(log.localization_status, end)),
    ]
    rows = [(name, spans) for name, spans in rows if spans]
    if not rows:
        return '<p class="none">The log holds no states.</p>'
    row_height = 42.0
    chart = svg.Chart(time_range(log), (0.0, 1.0), svg.TOP + row_height * len(rows) + svg.BOTTOM)
    chart.axes("", y_ticks=())
    legend = []
    for k, (name, spans) in enumerate(rows):
        y = svg.TOP + row_height * k
        chart.add(svg.text(svg.LEFT, y + 9.0, name, "tick"))
        for start, stop, state, words in spans:
            x, width = chart.x(start), chart.x(stop) - chart.x(start)
            title = f"{state}, {start:.1f} s to {stop:.1f} s{': ' + words if words else ''}"
            chart.add(svg.rect(x, y + 14.0, max(width - 1.0, 1.0), 20.0, f"span {_tone(state)}", title, 3.0))
            label = state.replace("_", " ").lower()
            if width > 6.6 * len(label) + 8.0:
                chart.add(svg.text(x + 6.0, y + 28.0, label, "span-label"))
        legend.append(name)
    return chart.render("Timeline of " + ", ".join(legend))


Span = tuple[float, float, str, str]
_TONES = {
    "good": ("GOOD", "AUTONOMOUS", "COMPLETED", "EN_ROUTE", "EN_ROUTE_TO_PICKUP"),
    "wait": ("WAITING_FOR_RIDER", "BOARDING", "ARRIVED", "OFFERED", "ACCEPTED", "IDLE", "STOP", "INITIALISING"),
    "warn": ("DEGRADED", "COMFORTABLE_STOP", "CANCELLED", "NO_SHOW", "INPUT_LOST", "NO_ROUTE"),
    "bad": ("LOST", "EMERGENCY_STOP", "ABORTED", "REJECTED"),
}


def _tone(state: str) -> str:
    return next((tone for tone, states in _TONES.items() if state.upper() in states), "cause")


def _spans(entries: Sequence[TripEntry | ModeEntry], end: float) -> list[Span]:
    out: list[Span] = []
    named = [(e.t, e.state if isinstance(e, TripEntry) else e.mode, e.reason) for e in entries]
    for i, (start, name, reason) in enumerate(named):
        stop = named[i + 1][0] if i + 1 < len(named) else end
        out.append((start, max(stop, start), name, reason))
    return out


def _causes(log: RideLog, end: float) -> list[Span]:
    out: list[Span] = []
    for i, entry in enumerate(log.explanations):
        if not entry.slowing:
            continue
        stop = min(log.explanations[i + 1].t if i + 1 < len(log.explanations) else end, end)
        if out and out[-1][2] == entry.cause and entry.t - out[-1][1] < 1e-6:
            out[-1] = (out[-1][0], stop, entry.cause, out[-1][3])
        else:
            out.append((entry.t, stop, entry.cause, entry.sentence))
    return out


def stops_table(stops: Stops) -> str:
    if not stops:
        return '<p class="none">The car never stood still.</p>'
    rows = "".join(
        f"<tr><td>{n}</td><td>{s['t']:.1f} s</td><td>{s['until'] - s['t']:.1f} s</td><td>{s['s']:.0f} m</td>"
        f"<td>{escape(s['reason'])}</td></tr>"
        for n, s in enumerate(stops, 1)
    )
    head = "<tr><th>#</th><th>at</th><th>for</th><th>along the route</th><th>why</th></tr>"
    return f'<div class="scroll"><table class="stops"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def infractions_table(log: RideLog) -> str:
    if not log.infractions:
        return '<p class="none">None.</p>'
    rows = "".join(
        f"<tr><td>{log.seconds(i.stamp_ns):.1f} s</td><td>{escape(i.kind.replace('_', ' '))}</td>"
        f"<td>{'ours' if i.at_fault else 'others'}</td><td>{escape(i.detail)}</td></tr>"
        for i in log.infractions
    )
    head = "<tr><th>at</th><th>what</th><th>whose fault</th><th>detail</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
