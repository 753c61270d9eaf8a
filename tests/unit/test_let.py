"""Logical execution time: which message counts, whatever the order of arrival."""

from hypothesis import given
from hypothesis import strategies as st

from robotaxi.interfaces import INTERFACES, MS, TICK_NS
from robotaxi.nodes.let import InputBuffer, expected_stamp, is_scheduled

OBJECTS = INTERFACES["perception/objects"]  # every 100 ms from 0, counts 60 ms later


def buffer(lockstep: bool = True) -> InputBuffer:
    return InputBuffer(OBJECTS, decode=lambda message: message, lockstep=lockstep, let_ns=OBJECTS.let_ns)


def test_message_counts_only_after_its_logical_execution_time():
    assert expected_stamp(OBJECTS, 59 * MS) is None
    assert expected_stamp(OBJECTS, 60 * MS) == 0
    assert expected_stamp(OBJECTS, 159 * MS) == 0
    assert expected_stamp(OBJECTS, 160 * MS) == 100 * MS


def test_waits_for_the_stamp_that_counts():
    inputs = buffer()
    inputs.push(0, "a")
    assert inputs.ready(100 * MS)
    assert not inputs.ready(160 * MS)
    inputs.push(100 * MS, "b")
    assert inputs.ready(160 * MS)


def test_message_that_arrived_early_is_not_used_early():
    inputs = buffer()
    inputs.push(0, "a")
    inputs.push(100 * MS, "b")
    assert inputs.get(120 * MS) == (0, "a")
    assert inputs.get(160 * MS) == (100 * MS, "b")


def test_late_input_is_not_waited_for_until_it_is_back():
    inputs = buffer()
    inputs.push(0, "a")
    assert not inputs.ready(160 * MS)
    inputs.late = True
    assert inputs.ready(160 * MS) and inputs.ready(260 * MS)
    assert inputs.get(260 * MS) == (0, "a")
    inputs.push(300 * MS, "back")
    assert not inputs.late


def test_late_input_that_is_still_behind_stays_late():
    inputs = buffer()
    assert not inputs.ready(560 * MS)
    inputs.late = True
    inputs.push(100 * MS, "old")
    assert inputs.late


def test_on_the_wall_clock_the_newest_is_taken_at_once():
    inputs = buffer(lockstep=False)
    assert inputs.ready(160 * MS)
    assert inputs.get(160 * MS) is None
    inputs.push(100 * MS, "b")
    assert inputs.get(100 * MS) == (100 * MS, "b")


def test_a_clock_that_was_set_back_is_followed_and_a_single_old_message_is_not():
    inputs = buffer(lockstep=False)
    inputs.push(60_000 * MS, "before")
    assert not inputs.push(50_000 * MS, "stray")
    inputs.push(60_100 * MS, "newer")
    assert inputs.get(60_100 * MS) == (60_100 * MS, "newer")
    back = [inputs.push((50_000 + 100 * k) * MS, k) for k in range(3)]
    assert back == [0, 0, 9_900 * MS]
    assert inputs.get(50_200 * MS) == (50_200 * MS, 2)


@given(st.permutations(range(8)), st.integers(0, 40))
def test_what_is_used_does_not_depend_on_the_order_of_arrival(order, tick):
    at_ns = tick * TICK_NS
    inputs = buffer()
    for index in order:
        inputs.push(index * 100 * MS, index)
    expected = expected_stamp(OBJECTS, at_ns)
    found = inputs.get(at_ns)
    assert (found[0] if found else None) == expected


def test_every_period_and_phase_is_a_multiple_of_the_tick():
    for item in INTERFACES.values():
        assert item.period_ns % TICK_NS == item.phase_ns % TICK_NS == item.let_ns % TICK_NS == 0, item.topic


def test_schedule():
    assert [t for t in range(0, 400, 20) if is_scheduled(t, 200, 40)] == [40, 240]
