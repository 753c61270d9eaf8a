"""The server over bare sockets: determinism, several clients, clients that misbehave or vanish."""

import random
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

msgpack = pytest.importorskip("msgpack", reason="the extra 'carla' is not installed")

from carla_helpers import BareClient, BareStream, served, write_road  # noqa: E402

from robotaxi.carla_link.server import wire  # noqa: E402
from robotaxi.carla_link.server.lights import _controllers, _in_turn  # noqa: E402
from robotaxi.carla_link.server.network import ServerError  # noqa: E402
from robotaxi.carla_link.server.server import CarlaServer  # noqa: E402
from robotaxi.evaluation.carla_agreement import distances  # noqa: E402
from robotaxi.evaluation.carla_fuzz import fuzz  # noqa: E402

SYNCHRONOUS = [True, False, [True, 0.05], True, 0.01, 10, 0.0, True, 3000.0, 2000.0, True]
MODEL3 = [0, "vehicle.tesla.model3", []]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(write_road(tmp_path_factory.mktemp("carla"))) as running:
        yield running


@pytest.fixture
def client(server):
    bare = BareClient(server.port)
    bare.value("set_episode_settings", SYNCHRONOUS)
    yield bare
    ids = [actor for actor in list(server.episode.actors) if server.episode.actors[actor].kind == "vehicle"]
    for actor in ids:
        bare.value("destroy_actor", actor)
    bare.close()


def place(x: float, y: float = 1.75) -> list[list[float]]:
    return [[x, y, 0.3], [0.0, 0.0, 0.0]]


def drive(client: BareClient, frames: int) -> list[bytes]:
    """World states of a car that is given gas and a little steer."""
    _, (token,) = client.value("get_episode_info")
    world = BareStream(token)
    world.read()
    car = client.value("spawn_actor", MODEL3, place(50.0))[0]
    states = []
    for _ in range(frames):
        client.call("apply_control_to_vehicle", car, [0.7, 0.05, 0.0, False, False, False, 0])
        frame = client.value("tick_cue")
        state = world.read()
        assert struct.unpack_from("<Q", state, 8)[0] == frame
        states.append(state)
    client.value("destroy_actor", car)
    world.close()
    return states


def test_the_same_calls_give_the_same_bytes(tmp_path: Path) -> None:
    runs = []
    for _ in range(2):
        with served(write_road(tmp_path), synchronous=True) as running:
            bare = BareClient(running.port)
            bare.value("set_episode_settings", SYNCHRONOUS)
            first = bare.value("tick_cue")
            runs.append([state[48 + 8 + 8 :] for state in drive(bare, 20)])
            assert first >= 1
            bare.close()
    assert runs[0] == runs[1]


def test_a_car_moves_as_it_is_told_and_can_go_back(client: BareClient, server) -> None:
    car = client.value("spawn_actor", MODEL3, place(100.0))[0]
    for _ in range(40):
        client.call("apply_control_to_vehicle", car, [0.5, 0.0, 0.0, False, False, False, 0])
        client.value("tick_cue")
    forward = server.episode.actors[car].T[0, 3]
    assert 103.0 < forward < 112.0
    for _ in range(100):
        client.call("apply_control_to_vehicle", car, [0.5, 0.0, 0.0, False, True, False, 0])
        client.value("tick_cue")
    assert server.episode.actors[car].T[0, 3] < forward - 3.0


def test_ackermann_control_is_followed_until_pedals_come(client: BareClient, server) -> None:
    car = client.value("spawn_actor", MODEL3, place(60.0))[0]
    client.call("apply_ackermann_control_to_vehicle", car, [0.0, 0.0, 5.0, 0.0, 0.0])
    for _ in range(120):
        client.value("tick_cue")
    row = server.episode.fleet.row(car)
    assert server.episode.fleet.state[row, 3] == pytest.approx(5.0, abs=0.5)
    client.call("apply_control_to_vehicle", car, [0.0, 0.0, 1.0, False, False, False, 0])
    for _ in range(40):
        client.value("tick_cue")
    assert server.episode.fleet.state[row, 3] == 0.0


def test_two_cars_that_meet_push_each_other_and_say_so(client: BareClient) -> None:
    a = client.value("spawn_actor", MODEL3, place(30.0))[0]
    b = client.value("spawn_actor", MODEL3, place(38.0))[0]
    sensor = client.value("spawn_actor_with_parent", [0, "sensor.other.collision", []], place(0.0), b, 0)
    stream = BareStream(client.value("get_sensor_token", struct.unpack_from("<I", sensor[5])[0])[0])
    client.call("set_actor_target_velocity", a, [12.0, 0.0, 0.0])
    for _ in range(30):
        client.value("tick_cue")
    message = stream.read()
    assert struct.unpack_from("<Q", message)[0] == wire.Stream.COLLISION
    me, other, impulse = msgpack.unpackb(message[48:])
    assert (me[0], other[0]) == (b, a) and impulse[0] > 1000.0
    stream.close()


def test_refusals_say_why(client: BareClient) -> None:
    client.value("spawn_actor", MODEL3, place(200.0))
    for name, arguments, words in (
        ("spawn_actor", [MODEL3, place(201.0)], "collision at spawn position"),
        ("spawn_actor", [[0, "vehicle.flying.carpet", []], place(10.0)], "no blueprint 'vehicle.flying.carpet'"),
        ("spawn_actor", [[0, "sensor.camera.rgb", []], place(10.0)], "--no-rendering"),
        ("destroy_actor", [1], "part of the town"),
        ("set_actor_transform", [99999, place(0.0)], "unable to find actor 99999"),
        ("set_actor_transform", [1, [[float("nan"), 0.0, 0.0], [0.0, 0.0, 0.0]]], "finite"),
        ("apply_control_to_vehicle", [1, [0.0] * 7], "not a vehicle"),
        ("set_episode_settings", [[True] * 5], "expected 11 fields"),
        ("load_new_episode", ["Atlantis", True, 0], "unknown map 'Atlantis'"),
        ("copy_opendrive_to_file", ["<OpenDRIVE><road", {}], "line 1"),
        ("start_recorder", ["a.log", False], "recorder is not part"),
        ("tick_cue", [1, 2, 3], "expected 0"),
    ):
        result = client.call(name, *arguments)[3]
        assert result[0][0] == 0 and words in result[0][1][0], (name, result)
    _, _, error, _ = client.call("fly_to_the_moon")
    assert "could not find function 'fly_to_the_moon'" in error


def test_a_second_client_sees_what_the_first_does_and_outlives_it(server, client: BareClient) -> None:
    other = BareClient(server.port)
    car = client.value("spawn_actor", MODEL3, place(150.0))[0]
    assert other.value("get_actors_by_id", [car])[0][2][1] == "vehicle.tesla.model3"
    other.socket.sendall(msgpack.packb([0, 5, "spawn_actor", [[False], MODEL3, place(10.0)]])[:20])
    other.close()  # in mid-message
    assert client.value("tick_cue") > 0


@pytest.mark.parametrize(
    "rubbish", [b"\xc1" * 40, b"GET / HTTP/1.1\r\n\r\n", msgpack.packb({"a": 1}), b"\xdd\xff\xff\xff\xff"]
)
def test_rubbish_costs_only_its_own_connection(server, client: BareClient, rubbish: bytes) -> None:
    for port in (server.port, server.port + 1):
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as bad:
            bad.sendall(rubbish)
    assert client.value("version") == "0.9.16"


def test_random_arguments_never_break_a_call(server, client: BareClient) -> None:
    rng = random.Random(5)
    names = sorted(server.network.handler.__self__._functions)
    names = [n for n in names if n not in ("load_new_episode", "copy_opendrive_to_file", "set_episode_settings")]
    junk = [None, True, -1, 0, 1, 2, 3, 10**18, 0.5, float("inf"), float("nan"), "", "x", b"\0", [], [[]], [1, [2]], {}]

    def value(depth: int = 0):
        if depth < 3 and rng.random() < 0.4:
            return [value(depth + 1) for _ in range(rng.randrange(8))]
        return rng.choice(junk)

    for _ in range(2000):
        reply = client.call(rng.choice(names), *[value() for _ in range(rng.randrange(5))])
        assert reply is not None and reply[0] == 1
    assert client.value("version") == "0.9.16"


def test_a_port_in_use_is_said_so(server, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=f"port {server.port} .*cannot be used"):
        CarlaServer([str(write_road(tmp_path))], port=server.port, rendering=False)


def test_a_clients_own_road_can_be_loaded(server, client: BareClient) -> None:
    assert client.call("copy_opendrive_to_file", server.episode.town.opendrive, {})[3] == [[False]]
    before = client.value("get_episode_info")[0]
    assert client.call("load_new_episode", "OpenDriveMap", True, 0)[3] == [[False]]
    assert client.value("get_map_info")[0] == "Carla/Maps/OpenDriveMap"
    assert client.value("get_episode_info")[0] == before + 1
    assert client.call("load_new_episode", "Straight", True, 0)[3] == [[False]]


def test_rubbish_on_both_ports_leaves_everybody_an_answer(server) -> None:
    found = fuzz(server.port, 600, 3, lambda: True, lambda _: None)
    assert found["inputs"] == 600 and found["answered"] == found["asked"] == 2
    assert len(found["by_kind"]) == 10


def test_lights_take_turns_as_the_file_says() -> None:
    """Town lights: as many turns as the junction has controllers; without controllers by direction."""
    phases = [[1, 3], [2]]
    assert _in_turn(phases, {1: (0, 10), 2: (2, 12), 3: (1, 11)}) == [[1], [3], [2]]
    assert _in_turn(phases, {1: (0, 10), 2: (0, 10), 3: (1, 11)}) == [[1, 2], [3]]
    assert _in_turn(phases, {1: (0, 10)}) == phases
    controls = '<control signalId="9"/><control signalId="x"/>'
    text = f'<OpenDRIVE><controller id="4" sequence="2">{controls}</controller></OpenDRIVE>'
    assert _controllers(text) == {9: (2, 4)}


def test_paths_that_agree_are_near_all_along() -> None:
    t = np.linspace(0.0, 2.0 * np.pi, 800)
    circle = 50.0 * np.column_stack([np.cos(t), np.sin(t)])
    assert distances(circle, 1.001 * circle[::7]).max() == pytest.approx(0.05, abs=0.01)
