"""`robotaxi why`: the cause in force, since when, and what the car did."""

from __future__ import annotations

import numpy as np
import pytest

from robotaxi.evaluation.ride_log import EgoSeries, ExplanationEntry, RideLog
from robotaxi.evaluation.why import answer


def ride() -> RideLog:
    t = np.arange(0.0, 20.0, 0.1)
    speed = np.clip(10.0 - 2.0 * np.maximum(t - 10.0, 0.0), 0.0, 10.0)
    told = [ExplanationEntry(0.0, "CRUISE", "Driving at 36 km/h, limit 50 km/h.", False, 0, 0.0)]
    told += [
        ExplanationEntry(9.0 + k, "RED_LIGHT", f"Stopping: red light at stop line 4, {30 - 5 * k} m ahead.", True, 4,
                         30.0 - 5.0 * k) for k in range(6)
    ]  # fmt: skip
    return RideLog(0, EgoSeries.make(t, np.cumsum(speed) * 0.1, 0 * t, 0 * t, speed), explanations=tuple(told))


def test_names_the_cause_and_since_when() -> None:
    found = answer(ride(), 12.3)
    assert found["cause"] == "RED_LIGHT" and found["since"] == 9.0 and found["subject_id"] == 4
    assert found["acceleration"] == pytest.approx(-2.0, abs=0.05)
    assert "braked at 19 km/h" in found["lines"][0]
    assert "red light at stop line 4, 15 m ahead" in found["lines"][1]


def test_a_time_outside_the_ride_has_no_answer() -> None:
    for at in (-1.0, 50.0):
        found = answer(ride(), at)
        assert found["cause"] is None and "from 0 to 19.9 s" in found["lines"][0]
