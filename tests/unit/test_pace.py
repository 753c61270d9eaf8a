"""When a node on a car is due: stamps that jitter, come faster, stop or go back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from robotaxi.nodes.pace import Pace

PERIOD = 20_000_000
START = 1_700_000_000_123_456_789  # of a clock that knows nothing of our schedule


@given(st.lists(st.integers(0, PERIOD - 1), min_size=1, max_size=300))
def test_no_activation_is_lost_to_jitter_below_a_period(late: list[int]) -> None:
    pace = Pace(PERIOD, 0, lockstep=False)
    due = sum(pace.due(START + i * PERIOD + jitter) for i, jitter in enumerate(late))
    assert due >= len(late) - 1


@given(st.integers(1, 10), st.integers(0, PERIOD))
def test_a_faster_source_is_thinned_to_the_period(times: int, offset: int) -> None:
    pace = Pace(PERIOD, 0, lockstep=False)
    due = sum(pace.due(START + offset + i * PERIOD // times) for i in range(100 * times))
    assert 99 <= due <= 101


def test_overtaken_stamps_do_not_count_and_time_set_back_begins_anew() -> None:
    pace = Pace(PERIOD, 0, lockstep=False)
    assert pace.due(START)
    assert pace.due(START + PERIOD)
    assert not pace.due(START + PERIOD // 2)
    assert pace.due(START - 5 * PERIOD)
    assert pace.due(START - 4 * PERIOD)


def test_after_a_pause_it_does_not_catch_up() -> None:
    pace = Pace(PERIOD, 0, lockstep=False)
    pace.due(START)
    assert sum(pace.due(START + 100 * PERIOD + i * 1_000_000) for i in range(18)) == 1


def test_under_lock_step_the_schedule_is_exact() -> None:
    pace = Pace(PERIOD, 5_000_000, lockstep=True)
    assert [pace.due(stamp) for stamp in (0, 5_000_000, 6_000_000, 25_000_000)] == [False, True, False, True]
