"""Vehicle files, lights, cabin, contact: the small parts of the simulated world."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_maps import crossing_map, straight_map

from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import RouteError
from robotaxi.params import ParameterError
from robotaxi.sim.cabin import Cabin, RiderPlan
from robotaxi.sim.contact import Box, Side, at_fault, impulse, overlap, touched_side
from robotaxi.sim.infractions import Referee
from robotaxi.sim.lights import Lights, worst
from robotaxi.sim.ride_plan import plan_ride
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import Presence
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import LightState
from robotaxi.vehicle import load_vehicle, vehicle_from

CONFIG = WorldConfig()


# ---------------------------------------------------------------------------- vehicle files


def test_the_robotaxi_loads() -> None:
    car = load_vehicle("robotaxi")
    assert (car.length, car.width, car.wheelbase) == (4.7, 1.9, 2.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wheelbase": -1}, "'wheelbase' is -1, allowed is 1 to 8 m"),
        ({"wheelbase": "long"}, "'wheelbase' is 'long'"),
        ({"max_steering": math.nan}, "'max_steering' is nan"),
        ({"colour": 3}, "unknown parameter 'colour'"),
        ({"drive_lag": None}, "'drive_lag' is None"),
        ({"length": 3.0}, "do not fit"),
    ],
)
def test_a_bad_vehicle_is_refused_by_name(change: dict, message: str) -> None:
    values = dataclasses.asdict(load_vehicle("robotaxi")) | change
    with pytest.raises(ParameterError, match=message):
        vehicle_from(values, "car.yaml")


def test_an_unknown_or_broken_vehicle_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"unknown vehicle 'tank'; known are: .*robotaxi"):
        load_vehicle("tank")
    with pytest.raises(ParameterError, match="cannot be read"):
        load_vehicle(tmp_path / "none.yaml")
    file = tmp_path / "list.yaml"
    file.write_text("- 1\n")
    with pytest.raises(ParameterError, match="found list"):
        load_vehicle(file)


def test_swapped_ranges_are_refused() -> None:
    with pytest.raises(ParameterError, match="light_green_min"):
        WorldConfig(light_green_min=30.0)


# ---------------------------------------------------------------------------- lights


def test_axes_never_share_a_green_and_every_light_cycles() -> None:
    lights = Lights(crossing_map("signal"), CONFIG, np.random.default_rng(3))
    seen: dict[int, set[LightState]] = {signal: set() for signal in lights.plans}
    for t in np.arange(0.0, 60.0, 0.1).tolist():
        states = lights.states(t)
        for signal, state in states.items():
            seen[signal].add(state)
        open_axes = {signal % 2 for signal, state in states.items() if state is not LightState.RED}
        assert len(open_axes) <= 1
        assert states[300] == states[302]
    assert all(states == {LightState.RED, LightState.AMBER, LightState.GREEN} for states in seen.values())


def test_red_for_tells_how_long_a_red_lasts() -> None:
    lights = Lights(crossing_map("signal"), CONFIG, np.random.default_rng(3))
    t = next(t for t in np.arange(0.0, 60.0, 0.5).tolist() if lights.red_for((300, 302), t) > 1.0)
    left = lights.red_for((300, 302), t)
    assert lights.states(t + left - 0.01)[300] is LightState.RED
    assert lights.states(t + left + 0.01)[300] is LightState.GREEN


def test_a_stop_line_shows_its_most_restrictive_signal() -> None:
    states = {1: LightState.GREEN, 2: LightState.RED}
    assert worst(states, (1, 2)) is LightState.RED
    assert worst(states, (9,)) is LightState.UNKNOWN


# ---------------------------------------------------------------------------- cabin


def test_a_rider_boards_rides_and_alights() -> None:
    cabin = Cabin((RiderPlan((0.0, 0.0), (100.0, 0.0), 5.0, 4.0),))
    history = []

    def stand(x: float, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            cabin.step(x, 0.0, 0.0, 0.02, CONFIG)
            state = (cabin.door_open, cabin.seat_occupied, cabin.belt_fastened)
            if not history or history[-1] != state:
                history.append(state)

    stand(20.0, 5.0)  # too far away
    stand(3.0, 0.9)  # too short
    assert history == [(False, False, False)]
    stand(3.0, 6.0)
    stand(100.0, 6.0)
    assert history == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (False, True, True),
        (True, True, True),
        (True, True, False),
        (True, False, False),
        (False, False, False),
    ]
    stand(0.0, 10.0)
    assert len(history) == 9


def test_nobody_boards_a_moving_car() -> None:
    cabin = Cabin((RiderPlan((0.0, 0.0), (1.0, 0.0)),))
    for _ in range(500):
        cabin.step(0.0, 0.0, 0.2, 0.02, CONFIG)
    assert not cabin.door_open


def test_a_rider_plan_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="boarding_time"):
        RiderPlan((0.0, 0.0), (1.0, 0.0), boarding_time=math.nan)


# ---------------------------------------------------------------------------- contact


def one(x: float, y: float, yaw: float = 0.0, length: float = 4.0, width: float = 2.0) -> np.ndarray:
    record = np.zeros(1, dtype=AGENT_DTYPE)
    for name, value in (("x", x), ("y", y), ("yaw", yaw), ("length", length), ("width", width)):
        record[name] = value
    return record


coordinate = st.floats(-6.0, 6.0)
angle = st.floats(-math.pi, math.pi)


@given(coordinate, coordinate, angle, angle)
def test_overlap_agrees_with_sampled_points(x: float, y: float, yaw0: float, yaw1: float) -> None:
    """If a grid point of one box lies within the other they overlap; and parting along the normal ends it."""
    box = Box(0.0, 0.0, yaw0, 4.0, 2.0)
    mask, depth, normal = overlap(box, one(x, y, yaw1))
    u, v = np.meshgrid(np.linspace(-2, 2, 21), np.linspace(-1, 1, 11))
    px = x + np.cos(yaw1) * u - np.sin(yaw1) * v
    py = y + np.sin(yaw1) * u + np.cos(yaw1) * v
    along, across = math.cos(yaw0) * px + math.sin(yaw0) * py, math.cos(yaw0) * py - math.sin(yaw0) * px
    if ((np.abs(along) < 1.999) & (np.abs(across) < 0.999)).any():
        assert mask[0]
    if mask[0]:
        shift = normal[0] * (depth[0] + 1e-6)
        assert not overlap(Box(shift[0], shift[1], yaw0, 4.0, 2.0), one(x, y, yaw1))[0][0]


def test_sides_and_fault_follow_nuplan() -> None:
    ego = Box(0.0, 0.0, 0.0, 4.0, 2.0)
    assert touched_side(ego, Box(3.5, 0.0, 0.0, 4.0, 2.0)) is Side.FRONT
    assert touched_side(ego, Box(-3.5, 0.0, 0.0, 4.0, 2.0)) is Side.REAR
    assert touched_side(ego, Box(0.0, 1.4, 0.0, 1.0, 1.0)) is Side.LATERAL
    assert not at_fault(Side.FRONT, 0.0, 5.0, False, 0.05)
    assert at_fault(Side.REAR, 1.0, 0.0, False, 0.05)
    assert at_fault(Side.FRONT, 5.0, 5.0, False, 0.05)
    assert not at_fault(Side.REAR, 5.0, 9.0, True, 0.05)
    assert at_fault(Side.LATERAL, 5.0, 5.0, True, 0.05)
    assert not at_fault(Side.LATERAL, 5.0, 5.0, False, 0.05)


def test_impulse_keeps_momentum_and_stops_at_a_wall() -> None:
    normal, lever = np.array([-1.0, 0.0]), np.array([2.0, 0.0])
    v, rate, other = impulse(normal, lever, np.array([10.0, 0.0]), 0.0, 2000.0, 3000.0, np.zeros(2), 1000.0, 0.1)
    assert 2000.0 * v[0] + 1000.0 * other[0] == pytest.approx(20000.0)
    assert other[0] - v[0] == pytest.approx(1.0)
    assert rate == 0.0
    v, _, _ = impulse(normal, lever, np.array([10.0, 0.0]), 0.0, 2000.0, 3000.0, np.zeros(2), math.inf, 0.0)
    assert v[0] == pytest.approx(0.0)
    parting = impulse(normal, lever, np.array([-1.0, 0.0]), 0.0, 2000.0, 3000.0, np.zeros(2), 1000.0, 0.1)
    assert parting[0][0] == -1.0


# --------------------------------------------------------------------- yield lines


@pytest.mark.parametrize(("behind_the_merge", "kinds"), [(6.0, ["stop_line"]), (-1.0, [])])
def test_a_roundabout_is_entered_behind_somebody_but_not_in_front(behind_the_merge: float, kinds: list[str]) -> None:
    """``behind_the_merge``: metres from the other's bumper to where both ways become one; negative: it is past."""
    lane_map, config = load_map("town"), WorldConfig()
    net = RoadNetwork(lane_map, config)
    lane, entry = next(
        (lane, net.successors[lane][0])
        for line in lane_map.stop_lines.values()
        for lane in [net.index[line.lane_ids[0]]]
        if line.kind == "yield" and len(line.lane_ids) == len(net.successors[lane]) == 1
    )
    zone = next(zone for zone in net.zones[entry] if zone.kind == "merge" and zone.other in net.yields[entry])
    presence, half = Presence(), 2.0
    presence.add_vehicle(net, 0, [-1, zone.other], zone.other_start - behind_the_merge - half, 2.0 * half, 7.0, 100.0)
    presence.close()
    referee = Referee(lane_map, net, config)
    end, yaw = net.samples[net.first[lane] + net.count[lane] - 1], net.yaw[net.first[lane] + net.count[lane] - 1]
    for metre in (-4.0, 2.0):  # of the body's centre from the end of the lane, along it
        body = Box(end[0] + metre * math.cos(yaw), end[1] + metre * math.sin(yaw), yaw, 4.0, 1.8)
        referee.watch(0, body, 5.0, False, 0.1, {}, presence)
    assert [item.kind for item in referee.offences.infractions] == kinds


def test_stops_of_a_ride_lie_apart() -> None:
    """Across a narrow road the rider would board, or get out, at the stop that is not his."""
    lane_map = crossing_map()
    for seed in range(12):
        plan = plan_ride(lane_map, seed, 300.0, 1500.0)
        for a, b in ((plan.start, plan.pickup), (plan.pickup, plan.dropoff)):
            assert math.dist((a.x, a.y), (b.x, b.y)) > 15.0


@pytest.mark.parametrize(("length", "shortest"), [(500.0, 200.0), (250.0, 120.0), (130.0, 70.0)])
def test_on_a_small_map_the_ride_is_as_long_as_it_can_be(length: float, shortest: float) -> None:
    for seed in range(4):
        plan = plan_ride(straight_map(length), seed)
        assert shortest <= plan.length <= length
        assert plan.start.x < plan.pickup.x < plan.dropoff.x < length


def test_a_map_without_room_for_a_ride_is_named() -> None:
    with pytest.raises(RouteError, match="map 'straight' is too small for a ride"):
        plan_ride(straight_map(60.0), 0)
