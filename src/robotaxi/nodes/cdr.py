"""Messages as bytes: of a received one the stamp is read at once, the rest when a node uses it.

Many messages are never looked at (a 10 Hz node hears a 50 Hz state), and rosbags reads a message several
times faster than rclpy makes one, so nodes subscribe raw. For the same reason the big and the frequent ones
are made as rosbags' types and published as bytes. What is on the wire is the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from rosbags.serde import SerdeError

from robotaxi.interfaces import Interface
from robotaxi.nodes.convert import DECODERS
from robotaxi.nodes.quick_decode import NOT_READ, quick_decoder, unchanged
from robotaxi.nodes.records import NS_PER_S, TYPES, RecordError

_ENCAPSULATION_BYTES = 4
_TIMELESS = ("dispatch/goal", "system/mode")  # their nouns say nothing of the stamp, and are not changed
_STAMP = (struct.Struct(">iI"), struct.Struct("<iI"))


class CdrError(ValueError):
    """Bytes that are no message with a header."""


def stamp_ns(cdr: bytes) -> int:
    """Stamp of a serialised message that begins with a std_msgs/Header. Raises CdrError."""
    if len(cdr) < _ENCAPSULATION_BYTES + 8 or cdr[1] > 1:
        raise CdrError(f"a message of {len(cdr)} bytes has no stamp")
    sec, nanosec = _STAMP[cdr[1]].unpack_from(cdr, _ENCAPSULATION_BYTES)
    return int(sec) * NS_PER_S + int(nanosec)


def deserialize(interface: Interface, cdr: bytes) -> Any:
    """The message with the fields of its ROS type. Raises rosbags' SerdeError."""
    return TYPES.deserialize_cdr(cdr, interface.type)


def decoder(interface: Interface) -> Callable[[bytes], Any]:
    """Function from the topic's serialised message to its noun; None where the message cannot be used: broken, or
    of a sensor in another frame than the table says."""
    decode = DECODERS[interface.topic]
    frames = ("", interface.frame) if interface.topic.startswith("sensing/") else None
    quick = quick_decoder(interface.topic)

    def guarded(cdr: bytes) -> Any:
        try:
            if quick is not None and (found := quick(cdr, stamp_ns(cdr))) is not NOT_READ:
                return found
            message = deserialize(interface, cdr)
            if frames is not None and message.header.frame_id not in frames:
                return None
            return decode(message)
        except (SerdeError, RecordError, KeyError, ValueError, OverflowError):
            return None

    return unchanged(guarded) if interface.topic in _TIMELESS else guarded


def publishable(message: Any) -> Any:
    """What a publisher takes: a message of rosbags' types becomes bytes, one of rclpy's stays."""
    kind = getattr(message, "__msgtype__", None)
    return message if kind is None else bytes(TYPES.serialize_cdr(message, kind))
