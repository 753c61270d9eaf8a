"""MQTT control packets as bytes: what a broker reads and writes. OASIS MQTT 3.1.1 and 5.0.

Everything here raises `PacketError` for bytes that are not what they should be, and nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

V311, V5 = 4, 5
CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 10, 11, 12, 13, 14

# reason codes of MQTT 5
SUCCESS, NOT_AUTHORIZED, SERVER_SHUTTING_DOWN, KEEP_ALIVE_TIMEOUT, SESSION_TAKEN_OVER = 0x00, 0x87, 0x8B, 0x8D, 0x8E
MALFORMED, PROTOCOL_ERROR, BAD_CLIENT_ID, PACKET_TOO_LARGE, QUOTA_EXCEEDED = 0x81, 0x82, 0x85, 0x95, 0x97
UNSUPPORTED_VERSION, QOS_NOT_SUPPORTED, DISCONNECT_WITH_WILL, NO_SUBSCRIPTION = 0x84, 0x9B, 0x04, 0x11

# properties of MQTT 5 that are looked at
CONTENT_TYPE, SESSION_EXPIRY, RECEIVE_MAXIMUM, TOPIC_ALIAS, SUBSCRIPTION_ID = 0x03, 0x11, 0x21, 0x23, 0x0B
_BYTE = frozenset({0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A})
_TWO = frozenset({0x13, 0x21, 0x22, 0x23})
_FOUR = frozenset({0x02, 0x11, 0x18, 0x27})
_BINARY = frozenset({0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F})
_FORWARDED = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x26})  # of a PUBLISH, to its subscribers
_VARIABLE, _USER = 0x0B, 0x26


class PacketError(ValueError):
    """Bytes that are not MQTT. ``reason``: the MQTT 5 reason code that tells the peer."""

    def __init__(self, message: str, reason: int = MALFORMED) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int = 0
    properties: bytes = b""  # those that are forwarded, encoded, without their length


@dataclass(frozen=True, slots=True)
class Connect:
    version: int
    client_id: str
    keep_alive: int
    clean: bool
    will: Publish | None = None
    receive_maximum: int = 65535


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    filters: tuple[tuple[str, int], ...] = field(default=())


class Reader:
    """Cuts packets out of a stream of bytes. ``limit``: longest packet in bytes."""

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(first byte, rest) of each packet that is complete now."""
        buffer = self._buffer
        buffer += data
        packets = []
        at = 0
        while True:
            head = _head(buffer, at)
            if head is None:
                break
            length, start = head
            if length > self._limit:
                raise PacketError(f"packet of {length} bytes; at most {self._limit} are read", PACKET_TOO_LARGE)
            if start + length > len(buffer):
                break
            packets.append((buffer[at], bytes(buffer[start : start + length])))
            at = start + length
        if at:
            del buffer[:at]
        return packets


def _head(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """(remaining length, where the rest begins), None while it is not here yet."""
    length = shift = 0
    for position in range(at + 1, at + 5):
        if position >= len(buffer):
            return None
        byte = buffer[position]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, position + 1
        shift += 7
    raise PacketError("remaining length of more than four bytes")


class _Cursor:
    """Reads fields from one packet."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise PacketError("packet ends in the middle of a field")
        part = self.data[self.at : end]
        self.at = end
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def two(self) -> int:
        return int(struct.unpack(">H", self.take(2))[0])

    def binary(self) -> bytes:
        return self.take(self.two())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise PacketError("text that is not UTF-8") from error
        if "\0" in text:
            raise PacketError("text with a null character")
        return text

    def number(self) -> int:
        value = shift = 0
        for _ in range(4):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise PacketError("number of more than four bytes")

    def properties(self) -> tuple[dict[int, int], bytes]:
        """(numbers by property, those that are forwarded with a PUBLISH)."""
        length = self.number()
        end = self.at + length
        if end > len(self.data):
            raise PacketError("properties are longer than their packet")
        numbers: dict[int, int] = {}
        forwarded = b""
        while self.at < end:
            start, kind = self.at, self.byte()
            if kind in _BYTE:
                numbers[kind] = self.byte()
            elif kind in _TWO:
                numbers[kind] = self.two()
            elif kind in _FOUR:
                numbers[kind] = int.from_bytes(self.take(4), "big")
            elif kind in _BINARY:
                self.binary()
            elif kind == _USER:
                self.text()
                self.text()
            elif kind == _VARIABLE:
                numbers[kind] = self.number()
            else:
                raise PacketError(f"property {kind:#x} is unknown")
            if kind in _FORWARDED:
                forwarded += self.data[start : self.at]
        if self.at != end:
            raise PacketError("properties overrun their length")
        return numbers, forwarded


# ---------------------------------------------------------------------------- reading


def read_connect(data: bytes) -> Connect:
    cursor = _Cursor(data)
    name, version, flags = cursor.text(), cursor.byte(), cursor.byte()
    if name != "MQTT" or version not in (V311, V5):
        raise PacketError(f"protocol {name[:20]!r} level {version} is not spoken here", UNSUPPORTED_VERSION)
    if flags & 0x01:
        raise PacketError("CONNECT has a reserved flag")
    keep_alive = cursor.two()
    numbers = cursor.properties()[0] if version == V5 else {}
    client_id = cursor.text()
    will = None
    if flags & 0x04:
        properties = cursor.properties()[1] if version == V5 else b""
        topic = check_topic(cursor.text())
        will = Publish(topic, cursor.binary(), (flags >> 3) & 0x03, bool(flags & 0x20), 0, properties)
        if will.qos > 1:
            raise PacketError("a last will with QoS 2", QOS_NOT_SUPPORTED)
    for flag in (0x80, 0x40):
        if flags & flag:
            cursor.binary()  # user name and password: the certificate says who it is
    maximum = numbers.get(RECEIVE_MAXIMUM, 65535)
    if maximum < 1:
        raise PacketError("receive maximum 0", PROTOCOL_ERROR)
    return Connect(version, client_id, keep_alive, bool(flags & 0x02), will, maximum)


def read_publish(first: int, data: bytes, version: int) -> Publish:
    cursor = _Cursor(data)
    qos = (first >> 1) & 0x03
    if qos > 1:
        raise PacketError("QoS 2 is not spoken here", QOS_NOT_SUPPORTED)
    topic = check_topic(cursor.text())
    packet_id = cursor.two() if qos else 0
    if qos and not packet_id:
        raise PacketError("packet id 0")
    properties = b""
    if version == V5:
        numbers, properties = cursor.properties()
        if TOPIC_ALIAS in numbers or SUBSCRIPTION_ID in numbers:
            raise PacketError("topic alias or subscription id in a PUBLISH", PROTOCOL_ERROR)
    return Publish(topic, data[cursor.at :], qos, bool(first & 0x01), packet_id, properties)


def read_packet_id(data: bytes) -> int:
    return _Cursor(data).two()


def read_subscribe(first: int, data: bytes, version: int, *, with_options: bool = True) -> Subscribe:
    """SUBSCRIBE, and UNSUBSCRIBE where ``with_options`` is false."""
    if first & 0x0F != 0x02:
        raise PacketError("flags of a SUBSCRIBE or UNSUBSCRIBE")
    cursor = _Cursor(data)
    packet_id = cursor.two()
    if version == V5:
        cursor.properties()
    filters = []
    while cursor.at < len(data):
        topic = check_filter(cursor.text())
        filters.append((topic, min(cursor.byte() & 0x03, 1) if with_options else 0))
    if not filters or not packet_id:
        raise PacketError("a SUBSCRIBE without a topic or packet id", PROTOCOL_ERROR)
    return Subscribe(packet_id, tuple(filters))


def check_topic(topic: str) -> str:
    if not topic or "+" in topic or "#" in topic:
        raise PacketError(f"topic {topic[:80]!r} cannot be published to")
    return topic


def check_filter(topic: str) -> str:
    levels = topic.split("/")
    for number, level in enumerate(levels):
        wild = "+" in level or "#" in level
        if (wild and len(level) != 1) or (level == "#" and number != len(levels) - 1):
            raise PacketError(f"topic filter {topic[:80]!r}")
    if not topic:
        raise PacketError("empty topic filter")
    return topic


# ---------------------------------------------------------------------------- writing


def _number(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _packet(first: int, *parts: bytes) -> bytes:
    rest = b"".join(parts)
    return bytes((first,)) + _number(len(rest)) + rest


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def connack(version: int, reason: int, maximum_packet: int = 0) -> bytes:
    """MQTT 5: QoS 1 at most, no session kept, no topic alias. MQTT 3.1.1: 0, or 5 for whatever else."""
    if version != V5:
        return _packet(CONNACK << 4, bytes((0, 0 if reason == SUCCESS else 5)))
    properties = b""
    if reason == SUCCESS:
        properties = b"\x24\x01" + b"\x11" + bytes(4) + b"\x27" + struct.pack(">I", maximum_packet)
    return _packet(CONNACK << 4, bytes((0, reason)), _number(len(properties)), properties)


def publish_packet(message: Publish, version: int, qos: int, packet_id: int, retain: bool) -> bytes:
    parts = [_text(message.topic)]
    if qos:
        parts.append(struct.pack(">H", packet_id))
    if version == V5:
        parts += [_number(len(message.properties)), message.properties]
    return _packet((PUBLISH << 4) | (qos << 1) | int(retain), *parts, message.payload)


def puback(version: int, packet_id: int, reason: int = SUCCESS) -> bytes:
    identity = struct.pack(">H", packet_id)
    return _packet(PUBACK << 4, identity, bytes((reason, 0)) if version == V5 and reason else b"")


def suback(version: int, packet_id: int, reasons: list[int]) -> bytes:
    if version != V5:
        reasons = [reason if reason < 0x80 else 0x80 for reason in reasons]
    return _packet(SUBACK << 4, struct.pack(">H", packet_id), b"\0" if version == V5 else b"", bytes(reasons))


def unsuback(version: int, packet_id: int, reasons: list[int]) -> bytes:
    return _packet(UNSUBACK << 4, struct.pack(">H", packet_id), b"\0" + bytes(reasons) if version == V5 else b"")


def pingresp() -> bytes:
    return _packet(PINGRESP << 4)


def disconnect(reason: int) -> bytes:
    return _packet(DISCONNECT << 4, bytes((reason, 0)))


# ---------------------------------------------------------------------------- a client's side, for load and conformance


def connect_packet(client_id: str, keep_alive: int, version: int = V311, will: Publish | None = None) -> bytes:
    flags = 0x02
    parts = [b"\0" if version == V5 else b"", _text(client_id)]
    if will is not None:
        flags |= 0x04 | (will.qos << 3) | (0x20 if will.retain else 0)
        parts += [b"\0" if version == V5 else b"", _text(will.topic)]
        parts += [struct.pack(">H", len(will.payload)), will.payload]
    return _packet(CONNECT << 4, _text("MQTT"), bytes((version, flags)), struct.pack(">H", keep_alive), *parts)


def subscribe_packet(packet_id: int, topic: str, qos: int, version: int = V311) -> bytes:
    properties = b"\0" if version == V5 else b""
    return _packet((SUBSCRIBE << 4) | 2, struct.pack(">H", packet_id), properties, _text(topic), bytes((qos,)))


def pingreq() -> bytes:
    return _packet(PINGREQ << 4)
