"""The ride report: one self-contained HTML page that needs no network."""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from robotaxi.evaluation import metrics, report_plots
from robotaxi.evaluation.report_map import map_picture
from robotaxi.evaluation.ride_log import RideLog
from robotaxi.hdmap.lane_map import LaneMap

REPORT_NAME = "report.html"
_TRACKING_GOOD_M = 0.2
_LOCALIZATION_GOOD_M = 0.15
_NOT_UNCOMFORTABLE = 0.315  # m/s^2, ISO 2631-1:1997 annex C.2.3


def write_report(summary: dict[str, Any], log: RideLog, lane_map: LaneMap | None, out_dir: str | Path) -> Path:
    """Write ``report.html`` into ``out_dir`` (made if missing) and return its path.

    ``summary``: from `metrics.summarise`; may carry more, of which ``trace_sha256`` is shown.
    ``lane_map`` None: the map shows the path alone and there are no speed limits.
    """
    path = Path(out_dir) / REPORT_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(summary, log, lane_map), encoding="utf-8")
    return path


def render_report(summary: dict[str, Any], log: RideLog, lane_map: LaneMap | None) -> str:
    """The page as text; depends on its arguments alone."""
    good, problems = metrics.verdict(summary)
    stops = metrics.stops(log)
    heading = "Passenger delivered" if summary["completed"] else "Passenger not delivered"
    if good:
        lead = "No collision, no red light or stop line run, never off the road."
    else:
        lead = escape("; ".join(problems)).capitalize() + "." + _last_word(summary, log)
    command = log.command_line or _command(log)
    template = Template(resources.files("robotaxi.evaluation").joinpath("templates/report.html").read_text("utf-8"))
    return template.substitute(
        title=escape(f"{heading}: {log.map_name or 'ride'}{'' if log.seed is None else f', seed {log.seed}'}"),
        badge="good" if good else "bad",
        badge_text="Ride passed" if good else "Ride failed",
        heading=heading,
        lead=lead,
        facts=_facts(summary, log),
        figures=_figures(summary),
        map=map_picture(log, lane_map, stops),
        speed=report_plots.speed_chart(log, lane_map, stops),
        timeline=report_plots.timeline(log),
        stops=report_plots.stops_table(stops),
        acceleration=report_plots.acceleration_chart(log, stops),
        jerk=report_plots.jerk_chart(log, stops),
        tracking=report_plots.tracking_chart(log, stops),
        localization=report_plots.localization_chart(log, stops),
        latency=report_plots.latency_chart(log),
        infractions=report_plots.infractions_table(log),
        again="The same seed gives the same bytes." if log.seed is not None else "",
        command=escape(command),
    )


def _last_word(summary: dict[str, Any], log: RideLog) -> str:
    """Where an undelivered trip ended and why."""
    if summary["completed"] or not log.trip:
        return ""
    last = log.trip[-1]
    reason = f": {last.reason}" if last.reason else ""
    return escape(f" The trip ended {last.state.replace('_', ' ').lower()}{reason}.")


def _command(log: RideLog) -> str:
    parts = ["robotaxi ride"]
    if log.map_name:
        parts.append(f"--map {log.map_name}")
    if log.seed is not None:
        parts.append(f"--seed {log.seed}")
    return " ".join(parts)


def _facts(summary: dict[str, Any], log: RideLog) -> str:
    facts = {"map": log.map_name, "seed": "" if log.seed is None else str(log.seed), **log.parameters}
    trace = summary.get("trace_sha256")
    if trace:
        facts["trace"] = str(trace)[:16]
    return "".join(f"<span>{escape(key)}</span><b>{escape(value)}</b>" for key, value in facts.items() if value)


def _figures(summary: dict[str, Any]) -> str:
    comfort, tracking, localization = summary["comfort"], summary["tracking"], summary["localization"]
    latency = summary["latency_ms"]["sensor_to_command_p99"]
    factor, score = summary["real_time_factor"], summary["driving_score"]
    minutes, seconds = divmod(round(summary["duration_s"] or 0.0), 60)
    rms = comfort["iso2631_rms"]
    return "".join(
        [
            _figure("driving score", score, 1, "/ 100", _tone(score, lambda v: v >= 99.95, lambda v: v >= 60.0)),
            _figure("route driven", summary["route_completion"], 1, "%"),
            _figure("distance", (summary["distance_m"] or 0.0) / 1000.0, 2, "km"),
            _card("duration", f"{minutes}:{seconds:02d}", "min"),
            _figure("real-time factor", factor, 2, "x", _tone(factor, lambda v: v >= 1.0)),
            _figure("collisions", summary["collisions"], 0, "", "bad" if summary["collisions"] else ""),
            _figure("comfort, ISO 2631-1", rms, 2, "m/s²", _tone(rms, lambda v: v < _NOT_UNCOMFORTABLE)),
            _card(
                "within nuPlan comfort", *(("yes", "", "") if comfort["within_nuplan_limits"] else ("no", "", "warn"))
            ),
            _figure("largest acceleration", comfort["max_lon_accel"], 1, "m/s²"),
            _centimetres("tracking, largest", tracking["lateral_max_m"], tracking["lateral_rms_m"], _TRACKING_GOOD_M),
            _centimetres(
                "localization, largest", localization["max_m"], localization["lateral_rms_m"], _LOCALIZATION_GOOD_M
            ),
            _figure(
                "sensor to command, p99",
                latency,
                0,
                "ms",
                _tone(latency, lambda v: v < report_plots.LATENCY_BUDGET_MS),
            ),
        ]
    )


def _tone(value: float | None, good: Any, fair: Any = None) -> str:
    """'' where all is well or unknown: colour is kept for what needs a look."""
    if value is None or good(value):
        return ""
    return "warn" if fair is None or fair(value) else "bad"


def _figure(label: str, value: float | None, digits: int, unit: str, tone: str = "") -> str:
    return _card(label, "--" if value is None else f"{value:.{digits}f}", unit, tone)


def _centimetres(label: str, largest: float | None, rms: float | None, good: float) -> str:
    if largest is None or rms is None:
        return _card(label, "--", "")
    return _card(label, f"{100.0 * largest:.0f}", f"cm, rms {100.0 * rms:.1f}", "warn" if largest > good else "")


def _card(label: str, value: str, unit: str, tone: str = "") -> str:
    small = f"<small>{escape(unit)}</small>" if unit else ""
    return f'<div class="figure {tone}"><span>{escape(label)}</span><b>{escape(value)}{small}</b></div>'
