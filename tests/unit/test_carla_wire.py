"""The bytes of CARLA 0.9.16's wire, structure by structure, without CARLA's client."""

import math
import struct

import numpy as np
import pytest

msgpack = pytest.importorskip("msgpack", reason="the extra 'carla' is not installed")

from robotaxi.carla_link.frames import carla_from_map, map_from_carla, planar  # noqa: E402
from robotaxi.carla_link.server import wire  # noqa: E402
from robotaxi.carla_link.server.actors import Actor  # noqa: E402
from robotaxi.carla_link.server.blueprints import build_library  # noqa: E402
from robotaxi.carla_link.server.physics import physics_control  # noqa: E402


def test_header_is_48_bytes_in_carlas_order() -> None:
    data = wire.header(wire.Stream.LIDAR, 7, 1.5, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert data.hex() == (
        "0b00000000000000" "0700000000000000" "000000000000f83f" "0000803f" "00000040" "00004040" "00008040"
        "0000a040" "0000c040"
    )  # fmt: skip


def test_token_is_24_bytes_with_stream_port_protocol_and_address() -> None:
    data = wire.token(5, 2001, "127.0.0.1")
    assert len(data) == 24
    assert struct.unpack_from("<IHBB4B", data) == (5, 2001, 1, 1, 127, 0, 0, 1)
    assert data[12:] == bytes(12)


def test_a_stream_message_begins_with_its_length() -> None:
    assert wire.frame_of(b"abc") == b"\x03\x00\x00\x00abc"


def test_actor_records_are_119_bytes_with_their_kind_behind_65() -> None:
    car = np.zeros(1, wire.VEHICLE_DTYPE)
    car["id"], car["state"], car["throttle"], car["gear"], car["speed_limit"] = 9, wire.ACTIVE, 0.5, -1, 30.0
    car["light_state"], car["has_light"], car["light_id"] = 1, True, 77
    data = car.tobytes()
    assert len(data) == 119
    assert struct.unpack_from("<IB", data) == (9, 1)
    assert struct.unpack_from("<f", data, 65) == (0.5,)
    assert struct.unpack_from("<ifB?I", data, 80) == (-1, 30.0, 1, True, 77)
    light = np.zeros(1, wire.LIGHT_DTYPE)
    light["sign_id"], light["green_time"], light["frozen"], light["light"] = b"363", 10.0, True, 2
    data = light.tobytes()
    assert data[65:97].rstrip(b"\0") == b"363"
    assert struct.unpack_from("<f", data, 97) == (10.0,)
    assert struct.unpack_from("<?B", data, 117) == (True, 2)


def test_world_state_carries_the_map_change_once_per_flag() -> None:
    data = wire.world_state(3, 1.0, 0.05, [np.zeros(2, wire.ACTOR_DTYPE)], map_change=True)
    episode, _, delta, _, _, _, flags = struct.unpack_from("<Qdf3iI", data)
    assert (episode, round(delta, 6), flags) == (3, 0.05, 1)
    assert len(data) == 36 + 2 * 119


def test_images_clouds_and_readings() -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert wire.image(pixels, 90.0) == struct.pack("<IIf", 3, 2, 90.0) + bytes(range(24))
    points = np.array([[1.0, 2.0, 3.0, 0.5]], np.float32)
    assert wire.lidar(0.25, [1, 0], points) == struct.pack("<fIII4f", 0.25, 2, 1, 0, 1.0, 2.0, 3.0, 0.5)
    assert msgpack.unpackb(wire.gnss(1.0, 2.0, 3.0)) == [1.0, 2.0, 3.0]
    assert msgpack.unpackb(wire.imu((1, 2, 3), (4, 5, 6), 7.0)) == [[1, 2, 3], [4, 5, 6], 7.0]


def test_replies_good_bad_and_void() -> None:
    assert msgpack.unpackb(wire.reply(4, wire.good("x"))) == [1, 4, None, [[1, "x"]]]
    assert wire.bad("no") == [[0, ["no"]]]
    assert wire.done() == [[False]]
    assert (wire.optional(None), wire.optional(0.05)) == ([False], [True, 0.05])
    assert msgpack.unpackb(wire.refusal(4, "no")) == [1, 4, "no", None]


def test_an_actor_and_its_physics_have_the_fields_of_the_wire() -> None:
    blueprint = build_library()["vehicle.tesla.model3"]
    actor = Actor(40, blueprint.id, [blueprint.uid, blueprint.id, []], {}, np.eye(4), blueprint.body, stream=0)
    assert [type(v).__name__ for v in actor.wire(b"")] == ["int", "int", "list", "list", "bytes", "bytes"]
    physics = physics_control(actor)
    assert len(physics) == 17 and [len(w) for w in physics[15]] == [10] * 4
    assert all(len(a.wire()) == 6 for a in blueprint.attributes)


def test_every_blueprint_id_is_carlas_kind_of_name_and_unique() -> None:
    library = build_library()
    assert {name.split(".")[0] for name in library} == {"vehicle", "walker", "controller", "static", "sensor"}
    assert [b.uid for b in library.values()] == list(range(1, len(library) + 1))


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (10.0, 100.0, -5.0), (-30.0, -170.0, 20.0)])
def test_frames_there_and_back(pose: tuple[float, float, float]) -> None:
    location, rotation = carla_from_map(map_from_carla((1.0, 2.0, 3.0), pose))
    assert location == pytest.approx([1.0, 2.0, 3.0]) and rotation == pytest.approx(list(pose))


def test_carlas_yaw_turns_right_and_its_pitch_looks_up() -> None:
    location, rotation = carla_from_map(planar(1.0, 2.0, 0.0, math.radians(30.0), math.radians(5.0)))
    assert location == pytest.approx([1.0, -2.0, 0.0])
    assert rotation == pytest.approx([-5.0, -30.0, 0.0])
