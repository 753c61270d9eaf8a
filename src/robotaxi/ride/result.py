"""From a finished ride to its figures, report and verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.bags.ride_reader import read_ride
from robotaxi.bags.trace import trace_sha256
from robotaxi.evaluation.metrics import summarise, verdict
from robotaxi.evaluation.report import write_report
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.ride.options import RideOptions
from robotaxi.ride.session import Outcome
from robotaxi.sim.ride_plan import RidePlan

_EXIT_FELL_SHORT, _EXIT_INTERRUPTED = 1, 130


def evaluate(
    options: RideOptions, lane_map: LaneMap, plan: RidePlan, outcome: Outcome, command_line: str
) -> dict[str, Any]:
    """Figures of the command line contract, also when the ride fell short; writes summary.json and the report."""
    summary: dict[str, Any] = {"completed": False}
    problems = [outcome.failure] if outcome.failure else []
    report: Path | None = None
    if (outcome.bag / "metadata.yaml").exists():
        way = [
            lane_map.route_path(lane_map.route(a, b)).points
            for a, b in ((plan.start, plan.pickup), (plan.pickup, plan.dropoff))
        ]
        log = read_ride(
            outcome.bag,
            route=np.concatenate(way),
            pickup=(plan.pickup.x, plan.pickup.y),
            dropoff=(plan.dropoff.x, plan.dropoff.y),
            map_name=lane_map.name,
            seed=options.seed,
            wall_duration=outcome.wall_s,
            command_line=command_line,
        )
        if len(log.truth) > 1:
            summary = summarise(log)
            summary["trace_sha256"], summary["trace_by_topic"] = trace_sha256(outcome.bag)
            problems += verdict(summary)[1]
            report = write_report(summary, log, lane_map, outcome.folder)
    books = outcome.order["state"] if outcome.order else None
    if summary["completed"] and books != "COMPLETED":
        problems.append(f"the dispatcher's books say {books}, the car says COMPLETED")
        summary["completed"] = False
    summary.update(
        seed=options.seed,
        map=lane_map.name,
        memory_peak_mb=round(outcome.memory_peak_mb, 1),
        order_in_books=books,
        problems=problems,
        notes=outcome.notes,
        incidents=[incident.sentence for incident in outcome.incidents],
        exit_status=_EXIT_INTERRUPTED if outcome.interrupted else _EXIT_FELL_SHORT if problems else 0,
        bag=str(outcome.bag),
        report=str(report) if report else None,
        run=str(outcome.folder),
    )
    if "distance_m" not in summary:
        summary["error"] = "; ".join(problems) or "nothing was recorded"
        summary["exit_status"] = summary["exit_status"] or _EXIT_FELL_SHORT
    (outcome.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary
