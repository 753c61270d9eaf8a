"""The cycle's figures: as many objects as asked for, every cycle and step counted, the same ride as without them."""

from __future__ import annotations

from robotaxi.evaluation.planning_cycle import measure
from robotaxi.hdmap import load_map
from robotaxi.vehicle import load_vehicle


def test_a_crowded_ride_has_the_objects_asked_for_and_counts_every_cycle() -> None:
    figures = measure(load_map("town"), load_vehicle("robotaxi"), 1, 60, 2.0)
    assert figures["objects"]["least"] >= 60
    assert figures["planning_ms"]["cycles"] >= 14 and figures["control_ms"]["cycles"] >= 94
    assert 0.0 < figures["planning_ms"]["p50"] <= figures["planning_ms"]["p99"] <= figures["planning_ms"]["max"]
