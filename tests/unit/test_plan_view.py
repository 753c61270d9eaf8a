"""OpenDRIVE reference lines: what is drawn as a polyline has neighbours with smooth edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robotaxi.hdmap.plan_view import PlanElement, evaluate, kinks


def polyline(turns_deg: list[float], length: float = 3.0) -> list[PlanElement]:
    """Lines of ``length`` m, each turned by so much against the one before."""
    elements, x, y, heading = [], 0.0, 0.0, 0.0
    for k, turn in enumerate([0.0, *turns_deg]):
        heading += math.radians(turn)
        elements.append(PlanElement(k * length, x, y, heading, length))
        x, y = x + length * math.cos(heading), y + length * math.sin(heading)
    return elements


def beside(elements: list[PlanElement], offset: float) -> np.ndarray:
    """Points (N, 2) ``offset`` m to the left of the line."""
    s = np.arange(0.0, sum(e.length for e in elements), 0.25)
    x, y, heading, _ = evaluate(elements, s).T
    return np.column_stack([x - offset * np.sin(heading), y + offset * np.cos(heading)])


@pytest.mark.parametrize("turn_deg", [12.0, -12.0])
def test_the_inner_edge_beside_a_polyline_never_runs_back(turn_deg: float) -> None:
    elements = polyline([turn_deg] * 8)
    inner = beside(elements, math.copysign(6.7, turn_deg))
    along = np.diff(inner, axis=0)
    way_deg = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
    assert abs(way_deg[0]) < 13.0 and (np.cos(np.diff(np.radians(way_deg))) > 0.9).all()


def test_the_reference_line_itself_stays_and_so_do_its_ends() -> None:
    elements = polyline([10.0, 10.0])
    x, y, heading, _ = evaluate(elements, np.array([0.0, 3.0, 6.0, 9.0])).T
    assert np.allclose(np.hypot(np.diff(x), np.diff(y)), 3.0)
    assert heading[[0, -1]] == pytest.approx([0.0, math.radians(20.0)])


def test_headings_at_a_kink_are_between_those_of_its_lines() -> None:
    heading = evaluate(polyline([20.0]), np.array([1.4, 2.999, 3.0, 4.6]))[:, 2]
    assert heading == pytest.approx(np.radians([0.0, 10.0, 10.0, 20.0]), abs=1e-3)


def test_corners_arcs_and_slight_errors_are_no_kinks() -> None:
    arc = PlanElement(0.0, 0.0, 0.0, 0.0, 5.0, "arc", (0.1,))
    x, y, heading = arc.end
    assert kinks([arc, PlanElement(5.0, x, y, heading, 5.0)]) == []
    assert kinks(polyline([0.5, 90.0])) == []
