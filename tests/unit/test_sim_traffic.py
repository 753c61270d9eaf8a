"""Traffic and pedestrians: nobody touches anybody, lights and right of way hold, nothing locks up."""

import math

import numpy as np
import pytest
from sim_maps import BOX, crossing_map, lane_from, straight_map

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.contact import Box, overlap
from robotaxi.sim.traffic.drivers import follow, stop_in, time_to_cover
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import Presence
from robotaxi.sim.traffic.traffic import Surroundings, spawn
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, LightState, ObjectClass, Pose2, RecordArray
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
FAR = Pose2(400.0, 400.0, 0.0)


def touching(agents: RecordArray) -> list[tuple[int, int]]:
    """Pairs of agent ids whose boxes overlap, one of them a vehicle."""
    pairs = []
    for i, agent in enumerate(agents):
        if agent["label"] == ObjectClass.PEDESTRIAN:
            continue
        near = np.flatnonzero(np.hypot(agents["x"] - agent["x"], agents["y"] - agent["y"]) < 12.0)
        near = near[near > i]
        if near.size:
            body = Box(*(float(agent[name]) for name in ("x", "y", "yaw", "length", "width")))
            mask, _, _ = overlap(body, agents[near])
            pairs += [(int(agent["id"]), int(agents["id"][j])) for j in near[mask]]
    return pairs


@pytest.mark.parametrize(("kind", "seed"), [("signal", 1), ("priority", 2), ("stop", 3), ("none", 4)])
def test_nobody_touches_anybody_and_traffic_flows(kind: str, seed: int) -> None:
    w = World(crossing_map(kind), CAR, WorldConfig(traffic_cars=14, pedestrian_count=10), seed, FAR)
    driven = 0.0
    passed: set[int] = set()
    for tick in range(2000):
        w.step(None)
        if tick % 10 == 0:
            agents = w.view().agents
            assert touching(agents) == []
            vehicles = agents[agents["label"] != ObjectClass.PEDESTRIAN]
            driven += float(np.hypot(vehicles["vx"], vehicles["vy"]).mean()) * 0.2
            inside = np.maximum(np.abs(vehicles["x"]), np.abs(vehicles["y"])) < BOX
            passed.update(vehicles["id"][inside].tolist())
    assert driven > 90.0
    assert len(passed) >= 4


def test_vehicles_stand_at_red() -> None:
    """No front bumper is between the stop line and the crossing when its light has been red for long."""
    w = World(crossing_map("signal"), CAR, WorldConfig(traffic_cars=14, pedestrian_count=0), 7, FAR)
    stood, red_since = 0, dict.fromkeys((300, 301, 302, 303), 0)
    before: dict[int, float] = {}
    for tick in range(2000):
        w.step(None)
        view = w.view()
        for signal, state in view.lights.items():
            red_since[signal] = red_since[signal] + 1 if state is LightState.RED else 0
        for agent in view.agents:
            half = agent["length"] / 2.0
            x, y = (agent["x"] + half * math.cos(agent["yaw"]), agent["y"] + half * math.sin(agent["yaw"]))
            arm = round((agent["yaw"] + math.pi) / (math.pi / 2)) % 4
            c, s = math.cos(arm * math.pi / 2), math.sin(arm * math.pi / 2)
            along, across = c * x + s * y, c * y - s * x
            who = int(agent["id"])
            last = before.get(who, 0.0)
            before[who] = along if 0.0 < across < 3.5 else 0.0
            if red_since[300 + arm] > 0 and before[who] > 0.0:
                assert not last >= BOX > along, f"vehicle {who} ran the light of arm {arm} at tick {tick}"
                stood += BOX < along < BOX + 3.0 and np.hypot(agent["vx"], agent["vy"]) < 0.1
    assert stood > 0


def test_traffic_stops_behind_a_standing_ego_and_never_hits_it() -> None:
    w = World(crossing_map("signal"), CAR, WorldConfig(traffic_cars=14, pedestrian_count=0), 5,
              Pose2(BOX + 60.0, 1.75, math.pi))  # fmt: skip
    for _ in range(1000):
        w.step(Command(0, 0.0, -1.0))
    agents = w.view().agents
    queued = (
        (np.abs(agents["y"] - 1.75) < 0.5) & (agents["x"] > BOX + 60.0) & (np.hypot(agents["vx"], agents["vy"]) < 0.1)
    )
    assert queued.any()
    assert w.infractions == []


def test_spawning_keeps_clear_of_the_ego_and_of_each_other() -> None:
    config = WorldConfig(traffic_cars=200, pedestrian_count=0)
    agents = World(crossing_map("signal"), CAR, config, 5, Pose2(60.0, 1.75, math.pi)).view().agents
    assert 10 < len(agents) < 200
    assert np.hypot(agents["x"] - 60.0, agents["y"] - 1.75).min() >= config.traffic_ego_clearance
    gaps = np.hypot(agents["x"][:, None] - agents["x"], agents["y"][:, None] - agents["y"])
    assert gaps[~np.eye(len(agents), dtype=bool)].min() > 20.0


def test_a_lane_under_a_parked_car_is_not_used() -> None:
    parked = np.zeros(1, dtype=AGENT_DTYPE)
    for name, value in (("x", 80.0), ("y", 1.75), ("length", 4.5), ("width", 1.8), ("label", 1)):
        parked[name] = value
    w = World(crossing_map("signal"), CAR, WorldConfig(traffic_cars=12, pedestrian_count=0), 5, FAR, parked=parked)
    for tick in range(1000):
        w.step(None)
        if tick % 25 == 0:
            assert touching(np.concatenate([w.view().agents, parked])) == []
    agents = w.view().agents
    assert not ((np.abs(agents["y"] - 1.75) < 0.5) & (agents["x"] > BOX)).any()


def test_a_map_that_ends_lets_vehicles_stop_at_its_end() -> None:
    w = World(straight_map(), CAR, WorldConfig(traffic_cars=3, pedestrian_count=0), 5, FAR)
    for _ in range(3000):
        w.step(None)
    agents = w.view().agents
    assert len(agents) == 3
    assert agents["x"].max() < 401.0
    assert touching(agents) == []


def test_a_walker_crosses_and_is_never_touched() -> None:
    w = World(crossing_map("signal"), CAR, WorldConfig(traffic_cars=8, pedestrian_count=12), 9, FAR)
    crossed = 0
    for _ in range(2000):
        w.step(None)
        people = w.view().agents[8:]
        middle = (np.abs(people["y"]) < 2.0) & (np.abs(people["x"] - 10.5) < 0.5)
        middle |= (np.abs(people["x"]) < 2.0) & (np.abs(np.abs(people["y"]) - 10.5) < 0.5)
        crossed += bool(middle.any())
        speed = np.hypot(people["vx"], people["vy"])
        assert speed.max() < 1.7
    assert crossed > 0


def test_driver_formulas() -> None:
    base = {"headway": 1.5, "standstill_gap": 2.0, "acceleration": 1.5, "deceleration": 2.0, "hard": 8.0}
    assert follow(0.0, 14.0, math.inf, 0.0, **base) == pytest.approx(1.5)
    assert follow(14.0, 14.0, math.inf, 0.0, **base) == pytest.approx(0.0)
    assert follow(14.0, 14.0, 1.0, 0.0, **base) == -8.0
    assert follow(10.0, 14.0, 60.0, 10.0, **base) > 0.0
    s, v = 0.0, 12.0
    while v > 0.01 and s < 60.0:
        v = max(v + stop_in(v, 14.0, 50.0 - s, 2.0, 1.5, 2.0, 8.0) * 0.02, 0.0)
        s += v * 0.02
    assert 48.0 < s < 50.4  # the stop margin covers the rest
    assert time_to_cover(0.0, 5.0, 10.0, 1.5) == 0.0
    assert time_to_cover(100.0, 10.0, 10.0, 1.5) == pytest.approx(10.0)
    assert time_to_cover(3.0, 0.0, 10.0, 1.5) == pytest.approx(2.0)


def two_lanes(length: float = 900.0) -> LaneMap:
    """Lane 1 on the right and lane 2 on its left, eastward."""
    xs = np.arange(0.0, length + 1.0, 2.0)
    right = lane_from(np.column_stack([xs, 0.0 * xs]), 1, left_neighbour=2)
    left = lane_from(np.column_stack([xs, 0.0 * xs + 3.5]), 2, right_neighbour=1)
    return LaneMap("two", (0.0, 0.0, 0.0), {1: right, 2: left})


def run_of_two(changes: bool) -> tuple[float, float]:
    """A slow driver at 100 m, a fast one behind: how far the fast one leads after 40 s, and the least gap of boxes."""
    config = WorldConfig(traffic_cars=2, traffic_lane_changes=changes)
    net = RoadNetwork(two_lanes(), config)
    traffic = spawn(net, config, np.random.default_rng(1), set(), (-500.0, 0.0))
    fleet = traffic.fleet
    fleet.path[:], fleet.grants[:] = [[-1, 0], [-1, 0]], [[], []]
    fleet.s[:], fleet.speed[:], fleet.speed_factor[:] = [100.0, 60.0], [5.0, 10.0], [0.4, 1.0]
    least = math.inf
    for tick in range(1, 2000):
        presence = Presence()
        traffic.locate(presence)
        presence.close()
        traffic.step(tick, 0.02, Surroundings(presence, {}, set(), set()))
        r = fleet.records
        if abs(r["y"][0] - r["y"][1]) < 1.9:
            least = min(least, abs(float(r["x"][0] - r["x"][1])) - 0.5 * float(r["length"].sum()))
    return float(fleet.records["x"][1] - fleet.records["x"][0]), least


def test_a_faster_driver_changes_lanes_and_passes() -> None:
    assert run_of_two(False)[0] < 0.0
    lead, least = run_of_two(True)
    assert lead > 50.0 and least > 1.0


def test_buses_and_cyclists_come_only_when_asked_for() -> None:
    net = RoadNetwork(two_lanes(), WorldConfig())
    usual = spawn(net, WorldConfig(), np.random.default_rng(2), set(), (-500.0, 0.0)).fleet
    config = WorldConfig(traffic_bus_share=0.3, traffic_bicycle_share=0.4)
    mixed = spawn(net, config, np.random.default_rng(2), set(), (-500.0, 0.0)).fleet
    assert usual.records["length"].max() < 10.5 and (usual.speed_factor > 0.8).all()
    assert (mixed.records["length"] > 10.5).any() and (mixed.records["length"] < 2.0).any()
    slow = mixed.records["length"] < 2.0
    assert (mixed.speed_factor[slow] < 0.5).all() and (mixed.speed_factor[~slow] > 0.8).all()
