"""The live line always fits its terminal."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from robotaxi.evaluation.live import LiveState, live_line


def test_shows_everything():
    state = LiveState("EN_ROUTE_TO_PICKUP", 412.0, 8.2, 1.234, "Stopping: red light at stop line 412.", True, 65.0)
    line = live_line(state, 200)
    for part in ("1:05", "en route to pickup", "412 m", "30 km/h", "x1.23", "Stopping: red light at stop line 412."):
        assert part in line


def test_unknown_values_are_dashes():
    assert "nan" not in live_line(LiveState("IDLE")) and "--" in live_line(LiveState("IDLE"))


def test_kilometres():
    assert "1.24 km" in live_line(LiveState("EN_ROUTE", 1240.0))


@given(st.text(max_size=200), st.integers(1, 160), st.floats(0, 1e6) | st.just(math.nan))
def test_one_line_never_wider_than_the_terminal(sentence, width, distance):
    line = live_line(LiveState("EN_ROUTE", distance, 3.0, 1.0, sentence, True, 1.0), width)
    assert cell_len(line) <= width and len(line.splitlines()) <= 1
