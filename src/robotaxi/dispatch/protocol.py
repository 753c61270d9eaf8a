"""The dispatch protocol: topics, envelope, encodings. docs/dispatch-protocol.md explains it.

Messages are one envelope each, JSON (UTF-8) or, with the content type ``application/msgpack``, MessagePack of
the same object. A decoder ignores fields that it does not know, so a newer minor version can be read; a newer
major version is refused with an answer.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from robotaxi.dispatch.messages import BODIES, ID_PATTERN, MAX_TEXT, VERSION, Body, Clock

MAJOR = int(VERSION.split(".")[0])
MAX_MESSAGE_BYTES = 64 * 1024
JSON, MSGPACK = "application/json", "application/msgpack"

Direction = Literal["up", "down"]
_ID = re.compile(ID_PATTERN)
_TRACE = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_JSON_START = b"{[ \t\r\n"


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


# ---------------------------------------------------------------------------- envelope


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Ed25519 over `signed_bytes`. ``kid``: which key; ``value``: base64."""

    kid: str
    value: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every message has around its body.

    ``id`` unique for ever; a repeated message keeps it. ``boot_id`` changes with each start of the
    sender, ``seq`` counts up within it. ``t_src_ns``, ``exp_ns``: UTC since 1970, ns; 0 = no expiry.
    ``clock``: how good the sender's UTC is. ``corr``: id of the message that this one answers.
    ``trace``: W3C ``traceparent`` of the order that it is about, passed on as it came; "" where there is none.
    ``sig``: on every message to a vehicle.
    """

    v: str
    type: str
    id: str
    veh: str
    boot_id: str
    seq: int
    t_src_ns: int
    body: msgspec.Raw
    clock: Clock = Clock()
    exp_ns: int = 0
    corr: str = ""
    trace: str = ""
    sig: Signature | None = None


class Message(msgspec.Struct, frozen=True):
    """A decoded message."""

    envelope: Envelope
    body: Body


class _Head(msgspec.Struct, frozen=True):
    """The part of an envelope that every version to come will have."""

    v: str
    id: str = ""


class Signing(Protocol):
    """Makes signatures; `robotaxi.dispatch.signing.Signer` is one."""

    kid: str

    def sign(self, data: bytes) -> bytes: ...


class _Codec:
    """One encoding: encoder and decoders."""

    def __init__(self, module: Any) -> None:
        self.encoder = module.Encoder()
        self.head = module.Decoder(_Head)
        self.envelope = module.Decoder(Envelope)
        self.bodies = {name: module.Decoder(body) for name, body in BODIES.items()}


_CODECS = {JSON: _Codec(msgspec.json), MSGPACK: _Codec(msgspec.msgpack)}
_NAMES = {body: name for name, body in BODIES.items()}


def body_name(body: Body) -> str:
    name = _NAMES.get(type(body))
    if name is None:
        raise ProtocolError(f"{type(body).__name__} is not a message body")
    return name


def signed_bytes(operator: str, envelope: Envelope) -> bytes:
    """What a signature covers: every field that has an effect, and the body as it was sent.

    Lines of text, then the body's bytes: no canonical form of JSON is needed. No field but the body can
    hold a line break, which is checked.
    """
    fields = (
        operator,
        envelope.v,
        envelope.type,
        envelope.id,
        envelope.veh,
        envelope.boot_id,
        str(envelope.seq),
        str(envelope.t_src_ns),
        str(envelope.exp_ns),
        envelope.corr,
    )
    if any("\n" in field for field in fields):
        raise ProtocolError("a line break in the envelope", "unsigned")
    return "\n".join(("robotaxi-dispatch", *fields, "")).encode() + bytes(envelope.body)


class Sender:
    """Numbers and wraps what one party sends, from any thread. ``signing`` with ``operator`` signs it."""

    def __init__(
        self,
        vehicle: str,
        boot_id: str,
        new_id: Callable[[], str],
        now_ns: Callable[[], int],
        *,
        clock: Callable[[], Clock] = Clock,
        encoding: str = JSON,
        operator: str = "",
        signing: Signing | None = None,
    ) -> None:
        self.vehicle = vehicle
        self.boot_id = boot_id
        self.encoding = encoding
        self._new_id = new_id
        self._now_ns = now_ns
        self._clock = clock
        self._operator = operator
        self._signing = signing
        self._encoder = _CODECS[encoding].encoder
        self._seq = itertools.count(1)  # one call to next() is atomic

    def wrap(
        self,
        body: Body,
        *,
        exp_ns: int = 0,
        corr: str = "",
        vehicle: str = "",
        message_id: str = "",
        trace: str = "",
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
            clock=self._clock(),
            exp_ns=exp_ns,
            corr=corr,
            trace=trace,
            body=msgspec.Raw(self._encoder.encode(body)),
        )
        if self._signing is not None:
            value = base64.b64encode(self._signing.sign(signed_bytes(self._operator, envelope))).decode()
            envelope = msgspec.structs.replace(envelope, sig=Signature(kid=self._signing.kid, value=value))
        return identity, self._encoder.encode(envelope)


def decode(payload: bytes, expected_type: str, vehicle: str = "") -> Message:
    """Decode one message that came on a topic named ``expected_type`` (of ``vehicle``).

    Raises ProtocolError whose ``kind`` is "malformed" or "unsupported" (newer major version), with
    the message's id where it could be read.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"message of {len(payload)} bytes; at most {MAX_MESSAGE_BYTES} are read")
    # MQTT 3.1.1 has no content type: the first byte of a MessagePack map is none that JSON can begin with
    codec = _CODECS[JSON if payload[:1] in _JSON_START_SET or not payload else MSGPACK]
    head = _decoded(codec.head, payload, "envelope", "")
    major = head.v.split(".")[0]
    message_id = head.id if _ID.match(head.id) else ""
    if not (major.isascii() and major.isdecimal()):
        raise ProtocolError(f"version {head.v[:20]!r} is not major.minor", message_id=message_id)
    if int(major[:6]) != MAJOR:
        raise ProtocolError(f"version {head.v[:20]} is not spoken here, {VERSION} is", "unsupported", message_id)
    envelope: Envelope = _decoded(codec.envelope, payload, "envelope", message_id)
    if not message_id:
        raise ProtocolError(f"envelope: id {envelope.id[:80]!r} is not an id")
    if envelope.type != expected_type:
        raise ProtocolError(f"type {envelope.type[:40]!r} on a topic for {expected_type!r}", message_id=message_id)
    if vehicle and envelope.veh != vehicle:
        raise ProtocolError(f"veh {envelope.veh[:80]!r} on a topic of {vehicle!r}", message_id=message_id)
    decoder = codec.bodies.get(envelope.type)
    if decoder is None:
        raise ProtocolError(f"type {envelope.type[:40]!r} is unknown", "unsupported", message_id)
    body = _decoded(decoder, bytes(envelope.body), envelope.type, message_id)
    return Message(envelope, body)


_JSON_START_SET = frozenset(_JSON_START[i : i + 1] for i in range(len(_JSON_START)))


def body_as_json(payload: bytes, message: Message) -> str:
    """The body as JSON text with every field that was sent, also those that this version does not know."""
    raw = bytes(message.envelope.body)
    if payload[:1] in _JSON_START_SET:
        return raw.decode()
    return msgspec.json.encode(msgspec.msgpack.decode(raw)).decode()


def _decoded(decoder: Any, data: bytes, what: str, message_id: str) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ProtocolError(f"{what}: {str(error)[:MAX_TEXT]}", message_id=message_id) from error


def trace_of(order_id: str, message_id: str) -> str:
    """A W3C ``traceparent``: the same trace for all that concerns an order, whoever asks and after any restart."""
    trace = hashlib.sha256(f"order/{order_id}".encode()).hexdigest()[:32]
    parent = hashlib.sha256(f"message/{message_id}".encode()).hexdigest()[:16]
    return f"00-{trace}-{parent}-01"


def passed_on(trace: str) -> str:
    """A trace context that may be passed on; "" for anything else: nobody's free text goes into our messages."""
    return trace if _TRACE.match(trace) else ""


def clip(text: str) -> str:
    """A text that fits a message."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def finite(value: float) -> float:
    """JSON has no NaN: what is not finite is sent as 0."""
    return value if math.isfinite(value) else 0.0
