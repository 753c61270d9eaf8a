"""Fault injection: what is broken, how it is judged, and a twin that loses its planner."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robotaxi.commands.eval_faults import summary
from robotaxi.faults.catalog import (
    MACHINE_KINDS,
    MESSAGE_KINDS,
    NODE_KINDS,
    NODES,
    TOPICS,
    Fault,
    draw,
    every_fault,
    make,
    named_in,
    with_symptoms,
)
from robotaxi.faults.full_campaign import Saboteur, _judge, _limit_files, full_faults
from robotaxi.faults.judge import Word, judge
from robotaxi.faults.wire import Wire, corrupted
from robotaxi.hdmap import load_map
from robotaxi.interfaces import INTERFACES, MS, TICK_NS
from robotaxi.ride.monitor import Progress
from robotaxi.ride.session import Outcome
from robotaxi.safety.health import WATCHED
from robotaxi.sim.infractions import Infraction
from robotaxi.sim.watchdog import watchdog_command
from robotaxi.types import LIGHT_DTYPE, Command
from robotaxi.vehicle import load_vehicle

S = 1_000_000_000
RAW = INTERFACES["control/command_raw"]


def fault(kind: str, value: float = 0.0, target: str = RAW.topic) -> Fault:
    return Fault(kind, target, 1 * S, 2 * S, 0.5, ("controller",), value)


def received(kind: str, value: float = 0.0) -> list[tuple[int, Command]]:
    """What a subscriber has at each tick of three seconds; the fault is in the middle one."""
    wire = Wire(RAW, [fault(kind, value)])
    out = []
    for tick in range(150):
        now = tick * TICK_NS
        wire.send(now, Command(now, 0.001 * tick, 0.0), 0)
        out.append(wire.newest(now))
    return out


@pytest.mark.parametrize(
    ("kind", "value", "age_ms", "steering"),
    [
        ("drop", 0.0, 520, 0.049),
        ("delay", 0.1, 100, 0.070),
        ("duplicate", 0.0, 0, 0.075),
        ("freeze", 0.0, 0, 0.049),
        ("clock_jump", -0.5, 500, 0.075),
        ("corrupt_huge", 0.0, 0, 1e6),
    ],
)
def test_each_message_fault_does_what_it_says(kind: str, value: float, age_ms: int, steering: float) -> None:
    seen = received(kind, value)
    stamp_ns, command = seen[75]
    assert (75 * TICK_NS - stamp_ns) / MS == pytest.approx(age_ms)
    assert command.steering == pytest.approx(steering)
    assert seen[40][0] == 40 * TICK_NS and seen[149][0] == 149 * TICK_NS  # before and after all is well


def test_nan_stays_nan() -> None:
    assert math.isnan(received("corrupt_nan")[75][1].steering)


def test_a_list_without_rows_that_is_broken_cannot_be_read() -> None:
    assert corrupted(np.zeros(0, LIGHT_DTYPE), math.nan) is None


def test_the_campaign_reaches_every_node_and_topic_and_two_at_once() -> None:
    drawn = [draw(n, S, np.random.default_rng(n)) for n in range(1000)]
    singles = {(item.kind, item.target) for faults in drawn for item in faults[:1]}
    assert singles == set(every_fault())
    assert {target for kind, target in singles if kind in ("kill", "stop", "slow")} == set(NODES)
    assert {target for kind, target in singles if kind in MESSAGE_KINDS} == set(TOPICS) >= set(WATCHED)
    assert sum(len(faults) == 2 for faults in drawn) == 100
    assert all(item.bound > 0.0 and item.parts and item.until_ns > item.from_ns for f in drawn for item in f)


def test_whole_rides_meet_every_sort_of_fault_and_two_at_once() -> None:
    drawn = [full_faults(n, 8.0, np.random.default_rng(n)) for n in range(200)]
    kinds = {item.kind for faults in drawn for item in faults}
    assert kinds >= {*NODE_KINDS, *MACHINE_KINDS, "drop", "corrupt_nan", "lidar_blind", "camera_black"}
    assert sum(len(faults) == 2 for faults in drawn) == 20
    stopped = next(item for faults in drawn for item in faults if item.name == "stop camera_perception")
    assert stopped.parts == ("lidar_perception", "camera_perception")  # one process
    assert all(
        faults[0].kind != faults[-1].kind or faults[0].target != faults[-1].target for faults in drawn if faults[1:]
    )


def test_when_commands_cease_the_vehicle_brakes_with_all_it_has_and_holds_the_tyres() -> None:
    car = load_vehicle("robotaxi")
    alone = watchdog_command(5 * S, Command(4 * S, 0.2, 1.0), car)
    assert (alone.stamp_ns, alone.steering, alone.acceleration) == (5 * S, 0.2, -car.max_deceleration)
    assert watchdog_command(0, None, car).steering == 0.0


def test_a_process_whose_disk_is_full_cannot_write(tmp_path: Path) -> None:
    code = "import pathlib, sys\nfor line in sys.stdin:\n"
    code += "  try: pathlib.Path(sys.argv[1]).write_text('x'); print('ok', flush=True)\n"
    code += "  except OSError: print('full', flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "f")], stdin=-1, stdout=-1, text=True)

    def write() -> str:
        child.stdin.write("\n")
        child.stdin.flush()
        return child.stdout.readline().strip()

    with child:
        assert write() == "ok"
        before = _limit_files(child.pid, 0)
        assert write() == "full"
        _limit_files(child.pid, before)
        assert write() == "ok"
        child.stdin.close()
    assert _limit_files(child.pid, 0) is None  # it has ended


@pytest.mark.parametrize(
    ("sentence", "part"),
    [
        ("Trajectory is 0.42 s old, allowed is 0.40 s.", "planner"),
        ("Topic control/command_raw is dead: no word from controller.", "controller"),
        ("Health report is 0.52 s old; lidar sweep is 0.32 s old.", "health_monitor"),
        ("imu: sensing/imu/data is frozen: new stamps, old contents; also gnss.", "imu"),
        ("Driving: all inputs are good.", ""),
    ],
)
def test_the_part_that_a_sentence_names(sentence: str, part: str) -> None:
    assert named_in(sentence) == part


GOOD = Word(0.9, "AUTONOMOUS", "Driving: all inputs are good.", "", "All parts work.")
LOST = Word(1.3, "COMFORTABLE_STOP", "Control command is 0.08 s old.", "controller", "controller: is silent.")


def test_verdict_on_a_fault_that_is_noticed_named_and_survived() -> None:
    verdict = judge((fault("drop"),), [GOOD, LOST], [], "", moving_on=True, standing=False)
    assert verdict.good and verdict.noticed == 0.3 and verdict.named == "controller"


@pytest.mark.parametrize(
    ("words", "infractions", "place", "why"),
    [
        ([GOOD], [], "", None),
        ([GOOD, Word(1.9, "STOP", "Lidar sweep is old.", "", "")], [], "", None),
        ([GOOD, LOST], [Infraction(S, "collision_vehicle", True, 3, 0.0, 0.0, "front bumper met a car")], "",
         "collision_vehicle at 1.00 s, (0.0, 0.0): front bumper met a car"),
        ([GOOD, LOST], [], "the car stands beside the road", "the car stands beside the road"),
    ],
    ids=["not noticed", "late and wrong", "collision", "beside the road"],
)  # fmt: skip
def test_verdict_on_what_went_wrong(words: list[Word], infractions: list[Infraction], place: str, why: str) -> None:
    verdict = judge((fault("drop"),), words, infractions, place, moving_on=True, standing=False)
    assert not verdict.good
    assert verdict.why_not == (why or "")


def test_each_of_two_faults_has_its_own_time() -> None:
    borne = Fault("reorder", "sensing/imu/data", 4 * S, 7 * S, math.inf, ("imu",))
    later = Fault("freeze", "vehicle/status", 5 * S, 7 * S, 0.8, ("vehicle_interface",))
    word = Word(5.7, "COMFORTABLE_STOP", "vehicle_interface: vehicle/status is frozen.", "vehicle_interface", "")
    verdict = judge((borne, later), [GOOD, word], [], "", moving_on=True, standing=False)
    assert verdict.good and verdict.noticed == 0.7


def test_commands_that_freeze_while_the_car_stands_need_not_be_noticed() -> None:
    frozen = make("freeze", RAW.topic, 10 * S, np.random.default_rng(0))
    ticks = range(9 * S, 15 * S, TICK_NS)

    def bound(starts_ns: int) -> float:
        return with_symptoms(frozen, [(ns, 5.0 if ns >= starts_ns else 0.0) for ns in ticks]).bound

    assert bound(0) == pytest.approx(frozen.bound)
    assert bound(11 * S) == pytest.approx(1.0 + frozen.bound)
    assert math.isinf(bound(frozen.until_ns - round(0.5 * frozen.bound * S))) and math.isinf(bound(99 * S))
    kept = replace(frozen, kind="drop")
    assert with_symptoms(kept, []) is kept


def test_wheels_that_turn_too_fast_show_only_while_the_car_drives() -> None:
    scaled = make("wheel_scaled", "", 10 * S, np.random.default_rng(0))
    ticks = range(9 * S, 15 * S, TICK_NS)

    def bound(starts_ns: int, speed: float) -> float:
        return with_symptoms(scaled, [(ns, speed if ns >= starts_ns else 0.0) for ns in ticks]).bound

    assert bound(0, 5.0) == pytest.approx(1.0) and bound(11 * S, 5.0) == pytest.approx(2.0)
    assert math.isinf(bound(99 * S, 5.0)) and math.isinf(bound(0, 3.0))  # 3 m/s look like 4.8: no contradiction


def test_a_whole_ride_in_which_nothing_is_said_is_one_that_drives_on() -> None:
    duplicate = Fault("duplicate", RAW.topic, 8 * S, 9 * S, math.inf, ("controller",))
    row = judged_ride([duplicate], [(1.0, Word(0.5, "AUTONOMOUS", "Driving.", "", "All parts work."))])
    assert row["safe"] and row["recovered"] and row["noticed"] is None


def test_a_whole_ride_may_still_name_the_fault_before_while_that_is_not_over() -> None:
    stop = Fault("stop", "controller", 2 * S, 4 * S, 0.5, ("controller",))
    kill = Fault("kill", "dispatch_bridge", 8 * S, 9 * S, 2.0, ("dispatch_bridge",))
    dead = Word(3.0, "STOP", "Controller: control/command_raw is silent.", "controller", "controller: silent.")
    well = Word(6.0, "AUTONOMOUS", "Driving.", "", "All parts work.")
    late = Word(8.1, "STOP", "Controller: control/command_raw is silent.", "controller", "controller: silent.")
    assert judged_ride([stop, kill], [(3.0, dead), (8.1, late)])["named_right"]
    assert not judged_ride([stop, kill], [(3.0, dead), (6.0, well), (8.1, late)])["named_right"]


def judged_ride(faults: list[Fault], said: list[tuple[float, Word]]) -> dict[str, object]:
    """The verdict on the last of these faults, which comes at 8 s, of a ride that ends on a lane of the town."""
    town = load_map("town")
    lane = next(iter(town.lanes.values()))
    x, y = lane.centerline[2, :2].tolist()
    yaw = math.atan2(*(lane.centerline[3, :2] - lane.centerline[2, :2])[::-1])
    saboteur = Saboteur(faults, said, {len(faults) - 1: (8.0, 8 * S)}, poses=[(9.0, x, y, yaw, 5.0)])
    outcome = Outcome(Path(), Path(), Progress(), order={"state": "EN_ROUTE"})
    return _judge((faults[-1],), math.inf, tuple(faults[:-1]), saboteur, outcome, town, load_vehicle("robotaxi"), 0)


def test_an_accident_that_is_not_our_fault_is_none() -> None:
    hit = Infraction(S, "collision_vehicle", False, 3, 0.0, 0.0, "rear bumper met a car")
    assert judge((fault("drop"),), [GOOD, LOST], [hit], "", moving_on=True, standing=False).good


def test_summary_holds_only_if_all_were_safe_in_time_and_nearly_all_named() -> None:
    row = {"scene": "twin", "safe": True, "why_not": "", "must_notice": True, "noticed": 0.3, "in_time": True,
           "named_right": True, "recovered": True, "faults": [{"kind": "drop"}]}  # fmt: skip
    assert summary([row] * 20)["holds"]
    assert summary([row] * 19 + [{**row, "named_right": False}])["holds"]
    assert not summary([row] * 18 + [{**row, "named_right": False}] * 2)["holds"]
    assert not summary([row] * 19 + [{**row, "safe": False, "why_not": "collision"}])["holds"]
    assert not summary([])["holds"]


def test_a_twin_whose_planner_dies_stops_in_its_lane_and_goes_on() -> None:
    from robotaxi.faults.twin import Twin
    from robotaxi.faults.twin_campaign import _world, in_fork, inject
    from robotaxi.sim.ride_plan import plan_ride

    lane_map, parked, car = _world("town", "robotaxi")
    twin = Twin(lane_map, car, plan_ride(lane_map, 0), parked, 0)
    while twin.world.view().ego.speed < 6.0:
        twin.step()
    dead = make("kill", "planner", twin.world.stamp_ns, np.random.default_rng(0))
    row, again = (in_fork(lambda: inject(twin, (dead,), 0), (dead,), 0) for _ in range(2))
    assert row == again  # the fork leaves the twin as it was
    assert row["good"] and row["named"] == "planner" and row["recovered"], row
    assert row["noticed"] <= row["faults"][0]["bound_s"]
    assert any("COMFORTABLE_STOP: planner: planning/trajectory is" in line for line in row["story"])
