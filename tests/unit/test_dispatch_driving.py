"""Real bridge and real planner in one loop: what the cloud asks for changes what the car drives.

The car keeps perfectly to its plan; the rider gets in and out at once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dispatch_helpers import ORIGIN, TRUST
from test_dispatch_bridge import NOW_NS, Cloud, MemoryLink
from test_planning import CAR, STEP_NS, lane, lane_map, thing

from robotaxi.dispatch.bridge import Bridge, BridgeConfig
from robotaxi.dispatch.messages import Area, AssistAnswer, Clock, Command, Order, Place, Position
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.reachable import reachable_on
from robotaxi.dispatch.report import BridgeInput, Earth
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning import Planner, PlannerConfig, PlanningInput, PlanningOutput
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, Cause, EgoState, SystemMode, TripState, VehicleReport

EARTH = Earth(LocalFrame(*ORIGIN))
UP, DOWN = 2, 3  # the two ways between the fork at x = 150 and the merge at x = 350


def fork() -> LaneMap:
    """A road east that parts in a short way (UP, bends to y = 20) and a long one (DOWN, y = -40), and goes on."""
    up = [(150.0 + 2.0 * k, 20.0 * math.sin(math.pi * k / 100.0) ** 2) for k in range(101)]
    half = [(150, 0), (154, -1), (158, -4), (164, -10), (175, -25), (200, -38), (250, -40)]
    down = half + [(500 - x, y) for x, y in reversed(half[:-1])]
    road = lane_map(
        [
            lane(1, [(0, 0), (150, 0)], successors=(UP, DOWN)),
            lane(UP, up, predecessors=(1,), successors=(5,)),
            lane(DOWN, down, predecessors=(1,), successors=(5,)),
            lane(5, [(350, 0), (600, 0)], predecessors=(UP, DOWN)),
        ]
    )
    return replace(road, origin=ORIGIN)


def at(x: float, y: float) -> Position:
    return EARTH.position(x, y)


class Drive:
    """``objects``: what stands on the road."""

    def __init__(self, road: LaneMap, **config: Any) -> None:
        self.state = EgoState(0, 20.0, 0.0, 0.0, 0.0)
        self.link = MemoryLink()
        self.cloud = Cloud(self.link)
        self.bridge = Bridge(
            BridgeConfig(**{"stop_time": 1.0, "unreachable_patience": 3.0, **config}),
            ORIGIN, self.link, Outbox(":memory:", now_ns=lambda: NOW_NS), reachable_on(road), TRUST,
            now_ns=lambda: NOW_NS, monotonic_s=lambda: self.now * 1e-9, clock=lambda: Clock(synced=True, err_ms=1.0),
        )  # fmt: skip
        self.planner = Planner(PlannerConfig(), road, CAR)
        self.trip = TripState.IDLE
        self.rider = self.door = False
        self.objects = np.zeros(0, OBJECT_DTYPE)
        self.plan: PlanningOutput | None = None
        self.way: list[tuple[float, float, float]] = []  # x, y, speed
        self.events: list[tuple[str, str]] = []

    @property
    def now(self) -> int:
        return self.state.stamp_ns

    def order(self, *stops: tuple[float, float]) -> None:
        """Pick-up at x = 40, drop-off at x = 550."""
        places = tuple(Place(position=at(*stop)) for stop in stops)
        body = Order(order_id="r", pickup=Place(position=at(40, 0)), dropoff=Place(position=at(550, 0)), stops=places)
        self.cloud.send("order", body)

    def ask(self, command: str, **fields: Any) -> tuple[str, str]:
        self.cloud.send("command", Command(command=command, **fields))
        self.step()
        return self.link.acks("accepted", "refused")[-1]

    def avoid(self, x: float, y: float, radius: float, until_ns: int = NOW_NS + 10**12) -> tuple[str, str]:
        area = Area(area_id="flood", center=at(x, y), radius=radius, until_ns=until_ns)
        return self.ask("avoid_area", area=area)

    def step(self) -> None:
        state, plan = self.state, self.plan
        report = VehicleReport(self.now, state.speed, 0.0, 0.0, self.door, self.rider, self.rider and not self.door)
        output = self.bridge.step(
            BridgeInput(
                self.now, state, plan.mission if plan else None, report, SystemMode.AUTONOMOUS, "",
                plan.explanation.sentence if plan else "",
            )
        )  # fmt: skip
        self.events += [(event.state.name, event.reason) for event in output.events]
        self.trip = output.trip_state
        if output.doors:
            self.door = output.doors == "open"
        elif self.trip in (TripState.WAITING_FOR_RIDER, TripState.BOARDING):
            self.door, self.rider = self.trip is TripState.WAITING_FOR_RIDER, True
        elif self.trip is TripState.ARRIVED:
            self.rider = False
        seen, lights = self.objects, np.zeros(0, LIGHT_DTYPE)
        plan = self.planner.step(
            PlanningInput(self.now, state, seen, self.now, lights, self.now, output.goal, self.door)
        )
        assert plan.trajectory is not None
        point = plan.trajectory.points[1]
        x, y, yaw, speed, acceleration = (float(point[k]) for k in ("x", "y", "yaw", "speed", "acceleration"))
        self.plan, self.state = plan, EgoState(self.now + STEP_NS, x, y, yaw, speed, acceleration)
        self.way.append((x, y, speed))

    def until(self, done: Any, seconds: float = 120.0) -> None:
        for _ in range(round(seconds * 10)):
            if done(self):
                return
            self.step()
        raise AssertionError(f"not within {seconds:g} s: {self.trip.name} at {self.state.x:.0f}, {self.plan}")

    def on_board(self, x: float = 0.0) -> None:
        """Until the ride to the drop-off is under way and the car is beyond ``x``."""
        self.until(lambda d: d.trip is TripState.EN_ROUTE and d.state.x > x)

    def finished(self) -> str:
        self.until(lambda d: d.trip is not TripState.IDLE and not d.bridge._trip.active)
        return self.trip.name

    @property
    def lowest(self) -> float:
        return min(y for _, y, _ in self.way)

    def softly(self) -> bool:
        """No braking beyond what comfort allows, no curve too fast."""
        speed = np.array([item[2] for item in self.way])
        return bool(np.diff(speed).min() / 0.1 > -3.0)


def test_without_a_closed_area_the_short_way_is_driven() -> None:
    drive = Drive(fork())
    drive.order()
    assert drive.finished() == "COMPLETED"
    assert drive.lowest > -1.0 and max(y for _, y, _ in drive.way) == pytest.approx(20.0, abs=0.5)


def test_an_area_closed_on_the_way_is_driven_round() -> None:
    drive = Drive(fork())
    drive.order()
    drive.on_board(60.0)
    assert drive.avoid(250.0, 20.0, 15.0) == ("accepted", "")
    assert drive.finished() == "COMPLETED"
    assert drive.lowest == pytest.approx(-40.0, abs=0.5)
    assert all(math.hypot(x - 250.0, y - 20.0) > 15.0 for x, y, _ in drive.way) and drive.softly()


def test_a_closed_area_without_a_way_round_stops_the_car_and_ends_the_trip_unless_it_is_lifted() -> None:
    drive = Drive(fork())
    drive.order()
    drive.on_board(60.0)
    assert drive.avoid(550.0, 0.0, 30.0)[1] == "the drop-off of r lies in it"
    drive.until(lambda d: d.plan.explanation.cause is Cause.NO_ROUTE)
    drive.avoid(550.0, 0.0, 30.0, until_ns=1)
    drive.on_board(100.0)
    drive.avoid(550.0, 0.0, 30.0)
    assert drive.finished() == "ABORTED"
    assert drive.events[-1][1].startswith("unreachable: no route from") and "closed" in drive.events[-1][1]
    told = {message["id"]: message["body"]["kind"] for message in drive.link.sent if message["type"] == "event"}
    assert list(told.values()) == ["unreachable", "unreachable"]
    drive.until(lambda d: d.state.speed == 0.0)
    assert drive.softly()


def test_an_order_into_a_closed_street_is_refused() -> None:
    drive = Drive(fork())
    drive.step()
    drive.avoid(360.0, 0.0, 5.0)
    drive.order()
    drive.step()
    assert drive.events[-1][0] == "REJECTED" and drive.events[-1][1].startswith("unreachable: no route")


def test_a_new_destination_saves_a_trip_whose_goal_was_closed() -> None:
    drive = Drive(fork())
    drive.order()
    drive.on_board(60.0)
    drive.avoid(550.0, 0.0, 30.0)
    assert drive.ask("change_destination", place=Place(position=at(450.0, 0.0)))[0] == "accepted"
    assert drive.finished() == "COMPLETED" and drive.state.x == pytest.approx(450.0, abs=1.5)


def test_destination_change_and_extra_stop_in_mid_trip_keep_to_the_road_for_the_braking_distance() -> None:
    """13 m before the fork at 50 km/h the car cannot turn off any more: it keeps to the way it is on."""
    drive = Drive(fork())
    drive.order()
    drive.on_board(137.0)
    assert drive.state.speed > 12.0
    assert drive.ask("change_destination", place=Place(position=at(250.0, -40.0)))[0] == "accepted"
    drive.until(lambda d: d.state.speed == 0.0)
    assert drive.lowest > -1.0 and drive.softly()
    again = Drive(fork())
    again.order()
    again.on_board(60.0)
    assert again.ask("add_stop", place=Place(position=at(250.0, -40.0)))[0] == "accepted"
    assert again.finished() == "COMPLETED"
    names = [name for name, _ in again.events]
    assert "AT_STOP" in names and again.state.x == pytest.approx(550.0, abs=1.5) and again.softly()
    assert min(math.hypot(x - 250.0, y + 40.0) for x, y, speed in again.way if speed == 0.0) < 1.5


def test_a_reroute_takes_another_way() -> None:
    drive = Drive(fork())
    drive.order()
    drive.on_board(50.0)
    assert drive.ask("reroute")[0] == "accepted"
    assert drive.finished() == "COMPLETED"
    assert drive.lowest == pytest.approx(-40.0, abs=0.5)


def test_an_open_door_keeps_the_car_standing_and_is_closed_from_afar() -> None:
    drive = Drive(fork())
    drive.order()
    drive.on_board(60.0)
    assert drive.ask("open_doors")[1] == "doors move at standstill only"
    drive.ask("pull_over")
    drive.until(lambda d: d.state.speed == 0.0)
    assert drive.ask("open_doors")[0] == "accepted" and drive.door
    assert drive.ask("resume") == ("refused", "resume: a door is open")
    drive.ask("close_doors")
    assert drive.ask("resume")[0] == "accepted"
    drive.step()
    drive.door = True  # by hand, from inside
    for _ in range(20):
        drive.step()
    assert drive.state.speed == 0.0 and drive.plan.explanation.sentence == "Standing: a door is open."
    drive.door = False
    assert drive.finished() == "COMPLETED"


# ---------------------------------------------------------------------------- remote assistance


def two_way() -> LaneMap:
    """600 m with a lane each way: a standing van can be passed on the other one."""
    east = lane(1, [(0, 0), (600, 0)])
    west = lane(2, [(600, 3.5), (0, 3.5)])
    return replace(lane_map([east, west]), origin=ORIGIN)


def van(x: float = 250.0, y: float = 0.0) -> np.ndarray:
    """It drove before, so the planner takes it for somebody who waits."""
    out = thing(x, y, key=44)
    out["static"] = 0
    return out


def patient(drive: Drive) -> Drive:
    """A planner that would not pass by itself."""
    config = replace(PlannerConfig(), detour_patience_stopped=120.0, detour_patience_junction=300.0)
    drive.planner = Planner(config, drive.planner.lane_map, CAR)
    return drive


def question(drive: Drive) -> dict[str, Any]:
    drive.until(lambda d: d.link.bodies("assist_request"))
    return drive.link.bodies("assist_request")[-1]


def answer(drive: Drive, option: str) -> None:
    identity = drive.link.bodies("assist_request")[-1]["question_id"]
    drive.cloud.send("assist_answer", AssistAnswer(question_id=identity, option_id=option, by="ann"))
    drive.step()


def test_a_person_allows_to_overtake_what_the_car_would_wait_for() -> None:
    drive = patient(Drive(two_way(), assist_after=2.0))
    drive.objects = van()
    drive.order()
    asked = question(drive)
    assert asked["question"] == "Waiting: car 44 stands on the path. Wait, overtake, reroute?"
    assert [option["option_id"] for option in asked["options"]] == ["wait", "overtake", "reroute"]
    standing = drive.state.x
    answer(drive, "overtake")
    assert drive.link.acks("accepted")[-1] == ("accepted", "")
    assert drive.finished() == "COMPLETED"
    assert standing < 245.0 and max(y for _, y, _ in drive.way) > 2.0


def test_without_an_answer_the_car_goes_on_waiting() -> None:
    drive = patient(Drive(two_way(), assist_after=2.0, assist_timeout=3.0))
    drive.objects = van()
    drive.order()
    question(drive)
    drive.until(lambda d: d.link.bodies("assist_request")[-1]["settled"])
    settled = drive.link.bodies("assist_request")[-1]
    assert (settled["settled"], settled["reason"]) == ("wait", "no answer within 3 s")
    standing = drive.state.x
    drive.until(lambda d: len({q["question_id"] for q in d.link.bodies("assist_request")}) == 2)  # it asks again
    assert drive.state.x == standing


def test_a_person_lets_the_car_take_another_way() -> None:
    drive = patient(Drive(fork(), assist_after=2.0))
    drive.objects = van(160.0, 0.5)  # just behind the fork: the other way is open
    drive.order()
    question(drive)
    assert drive.state.x < 150.0
    answer(drive, "reroute")
    assert drive.finished() == "COMPLETED"
    assert drive.lowest == pytest.approx(-40.0, abs=0.5)


def test_a_permission_that_does_not_help_is_told() -> None:
    drive = patient(Drive(two_way(), assist_after=2.0))
    drive.objects = van()
    drive.order()
    question(drive)
    answer(drive, "reroute")
    drive.step()
    told = [event["text"] for event in drive.link.bodies("event") if event["kind"] == "permission_unused"]
    assert told and told[0].startswith("no route from")
    assert drive.trip is TripState.EN_ROUTE and drive.state.speed == 0.0
