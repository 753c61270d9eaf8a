"""What the cloud may ask for besides rides, and what the car makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from dispatch_helpers import DROPOFF, ORIGIN, message
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dispatch_bridge import NOW_NS, Setup, place

from robotaxi.dispatch import datum
from robotaxi.dispatch.documents import asyncapi, asyncapi_text
from robotaxi.dispatch.messages import BODIES, GCJ02, WGS84, Area, AssistAnswer, Command, Event, Position, State
from robotaxi.dispatch.outbox import BACKFILL, NORMAL, Outbox, OutboxConfig
from robotaxi.dispatch.protocol import JSON, MSGPACK, Sender, body_as_json, decode
from robotaxi.types import SystemMode, TripState, VehicleReport


def riding(state: TripState = TripState.EN_ROUTE) -> Setup:
    setup = Setup()
    setup.cloud.order()
    for _ in range(60):
        setup.run(1)
        if setup.car.trip_state is state:
            return setup
    raise AssertionError(f"never {state.name}")


def ask(setup: Setup, command: str, **fields: Any) -> tuple[str, str]:
    setup.cloud.send("command", Command(command=command, **fields))
    setup.run(1)
    return setup.link.acks("accepted", "refused")[-1]


def test_a_stop_on_the_way_and_another_destination() -> None:
    setup = riding()
    assert ask(setup, "add_stop", place=place({"lat": 48.139, "lon": 11.578, "name": "Bakery"}))[0] == "accepted"
    assert ask(setup, "change_destination", place=place({**DROPOFF, "lat": 48.145}))[0] == "accepted"
    setup.bridge._config = replace(setup.bridge._config, stop_time=0.1)
    setup.run(60)
    states = [event.state.name for event in setup.car.events]
    assert states[-7:] == ["EN_ROUTE", "EN_ROUTE", "AT_STOP", "EN_ROUTE", "ARRIVED", "ALIGHTED", "COMPLETED"]
    goals = [goal.goal_id for goal in setup.car.goals if not goal.hold]
    assert goals == ["ride-7/pickup", "ride-7/dropoff", "ride-7/stop.1", "ride-7/dropoff.2"]
    assert setup.link.bodies("order_event")[-1]["revision"] == 2


def test_pull_over_holds_the_car_also_after_a_restart_until_it_may_go_on(tmp_path: Any) -> None:
    setup = Setup(tmp_path / "box.sqlite")
    setup.cloud.order()
    setup.car.arrives = False
    setup.run(3)
    assert ask(setup, "pull_over") == ("accepted", "")
    assert setup.car.goals[-1].hold and setup.car.goals[-1].goal_id == "ride-7/held"
    again = Setup(tmp_path / "box.sqlite")
    again.car = setup.car
    again.cloud.count, again.cloud.sender.boot_id = 100, "desk2"
    again.run(1)
    assert again.car.goals[-1].hold
    assert ask(again, "resume") == ("accepted", "")
    assert not again.car.goals[-1].hold


def test_doors_move_at_standstill_only() -> None:
    setup = riding()
    moving = replace(setup.car.inputs(), report=VehicleReport(0, 5.0, 0.0))
    setup.cloud.send("command", Command(command="open_doors"))
    assert setup.bridge.step(moving).doors == ""
    assert setup.link.acks("refused")[-1][1] == "doors move at standstill only"
    ask(setup, "pull_over")
    setup.cloud.send("command", Command(command="open_doors"))
    assert setup.bridge.step(setup.car.inputs()).doors == "open"


def test_a_closed_area_is_in_force_at_once_and_survives(tmp_path: Any) -> None:
    setup = Setup(tmp_path / "box.sqlite")
    center = Position(datum=WGS84, lat=DROPOFF["lat"], lon=DROPOFF["lon"])
    area = Area(area_id="flood", center=center, radius=50.0, until_ns=NOW_NS + 10**12)
    assert ask(setup, "avoid_area", area=area)[0] == "accepted"
    again = Setup(tmp_path / "box.sqlite")
    again.cloud.count, again.cloud.sender.boot_id = 100, "desk2"
    again.cloud.order()
    again.run(2)
    assert again.last == ("REJECTED", "outside area: drop-off is in flood, which is closed")
    assert again.link.bodies("state")[-1]["avoided"] == ["flood"]
    assert ask(again, "avoid_area", area=msgspec.structs.replace(area, until_ns=1))[0] == "accepted"
    again.cloud.order("other")
    again.run(3)
    assert again.car.trip_state is TripState.EN_ROUTE_TO_PICKUP and again.car.goals[-1].avoid == ()


def test_routes_are_told_to_keep_out_of_a_closed_area() -> None:
    setup = riding(TripState.EN_ROUTE_TO_PICKUP)
    center = Position(datum=WGS84, lat=ORIGIN[0], lon=ORIGIN[1])
    ask(setup, "avoid_area", area=Area(area_id="a", center=center, radius=20.0, until_ns=NOW_NS + 10**12))
    assert setup.car.goals[-1].avoid[0] == pytest.approx((0.0, 0.0, 20.0), abs=1e-6)


def blocked(setup: Setup) -> Any:
    inputs = setup.car.inputs()
    why = "Lane blocked by a delivery van, 6 m ahead."
    return replace(inputs, mission=replace(inputs.mission, blocked_by=why, ways_out=("overtake", "reroute")))


def test_a_question_is_asked_answered_and_becomes_a_permission() -> None:
    setup = riding(TripState.EN_ROUTE_TO_PICKUP)
    setup.bridge._help._config = replace(setup.bridge._config, assist_after=0.3, assist_timeout=1.0)
    for _ in range(5):
        setup.bridge.step(blocked(setup))
        setup.car.stamp_ns += 100_000_000
    question = setup.link.bodies("assist_request")[-1]
    assert question["question"] == "Lane blocked by a delivery van, 6 m ahead. Wait, overtake, reroute?"
    for option in ("fly", "overtake"):
        setup.cloud.send("assist_answer", AssistAnswer(question_id=question["question_id"], option_id=option))
    output = setup.bridge.step(blocked(setup))
    assert setup.link.acks("refused", "accepted")[-2:] == [("refused", "'fly' is not an option"), ("accepted", "")]
    assert output.permission is not None and output.permission.option_id == "overtake"
    assert setup.link.bodies("assist_request")[-1]["settled"] == "overtake"


def test_a_question_without_an_answer_has_a_default() -> None:
    setup = riding(TripState.EN_ROUTE_TO_PICKUP)
    setup.bridge._help._config = replace(setup.bridge._config, assist_after=0.3, assist_timeout=1.0)
    permissions = []
    for _ in range(15):
        permissions.append(setup.bridge.step(blocked(setup)).permission)
        setup.car.stamp_ns += 100_000_000
    taken = [item for item in permissions if item]
    assert [(item.option_id, item.reason) for item in taken] == [("wait", "no answer within 1 s")]


def test_a_safety_stop_is_told_once() -> None:
    setup = riding()
    for _ in range(3):
        stopping = replace(setup.car.inputs(), mode=SystemMode.EMERGENCY_STOP, mode_reason="obstacle")
        setup.bridge.step(stopping)
    assert [event["text"] for event in setup.link.bodies("event")] == ["EMERGENCY_STOP: obstacle"]


# ---------------------------------------------------------------------------- datum and encodings


@settings(max_examples=200, deadline=None)
@given(st.floats(4.0, 53.0), st.floats(74.0, 134.0))
def test_gcj02_and_back_is_the_same_place(lat: float, lon: float) -> None:
    there = datum.gcj02_from_wgs84(lat, lon)
    assert 10.0 < 111_000.0 * max(abs(there[0] - lat), abs(there[1] - lon)) < 1500.0
    back = datum.wgs84_from_gcj02(*there)
    assert back == pytest.approx((lat, lon), abs=1e-9)  # 0.1 mm


def test_gcj02_of_a_known_place_and_outside() -> None:
    assert datum.gcj02_from_wgs84(39.90730, 116.39120) == pytest.approx((39.90870, 116.39744), abs=1e-4)
    assert datum.gcj02_from_wgs84(48.137, 11.575) == (48.137, 11.575)


def test_a_platform_that_speaks_gcj02_is_converted_at_the_edge() -> None:
    origin = (31.2304, 121.4737, 4.0)
    from robotaxi.dispatch.report import Earth
    from robotaxi.geometry.geodesy import LocalFrame

    earth = Earth(LocalFrame(*origin), GCJ02)
    told = earth.position(120.0, -340.0)
    assert told.datum == GCJ02 and abs(told.lat - origin[0]) * 111_000.0 > 100.0
    assert earth.to_map(told) == pytest.approx((120.0, -340.0), abs=1e-3)


@pytest.mark.parametrize("encoding", [JSON, MSGPACK])
def test_both_encodings_say_the_same_and_unknown_fields_are_kept(encoding: str) -> None:
    sender = Sender("car1", "b", lambda: "m1", lambda: 1, encoding=encoding)
    state = State(stamp_ns=5, mode="AUTONOMOUS", trajectory=((48.0, 11.0),))
    payload = sender.wrap(state)[1]
    assert decode(payload, "state", "car1").body == state
    coder: Any = msgspec.json if encoding == JSON else msgspec.msgpack
    newer = coder.decode(payload)
    newer["body"]["tyre_pressure"], newer["v"] = 2.4, "1.7"
    payload = coder.encode(newer)
    assert json.loads(body_as_json(payload, decode(payload, "state")))["tyre_pressure"] == 2.4


def test_the_asyncapi_document_is_the_one_that_is_shipped() -> None:
    from pathlib import Path

    shipped = Path(__file__).parents[2] / "docs" / "dispatch-asyncapi.json"
    assert shipped.read_text() == asyncapi_text()
    document = asyncapi()
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/')[1:]}:
        found: Any = document
        for step in reference.split("/"):
            found = found[step]
    assert set(document["channels"]) == set(BODIES)
    for word in ("steering", "throttle", "brake", "gear"):
        assert f'"{word}' not in json.dumps(document["components"])


# ---------------------------------------------------------------------------- what is given up


def test_over_the_quota_history_goes_first_and_the_gap_is_told() -> None:
    setup = Setup()
    setup.outbox._config = OutboxConfig(quota=4000)
    setup.link.connected = False
    for number in range(50):
        setup.outbox.record([message(f"h{number}", "state", b"x" * 100, BACKFILL)])
    setup.outbox.record([message(f"e{number}", "event", b"x" * 100, NORMAL) for number in range(30)])
    names = [item.name for item in setup.outbox.pending()]
    assert names == ["event"] * 30 + ["state"] * 10
    setup.outbox._config = OutboxConfig()
    setup.bridge._mail._tell_gaps()
    told = json.loads(setup.outbox.pending()[-11].payload)["body"]
    assert (told["kind"], told["name"], told["count"]) == ("gap", "state", 40)
    setup.bridge._mail._tell_gaps()
    assert len(setup.outbox) == 41


def test_what_is_too_old_is_given_up(tmp_path: Any) -> None:
    now = [10**18]
    outbox = Outbox(tmp_path / "box", now_ns=lambda: now[0])
    outbox.record([replace(message("old", "event"), expires_ns=10**18 + 5)])
    now[0] += 11 * 10**9
    outbox.record([message("new")])
    assert [item.id for item in outbox.pending()] == ["new"]
    assert [(gap.name, gap.count, gap.reason) for gap in outbox.gaps()] == [("event", 1, "time-to-live")]


def test_a_log_cut_anywhere_leaves_a_whole_number_of_transactions(tmp_path: Any) -> None:
    """A power failure may leave any beginning of what had not been promised; never half a transaction."""
    path = tmp_path / "box"
    outbox = Outbox(path)
    for number in range(6):
        outbox.record([message(f"a{number}"), message(f"b{number}")])
    main, wal = path.read_bytes(), (tmp_path / "box-wal").read_bytes()
    counts = []
    for cut in range(0, len(wal) + 1, len(wal) // 12):
        copy = tmp_path / f"cut{cut}"
        copy.write_bytes(main)
        (tmp_path / f"cut{cut}-wal").write_bytes(wal[:cut])
        left = [item.id for item in Outbox(copy).pending()]
        whole = [name for number in range(len(left) // 2) for name in (f"a{number}", f"b{number}")]
        assert left == whole
        counts.append(len(left))
    assert counts == sorted(counts) and counts[-1] >= 10
    outbox.close()


def test_an_event_is_kept_until_its_receipt() -> None:
    setup = Setup()
    setup.link.connected = False
    setup.bridge.report(Event(stamp_ns=1, kind="disengagement", text="the safety driver took over"))
    assert setup.bridge.backlog == 1


def test_a_goal_with_closed_areas_goes_over_ros_and_back() -> None:
    convert = pytest.importorskip("robotaxi.nodes.convert")
    from robotaxi.types import Goal

    for goal in (Goal("a", 1.0, 2.0, 0.5, True), Goal("b", 1.0, 2.0, avoid=((1.5, -2.25, 20.0), (0.1, 0.2, 5.0)))):
        assert convert.goal(convert.goal_record(goal, 5)) == goal


def test_what_the_rider_showed_goes_over_ros_and_back() -> None:
    convert = pytest.importorskip("robotaxi.nodes.convert")
    assert [convert.rider_code(convert.rider_code_record(code, 5)) for code in ("", "4711")] == ["", "4711"]
