"""The dispatch protocol: topics, envelope and message bodies. docs/dispatch-protocol.md explains it.

The structs below are the source of truth. Messages are JSON objects over MQTT, UTF-8, one envelope
each. Field names carry units where they are not SI. A decoder ignores fields that it does not know,
so a newer minor version can be read; a newer major version is refused with an answer.

No message carries steering, throttle, brake or gear: the cloud requests, the car decides.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

MAJOR, MINOR = 1, 0
VERSION = f"{MAJOR}.{MINOR}"
MAX_MESSAGE_BYTES = 64 * 1024
MAX_TEXT = 500  # characters of a reason or a sentence
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
DATUM: Final = "WGS84"

UP = ("connection", "state", "order_event", "ack")
DOWN = ("order", "command", "receipt")

Direction = Literal["up", "down"]


class ProtocolError(ValueError):
    """A message that cannot be used. ``kind`` is the ack status that answers it."""

    def __init__(self, message: str, kind: str = "malformed", message_id: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message_id = message_id


# ---------------------------------------------------------------------------- topics


def topic(operator: str, vehicle: str, direction: Direction, name: str) -> str:
    """``rt/v1/{operator}/{vehicle}/{up|down}/{name}``; vehicle and name may be MQTT wildcards."""
    return f"rt/v{MAJOR}/{operator}/{vehicle}/{direction}/{name}"


class TopicParts(msgspec.Struct, frozen=True):
    operator: str
    vehicle: str
    direction: str
    name: str


def parse_topic(text: str) -> TopicParts:
    """Raises ProtocolError for anything but a topic of this protocol."""
    parts = text.split("/")
    if len(parts) != 6 or parts[:2] != ["rt", f"v{MAJOR}"] or parts[4] not in ("up", "down"):
        raise ProtocolError(f"topic {text[:200]!r} is not rt/v{MAJOR}/operator/vehicle/up|down/name")
    return TopicParts(parts[2], parts[3], parts[4], parts[5])


# ---------------------------------------------------------------------------- bodies


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all bodies."""


class Position(Body, frozen=True, kw_only=True):
    """A place on earth. Only WGS 84 is spoken; another datum is refused, never guessed."""

    datum: Literal["WGS84"]
    lat: float  # degrees, north positive
    lon: float  # degrees, east positive
    alt: float | None = None  # metres above the ellipsoid

    def __post_init__(self) -> None:
        # msgspec has no constraint that keeps NaN out of a range check's complement
        if not (abs(self.lat) <= 90.0 and abs(self.lon) <= 180.0):
            raise ValueError(f"position {self.lat}, {self.lon} is not on earth")


class Place(Body, frozen=True, kw_only=True):
    position: Position
    heading_deg: float | None = None  # clockwise from north, where the car should point
    name: str = ""


class Connection(Body, frozen=True, kw_only=True):
    """up, retained: online; offline (said goodbye); lost (last will, published by the broker)."""

    state: Literal["online", "offline", "lost"]
    reason: str = ""
    versions: tuple[str, ...] = (VERSION,)


class TripReport(Body, frozen=True, kw_only=True):
    order_id: str
    state: str  # name of types.TripState
    reason: str = ""
    distance_to_go: float = 0.0  # m to the current goal
    pickup: Position | None = None
    dropoff: Position | None = None


class State(Body, frozen=True, kw_only=True):
    """up, 1 Hz and on change. Not stored: the newest is what counts."""

    stamp_ns: int  # vehicle's data time, may be simulated
    mode: str  # name of types.SystemMode
    mode_reason: str = ""
    sentence: str = ""  # why the car drives no faster than it does
    position: Position | None = None
    position_sigma: float = 0.0  # m, one standard deviation, the larger axis
    heading_deg: float = 0.0  # clockwise from north
    speed: float = 0.0
    acceleration: float = 0.0
    door_open: bool = False
    seat_occupied: bool = False
    belt_fastened: bool = False
    trip: TripReport | None = None
    backlog: int = 0  # messages that wait for a receipt
    problem: str = ""  # of the bridge itself, e.g. a full disk


class OrderEvent(Body, frozen=True, kw_only=True):
    """up, kept until its receipt. ``event_no`` counts from 1 within the order, without gaps."""

    stamp_ns: int
    order_id: str
    event_no: int
    state: str  # name of types.TripState
    reason: str = ""
    position: Position | None = None


class Ack(Body, frozen=True, kw_only=True):
    """up, kept until its receipt unless ``received``: what became of a message from the cloud.

    received: valid and queued, nothing decided yet. accepted, refused: the car's decision. duplicate:
    known already, no second effect. expired, malformed, unsupported: no effect.
    """

    message_id: str
    status: Literal["received", "accepted", "refused", "duplicate", "expired", "malformed", "unsupported"]
    reason: str = ""
    order_id: str = ""
    state: str = ""  # of the order, where there is one
    versions: tuple[str, ...] = (VERSION,)


class Order(Body, frozen=True, kw_only=True):
    """down: an offer of one ride. The envelope's ``exp_ns`` is the deadline for accepting it."""

    order_id: str
    pickup: Place
    dropoff: Place

    def __post_init__(self) -> None:
        check_id(self.order_id, "order_id")


class Command(Body, frozen=True, kw_only=True):
    """down: a request concerning an order."""

    command: str  # "cancel"; others are refused with an answer
    order_id: str
    by: Literal["platform", "rider"] = "platform"
    reason: str = ""

    def __post_init__(self) -> None:
        check_id(self.order_id, "order_id")


class Receipt(Body, frozen=True, kw_only=True):
    """down: the dispatcher has stored these messages; the car may forget them.

    Without ids: the dispatcher is there (again); the car sends anew what has no receipt.
    """

    ids: tuple[str, ...]


BODIES: dict[str, type[Body]] = {
    "connection": Connection,
    "state": State,
    "order_event": OrderEvent,
    "ack": Ack,
    "order": Order,
    "command": Command,
    "receipt": Receipt,
}


# ---------------------------------------------------------------------------- envelope


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What every message has around its body.

    ``id`` unique for ever; a repeated message keeps it. ``boot_id`` changes with each start of the
    sender, ``seq`` counts up within it. ``t_src_ns``, ``exp_ns``: UTC since 1970, ns; 0 = no expiry.
    ``corr``: id of the message that this one answers.
    """

    v: str
    type: str
    id: str
    veh: str
    boot_id: str
    seq: int
    t_src_ns: int
    body: msgspec.Raw
    exp_ns: int = 0
    corr: str = ""


class Message(msgspec.Struct, frozen=True):
    """A decoded message."""

    envelope: Envelope
    body: Body


class _Head(msgspec.Struct, frozen=True):
    """The part of an envelope that every version to come will have."""

    v: str
    id: str = ""


_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(_Head)
_envelope_decoder = msgspec.json.Decoder(Envelope)
_body_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(body) for name, body in BODIES.items()
}
_ID = re.compile(ID_PATTERN)


def check_id(text: str, what: str) -> str:
    """``text`` if it may be an id; ValueError says what an id looks like."""
    if not _ID.match(text):
        raise ValueError(f"{what} {text[:80]!r}: use 1 to 64 letters, digits, '.', '_', ':' or '-'")
    return text


def body_name(body: Body) -> str:
    for name, kind in BODIES.items():
        if type(body) is kind:
            return name
    raise ProtocolError(f"{type(body).__name__} is not a message body")


class Sender:
    """Numbers and wraps what one party sends, from any thread."""

    def __init__(self, vehicle: str, boot_id: str, new_id: Callable[[], str], now_ns: Callable[[], int]) -> None:
        self.vehicle = vehicle
        self.boot_id = boot_id
        self._new_id = new_id
        self._now_ns = now_ns
        self._seq = itertools.count(1)  # one call to next() is atomic

    def wrap(
        self, body: Body, *, exp_ns: int = 0, corr: str = "", vehicle: str = "", message_id: str = ""
    ) -> tuple[str, bytes]:
        """(message id, payload)."""
        identity = message_id or self._new_id()
        envelope = Envelope(
            v=VERSION,
            type=body_name(body),
            id=identity,
            veh=vehicle or self.vehicle,
            boot_id=self.boot_id,
            seq=next(self._seq),
            t_src_ns=self._now_ns(),
            exp_ns=exp_ns,
            corr=corr,
            body=msgspec.Raw(_encoder.encode(body)),
        )
        return identity, _encoder.encode(envelope)


def decode(payload: bytes, expected_type: str, vehicle: str = "") -> Message:
    """Decode one message that came on a topic named ``expected_type`` (of ``vehicle``).

    Raises ProtocolError whose ``kind`` is "malformed" or "unsupported" (newer major version), with
    the message's id where it could be read.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"message of {len(payload)} bytes; at most {MAX_MESSAGE_BYTES} are read")
    head = _decoded(_head_decoder, payload, "envelope", "")
    major = head.v.split(".")[0]
    message_id = head.id if _ID.match(head.id) else ""
    if not major.isdecimal():
        raise ProtocolError(f"version {head.v[:20]!r} is not major.minor", message_id=message_id)
    if int(major[:6]) != MAJOR:
        raise ProtocolError(f"version {head.v[:20]} is not spoken here, {VERSION} is", "unsupported", message_id)
    envelope: Envelope = _decoded(_envelope_decoder, payload, "envelope", message_id)
    if not message_id:
        raise ProtocolError(f"envelope: id {envelope.id[:80]!r} is not an id")
    if envelope.type != expected_type:
        raise ProtocolError(f"type {envelope.type[:40]!r} on a topic for {expected_type!r}", message_id=message_id)
    if vehicle and envelope.veh != vehicle:
        raise ProtocolError(f"veh {envelope.veh[:80]!r} on a topic of {vehicle!r}", message_id=message_id)
    decoder = _body_decoders.get(envelope.type)
    if decoder is None:
        raise ProtocolError(f"type {envelope.type[:40]!r} is unknown", "unsupported", message_id)
    body = _decoded(decoder, bytes(envelope.body), envelope.type, message_id)
    return Message(envelope, body)


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes, what: str, message_id: str) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"{what}: {str(error)[:MAX_TEXT]}", message_id=message_id) from error


def clip(text: str) -> str:
    """A text that fits a message."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def finite(value: float) -> float:
    """JSON has no NaN: what is not finite is sent as 0."""
    return value if math.isfinite(value) else 0.0
