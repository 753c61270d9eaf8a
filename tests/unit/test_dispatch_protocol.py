"""What is read, what is refused and how, and that nothing that comes from outside can break the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotaxi.dispatch import protocol, trip
from robotaxi.dispatch.messages import BODIES, DATUM, Order, Place, Position, Receipt
from robotaxi.dispatch.protocol import ProtocolError, Sender, decode

DOC = Path(__file__).parents[2] / "docs" / "dispatch-protocol.md"


def sender() -> Sender:
    return Sender("car1", "boot", lambda: "m1", lambda: 5)


def place(lat: float = 48.1, lon: float = 11.5) -> Place:
    return Place(position=Position(datum=DATUM, lat=lat, lon=lon), heading_deg=90.0)


ORDER = Order(order_id="ride-7", pickup=place(), dropoff=place(48.2))


def message(**changes: Any) -> bytes:
    _, payload = sender().wrap(ORDER, exp_ns=9)
    return json.dumps({**json.loads(payload), **changes}).encode()


def body(**changes: Any) -> bytes:
    return message(body={**msgspec.to_builtins(ORDER), **changes})


def test_what_is_sent_is_read() -> None:
    read = decode(message(), "order", "car1")
    assert read.body == ORDER
    assert (read.envelope.id, read.envelope.seq, read.envelope.exp_ns) == ("m1", 1, 9)


def test_unknown_fields_and_newer_minor_versions_are_read() -> None:
    assert decode(message(v="1.99", trace="x"), "order").body == ORDER
    assert decode(body(luggage=3), "order").body == ORDER


def position(**changes: Any) -> dict[str, Any]:
    return {"position": {"datum": "WGS84", "lat": 1.0, "lon": 2.0, **changes}}


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [
        (b"", "malformed", "truncated"),
        (b"[1]", "malformed", "object"),
        (b"\xff\xfe", "malformed", "envelope"),
        (b"[" * 60_000, "malformed", "envelope"),
        (b" " * 70_000, "malformed", "at most 65536"),
        (message(v="2.0", body=None, seq="?"), "unsupported", "version 2.0"),
        (message(v="one"), "malformed", "major.minor"),
        (message(v="9" * 5000), "unsupported", "version 999"),
        (message(id="a b"), "malformed", "is not an id"),
        (message(id="../etc"), "malformed", "is not an id"),
        (message(type="command"), "malformed", "type 'command'"),
        (message(veh="car2"), "malformed", "veh 'car2'"),
        (message(seq="1"), "malformed", "$.seq"),
        (body(order_id="x" * 65), "malformed", "order_id"),
        (body(pickup=position(datum="BD09")), "malformed", "BD09"),
        (body(pickup=position(lat=90.1)), "malformed", "not on earth"),
        (body(pickup=position(lat="north")), "malformed", "float"),
        (message().replace(b"48.1,", b"NaN,"), "malformed", "envelope"),
        (message().replace(b"48.1,", b"1e999,"), "malformed", "out of range"),
    ],
)
def test_what_is_wrong_is_named(payload: bytes, kind: str, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(payload, "order", "car1")
    assert caught.value.kind == kind and words in str(caught.value)
    assert len(str(caught.value)) < 700


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([*BODIES, "nonsense"]))
def test_any_bytes_are_refused_or_read(payload: bytes, name: str) -> None:
    with pytest.raises(ProtocolError):
        decode(payload, name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(json.loads(message()))), json_values, st.sampled_from(["order_id", "pickup", "dropoff"]))
def test_any_value_in_any_field_is_refused_or_read(field: str, value: Any, inner: str) -> None:
    for payload in (message(**{field: value}), body(**{inner: value})):
        try:
            decode(payload, "order", "car1")
        except ProtocolError as error:
            assert error.kind in ("malformed", "unsupported")


def test_topics() -> None:
    assert protocol.topic("demo", "car1", "up", "state") == "rt/v1/demo/car1/up/state"
    assert protocol.parse_topic("rt/v1/demo/car1/down/order").name == "order"
    for bad in ("", "rt/v2/demo/car1/up/state", "rt/v1/demo/car1/side/state", "rt/v1/demo/car1/up/state/more"):
        with pytest.raises(ProtocolError, match="is not rt/v1"):
            protocol.parse_topic(bad)


def test_no_message_carries_actuation() -> None:
    schema = json.dumps(msgspec.json.schema_components(list(BODIES.values()))).lower()
    assert not any(word in schema for word in ("steering", "throttle", "brake", "gear"))


def test_sequence_numbers_grow() -> None:
    one = sender()
    numbers = [json.loads(one.wrap(Receipt(ids=()))[1])["seq"] for _ in range(3)]
    assert numbers == [1, 2, 3]


def test_the_document_shows_the_table_and_every_message() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert trip.table_markdown() in text and trip.diagram_mermaid() in text
    for name in BODIES:
        assert f"`{name}`" in text
