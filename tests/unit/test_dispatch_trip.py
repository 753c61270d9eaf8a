"""The trip machine: legal moves only, always ends, duplicates change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotaxi.dispatch.trip import (
    CANCELLABLE,
    SECOND_NS,
    TERMINAL,
    TRANSITIONS,
    Ride,
    Trip,
    TripConfig,
    TripInput,
    diagram_mermaid,
    goal_of,
    may_cancel,
    step,
    table_markdown,
)
from robotaxi.types import Goal, MissionState, MissionStatus, SystemMode, TripState, VehicleReport

CONFIG = TripConfig()
LEGAL = {(t.source, t.target) for t in TRANSITIONS} | {(s, TripState.OFFERED) for s in TERMINAL}


def ride(order_id: str = "a") -> Ride:
    return Ride(order_id, Goal(f"{order_id}/pickup", 1.0, 2.0), Goal(f"{order_id}/dropoff", 3.0, 4.0))


def cabin(door: bool = False, seat: bool = False, belt: bool = False) -> VehicleReport:
    return VehicleReport(0, 0.0, 0.0, 0.0, door, seat, belt)


GOAL_IDS = ("", "a/pickup", "a/dropoff", "b/pickup", "b/dropoff")
inputs = st.builds(
    TripInput,
    stamp_ns=st.just(0),
    offer=st.one_of(st.none(), st.none(), st.sampled_from([ride("a"), ride("b")])),
    refusal=st.sampled_from(["", "", "unreachable: no road"]),
    not_ready=st.sampled_from(["", "", "position unknown"]),
    cancel_order_id=st.sampled_from(["", "", "", "a", "b"]),
    mission=st.one_of(st.none(), st.builds(MissionStatus, st.sampled_from(MissionState), st.sampled_from(GOAL_IDS))),
    report=st.one_of(st.none(), st.builds(cabin, st.booleans(), st.booleans(), st.booleans())),
    mode=st.sampled_from(SystemMode),
)
gaps = st.one_of(st.integers(0, SECOND_NS), st.integers(0, 1000 * SECOND_NS))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(gaps, inputs), max_size=25))
def test_every_event_is_a_move_of_the_table(sequence: list[tuple[int, TripInput]]) -> None:
    trip, now = Trip(), 0
    for gap, given_input in sequence:
        now += gap
        before = trip
        trip, events, goal = step(trip, replace(given_input, stamp_ns=now), CONFIG)
        state = before.state
        for event in events:
            if event.order_id != trip.order_id:  # another order, rejected as busy
                assert event.state in (TripState.OFFERED, TripState.REJECTED)
                continue
            assert (state, event.state) in LEGAL
            assert event.stamp_ns == now
            state = event.state
        assert state is trip.state
        assert goal == goal_of(trip)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(gaps, inputs), max_size=20))
def test_every_trip_ends_when_nothing_more_happens(sequence: list[tuple[int, TripInput]]) -> None:
    trip, now = Trip(), 0
    for gap, given_input in sequence:
        now += gap
        trip, _, _ = step(trip, replace(given_input, stamp_ns=now), CONFIG)
    for _ in range(len(TripState)):
        now += round(CONFIG.drive_timeout * SECOND_NS)
        trip, _, _ = step(trip, TripInput(now), CONFIG)
    assert not trip.active


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(gaps, inputs), max_size=20))
def test_the_same_input_again_changes_nothing(sequence: list[tuple[int, TripInput]]) -> None:
    """Except where the first one ended the trip and its offer may begin anew."""
    trip, now = Trip(), 0
    for gap, given_input in sequence:
        now += gap
        given_input = replace(given_input, stamp_ns=now)
        trip, _, _ = step(trip, given_input, CONFIG)
        again, events, _ = step(trip, given_input, CONFIG)
        if given_input.offer is None or given_input.offer.order_id == trip.order_id:
            assert (again, events) == (trip, ())


def test_a_whole_ride() -> None:
    trip = Trip()
    seen = []
    script = [
        TripInput(0, offer=ride()),
        TripInput(1, mission=MissionStatus(MissionState.DRIVING, "a/pickup")),
        TripInput(2, mission=MissionStatus(MissionState.ARRIVED, "a/pickup"), report=cabin()),
        TripInput(3, report=cabin(door=True)),
        TripInput(4, report=cabin(seat=True)),
        TripInput(5, report=cabin(seat=True, belt=True)),
        TripInput(6, mission=MissionStatus(MissionState.ARRIVED, "a/pickup")),  # of the goal before: does not count
        TripInput(7, mission=MissionStatus(MissionState.ARRIVED, "a/dropoff"), report=cabin(seat=True, belt=True)),
        TripInput(8, report=cabin(door=True)),
        TripInput(9, report=cabin()),
    ]
    goals = []
    for now in script:
        trip, events, goal = step(trip, now, CONFIG)
        seen += [(event.stamp_ns, event.state.name) for event in events]
        goals.append((goal.goal_id, goal.hold) if goal else None)
    assert seen == [
        (0, "OFFERED"),
        (0, "ACCEPTED"),
        (0, "EN_ROUTE_TO_PICKUP"),
        (2, "WAITING_FOR_RIDER"),
        (3, "BOARDING"),
        (5, "EN_ROUTE"),
        (7, "ARRIVED"),
        (9, "ALIGHTED"),
        (9, "COMPLETED"),
    ]
    assert goals[1] == ("a/pickup", False) and goals[3] == ("a/pickup", True) and goals[6] == ("a/dropoff", False)
    assert goals[-1] is None


def at(state: TripState) -> Trip:
    return Trip(state, ride(), 0)


LATE = 20_000 * SECOND_NS


@pytest.mark.parametrize(
    ("state", "now", "target", "words"),
    [
        (TripState.OFFERED, TripInput(0, refusal="deadline passed"), TripState.REJECTED, "deadline passed"),
        (TripState.OFFERED, TripInput(LATE, not_ready="position unknown"), TripState.REJECTED, "position unknown"),
        (TripState.WAITING_FOR_RIDER, TripInput(LATE), TripState.NO_SHOW, "no rider within 300 s"),
        (TripState.BOARDING, TripInput(LATE), TripState.NO_SHOW, "nobody on the seat"),
        (TripState.BOARDING, TripInput(LATE, report=cabin(seat=True)), TripState.ABORTED, "belt not fastened"),
        (TripState.ARRIVED, TripInput(LATE, report=cabin(seat=True)), TripState.ABORTED, "seat occupied"),
    ],
)
def test_the_other_endings(state: TripState, now: TripInput, target: TripState, words: str) -> None:
    trip, events, _ = step(at(state), now, CONFIG)
    assert trip.state is target and words in trip.reason
    assert events[-1].reason == trip.reason


def test_a_rider_is_known_by_the_code_where_the_car_can_ask() -> None:
    waiting = replace(at(TripState.BOARDING), ride=replace(ride(), rider_code="4711"))
    seated = cabin(seat=True, belt=True)
    for shown, target in ((None, TripState.EN_ROUTE), ("", TripState.BOARDING), ("4711", TripState.EN_ROUTE)):
        trip, _, _ = step(waiting, TripInput(1, report=seated, code_shown=shown), CONFIG)
        assert trip.state is target
    trip, _, _ = step(waiting, TripInput(LATE, report=seated, code_shown="0815"), CONFIG)
    assert trip.state is TripState.ABORTED and "code was not shown" in trip.reason
    trip, _, _ = step(at(TripState.BOARDING), TripInput(1, report=seated, code_shown="0815"), CONFIG)
    assert trip.state is TripState.EN_ROUTE  # nobody asked for one


def test_no_way_to_the_goal_ends_the_trip_only_when_none_opens_for_a_while() -> None:
    closed = MissionStatus(MissionState.UNREACHABLE, "a/dropoff", 0.0, "road closed")
    patience = round(CONFIG.unreachable_patience) * SECOND_NS
    trip, _, _ = step(at(TripState.EN_ROUTE), TripInput(0, mission=closed), CONFIG)
    assert trip.state is TripState.EN_ROUTE
    trip, _, _ = step(trip, TripInput(patience - 1, mission=MissionStatus(MissionState.DRIVING, "a/dropoff")), CONFIG)
    trip, _, _ = step(trip, TripInput(patience, mission=closed), CONFIG)  # it opened in between: counted anew
    assert trip.state is TripState.EN_ROUTE
    trip, events, _ = step(trip, TripInput(2 * patience, mission=closed), CONFIG)
    assert trip.state is TripState.ABORTED and events[-1].reason == "unreachable: road closed"


def test_a_safety_stop_ends_the_trip_only_when_it_persists() -> None:
    trip = at(TripState.EN_ROUTE)
    stopped = TripInput(0, mode=SystemMode.COMFORTABLE_STOP, mode_reason="lidar lost")
    trip, _, _ = step(trip, stopped, CONFIG)
    trip, _, _ = step(trip, replace(stopped, stamp_ns=50 * SECOND_NS), CONFIG)
    trip, _, _ = step(trip, TripInput(51 * SECOND_NS), CONFIG)  # goes on
    trip, _, _ = step(trip, replace(stopped, stamp_ns=55 * SECOND_NS), CONFIG)
    trip, events, _ = step(trip, replace(stopped, stamp_ns=100 * SECOND_NS), CONFIG)
    assert not events
    trip, events, goal = step(trip, replace(stopped, stamp_ns=115 * SECOND_NS), CONFIG)
    assert events[-1].reason == "safety stop (COMFORTABLE_STOP) for 60 s: lidar lost"
    assert goal is not None and goal.hold


def test_another_order_on_a_trip_is_rejected_and_the_trip_goes_on() -> None:
    trip, events, _ = step(at(TripState.EN_ROUTE), TripInput(5, offer=ride("b")), CONFIG)
    assert [(e.order_id, e.state.name, e.reason) for e in events] == [
        ("b", "OFFERED", ""),
        ("b", "REJECTED", "busy: on order a"),
    ]
    assert trip == at(TripState.EN_ROUTE)


@pytest.mark.parametrize("state", list(TripState))
def test_cancel_where_it_may(state: TripState) -> None:
    trip, _, _ = step(at(state), TripInput(0, cancel_order_id="a", report=cabin(seat=True)), CONFIG)
    assert (trip.state is TripState.CANCELLED) == (state in CANCELLABLE or state is TripState.CANCELLED)
    assert bool(may_cancel(at(state))) == (state not in CANCELLABLE)


def test_the_drawings_have_every_row() -> None:
    assert table_markdown().count("\n") == len(TRANSITIONS) + 1
    assert "EN_ROUTE --> ARRIVED" in diagram_mermaid()
