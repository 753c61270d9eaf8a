"""The figures of one ride, from its log."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robotaxi.evaluation import comfort
from robotaxi.evaluation.ride_log import EgoSeries, ExplanationEntry, InfractionEntry, RideLog
from robotaxi.geometry.polyline import arc_length, project
from robotaxi.types import FloatArray

# CARLA leaderboard, "Driving score": infraction penalty coefficients
PENALTIES = {
    "collision_pedestrian": 0.50,
    "collision_vehicle": 0.60,
    "collision_static": 0.65,
    "red_light": 0.70,
    "stop_line": 0.80,
}
STANDSTILL_SPEED = 0.1  # m/s
STANDSTILL_TIME = 1.0  # s, shorter halts are not stops
_MOVING_SPEED = 0.5  # m/s, slower the lateral error says nothing about the controller
_PROGRESS_WINDOW = 40.0  # m, how far ahead on the route a new position is looked for
_PROGRESS_BACK = 5.0  # m, and how far back
_PROGRESS_STEP = 1.0  # m, looked for again only after that much
_ON_ROUTE = 8.0  # m, farther from the route does not count as progress
_SLOWING_BEFORE = 0.3  # m/s^2, deceleration that counts as coming to the stop


def summarise(log: RideLog) -> dict[str, Any]:
    """Every figure of the command line contract that follows from the log.

    ``route_completion`` and ``driving_score`` are per cent (0..100); ``comfort``, ``tracking`` and
    ``localization`` in SI. Figures that the log does not hold are None.
    """
    progress = route_progress(log)
    completion = route_completion(log, progress)
    series = comfort.comfort_series(log.truth)
    tracking = lateral_tracking_error(log)[1]
    lateral, total = localization_error(log)[1:]
    wall = log.wall_duration
    kinds = [item.kind for item in log.infractions]
    return {
        "completed": completed(log),
        "distance_m": _round(distance(log.truth)),
        "duration_s": _round(log.duration),
        "real_time_factor": _round(log.duration / wall) if wall > 0.0 else None,
        "collisions": sum(kind.startswith("collision") for kind in kinds),
        "at_fault_collisions": sum(i.kind.startswith("collision") and i.at_fault for i in log.infractions),
        "red_lights_run": kinds.count("red_light"),
        "stop_lines_run": kinds.count("stop_line"),
        "off_road_m": _round(off_road(log)),
        "route_completion": _round(completion),
        "driving_score": _round(completion * infraction_factor(log.infractions)),
        "comfort": {
            "max_lon_accel": _extreme(series.lon_accel),
            "max_lat_accel": _extreme(series.lat_accel),
            "max_jerk": _extreme(series.jerk),
            "iso2631_rms": _round(comfort.iso2631_rms(log.truth), 4),
            "within_nuplan_limits": all(series.within_limits().values()),
        },
        "tracking": {"lateral_rms_m": _rms(tracking), "lateral_max_m": _extreme(tracking)},
        "localization": {"lateral_rms_m": _rms(lateral), "max_m": _extreme(total)},
        "latency_ms": {
            "sensor_to_command_p50": _percentile(log.sensor_to_command_ms, 50),
            "sensor_to_command_p99": _percentile(log.sensor_to_command_ms, 99),
            "by_node": {
                name: {"p50": _percentile(ms, 50), "p99": _percentile(ms, 99), "max": _extreme(ms)}
                for name, ms in sorted(log.latency_ms.items())
            },
        },
        "stops": [
            {"t": _round(stop["t"]), "reason": stop["reason"], "s": _round(stop["s"])} for stop in stops(log, progress)
        ],
        "trip_states": [entry.state for entry in log.trip],
    }


def verdict(summary: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether the ride did what it must, and every reason why not.

    Delivered, with no collision, no red light or stop line run and no metre off the road.
    """
    problems = []
    if not summary["completed"]:
        problems.append("the passenger was not delivered")
    for key, one, many in (
        ("collisions", "collision", "collisions"),
        ("red_lights_run", "red light run", "red lights run"),
        ("stop_lines_run", "stop line run", "stop lines run"),
    ):
        if summary[key]:
            problems.append(f"{summary[key]} {one if summary[key] == 1 else many}")
    if summary["off_road_m"] > 0.0:
        problems.append(f"{summary['off_road_m']:.1f} m off the road")
    return not problems, problems


def completed(log: RideLog) -> bool:
    """The trip's last state is COMPLETED."""
    return bool(log.trip) and log.trip[-1].state == "COMPLETED"


def distance(motion: EgoSeries) -> float:
    """Metres driven."""
    return float(np.abs(np.trapezoid(np.abs(motion.speed), motion.t))) if len(motion) > 1 else 0.0


def off_road(log: RideLog) -> float:
    """Metres driven off the road."""
    return float(sum(item.value for item in log.infractions if item.kind == "off_road"))


def infraction_factor(infractions: tuple[InfractionEntry, ...]) -> float:
    """Product of the CARLA leaderboard's penalties; every collision counts, whosever fault."""
    factor = 1.0
    for item in infractions:
        factor *= PENALTIES.get(item.kind, 1.0)
    return factor


def route_progress(log: RideLog) -> FloatArray:
    """Arc length along the route (N,) for every sample of the truth, never going back.

    Looks only a little ahead of where the car was, so that a route may cross or repeat itself.
    Without a route it is the distance driven.
    """
    truth = log.truth
    if len(log.route) < 2:
        steps = np.hypot(np.diff(truth.x), np.diff(truth.y))
        return np.concatenate([np.zeros(min(1, len(truth))), np.cumsum(steps)])
    station = arc_length(log.route)
    out = np.zeros(len(truth))
    reached = 0.0
    before = (math.inf, math.inf)
    for i, (x, y) in enumerate(zip(truth.x.tolist(), truth.y.tolist(), strict=True)):
        if i == len(truth) - 1 or math.hypot(x - before[0], y - before[1]) >= _PROGRESS_STEP:
            before = (x, y)
            first = max(0, int(np.searchsorted(station, reached - _PROGRESS_BACK)) - 1)
            last = min(len(station), int(np.searchsorted(station, reached + _PROGRESS_WINDOW)) + 1)
            if last - first >= 2:
                foot = project(log.route[first:last], np.array([[x, y]]), station[first:last])
                if foot.distance[0] <= _ON_ROUTE:
                    reached = max(reached, float(foot.s[0]))
        out[i] = reached
    return out


def route_completion(log: RideLog, progress: FloatArray | None = None) -> float:
    """Per cent of the route driven; metres off the road do not count. A completed trip is all of it."""
    length = float(arc_length(log.route)[-1]) if len(log.route) >= 2 else distance(log.truth)
    if length <= 0.0:
        return 100.0 if completed(log) else 0.0
    if progress is None:
        progress = route_progress(log)
    done = length if completed(log) else float(progress[-1]) if progress.size and len(log.route) >= 2 else 0.0
    return float(np.clip(100.0 * (done - off_road(log)) / length, 0.0, 100.0))


def lateral_tracking_error(log: RideLog) -> tuple[FloatArray, FloatArray]:
    """Time and true lateral offset (m, left positive) from the trajectory in force, while moving."""
    truth = log.truth
    starts = np.array([log.seconds(item.stamp_ns + log.trajectory_let_ns) for item in log.trajectories])
    moving = np.flatnonzero(np.abs(truth.speed) > _MOVING_SPEED)
    index = np.searchsorted(starts, truth.t[moving], side="right") - 1
    moving, index = moving[index >= 0], index[index >= 0]
    times, errors = [], []
    for k in np.unique(index):
        points = log.trajectories[k].points
        way = np.column_stack([points["x"], points["y"]]).astype(np.float64)
        keep = np.concatenate([[True], np.hypot(*np.diff(way, axis=0).T) > 1e-3]) if len(way) else np.zeros(0, bool)
        way = way[keep]
        if len(way) < 2:
            continue
        rows = moving[index == k]
        foot = project(way, np.column_stack([truth.x[rows], truth.y[rows]]))
        inside = (foot.s > 0.0) & (foot.s < arc_length(way)[-1])
        times.append(truth.t[rows][inside])
        errors.append(foot.offset[inside])
    if not times:
        return np.zeros(0), np.zeros(0)
    return np.concatenate(times), np.concatenate(errors)


def localization_error(log: RideLog) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Time, lateral error (left positive) and horizontal distance of the estimate from the truth, (N,)."""
    truth, estimate = log.truth, log.estimate
    if len(truth) < 2 or not len(estimate):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    inside = (estimate.t >= truth.t[0]) & (estimate.t <= truth.t[-1])
    t = estimate.t[inside]
    dx = estimate.x[inside] - np.interp(t, truth.t, truth.x)
    dy = estimate.y[inside] - np.interp(t, truth.t, truth.y)
    yaw = np.interp(t, truth.t, np.unwrap(truth.yaw))
    return t, np.cos(yaw) * dy - np.sin(yaw) * dx, np.hypot(dx, dy)


def stops(log: RideLog, progress: FloatArray | None = None) -> list[dict[str, Any]]:
    """Every standstill: ``t`` and ``until`` (s), ``s`` along the route (m), ``reason`` and ``cause``.

    The reason is what made the car slow down: the cause in force most of the time from where it began
    to brake until it stood, in the words of its beginning.
    """
    truth = log.truth
    if not len(truth):
        return []
    if progress is None:
        progress = route_progress(log)
    still = np.abs(truth.speed) < STANDSTILL_SPEED
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    out = []
    for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        begin, end = float(truth.t[first]), float(truth.t[after - 1])
        if end - begin < STANDSTILL_TIME:
            continue
        if first == 0:
            cause, reason = "START", "Standing at the start of the ride."
        else:
            said = _reason(log, _braking_since(truth, first), begin)
            cause, reason = (said.cause, said.sentence) if said else ("UNKNOWN", "No reason was given.")
        out.append({"t": begin, "until": end, "s": float(progress[first]), "reason": reason, "cause": cause})
    return out


def _braking_since(truth: EgoSeries, stop: int) -> float:
    """When the deceleration that ends at sample ``stop`` began."""
    back = stop
    lag = max(1, int(np.searchsorted(truth.t, truth.t[0] + 0.5)))
    while back > lag:
        earlier = back - lag
        slope = (truth.speed[back] - truth.speed[earlier]) / (truth.t[back] - truth.t[earlier])
        if slope > -_SLOWING_BEFORE:
            break
        back = earlier
    return float(truth.t[back])


def _reason(log: RideLog, since: float, until: float) -> ExplanationEntry | None:
    """The cause in force longest between the two times, in its first words of that time."""
    entries = [e for e in log.explanations if e.t <= until]
    held: dict[tuple[str, int], float] = {}
    first: dict[tuple[str, int], ExplanationEntry] = {}
    for i, entry in enumerate(entries):
        following = entries[i + 1].t if i + 1 < len(entries) else until
        if following < since or not entry.slowing:
            continue
        key = (entry.cause, entry.subject_id)
        held[key] = held.get(key, 0.0) + following - max(entry.t, since)
        first.setdefault(key, entry)
    if not held:
        return None
    return first[max(held, key=lambda key: held[key])]


def _round(value: float, digits: int = 3) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def _extreme(values: FloatArray) -> float | None:
    """Largest magnitude."""
    return _round(float(np.max(np.abs(values)))) if np.size(values) else None


def _rms(values: FloatArray) -> float | None:
    return _round(float(np.sqrt(np.mean(np.square(values)))), 4) if np.size(values) else None


def _percentile(values: FloatArray, q: float) -> float | None:
    return _round(float(np.percentile(values, q))) if np.size(values) else None
