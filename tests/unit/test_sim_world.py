"""The world as a whole: determinism, snapshots, infractions, collisions, bad input."""

import math
import pickle

import numpy as np
import pytest
from sim_maps import crossing_map, stop_line_map, straight_map

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import TICK_NS
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world import RiderPlan, World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, LightState, ObjectClass, Pose2
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
ALONE = WorldConfig(traffic_cars=0, pedestrian_count=0)


def world(lane_map: LaneMap, x: float = 10.0, y: float = 0.0, **more: object) -> World:
    return World(lane_map, CAR, ALONE, 1, Pose2(x, y, 0.0), **more)  # type: ignore[arg-type]


def drive(w: World, seconds: float, acceleration: float, steering: float = 0.0) -> None:
    for _ in range(round(seconds * 1e9 / TICK_NS)):
        w.step(Command(w.stamp_ns, steering, acceleration))


def box(x: float, y: float, label: ObjectClass) -> np.ndarray:
    record = np.zeros(1, dtype=AGENT_DTYPE)
    record["id"], record["label"], record["x"], record["y"] = 5, label, x, y
    record["length"], record["width"], record["height"] = 4.0, 1.8, 1.5
    return record


def fingerprint(w: World) -> bytes:
    view = w.view()
    return repr((view.stamp_ns, view.ego, view.lights, w.report())).encode() + view.agents.tobytes()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    def run(seed: int) -> bytes:
        w = World(crossing_map(), CAR, WorldConfig(traffic_cars=10), seed, Pose2(60.0, 1.75, math.pi))
        drive(w, 10.0, 0.5)
        return fingerprint(w)

    assert run(4) == run(4)
    assert run(4) != run(5)


def test_a_snapshot_survives_pickling_and_continues_alike() -> None:
    w = World(crossing_map(), CAR, WorldConfig(traffic_cars=10), 4, Pose2(60.0, 1.75, math.pi))
    drive(w, 4.0, 0.5)
    kept = pickle.dumps(w.snapshot())
    drive(w, 4.0, 0.5)
    expected = fingerprint(w)
    other = World(crossing_map(), CAR, WorldConfig(traffic_cars=10), 4, Pose2(60.0, 1.75, math.pi))
    other.restore(pickle.loads(kept))
    assert other.stamp_ns == 4_000_000_000
    drive(other, 4.0, 0.5)
    assert fingerprint(other) == expected
    with pytest.raises(ValueError, match="this world has"):
        world(straight_map()).restore(w.snapshot())
    with pytest.raises(ValueError, match="is missing"):
        w.restore({})


def test_running_a_red_light_is_recorded_once() -> None:
    w = world(stop_line_map("signal"), 70.0)
    while w.view().lights[50] is not LightState.AMBER:
        w.step(None)
    while w.view().lights[50] is not LightState.RED:
        w.step(None)
    drive(w, 8.0, 1.5)
    (infraction,) = w.infractions
    assert (infraction.kind, infraction.at_fault, infraction.subject_id) == ("red_light", True, 40)
    assert infraction.x == pytest.approx(100.0, abs=0.5)


def test_crossing_on_green_is_fine() -> None:
    w = world(stop_line_map("signal"), 90.0)
    while w.view().lights[50] is not LightState.GREEN or w.stamp_ns == 0:
        w.step(None)
    drive(w, 6.0, 1.5)
    assert w.view().ego.x > 100.0
    assert w.infractions == []


@pytest.mark.parametrize(("stops", "kinds"), [(True, []), (False, ["stop_line"])])
def test_a_stop_sign_asks_for_standing(stops: bool, kinds: list[str]) -> None:
    w = world(stop_line_map("stop"), 85.0)
    drive(w, 3.5, 1.2)
    if stops:
        drive(w, 3.0, -3.0)
        assert w.view().ego.speed == 0.0
        assert 95.0 < w.view().ego.x + CAR.front < 100.0
    drive(w, 6.0, 1.5)
    assert [infraction.kind for infraction in w.infractions] == kinds


def test_metres_off_the_road_add_up_per_excursion() -> None:
    w = world(straight_map(), 10.0, 1.5)
    drive(w, 4.0, 2.0)
    (infraction,) = w.infractions
    assert infraction.kind == "off_road"
    assert infraction.value == pytest.approx(w.view().ego.x - 10.0, abs=0.1)


def test_a_bay_is_road_and_a_rider_boards_there() -> None:
    w = world(straight_map(), 98.5, -3.0, riders=(RiderPlan((99.0, -3.0), (300.0, 0.0), 2.0),))
    for _ in range(60):
        w.step(None)
    assert w.report().door_open and not w.report().seat_occupied
    for _ in range(100):
        w.step(None)
    report = w.report()
    assert (report.door_open, report.seat_occupied, report.belt_fastened) == (False, True, True)
    assert w.infractions == []


def test_moving_with_an_open_door_is_an_infraction() -> None:
    w = world(straight_map(), 98.5, 0.0, riders=(RiderPlan((99.0, 0.0), (300.0, 0.0), 5.0),))
    drive(w, 1.5, -1.0)
    drive(w, 2.0, 1.0)
    assert [infraction.kind for infraction in w.infractions] == ["door_open"]


@pytest.mark.parametrize(
    ("label", "kind"),
    [(ObjectClass.CAR, "collision_vehicle"), (ObjectClass.UNKNOWN, "collision_static")],
)
def test_hitting_what_stands_is_at_fault_and_stops_the_ego(label: ObjectClass, kind: str) -> None:
    w = world(straight_map(), 10.0, parked=box(40.0, 0.0, label))
    drive(w, 8.0, 2.0)
    assert [infraction.kind for infraction in w.infractions] == [kind]
    assert w.infractions[0].at_fault
    assert "front bumper" in w.infractions[0].detail
    assert w.view().ego.x + CAR.front == pytest.approx(38.0, abs=0.3)


def test_bad_boxes_are_refused_by_name() -> None:
    bad = box(math.nan, 0.0, ObjectClass.CAR)
    with pytest.raises(ValueError, match="parked: 'x'"):
        world(straight_map(), parked=bad)
    with pytest.raises(ValueError, match="obstacles: expected records"):
        world(straight_map(), obstacles=np.zeros((2, 5)))
    with pytest.raises(ValueError, match="no lanes"):
        world(LaneMap("empty", (0.0, 0.0, 0.0), {}))
